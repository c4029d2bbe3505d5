// The cost model of this installation: price books that come with Firn, and those of the operator
// over them (a book of the same provider and region replaces ours).

import { CostModel, LOCAL_PRICING } from '../../../policies/cost/cost-model.ts';
import type { BookNote } from '../../../policies/cost/cost-model.ts';
import { loadPriceBooks, parsePriceBook } from '../../../policies/cost/price-book.ts';
import type { AdminOptions } from '../contract/options.ts';

const models = new WeakMap<AdminOptions, Promise<CostModel>>();

export async function costModelOf(options: AdminOptions): Promise<CostModel> {
  let model = models.get(options);
  if (model === undefined) {
    model = build(options);
    models.set(options, model);
    // A broken book is told to whoever asks, and looked at again the next time.
    model.catch(() => models.delete(options));
  }
  return model;
}

async function build(options: AdminOptions): Promise<CostModel> {
  const books = new Map(await loadPriceBooks());
  for (const { name, text } of options.priceBooks) {
    const book = parsePriceBook(name, text);
    books.set(book.name, book);
  }
  return new CostModel(books, options.pricing ?? LOCAL_PRICING, () => options.clock.wall());
}

/** One line a book: name, date, doubts, sources. */
export function priceLines(books: readonly BookNote[]): string[] {
  return books.map(({ name, date, stale, unverified, sources }) => {
    const old = stale ? ', STALE: older than 180 days' : '';
    const doubts = unverified.length === 0 ? '' : `, ${unverified.length} figures nobody verified`;
    return `${name} of ${date}${old}${doubts} (${sources.join('; ')})`;
  });
}
