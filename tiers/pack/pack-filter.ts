// What a pack cannot hold: the filter (tiers/filter.ts) of its keys and buckets, as an entry right
// before its index. Who looks for one key or bucket in packs alone reads three small ranges of
// those that don't have it, instead of an index of up to 42 MB each. Packs of fewer than 64 objects
// have none, older ones neither: in those the index is looked at, as in one whose filter is
// damaged.

import { MiB } from '../../appliance/model/limits.ts';
import type { PackEntry } from '../../appliance/model/packer.ts';
import { FILTER_RECORDS_MIN, FilterEntries, OwnerFilter } from '../filter.ts';
import { findIndex, readHead, wholeOf, type ReadRange } from './pack-index.ts';

export const FILTER_NAME = 'filter.bin';
/** That of 60,000 objects, each in a bucket of its own, has 180 KB. */
const FILTER_BYTES_MAX = MiB;

/** Whose bytes are looked for; without a key: of any key of the bucket. */
export interface Owner {
  bucketId: string;
  key?: string;
}

/** Undefined: too few entries for it to pay. */
export function filterOf(
  id: string,
  entries: readonly Pick<PackEntry, 'bucketId' | 'key'>[],
): Buffer | undefined {
  if (entries.length < FILTER_RECORDS_MIN) return undefined;
  const filter = new FilterEntries();
  for (const { bucketId, key } of entries) filter.addOwner(`${bucketId}/${key}`);
  return filter.file(id);
}

/** False: surely nothing of the owner was packed into it. Throws Corrupt for what is no pack. */
export async function packMayHold(
  source: { sizeBytes: number; read: ReadRange },
  owner: Owner,
): Promise<boolean> {
  const { sizeBytes, read } = source;
  const [head, index] = await Promise.all([readHead(sizeBytes, read), findIndex(sizeBytes, read)]);
  const { id, filterBytes: length } = head;
  if (length === undefined || !Number.isSafeInteger(length)) return true;
  const offset = index.headerOffset - length;
  if (length <= 0 || length > FILTER_BYTES_MAX || offset < 0) return true;
  const filter = OwnerFilter.read(await wholeOf(await read({ offset, length })), id);
  return filter?.mayHoldOwner(owner) ?? true;
}
