// The index inside a pack: one JSON line an object, with the whole version record, so that metadata
// can be rebuilt from packs alone. Each line ends with its own XXH3-64: a damaged byte costs one
// line, and no line is believed before it has been checked. About 700 bytes a line, 42 MB for a
// full pack, which is why it is read as a stream.

import { FirnError } from '../../appliance/model/errors.ts';
import { PACK_ENTRIES_MAX } from '../../appliance/model/limits.ts';
import type { IndexedEntry } from '../../appliance/model/packer.ts';
import type { Body, ByteRange } from '../../appliance/model/tier.ts';
import { checksumOf } from '../checksum.ts';
import {
  damaged,
  dataOffset,
  DIRECTORY_ENTRY_BYTES,
  END_BYTES,
  LOCAL_HEADER_BYTES,
  parseDirectoryEntry,
  parseEnd,
  parseLocalHeader,
} from './zip.ts';

export const HEAD_NAME = 'FIRN-PACK.json';
export const INDEX_NAME = 'index.jsonl';
export const FORMAT = 1;
/** Entries may be coded: each line of the index says which. Written only where one may be. */
export const FORMAT_CODED = 2;
/**
 * A line holds a key (≤ 1 KiB), metadata (2 KiB) and ≤ 64 parts: 40 KiB at most; the rest is
 * margin.
 */
const LINE_BYTES_MAX = 1024 * 1024;
const HEAD_BYTES_MAX = 4096;

/** Content of FIRN-PACK.json. */
export interface PackHead {
  kind: 'firn-pack';
  format: number;
  id: string;
  /** zstd: entries whose line says so are coded. none (format 1): no entry is. */
  codec: 'none' | 'zstd';
  entries: number;
  entryBytes: number;
  /** Of the filter before the index; absent: there is none. */
  filterBytes?: number;
}

/** Name of the entry that holds the object at `position` (from 0). */
export function entryName(position: number, codec?: 'zstd'): string {
  return `d/${String(position + 1).padStart(6, '0')}${codec === undefined ? '' : '.zst'}`;
}

const CHECK_FIELD = ',"check":"';
const CHECK_BYTES = CHECK_FIELD.length + 16 + 2;

/** One line with its newline. */
export function encodeLine(position: number, entry: IndexedEntry): string {
  const { bucket, bucketId, key, versionId, offset, length, sha256, version } = entry;
  const { codec, codedBytes } = entry;
  const name = entryName(position, codec);
  const coded = codec === undefined ? {} : { codec, codedBytes };
  const where = { bucket, bucketId, key, versionId, offset, length, sha256, ...coded };
  const text = JSON.stringify({ entry: name, ...where, version }).slice(0, -1);
  return `${text}${CHECK_FIELD}${checksumOf(Buffer.from(text, 'utf8'))}"}\n`;
}

/** A line without its newline; undefined unless its own checksum holds. */
export function decodeLine(line: Buffer): IndexedEntry | undefined {
  const at = line.length - CHECK_BYTES;
  if (at <= 0) return undefined;
  const body = line.subarray(0, at);
  if (line.toString('latin1', at) !== `${CHECK_FIELD}${checksumOf(body)}"}`) return undefined;
  const parsed = JSON.parse(`${body.toString('utf8')}}`) as IndexedEntry & { entry: string };
  const { bucket, bucketId, key, versionId, offset, length, sha256, version } = parsed;
  const { codec, codedBytes } = parsed;
  const plain = { bucket, bucketId, key, versionId, offset, length, sha256, version };
  if (codec === undefined) return plain;
  const isWhole = codedBytes?.reduce((sum, bytes) => sum + bytes, 0) === length;
  // Its checksum held, so it was written like this: by a newer Firn.
  if (codec !== 'zstd' || codedBytes?.length !== version.parts.length || !isWhole) {
    throw new FirnError('FormatUnknown', `an entry coded as ${String(codec)}`, {
      subject: `${bucket}/${key}`,
      hint: 'this pack was written by a newer Firn: read it with that one',
    });
  }
  return { ...plain, codec, codedBytes };
}

/** Reads a stretch of a pack, from wherever it is. */
export type ReadRange = (range: ByteRange) => Promise<Body>;

export async function wholeOf(body: Body): Promise<Buffer> {
  if (body instanceof Uint8Array) return Buffer.from(body.buffer, body.byteOffset, body.length);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function exactly(read: ReadRange, range: ByteRange): Promise<Buffer> {
  const bytes = await wholeOf(await read(range));
  if (bytes.length !== range.length) throw damaged('a range of it is shorter than asked for');
  return bytes;
}

/**
 * FIRN-PACK.json, by one ranged read at the start. Throws FormatUnknown for a pack of a newer Firn
 * and Corrupt for anything that is no pack.
 */
export async function readHead(sizeBytes: number, read: ReadRange): Promise<PackHead> {
  const bytes = await exactly(read, { offset: 0, length: Math.min(sizeBytes, HEAD_BYTES_MAX) });
  const header = parseLocalHeader(bytes);
  const from = LOCAL_HEADER_BYTES + HEAD_NAME.length;
  if (header.name !== HEAD_NAME || from + header.sizeBytes > bytes.length) {
    throw damaged(`does not start with ${HEAD_NAME}`);
  }
  let head: PackHead;
  try {
    head = JSON.parse(bytes.toString('utf8', from, from + header.sizeBytes)) as PackHead;
  } catch (cause) {
    throw new FirnError('Corrupt', `pack is damaged: ${HEAD_NAME} is not JSON`, { cause });
  }
  if (head.kind !== 'firn-pack') throw damaged(`${HEAD_NAME} does not name a pack`);
  const isKnown =
    (head.format === FORMAT && head.codec === 'none') ||
    (head.format === FORMAT_CODED && head.codec === 'zstd');
  if (!isKnown) {
    throw new FirnError('FormatUnknown', `pack of format ${head.format}, codec ${head.codec}`, {
      subject: head.id,
      hint: 'this pack was written by a newer Firn: read it with that one',
    });
  }
  return head;
}

/** Where the index is, by one ranged read of the last 79 bytes. */
export async function findIndex(
  sizeBytes: number,
  read: ReadRange,
): Promise<ByteRange & { headerOffset: number }> {
  const length = DIRECTORY_ENTRY_BYTES + INDEX_NAME.length + END_BYTES;
  if (sizeBytes < length) throw damaged('too short for a pack');
  const tail = await exactly(read, { offset: sizeBytes - length, length });
  const end = parseEnd(tail, sizeBytes);
  const last = parseDirectoryEntry(tail, 0);
  const offset = dataOffset(last);
  if (last.name !== INDEX_NAME || offset + last.sizeBytes !== end.directoryOffset) {
    throw damaged(`${INDEX_NAME} is not its last entry`);
  }
  return { offset, length: last.sizeBytes, headerOffset: last.headerOffset };
}

/** A line that failed its checksum: its number from 1. */
export interface DamagedLine {
  damagedLine: number;
}

/**
 * The index line by line, damaged lines marked: three ranged reads in all. Ends with Corrupt if
 * lines are missing.
 */
export async function* readLines(
  sizeBytes: number,
  read: ReadRange,
): AsyncGenerator<IndexedEntry | DamagedLine> {
  const [head, index] = await Promise.all([readHead(sizeBytes, read), findIndex(sizeBytes, read)]);
  const range: ByteRange = { offset: index.offset, length: index.length };
  if (head.entries > PACK_ENTRIES_MAX) throw damaged('it claims too many entries');
  let number = 0;
  for await (const line of linesOf(await read(range))) {
    number += 1;
    const entry = decodeLine(line);
    const fits = entry !== undefined && entry.offset + entry.length < range.offset;
    yield fits ? entry : { damagedLine: number };
  }
  if (number !== head.entries) {
    throw damaged(`its index has ${number} lines, its head says ${head.entries}`, head.id);
  }
}

async function* linesOf(body: Body): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of body instanceof Uint8Array ? [body] : body) {
    const bytes = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk]);
    let from = 0;
    for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
      yield bytes.subarray(from, at);
      from = at + 1;
    }
    rest = bytes.subarray(from);
    if (rest.length > LINE_BYTES_MAX) throw damaged('a line of its index has no end');
  }
  if (rest.length > 0) yield rest;
}
