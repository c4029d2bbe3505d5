// Checks the pieces of a segment and rebuilds those that are missing or damaged: single pieces in
// place, a whole file (a replaced drive) under a temporary name, byte for byte as it was.

import { TEMPORARY } from '../drive/identity.ts';
import type { Seat } from '../drive/seat.ts';
import type { GroupContext } from '../group/context.ts';
import type { LaneStates } from '../group/missing.ts';
import { checksum64 } from '../../checksum.ts';
import {
  extentElsewhere,
  headOn,
  lanesInUse,
  loadLanes,
  pieceOf,
  rebuildLanes,
  slotFor,
  writeInto,
  writeLanes,
  type FoundHead,
} from './batch.ts';
import { PIECE_HEAD_BYTES, SEGMENT_DIRECTORY, writePieceHead } from './format.ts';
import { segmentPath } from './open-segment.ts';
import { walkSegment } from './walk.ts';

let serial = 0;

export interface BatchRepair {
  states: LaneStates;
  /** Lanes written anew. */
  repaired: number;
  /** Too few lanes are right. */
  lost: boolean;
  bytes: number;
}

/** Verifies all lanes of one batch and writes anew what is wrong on drives that can be written. */
export async function repairBatch(context: GroupContext, found: FoundHead): Promise<BatchRepair> {
  const slot = await slotFor(context, found.head);
  try {
    const wanted = lanesInUse(found) | found.order.lost;
    const states = await loadLanes(context, found, slot, wanted);
    const wrong = states.absent | states.damaged;
    const bytes = found.head.lengths.reduce((sum, length) => sum + length, 0);
    if (wrong === 0) return { states, repaired: 0, lost: false, bytes };
    if (!rebuildLanes(context, found, slot, { good: states.good, want: wrong })) {
      // With drives away it may be whole again when they are back.
      return { states, repaired: 0, lost: states.down === 0, bytes };
    }
    const repaired = await writeLanes(context, found, slot, wrong);
    return { states, repaired, lost: false, bytes };
  } finally {
    context.codec.arena.release(slot);
  }
}

/**
 * Makes a drive's whole file of a segment from the others. Yields bytes. `away`: the drive was away
 * when the segment was opened, nothing is due. `short`: too few lanes are right just now.
 */
export async function* rebuildSegmentFile(
  context: GroupContext,
  position: number,
  segment: string,
): AsyncGenerator<number, 'made' | 'away' | 'short', undefined> {
  const seat = context.seats[position] as Seat;
  const sizeBytes = await extentElsewhere(context, segment);
  serial += 1;
  const temporary = `${TEMPORARY}/${context.nonce}-s${serial}`;
  const file = await seat.drive.open(temporary, { mode: 'create' });
  try {
    for await (const walked of walkSegment(context, segment)) {
      if (walked.kind === 'gap') continue;
      const { found } = walked;
      if (found === undefined) continue;
      const lane = found.order.lanes[position] as number;
      if (((found.order.inUse | found.order.lost) & (1 << lane)) === 0) return 'away';
      const piece = walked.kind === 'end' ? sealPiece(context, found, lane) : undefined;
      if (piece !== undefined) await file.write(piece, found.head.start);
      else if ((lanesInUse(found) | found.order.lost) & (1 << lane)) {
        const bytes = await rebuildPiece(context, found, lane, (rebuilt) =>
          file.write(rebuilt, found.head.start),
        );
        if (bytes === undefined) return 'short';
        yield bytes;
      }
    }
    await file.resize(sizeBytes);
    await file.sync();
    await seat.drive.rename(temporary, segmentPath(segment));
    await seat.drive.syncDirectory(SEGMENT_DIRECTORY);
    context.segmentFiles.drop(position, segment);
    return 'made';
  } finally {
    await file.close();
    await seat.drive.remove(temporary).catch(() => undefined);
  }
}

async function rebuildPiece(
  context: GroupContext,
  found: FoundHead,
  lane: number,
  write: (piece: Buffer) => Promise<void>,
): Promise<number | undefined> {
  const slot = await slotFor(context, found.head);
  try {
    const others = lanesInUse(found) & ~(1 << lane);
    const { good } = await loadLanes(context, found, slot, others);
    if (!rebuildLanes(context, found, slot, { good, want: 1 << lane })) return undefined;
    const piece = pieceOf(context, found, slot, lane);
    await write(piece);
    return piece.length * found.head.lengths.length;
  } finally {
    context.codec.arena.release(slot);
  }
}

/** Writes the seal anew where a drive's file lacks it; how many. */
export async function repairSeal(context: GroupContext, found: FoundHead): Promise<number> {
  const { segment, start } = found.head;
  let repaired = 0;
  for (const [lane, position] of found.order.positions.entries()) {
    const seat = context.seats[position] as Seat;
    if (((found.order.inUse >> lane) & 1) === 0 || !seat.trusted) continue;
    const own = await headOn(context, { position, segment, start });
    if (own?.head.seal === true) continue;
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

function sealPiece(context: GroupContext, { head }: FoundHead, lane: number): Buffer {
  const piece = Buffer.alloc(PIECE_HEAD_BYTES);
  const bodyChecksum = checksum64(new Uint8Array(0));
  writePieceHead(piece, { ...head, lane, bodyChecksum }, context.code);
  return piece;
}
