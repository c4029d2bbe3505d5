// Meters of moved and retrieved bytes: one row a day, bucket, tier and class, added to by
// compare-and-swap. A crash between the work and its row loses that batch's count from a report, never
// an object.

import type { MetadataStore } from '../appliance/model/metadata-store.ts';
import type { UsageRow } from '../appliance/model/records.ts';

export interface UsageAmount {
  kind: UsageRow['kind'];
  bucket: string;
  tier: string;
  storageClass: string;
  bytes: number;
  count: number;
}

const SWAPS_MAX = 64;

export function dayOf(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

export function usageRowId(day: string, of: Omit<UsageAmount, 'bytes' | 'count'>): string {
  const { kind, bucket, tier, storageClass } = of;
  return `${day}/${kind}/${bucket}/${tier}/${storageClass}`;
}

/** Changes the row of a day by compare-and-swap; `undefined` from `change` leaves it. */
export async function changeUsage(
  store: MetadataStore,
  day: string,
  of: Omit<UsageAmount, 'bytes' | 'count'>,
  change: (row: UsageRow) => UsageRow | undefined,
): Promise<void> {
  const id = usageRowId(day, of);
  const { kind, bucket, tier, storageClass } = of;
  for (let i = 0; i < SWAPS_MAX; i++) {
    const row = await store.get<UsageRow>('usage', id);
    const empty: UsageRow = {
      format: 1,
      day,
      kind,
      bucket,
      tier,
      storageClass,
      bytes: 0,
      count: 0,
    };
    const value = change(row?.value ?? empty);
    if (value === undefined) return;
    const result =
      row === undefined
        ? await store.insert('usage', id, value)
        : await store.replace({ table: 'usage', id, expected: row.revision, value });
    if (result.outcome === 'done') return;
  }
}

export async function addUsage(
  store: MetadataStore,
  at: number,
  amount: UsageAmount,
): Promise<void> {
  if (amount.count === 0) return;
  await changeUsage(store, dayOf(at), amount, (row) => ({
    ...row,
    bytes: row.bytes + amount.bytes,
    count: row.count + amount.count,
  }));
}
