// S3's checksums: CRC32, CRC32C, CRC64NVME, SHA1, SHA256, as streams of pieces and as base64. The
// danger: a sum that is wrong for one split of the bytes refuses a good upload, and one that is
// combined wrongly vouches for an object nobody wrote. A full-object CRC of a multipart upload is
// combined from its parts' CRCs without reading a byte (1 µs a part, 6 µs where all lengths
// differ). CRC32 is zlib's (3–4 GB/s), SHA is OpenSSL's; the other two are tables of eight bytes a
// step.

import assert from 'node:assert/strict';
import { createHash, hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { ChecksumAlgorithm, ObjectChecksum } from './object.ts';

export const CHECKSUM_ALGORITHMS: readonly ChecksumAlgorithm[] = [
  'CRC32',
  'CRC32C',
  'CRC64NVME',
  'SHA1',
  'SHA256',
];

export type CrcAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME';

const DIGEST_BYTES: Record<ChecksumAlgorithm, number> = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  SHA1: 20,
  SHA256: 32,
};

/** `x-amz-checksum-<this>`. */
export const CHECKSUM_HEADERS: Record<ChecksumAlgorithm, string> = {
  CRC32: 'x-amz-checksum-crc32',
  CRC32C: 'x-amz-checksum-crc32c',
  CRC64NVME: 'x-amz-checksum-crc64nvme',
  SHA1: 'x-amz-checksum-sha1',
  SHA256: 'x-amz-checksum-sha256',
};

export function isChecksumAlgorithm(name: string): name is ChecksumAlgorithm {
  return Object.hasOwn(DIGEST_BYTES, name);
}

export function isCrc(algorithm: ChecksumAlgorithm): algorithm is CrcAlgorithm {
  return algorithm.startsWith('CRC');
}

/** True if `value` is the canonical base64 of a digest of this algorithm's length. */
export function isChecksumValue(algorithm: ChecksumAlgorithm, value: string): boolean {
  const bytes = Buffer.from(value, 'base64');
  return bytes.length === DIGEST_BYTES[algorithm] && bytes.toString('base64') === value;
}

export interface RunningChecksum {
  readonly algorithm: ChecksumAlgorithm;
  update(bytes: Uint8Array): void;
  /** Base64. Call once, at the end. */
  digest(): string;
}

export function newChecksum(algorithm: ChecksumAlgorithm): RunningChecksum {
  switch (algorithm) {
    case 'CRC32':
      return new RunningCrc32();
    case 'CRC32C':
      return new RunningCrc32c();
    case 'CRC64NVME':
      return new RunningCrc64();
    case 'SHA1':
    case 'SHA256': {
      const state = createHash(algorithm);
      return {
        algorithm,
        update: (bytes) => void state.update(bytes),
        digest: () => state.digest('base64'),
      };
    }
  }
}

/** Base64 of one piece. */
export function checksumOf(algorithm: ChecksumAlgorithm, bytes: Uint8Array): string {
  if (algorithm === 'SHA1' || algorithm === 'SHA256') return hash(algorithm, bytes, 'base64');
  const running = newChecksum(algorithm);
  running.update(bytes);
  return running.digest();
}

function base64OfUint32(value: number): string {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes.toString('base64');
}

class RunningCrc32 implements RunningChecksum {
  readonly algorithm = 'CRC32';
  #state = 0;

  update(bytes: Uint8Array): void {
    this.#state = crc32(bytes, this.#state);
  }

  digest(): string {
    return base64OfUint32(this.#state);
  }
}

/** Reflected polynomials. */
const POLYNOMIALS: Record<CrcAlgorithm, bigint> = {
  CRC32: 0xedb88320n,
  CRC32C: 0x82f63b78n,
  CRC64NVME: 0x9a6c9329ac4bc9b5n,
};

/**
 * Eight tables of 256 entries one behind the other: entry [t][b] is the CRC of byte b followed by t
 * zero bytes. Low and high halves apart, because JavaScript's integers have 32 bits.
 */
function slicingTables(algorithm: CrcAlgorithm): { low: Int32Array; high: Int32Array } {
  const polynomial = POLYNOMIALS[algorithm];
  const low = new Int32Array(8 * 256);
  const high = new Int32Array(8 * 256);
  const entries: bigint[] = [];
  for (let b = 0; b < 256; b++) {
    let value = BigInt(b);
    for (let bit = 0; bit < 8; bit++) value = value & 1n ? (value >> 1n) ^ polynomial : value >> 1n;
    entries.push(value);
  }
  const running = [...entries];
  for (let t = 0; t < 8; t++) {
    for (let b = 0; b < 256; b++) {
      const value = running[b] as bigint;
      low[t * 256 + b] = Number(value & 0xffffffffn) | 0;
      high[t * 256 + b] = Number(value >> 32n) | 0;
      running[b] = (entries[Number(value & 0xffn)] as bigint) ^ (value >> 8n);
    }
  }
  return { low, high };
}

// Made at first use: 2,048 BigInt steps that a process without such clients never pays.
let crc32cTable: Int32Array | undefined;
let crc64Tables: { low: Int32Array; high: Int32Array } | undefined;

function updateCrc32c(table: Int32Array, state: number, bytes: Uint8Array): number {
  let crc = state;
  let i = 0;
  const last = bytes.length - 7;
  for (; i < last; i += 8) {
    const a =
      crc ^
      ((bytes[i] as number) |
        ((bytes[i + 1] as number) << 8) |
        ((bytes[i + 2] as number) << 16) |
        ((bytes[i + 3] as number) << 24));
    crc =
      (table[1792 + (a & 255)] as number) ^
      (table[1536 + ((a >>> 8) & 255)] as number) ^
      (table[1280 + ((a >>> 16) & 255)] as number) ^
      (table[1024 + (a >>> 24)] as number) ^
      (table[768 + (bytes[i + 4] as number)] as number) ^
      (table[512 + (bytes[i + 5] as number)] as number) ^
      (table[256 + (bytes[i + 6] as number)] as number) ^
      (table[bytes[i + 7] as number] as number);
  }
  for (; i < bytes.length; i++) {
    crc = (table[(crc ^ (bytes[i] as number)) & 255] as number) ^ (crc >>> 8);
  }
  return crc;
}

class RunningCrc32c implements RunningChecksum {
  readonly algorithm = 'CRC32C';
  readonly #table = (crc32cTable ??= slicingTables('CRC32C').low);
  #state = -1;

  update(bytes: Uint8Array): void {
    this.#state = updateCrc32c(this.#table, this.#state, bytes);
  }

  digest(): string {
    return base64OfUint32(~this.#state);
  }
}

class RunningCrc64 implements RunningChecksum {
  readonly algorithm = 'CRC64NVME';
  readonly #tables = (crc64Tables ??= slicingTables('CRC64NVME'));
  #low = -1;
  #high = -1;

  update(bytes: Uint8Array): void {
    const { low: tableLow, high: tableHigh } = this.#tables;
    let low = this.#low;
    let high = this.#high;
    let i = 0;
    const last = bytes.length - 7;
    for (; i < last; i += 8) {
      const b0 = 1792 + ((low ^ (bytes[i] as number)) & 255);
      const b1 = 1536 + (((low >>> 8) ^ (bytes[i + 1] as number)) & 255);
      const b2 = 1280 + (((low >>> 16) ^ (bytes[i + 2] as number)) & 255);
      const b3 = 1024 + ((low >>> 24) ^ (bytes[i + 3] as number));
      const b4 = 768 + ((high ^ (bytes[i + 4] as number)) & 255);
      const b5 = 512 + (((high >>> 8) ^ (bytes[i + 5] as number)) & 255);
      const b6 = 256 + (((high >>> 16) ^ (bytes[i + 6] as number)) & 255);
      const b7 = (high >>> 24) ^ (bytes[i + 7] as number);
      low =
        (tableLow[b0] as number) ^
        (tableLow[b1] as number) ^
        (tableLow[b2] as number) ^
        (tableLow[b3] as number) ^
        (tableLow[b4] as number) ^
        (tableLow[b5] as number) ^
        (tableLow[b6] as number) ^
        (tableLow[b7] as number);
      high =
        (tableHigh[b0] as number) ^
        (tableHigh[b1] as number) ^
        (tableHigh[b2] as number) ^
        (tableHigh[b3] as number) ^
        (tableHigh[b4] as number) ^
        (tableHigh[b5] as number) ^
        (tableHigh[b6] as number) ^
        (tableHigh[b7] as number);
    }
    for (; i < bytes.length; i++) {
      const index = (low ^ (bytes[i] as number)) & 255;
      low = ((low >>> 8) | (high << 24)) ^ (tableLow[index] as number);
      high = (high >>> 8) ^ (tableHigh[index] as number);
    }
    this.#low = low;
    this.#high = high;
  }

  digest(): string {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeInt32BE(~this.#high, 0);
    bytes.writeInt32BE(~this.#low, 4);
    return bytes.toString('base64');
  }
}

/** A polynomial over GF(2), reflected: bit 0 of `low` is the highest power. */
interface Polynomial {
  low: number;
  high: number;
}

/** Arithmetic modulo one CRC's polynomial, in 32-bit halves (20 times as fast as in BigInt). */
class CrcField {
  /** Bits of `high` in use: 0 or 32. */
  readonly #highBits: number;
  readonly #modulus: Polynomial;
  readonly #one: Polynomial;
  /** [k] = x^(2^k). */
  readonly #powers: Polynomial[] = [];

  constructor(algorithm: CrcAlgorithm) {
    const modulus = POLYNOMIALS[algorithm];
    this.#modulus = { low: Number(modulus & 0xffffffffn) | 0, high: Number(modulus >> 32n) | 0 };
    this.#highBits = DIGEST_BYTES[algorithm] * 8 - 32;
    const top = (value: number): Polynomial =>
      this.#highBits > 0 ? { low: 0, high: value } : { low: value, high: 0 };
    this.#one = top(1 << 31);
    let power = top(1 << 30);
    // 2^50 bits is more than any object has.
    for (let k = 0; k < 51; k++) {
      this.#powers.push(power);
      power = this.multiply(power, power);
    }
  }

  multiply(left: Polynomial, right: Polynomial): Polynomial {
    const { low: modulusLow, high: modulusHigh } = this.#modulus;
    let { low: bLow, high: bHigh } = right;
    let low = 0;
    let high = 0;
    for (let bit = 31 + this.#highBits; bit >= 0; bit--) {
      const set = bit > 31 ? (left.high >>> (bit - 32)) & 1 : (left.low >>> bit) & 1;
      low ^= bLow & -set;
      high ^= bHigh & -set;
      const carry = -(bLow & 1);
      bLow = ((bLow >>> 1) | (bHigh << 31)) ^ (modulusLow & carry);
      bHigh = (bHigh >>> 1) ^ (modulusHigh & carry);
    }
    return { low, high };
  }

  /** What a CRC is multiplied by when `bytes` bytes follow. */
  shift(bytes: number): Polynomial {
    let result = this.#one;
    // A byte is x^8 = x^(2^3). Sizes pass 2^32, so no bit operators here.
    for (let rest = bytes, k = 3; rest > 0; rest = Math.floor(rest / 2), k++) {
      if (rest % 2 === 1) result = this.multiply(this.#powers[k] as Polynomial, result);
    }
    return result;
  }
}

const fields = new Map<CrcAlgorithm, CrcField>();

function fieldOf(algorithm: CrcAlgorithm): CrcField {
  let field = fields.get(algorithm);
  if (field === undefined) {
    field = new CrcField(algorithm);
    fields.set(algorithm, field);
  }
  return field;
}

/**
 * The CRC of the parts behind one another (base64), from their own CRCs (base64) and sizes. Without
 * parts: the CRC of nothing.
 */
export function combineCrcs(
  algorithm: CrcAlgorithm,
  parts: Iterable<{ value: string; sizeBytes: number }>,
): string {
  const field = fieldOf(algorithm);
  const width = DIGEST_BYTES[algorithm];
  const shifts = new Map<number, Polynomial>();
  let total: Polynomial = { low: 0, high: 0 };
  for (const { value, sizeBytes } of parts) {
    const own = Buffer.from(value, 'base64');
    assert.equal(own.length, width, `${algorithm} of a part`);
    let shift = shifts.get(sizeBytes);
    if (shift === undefined) {
      shift = field.shift(sizeBytes);
      shifts.set(sizeBytes, shift);
    }
    const { low, high } = field.multiply(shift, total);
    total = {
      low: low ^ own.readInt32BE(width - 4),
      high: width === 8 ? high ^ own.readInt32BE(0) : 0,
    };
  }
  const bytes = Buffer.alloc(width);
  if (width === 8) bytes.writeInt32BE(total.high, 0);
  bytes.writeInt32BE(total.low, width - 4);
  return bytes.toString('base64');
}

/** S3's checksum of checksums: of the parts' raw digests behind one another, with `-N`. */
export function compositeChecksum(algorithm: ChecksumAlgorithm, values: readonly string[]): string {
  const raw = Buffer.concat(values.map((value) => Buffer.from(value, 'base64')));
  return `${checksumOf(algorithm, raw)}-${values.length}`;
}

/**
 * The checksum of an object made of parts; undefined where a part has none of that algorithm. SHA1
 * and SHA256 can't be combined: FULL_OBJECT is for CRCs only.
 */
export function checksumOfParts(
  algorithm: ChecksumAlgorithm,
  type: ObjectChecksum['type'],
  parts: readonly { sizeBytes: number; clientChecksum?: ObjectChecksum }[],
): ObjectChecksum | undefined {
  const values: { value: string; sizeBytes: number }[] = [];
  for (const part of parts) {
    if (part.clientChecksum?.algorithm !== algorithm) return undefined;
    values.push({ value: part.clientChecksum.value, sizeBytes: part.sizeBytes });
  }
  if (type === 'COMPOSITE') {
    return {
      algorithm,
      type,
      value: compositeChecksum(
        algorithm,
        values.map(({ value }) => value),
      ),
    };
  }
  if (!isCrc(algorithm)) return undefined;
  return { algorithm, type, value: combineCrcs(algorithm, values) };
}
