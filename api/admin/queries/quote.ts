// Restore quotes: counted over the real inventory, kept for a day so that a start can name one.
// Only staged tiers are in them: what is read at once needs no restore. What is readable already,
// or being restored, is left out too.

import type { RestoreQuoteAnswer } from '../../../appliance/model/answers.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { newRequestId } from '../../../appliance/model/ids.ts';
import type { Pack } from '../../../appliance/model/location.ts';
import type { Version } from '../../../appliance/model/object.ts';
import { inventoryPages } from '../../../appliance/engine/document/inventory.ts';
import { quoteRestore as price } from '../../../policies/cost/quote.ts';
import type { QuotedObject } from '../../../policies/cost/quote.ts';
import type { AdminOptions } from '../contract/options.ts';
import { costModelOf, priceLines } from './pricing.ts';
import { allRows, bucketByName, timeOf } from '../contract/rows.ts';

const KEPT_MS = 24 * 3_600_000;
const ROW = 'quote/';

/** Row of `settings`, id = `quote/${quoteId}`. */
interface QuoteRow {
  format: 1;
  /** Wall ms. */
  until: number;
  answer: RestoreQuoteAnswer;
}

export interface QuoteScope {
  bucket: string;
  prefix: string;
  days: number;
  tier: 'Expedited' | 'Standard' | 'Bulk';
}

type ProgressSink = (event: { objects: number; bytes: number }) => void;

export async function quoteRestore(
  options: AdminOptions,
  scope: QuoteScope,
  how: { progress: ProgressSink; keep?: boolean },
): Promise<RestoreQuoteAnswer> {
  const model = await costModelOf(options);
  const quote = await price(archived(options, scope, how.progress), {
    model,
    tier: scope.tier,
    days: scope.days,
    now: options.clock.now(),
    copyTier: options.classes.get('STANDARD') ?? 'hot',
  });
  if (quote.refused.length > 0) {
    throw new FirnError('InvalidTier', `${quote.refused.join(', ')} knows no ${scope.tier}`, {
      hint: 'ask for another --tier: Expedited, Standard or Bulk',
    });
  }
  const { total, ...parts } = quote.money;
  const until = options.clock.wall() + KEPT_MS;
  const answer: RestoreQuoteAnswer = {
    quoteId: newRequestId(options.clock, options.random),
    expiresAt: timeOf(until),
    bucket: scope.bucket,
    prefix: scope.prefix,
    days: scope.days,
    tier: scope.tier,
    objects: quote.objects,
    bytes: quote.bytes,
    packs: quote.packs,
    retrievedBytes: quote.fetchedBytes,
    money: { amount: total, ...parts },
    readyBetween: quote.readyBetween,
    prices: priceLines(quote.books),
  };
  if (how.keep === true) await keep(options, { format: 1, until, answer });
  return answer;
}

async function* archived(
  options: AdminOptions,
  scope: QuoteScope,
  progress: ProgressSink,
): AsyncGenerator<QuotedObject> {
  const bucket = await bucketByName(options.store, scope.bucket);
  const packSizes = new Map<string, number>();
  let objects = 0;
  let bytes = 0;
  for await (const page of inventoryPages(options.store, bucket.id, { prefix: scope.prefix })) {
    for (const { document } of page) {
      const version = document.versions[0];
      const tier = version === undefined ? undefined : stagedTierOf(version, options);
      if (version === undefined || tier === undefined) continue;
      objects += 1;
      bytes += version.sizeBytes;
      yield await quoted(options, { version, tier }, packSizes);
    }
    progress({ objects, bytes });
  }
}

/** The staged tier of its class; undefined where the version can be read, or soon can. */
function stagedTierOf(version: Version, options: AdminOptions): string | undefined {
  if (version.deleteMarker) return undefined;
  const tier = options.classes.get(version.storageClass) ?? '';
  if (options.tiers.get(tier)?.retrieval !== 'staged') return undefined;
  const { restore } = version;
  const live = restore?.state === 'pending' || (restore?.expiry ?? 0) > options.clock.now();
  return live ? undefined : tier;
}

async function quoted(
  options: AdminOptions,
  given: { version: Version; tier: string },
  packSizes: Map<string, number>,
): Promise<QuotedObject> {
  const { version, tier } = given;
  const base = { sizeBytes: version.sizeBytes, tier };
  const location = version.parts[0]?.location;
  if (location?.kind !== 'pack') return base;
  let sizeBytes = packSizes.get(location.pack);
  if (sizeBytes === undefined) {
    const row = await options.store.get<Pack>('packs', location.pack);
    sizeBytes = row?.value.sizeBytes ?? version.sizeBytes;
    packSizes.set(location.pack, sizeBytes);
  }
  return { ...base, pack: { id: location.pack, sizeBytes } };
}

/** Keeps the quote and drops those whose day is over. */
async function keep(options: AdminOptions, row: QuoteRow): Promise<void> {
  const { store, clock } = options;
  for await (const old of allRows<QuoteRow>(store, 'settings', { from: ROW, to: 'quote0' })) {
    if (old.value.until < clock.wall()) await store.remove('settings', old.id, old.revision);
  }
  await store.insert('settings', `${ROW}${row.answer.quoteId}`, row);
}

/** Refuses what was never quoted, and quotes that are older than a day. */
export async function readQuote(options: AdminOptions, id: string): Promise<RestoreQuoteAnswer> {
  const row = await options.store.get<QuoteRow>('settings', `${ROW}${id}`);
  if (row !== undefined && row.value.until >= options.clock.wall()) return row.value.answer;
  throw new FirnError('NoSuchKey', `there is no quote ${id}, or it is older than a day`, {
    hint: './firn restore quote makes a new one',
  });
}
