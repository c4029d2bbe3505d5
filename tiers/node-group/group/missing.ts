// Which error tells the truth when bytes can't be had: they are gone (a durability alarm), they are
// damaged beyond the code's power, or drives that hold them are away and may come back.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { BlobLocation } from '../../../appliance/model/location.ts';
import type { Seat } from '../drive/seat.ts';
import { bits } from './context.ts';
import type { LaneOrder } from './lane-order.ts';

/** What became of each lane that should hold bytes (bit masks). */
export interface LaneStates {
  good: number;
  /** Bytes that fail their checksum or belong elsewhere. */
  damaged: number;
  /** Its drive is there, the bytes are not. */
  absent: number;
  /** Its drive is away or does not answer. */
  down: number;
}

export const noLanes = (): LaneStates => ({ good: 0, damaged: 0, absent: 0, down: 0 });

/** Adds what became of further lanes. */
export function addStates(states: LaneStates, more: Readonly<LaneStates>): void {
  states.good |= more.good;
  states.damaged |= more.damaged;
  states.absent |= more.absent;
  states.down |= more.down;
}

/**
 * Of lanes that could not be read those of drives that answer otherwise: a bad sector. It is cured
 * by being written, as the device then takes another for it; left alone it is one loss that nobody
 * counts.
 */
export function unreadOf(seats: readonly Seat[], order: LaneOrder, down: number): number {
  let unread = 0;
  for (const [lane, position] of order.positions.entries()) {
    if (((down >> lane) & 1) === 1 && seats[position]?.trusted === true) unread |= 1 << lane;
  }
  return unread;
}

export const isAbsent = (error: unknown): boolean =>
  (error as NodeJS.ErrnoException).code === 'ENOENT';

export function unreadable(location: BlobLocation, states: LaneStates, need: number): FirnError {
  const subject = `${location.tier}/${location.id}`;
  const counts =
    `${bits(states.good)} of ${need} lanes needed are right, ${bits(states.damaged)} damaged, ` +
    `${bits(states.absent)} absent, ${bits(states.down)} on drives that are away`;
  if (bits(states.good | states.down) >= need) {
    return new FirnError('DriveUnavailable', `Too few drives answer: ${counts}`, {
      subject,
      hint: 'see firn drives: bring drives back',
      retryable: true,
    });
  }
  if (states.damaged !== 0 || states.good !== 0) {
    return new FirnError('Corrupt', `The bytes are damaged beyond repair: ${counts}`, { subject });
  }
  return new FirnError('TierMissing', `No drive holds these bytes: ${counts}`, { subject });
}
