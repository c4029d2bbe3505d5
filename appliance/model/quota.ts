// What buckets and accounts with a quota hold, as the processes that write into them agree on it
// (appliance/engine/document/quota-meter.ts). A bucket or account without a quota has no row.

/** Bytes and objects; negative where something went. */
export interface Amount {
  bytes: number;
  objects: number;
}

/** Row of `quotas`, id = `bucket/${bucket id}` or `account/${account id}`. */
export interface QuotaUsage {
  format: 1;
  kind: 'bucket' | 'account';
  /** Name of the bucket, or id of the account. */
  name: string;
  /**
   * What is there, but for what the holders have not told yet: that is within their holds. For a
   * moment negative where it was told first that something went.
   */
  used: Amount;
  /** Holder (a process of one start) → room that it has set aside. */
  holds: Record<string, Amount & { until: number }>;
  /** While it is counted anew: what came meanwhile. */
  count?: { id: string; grown: Amount; moved: boolean };
  /** Engine ms. Absent: not counted yet, so what was there before the quota is not in `used`. */
  countedAt?: number;
  /** How long that took. */
  countMs?: number;
  /** Nothing was written while it was counted; else `used` may be a little too high. */
  isExact: boolean;
  /** Engine ms at which it was last said that the quota is used to 80 %. */
  warnedAt?: number;
}

/** Share of a quota from which on it is warned about. */
export const QUOTA_WARNING_SHARE = 0.8;

export const quotaRowId = (kind: QuotaUsage['kind'], id: string): string => `${kind}/${id}`;

export const NOTHING: Amount = { bytes: 0, objects: 0 };

export function plus(a: Amount, b: Amount): Amount {
  return { bytes: a.bytes + b.bytes, objects: a.objects + b.objects };
}

export function minus(a: Amount, b: Amount): Amount {
  return { bytes: a.bytes - b.bytes, objects: a.objects - b.objects };
}

export function isNothing(amount: Amount): boolean {
  return amount.bytes === 0 && amount.objects === 0;
}

/** Only what came. */
export function onlyGrowth({ bytes, objects }: Amount): Amount {
  return { bytes: Math.max(0, bytes), objects: Math.max(0, objects) };
}

export function heldBy(holds: QuotaUsage['holds'], except?: string): Amount {
  let sum = NOTHING;
  for (const [holder, hold] of Object.entries(holds)) if (holder !== except) sum = plus(sum, hold);
  return sum;
}
