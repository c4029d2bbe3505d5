// Money arithmetic on price rows: US dollars as numbers, rounded only where they are shown. It
// counts what calculators forget: billing floors and bytes billed beside each object, fees for
// leaving too early, requests a pack instead of an object, and egress, which costs nine times the
// retrieval when a terabyte comes home from an archive ($92.16 against $10.24).

import { strict as assert } from 'node:assert';
import type { ClassPrice, PriceBook, Retrieval, Steps } from './price-book.ts';

export const HOURS_PER_MONTH = 730;
export const DAYS_PER_MONTH = HOURS_PER_MONTH / 24;

export function classIn(book: PriceBook, name: string): ClassPrice {
  const row = Object.hasOwn(book.classes, name) ? book.classes[name] : undefined;
  assert(row !== undefined, `price book ${book.name} has no class ${name}`);
  return row;
}

/** Price of an amount of GB by steps, having used `usedGb` of them before. */
export function stepped(steps: Steps, gb: number, usedGb = 0): number {
  if (typeof steps === 'number') return steps * gb;
  let cost = 0;
  let from = usedGb;
  let left = gb;
  for (const { upToGb = Number.POSITIVE_INFINITY, price } of steps) {
    if (from >= upToGb) continue;
    const here = Math.min(left, upToGb - from);
    cost += here * price;
    left -= here;
    from += here;
    if (left <= 0) break;
  }
  return cost;
}

/** $ a GB and month of the first step. */
export function storageRate(book: PriceBook, row: ClassPrice): number {
  if (row.hardware !== undefined) {
    const { perTbRaw, lifeMonths, wattsPerTbRaw, perKwh, rawPerUsable } = row.hardware;
    const power = ((wattsPerTbRaw * HOURS_PER_MONTH) / 1000) * perKwh;
    const perTb = (perTbRaw / lifeMonths + power) * rawPerUsable;
    return (perTb * book.bytesPerGb) / 2 ** 40;
  }
  const steps = row.storagePerGbMonth ?? 0;
  return typeof steps === 'number' ? steps : (steps[0]?.price ?? 0);
}

export interface Holding {
  /** Bytes of the objects (or packs) themselves. */
  bytes: number;
  /** Billed things: objects, or packs where objects are packed. */
  count: number;
}

/** $ a month for bytes kept in a class, with floor and per-object overhead. */
export function storageCost(book: PriceBook, className: string, holding: Holding): number {
  const row = classIn(book, className);
  const { bytes, count } = holding;
  // Without each size the floor is judged by the mean: exact where sizes are alike.
  const billed = Math.max(bytes, count * (row.minBillableBytes ?? 0));
  const own = billed + count * (row.overheadBytes ?? 0);
  const standardBytes = count * (row.overheadStandardBytes ?? 0);
  const steps = row.storagePerGbMonth ?? storageRate(book, row);
  const standard =
    standardBytes === 0 ? 0 : storageRate(book, classIn(book, book.standardClass)) * standardBytes;
  return stepped(steps, own / book.bytesPerGb) + standard / book.bytesPerGb;
}

/** $ once, to move so many objects (or packs) into a class. */
export function transitionCost(book: PriceBook, className: string, count: number): number {
  const row = classIn(book, className);
  return ((row.transitionPer1k ?? row.putPer1k) * count) / 1000;
}

export type RetrievalTier = 'Expedited' | 'Standard' | 'Bulk';

/** How the class is read: by that tier where it is archived, at once where it is not. */
export function retrievalOf(row: ClassPrice, tier: RetrievalTier): Retrieval | undefined {
  return row.retrieval[tier] ?? row.retrieval.immediate;
}

export interface RetrievalCost {
  /** By bytes. */
  bytes: number;
  requests: number;
}

/** $ to read bytes back; undefined where the class knows no such tier. */
export function retrievalCost(
  book: PriceBook,
  className: string,
  tier: RetrievalTier,
  holding: Holding,
): RetrievalCost | undefined {
  const retrieval = retrievalOf(classIn(book, className), tier);
  if (retrieval === undefined) return undefined;
  return {
    bytes: (retrieval.perGb * holding.bytes) / book.bytesPerGb,
    requests: (retrieval.per1k * holding.count) / 1000,
  };
}

/** $ to bring bytes out of the provider's network, having brought `usedGb` this month already. */
export function egressCost(book: PriceBook, bytes: number, usedGb = 0): number {
  const gb = bytes / book.bytesPerGb;
  const free = Math.max(0, book.egressFreeGb - usedGb);
  return stepped(book.egressPerGb, Math.max(0, gb - free), Math.max(0, usedGb - book.egressFreeGb));
}

/** $ still due when bytes leave a class `ageDays` after they came. */
export function earlyDeletionCost(
  book: PriceBook,
  className: string,
  bytes: number,
  ageDays: number,
): number {
  const row = classIn(book, className);
  const days = Math.max(0, (row.minDays ?? 0) - Math.max(0, ageDays));
  return ((storageRate(book, row) * bytes) / book.bytesPerGb) * (days / DAYS_PER_MONTH);
}

export interface BreakEven {
  /** $ a GB and month where the object is, and where it would go. */
  hotRate: number;
  coldRate: number;
  /** $ to move one object. */
  fee: number;
  months: number;
  /** Bytes billed beside each object, at the hot and at the cold rate. */
  overheadHotBytes: number;
  overheadColdBytes: number;
  bytesPerGb: number;
}

/**
 * Bytes below which moving one object costs more than it saves over so many months, without reads;
 * Infinity where it never pays.
 */
export function breakEvenBytes(given: BreakEven): number {
  const { hotRate, coldRate, fee, months, overheadHotBytes, overheadColdBytes, bytesPerGb } = given;
  if (hotRate <= coldRate) return Number.POSITIVE_INFINITY;
  const overhead = overheadHotBytes * hotRate + overheadColdBytes * coldRate;
  return (fee * bytesPerGb + months * overhead) / (months * (hotRate - coldRate));
}

/** Break-even of moving single objects from the book's standard class into a class. */
export function breakEvenOf(book: PriceBook, className: string, months: number): number {
  const row = classIn(book, className);
  return breakEvenBytes({
    hotRate: storageRate(book, classIn(book, book.standardClass)),
    coldRate: storageRate(book, row),
    fee: transitionCost(book, className, 1),
    months,
    overheadHotBytes: row.overheadStandardBytes ?? 0,
    overheadColdBytes: row.overheadBytes ?? 0,
    bytesPerGb: book.bytesPerGb,
  });
}
