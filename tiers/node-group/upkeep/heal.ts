// Refills a replaced drive from the others. It needs no metadata: their directories say which shard
// files and segments exist, their heads which lane the new drive holds of each. Several files are
// made at once and named together, so that syncs overlap and a directory is synced once for many.
// Passes are repeated until one finds nothing missing, because writers that had not noticed the
// change yet may have gone on for a moment; only then does the drive lose its mark `healing`. The
// danger is a pass that finds nothing because nobody answered: what could not be looked at is never
// taken for what is not there.

import { isFirnError } from '../../../appliance/model/errors.ts';
import { newId } from '../../../appliance/model/ids.ts';
import { IDENTITY_FILE, replaceIdentity } from '../drive/identity.ts';
import type { Seat } from '../drive/seat.ts';
import { bits, type GroupContext } from '../group/context.ts';
import { SEGMENT_DIRECTORY } from '../segment/format.ts';
import { segmentPath } from '../segment/open-segment.ts';
import { rebuildSegmentFile, repairBatch, repairSeal } from '../segment/repair-segment.ts';
import { isSettled, walkSegment } from '../segment/walk.ts';
import { findShards, idsIn, shardIds, type FoundShards, type OnAny } from '../shard/find-shards.ts';
import { shardDirectory } from '../shard/format.ts';
import {
  checkShards,
  nameShards,
  prepareShards,
  type PreparedShards,
} from '../shard/repair-shards.ts';
import { segmentsOn } from './dead-notes.ts';
import { tellLossOfShards } from './losses.ts';
import { shareOf, tellShare, type Report, type Work } from './step-job.ts';

const PASSES_MAX = 6;
/** Shard files made at once, and named at once. */
const FLIGHTS = 32;
const NAMED_AT_ONCE = 64;
/** Larger objects are made alone: a step of them is one stripe. */
const ALONE_FROM_BYTES = 4 * 1024 * 1024;
/** Times of files are only about so exact. */
const SLACK_MS = 1_000;

interface Pass {
  made: number;
  /** Something could not be made now: the drive stays in healing. */
  short: boolean;
}

export async function* healGroup(context: GroupContext, report: Report): Work {
  for (const seat of context.seats) {
    for (let pass = 0; pass < PASSES_MAX && seat.trusted && seat.identity?.healing; pass += 1) {
      report.place = { group: context.group, position: seat.position, share: 0 };
      const result: Pass = { made: 0, short: false };
      yield* healShards(context, seat, { report, result });
      yield* healSegments(context, seat, { report, result });
      report.repaired += result.made;
      if (result.short || !seat.trusted) {
        report.short = true;
        break;
      }
      if (result.made > 0) continue;
      if (await isSettledIn(context, seat)) await markWhole(context, seat);
      else break;
    }
  }
}

/**
 * True once every process has had time to notice the new drive: until then one may still append to
 * a segment whose file on the old drive is gone.
 */
async function isSettledIn(context: GroupContext, seat: Seat): Promise<boolean> {
  const { modifiedMs } = await seat.drive.stat(IDENTITY_FILE);
  return context.clock.wall() - modifiedMs > 3 * context.settings.probeMs;
}

/**
 * Whether all that has its full redundancy must lie on those of the others that were asked: no more
 * than m are out, with the one that is refilled. (What was written with less is healed by its
 * location.)
 */
const areEnough = ({ code }: GroupContext, { unknown }: OnAny): boolean => unknown < code.m;

async function markWhole(context: GroupContext, seat: Seat): Promise<void> {
  const { healing: _, ...identity } = seat.identity as NonNullable<Seat['identity']>;
  await replaceIdentity(seat.drive, identity, newId(context.random));
  seat.identity = identity;
}

interface Progress {
  report: Report;
  result: Pass;
}

interface Making extends Progress {
  /** Each: what is made of one object, or names that are given. Bytes. */
  flights: Promise<number>[];
  /** Whole, and waiting for their names. */
  prepared: PreparedShards[];
  large: FoundShards[];
}

/** Makes this drive's files, several at once; while they sync, others get their names. */
async function* healShards(context: GroupContext, seat: Seat, progress: Progress): Work {
  const making: Making = { ...progress, flights: [], prepared: [], large: [] };
  const others = context.seats.filter((other) => other !== seat);
  try {
    for await (const found of shardIds(others)) {
      if (!areEnough(context, found)) making.result.short = true;
      const [first] = found.names;
      if (first === undefined) continue;
      tellShare(progress.report, shareOf({ shard: first }));
      const own = await idsIn(seat, shardDirectory(first));
      const held = new Set(own === 'down' ? [] : own);
      for (const id of found.names) {
        if (held.has(id)) continue;
        if (own === 'down' || !seat.trusted) {
          making.result.short = true;
          return;
        }
        yield* takeOff(making, () => healShard(context, seat, { ...making, id }));
        yield* healLarge(context, seat, making);
        if (making.prepared.length < NAMED_AT_ONCE) continue;
        yield* takeOff(making, () => giveNames(context, making));
      }
    }
    yield* land(making);
    yield* healLarge(context, seat, making);
  } finally {
    await Promise.allSettled(making.flights);
    await giveNames(context, making);
  }
}

/** Begins one more, once fewer than FLIGHTS are under way. */
async function* takeOff({ flights }: Making, begin: () => Promise<number>): Work {
  while (flights.length >= FLIGHTS) yield (await flights.shift()) as number;
  const flight = begin();
  // It may fail while another one is waited for.
  flight.catch(() => undefined);
  flights.push(flight);
}

async function* land({ flights }: Making): Work {
  while (flights.length > 0) yield (await flights.shift()) as number;
}

/** Looks at an object and makes the file, unless it is so large that it is made alone. */
async function healShard(
  context: GroupContext,
  seat: Seat,
  of: Making & { id: string },
): Promise<number> {
  of.report.checked += 1;
  const found = await findShards(context, of.id);
  if (found === 'down') of.result.short = true;
  if (typeof found === 'string' || !holdsOn(found, seat)) return 0;
  if (found.location.length >= ALONE_FROM_BYTES) {
    of.large.push(found);
    return 0;
  }
  return ended(healOne(context, seat, { ...of, found }));
}

async function* healLarge(context: GroupContext, seat: Seat, making: Making): Work {
  for (const found of making.large.splice(0)) {
    yield* healOne(context, seat, { ...making, found });
  }
}

/** Those that are prepared by now. */
async function giveNames(context: GroupContext, { prepared, result }: Making): Promise<number> {
  for (const lanes of await nameShards(context, prepared.splice(0))) {
    if (lanes === 0) result.short = true;
    else result.made += 1;
  }
  return 0;
}

/** Whether this drive is to hold a file of the object. */
function holdsOn({ order }: FoundShards, seat: Seat): boolean {
  return (((order.inUse | order.lost) >> (order.lanes[seat.position] as number)) & 1) === 1;
}

async function* healOne(
  context: GroupContext,
  seat: Seat,
  of: Progress & { found: FoundShards; prepared: PreparedShards[] },
): Work {
  const { found, prepared, report, result } = of;
  try {
    const lane = 1 << (found.order.lanes[seat.position] as number);
    const files = yield* prepareShards(context, found, lane);
    if (files.lanes.length === 0) result.short = true;
    else prepared.push(files);
  } catch (error) {
    if (!isFirnError(error)) throw error;
    if (error.code !== 'TierMissing' && error.code !== 'Corrupt') {
      result.short = true;
      return;
    }
    const states = yield* checkShards(context, found);
    await tellLossOfShards(context, found, { report, states, why: error.message });
  }
}

/** Runs bounded work through; its bytes. */
async function ended(work: Work): Promise<number> {
  let bytes = 0;
  for await (const more of work) bytes += more;
  return bytes;
}

async function* healSegments(context: GroupContext, seat: Seat, progress: Progress): Work {
  const { report, result } = progress;
  const others = context.seats.filter((other) => other !== seat);
  const found = await segmentsOn(context, others);
  const own = await idsIn(seat, SEGMENT_DIRECTORY);
  if (own === 'down' || !areEnough(context, found)) result.short = true;
  if (own === 'down') return;
  const held = new Set(own);
  const since = (await seat.drive.stat(IDENTITY_FILE)).modifiedMs - SLACK_MS;
  for (const [index, segment] of found.names.entries()) {
    if (!seat.trusted) {
      result.short = true;
      return;
    }
    tellShare(report, shareOf({ segment: index, of: found.names.length }));
    if (!held.has(segment)) {
      report.checked += 1;
      const settled = await isSettled(context, segment);
      const outcome = yield* rebuildSegmentFile(context, {
        position: seat.position,
        segment,
        settled,
        lost: (start) =>
          void report.lost.push(`${context.tier}/${segment}: the batch at ${start} is damaged`),
      });
      if (outcome === 'made') result.made += 1;
      if (outcome === 'short') result.short = true;
    } else if (await hasGrown(others, segment, since)) {
      yield* catchUp(context, seat, { ...progress, segment });
    }
  }
}

/**
 * Whether a writer that had not noticed the change yet may have written to it: also one that has
 * ended it since.
 */
async function hasGrown(others: readonly Seat[], segment: string, since: number): Promise<boolean> {
  const stats = await Promise.all(
    others
      .filter(({ present }) => present)
      .map(({ drive }) => drive.stat(segmentPath(segment)).catch(() => undefined)),
  );
  return stats.some((stat) => stat !== undefined && stat.modifiedMs > since);
}

/** A segment that may still grow, or grew while it was rebuilt: every batch once more. */
async function* catchUp(
  context: GroupContext,
  seat: Seat,
  of: Progress & { segment: string },
): Work {
  for await (const walked of walkSegment(context, of.segment, seat.position)) {
    if (walked.kind === 'unknown') of.result.short = true;
    if (walked.kind === 'unknown' || walked.kind === 'gap' || walked.found === undefined) continue;
    if (walked.kind === 'end') {
      of.result.made += await repairSeal(context, walked.found, seat.position);
      continue;
    }
    const { found } = walked;
    const { states, repaired, lost, bytes } = await repairBatch(context, found, seat.position);
    of.result.made += bits(repaired);
    const own = 1 << (found.order.lanes[seat.position] as number);
    const wrong = (states.absent | states.damaged | states.down) & ~repaired;
    if (!lost && (wrong & own) !== 0) of.result.short = true;
    yield bytes;
  }
}
