// The part of the zip format that packs use (FORMAT.md): stored entries without extra fields,
// comments or data descriptors, hence fixed sizes everywhere. A pack is written by archiver and
// read by this, so that two independent programs must agree before a pack counts as built. Anything
// outside the subset is refused, never guessed at: names and lengths from a damaged archive lead
// nowhere.

import { FirnError } from '../../appliance/model/errors.ts';

export const LOCAL_HEADER_BYTES = 30;
export const DIRECTORY_ENTRY_BYTES = 46;
export const END_BYTES = 22;
/** Beyond these a zip needs zip64, which a pack never does. */
export const ZIP_BYTES_MAX = 0xffffffff - 1;
export const ZIP_ENTRIES_MAX = 0xffff - 1;

const LOCAL_SIGNATURE = 0x04034b50;
const DIRECTORY_SIGNATURE = 0x02014b50;
const END_SIGNATURE = 0x06054b50;
const METHOD_STORE = 0;
/**
 * Encryption, data descriptor, patch data, strong encryption, masked headers: all but the name's
 * UTF-8.
 */
const FLAGS_REFUSED = 0xffff & ~0x0800;

/** One record of the central directory. */
export interface ZipEntry {
  name: string;
  crc32: number;
  sizeBytes: number;
  /** Of its local header. */
  headerOffset: number;
}

export interface ZipEnd {
  entries: number;
  directoryOffset: number;
  directoryBytes: number;
}

export function damaged(what: string, subject?: string): FirnError {
  return new FirnError('Corrupt', `pack is damaged: ${what}`, {
    ...(subject === undefined ? {} : { subject }),
    hint: 'fetch the pack again; if it stays so, its objects must come from another copy',
  });
}

/** Where an entry's bytes begin. */
export function dataOffset(entry: { name: string; headerOffset: number }): number {
  return entry.headerOffset + LOCAL_HEADER_BYTES + entry.name.length;
}

/** The last 22 bytes of a pack of `sizeBytes`; throws Corrupt unless they fit it exactly. */
export function parseEnd(bytes: Buffer, sizeBytes: number): ZipEnd {
  if (bytes.length < END_BYTES) throw damaged('shorter than the end of a zip');
  const at = bytes.length - END_BYTES;
  if (bytes.readUInt32LE(at) !== END_SIGNATURE) throw damaged('no end record');
  const entries = bytes.readUInt16LE(at + 10);
  const directoryBytes = bytes.readUInt32LE(at + 12);
  const directoryOffset = bytes.readUInt32LE(at + 16);
  const whole =
    bytes.readUInt32LE(at + 4) === 0 &&
    bytes.readUInt16LE(at + 8) === entries &&
    bytes.readUInt16LE(at + 20) === 0 &&
    directoryOffset + directoryBytes + END_BYTES === sizeBytes;
  if (!whole) throw damaged('its end record does not fit its size');
  return { entries, directoryBytes, directoryOffset };
}

interface Fields {
  bytes: Buffer;
  at: number;
  /** Offset of the field "flags", where local header and directory record run alike. */
  from: number;
}

function parseFields({ bytes, at, from }: Fields): {
  crc32: number;
  sizeBytes: number;
  nameBytes: number;
} {
  const flags = bytes.readUInt16LE(at + from);
  const method = bytes.readUInt16LE(at + from + 2);
  const crc32 = bytes.readUInt32LE(at + from + 8);
  const sizeBytes = bytes.readUInt32LE(at + from + 16);
  const nameBytes = bytes.readUInt16LE(at + from + 20);
  const extraBytes = bytes.readUInt16LE(at + from + 22);
  if ((flags & FLAGS_REFUSED) !== 0 || method !== METHOD_STORE || extraBytes !== 0) {
    throw damaged('an entry is not plainly stored');
  }
  if (bytes.readUInt32LE(at + from + 12) !== sizeBytes) throw damaged('an entry has two sizes');
  return { crc32, sizeBytes, nameBytes };
}

/** One record of the directory at `at`; `next` is where the following one starts. */
export function parseDirectoryEntry(bytes: Buffer, at: number): ZipEntry & { next: number } {
  if (at + DIRECTORY_ENTRY_BYTES > bytes.length) throw damaged('its directory is cut short');
  if (bytes.readUInt32LE(at) !== DIRECTORY_SIGNATURE) throw damaged('no directory record');
  const { crc32, sizeBytes, nameBytes } = parseFields({ bytes, at, from: 8 });
  const next = at + DIRECTORY_ENTRY_BYTES + nameBytes;
  if (bytes.readUInt32LE(at + 32) !== 0) throw damaged('a directory record has a comment');
  if (next > bytes.length) throw damaged('its directory is cut short');
  const name = bytes.toString('latin1', at + DIRECTORY_ENTRY_BYTES, next);
  return { name, crc32, sizeBytes, headerOffset: bytes.readUInt32LE(at + 42), next };
}

/** The whole directory; throws Corrupt unless it holds exactly the records its end promises. */
export function parseDirectory(bytes: Buffer, end: ZipEnd): ZipEntry[] {
  const entries: ZipEntry[] = [];
  let at = 0;
  while (at < bytes.length) {
    const { next, ...entry } = parseDirectoryEntry(bytes, at);
    entries.push(entry);
    at = next;
  }
  if (entries.length !== end.entries) throw damaged('its directory has another number of records');
  return entries;
}

/** A local header (30 bytes and the name), as the directory must repeat it. */
export function parseLocalHeader(bytes: Buffer, at = 0): Omit<ZipEntry, 'headerOffset'> {
  if (at + LOCAL_HEADER_BYTES > bytes.length) throw damaged('a local header is cut short');
  if (bytes.readUInt32LE(at) !== LOCAL_SIGNATURE) throw damaged('no local header');
  const { crc32, sizeBytes, nameBytes } = parseFields({ bytes, at, from: 6 });
  const from = at + LOCAL_HEADER_BYTES;
  if (from + nameBytes > bytes.length) throw damaged('a local header is cut short');
  return { name: bytes.toString('latin1', from, from + nameBytes), crc32, sizeBytes };
}
