// S3's ten checksums, as streams of pieces and as base64. The danger: a sum that is wrong for one
// split of the bytes refuses a good upload, and one that is combined wrongly vouches for an object
// nobody wrote. A full-object CRC of a multipart upload is combined from its parts' CRCs without
// reading a byte (1 µs a part, 6 µs where all lengths differ). CRC32 is zlib's, SHA and MD5 are
// OpenSSL's, the loops of all others are our own (hash-loops.ts).

import assert from 'node:assert/strict';
import { createHash, hash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  CRC32C_POLYNOMIAL,
  CRC64NVME_POLYNOMIAL,
  updateCrc32c,
  updateCrc64,
} from './hash-loops.ts';
import type { ChecksumAlgorithm, ObjectChecksum } from './object.ts';
import { Xxh3, Xxh64 } from './xxhash.ts';

const DIGEST_BYTES: Record<ChecksumAlgorithm, number> = {
  CRC32: 4,
  CRC32C: 4,
  CRC64NVME: 8,
  MD5: 16,
  SHA1: 20,
  SHA256: 32,
  SHA512: 64,
  XXHASH64: 8,
  XXHASH3: 8,
  XXHASH128: 16,
};

export const CHECKSUM_ALGORITHMS = Object.keys(DIGEST_BYTES) as readonly ChecksumAlgorithm[];

export type CrcAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME';

/** What S3 sums with where the client does not. */
export const DEFAULT_CHECKSUM = 'CRC64NVME';

/** `x-amz-checksum-<this>`. */
export const CHECKSUM_HEADERS = Object.fromEntries(
  CHECKSUM_ALGORITHMS.map((algorithm) => [algorithm, `x-amz-checksum-${algorithm.toLowerCase()}`]),
) as Record<ChecksumAlgorithm, string>;

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
    case 'CRC64NVME':
      return new RunningCrc(algorithm);
    case 'XXHASH64':
      return running(algorithm, new Xxh64());
    case 'XXHASH3':
      return running(algorithm, new Xxh3(8));
    case 'XXHASH128':
      return running(algorithm, new Xxh3(16));
    case 'MD5':
    case 'SHA1':
    case 'SHA256':
    case 'SHA512':
      return running(algorithm, createHash(algorithm));
  }
}

/** Base64 of one piece. */
export function checksumOf(algorithm: ChecksumAlgorithm, bytes: Uint8Array): string {
  if (isCryptographic(algorithm)) return hash(algorithm, bytes, 'base64');
  const sum = newChecksum(algorithm);
  sum.update(bytes);
  return sum.digest();
}

function isCryptographic(algorithm: ChecksumAlgorithm): boolean {
  return algorithm === 'MD5' || algorithm.startsWith('SHA');
}

class RunningCrc32 implements RunningChecksum {
  readonly algorithm = 'CRC32';
  #state = 0;

  update(bytes: Uint8Array): void {
    this.#state = crc32(bytes, this.#state);
  }

  digest(): string {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32BE(this.#state);
    return bytes.toString('base64');
  }
}

/** CRC32C and CRC64NVME: the state is the inverted CRC, little-endian. */
class RunningCrc implements RunningChecksum {
  readonly algorithm: 'CRC32C' | 'CRC64NVME';
  readonly #state = Buffer.alloc(8);

  constructor(algorithm: 'CRC32C' | 'CRC64NVME') {
    this.algorithm = algorithm;
    this.#state.fill(0xff, 0, DIGEST_BYTES[algorithm]);
  }

  update(bytes: Uint8Array): void {
    if (this.algorithm === 'CRC32C') updateCrc32c(this.#state, bytes);
    else updateCrc64(this.#state, bytes);
  }

  digest(): string {
    const width = DIGEST_BYTES[this.algorithm];
    const bytes = Buffer.allocUnsafe(width);
    for (let i = 0; i < width; i++) bytes[i] = ~(this.#state[width - 1 - i] as number);
    return bytes.toString('base64');
  }
}

/** What is a class elsewhere, as one of ours. */
function running(
  algorithm: ChecksumAlgorithm,
  hash: { update(bytes: Uint8Array): unknown; digest(): Buffer },
): RunningChecksum {
  return {
    algorithm,
    update: (bytes) => void hash.update(bytes),
    digest: () => hash.digest().toString('base64'),
  };
}

/** Reflected. */
const POLYNOMIALS: Record<CrcAlgorithm, bigint> = {
  CRC32: 0xedb88320n,
  CRC32C: CRC32C_POLYNOMIAL,
  CRC64NVME: CRC64NVME_POLYNOMIAL,
};

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
 * The checksum of an object made of parts; undefined where a part has none of that algorithm. Only
 * CRCs can be combined: FULL_OBJECT is for them alone.
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
