// Meters of moved and retrieved bytes: one row a day, bucket, tier and class, added to by
// compare-and-swap. A crash between the work and its row loses that batch's count from a report,
// never an object.

import { inFlight } from '../../appliance/engine/document/in-flight.ts';
import type { Change, MetadataStore } from '../../appliance/model/metadata-store.ts';
import type { UsageRow } from '../../appliance/model/records.ts';

export interface UsageAmount {
  kind: UsageRow['kind'];
  bucket: string;
  tier: string;
  storageClass: string;
  bytes: number;
  count: number;
}

const SWAPS_MAX = 64;
const BATCH = 500;
const READS_IN_FLIGHT = 64;

export function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

export function usageRowId(day: string, of: Omit<UsageAmount, 'bytes' | 'count'>): string {
  const { kind, bucket, tier, storageClass } = of;
  return `${day}/${kind}/${bucket}/${tier}/${storageClass}`;
}

export interface UsageChange {
  day: string;
  of: Omit<UsageAmount, 'bytes' | 'count'>;
  /** `undefined` leaves the row. Pure. */
  change(row: UsageRow): UsageRow | undefined;
}

/** Changes rows by compare-and-swap, many at once: a year of days is one commit. */
export async function changeUsage(
  store: MetadataStore,
  changes: readonly UsageChange[],
): Promise<void> {
  let left = [...changes];
  for (let i = 0; i < SWAPS_MAX && left.length > 0; i++) {
    const lost: UsageChange[] = [];
    for (let at = 0; at < left.length; at += BATCH) {
      lost.push(...(await changeBatch(store, left.slice(at, at + BATCH))));
    }
    left = lost;
  }
}

/** Returns those that lost against another writer. */
async function changeBatch(
  store: MetadataStore,
  batch: readonly UsageChange[],
): Promise<UsageChange[]> {
  const made: { from: UsageChange; change: Change }[] = [];
  await inFlight(READS_IN_FLIGHT, batch, async (from) => {
    const id = usageRowId(from.day, from.of);
    const { kind, bucket, tier, storageClass } = from.of;
    const row = await store.get<UsageRow>('usage', id);
    const value = from.change(
      row?.value ?? {
        format: 1,
        day: from.day,
        kind,
        bucket,
        tier,
        storageClass,
        bytes: 0,
        count: 0,
      },
    );
    if (value === undefined) return;
    const table = 'usage';
    const change: Change =
      row === undefined
        ? { kind: 'insert', table, id, value }
        : { kind: 'replace', table, id, expected: row.revision, value };
    made.push({ from, change });
  });
  if (made.length === 0) return [];
  const results = await store.bulk(made.map(({ change }) => change));
  return made.filter((_, i) => results[i]?.outcome !== 'done').map(({ from }) => from);
}

export async function addUsage(
  store: MetadataStore,
  at: number,
  amount: UsageAmount,
): Promise<void> {
  if (amount.count === 0) return;
  const change = (row: UsageRow): UsageRow => ({
    ...row,
    bytes: row.bytes + amount.bytes,
    count: row.count + amount.count,
  });
  await changeUsage(store, [{ day: dayOf(at), of: amount, change }]);
}
