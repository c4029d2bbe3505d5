// What every part of one group in one process works with.

import type { Clock, Random } from '../../../appliance/model/clock.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { Codec } from '../codec/codec.ts';
import type { Code } from '../codec/field.ts';
import type { Seat } from '../drive/seat.ts';
import { DRIVES_UP_MIN, type LaneOrders } from './lane-order.ts';
import type { Hedge } from './hedge.ts';
import type { OpenFiles } from './open-files.ts';
import type { Settled } from '../settings.ts';

export interface GroupContext {
  tier: string;
  group: number;
  code: Code;
  codec: Codec;
  orders: LaneOrders;
  seats: readonly Seat[];
  segmentFiles: OpenFiles;
  shardFiles: OpenFiles;
  /** Of small reads; large ones take longer. */
  hedge: Hedge;
  largeHedge: Hedge;
  settings: Settled;
  clock: Clock;
  random: Random;
  /** Unique for this start of this process: prefix of temporary files. */
  nonce: string;
  /** May write into the reserve (workers). */
  reserve: boolean;
}

export const nameOf = (context: GroupContext): string => `${context.tier}, group ${context.group}`;

export const bits = (mask: number): number => {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  return count;
};

/**
 * The drives that a write started now must do without. Throws when fewer than two are left:
 * InsufficientCapacity if room is what lacks, else DriveUnavailable.
 */
export function awayNow(context: GroupContext): number {
  let away = 0;
  let full = 0;
  for (const seat of context.seats) {
    if (seat.writable(context.reserve)) continue;
    away |= 1 << seat.position;
    if (seat.full(context.reserve)) full += 1;
  }
  const up = context.seats.length - bits(away);
  if (up >= DRIVES_UP_MIN) return away;
  if (up + full >= DRIVES_UP_MIN) throw noRoom(context);
  throw tooFewDrives(context, up);
}

const noRoom = (context: GroupContext, cause?: unknown): FirnError =>
  new FirnError('InsufficientCapacity', 'The drives are full', {
    subject: nameOf(context),
    hint: 'delete objects, add a group, or let policies move bytes to a colder tier',
    retryable: true,
    cause,
  });

const NO_ROOM = new Set(['ENOSPC', 'EDQUOT']);

/** `cause`: of a write that failed; if that was for room, so is the answer. */
export function tooFewDrives(context: GroupContext, up: number, cause?: unknown): FirnError {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException;
  if (code !== undefined && NO_ROOM.has(code)) return noRoom(context, cause);
  return new FirnError(
    'DriveUnavailable',
    `${up} of ${context.seats.length} drives can be written`,
    {
      subject: nameOf(context),
      hint: 'see firn drives: bring drives back, or replace them',
      retryable: true,
      cause,
    },
  );
}
