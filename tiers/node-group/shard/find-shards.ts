// What the drives alone know about a large object: enough to read, check, rebuild, list and delete
// it without metadata.

import type { DriveFile } from '../../../appliance/model/drive.ts';
import { KiB } from '../../../appliance/model/limits.ts';
import type { ShardLocation } from '../../../appliance/model/location.ts';
import type { Code } from '../codec/field.ts';
import type { GroupContext } from '../group/context.ts';
import { readEnds } from '../group/ends-in.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import { isAbsent } from '../group/missing.ts';
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

interface Ends {
  head: ShardHead;
  tail: ShardTail;
}

/**
 * Head and tail of one drive's file, if both are right and belong there: else 'absent', and 'down'
 * where that is not known, as the drive did not answer. The file stays open for whoever reads more
 * of it.
 */
async function lookAt(
  context: GroupContext,
  seat: Seat,
  id: string,
): Promise<Ends | 'absent' | 'down'> {
  // One that is open may have been removed or replaced since.
  context.shardFiles.drop(seat.position, id);
  const looking = readEndsOf(context, seat, id);
  if (!(await readEnds(context, seat, looking))) return 'down';
  try {
    return (await looking) ?? 'absent';
  } catch (error) {
    if (isAbsent(error)) return 'absent';
    seat.readFailed(error, id);
    return 'down';
  }
}

async function readEndsOf(
  { shardFiles, code, orders }: GroupContext,
  { position }: Seat,
  id: string,
): Promise<Ends | undefined> {
  const open = await shardFiles.use(position, id);
  try {
    const { head, tail } = await endsOf(open.file, code);
    if (head === undefined || tail === undefined) return undefined;
    if (head.id !== id || tail.id !== id || head.lane !== tail.lane) return undefined;
    return orders.of(id, head.away).lanes[position] === head.lane ? { head, tail } : undefined;
  } finally {
    shardFiles.release(open);
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

/**
 * 'absent': none of the drives that are there has a right head and tail; 'down': none that answers
 * has, and not all of them do.
 */
export async function findShards(
  context: GroupContext,
  id: string,
): Promise<FoundShards | 'absent' | 'down'> {
  let isKnown = true;
  for (const seat of inTurn(context, id)) {
    const found = await lookAt(context, seat, id);
    if (found === 'down') isKnown = false;
    if (typeof found === 'string') continue;
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
  return isKnown ? 'absent' : 'down';
}

/**
 * Those that are there: data lanes first, as whoever reads on needs their files, and those that
 * rest last, as one of them may hang.
 */
function inTurn({ seats, orders }: GroupContext, id: string): Seat[] {
  return orders
    .of(id, 0)
    .positions.map((position) => seats[position] as Seat)
    .filter(({ present }) => present)
    .toSorted((a, b) => Number(b.trusted) - Number(a.trusted));
}

const IDENTIFIER = /^[0-9a-f]{32}$/;

/**
 * Names in a directory of a drive that are ids, none where it is not there; 'down' where that is
 * not known: the drive is away, rests, or does not answer.
 */
export const idsIn = (seat: Seat, directory: string): Promise<string[] | 'down'> =>
  namesIn(seat, directory, IDENTIFIER);

async function namesIn(seat: Seat, directory: string, form: RegExp): Promise<string[] | 'down'> {
  if (!seat.trusted) return 'down';
  try {
    return (await seat.drive.list(directory)).filter((name) => form.test(name));
  } catch (error) {
    if (isAbsent(error)) return [];
    seat.readFailed(error);
    return 'down';
  }
}

/** What lies on any of some drives, in order. */
export interface OnAny {
  names: string[];
  /** Drives of which that is not known. */
  unknown: number;
}

/** Ids in a directory of any of these drives. */
export const idsOnAny = (seats: readonly Seat[], directory: string): Promise<OnAny> =>
  namesOnAny(seats, directory, IDENTIFIER);

async function namesOnAny(seats: readonly Seat[], directory: string, form: RegExp): Promise<OnAny> {
  const lists = await Promise.all(seats.map((seat) => namesIn(seat, directory, form)));
  const known = lists.filter((list) => list !== 'down');
  return { names: [...new Set(known.flat())].toSorted(), unknown: lists.length - known.length };
}

/** The subdirectories that any of these drives has. */
export async function shardDirectories(seats: readonly Seat[]): Promise<OnAny> {
  const { names, unknown } = await namesOnAny(seats, SHARD_DIRECTORY, /^[0-9a-f]{2}$/);
  return { names: names.map((name) => `${SHARD_DIRECTORY}/${name}`), unknown };
}

/**
 * Ids that any of these drives has a file of, directory by directory; `after`: from the one behind
 * this id on.
 */
export async function* shardIds(
  seats: readonly Seat[],
  after?: string,
): AsyncGenerator<OnAny, void, undefined> {
  const first = after === undefined ? '' : shardDirectory(after);
  const directories = await shardDirectories(seats);
  for (const directory of directories.names) {
    if (directory < first) continue;
    const { names, unknown } = await idsOnAny(seats, directory);
    const isFirst = after !== undefined && directory === first;
    yield {
      names: isFirst ? names.filter((id) => id > after) : names,
      unknown: Math.max(unknown, directories.unknown),
    };
  }
  if (directories.names.length === 0) yield directories;
}
