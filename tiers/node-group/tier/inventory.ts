// What lies on the drives, for the orphan sweep, rebuild and usage. Room is told as `du` would: by
// what the files take up on their devices, holes and all; the danger is a figure that looks like
// room and isn't.

import type { DriveRoom, GroupContents, GroupRoom } from '../../../appliance/model/node-group.ts';
import type { ListedBlob, ListOptions, TierUsage } from '../../../appliance/model/tier.ts';
import { TEMPORARY } from '../drive/identity.ts';
import type { Seat } from '../drive/seat.ts';
import type { GroupContext } from '../group/context.ts';
import { SEGMENT_DIRECTORY } from '../segment/format.ts';
import { loadFilter } from '../segment/owner-filter.ts';
import { recordsOfSegment } from '../segment/walk.ts';
import { findShards, idsIn, idsOnAny, shardDirectories, shardIds } from '../shard/find-shards.ts';
import { SHARD_DIRECTORY } from '../shard/format.ts';
import type { NodeGroup } from './node-group.ts';

/**
 * Large objects of a group, also those of which only one drive has a file. What is skipped is not
 * opened: its name in the folder is all that is read of it.
 */
export async function* listShards(
  context: GroupContext,
  skip: ListOptions['skip'],
): AsyncGenerator<ListedBlob, void, undefined> {
  for await (const { names } of shardIds(context.seats)) {
    for (const id of names) {
      if (skip?.(id) === true) continue;
      const found = await findShards(context, id);
      if (typeof found === 'string') continue;
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

/** Large objects with k files at least, directory by directory; whoever can't tell is given his. */
export async function* wholeShards({
  seats,
  code,
}: GroupContext): AsyncGenerator<string[], void, undefined> {
  for (const directory of (await shardDirectories(seats)).names) {
    const lists = await Promise.all(seats.map((seat) => idsIn(seat, directory)));
    const known = lists.filter((list) => list !== 'down');
    const away = lists.length - known.length;
    const files = new Map<string, number>();
    for (const id of known.flat()) files.set(id, (files.get(id) ?? away) + 1);
    yield [...files].flatMap(([id, count]) => (count >= code.k ? [id] : []));
  }
}

export const isOwn = ({ owner }: ListedBlob, asked: ListOptions['owner']): boolean =>
  asked === undefined ||
  (owner?.bucketId === asked.bucketId && (asked.key === undefined || owner.key === asked.key));

/** Records of a group's segments; of those whose filter denies the owner nothing is read. */
export async function* listRecords(
  group: NodeGroup,
  owner: ListOptions['owner'],
): AsyncGenerator<ListedBlob, void, undefined> {
  for (const segment of await group.segmentIds()) {
    if (owner !== undefined) {
      const filter = await loadFilter(group.context, segment);
      if (filter?.mayHoldOwner(owner) === false) continue;
    }
    for await (const record of recordsOfSegment(group.context, segment)) {
      const { bucketId, key, location, length } = record;
      const blob = { location, sizeBytes: length, owner: { bucketId, key } };
      if (isOwn(blob, owner)) yield blob;
    }
  }
}

interface Held {
  segmentBytes: number;
  shardBytes: number;
  journalBytes: number;
  otherBytes: number;
  shards: Set<string>;
  segments: Set<string>;
}

/** Where the metadata store keeps its copies on these drives: of it only the room is our matter. */
const JOURNAL_DIRECTORY = 'journal';
/** Deeper than anything that we make. */
const DEPTH_MAX = 4;

/** What a file or folder takes up, with all that is in it; 0 where it is gone. */
async function bytesBelow(seat: Seat, path: string, depth = 0): Promise<number> {
  const { drive } = seat;
  const stat = await drive.stat(path === '' ? '.' : path).catch(() => undefined);
  if (stat === undefined) return 0;
  let bytes = stat.allocatedBytes;
  if (depth > DEPTH_MAX) return bytes;
  for (const name of await drive.list(path).catch((): string[] => [])) {
    bytes += await bytesBelow(seat, `${path}/${name}`, depth + 1);
  }
  return bytes;
}

/** Bytes that our files take up on one drive. */
async function heldBy(seat: Seat): Promise<Held> {
  const held: Held = {
    segmentBytes: 0,
    shardBytes: 0,
    journalBytes: 0,
    otherBytes: 0,
    shards: new Set(),
    segments: new Set(),
  };
  if (!seat.present) return held;
  const add = async (directory: string, ids: Set<string>): Promise<number> => {
    let bytes = 0;
    for (const id of (await idsOnAny([seat], directory)).names) {
      const stat = await seat.drive.stat(`${directory}/${id}`).catch(() => undefined);
      if (stat === undefined) continue;
      bytes += stat.allocatedBytes;
      if (stat.allocatedBytes > 0) ids.add(id);
    }
    return bytes;
  };
  const own = async (path: string): Promise<number> =>
    (await seat.drive.stat(path).catch(() => undefined))?.allocatedBytes ?? 0;
  held.segmentBytes = await add(SEGMENT_DIRECTORY, held.segments);
  held.otherBytes =
    (await own('.')) + (await own(SEGMENT_DIRECTORY)) + (await own(SHARD_DIRECTORY));
  for (const directory of (await shardDirectories([seat])).names) {
    held.shardBytes += await add(directory, held.shards);
    held.otherBytes += await own(directory);
  }
  for (const name of await seat.drive.list('').catch((): string[] => [])) {
    if (name === SEGMENT_DIRECTORY || name === SHARD_DIRECTORY) continue;
    const bytes = await bytesBelow(seat, name);
    if (name === JOURNAL_DIRECTORY) held.journalBytes += bytes;
    else held.otherBytes += bytes;
  }
  return held;
}

const heldBytes = (held: Held): number =>
  held.segmentBytes + held.shardBytes + held.journalBytes + held.otherBytes;

/**
 * Room of each group by what the devices say, without a look at files: undefined where drives share
 * a device.
 */
export function quickRooms(groups: readonly NodeGroup[]): GroupRoom[] | undefined {
  const usages = groups.flatMap(({ context }) => context.seats.map(({ usage }) => usage));
  const devices = usages.filter((usage) => usage !== undefined).map(({ device }) => device);
  if (new Set(devices).size < devices.length) return undefined;
  return groups.map((group) => {
    const drives = group.context.seats.map(({ position, drive, usage }): DriveRoom => {
      const { capacityBytes, freeBytes } = usage ?? { capacityBytes: 0, freeBytes: 0 };
      const heldBytes = capacityBytes - freeBytes;
      return { position, path: drive.path, capacityBytes, freeBytes, heldBytes };
    });
    const sum = (of: (one: DriveRoom) => number): number =>
      drives.reduce((total, one) => total + of(one), 0);
    return {
      group: group.context.group,
      dataShare: group.context.code.k / group.context.code.n,
      writable: group.writable && !group.draining,
      draining: group.draining,
      capacityBytes: sum((one) => one.capacityBytes),
      freeBytes: sum((one) => one.freeBytes),
      heldBytes: sum((one) => one.heldBytes),
      segmentBytes: 0,
      shardBytes: 0,
      journalBytes: 0,
      otherBytes: 0,
      deadBytes: 0,
      blobs: 0,
      drives,
    };
  });
}

/**
 * Room of each group. Drives that share a device share its room: each gets an equal part of it, and
 * of what others' files on it take up.
 */
export async function roomsOf(groups: readonly NodeGroup[]): Promise<GroupRoom[]> {
  const held = new Map<Seat, Held>();
  const devices = new Map<string, { seats: number; heldBytes: number }>();
  for (const { context } of groups) {
    const all = await Promise.all(context.seats.map(heldBy));
    for (const [i, seat] of context.seats.entries()) {
      held.set(seat, all[i] as Held);
      if (seat.usage === undefined) continue;
      const device = devices.get(seat.usage.device) ?? { seats: 0, heldBytes: 0 };
      device.seats += 1;
      device.heldBytes += heldBytes(all[i] as Held);
      devices.set(seat.usage.device, device);
    }
  }
  const roomOn = (seat: Seat): DriveRoom => {
    const { position, drive, usage } = seat;
    const own = heldBytes(held.get(seat) as Held);
    const room = { position, path: drive.path, heldBytes: own, capacityBytes: 0, freeBytes: 0 };
    const device = usage && devices.get(usage.device);
    if (usage === undefined || device === undefined) return room;
    const foreign = Math.max(0, usage.capacityBytes - usage.freeBytes - device.heldBytes);
    room.capacityBytes = Math.floor(usage.capacityBytes / device.seats);
    room.freeBytes = Math.max(0, room.capacityBytes - own - Math.ceil(foreign / device.seats));
    return room;
  };
  return Promise.all(
    groups.map(async (group) => {
      const ofDrives = group.context.seats.map((seat) => held.get(seat) as Held);
      return roomOfGroup(group, ofDrives, group.context.seats.map(roomOn));
    }),
  );
}

async function roomOfGroup(
  group: NodeGroup,
  held: readonly Held[],
  drives: DriveRoom[],
): Promise<GroupRoom> {
  const { code, group: number } = group.context;
  const sum = (of: (one: Held) => number): number =>
    held.reduce((total, one) => total + of(one), 0);
  const ids = (of: (one: Held) => Set<string>): number =>
    held.reduce((all, one) => all.union(of(one)), new Set<string>()).size;
  let deadBytes = 0;
  for (const { bytes } of (await group.notes.read()).values()) deadBytes += bytes;
  return {
    group: number,
    dataShare: code.k / code.n,
    writable: group.writable && !group.draining,
    draining: group.draining,
    capacityBytes: drives.reduce((total, one) => total + one.capacityBytes, 0),
    freeBytes: drives.reduce((total, one) => total + one.freeBytes, 0),
    heldBytes: sum(heldBytes),
    segmentBytes: sum((one) => one.segmentBytes),
    shardBytes: sum((one) => one.shardBytes),
    journalBytes: sum((one) => one.journalBytes),
    otherBytes: sum((one) => one.otherBytes),
    deadBytes,
    blobs: ids((one) => one.segments) + ids((one) => one.shards),
    drives,
  };
}

/** Blobs here are files of drives: a large object counts as one, and so does a whole segment. */
export function usageOf(rooms: readonly GroupRoom[]): TierUsage {
  let [free, used, blobs] = [0, 0, 0];
  for (const room of rooms) {
    used += (room.segmentBytes + room.shardBytes) * room.dataShare;
    free += room.freeBytes * room.dataShare;
    blobs += room.blobs;
  }
  return { capacityBytes: Math.floor(used + free), usedBytes: Math.ceil(used), blobs };
}

/** Files of objects on the drives of a group that are present. */
export async function contentsOf({ context }: NodeGroup): Promise<GroupContents> {
  const present = context.seats.filter((seat) => seat.present);
  const namesIn = async (directory: string): Promise<string[]> => {
    const lists = await Promise.all(
      present.map((seat) =>
        seat.drive.list(directory).catch((error: unknown) => {
          if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
          throw error;
        }),
      ),
    );
    return [...new Set(lists.flat())];
  };
  // In this order: a write under way is renamed from the one to the other.
  const temporary = (await namesIn(TEMPORARY)).filter((name) => !name.startsWith('trial-'));
  let shards = 0;
  for (const prefix of await namesIn(SHARD_DIRECTORY)) {
    shards += (await namesIn(`${SHARD_DIRECTORY}/${prefix}`)).length;
  }
  const segments = (await namesIn(SEGMENT_DIRECTORY)).length;
  const journal = (await namesIn(JOURNAL_DIRECTORY)).length;
  return { segments, shards, temporary: temporary.length, journal };
}
