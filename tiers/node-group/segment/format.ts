// The bytes of segments (FORMAT.md): what a batch puts on a drive is a piece, a head of 128 bytes
// and then whole records (data lanes) or parity. Everything is little-endian. A head names its
// segment, lane and place, so that a piece in the wrong file, on the wrong drive or left from an
// earlier life of the file is seen; a record names its location and owner, so that bytes found
// without metadata can be given back to their keys.

import { checksum64 } from '../../checksum.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { CODE_FORMAT, type Code } from '../codec/field.ts';
import { roundToGroup } from '../codec/codec.ts';

export const SEGMENT_DIRECTORY = 'segments';
export const PIECE_HEAD_BYTES = 128;
/**
 * Pieces start at multiples of this: a sector that is being written holds no older, acked piece.
 */
export const PIECE_ALIGNMENT = 512;
export const RECORD_HEAD_BYTES = 32;
const MAGIC = 0x43505246; // "FRPC"
const FORMAT = 1;
const LANES_MAX = 12;
const FLAG_SEAL = 1;
const RECORD_MAGIC = 0x5246; // "FR"

export interface PieceHead {
  lane: number;
  /** The last piece of its file: nothing follows. */
  seal: boolean;
  away: number;
  /** Counts the batches of a segment from 0. */
  batch: number;
  segment: string;
  /** Offset of this piece in the file. */
  start: number;
  /** Bytes of records of each data lane. */
  lengths: number[];
  bodyChecksum: bigint;
}

/** Bytes of parity in a batch: the longest data lane in whole groups. */
export function parityBytes(lengths: readonly number[]): number {
  let longest = 0;
  for (const length of lengths) if (length > longest) longest = length;
  return roundToGroup(longest);
}

/** Where the next piece begins. */
export function nextStart(head: { start: number; lengths: readonly number[] }): number {
  const end = head.start + PIECE_HEAD_BYTES + parityBytes(head.lengths);
  return Math.ceil(end / PIECE_ALIGNMENT) * PIECE_ALIGNMENT;
}

/** Bytes behind the head of this lane's piece. */
export function bodyBytes(head: PieceHead, lane: number, code: Code): number {
  return lane < code.k ? (head.lengths[lane] as number) : parityBytes(head.lengths);
}

/** Data lanes without bytes in this batch. */
export function emptyLanes(lengths: readonly number[]): number {
  let empty = 0;
  for (const [lane, length] of lengths.entries()) if (length === 0) empty |= 1 << lane;
  return empty;
}

export function writePieceHead(target: Buffer, head: PieceHead, code: Code): void {
  target.fill(0, 0, PIECE_HEAD_BYTES);
  target.writeUInt32LE(MAGIC, 0);
  target.writeUInt16LE(FORMAT, 4);
  target[6] = code.k;
  target[7] = code.m;
  target[8] = head.lane;
  target[9] = head.seal ? FLAG_SEAL : 0;
  target.writeUInt16LE(head.away, 10);
  target.writeUInt32LE(head.batch, 12);
  target.write(head.segment, 16, 16, 'hex');
  target.writeBigUInt64LE(BigInt(head.start), 32);
  for (let lane = 0; lane < code.k; lane += 1) {
    target.writeUInt32LE(head.lengths[lane] as number, 40 + 4 * lane);
  }
  target.writeUInt16LE(CODE_FORMAT, 40 + 4 * LANES_MAX);
  target.writeBigUInt64LE(head.bodyChecksum, 112);
  target.writeBigUInt64LE(checksum64(target.subarray(0, 120)), 120);
}

/**
 * The head at the start of `bytes`, if one of this code is there and whole. FormatUnknown if it is
 * whole and newer: then nothing may be concluded from what it seems to lack.
 */
export function readPieceHead(bytes: Buffer, code: Code): PieceHead | undefined {
  if (bytes.length < PIECE_HEAD_BYTES || bytes.readUInt32LE(0) !== MAGIC) return undefined;
  if (checksum64(bytes.subarray(0, 120)) !== bytes.readBigUInt64LE(120)) return undefined;
  const format = bytes.readUInt16LE(4);
  const codeFormat = bytes.readUInt16LE(40 + 4 * LANES_MAX);
  if (format !== FORMAT || codeFormat !== CODE_FORMAT) {
    throw new FirnError('FormatUnknown', `Segment format ${format}, code format ${codeFormat}`, {
      subject: bytes.toString('hex', 16, 32),
      hint: 'run the version of Firn that wrote it, or a newer one',
    });
  }
  if (bytes[6] !== code.k || bytes[7] !== code.m) return undefined;
  return {
    lane: bytes[8] as number,
    seal: bytes[9] === FLAG_SEAL,
    away: bytes.readUInt16LE(10),
    batch: bytes.readUInt32LE(12),
    segment: bytes.toString('hex', 16, 32),
    start: Number(bytes.readBigUInt64LE(32)),
    lengths: Array.from({ length: code.k }, (_, lane) => bytes.readUInt32LE(40 + 4 * lane)),
    bodyChecksum: bytes.readBigUInt64LE(112),
  };
}

/** Bytes of a record with padding; `ownerBytes` = UTF-8 bytes of its owner. */
export function recordBytes(length: number, ownerBytes: number): number {
  return Math.ceil((RECORD_HEAD_BYTES + length + ownerBytes) / 8) * 8;
}

export interface NewRecord {
  id: string;
  /** bucket id / key, the id of the object's document. */
  owner: string;
  ownerBytes: number;
  body: Uint8Array;
}

/**
 * Writes a record at `offset`; its checksum is that of the body alone, which is what put answers.
 */
export function writeRecord(lane: Buffer, offset: number, record: NewRecord): bigint {
  const { body, ownerBytes } = record;
  const checksum = checksum64(body);
  lane.writeUInt16LE(RECORD_MAGIC, offset);
  lane.writeUInt16LE(ownerBytes, offset + 2);
  lane.writeUInt32LE(body.length, offset + 4);
  lane.write(record.id, offset + 8, 16, 'hex');
  lane.writeBigUInt64LE(checksum, offset + 24);
  const at = offset + RECORD_HEAD_BYTES;
  lane.set(body, at);
  lane.write(record.owner, at + body.length, ownerBytes, 'utf8');
  const end = at + body.length + ownerBytes;
  for (let pad = end; pad % 8 !== 0; pad += 1) lane[pad] = 0;
  return checksum;
}

/** The body of the record at the start of `bytes`, if it is this location's, whole and right. */
export function bodyOfRecord(
  bytes: Buffer,
  wanted: { id: string; length: number },
): Buffer | undefined {
  const end = RECORD_HEAD_BYTES + wanted.length;
  if (bytes.length < end || bytes.readUInt16LE(0) !== RECORD_MAGIC) return undefined;
  if (bytes.readUInt32LE(4) !== wanted.length) return undefined;
  if (bytes.toString('hex', 8, 24) !== wanted.id) return undefined;
  const body = bytes.subarray(RECORD_HEAD_BYTES, end);
  return checksum64(body) === bytes.readBigUInt64LE(24) ? body : undefined;
}

export interface FoundRecord {
  id: string;
  owner: string;
  offset: number;
  length: number;
  checksum: bigint;
}

/** The records of a verified lane. A damaged one ends it: lengths behind it can't be trusted. */
export function* recordsOf(lane: Buffer): Generator<FoundRecord> {
  let offset = 0;
  while (offset + RECORD_HEAD_BYTES <= lane.length) {
    if (lane.readUInt16LE(offset) !== RECORD_MAGIC) return;
    const ownerBytes = lane.readUInt16LE(offset + 2);
    const length = lane.readUInt32LE(offset + 4);
    const bodyEnd = offset + RECORD_HEAD_BYTES + length;
    if (bodyEnd + ownerBytes > lane.length) return;
    yield {
      id: lane.toString('hex', offset + 8, offset + 24),
      owner: lane.toString('utf8', bodyEnd, bodyEnd + ownerBytes),
      offset,
      length,
      checksum: lane.readBigUInt64LE(offset + 24),
    };
    offset += recordBytes(length, ownerBytes);
  }
}
