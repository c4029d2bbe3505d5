// What the drives alone know about a large object: enough to read, check, rebuild, list and delete
// it without metadata.

import type { DriveFile } from '../../../appliance/model/drive.ts';
import { KiB } from '../../../appliance/model/limits.ts';
import type { ShardLocation } from '../../../appliance/model/location.ts';
import type { Code } from '../codec/field.ts';
import type { GroupContext } from '../group/context.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import type { Seat } from '../drive/seat.ts';
import {
  HEAD_BYTES,
  readHead,
  readTail,
  SHARD_DIRECTORY,
  shardDirectory,
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

/** Up to this size a file is read whole: a second call costs more than copying. */
const WHOLE_BYTES_MAX = 128 * KiB;

/**
 * Head and tail of one drive's file, if both are right and belong there. The file stays open for
 * whoever reads more of it.
 */
async function lookAt(
  context: GroupContext,
  seat: Seat,
  id: string,
): Promise<{ head: ShardHead; tail: ShardTail } | undefined> {
  if (!seat.present) return undefined;
  const { shardFiles } = context;
  // One that is open may have been removed or replaced since.
  shardFiles.drop(seat.position, id);
  try {
    const open = await shardFiles.use(seat.position, id);
    try {
      const { head, tail } = await endsOf(open.file, context.code);
      if (head === undefined || tail === undefined) return undefined;
      if (head.id !== id || tail.id !== id || head.lane !== tail.lane) return undefined;
      const order = context.orders.of(id, head.away);
      return order.lanes[seat.position] === head.lane ? { head, tail } : undefined;
    } finally {
      shardFiles.release(open);
    }
  } catch (error) {
    seat.readFailed(error, id);
    return undefined;
  }
}

async function endsOf(
  file: DriveFile,
  code: Code,
): Promise<{ head: ShardHead | undefined; tail: ShardTail | undefined }> {
  const { sizeBytes } = await file.stat();
  if (sizeBytes < HEAD_BYTES + TAIL_BYTES) return { head: undefined, tail: undefined };
  const bytes = Buffer.allocUnsafe(sizeBytes <= WHOLE_BYTES_MAX ? sizeBytes : HEAD_BYTES);
  if ((await file.read(bytes, 0)) !== bytes.length) return { head: undefined, tail: undefined };
  let end = bytes;
  if (sizeBytes > WHOLE_BYTES_MAX) {
    end = Buffer.alloc(TAIL_BYTES);
    await file.read(end, sizeBytes - TAIL_BYTES);
  }
  return { head: readHead(bytes, code), tail: readTail(end) };
}

/** Undefined where no drive has a right head and tail. */
export async function findShards(
  context: GroupContext,
  id: string,
): Promise<FoundShards | undefined> {
  // Data lanes first: whoever reads on needs their files.
  for (const position of context.orders.of(id, 0).positions) {
    const found = await lookAt(context, context.seats[position] as Seat, id);
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
