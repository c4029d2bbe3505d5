// The bytes of a row in LMDB: tag, revision, checksum, value (FORMAT.md). LMDB checks no pages, so
// each record carries a CRC-32: a bit that rots in a document must end in Corrupt, never in a
// location that points at other bytes. msgpackr runs without shared structures: lmdb's own would
// stand in the table as a phantom key, and a table of structures would be one more thing to lose.

import { Packr, RESERVE_START_SPACE, Unpackr } from 'msgpackr';
import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';
import { FirnError } from '../../model/errors.ts';
import type { Revision, Row, Table } from '../../model/metadata-store.ts';
import { checkFormat, newerFormat } from '../base/rules.ts';
import { HeadReader } from './head-reader.ts';
import { listingOf, packObject, unpackObject } from './object-record.ts';
import type { HeadTuple, RestTuple } from './object-record.ts';
import { decodeSmallObject, encodeSmallObject, listSmallObject } from './small-object.ts';
import { packParts, unpackParts } from './parts-record.ts';
import type { Packing, PartsTuple } from './parts-record.ts';

const REVISION_AT = 1;
const CHECKSUM_AT = 9;
const VALUE_AT = 13;
const HEAD_BYTES = 2;
const HEAD_MAX = 0xffff;

/** Value by names: also a document whose head is too long for its two bytes of length. */
const PLAIN_TAG = 1;
/** A document of `objects` with at least one version, by positions, what a listing shows first. */
const OBJECT_TAG = 2;
/** A list of parts, by columns. */
const PARTS_TAG = 3;
/** A document of the shape that most have: one version, one part. */
const SMALL_TAG = 4;
const TAG_MAX = SMALL_TAG;

const EPOCH_MAX = 0xffff;
const COMMIT_MAX = 2 ** 48 - 1;

// undefined in a value is as good as absent, as JSON has it.
const packr = new Packr({ useRecords: false, skipValues: [undefined] } as object);
const unpackr = new Unpackr({ useRecords: false, copyBuffers: true });

const PACKING: Packing = {
  // A copy: packr may hand out a piece of the buffer that its next call writes to.
  pack: (value) => Buffer.from(packr.pack(value)),
  unpack: (bytes) => unpackr.unpack(bytes as Buffer),
};

const headReader = new HeadReader();

/** What lmdb hands to a decoder: a buffer that it reuses, its `length` set to the value's. */
export type LentBytes = Buffer;

/** The record without its revision, which stampRevision adds inside the write transaction (A2). */
export function encodeRecord(table: Table, value: object): Buffer {
  const record = encodeCompact(table, value) ?? encodePlain(value);
  record.writeUInt32BE(crc32(record.subarray(VALUE_AT), record[0]), CHECKSUM_AT);
  return record;
}

/** Undefined where the value has no other form than by its names. */
function encodeCompact(table: Table, value: object): Buffer | undefined {
  if (table === 'objects') {
    const small = encodeSmallObject(value, VALUE_AT, PACKING);
    if (small !== undefined) {
      small[0] = SMALL_TAG;
      return small;
    }
    const halves = packObject(value);
    return halves && encodeHalves(halves);
  }
  if (table !== 'blocks') return undefined;
  const parts = packParts(value, PACKING);
  if (parts === undefined) return undefined;
  const record = packr.pack(parts, RESERVE_START_SPACE + VALUE_AT);
  record[0] = PARTS_TAG;
  return record;
}

function encodePlain(value: object): Buffer {
  const record = packr.pack(value, RESERVE_START_SPACE + VALUE_AT);
  record[0] = PLAIN_TAG;
  return record;
}

/** Undefined where the head is too long: the restored copy of an object of hundreds of parts. */
function encodeHalves([shown, others]: [HeadTuple, RestTuple]): Buffer | undefined {
  const head = packr.pack(shown, RESERVE_START_SPACE + VALUE_AT + HEAD_BYTES);
  const headBytes = head.length - VALUE_AT - HEAD_BYTES;
  if (headBytes > HEAD_MAX) return undefined;
  const rest = packr.pack(others);
  const record = Buffer.allocUnsafe(head.length + rest.length);
  record.set(head, 0);
  record.set(rest, head.length);
  record[0] = OBJECT_TAG;
  record.writeUInt16BE(headBytes, VALUE_AT);
  return record;
}

/** Sets the revision of a fresh record, folds it into the checksum, and returns it as text. */
export function stampRevision(record: Buffer, epoch: number, commit: number): Revision {
  assert(epoch <= EPOCH_MAX && commit <= COMMIT_MAX, 'revisions are used up');
  record.writeUInt16BE(epoch, REVISION_AT);
  record.writeUIntBE(commit, REVISION_AT + 2, 6);
  const checksum = record.readUInt32BE(CHECKSUM_AT) ^ foldRevision(record);
  record.writeUInt32BE(checksum >>> 0, CHECKSUM_AT);
  return record.toString('hex', REVISION_AT, CHECKSUM_AT);
}

function foldRevision(record: Buffer): number {
  // Rotated, so that a flip in one half can't cancel the same flip in the other.
  const low = record.readUInt32BE(REVISION_AT + 4);
  return record.readUInt32BE(REVISION_AT) ^ ((low << 7) | (low >>> 25));
}

export function revisionOf(record: Buffer): Revision {
  return record.toString('hex', REVISION_AT, CHECKSUM_AT);
}

/** The row of a record read whole. Throws Corrupt or FormatUnknown; keeps none of the bytes. */
export function decodeRecord<T>(table: Table, id: string, record: LentBytes): Row<T> {
  const tag = checkTag(table, id, record);
  const size = record.length;
  const checksum = crc32(record.subarray(VALUE_AT, size), tag) ^ foldRevision(record);
  if (checksum >>> 0 !== record.readUInt32BE(CHECKSUM_AT)) throw corrupt(table, id);
  const revision = record.toString('hex', REVISION_AT, CHECKSUM_AT);
  let value: unknown;
  if (tag === PLAIN_TAG) {
    value = unpackr.unpack(record, { start: VALUE_AT, end: size });
  } else if (tag === SMALL_TAG) {
    value = decodeSmallObject(record, { at: VALUE_AT, end: size }, PACKING);
  } else if (tag === PARTS_TAG) {
    const tuple = unpackr.unpack(record, { start: VALUE_AT, end: size }) as PartsTuple;
    value = unpackParts(tuple, PACKING);
  } else {
    const at = VALUE_AT + HEAD_BYTES;
    const end = at + record.readUInt16BE(VALUE_AT);
    const head = unpackr.unpack(record, { start: at, end }) as HeadTuple;
    value = unpackObject(head, unpackr.unpack(record, { start: end, end: size }) as RestTuple);
  }
  checkFormat(table, id, value as { format?: unknown });
  return { id, revision, value: value as T };
}

/**
 * As decodeRecord, but of an object's document just what a listing shows, with the checksum left
 * unlooked at: it covers the whole record, and reading a name wrong in a LIST loses nothing.
 */
export function decodeListing<T>(table: Table, id: string, record: LentBytes): Row<T> {
  const tag = checkTag(table, id, record);
  const revision = record.toString('hex', REVISION_AT, CHECKSUM_AT);
  if (tag === SMALL_TAG) {
    const value = listSmallObject(record, VALUE_AT, record.length);
    if (value === undefined) throw corrupt(table, id);
    return { id, revision, value: value as T };
  }
  if (tag !== OBJECT_TAG) {
    const row = decodeRecord<T>(table, id, record);
    const halves = table === 'objects' ? packObject(row.value as object) : undefined;
    return halves === undefined ? row : { ...row, value: listingOf(halves[0]) as T };
  }
  const at = VALUE_AT + HEAD_BYTES;
  if (record.length < at) throw corrupt(table, id);
  const end = at + record.readUInt16BE(VALUE_AT);
  if (end > record.length) throw corrupt(table, id);
  let head = headReader.read(record, at, end);
  if (head === undefined) {
    try {
      head = unpackr.unpack(record, { start: at, end }) as HeadTuple;
    } catch {
      throw corrupt(table, id);
    }
  }
  return { id, revision, value: listingOf(head) as T };
}

function checkTag(table: Table, id: string, record: LentBytes): number {
  const tag = record[0] ?? 0;
  if (record.length <= VALUE_AT || tag === 0) throw corrupt(table, id);
  if (tag > TAG_MAX) throw newerFormat(`${table} ${id}`, `record ${tag}`);
  return tag;
}

function corrupt(table: Table, id: string): FirnError {
  return new FirnError('Corrupt', 'a metadata record fails its checksum', {
    subject: `${table} ${id}`,
    hint: 'the drive under the metadata directory returns wrong bytes: replace it, then rebuild',
  });
}
