// Walks over the batches of a segment: how scrub, heal, compaction, the sweep and the replay of a
// crashed process's segment see it. The log's end is where no drive has a head: behind a batch that
// a drive missed nothing is written, so there is nothing to skip. Only in a sealed segment, whose
// end is known, a stretch without any right head is damage, and the walk looks for the next batch
// behind it. A last batch that a kill cut ends the log too (isTorn): it is no damage, as nobody was
// ever told of it.

import type { SegmentLocation } from '../../../appliance/model/location.ts';
import type { SegmentRecord } from '../../../appliance/model/node-group.ts';
import { checksum64 } from '../../checksum.ts';
import { bits, type GroupContext } from '../group/context.ts';
import { addStates, type LaneStates } from '../group/missing.ts';
import type { Seat } from '../drive/seat.ts';
import {
  extentElsewhere,
  findHead,
  isHead,
  lanesInUse,
  loadLanes,
  readPiece,
  rebuildLanes,
  slotFor,
  type FoundHead,
} from './batch.ts';
import {
  emptyLanes,
  nextStart,
  PIECE_ALIGNMENT,
  PIECE_HEAD_BYTES,
  RECORD_HEAD_BYTES,
  readPieceHead,
  recordsOf,
  SEGMENT_DIRECTORY,
} from './format.ts';

export type Walked =
  | { kind: 'batch'; found: FoundHead }
  /** No drive has a right head for what begins here; `end` is where the walk goes on or stops. */
  | { kind: 'gap'; start: number; end: number }
  /** Too few drives could be asked what begins here, if anything does: the walk stops. */
  | { kind: 'unknown'; start: number }
  | { kind: 'end'; start: number; sealed: boolean; found?: FoundHead };

const WINDOW_BYTES = 1024 * 1024;

/** Batches in order, then one 'end' or 'unknown'. `refilled`: of this drive nothing is known. */
export async function* walkSegment(
  context: GroupContext,
  segment: string,
  refilled?: number,
): AsyncGenerator<Walked, void, undefined> {
  const extent = await extentElsewhere(context, segment);
  const maybeSealed = extent < context.settings.segmentBytes;
  let start = 0;
  let likely: number | undefined;
  for (;;) {
    const found = await findHead(context, { segment, start }, { likely, refilled });
    if (found === 'down') return yield { kind: 'unknown', start };
    if (isHead(found)) {
      if (found.head.seal) return yield { kind: 'end', start, sealed: true, found };
      yield { kind: 'batch', found };
      // The first parity lane has a piece of every batch.
      likely = found.order.positions[context.code.k];
      start = nextStart(found.head);
      continue;
    }
    const next = maybeSealed ? await nextHead(context, segment, { start, extent }) : undefined;
    if (next === undefined) {
      // Sealed files end with the seal's own head: with bytes left there is damage.
      if (maybeSealed && start < extent) yield { kind: 'gap', start, end: extent };
      return yield { kind: 'end', start, sealed: false };
    }
    yield { kind: 'gap', start, end: next };
    start = next;
  }
}

/**
 * Whether a batch is one that its writer's end cut: at most k' of its pieces can be whole, so that
 * nobody was ever told of it, and nothing of this segment was written behind it. Rot is not taken
 * for that: a right head behind it (the seal's too) or a cut file proves that the batch was once
 * whole; a lane whose file is gone may have been; and while a drive is away that could make it
 * whole nothing is concluded. `states`: of all its lanes.
 */
export async function isTorn(
  context: GroupContext,
  { head, order }: FoundHead,
  states: LaneStates,
): Promise<boolean> {
  const inUse = lanesInUse({ head, order });
  const need = bits(inUse & ((1 << context.code.k) - 1));
  const known = states.good & inUse;
  if (bits(states.good) >= need || bits(known | (states.down & inUse)) >= need) return false;
  if (bits(known | ((states.down | states.absent) & inUse)) > need) return false;
  const extent = await extentElsewhere(context, head.segment);
  if (extent < context.settings.segmentBytes) return false;
  return (await nextHead(context, head.segment, { start: head.start, extent })) === undefined;
}

/** The least offset behind `start` at which some drive has a right head of this segment. */
async function nextHead(
  context: GroupContext,
  segment: string,
  span: { start: number; extent: number },
): Promise<number | undefined> {
  const window = Buffer.alloc(WINDOW_BYTES + PIECE_HEAD_BYTES);
  for (let base = span.start + PIECE_ALIGNMENT; base < span.extent; base += WINDOW_BYTES) {
    let least: number | undefined;
    for (const { position } of context.seats) {
      const count = await readPiece(context, { position, segment, start: base }, window);
      if (typeof count !== 'number') continue;
      for (let at = 0; at < WINDOW_BYTES && at + PIECE_HEAD_BYTES <= count; at += PIECE_ALIGNMENT) {
        const head = readPieceHead(window.subarray(at, at + PIECE_HEAD_BYTES), context.code);
        if (head?.segment !== segment || head.start !== base + at) continue;
        least = Math.min(least ?? Infinity, head.start);
        break;
      }
    }
    if (least !== undefined) return least;
  }
  return undefined;
}

/**
 * True when nobody will ever append to it: sealed, or untouched for so long that its process
 * acknowledges nothing in it any more (settings.segmentOpenMs).
 */
export async function isSettled(context: GroupContext, segment: string): Promise<boolean> {
  const stats = await Promise.all(
    context.seats
      .filter(({ present }) => present)
      .map((seat: Seat) =>
        seat.drive.stat(`${SEGMENT_DIRECTORY}/${segment}`).catch(() => undefined),
      ),
  );
  const known = stats.filter((stat) => stat !== undefined);
  if (known.some((stat) => stat.sizeBytes < context.settings.segmentBytes)) return true;
  const modifiedMs = Math.max(0, ...known.map((stat) => stat.modifiedMs));
  return context.clock.wall() - modifiedMs > 4 * context.settings.segmentOpenMs;
}

/** Where this segment's log ends. */
export async function extentOf(context: GroupContext, segment: string): Promise<number> {
  const size = await extentElsewhere(context, segment);
  if (size < context.settings.segmentBytes) return size;
  for await (const walked of walkSegment(context, segment)) {
    if (walked.kind === 'end' || walked.kind === 'unknown') return walked.start;
  }
  return 0;
}

/** Told of a stretch that can't be read; `later`: just now, as drives do not answer. */
export type Missed = (what: string, later: boolean) => void;

/**
 * Every record that can be read, verified, in order of batch, lane and offset. A batch that was cut
 * (isTorn) hides nothing: `missed` is not told of it.
 */
export async function* recordsOfSegment(
  context: GroupContext,
  segment: string,
  missed: Missed = () => undefined,
): AsyncGenerator<SegmentRecord, void, undefined> {
  for await (const walked of walkSegment(context, segment)) {
    if (walked.kind === 'gap') missed(`bytes ${walked.start} to ${walked.end}`, false);
    if (walked.kind === 'unknown') missed(`what may stand from ${walked.start} on`, true);
    if (walked.kind === 'batch') yield* await recordsOfBatch(context, walked.found, missed);
  }
}

async function recordsOfBatch(
  context: GroupContext,
  found: FoundHead,
  missed: Missed,
): Promise<SegmentRecord[]> {
  const { head } = found;
  const { k } = context.code;
  const slot = await slotFor(context, head);
  try {
    const inUse = lanesInUse(found) | found.order.lost;
    const data = inUse & ((1 << k) - 1);
    const states = await loadLanes(context, found, slot, data);
    let { good } = states;
    let torn = false;
    if (good !== data) {
      addStates(states, await loadLanes(context, found, slot, inUse & ~data));
      good = states.good;
      if (rebuildLanes(context, found, slot, { good, want: data & ~good })) good |= data;
      else torn = await isTorn(context, found, states);
    }
    const records: SegmentRecord[] = [];
    for (let lane = 0; lane < k; lane += 1) {
      if (((data >> lane) & 1) === 0) continue;
      const bytes = (slot.lanes[lane] as Buffer).subarray(0, head.lengths[lane]);
      if ((good >> lane) & 1) records.push(...recordsOfLane(context, found, lane, bytes));
      else if (!torn) missed(`lane ${lane} of the batch at ${head.start}`, states.down !== 0);
    }
    return records;
  } finally {
    context.codec.arena.release(slot);
  }
}

function* recordsOfLane(
  context: GroupContext,
  { head, order }: FoundHead,
  lane: number,
  bytes: Buffer,
): Generator<SegmentRecord> {
  for (const record of recordsOf(bytes)) {
    const from = record.offset + RECORD_HEAD_BYTES;
    if (checksum64(bytes.subarray(from, from + record.length)) !== record.checksum) continue;
    const location: SegmentLocation = {
      kind: 'segment',
      id: record.id,
      tier: context.tier,
      group: context.group,
      segment: head.segment,
      batch: head.start,
      lane,
      offset: record.offset,
      length: record.length,
      empty: emptyLanes(head.lengths),
      unconfirmed: order.lost,
    };
    if (head.away !== 0) location.away = head.away;
    const slash = record.owner.indexOf('/');
    const bucketId = record.owner.slice(0, slash);
    yield { bucketId, key: record.owner.slice(slash + 1), location, length: record.length };
  }
}
