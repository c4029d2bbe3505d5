// Reads everything back and repairs what is missing, damaged, cut off, swapped or misplaced, before
// a second fault makes it unrepairable: with m drives gone, some object is hit by a bad sector too
// often unless every lane is read from time to time. What can't be repaired is told, never hidden.

import type { Seat } from '../drive/seat.ts';
import { isFirnError } from '../../../appliance/model/errors.ts';
import { bits, type GroupContext } from '../group/context.ts';
import { extentElsewhere } from '../segment/batch.ts';
import { SEGMENT_DIRECTORY } from '../segment/format.ts';
import { segmentPath } from '../segment/open-segment.ts';
import { rebuildSegmentFile, repairBatch, repairSeal } from '../segment/repair-segment.ts';
import { isSettled, walkSegment } from '../segment/walk.ts';
import { findShards, idsIn, shardIds } from '../shard/find-shards.ts';
import { shardPath } from '../shard/format.ts';
import { checkShards, rebuildShards } from '../shard/repair-shards.ts';
import { shareOf, tellShare, type Report, type Work } from './step-job.ts';

export async function* scrubGroup(context: GroupContext, report: Report): Work {
  report.place = { group: context.group, share: 0 };
  for await (const ids of shardIds(context.seats)) {
    if (ids[0] !== undefined) tellShare(report, shareOf({ shard: ids[0] }));
    for (const id of ids) yield* scrubShards(context, id, report);
  }
  const lists = await Promise.all(context.seats.map((seat) => idsIn(seat, SEGMENT_DIRECTORY)));
  const segments = new Set(lists.flat().toSorted());
  for (const [index, segment] of [...segments].entries()) {
    tellShare(report, shareOf({ segment: index, of: segments.size }));
    if (await isSettled(context, segment)) yield* scrubSegment(context, segment, report);
  }
}

async function isStillThere(context: GroupContext, path: string): Promise<boolean> {
  const stats = await Promise.all(
    context.seats
      .filter(({ present }) => present)
      .map(({ drive }) => drive.stat(path).catch(() => undefined)),
  );
  return stats.some((stat) => stat !== undefined);
}

async function* scrubShards(context: GroupContext, id: string, report: Report): Work {
  report.checked += 1;
  const lose = async (why: string): Promise<void> => {
    // Deleted while it was being looked at: nothing is lost.
    if (await isStillThere(context, shardPath(id))) {
      report.lost.push(`${context.tier}/${id}: ${why}`);
    }
  };
  const found = await findShards(context, id);
  if (found === undefined) {
    const down = context.seats.some(({ present }) => !present);
    if (!down) await lose('no shard file has a right head and tail');
    return;
  }
  const states = yield* checkShards(context, found);
  const wrong = states.damaged | states.absent;
  if (wrong === 0) return;
  try {
    report.repaired += bits(yield* rebuildShards(context, found, wrong));
  } catch (error) {
    if (!isFirnError(error, 'Corrupt') && !isFirnError(error, 'TierMissing')) {
      if (isFirnError(error, 'DriveUnavailable')) return;
      throw error;
    }
    await lose(error.message);
  }
}

async function* scrubSegment(context: GroupContext, segment: string, report: Report): Work {
  report.checked += 1;
  for (const seat of context.seats) {
    if (!seat.trusted || (await hasFile(seat, segment))) continue;
    if ((await extentElsewhere(context, segment)) === 0) return;
    const outcome = yield* rebuildSegmentFile(context, seat.position, segment);
    if (outcome === 'made') report.repaired += 1;
  }
  const lost: string[] = [];
  for await (const walked of walkSegment(context, segment)) {
    if (walked.kind === 'gap') {
      lost.push(`${context.tier}/${segment}: bytes ${walked.start} to ${walked.end} have no head`);
    }
    if (walked.kind === 'end' && walked.found !== undefined) {
      report.repaired += await repairSeal(context, walked.found);
    }
    if (walked.kind !== 'batch') continue;
    const { repaired, lost: beyond, bytes } = await repairBatch(context, walked.found);
    report.repaired += bits(repaired);
    if (beyond) {
      lost.push(`${context.tier}/${segment}: the batch at ${walked.found.head.start} is damaged`);
    }
    yield bytes;
  }
  if (lost.length > 0 && (await isStillThere(context, segmentPath(segment)))) {
    report.lost.push(...lost);
  }
  await evenOut(context, segment);
}

async function hasFile(seat: Seat, segment: string): Promise<boolean> {
  return (await seat.drive.stat(segmentPath(segment)).catch(() => undefined)) !== undefined;
}

/** All files of a segment have one length: one that was cut off gets it back. */
async function evenOut(context: GroupContext, segment: string): Promise<void> {
  const sizeBytes = await extentElsewhere(context, segment);
  for (const seat of context.seats) {
    if (!seat.trusted) continue;
    const stat = await seat.drive.stat(segmentPath(segment)).catch(() => undefined);
    if (stat === undefined || stat.sizeBytes === sizeBytes) continue;
    try {
      const file = await seat.drive.open(segmentPath(segment), { mode: 'change' });
      try {
        await file.resize(sizeBytes);
      } finally {
        await file.close();
      }
    } catch (error) {
      seat.writeFailed(error);
    }
  }
}
