// Checks the pieces of a segment and rebuilds those that are missing or damaged: single pieces in
// place, a whole file (a replaced drive) under a temporary name, byte for byte as it was.

import type { DriveFile } from '../../../appliance/model/drive.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { Slot } from '../codec/arena.ts';
import { lanesOf } from '../codec/field.ts';
import { TEMPORARY } from '../drive/identity.ts';
import type { Seat } from '../drive/seat.ts';
import { bits, type GroupContext } from '../group/context.ts';
import { addStates, noLanes, unreadOf, type LaneStates } from '../group/missing.ts';
import { checksum64 } from '../../checksum.ts';
import {
  extentElsewhere,
  headOn,
  headsOn,
  isHead,
  lanesInUse,
  loadLanes,
  pieceOf,
  rebuildLanes,
  slotFor,
  writeInto,
  writeLanes,
  type FoundHead,
} from './batch.ts';
import {
  bodyBytes,
  nextStart,
  PIECE_HEAD_BYTES,
  SEGMENT_DIRECTORY,
  writePieceHead,
} from './format.ts';
import { inMask, segmentPath } from './open-segment.ts';
import { isTorn, walkSegment } from './walk.ts';

/** Batches rebuilt at once: reads of the others and the write of one overlap. */
const FLIGHTS = 6;
let serial = 0;

export interface BatchRepair {
  states: LaneStates;
  /** Lanes written anew. */
  repaired: number;
  /** Too few lanes are right. */
  lost: boolean;
  bytes: number;
}

/** Bytes that a batch takes up on all drives. */
function bytesOf(context: GroupContext, found: FoundHead): number {
  const lanes = lanesOf(lanesInUse(found));
  return lanes.reduce((sum, lane) => sum + bodyBytes(found.head, lane, context.code), 0);
}

/**
 * Verifies all lanes of one batch and writes anew what is wrong on drives that can be written
 * (`position`: on this one alone).
 */
export async function repairBatch(
  context: GroupContext,
  found: FoundHead,
  position?: number,
): Promise<BatchRepair> {
  const slot = await slotFor(context, found.head);
  try {
    const wanted = lanesInUse(found) | found.order.lost;
    const states = await loadLanes(context, found, slot, wanted);
    const unread = unreadOf(context.seats, found.order, states.down);
    const wrong = states.absent | states.damaged | unread;
    const bytes = bytesOf(context, found);
    if (wrong === 0) return { states, repaired: 0, lost: false, bytes };
    if (!rebuildLanes(context, found, slot, { good: states.good, want: wrong })) {
      // With drives away it may be whole again when they are back.
      return { states, repaired: 0, lost: (states.down & ~unread) === 0, bytes };
    }
    const only = position === undefined ? -1 : 1 << (found.order.lanes[position] as number);
    const repaired = await writeLanes(context, found, slot, wrong & only);
    return { states, repaired, lost: false, bytes };
  } finally {
    context.codec.arena.release(slot);
  }
}

/** What stands in the way of a whole file; told by the caller. */
export interface FileRebuild {
  position: number;
  segment: string;
  /** Nobody appends to it any more: what can't be rebuilt now never can. */
  settled: boolean;
  /** A batch of which too few pieces are left for good: its place stays empty. */
  lost: (start: number) => void;
}

/**
 * Makes a drive's whole file of a segment from the others, several batches at once. Yields bytes.
 * `away`: the drive was away when the segment was opened, nothing is due. `short`: too few lanes
 * are right just now, or the drive can't be written.
 */
export async function* rebuildSegmentFile(
  context: GroupContext,
  what: FileRebuild,
): AsyncGenerator<number, 'made' | 'away' | 'short', undefined> {
  const seat = context.seats[what.position] as Seat;
  const sizeBytes = await extentElsewhere(context, what.segment);
  serial += 1;
  const temporary = `${TEMPORARY}/${context.nonce}-s${serial}`;
  let file: DriveFile | undefined;
  try {
    file = await seat.drive.open(temporary, { mode: 'create' });
    const outcome = yield* fillSegmentFile(context, what, file);
    if (outcome !== 'made') return outcome;
    await file.resize(sizeBytes);
    await file.sync();
    // Freed meanwhile: a file of its own would look like what is left of a loss.
    if ((await extentElsewhere(context, what.segment)) === 0) return 'away';
    await seat.drive.rename(temporary, segmentPath(what.segment));
    await seat.drive.syncDirectory(SEGMENT_DIRECTORY);
    context.segmentFiles.drop(what.position, what.segment);
    return 'made';
  } catch (error) {
    if (!isOfSystem(error)) throw error;
    // Reads of the others never throw: it is this drive that can't be written.
    seat.writeFailed(error);
    return 'short';
  } finally {
    await file?.close().catch(() => undefined);
    await seat.drive.remove(temporary).catch(() => undefined);
  }
}

async function* fillSegmentFile(
  context: GroupContext,
  what: FileRebuild,
  file: DriveFile,
): AsyncGenerator<number, 'made' | 'away' | 'short', undefined> {
  const flights: Promise<number | 'short'>[] = [];
  try {
    for await (const walked of walkSegment(context, what.segment, what.position)) {
      if (walked.kind === 'unknown') return 'short';
      if (walked.kind === 'gap' || walked.found === undefined) continue;
      const { found } = walked;
      const lane = found.order.lanes[what.position] as number;
      if (!inMask(found.order.inUse | found.order.lost, lane)) return 'away';
      if (walked.kind === 'end') {
        await file.write(sealPiece(context, found, lane), found.head.start);
        continue;
      }
      if (!inMask(lanesInUse(found) | found.order.lost, lane)) continue;
      const flight = rebuildPiece(context, found, { lane, what, file });
      // It may fail while another one is waited for.
      flight.catch(() => undefined);
      flights.push(flight);
      if (flights.length < FLIGHTS) continue;
      const bytes = (await flights.shift()) as number | 'short';
      if (bytes === 'short') return 'short';
      yield bytes;
    }
    for (const flight of flights) {
      const bytes = await flight;
      if (bytes === 'short') return 'short';
      yield bytes;
    }
    return 'made';
  } finally {
    await Promise.allSettled(flights);
  }
}

async function rebuildPiece(
  context: GroupContext,
  found: FoundHead,
  to: { lane: number; what: FileRebuild; file: DriveFile },
): Promise<number | 'short'> {
  const { lane, what, file } = to;
  const slot = await slotFor(context, found.head);
  try {
    const others = (lanesInUse(found) | found.order.lost) & ~(1 << lane);
    const states = await loadEnough(context, found, slot, others);
    if (!rebuildLanes(context, found, slot, { good: states.good, want: 1 << lane })) {
      if (states.down !== 0) return 'short';
      // The drive that is refilled may have held a whole piece before.
      states.absent |= 1 << lane;
      if (await isTorn(context, found, states)) return 0;
      // It may be one that is being written right now.
      if (!what.settled) return 'short';
      what.lost(found.head.start);
      return 0;
    }
    const piece = pieceOf(context, found, slot, lane);
    await file.write(piece, found.head.start);
    return piece.length * (bits(states.good) + 1);
  } finally {
    context.codec.arena.release(slot);
  }
}

/** As many right lanes of `from` as a decode needs, data lanes of drives that answer first. */
async function loadEnough(
  context: GroupContext,
  found: FoundHead,
  slot: Slot,
  from: number,
): Promise<LaneStates> {
  const need = bits(lanesInUse(found) & ((1 << context.code.k) - 1));
  const isTrusted = (lane: number): boolean =>
    (context.seats[found.order.positions[lane] as number] as Seat).trusted;
  const left = lanesOf(from).toSorted((a, b) => +isTrusted(b) - +isTrusted(a) || a - b);
  const states = noLanes();
  while (bits(states.good) < need && left.length > 0) {
    const next = left.splice(0, need - bits(states.good));
    const mask = next.reduce((all, lane) => all | (1 << lane), 0);
    addStates(states, await loadLanes(context, found, slot, mask));
  }
  return states;
}

/** An error of the drive's own: what its code means, seats know. */
function isOfSystem(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && !(error instanceof FirnError) && !code.startsWith('ERR_');
}

/** Writes the seal anew where a drive's file (`only`: this drive's) lacks it; how many. */
export async function repairSeal(
  context: GroupContext,
  found: FoundHead,
  only?: number,
): Promise<number> {
  const { segment, start } = found.head;
  let repaired = 0;
  for (const [lane, position] of found.order.positions.entries()) {
    const seat = context.seats[position] as Seat;
    if (!inMask(found.order.inUse, lane) || !seat.trusted) continue;
    if (only !== undefined && position !== only) continue;
    const own = await headOn(context, { position, segment, start });
    if (isHead(own) && own.head.seal) continue;
    try {
      const piece = sealPiece(context, found, lane);
      await writeInto(context, seat, { segment, start, piece });
      repaired += 1;
    } catch (error) {
      seat.writeFailed(error);
    }
  }
  return repaired;
}

/**
 * Ends a segment whose writer is gone: a seal behind its last batch, and files cut behind that.
 * From then on the end is known, so that damage of the last batch can't pass for one that was cut.
 * `last`: that batch, known to be whole.
 */
export async function sealBehind(context: GroupContext, last: FoundHead): Promise<void> {
  const { head, order } = last;
  const start = nextStart(head);
  const lengths = head.lengths.map(() => 0);
  // What stands behind it is cut off: every drive must say that nothing does.
  const looks = await headsOn(context, { segment: head.segment, start });
  if (looks.some((look) => look !== 'absent')) return;
  const seal = { ...head, seal: true, batch: head.batch + 1, start, lengths };
  const sealed = await repairSeal(context, { head: seal, order });
  if (sealed < bits(order.inUse)) return;
  for (const [lane, position] of order.positions.entries()) {
    if (!inMask(order.inUse, lane)) continue;
    const seat = context.seats[position] as Seat;
    try {
      const file = await seat.drive.open(segmentPath(head.segment), { mode: 'change' });
      try {
        await file.resize(start + PIECE_HEAD_BYTES);
      } finally {
        await file.close();
      }
    } catch (error) {
      seat.writeFailed(error);
    }
  }
}

function sealPiece(context: GroupContext, { head }: FoundHead, lane: number): Buffer {
  const piece = Buffer.alloc(PIECE_HEAD_BYTES);
  const bodyChecksum = checksum64(new Uint8Array(0));
  writePieceHead(piece, { ...head, lane, bodyChecksum }, context.code);
  return piece;
}
