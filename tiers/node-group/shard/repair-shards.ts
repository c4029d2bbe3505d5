// Checks every byte of a large object's shard files and rebuilds those that are missing, damaged,
// cut off or another's. A rebuilt file is byte for byte what the writer wrote. It is made under a
// temporary name and takes the old one's place in one step, so a crash leaves the old state. Names
// are given to many files at once: a directory is synced once for all of them.

import type { DriveFile } from '../../../appliance/model/drive.ts';
import { LARGE_UNITS, type Slot } from '../codec/arena.ts';
import { TEMPORARY } from '../drive/identity.ts';
import type { Seat } from '../drive/seat.ts';
import type { GroupContext } from '../group/context.ts';
import { allEnded } from '../group/all-ended.ts';
import { readEnds } from '../group/ends-in.ts';
import { isAbsent, noLanes, type LaneStates } from '../group/missing.ts';
import type { FoundShards } from './find-shards.ts';
import {
  blockTable,
  geometryOf,
  HEAD_BYTES,
  readHead,
  shardDirectory,
  shardPath,
  writeFooter,
  writeHead,
} from './format.ts';
import { ShardReader } from './shard-reader.ts';

/** Yields bytes read or written since the last time. */
export type Work<T> = AsyncGenerator<number, T, undefined>;

let serial = 0;

/** State of every lane that should hold bytes, all of it read and verified. */
export async function* checkShards(context: GroupContext, found: FoundShards): Work<LaneStates> {
  const states = noLanes();
  for (const [lane, position] of found.order.positions.entries()) {
    if ((((found.order.inUse | found.order.lost) >> lane) & 1) === 0) continue;
    const seat = context.seats[position] as Seat;
    const state = seat.present ? yield* checkLane(context, found, lane) : 'down';
    states[state] |= 1 << lane;
  }
  return states;
}

async function* checkLane(
  context: GroupContext,
  found: FoundShards,
  lane: number,
): Work<keyof LaneStates> {
  const position = found.order.positions[lane] as number;
  // What an open file remembers may be of the file's life before.
  context.shardFiles.drop(position, found.location.id);
  const seat = context.seats[position] as Seat;
  const looking = areEndsRight(context, found, lane);
  if (!(await readEnds(context, seat, looking))) return 'down';
  try {
    if (!(await looking)) return 'damaged';
  } catch (error) {
    if (isAbsent(error)) return 'absent';
    seat.readFailed(error, found.location.id);
    return 'down';
  }
  return yield* checkPieces(context, found, lane);
}

/** Head, length and footer of one lane's file. */
async function areEndsRight(
  context: GroupContext,
  { location, order, head: wanted }: FoundShards,
  lane: number,
): Promise<boolean> {
  const open = await context.shardFiles.use(order.positions[lane] as number, location.id);
  try {
    const bytes = Buffer.alloc(HEAD_BYTES);
    await open.file.read(bytes, 0);
    const head = readHead(bytes, context.code);
    if (head === undefined || head.id !== wanted.id || head.lane !== lane) return false;
    if (head.away !== wanted.away || head.owner !== wanted.owner) return false;
    const reader = new ShardReader(context, location);
    const { footerBytes, footerStart } = reader.geometry;
    if ((await open.file.stat()).sizeBytes !== footerStart + footerBytes) return false;
    return (await reader.footer(open, lane)) !== undefined;
  } finally {
    context.shardFiles.release(open);
  }
}

async function* checkPieces(
  context: GroupContext,
  found: FoundShards,
  lane: number,
): Work<keyof LaneStates> {
  const reader = new ShardReader(context, found.location);
  const { geometry } = reader;
  const target = Buffer.allocUnsafe(geometry.stripes > 0 ? geometry.widthOf(0) : 0);
  for (let stripe = 0; stripe < geometry.stripes; stripe += 1) {
    const columns = { from: 0, to: geometry.widthOf(stripe) };
    const into = target.subarray(0, columns.to);
    const state = await reader.readLane(stripe, lane, { columns, target: into });
    if (state !== 'good') return state;
    yield columns.to;
  }
  return 'good';
}

interface Rebuilt {
  lane: number;
  seat: Seat;
  file: DriveFile;
  temporary: string;
  tables: Buffer[];
  failed: boolean;
}

/** Files of one object that are whole and durable, and wait for their names. */
export interface PreparedShards {
  found: FoundShards;
  lanes: readonly { lane: number; seat: Seat; temporary: string }[];
}

/**
 * Rebuilds the lanes of `want` on their drives from the good ones; which lanes are durable now.
 * Throws as Tier.read when too few are right; drives that can't be written are left out.
 */
export async function* rebuildShards(
  context: GroupContext,
  found: FoundShards,
  want: number,
): Work<number> {
  const prepared = yield* prepareShards(context, found, want);
  return (await nameShards(context, [prepared]))[0] as number;
}

/**
 * The same but for the names, which nameShards gives to many at once. What is not named stays a
 * temporary file. Errors as rebuildShards: then nothing was left.
 */
export async function* prepareShards(
  context: GroupContext,
  found: FoundShards,
  want: number,
): Work<PreparedShards> {
  const lanes = await createAll(context, found, want);
  let whole = false;
  try {
    if (lanes.length > 0) yield* fillAll(context, found, lanes);
    await Promise.all(lanes.map(finish));
    whole = true;
    return { found, lanes: lanes.filter(({ failed }) => !failed) };
  } finally {
    for (const one of lanes) {
      if (!whole) await one.file.close().catch(() => undefined);
      if (!whole || one.failed) await one.seat.drive.remove(one.temporary).catch(() => undefined);
    }
  }
}

/** Sync, close; a drive that fails here is left out. */
async function finish(one: Rebuilt): Promise<void> {
  try {
    if (!one.failed) await one.file.sync();
  } catch (error) {
    fail(one, error);
  } finally {
    await one.file.close().catch(() => undefined);
  }
}

function fail(one: Rebuilt, error: unknown): void {
  one.failed = true;
  one.seat.writeFailed(error);
}

interface Renaming {
  seat: Seat;
  at: number;
  id: string;
  lane: number;
  temporary: string;
}

/**
 * Gives prepared files their names, with one sync of each directory; which lanes of each object are
 * durable now.
 */
export async function nameShards(
  context: GroupContext,
  prepared: readonly PreparedShards[],
): Promise<number[]> {
  const done = prepared.map(() => 0);
  const all = prepared.flatMap(({ found, lanes }, at) =>
    lanes.map((one) => ({ ...one, at, id: found.location.id })),
  );
  const byDirectory = Map.groupBy(all, ({ seat, id }) => `${seat.position}/${shardDirectory(id)}`);
  await allEnded(
    [...byDirectory.values()].map(async (files) => {
      for (const { at, lane } of await nameIn(context, files)) {
        done[at] = (done[at] as number) | (1 << lane);
      }
    }),
  );
  return done;
}

/** All of one drive and directory; those whose names are durable. */
async function nameIn(context: GroupContext, files: readonly Renaming[]): Promise<Renaming[]> {
  const named: Renaming[] = [];
  const { seat, id } = files[0] as Renaming;
  const directory = shardDirectory(id);
  try {
    await seat.drive.makeDirectory(directory);
    await allEnded(
      files.map(async (one) => {
        await seat.drive.rename(one.temporary, shardPath(one.id));
        context.shardFiles.drop(seat.position, one.id);
        named.push(one);
      }),
    );
    await seat.drive.syncDirectory(directory);
    return named;
  } catch (error) {
    seat.writeFailed(error);
    const left = files.filter((one) => !named.includes(one));
    await Promise.all(left.map((one) => seat.drive.remove(one.temporary).catch(() => undefined)));
    return [];
  }
}

async function createAll(
  context: GroupContext,
  found: FoundShards,
  want: number,
): Promise<Rebuilt[]> {
  const lanes: Rebuilt[] = [];
  for (const [lane, position] of found.order.positions.entries()) {
    const seat = context.seats[position] as Seat;
    if (((want >> lane) & 1) === 0 || !seat.trusted) continue;
    serial += 1;
    const temporary = `${TEMPORARY}/${context.nonce}-r${serial}`;
    try {
      const file = await seat.drive.open(temporary, { mode: 'create' });
      lanes.push({ lane, seat, file, temporary, tables: [], failed: false });
    } catch (error) {
      seat.writeFailed(error);
    }
  }
  return lanes;
}

async function* fillAll(
  context: GroupContext,
  found: FoundShards,
  lanes: readonly Rebuilt[],
): Work<void> {
  const { arena } = context.codec;
  const reader = new ShardReader(context, found.location);
  for (const { lane } of lanes) reader.mark(lane, 'absent');
  const { geometry } = reader;
  const want = lanes.reduce((mask, { lane }) => mask | (1 << lane), 0);
  // An empty object's file has a head and a footer.
  if (geometry.stripes === 0) await writeAll(context, found, { lanes, stripe: 0 });
  for (let stripe = 0; stripe < geometry.stripes; stripe += 1) {
    const width = geometry.widthOf(stripe);
    const slot = await arena.acquire(width > arena.laneBytes(1) ? LARGE_UNITS : 1);
    try {
      const have = await reader.gather(stripe, slot, { from: 0, to: width });
      const masks = { have, empty: found.order.empty, want };
      context.codec.rebuild(slot, masks, { from: 0, bytes: width });
      await writeAll(context, found, { lanes, stripe, slot });
    } finally {
      reader.release(slot);
    }
    yield width * (geometry.dataLanes + lanes.length);
  }
}

/** One write a file: head and footer go with the first and the last piece. */
async function writeAll(
  context: GroupContext,
  found: FoundShards,
  what: { lanes: readonly Rebuilt[]; stripe: number; slot?: Slot },
): Promise<void> {
  const { stripe, slot } = what;
  const geometry = geometryOf(found.location, context.code);
  const at = stripe === 0 ? 0 : geometry.startOf(stripe);
  await allEnded(
    what.lanes.map(async (one) => {
      if (one.failed) return;
      const parts: Buffer[] = [];
      if (at === 0) parts.push(writeHead({ ...found.head, lane: one.lane }, context.code));
      if (slot !== undefined) {
        const piece = (slot.lanes[one.lane] as Buffer).subarray(0, geometry.widthOf(stripe));
        one.tables.push(blockTable(piece));
        parts.push(piece);
      }
      if (stripe + 1 >= geometry.stripes) parts.push(footerOf(found, one));
      await one.file.write(parts, at).catch((error: unknown) => fail(one, error));
    }),
  );
}

function footerOf({ location, checksum }: FoundShards, { lane, tables }: Rebuilt): Buffer {
  const { id, length } = location;
  return writeFooter({ id, lane, length, checksum }, Buffer.concat(tables));
}
