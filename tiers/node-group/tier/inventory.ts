// What lies on the drives, for the orphan sweep, rebuild and usage.

import type { ListedBlob, TierUsage } from '../../../appliance/model/tier.ts';
import { roomOf } from '../drive/watch.ts';
import type { Seat } from '../drive/seat.ts';
import type { GroupContext } from '../group/context.ts';
import { SEGMENT_DIRECTORY } from '../segment/format.ts';
import { findShards, idsIn, shardDirectories, shardIds } from '../shard/find-shards.ts';

/** Large objects of a group, also those of which only one drive has a file. */
export async function* listShards(
  context: GroupContext,
): AsyncGenerator<ListedBlob, void, undefined> {
  for await (const ids of shardIds(context.seats)) {
    for (const id of ids) {
      const found = await findShards(context, id);
      if (found === undefined) continue;
      const { owner } = found.head;
      const slash = owner.indexOf('/');
      yield {
        location: found.location,
        sizeBytes: found.location.length,
        owner: { bucketId: owner.slice(0, slash), key: owner.slice(slash + 1) },
      };
    }
  }
}

interface Held {
  bytes: number;
  shards: Set<string>;
  segments: Set<string>;
}

/** Bytes that our files take up on one drive. */
async function heldBy(seat: Seat): Promise<Held> {
  const held: Held = { bytes: 0, shards: new Set(), segments: new Set() };
  if (!seat.present) return held;
  const add = async (directory: string, ids: Set<string>): Promise<void> => {
    for (const id of await idsIn(seat, directory)) {
      const stat = await seat.drive.stat(`${directory}/${id}`).catch(() => undefined);
      if (stat === undefined) continue;
      held.bytes += stat.allocatedBytes;
      if (stat.allocatedBytes > 0) ids.add(id);
    }
  };
  await add(SEGMENT_DIRECTORY, held.segments);
  for (const directory of await shardDirectories([seat])) await add(directory, held.shards);
  return held;
}

/** Blobs here are files of drives: a large object counts as one, and so does a whole segment. */
export async function usageOf(groups: readonly GroupContext[]): Promise<TierUsage> {
  const seats = groups.flatMap((context) => context.seats);
  const { freeBytes } = roomOf(seats);
  let bytes = 0;
  let blobs = 0;
  for (const context of groups) {
    const held = await Promise.all(context.seats.map(heldBy));
    for (const one of held) bytes += one.bytes;
    blobs += held.reduce((all, one) => all.union(one.shards), new Set<string>()).size;
    const segments = held.reduce((all, one) => all.union(one.segments), new Set<string>());
    blobs += segments.size;
  }
  const code = groups[0]?.code;
  const share = code === undefined ? 1 : code.k / code.n;
  return {
    capacityBytes: Math.floor((bytes + freeBytes) * share),
    usedBytes: Math.ceil(bytes * share),
    blobs,
  };
}
