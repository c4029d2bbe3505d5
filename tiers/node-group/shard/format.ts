// The bytes of shard files (FORMAT.md): a head block, then this lane's piece of each stripe one
// behind another, then a checksum for every 64 KiB of them and a tail. Everything is little-endian.
// Head and tail name location and lane, so that a file under the wrong name or on the wrong drive
// is seen; a file without a right tail was never finished. Pieces are page-aligned and bare, so a
// stripe is read straight into place, and a small range needs 64 KiB of one drive.

import assert from 'node:assert/strict';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { ShardLocation } from '../../../appliance/model/location.ts';
import { checksum64 } from '../../checksum.ts';
import { roundToGroup } from '../codec/codec.ts';
import { CODE_FORMAT, type Code } from '../codec/field.ts';

export const SHARD_DIRECTORY = 'shards';
export const HEAD_BYTES = 4096;
export const TAIL_BYTES = 64;
export const BLOCK_BYTES = 64 * 1024;
const HEAD_MAGIC = 0x48535246; // "FRSH"
const TAIL_MAGIC = 0x45535246; // "FRSE"
const FORMAT = 1;
const OWNER_AT = 64;
const OWNER_BYTES_MAX = HEAD_BYTES - OWNER_AT - 8;

export const shardDirectory = (id: string): string => `${SHARD_DIRECTORY}/${id.slice(-2)}`;
export const shardPath = (id: string): string => `${shardDirectory(id)}/${id}`;

/** Width of a lane's piece of a full stripe. */
export const pieceBytes = (stripeBytes: number, code: Code): number =>
  roundToGroup(stripeBytes / code.k);

/** How an object lies in its shard files: pure arithmetic of its location. */
export class Geometry {
  /** Data lanes with bytes: k'. */
  readonly dataLanes: number;
  /** Number of the first of them. */
  readonly firstLane: number;
  readonly width: number;
  /** Object bytes in a full stripe. */
  readonly stripeData: number;
  readonly fullStripes: number;
  readonly stripes: number;
  readonly lastWidth: number;
  readonly length: number;

  constructor(code: Code, firstLane: number, size: { stripeBytes: number; length: number }) {
    this.firstLane = firstLane;
    this.dataLanes = code.k - firstLane;
    this.width = pieceBytes(size.stripeBytes, code);
    this.stripeData = this.width * this.dataLanes;
    this.length = size.length;
    this.fullStripes = Math.floor(size.length / this.stripeData);
    const rest = size.length - this.fullStripes * this.stripeData;
    this.lastWidth = roundToGroup(rest / this.dataLanes);
    this.stripes = this.fullStripes + (rest > 0 ? 1 : 0);
  }

  /** Width of every lane's piece of this stripe. */
  widthOf(stripe: number): number {
    return stripe < this.fullStripes ? this.width : this.lastWidth;
  }

  /** Offset of this stripe's piece in the file. */
  startOf(stripe: number): number {
    return HEAD_BYTES + stripe * this.width;
  }

  /** Index of the first block checksum of this stripe. */
  blockOf(stripe: number): number {
    return stripe * Math.ceil(this.width / BLOCK_BYTES);
  }

  get blocks(): number {
    const last = Math.ceil(this.lastWidth / BLOCK_BYTES);
    return this.blockOf(this.fullStripes) + last;
  }

  get footerStart(): number {
    return HEAD_BYTES + this.fullStripes * this.width + this.lastWidth;
  }

  get footerBytes(): number {
    return this.blocks * 8 + TAIL_BYTES;
  }
}

export function geometryOf(location: ShardLocation, code: Code): Geometry {
  let firstLane = 0;
  while ((location.empty >> firstLane) & 1) firstLane += 1;
  return new Geometry(code, firstLane, location);
}

export interface ShardHead {
  id: string;
  lane: number;
  away: number;
  stripeBytes: number;
  /** bucket id / key, the id of the object's document. */
  owner: string;
}

export function writeHead(head: ShardHead, code: Code): Buffer {
  const out = Buffer.alloc(HEAD_BYTES);
  const owner = Buffer.from(head.owner, 'utf8');
  assert.ok(owner.length <= OWNER_BYTES_MAX, 'an owner fits the head block');
  out.writeUInt32LE(HEAD_MAGIC, 0);
  out.writeUInt16LE(FORMAT, 4);
  out[6] = code.k;
  out[7] = code.m;
  out[8] = head.lane;
  out.writeUInt16LE(head.away, 10);
  out.writeUInt16LE(CODE_FORMAT, 12);
  out.writeUInt16LE(owner.length, 14);
  out.write(head.id, 16, 16, 'hex');
  out.writeUInt32LE(head.stripeBytes, 32);
  owner.copy(out, OWNER_AT);
  out.writeBigUInt64LE(checksum64(out.subarray(0, HEAD_BYTES - 8)), HEAD_BYTES - 8);
  return out;
}

function refuseNewer(format: number, subject: string): void {
  if (format === FORMAT) return;
  throw new FirnError('FormatUnknown', `Shard file format ${format} is newer than this program`, {
    subject,
    hint: 'run the version of Firn that wrote it, or a newer one',
  });
}

/** The head of a shard file of this code, if it is whole. */
export function readHead(bytes: Buffer, code: Code): ShardHead | undefined {
  if (bytes.length < HEAD_BYTES || bytes.readUInt32LE(0) !== HEAD_MAGIC) return undefined;
  const sum = checksum64(bytes.subarray(0, HEAD_BYTES - 8));
  if (sum !== bytes.readBigUInt64LE(HEAD_BYTES - 8)) return undefined;
  const id = bytes.toString('hex', 16, 32);
  refuseNewer(bytes.readUInt16LE(4), id);
  refuseNewer(bytes.readUInt16LE(12) - CODE_FORMAT + FORMAT, id);
  if (bytes[6] !== code.k || bytes[7] !== code.m) return undefined;
  return {
    id,
    lane: bytes[8] as number,
    away: bytes.readUInt16LE(10),
    stripeBytes: bytes.readUInt32LE(32),
    owner: bytes.toString('utf8', OWNER_AT, OWNER_AT + bytes.readUInt16LE(14)),
  };
}

export interface ShardTail {
  id: string;
  lane: number;
  /** Bytes of the object. */
  length: number;
  /** XXH3-64 of the object. */
  checksum: bigint;
}

/** Block checksums and tail; `table` holds 8 bytes a block. */
export function writeFooter(tail: ShardTail, table: Buffer): Buffer {
  const out = Buffer.alloc(table.length + TAIL_BYTES);
  table.copy(out);
  const at = table.length;
  out.writeUInt32LE(TAIL_MAGIC, at);
  out.writeUInt16LE(FORMAT, at + 4);
  out[at + 6] = tail.lane;
  out.write(tail.id, at + 8, 16, 'hex');
  out.writeBigUInt64LE(BigInt(tail.length), at + 24);
  out.writeBigUInt64LE(tail.checksum, at + 32);
  out.writeUInt32LE(table.length / 8, at + 40);
  out.writeBigUInt64LE(checksum64(table), at + 48);
  out.writeBigUInt64LE(checksum64(out.subarray(at, at + 56)), at + 56);
  return out;
}

/** The tail that ends `bytes`, if it is whole. */
export function readTail(bytes: Buffer): (ShardTail & { blocks: number }) | undefined {
  const at = bytes.length - TAIL_BYTES;
  if (at < 0 || bytes.readUInt32LE(at) !== TAIL_MAGIC) return undefined;
  if (checksum64(bytes.subarray(at, at + 56)) !== bytes.readBigUInt64LE(at + 56)) return undefined;
  const id = bytes.toString('hex', at + 8, at + 24);
  refuseNewer(bytes.readUInt16LE(at + 4), id);
  return {
    id,
    lane: bytes[at + 6] as number,
    length: Number(bytes.readBigUInt64LE(at + 24)),
    checksum: bytes.readBigUInt64LE(at + 32),
    blocks: bytes.readUInt32LE(at + 40),
  };
}

export interface ShardFooter extends ShardTail {
  /** 8 bytes a block. */
  table: Buffer;
}

/**
 * A whole footer as read from `Geometry.footerStart`; undefined unless table and tail are right.
 */
export function readFooter(bytes: Buffer): ShardFooter | undefined {
  const tail = readTail(bytes);
  if (tail === undefined) return undefined;
  const table = bytes.subarray(0, bytes.length - TAIL_BYTES);
  if (tail.blocks * 8 !== table.length) return undefined;
  if (checksum64(table) !== bytes.readBigUInt64LE(bytes.length - TAIL_BYTES + 48)) return undefined;
  return { ...tail, table };
}

/** Checksums of a piece, 8 bytes each 64 KiB. */
export function blockTable(piece: Buffer): Buffer {
  const table = Buffer.allocUnsafe(Math.ceil(piece.length / BLOCK_BYTES) * 8);
  for (let at = 0, i = 0; at < piece.length; at += BLOCK_BYTES, i += 8) {
    table.writeBigUInt64LE(checksum64(piece.subarray(at, at + BLOCK_BYTES)), i);
  }
  return table;
}

/**
 * True if `piece`, which begins at block `first` of the table, is right. It ends at a block or a
 * piece.
 */
export function blocksRight(piece: Buffer, table: Buffer, first: number): boolean {
  for (let at = 0, i = first * 8; at < piece.length; at += BLOCK_BYTES, i += 8) {
    if (checksum64(piece.subarray(at, at + BLOCK_BYTES)) !== table.readBigUInt64LE(i)) return false;
  }
  return true;
}
