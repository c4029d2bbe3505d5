// What a restore will cost and when it will be ready, before anything starts. Objects that share a
// pack share its retrieval: one request, the pack's bytes once. The danger is the bill that nobody
// saw: a terabyte out of an archive costs $10 to retrieve and $92 to bring home.

import type { CostModel } from './cost-model.ts';
import type { RetrievalTier } from './money.ts';
import { formatInstant } from '../base/dates.ts';

export interface QuotedObject {
  sizeBytes: number;
  /** Tier that holds the bytes. */
  tier: string;
  /** Where they lie in a pack: fetched as a whole, once. */
  pack?: { id: string; sizeBytes: number };
}

export interface QuoteOptions {
  model: CostModel;
  tier: RetrievalTier;
  days: number;
  /** Engine ms. */
  now: number;
  /** Tier that takes the temporary copies; they are billed there for `days`. */
  copyTier: string;
}

export interface RestoreQuote {
  objects: number;
  bytes: number;
  packs: number;
  /** Bytes asked of the provider: whole packs, each once. */
  fetchedBytes: number;
  money: {
    currency: string;
    retrieval: number;
    requests: number;
    egress: number;
    temporaryCopy: number;
    total: number;
  };
  /** RFC 3339: the earliest and the latest that all of it is readable. */
  readyBetween: { from: string; to: string };
  /** Tiers whose class has no such retrieval tier: the restore will be refused there. */
  refused: readonly string[];
  books: ReturnType<CostModel['books']>;
}

interface Fetch {
  bytes: number;
  blobs: number;
}

/** Reads the objects once, in any order; keeps one number a pack. */
export async function quoteRestore(
  objects: AsyncIterable<QuotedObject> | Iterable<QuotedObject>,
  options: QuoteOptions,
): Promise<RestoreQuote> {
  const fetches = new Map<string, Fetch>();
  const packs = new Set<string>();
  let count = 0;
  let bytes = 0;
  for await (const { sizeBytes, tier, pack } of objects) {
    count += 1;
    bytes += sizeBytes;
    let fetch = fetches.get(tier);
    if (fetch === undefined) fetches.set(tier, (fetch = { bytes: 0, blobs: 0 }));
    if (pack !== undefined && packs.has(pack.id)) continue;
    if (pack !== undefined) packs.add(pack.id);
    fetch.bytes += pack?.sizeBytes ?? sizeBytes;
    fetch.blobs += 1;
  }
  return { objects: count, bytes, packs: packs.size, ...price(fetches, bytes, options) };
}

function price(
  fetches: ReadonlyMap<string, Fetch>,
  copyBytes: number,
  options: QuoteOptions,
): Omit<RestoreQuote, 'objects' | 'bytes' | 'packs'> {
  const { model, days, now, copyTier } = options;
  const refused: string[] = [];
  const sums = { retrieval: 0, requests: 0, egress: 0, fetchedBytes: 0 };
  let least = 0;
  let most = 0;
  for (const [tier, fetch] of fetches) {
    const holding = { bytes: fetch.bytes, count: fetch.blobs };
    const cost = model.retrieve(tier, holding, options.tier);
    if (cost === undefined) {
      refused.push(tier);
      continue;
    }
    sums.fetchedBytes += fetch.bytes;
    sums.retrieval += cost.bytes;
    sums.requests += cost.requests;
    if (model.crosses(tier, copyTier)) sums.egress += model.egress(tier, fetch.bytes);
    const times = model.rowOf(tier)?.retrieval[options.tier];
    least = Math.max(least, times?.minSeconds ?? 0);
    most = Math.max(most, times?.maxSeconds ?? 0);
  }
  const temporaryCopy = (model.storage(copyTier, copyBytes, 1) * days) / (730 / 24);
  const { fetchedBytes, ...parts } = sums;
  const total = parts.retrieval + parts.requests + parts.egress + temporaryCopy;
  return {
    fetchedBytes,
    money: { currency: model.currency, ...parts, temporaryCopy, total },
    readyBetween: {
      from: formatInstant(now + least * 1000),
      to: formatInstant(now + most * 1000),
    },
    refused,
    books: model.books(now),
  };
}
