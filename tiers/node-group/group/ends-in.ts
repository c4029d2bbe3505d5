// An end to the patience with work that may never end: a drive that hangs inside the system answers
// neither reads nor removals, and whoever waited for it would wait for ever, with all that he
// holds (a slot of memory, a place among the requests).

import type { Seat } from '../drive/seat.ts';
import type { GroupContext } from './context.ts';

/** A read is given up after as many times the stall time of a write. */
export const READ_STALL_FACTOR = 5;

/** Whether the work ends in time. It goes on after that; what comes of it is nobody's business. */
export async function endsIn(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  const ended = work.then(
    () => true,
    () => true,
  );
  const inTime = await Promise.race([ended, late]);
  clearTimeout(timer);
  return inTime;
}

/** Whether what is read of a drive ends in time (25 s); one that hangs in it rests from then on. */
export async function readEnds(
  { settings }: GroupContext,
  seat: Seat,
  reading: Promise<unknown>,
): Promise<boolean> {
  if (await endsIn(reading, READ_STALL_FACTOR * settings.stallMs)) return true;
  seat.rest('a read did not end in time');
  return false;
}
