// One batch of a segment as it stands on the drives: find its head, load its pieces, know which are
// right, make the missing ones from the others, write them back. Degraded reads, scrub, heal and
// walks share it.

import { checksum64 } from '../../checksum.ts';
import { LARGE_UNITS, type Slot } from '../codec/arena.ts';
import type { GroupContext } from '../group/context.ts';
import type { Seat } from '../drive/seat.ts';
import { allEnded } from '../group/all-ended.ts';
import { readEnds } from '../group/ends-in.ts';
import { isAbsent, noLanes, type LaneStates } from '../group/missing.ts';
import { inMask, segmentPath } from './open-segment.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import {
  bodyBytes,
  emptyLanes,
  parityBytes,
  PIECE_HEAD_BYTES,
  readPieceHead,
  SEGMENT_DIRECTORY,
  writePieceHead,
  type PieceHead,
} from './format.ts';

/**
 * Reads at most target.length bytes of one drive's file; 'absent' and 'down' tell why not. A drive
 * that hangs is waited for 25 s and rests from then on; a slot that it may still write into is not
 * lent again before it has ended.
 */
export async function readPiece(
  context: GroupContext,
  at: { position: number; segment: string; start: number },
  target: Buffer,
): Promise<number | 'absent' | 'down'> {
  const seat = context.seats[at.position] as Seat;
  if (!seat.present) return 'down';
  const reading = readAt(context, at, target);
  if (!(await readEnds(context, seat, reading))) {
    context.codec.arena.hold(target, reading);
    return 'down';
  }
  try {
    return await reading;
  } catch (error) {
    if (isAbsent(error)) return 'absent';
    seat.readFailed(error, `${at.segment}/${at.start}`);
    return 'down';
  }
}

async function readAt(
  { segmentFiles }: GroupContext,
  at: { position: number; segment: string; start: number },
  target: Buffer,
): Promise<number> {
  const open = await segmentFiles.use(at.position, at.segment);
  try {
    return await open.file.read(target, at.start);
  } finally {
    segmentFiles.release(open);
  }
}

export interface FoundHead {
  head: PieceHead;
  order: LaneOrder;
}

/** Takes a head only from where it belongs: this segment, this offset, this drive's lane. */
function acceptHead(
  context: GroupContext,
  bytes: Buffer,
  at: { position: number; segment: string; start: number },
): FoundHead | undefined {
  const head = readPieceHead(bytes, context.code);
  if (head === undefined || head.segment !== at.segment || head.start !== at.start)
    return undefined;
  const order = context.orders.of(head.segment, head.away);
  return order.lanes[at.position] === head.lane ? { head, order } : undefined;
}

/** 'absent': no right head stands there; 'down': that is not known. */
export type HeadLook = FoundHead | 'absent' | 'down';

export const isHead = (look: HeadLook): look is FoundHead => typeof look !== 'string';

/** The head on one drive, if it is right and belongs there. */
export async function headOn(
  context: GroupContext,
  at: { position: number; segment: string; start: number },
): Promise<HeadLook> {
  const bytes = Buffer.alloc(PIECE_HEAD_BYTES);
  const count = await readPiece(context, at, bytes);
  if (typeof count === 'string') return count;
  const found = count === PIECE_HEAD_BYTES ? acceptHead(context, bytes, at) : undefined;
  return found ?? 'absent';
}

/** What each drive says of the batch at `start`. */
export const headsOn = (
  context: GroupContext,
  at: { segment: string; start: number },
): Promise<HeadLook[]> =>
  Promise.all(context.seats.map(({ position }) => headOn(context, { ...at, position })));

/**
 * The head of the batch at `start`, from whichever drive has it (that of `likely` is asked alone
 * first). 'absent' where none has, and so many were asked that a batch with its full redundancy
 * would have been seen: all but m. `refilled`: of this drive nothing is known.
 */
export async function findHead(
  context: GroupContext,
  at: { segment: string; start: number },
  of: { likely?: number | undefined; refilled?: number | undefined } = {},
): Promise<HeadLook> {
  if (of.likely !== undefined) {
    const found = await headOn(context, { ...at, position: of.likely });
    if (isHead(found)) return found;
  }
  const looks = await headsOn(context, at);
  const found = looks.find(isHead);
  if (found !== undefined) return found;
  const isUnknown = (look: HeadLook, i: number): boolean => look === 'down' || i === of.refilled;
  return looks.filter(isUnknown).length > context.code.m ? 'down' : 'absent';
}

/** Lanes that hold bytes in this batch. */
export function lanesInUse({ head, order }: FoundHead): number {
  return order.inUse & ~emptyLanes(head.lengths);
}

/** A slot that takes this batch's lanes; the caller releases it. */
export function slotFor(context: GroupContext, head: PieceHead): Slot | Promise<Slot> {
  const { arena } = context.codec;
  return arena.acquire(parityBytes(head.lengths) > arena.laneBytes(1) ? LARGE_UNITS : 1);
}

/** Reads the lanes of `want` into the slot and verifies each. */
export async function loadLanes(
  context: GroupContext,
  found: FoundHead,
  slot: Slot,
  want: number,
): Promise<LaneStates> {
  const { code, codec } = context;
  const { head, order } = found;
  const states = noLanes();
  const parity = parityBytes(head.lengths);
  await allEnded(
    order.positions.map(async (position, lane) => {
      if (!inMask(want, lane)) return;
      const length = bodyBytes(head, lane, code);
      const piece = codec.arena.piece(slot, lane, length);
      const at = { position, segment: head.segment, start: head.start };
      const count = await readPiece(context, at, piece);
      if (count === 'absent' || count === 'down') states[count] |= 1 << lane;
      else if (count === piece.length && isRight(context, piece, { found, lane })) {
        states.good |= 1 << lane;
        (slot.lanes[lane] as Buffer).fill(0, length, parity);
      } else states.damaged |= 1 << lane;
    }),
  );
  return states;
}

function isRight(
  context: GroupContext,
  piece: Buffer,
  wanted: { found: FoundHead; lane: number },
): boolean {
  const { head, order } = wanted.found;
  const position = order.positions[wanted.lane] as number;
  const own = acceptHead(context, piece, { position, segment: head.segment, start: head.start });
  return (
    own !== undefined &&
    own.head.lengths.every((length, lane) => length === head.lengths[lane]) &&
    checksum64(piece.subarray(PIECE_HEAD_BYTES)) === own.head.bodyChecksum
  );
}

/** Makes the lanes of `want` from the good ones, in place. False if too few are good. */
export function rebuildLanes(
  context: GroupContext,
  found: FoundHead,
  slot: Slot,
  lanes: { good: number; want: number },
): boolean {
  const empty = found.order.empty | emptyLanes(found.head.lengths);
  return context.codec.rebuild(
    slot,
    { have: lanes.good, empty, want: lanes.want },
    { from: 0, bytes: parityBytes(found.head.lengths) },
  );
}

/** Puts a right head before a lane that stands in the slot: the piece, ready to be written. */
export function pieceOf(
  context: GroupContext,
  { head }: FoundHead,
  slot: Slot,
  lane: number,
): Buffer {
  const piece = context.codec.arena.piece(slot, lane, bodyBytes(head, lane, context.code));
  const bodyChecksum = checksum64(piece.subarray(PIECE_HEAD_BYTES));
  writePieceHead(piece, { ...head, lane, bodyChecksum }, context.code);
  return piece;
}

/** Writes lanes that stand in the slot to their drives, durable on return; which ones it could. */
export async function writeLanes(
  context: GroupContext,
  found: FoundHead,
  slot: Slot,
  lanes: number,
): Promise<number> {
  const { head, order } = found;
  let written = 0;
  for (const [lane, position] of order.positions.entries()) {
    const seat = context.seats[position] as Seat;
    if (!inMask(lanes, lane) || !seat.trusted) continue;
    const piece = pieceOf(context, found, slot, lane);
    try {
      await writeInto(context, seat, { segment: head.segment, start: head.start, piece });
      written |= 1 << lane;
    } catch (error) {
      seat.writeFailed(error);
    }
  }
  return written;
}

/** Writes one piece into a drive's file, which is made if it lacks; durable on return. */
export async function writeInto(
  context: GroupContext,
  seat: Seat,
  what: { segment: string; start: number; piece: Buffer },
): Promise<void> {
  const path = segmentPath(what.segment);
  const { drive } = seat;
  const file = await drive.open(path, { mode: 'change', durable: true }).catch(async (error) => {
    if (!isAbsent(error)) throw error;
    const made = await drive.open(path, { mode: 'create', durable: true });
    await made.resize(await extentElsewhere(context, what.segment));
    await drive.syncDirectory(SEGMENT_DIRECTORY);
    return made;
  });
  try {
    await file.write(what.piece, what.start);
  } finally {
    await file.close();
  }
}

/** How long this segment's files are: all of them have one length. */
export async function extentElsewhere(context: GroupContext, segment: string): Promise<number> {
  const stats = await Promise.all(
    context.seats
      .filter(({ present }) => present)
      .map(({ drive }) => drive.stat(segmentPath(segment)).catch(() => undefined)),
  );
  return Math.max(0, ...stats.map((stat) => stat?.sizeBytes ?? 0));
}
