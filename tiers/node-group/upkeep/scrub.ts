// Reads everything back and repairs what is missing, damaged, cut off, swapped or misplaced, before
// a second fault makes it unrepairable: with m drives gone, some object is hit by a bad sector too
// often unless every lane is read from time to time. What can't be repaired is told, never hidden.

import type { Seat } from '../drive/seat.ts';
import { isFirnError } from '../../../appliance/model/errors.ts';
import { bits, type GroupContext } from '../group/context.ts';
import { unreadOf } from '../group/missing.ts';
import { extentElsewhere, type FoundHead } from '../segment/batch.ts';
import { segmentPath } from '../segment/open-segment.ts';
import {
  rebuildSegmentFile,
  repairBatch,
  repairSeal,
  sealBehind,
} from '../segment/repair-segment.ts';
import { isSettled, isTorn, walkSegment } from '../segment/walk.ts';
import { findShards, shardIds } from '../shard/find-shards.ts';
import { shardPath } from '../shard/format.ts';
import { checkShards, rebuildShards } from '../shard/repair-shards.ts';
import { segmentsOn } from './dead-notes.ts';
import { isStillThere, tellLossOfShards } from './losses.ts';
import { shareOf, tellShare, type Report, type Work } from './step-job.ts';

/**
 * One pass over a group. `after`: the cursor that an earlier pass had come to; what is new behind
 * it waits for the next one.
 */
export async function* scrubGroup(context: GroupContext, report: Report, after = ''): Work {
  const [group, kind, id] = after.split('/') as [string, string?, string?];
  if (group !== '' && Number(group) > context.group) return;
  const from = group !== '' && Number(group) === context.group ? { kind, id } : {};
  report.place = { group: context.group, share: 0 };
  if (from.kind !== 'segments') {
    for await (const { names: ids } of shardIds(context.seats, from.id)) {
      if (ids[0] !== undefined) tellShare(report, shareOf({ shard: ids[0] }));
      for (const one of ids) {
        yield* scrubShards(context, one, report);
        report.cursor = `${context.group}/shards/${one}`;
      }
    }
  }
  const { names: segments } = await segmentsOn(context, context.seats);
  for (const [index, segment] of segments.entries()) {
    if (from.kind === 'segments' && from.id !== undefined && segment <= from.id) continue;
    tellShare(report, shareOf({ segment: index, of: segments.length }));
    if (await isSettled(context, segment)) yield* scrubSegment(context, segment, report);
    report.cursor = `${context.group}/segments/${segment}`;
  }
}

async function* scrubShards(context: GroupContext, id: string, report: Report): Work {
  report.checked += 1;
  const found = await findShards(context, id);
  // Its turn comes again.
  if (found === 'down') return;
  if (found === 'absent') {
    const down = context.seats.some(({ present }) => !present);
    // Files get their names when they are whole: one without a right head was damaged since.
    if (!down && (await isStillThere(context, shardPath(id)))) {
      report.lost.push(`${context.tier}/${id}: no shard file has a right head and tail`);
    }
    return;
  }
  const states = yield* checkShards(context, found);
  const unread = unreadOf(context.seats, found.order, states.down);
  const wrong = states.damaged | states.absent | unread;
  if (wrong === 0) return;
  try {
    report.repaired += bits(yield* rebuildShards(context, found, wrong));
  } catch (error) {
    if (!isFirnError(error, 'Corrupt') && !isFirnError(error, 'TierMissing')) {
      if (isFirnError(error, 'DriveUnavailable')) return;
      throw error;
    }
    await tellLossOfShards(context, found, { report, states, why: error.message });
  }
}

async function* scrubSegment(context: GroupContext, segment: string, report: Report): Work {
  report.checked += 1;
  const lost = new Set<string>();
  const damaged = (start: number): void =>
    void lost.add(`${context.tier}/${segment}: the batch at ${start} is damaged`);
  for (const seat of context.seats) {
    if (!seat.trusted || (await hasFile(seat, segment))) continue;
    if ((await extentElsewhere(context, segment)) === 0) return;
    const what = { position: seat.position, segment, settled: true, lost: damaged };
    const outcome = yield* rebuildSegmentFile(context, what);
    if (outcome === 'made') report.repaired += 1;
  }
  let last: FoundHead | undefined;
  let isOpen = false;
  for await (const walked of walkSegment(context, segment)) {
    if (walked.kind === 'end') isOpen = !walked.sealed;
    if (walked.kind === 'gap') {
      lost.add(`${context.tier}/${segment}: bytes ${walked.start} to ${walked.end} have no head`);
    }
    if (walked.kind === 'end' && walked.found !== undefined) {
      report.repaired += await repairSeal(context, walked.found);
    }
    if (walked.kind !== 'batch') continue;
    const { states, repaired, lost: beyond, bytes } = await repairBatch(context, walked.found);
    report.repaired += bits(repaired);
    last = states.down === 0 && !beyond ? walked.found : undefined;
    if (beyond && !(await isTorn(context, walked.found, states))) damaged(walked.found.head.start);
    yield bytes;
  }
  const ends = isOpen && last !== undefined && lost.size === 0 && areAllWhole(context);
  // Once more: a clock that was set back and forth must not end what somebody writes to.
  if (ends && (await isSettled(context, segment))) await sealBehind(context, last as FoundHead);
  if (lost.size > 0 && (await isStillThere(context, segmentPath(segment)))) {
    report.lost.push(...lost);
  }
  await evenOut(context, segment);
}

/** Every drive is there with all that it held: nothing can come up that is not known now. */
function areAllWhole(context: GroupContext): boolean {
  return context.seats.every(({ trusted, identity }) => trusted && identity?.healing !== true);
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
