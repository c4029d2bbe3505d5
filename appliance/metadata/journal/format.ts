// Bytes of the journal's files (FORMAT.md): a header block, then batches, each padded to a block.
// A log and a snapshot have the same form. The dangers: a torn tail taken for a batch, an old batch
// of a reused place taken for a new one, and a batch whose predecessor is not the one that was
// acknowledged. So each batch carries its file's id, its place in the sequence and the checksum of
// the batch before it, and is covered by an XXH3 of all of that and its rows.
//
// A block is 4 KiB, and no two batches share one: a drive that loses power while it writes spoils
// at most the block that it writes, on all copies at once, and that must not be an old batch's.

import assert from 'node:assert/strict';
import { FirnError } from '../../model/errors.ts';
import { TABLES, type Table } from '../../model/metadata-store.ts';
import { Xxh3 } from '../../model/xxhash.ts';
import { HEAD_BYTES, packRows, unpackRows } from './packed-rows.ts';

export const BLOCK_BYTES = 4096;
/** Of files written today; 1 as well: snapshots whose rows are not compressed. */
const FORMATS = { log: 1, snapshot: 2 } as const;
const FORMAT_MAX = 2;
const FILE_MAGIC = 'FIRNJRNL';
const BATCH_MAGIC = 0x46524e62; // 'FRNb'
export const BATCH_HEADER_BYTES = 64;
const ENTRY_HEADER_BYTES = HEAD_BYTES;
const END = 1;
const PACKED = 2;
/** A batch beyond this is a length that rotted: nothing writes one. */
const PAYLOAD_MAX = 2 ** 31;

/** Numbers of tables on drives: for ever. A new table takes the next number. */
export const TABLE_CODES: Record<Table, number> = {
  accounts: 1,
  blocks: 2,
  buckets: 3,
  checkpoints: 4,
  events: 5,
  garbage: 6,
  heals: 7,
  leases: 8,
  moves: 9,
  objects: 10,
  outbox: 11,
  packs: 12,
  parts: 13,
  'policy-sets': 14,
  quotas: 15,
  restores: 16,
  runs: 17,
  settings: 18,
  uploads: 19,
  usage: 20,
  contents: 21,
  references: 22,
};
/** In the order in which snapshots hold them: for ever, so a new table comes last. */
export const TABLES_IN_ORDER = TABLES.toSorted((a, b) => TABLE_CODES[a] - TABLE_CODES[b]);
const TABLES_BY_CODE = new Map<number, Table>(TABLES.map((table) => [TABLE_CODES[table], table]));

/** Throws FormatUnknown for a table of a newer Firn. */
export function tableOf(code: number): Table {
  const table = TABLES_BY_CODE.get(code);
  if (table !== undefined) return table;
  throw new FirnError('FormatUnknown', `the journal has rows of an unknown table ${code}`, {
    hint: 'run the version of Firn that wrote it, or a newer one',
  });
}

export type FileKind = 'log' | 'snapshot';

export interface FileHeader {
  kind: FileKind;
  /** Absent: as written today. */
  format?: number;
  /** 32 hex digits: the metadata store. */
  store: string;
  /** 16 hex digits, random. */
  file: string;
  epoch: number;
  /** Commit number behind which a log goes on, or that a snapshot shows. */
  number: number;
}

/** One row as of a batch. */
export interface Entry {
  table: Table;
  id: Uint8Array;
  /** As the index keeps it, opaque here; absent: the row is removed. */
  record?: Uint8Array | undefined;
}

/** Where a row stands among all of a snapshot, in the order of bytes. Of no row: before all. */
export const placeOf = ({ table, id }: Pick<Entry, 'table' | 'id'>): Buffer =>
  Buffer.concat([Buffer.of(TABLE_CODES[table]), id]);

/** Where a batch stands, and what the one behind it must name. */
export interface BatchPlace {
  file: string;
  /** From 1, by ones. */
  sequence: number;
  /** Checksum of the batch before, of the header for the first. */
  previous: bigint;
}

export interface BatchNumber {
  /** Epoch of the index when the batch was gathered. */
  epoch: number;
  /** Every change up to this commit number is in this batch or before it. */
  number: number;
}

export interface BatchHead extends BatchPlace, BatchNumber {
  checksum: bigint;
  payloadBytes: number;
  entries: number;
  /** The last batch of a snapshot, without entries: all of it is there. */
  end: boolean;
  /** Of a compressed batch the bytes of its entries before; else 0. */
  plainBytes: number;
}

function checksumOf(bytes: Uint8Array): bigint {
  const hash = new Xxh3(8);
  hash.update(bytes);
  return hash.digest().readBigUInt64BE();
}

const padded = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;

/** Bytes that a batch takes in its file. */
export const batchBytes = (payloadBytes: number): number =>
  padded(BATCH_HEADER_BYTES + payloadBytes);

export function encodeFileHeader(header: FileHeader): { bytes: Buffer; checksum: bigint } {
  const bytes = Buffer.alloc(BLOCK_BYTES);
  bytes.write(FILE_MAGIC, 8, 'latin1');
  bytes.writeUInt16BE(header.format ?? FORMATS[header.kind], 16);
  bytes.writeUInt16BE(header.kind === 'log' ? 1 : 2, 18);
  bytes.writeUInt16BE(header.epoch, 20);
  bytes.writeUIntBE(header.number, 22, 6);
  bytes.write(header.file, 28, 'hex');
  bytes.write(header.store, 36, 'hex');
  const checksum = checksumOf(bytes.subarray(8, 52));
  bytes.writeBigUInt64BE(checksum, 0);
  return { bytes, checksum };
}

/** Undefined for bytes that fail their checksum; FormatUnknown for what a newer Firn wrote. */
export function decodeFileHeader(
  bytes: Buffer,
  subject: string,
): (FileHeader & { checksum: bigint }) | undefined {
  if (bytes.length < 52 || bytes.toString('latin1', 8, 16) !== FILE_MAGIC) return undefined;
  const checksum = bytes.readBigUInt64BE(0);
  if (checksum !== checksumOf(bytes.subarray(8, 52))) return undefined;
  const format = bytes.readUInt16BE(16);
  const kind = bytes.readUInt16BE(18);
  if (format > FORMAT_MAX || kind < 1 || kind > 2) {
    throw new FirnError('FormatUnknown', `journal format ${format}.${kind} is of a newer Firn`, {
      subject,
      hint: 'run the version of Firn that wrote it, or a newer one',
    });
  }
  return {
    kind: kind === 1 ? 'log' : 'snapshot',
    format,
    store: bytes.toString('hex', 36, 52),
    file: bytes.toString('hex', 28, 36),
    epoch: bytes.readUInt16BE(20),
    number: bytes.readUIntBE(22, 6),
    checksum,
  };
}

function writeEntryHead({ table, id, record }: Entry, into: Buffer, at: number): void {
  into[at] = TABLE_CODES[table];
  into[at + 1] = record === undefined ? 2 : 1;
  into.writeUInt16BE(id.length, at + 2);
  into.writeUInt32BE(record?.length ?? 0, at + 4);
}

/** Gathers the entries of one batch in one buffer, which it keeps for the next. */
export class BatchBuilder {
  #buffer = Buffer.allocUnsafe(64 * 1024);
  #end = BATCH_HEADER_BYTES;
  entries = 0;
  #plainBytes = 0;

  get payloadBytes(): number {
    return this.#end - BATCH_HEADER_BYTES;
  }

  clear(): void {
    this.#end = BATCH_HEADER_BYTES;
    this.entries = 0;
    this.#plainBytes = 0;
  }

  /** These rows and no others, compressed: for snapshots, where time is of no account. */
  pack(rows: readonly Entry[]): void {
    this.clear();
    const { bytes, plainBytes } = packRows(rows, writeEntryHead);
    if (padded(this.#end + bytes.length) > this.#buffer.length) {
      this.#grow(this.#end + bytes.length);
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
    this.entries = rows.length;
    this.#plainBytes = plainBytes;
  }

  add(entry: Entry): void {
    const { id, record } = entry;
    const size = ENTRY_HEADER_BYTES + id.length + (record?.length ?? 0);
    if (padded(this.#end + size) > this.#buffer.length) this.#grow(this.#end + size);
    const buffer = this.#buffer;
    let at = this.#end;
    writeEntryHead(entry, buffer, at);
    at += ENTRY_HEADER_BYTES;
    buffer.set(id, at);
    at += id.length;
    if (record !== undefined) {
      buffer.set(record, at);
      at += record.length;
    }
    this.#end = at;
    this.entries += 1;
  }

  #grow(bytes: number): void {
    const larger = Buffer.allocUnsafe(padded(Math.max(bytes, this.#buffer.length * 2)));
    this.#buffer.copy(larger, 0, 0, this.#end);
    this.#buffer = larger;
  }

  /** The finished batch, padded; valid until the next add. */
  finish(place: BatchPlace, state: BatchNumber, end = false): { bytes: Buffer; checksum: bigint } {
    const buffer = this.#buffer;
    buffer.writeUInt32BE(BATCH_MAGIC, 8);
    buffer.writeUInt32BE(this.payloadBytes, 12);
    buffer.writeUInt32BE(this.entries, 16);
    buffer.writeUInt32BE((end ? END : 0) | (this.#plainBytes > 0 ? PACKED : 0), 20);
    buffer.writeUIntBE(Math.floor(place.sequence / 2 ** 32), 24, 4);
    buffer.writeUIntBE(place.sequence % 2 ** 32, 28, 4);
    buffer.writeUInt16BE(state.epoch, 32);
    buffer.writeUIntBE(state.number, 34, 6);
    buffer.write(place.file, 40, 'hex');
    buffer.writeBigUInt64BE(place.previous, 48);
    buffer.writeUInt32BE(this.#plainBytes, 56);
    buffer.fill(0, 60, BATCH_HEADER_BYTES);
    const checksum = checksumOf(buffer.subarray(8, this.#end));
    buffer.writeBigUInt64BE(checksum, 0);
    const whole = padded(this.#end);
    buffer.fill(0, this.#end, whole);
    return { bytes: buffer.subarray(0, whole), checksum };
  }
}

/**
 * The head of a batch, its checksum not yet compared; undefined where no batch can begin. `bytes`
 * holds at least the head.
 */
export function decodeBatchHead(bytes: Buffer): BatchHead | undefined {
  if (bytes.length < BATCH_HEADER_BYTES || bytes.readUInt32BE(8) !== BATCH_MAGIC) return undefined;
  const payloadBytes = bytes.readUInt32BE(12);
  if (payloadBytes > PAYLOAD_MAX) return undefined;
  return {
    checksum: bytes.readBigUInt64BE(0),
    payloadBytes,
    entries: bytes.readUInt32BE(16),
    end: (bytes.readUInt32BE(20) & END) !== 0,
    plainBytes: (bytes.readUInt32BE(20) & PACKED) === 0 ? 0 : bytes.readUInt32BE(56),
    sequence: bytes.readUInt32BE(24) * 2 ** 32 + bytes.readUInt32BE(28),
    epoch: bytes.readUInt16BE(32),
    number: bytes.readUIntBE(34, 6),
    file: bytes.toString('hex', 40, 48),
    previous: bytes.readBigUInt64BE(48),
  };
}

export const isWhole = (head: BatchHead, bytes: Buffer): boolean =>
  bytes.length >= BATCH_HEADER_BYTES + head.payloadBytes &&
  checksumOf(bytes.subarray(8, BATCH_HEADER_BYTES + head.payloadBytes)) === head.checksum;

/** The entries of a whole batch; their bytes lie in the batch's, or in those they came from. */
export function* entriesOf(head: BatchHead, bytes: Buffer): Generator<Required<Entry>> {
  const end = BATCH_HEADER_BYTES + head.payloadBytes;
  if (head.plainBytes > 0) {
    const plain = unpackRows(bytes.subarray(BATCH_HEADER_BYTES, end), head.plainBytes);
    yield* packedEntries(head, plain);
    return;
  }
  let at = BATCH_HEADER_BYTES;
  for (let i = 0; i < head.entries; i++) {
    const { table, removed, idBytes, recordBytes } = readEntryHead(bytes, at);
    const record = at + ENTRY_HEADER_BYTES + idBytes;
    assert(record + recordBytes <= end, 'a batch that is whole holds its entries');
    yield {
      table,
      id: bytes.subarray(at + ENTRY_HEADER_BYTES, record),
      record: removed ? undefined : bytes.subarray(record, record + recordBytes),
    };
    at = record + recordBytes;
  }
}

/** All heads, then all ids, then all records. */
function* packedEntries(head: BatchHead, plain: Buffer): Generator<Required<Entry>> {
  let id = head.entries * ENTRY_HEADER_BYTES;
  let record = id;
  for (let i = 0; i < head.entries; i++) {
    record += readEntryHead(plain, i * ENTRY_HEADER_BYTES).idBytes;
  }
  for (let i = 0; i < head.entries; i++) {
    const { table, removed, idBytes, recordBytes } = readEntryHead(plain, i * ENTRY_HEADER_BYTES);
    assert(record + recordBytes <= plain.length, 'a batch that is whole holds its entries');
    yield {
      table,
      id: plain.subarray(id, id + idBytes),
      record: removed ? undefined : plain.subarray(record, record + recordBytes),
    };
    id += idBytes;
    record += recordBytes;
  }
}

function readEntryHead(
  bytes: Buffer,
  at: number,
): { table: Table; removed: boolean; idBytes: number; recordBytes: number } {
  return {
    table: tableOf(bytes[at] ?? 0),
    removed: bytes[at + 1] === 2,
    idBytes: bytes.readUInt16BE(at + 2),
    recordBytes: bytes.readUInt32BE(at + 4),
  };
}
