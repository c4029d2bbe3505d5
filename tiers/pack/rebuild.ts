// Gets everything back out of packs alone, with no metadata left: each object with its whole
// version record and its bytes, every one held against the SHA-256 in the index. Used by rebuild
// and export. What is damaged is reported beside the rest, because one rotten entry must not cost
// the others. Deletes made after packing are not in packs: only the journal or MongoDB knows of
// those.

import { createHash } from 'node:crypto';
import type { PackLocation } from '../../appliance/model/location.ts';
import type { Part, Version } from '../../appliance/model/object.ts';
import type { IndexedEntry } from '../../appliance/model/packer.ts';
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
 * Every object of the pack in its order, one in memory at a time. Throws Corrupt if the index is
 * gone.
 */
export async function* readPack(source: PackSource): AsyncGenerator<RebuiltEntry> {
  for await (const line of readLines(source.sizeBytes, source.read)) {
    if ('damagedLine' in line) {
      yield { state: 'unnamed', line: line.damagedLine };
      continue;
    }
    const { offset, length } = line;
    const bytes =
      length === 0 ? new Uint8Array(0) : await wholeOf(await source.read({ offset, length }));
    const whole =
      bytes.length === length && createHash('sha256').update(bytes).digest('hex') === line.sha256;
    yield whole ? { state: 'whole', entry: line, bytes } : { state: 'rotten', entry: line };
  }
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
  const parts = entry.version.parts.map((part) => {
    const location: PackLocation = {
      kind: 'pack',
      id: locationId(part),
      tier: pack.tier,
      pack: pack.id,
      offset,
      length: part.sizeBytes,
    };
    offset += part.sizeBytes;
    return { ...part, location };
  });
  return { ...entry.version, parts };
}
