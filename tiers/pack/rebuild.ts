// Gets everything back out of packs alone, with no metadata left: each object with its whole
// version record and its bytes, every one held against the SHA-256 in the index. Used by rebuild
// and export. What is damaged is reported beside the rest, because one rotten entry must not cost
// the others. Deletes made after packing are not in packs: only the journal or MongoDB knows of
// those.

import { createHash } from 'node:crypto';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { PackLocation } from '../../appliance/model/location.ts';
import type { Part, Version } from '../../appliance/model/object.ts';
import type { IndexedEntry } from '../../appliance/model/packer.ts';
import type { Body, ByteRange } from '../../appliance/model/tier.ts';
import { decodeFrames } from '../../appliance/model/zstd-frames.ts';
import { packMayHold, type Owner } from './pack-filter.ts';
import { readHead, readLines, wholeOf, type PackHead, type ReadRange } from './pack-index.ts';

export interface PackSource {
  sizeBytes: number;
  /** Reads a stretch of the pack, from a file or a tier. */
  read: ReadRange;
}

export type RebuiltEntry =
  | { state: 'whole'; entry: IndexedEntry; bytes: Uint8Array }
  /** Its record is right, its bytes are not. */
  | { state: 'rotten'; entry: IndexedEntry }
  /** A line of the index (from 1) that failed its checksum: neither key nor record is known. */
  | { state: 'unnamed'; line: number };

/** What a pack says of itself; Corrupt or FormatUnknown for what is no pack of ours. */
export function describePack(source: PackSource): Promise<PackHead> {
  return readHead(source.sizeBytes, source.read);
}

/**
 * Every object of the pack in its order, one in memory at a time; with an owner only what is that
 * one's: a pack whose filter denies it is not read. Throws Corrupt if the index is gone.
 */
export async function* readPack(source: PackSource, owner?: Owner): AsyncGenerator<RebuiltEntry> {
  if (owner !== undefined && !(await packMayHold(source, owner))) return;
  for await (const line of readLines(source.sizeBytes, source.read)) {
    if ('damagedLine' in line) {
      yield { state: 'unnamed', line: line.damagedLine };
      continue;
    }
    const { offset, length } = line;
    if (owner !== undefined && !isOf(line, owner)) continue;
    const bytes =
      length === 0 ? new Uint8Array(0) : await wholeOf(await source.read({ offset, length }));
    const whole =
      bytes.length === length && createHash('sha256').update(bytes).digest('hex') === line.sha256;
    const plain = whole ? await plainOf(line, bytes) : undefined;
    yield plain === undefined
      ? { state: 'rotten', entry: line }
      : { state: 'whole', entry: line, bytes: plain };
  }
}

const isOf = (entry: IndexedEntry, { bucketId, key }: Owner): boolean =>
  entry.bucketId === bucketId && (key === undefined || entry.key === key);

/** The object's own bytes; undefined where a coded part does not open to its size. */
async function plainOf(entry: IndexedEntry, stored: Uint8Array): Promise<Uint8Array | undefined> {
  const { codedBytes, version } = entry;
  if (codedBytes === undefined) return stored;
  const plain: Uint8Array[] = [];
  let at = 0;
  for (const [i, { sizeBytes: plainBytes }] of version.parts.entries()) {
    const storedBytes = codedBytes[i] as number;
    const own = stored.subarray(at, at + storedBytes);
    at += storedBytes;
    const read = (range: ByteRange): Promise<Body> =>
      Promise.resolve(own.subarray(range.offset, range.offset + range.length));
    try {
      const frames = { storedBytes, plainBytes, read };
      plain.push(await wholeOf(await decodeFrames(frames, { offset: 0, length: plainBytes })));
    } catch (error) {
      if (isFirnError(error, 'Corrupt')) return undefined;
      throw error;
    }
  }
  return Buffer.concat(plain);
}

/**
 * The version record as it stands when the pack holds its bytes: same record, each part naming its
 * stretch of the pack. `locationId` must be fresh for each part.
 */
export function versionInPack(
  entry: IndexedEntry,
  pack: { id: string; tier: string },
  locationId: (part: Part) => string,
): Version {
  let offset = entry.offset;
  const { codec, codedBytes } = entry;
  const parts = entry.version.parts.map((part, i) => {
    const length = codedBytes === undefined ? part.sizeBytes : (codedBytes[i] as number);
    const location: PackLocation = {
      kind: 'pack',
      id: locationId(part),
      tier: pack.tier,
      pack: pack.id,
      offset,
      length,
      ...(codec === undefined ? {} : { codec, plainBytes: part.sizeBytes }),
    };
    offset += length;
    return { ...part, location };
  });
  return { ...entry.version, parts };
}
