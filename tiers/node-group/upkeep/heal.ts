// Refills a replaced drive from the others. It needs no metadata: their directories say which shard
// files and segments exist, their heads which lane the new drive holds of each. Passes are repeated
// until one finds nothing missing, because writers that had not noticed the change yet may have
// gone on for a moment; only then does the drive lose its mark `healing`.

import { isFirnError } from '../../../appliance/model/errors.ts';
import { newId } from '../../../appliance/model/ids.ts';
import { IDENTITY_FILE, replaceIdentity } from '../drive/identity.ts';
import type { Seat } from '../drive/seat.ts';
import { bits, type GroupContext } from '../group/context.ts';
import { SEGMENT_DIRECTORY } from '../segment/format.ts';
import { rebuildSegmentFile, repairBatch } from '../segment/repair-segment.ts';
import { isSettled, walkSegment } from '../segment/walk.ts';
import { findShards, idsIn, shardIds } from '../shard/find-shards.ts';
import { shardDirectory } from '../shard/format.ts';
import { rebuildShards } from '../shard/repair-shards.ts';
import { shareOf, tellShare, type Report, type Work } from './step-job.ts';

const PASSES_MAX = 6;

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
      if (result.short) break;
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

async function markWhole(context: GroupContext, seat: Seat): Promise<void> {
  const { healing: _, ...identity } = seat.identity as NonNullable<Seat['identity']>;
  await replaceIdentity(seat.drive, identity, newId(context.random));
  seat.identity = identity;
}

interface Progress {
  report: Report;
  result: Pass;
}

async function* healShards(context: GroupContext, seat: Seat, progress: Progress): Work {
  const { report, result } = progress;
  const others = context.seats.filter((other) => other !== seat);
  for await (const ids of shardIds(others)) {
    if (ids.length === 0) continue;
    tellShare(report, shareOf({ shard: ids[0] as string }));
    const own = new Set(await idsIn(seat, shardDirectory(ids[0] as string)));
    for (const id of ids) {
      if (own.has(id) || !seat.trusted) continue;
      report.checked += 1;
      const found = await findShards(context, id);
      const lane = 1 << (found?.order.lanes[seat.position] ?? 0);
      if (found === undefined || ((found.order.inUse | found.order.lost) & lane) === 0) continue;
      try {
        const done = yield* rebuildShards(context, found, lane);
        if (done === lane) result.made += 1;
        else result.short = true;
      } catch (error) {
        if (!isFirnError(error)) throw error;
        result.short ||= error.code !== 'TierMissing' && error.code !== 'Corrupt';
        if (error.code === 'Corrupt') report.lost.push(`${context.tier}/${id}: ${error.message}`);
      }
    }
  }
}

async function* healSegments(context: GroupContext, seat: Seat, progress: Progress): Work {
  const { report, result } = progress;
  const others = context.seats.filter((other) => other !== seat);
  const lists = await Promise.all(others.map((other) => idsIn(other, SEGMENT_DIRECTORY)));
  const own = new Set(await idsIn(seat, SEGMENT_DIRECTORY));
  const segments = new Set(lists.flat().toSorted());
  for (const [index, segment] of [...segments].entries()) {
    if (!seat.trusted) return;
    tellShare(report, shareOf({ segment: index, of: segments.size }));
    if (!own.has(segment)) {
      report.checked += 1;
      const outcome = yield* rebuildSegmentFile(context, seat.position, segment);
      if (outcome === 'made') result.made += 1;
      if (outcome === 'short') result.short = true;
    } else if (!(await isSettled(context, segment))) {
      yield* catchUp(context, segment, progress);
    }
  }
}

/** A segment that may still grow, or grew while it was rebuilt: every batch once more. */
async function* catchUp(context: GroupContext, segment: string, progress: Progress): Work {
  for await (const walked of walkSegment(context, segment)) {
    if (walked.kind !== 'batch') continue;
    const { repaired, bytes } = await repairBatch(context, walked.found);
    progress.result.made += bits(repaired);
    yield bytes;
  }
}
