// What a sealed segment cannot hold: a Bloom filter beside it (FORMAT.md), over the ids of its
// records, their owners and those owners' buckets. It answers "surely not" without a read of the
// segment, 256 MiB at 4+2, and is a hundredth of its size. The danger is a filter that denies what
// is there: so it is written once, for records all known, is read only if its checksum is right,
// and whoever has none looks into the segment itself. The filter is that of tiers/filter.ts.

import { FILTER_RECORDS_MIN, OwnerFilter } from '../../filter.ts';
import type { FilterEntries } from '../../filter.ts';
import type { Seat } from '../drive/seat.ts';
import { readWhole } from '../drive/identity.ts';
import type { GroupContext } from '../group/context.ts';

export const FILTER_DIRECTORY = 'filters';
export const filterPath = (segment: string): string => `${FILTER_DIRECTORY}/${segment}`;

/**
 * Writes the filter on m+1 drives of the segment, as far as they take it. Not synced: a torn one
 * fails its checksum and counts as none. A segment of few records gets none.
 */
export async function writeFilter(
  context: GroupContext,
  segment: string,
  entries: FilterEntries,
): Promise<void> {
  if (entries.records < FILTER_RECORDS_MIN) return;
  const file = entries.file(segment);
  const { positions } = context.orders.of(segment, 0);
  // Parity lanes first: they are read the least.
  const seats = positions.toReversed().map((position) => context.seats[position] as Seat);
  let left = context.code.m + 1;
  for (const seat of seats) {
    if (left === 0) return;
    if (!seat.writable(context.reserve)) continue;
    try {
      await seat.drive.makeDirectory(FILTER_DIRECTORY);
      await seat.drive.remove(filterPath(segment));
      const open = await seat.drive.open(filterPath(segment), { mode: 'create' });
      try {
        await open.write(file, 0);
      } finally {
        await open.close();
      }
      left -= 1;
    } catch {
      // Without it the segment is read where it is asked for.
      continue;
    }
  }
}

/** The segment's filter from the first drive that has it whole. */
export async function loadFilter(
  context: GroupContext,
  segment: string,
): Promise<OwnerFilter | undefined> {
  for (const seat of context.seats) {
    if (!seat.present) continue;
    const file = await readWhole(seat.drive, filterPath(segment)).catch(() => undefined);
    const filter = file && OwnerFilter.read(file, segment);
    if (filter !== undefined) return filter;
  }
  return undefined;
}
