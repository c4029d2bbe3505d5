// What bytes cost where they are: each tier of an installation tied to a class of a price book.
// Plan, explain, restore quote and report all ask this one, so that their figures agree.

import { FirnError } from '../../appliance/model/errors.ts';
import { PACK_BYTES_TARGET } from '../../appliance/model/limits.ts';
import { formatDate } from '../base/dates.ts';
import {
  classIn,
  earlyDeletionCost,
  egressCost,
  retrievalCost,
  storageCost,
  transitionCost,
  type Holding,
  type RetrievalCost,
  type RetrievalTier,
} from './money.ts';
import { isStale, type ClassPrice, type PriceBook } from './price-book.ts';

export interface TierPricing {
  /** Name of a price book, for example aws-us-east-1. */
  book: string;
  /** A class of it. */
  class: string;
  /** Objects go there in packs: the provider sees and bills packs. */
  packed: boolean;
  /** Of a full pack; default PACK_BYTES_TARGET. */
  packBytes?: number;
}

/** What an embedded installation has: four tiers on its own drives. */
export const LOCAL_PRICING: Readonly<Record<string, TierPricing>> = {
  hot: { book: 'local-default', class: 'nvme', packed: false },
  warm: { book: 'local-default', class: 'hdd', packed: true },
  cold: { book: 'local-default', class: 'directory', packed: true },
  archive: { book: 'local-default', class: 'directory', packed: true },
};

export interface BookNote {
  name: string;
  date: string;
  sources: readonly string[];
  stale: boolean;
  /** Cells that are in use and that nobody verified. */
  unverified: readonly string[];
}

interface Priced {
  pricing: TierPricing;
  book: PriceBook;
  row: ClassPrice;
}

export class CostModel {
  readonly currency = 'USD';
  readonly #tiers = new Map<string, Priced>();
  readonly #wall: (() => number) | undefined;

  /**
   * Throws SettingsInvalid where a tier names a book or class that is not there. Prices age by the
   * host's time (`wall`): a sandbox that advances the engine's clock makes none of them stale.
   */
  constructor(
    books: ReadonlyMap<string, PriceBook>,
    pricing: Readonly<Record<string, TierPricing>> = LOCAL_PRICING,
    wall?: () => number,
  ) {
    this.#wall = wall;
    for (const [tier, one] of Object.entries(pricing)) {
      const book = books.get(one.book);
      if (book === undefined || !Object.hasOwn(book.classes, one.class)) {
        const known = book ? Object.keys(book.classes) : [...books.keys()];
        throw new FirnError(
          'SettingsInvalid',
          `no price for tier ${tier}: ${one.book} ${one.class}`,
          {
            subject: tier,
            hint: `known are ${known.join(', ')}`,
          },
        );
      }
      this.#tiers.set(tier, { pricing: one, book, row: classIn(book, one.class) });
    }
  }

  /** False: nothing in this tier has a price, and its costs are 0. */
  knows(tier: string): boolean {
    return this.#tiers.has(tier);
  }

  /** What the provider bills for so many objects: themselves, or the packs they fill. */
  billedCount(tier: string, bytes: number, objects: number): number {
    const pricing = this.#tiers.get(tier)?.pricing;
    if (!pricing?.packed || objects === 0) return objects;
    const full = pricing.packBytes ?? PACK_BYTES_TARGET;
    return Math.min(objects, Math.max(1, Math.ceil(bytes / full)));
  }

  /** $ a month. */
  storage(tier: string, bytes: number, objects: number): number {
    return this.storageOf(tier, { bytes, count: this.billedCount(tier, bytes, objects) });
  }

  /** $ a month for what the provider counts itself. */
  storageOf(tier: string, holding: Holding): number {
    const priced = this.#tiers.get(tier);
    if (priced === undefined || (holding.bytes === 0 && holding.count === 0)) return 0;
    return storageCost(priced.book, priced.pricing.class, holding);
  }

  /** $ a month for one object, without the floor and overhead that it shares with its pack. */
  storageOfOne(tier: string, bytes: number): number {
    const packed = this.#tiers.get(tier)?.pricing.packed ?? false;
    return this.storageOf(tier, { bytes, count: packed ? 0 : 1 });
  }

  /** $ once: written as new blobs into the tier, each at the dearer of put and transition. */
  moveInto(tier: string, bytes: number, objects: number): number {
    const priced = this.#tiers.get(tier);
    if (priced === undefined) return 0;
    const count = this.billedCount(tier, bytes, objects);
    return transitionCost(priced.book, priced.pricing.class, count);
  }

  /** $ once; undefined where the class knows no such retrieval tier. */
  retrieve(tier: string, holding: Holding, by: RetrievalTier): RetrievalCost | undefined {
    const priced = this.#tiers.get(tier);
    if (priced === undefined) return { bytes: 0, requests: 0 };
    return retrievalCost(priced.book, priced.pricing.class, by, holding);
  }

  /** $ once, for bytes that leave the provider's network. */
  egress(tier: string, bytes: number): number {
    const priced = this.#tiers.get(tier);
    return priced === undefined ? 0 : egressCost(priced.book, bytes);
  }

  /** $ once, for bytes leaving the tier after so many days in it. */
  leaveEarly(tier: string, bytes: number, ageDays: number): number {
    const priced = this.#tiers.get(tier);
    if (priced === undefined) return 0;
    return earlyDeletionCost(priced.book, priced.pricing.class, bytes, ageDays);
  }

  /** $ for requests of a kind. */
  requests(tier: string, kind: 'put' | 'get' | 'free', count: number): number {
    const row = this.#tiers.get(tier)?.row;
    if (row === undefined || kind === 'free') return 0;
    return ((kind === 'put' ? row.putPer1k : row.getPer1k) * count) / 1000;
  }

  /** Whether moving from one to the other crosses a provider's border (and pays egress). */
  crosses(from: string, to: string): boolean {
    return this.#tiers.get(from)?.book.name !== this.#tiers.get(to)?.book.name;
  }

  rowOf(tier: string): ClassPrice | undefined {
    return this.#tiers.get(tier)?.row;
  }

  /** `book class` for a report line. */
  labelOf(tier: string): string {
    const priced = this.#tiers.get(tier);
    return priced === undefined ? 'no price' : `${priced.book.name} ${priced.pricing.class}`;
  }

  providerOf(tier: string): { provider: string; region: string } {
    const book = this.#tiers.get(tier)?.book;
    return { provider: book?.provider ?? 'unpriced', region: book?.region ?? '' };
  }

  /** Date, source and doubts of each book in use, to be printed under every figure. */
  books(now: number): BookNote[] {
    const notes = new Map<string, BookNote>();
    for (const { book } of this.#tiers.values()) {
      if (notes.has(book.name)) continue;
      const classes = [...this.#tiers.values()]
        .filter((one) => one.book === book)
        .map(({ pricing }) => pricing.class);
      notes.set(book.name, {
        name: book.name,
        date: book.date,
        sources: book.sources,
        stale: isStale(book, this.#wall?.() ?? now),
        unverified: book.unverified.filter((cell) => concerns(cell, classes, book)),
      });
    }
    return [...notes.values()];
  }
}

function concerns(cell: string, classes: readonly string[], book: PriceBook): boolean {
  const [first = ''] = cell.split('.');
  return !Object.hasOwn(book.classes, first) || classes.includes(first);
}

/** `Prices: aws-us-east-1 of 2026-06-30, 6 cells unverified; …`, one line for texts. */
export function bookLine(notes: readonly BookNote[]): string {
  const one = ({ name, date, stale, unverified }: BookNote): string => {
    const doubts = unverified.length === 0 ? '' : `, ${unverified.length} cells unverified`;
    return `${name} of ${date}${stale ? ' (STALE: older than 180 days)' : ''}${doubts}`;
  };
  return `Prices: ${notes.map(one).join('; ')}`;
}

export function monthOf(at: number): string {
  return formatDate(at).slice(0, 7);
}
