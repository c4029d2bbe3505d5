// What the drives alone know about a large object: enough to read, check, rebuild, list and delete
// it without metadata.

import type { ShardLocation } from '../../../appliance/model/location.ts';
import type { GroupContext } from '../group/context.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import type { Seat } from '../drive/seat.ts';
import {
  HEAD_BYTES,
  readHead,
  readTail,
  SHARD_DIRECTORY,
  shardDirectory,
  shardPath,
  TAIL_BYTES,
  type ShardHead,
  type ShardTail,
} from './format.ts';

export interface FoundShards {
  location: ShardLocation;
  head: ShardHead;
  order: LaneOrder;
  checksum: bigint;
}

/** Head and tail of one drive's file, if both are right and belong there. */
async function lookAt(
  context: GroupContext,
  seat: Seat,
  id: string,
): Promise<{ head: ShardHead; tail: ShardTail } | undefined> {
  if (!seat.present) return undefined;
  try {
    const file = await seat.drive.open(shardPath(id), { mode: 'read' });
    try {
      const { sizeBytes } = await file.stat();
      const bytes = Buffer.alloc(HEAD_BYTES);
      if ((await file.read(bytes, 0)) !== HEAD_BYTES || sizeBytes < HEAD_BYTES) return undefined;
      const head = readHead(bytes, context.code);
      const end = Buffer.alloc(TAIL_BYTES);
      await file.read(end, sizeBytes - TAIL_BYTES);
      const tail = readTail(end);
      if (head === undefined || tail === undefined) return undefined;
      if (head.id !== id || tail.id !== id || head.lane !== tail.lane) return undefined;
      const order = context.orders.of(id, head.away);
      return order.lanes[seat.position] === head.lane ? { head, tail } : undefined;
    } finally {
      await file.close();
    }
  } catch (error) {
    seat.readFailed(error, id);
    return undefined;
  }
}

/** Undefined where no drive has a right head and tail. */
export async function findShards(
  context: GroupContext,
  id: string,
): Promise<FoundShards | undefined> {
  for (const seat of context.seats) {
    const found = await lookAt(context, seat, id);
    if (found === undefined) continue;
    const { head, tail } = found;
    const order = context.orders.of(id, head.away);
    const location: ShardLocation = {
      kind: 'shards',
      id,
      tier: context.tier,
      group: context.group,
      length: tail.length,
      code: context.code.name,
      stripeBytes: head.stripeBytes,
      empty: order.empty,
      unconfirmed: order.lost,
    };
    if (head.away !== 0) location.away = head.away;
    return { location, head, order, checksum: tail.checksum };
  }
  return undefined;
}

const IDENTIFIER = /^[0-9a-f]{32}$/;

/** Names in a directory of a drive that are ids; none where it is not there. */
export async function idsIn(seat: Seat, directory: string): Promise<string[]> {
  if (!seat.present) return [];
  try {
    return (await seat.drive.list(directory)).filter((name) => IDENTIFIER.test(name));
  } catch (error) {
    seat.readFailed(error);
    return [];
  }
}

/** The subdirectories that any of these drives has. */
export async function shardDirectories(seats: readonly Seat[]): Promise<string[]> {
  const lists = await Promise.all(
    seats
      .filter(({ present }) => present)
      .map((seat) => seat.drive.list(SHARD_DIRECTORY).catch((): string[] => [])),
  );
  const names = new Set(lists.flat().filter((name) => /^[0-9a-f]{2}$/.test(name)));
  return [...names].toSorted().map((name) => `${SHARD_DIRECTORY}/${name}`);
}

/**
 * Ids that any of these drives has a file of, directory by directory; `after`: from the one behind
 * this id on.
 */
export async function* shardIds(
  seats: readonly Seat[],
  after?: string,
): AsyncGenerator<string[], void, undefined> {
  const first = after === undefined ? '' : shardDirectory(after);
  for (const directory of await shardDirectories(seats)) {
    if (directory < first) continue;
    const lists = await Promise.all(seats.map((seat) => idsIn(seat, directory)));
    const ids = [...new Set(lists.flat())].toSorted();
    yield after !== undefined && directory === first ? ids.filter((id) => id > after) : ids;
  }
}
