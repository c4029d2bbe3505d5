// The label beside each blob of a directory tier (FORMAT.md): size, owner and one XXH3-64 for every
// 64 KiB, so that a range is verified by reading little more than itself, and a blob says what it
// is with no metadata left. Its link into place is also the claim on the name: the first label
// wins, and bytes are linked only beside a label that describes them.

import { FirnError } from '../../../appliance/model/errors.ts';
import { KiB } from '../../../appliance/model/limits.ts';
import { checksum64 } from '../../checksum.ts';
import { corrupt } from '../base/bodies.ts';

/** Holds a character that no blob's name has, so that none can pass for a label. */
export const LABEL_SUFFIX = '~label';
export const PIECE_BYTES = 64 * KiB;
const MAGIC = 'FIRNBLOB';
const FORMAT = 1;
/** Magic, format, header length, header checksum. */
const FIXED_BYTES = 24;
const SUM_BYTES = 8;
/** Owner keys of 1 KiB, escaped at worst: far below. */
const HEADER_BYTES_MAX = 16 * KiB;
/** One read brings the header, and all sums of a blob up to 120 MiB. */
export const FIRST_READ_BYTES = 16 * KiB;

export interface LabelHeader {
  id: string;
  tier: string;
  sizeBytes: number;
  /** XXH3-64 of all bytes. */
  checksum: string;
  pieceBytes: number;
  owner: { bucketId: string; key: string };
}

/** XXH3-64 of each piece of a stream. */
export class PieceSums {
  #buffer = new BigUint64Array(1024);
  #count = 0;
  #held: Buffer = Buffer.allocUnsafeSlow(PIECE_BYTES);
  #heldBytes = 0;

  update(bytes: Uint8Array): void {
    let from = 0;
    while (from < bytes.length) {
      const take = Math.min(PIECE_BYTES - this.#heldBytes, bytes.length - from);
      if (take === PIECE_BYTES) {
        this.#push(checksum64(bytes.subarray(from, from + take)));
      } else {
        this.#held.set(bytes.subarray(from, from + take), this.#heldBytes);
        this.#heldBytes += take;
        if (this.#heldBytes === PIECE_BYTES) this.#pushHeld();
      }
      from += take;
    }
  }

  end(): BigUint64Array {
    if (this.#heldBytes > 0) this.#pushHeld();
    return this.#buffer.subarray(0, this.#count);
  }

  #pushHeld(): void {
    this.#push(checksum64(this.#held.subarray(0, this.#heldBytes)));
    this.#heldBytes = 0;
  }

  #push(sum: bigint): void {
    if (this.#count === this.#buffer.length) {
      const grown = new BigUint64Array(this.#count * 2);
      grown.set(this.#buffer);
      this.#buffer = grown;
    }
    this.#buffer[this.#count] = sum;
    this.#count += 1;
  }
}

export function encodeLabel(header: LabelHeader, sums: BigUint64Array): Buffer {
  const json = Buffer.from(JSON.stringify(header), 'utf8');
  const out = Buffer.alloc(FIXED_BYTES + json.length + sums.length * SUM_BYTES);
  out.write(MAGIC, 0, 'latin1');
  out.writeUInt32LE(FORMAT, 8);
  out.writeUInt32LE(json.length, 12);
  out.writeBigUInt64LE(checksum64(json), 16);
  json.copy(out, FIXED_BYTES);
  let at = FIXED_BYTES + json.length;
  for (const sum of sums) at = out.writeBigUInt64LE(sum, at);
  return out;
}

export interface DecodedLabel extends LabelHeader {
  /** Where the sums start in the label file. */
  sumsOffset: number;
}

/**
 * The header from the label's first bytes. Corrupt where they do not hold one, FormatUnknown if
 * newer.
 */
export function decodeLabel(name: string, bytes: Buffer): DecodedLabel {
  if (bytes.length < FIXED_BYTES || bytes.toString('latin1', 0, 8) !== MAGIC) {
    throw corrupt(name, 'its label is damaged');
  }
  const format = bytes.readUInt32LE(8);
  if (format !== FORMAT) {
    throw new FirnError('FormatUnknown', `a label of format ${format}`, {
      subject: name,
      hint: 'this blob was written by a newer Firn: read it with that one',
    });
  }
  const length = bytes.readUInt32LE(12);
  const json = bytes.subarray(FIXED_BYTES, FIXED_BYTES + length);
  const whole =
    length <= HEADER_BYTES_MAX - FIXED_BYTES &&
    json.length === length &&
    checksum64(json) === bytes.readBigUInt64LE(16);
  if (!whole) throw corrupt(name, 'its label is damaged');
  return {
    ...(JSON.parse(json.toString('utf8')) as LabelHeader),
    sumsOffset: FIXED_BYTES + length,
  };
}

export interface Span {
  /** Of the first byte of the first piece. */
  offset: number;
  bytes: Buffer;
}

/** Holds whole pieces (the last of a blob may be short) against their sums; throws Corrupt. */
export function verifySpan(name: string, span: Span, sums: Buffer): void {
  let index = 0;
  for (let at = 0; at < span.bytes.length; at += PIECE_BYTES) {
    const piece = span.bytes.subarray(at, at + PIECE_BYTES);
    if (index + SUM_BYTES > sums.length || checksum64(piece) !== sums.readBigUInt64LE(index)) {
      throw corrupt(name, `bytes at ${span.offset + at} do not match their checksum`);
    }
    index += SUM_BYTES;
  }
}

/**
 * Where the sums of the pieces from byte `offset` (a multiple of PIECE_BYTES) over `length` bytes
 * are.
 */
export function sumsRange(
  label: DecodedLabel,
  offset: number,
  length: number,
): { offset: number; length: number } {
  return {
    offset: label.sumsOffset + (offset / PIECE_BYTES) * SUM_BYTES,
    length: Math.ceil(length / PIECE_BYTES) * SUM_BYTES,
  };
}
