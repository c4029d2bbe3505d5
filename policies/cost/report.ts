// What a month cost: the meters' rows (byte-hours, requests, moves, retrievals) priced by the
// books, by bucket, tier or storage class. Every report carries its books' dates and doubts. A tier
// without a price counts as 0 and is named: a sum that silently left something out would be
// believed.

import type { UsageRow } from '../../appliance/model/records.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { DAY_MS } from '../../appliance/model/clock.ts';
import type { BookNote, CostModel } from './cost-model.ts';

export const REPORT_GROUPS = ['bucket', 'tier', 'class'] as const;
export type ReportGroup = (typeof REPORT_GROUPS)[number];

export const CHARGE_KINDS = [
  'storage',
  'requests',
  'moves',
  'retrieval',
  'egress',
  'earlyDeletion',
] as const;
export type ChargeKind = (typeof CHARGE_KINDS)[number];

export interface ReportOptions {
  /** YYYY-MM. */
  month: string;
  by: ReportGroup;
  model: CostModel;
  /** Engine ms: judges whether books are stale. */
  now: number;
}

/** One price on one thing: a row of the CSV. */
export interface Charge {
  group: string;
  bucket: string;
  tier: string;
  storageClass: string;
  kind: ChargeKind;
  /** Of `unit`. */
  quantity: number;
  unit: 'GB-month' | 'requests' | 'objects' | 'GB';
  cost: number;
}

export interface ReportRow {
  name: string;
  /** Mean over the month's days; days without a meter reading count as 0. */
  meanObjects: number;
  meanBytes: number;
  /** What was kept of them: less where a tier compresses. Storage is priced by it. */
  meanStoredBytes: number;
  costs: Record<ChargeKind, number>;
  total: number;
}

export interface CostReport {
  month: string;
  by: ReportGroup;
  currency: string;
  /** Days of the month that have readings. */
  daysMetered: number;
  rows: ReportRow[];
  charges: Charge[];
  total: number;
  /** Mean bytes stored, by day and tier: for the chart. */
  days: { day: string; bytesByTier: Record<string, number> }[];
  unpricedTiers: string[];
  books: BookNote[];
}

/** Bytes and counts of a month for one bucket, tier and class. */
interface Meter {
  bucket: string;
  tier: string;
  storageClass: string;
  byteHours: number;
  storedByteHours: number;
  objectDays: number;
  requests: { put: number; get: number; free: number };
  moved: { bytes: number; count: number };
  retrieved: { bytes: number; count: number };
  earlyByteHours: number;
}

/** Throws UsageError for a month that is none. */
export async function costReport(
  usage: AsyncIterable<UsageRow> | Iterable<UsageRow>,
  options: ReportOptions,
): Promise<CostReport> {
  const { month, by, model, now } = options;
  const days = daysIn(month);
  const meters = new Map<string, Meter>();
  const stored = new Map<string, Record<string, number>>();
  for await (const row of usage) {
    if (!row.day.startsWith(`${month}-`)) continue;
    addRow(meterOf(meters, row), row);
    const bytesByTier = stored.get(row.day) ?? {};
    stored.set(row.day, bytesByTier);
    if (row.kind !== 'stored') continue;
    bytesByTier[row.tier] = (bytesByTier[row.tier] ?? 0) + (row.storedBytes ?? row.bytes) / 24;
  }
  const charges = chargesOf(meters.values(), by, { model, days });
  const rows = rowsOf(meters.values(), charges, { by, days });
  const tiers = new Set([...meters.values()].map(({ tier }) => tier));
  return {
    month,
    by,
    currency: model.currency,
    daysMetered: stored.size,
    rows,
    charges,
    total: rows.reduce((sum, { total }) => sum + total, 0),
    days: [...stored]
      .map(([day, bytesByTier]) => ({ day, bytesByTier }))
      .sort((a, b) => (a.day < b.day ? -1 : 1)),
    unpricedTiers: [...tiers].filter((tier) => tier !== '' && !model.knows(tier)).sort(),
    books: model.books(now),
  };
}

function daysIn(month: string): number {
  const match = /^(\d{4})-(0[1-9]|1[0-2])$/.exec(month);
  if (match === null) {
    throw new FirnError('UsageError', `not a month: ${month}`, { hint: 'write it as 2026-01' });
  }
  const [year, index] = [Number(match[1]), Number(match[2])];
  return (Date.UTC(year, index, 1) - Date.UTC(year, index - 1, 1)) / DAY_MS;
}

function meterOf(meters: Map<string, Meter>, row: UsageRow): Meter {
  const { bucket, tier, storageClass } = row;
  const name = JSON.stringify([bucket, tier, storageClass]);
  let meter = meters.get(name);
  if (meter === undefined) {
    meter = {
      bucket,
      tier,
      storageClass,
      byteHours: 0,
      storedByteHours: 0,
      objectDays: 0,
      requests: { put: 0, get: 0, free: 0 },
      moved: { bytes: 0, count: 0 },
      retrieved: { bytes: 0, count: 0 },
      earlyByteHours: 0,
    };
    meters.set(name, meter);
  }
  return meter;
}

function addRow(meter: Meter, row: UsageRow): void {
  switch (row.kind) {
    case 'stored':
      meter.byteHours += row.bytes;
      meter.storedByteHours += row.storedBytes ?? row.bytes;
      meter.objectDays += row.count;
      break;
    case 'requests':
      meter.requests[requestKind(row.operation ?? '')] += row.count;
      break;
    case 'moved':
      meter.moved.bytes += row.bytes;
      meter.moved.count += row.count;
      break;
    case 'retrieved':
      meter.retrieved.bytes += row.bytes;
      meter.retrieved.count += row.count;
      break;
    case 'deleted-early':
      meter.earlyByteHours += row.bytes;
      break;
  }
}

/** As providers class them: reads are cheap, deletes and aborts free, the rest (lists too) dear. */
export function requestKind(operation: string): 'put' | 'get' | 'free' {
  if (/^(?:Delete|Abort)/.test(operation)) return 'free';
  return /^(?:Get|Head)/.test(operation) ? 'get' : 'put';
}

function chargesOf(
  meters: Iterable<Meter>,
  by: ReportGroup,
  context: { model: CostModel; days: number },
): Charge[] {
  const { model, days } = context;
  const charges: Charge[] = [];
  for (const meter of meters) {
    const { bucket, tier, storageClass, requests, moved, retrieved } = meter;
    const add = (kind: ChargeKind, unit: Charge['unit'], quantity: number, cost: number): void => {
      if (quantity === 0) return;
      const group = groupOf(meter, by);
      charges.push({ group, bucket, tier, storageClass, kind, quantity, unit, cost });
    };
    const bytes = meter.storedByteHours / (days * 24);
    const objects = meter.objectDays / days;
    add('storage', 'GB-month', bytes / 2 ** 30, model.storage(tier, bytes, objects));
    const count = requests.put + requests.get + requests.free;
    const asked =
      model.requests(tier, 'put', requests.put) + model.requests(tier, 'get', requests.get);
    add('requests', 'requests', count, asked);
    add('moves', 'objects', moved.count, model.moveInto(tier, moved.bytes, moved.count));
    const fetched = {
      bytes: retrieved.bytes,
      count: model.billedCount(tier, retrieved.bytes, retrieved.count),
    };
    const read = model.retrieve(tier, fetched, 'Standard') ?? { bytes: 0, requests: 0 };
    add('retrieval', 'GB', retrieved.bytes / 2 ** 30, read.bytes + read.requests);
    const egress = model.egress(tier, retrieved.bytes);
    if (egress > 0) add('egress', 'GB', retrieved.bytes / 2 ** 30, egress);
    const early = meter.earlyByteHours / (days * 24);
    add('earlyDeletion', 'GB-month', early / 2 ** 30, model.storage(tier, early, 0));
  }
  return charges;
}

function groupOf(meter: Meter, by: ReportGroup): string {
  if (by === 'bucket') return meter.bucket;
  return by === 'tier' ? meter.tier : meter.storageClass;
}

function rowsOf(
  meters: Iterable<Meter>,
  charges: readonly Charge[],
  context: { by: ReportGroup; days: number },
): ReportRow[] {
  const { by, days } = context;
  const rows = new Map<string, ReportRow>();
  for (const meter of meters) {
    const name = groupOf(meter, by);
    let row = rows.get(name);
    if (row === undefined) {
      const costs = {
        storage: 0,
        requests: 0,
        moves: 0,
        retrieval: 0,
        egress: 0,
        earlyDeletion: 0,
      };
      row = { name, meanObjects: 0, meanBytes: 0, meanStoredBytes: 0, costs, total: 0 };
      rows.set(name, row);
    }
    row.meanObjects += meter.objectDays / days;
    row.meanBytes += meter.byteHours / (days * 24);
    row.meanStoredBytes += meter.storedByteHours / (days * 24);
  }
  for (const { group, kind, cost } of charges) {
    const row = rows.get(group);
    if (row === undefined) continue;
    row.costs[kind] += cost;
    row.total += cost;
  }
  return [...rows.values()].sort((a, b) => b.total - a.total || (a.name < b.name ? -1 : 1));
}
