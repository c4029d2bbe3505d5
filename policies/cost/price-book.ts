// Price books: what a provider charges in one region, as dated YAML data that an operator can edit,
// never code. Prices go stale and pages disagree, so every book names its date and source, lists
// the cells that nobody verified, and is flagged once it is older than 180 days. README.md beside
// it explains the fields.

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { DAY_MS } from '../../appliance/model/clock.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { parseInstant } from '../base/dates.ts';
import { YamlSource } from '../base/yaml-source.ts';

export const STALE_AFTER_DAYS = 180;

const money = z.number().min(0).max(1_000_000);
const bytes = z.number().int().min(0);

/** A flat price, or steps: each up to so many GB in all, the last one without an end. */
const steps = z.union([
  money,
  z
    .array(z.strictObject({ upToGb: z.number().positive().optional(), price: money }))
    .min(1)
    .refine(
      (list) =>
        list.every((step, index) => (step.upToGb === undefined) === (index === list.length - 1)),
      'each step but the last names upToGb, in rising order',
    ),
]);

const retrieval = z.strictObject({
  perGb: money,
  per1k: money.describe('a thousand requests'),
  minSeconds: z.number().min(0).optional(),
  maxSeconds: z.number().min(0).optional(),
});

const hardware = z.strictObject({
  perTbRaw: money.describe('price of a raw TB (2^40 bytes), bought'),
  lifeMonths: z.number().positive(),
  wattsPerTbRaw: z.number().min(0),
  perKwh: money,
  rawPerUsable: z.number().min(1).describe('1.5 with a 4+2 code'),
});

const classPrice = z
  .strictObject({
    storagePerGbMonth: steps.optional(),
    hardware: hardware.optional(),
    putPer1k: money,
    getPer1k: money,
    transitionPer1k: money.optional().describe('into this class'),
    retrieval: z.partialRecord(z.enum(['Expedited', 'Standard', 'Bulk', 'immediate']), retrieval),
    minBillableBytes: bytes.optional().describe('smaller objects are billed as this'),
    overheadBytes: bytes.optional().describe('billed beside each object at this rate'),
    overheadStandardBytes: bytes.optional().describe("and at the book's standardClass rate"),
    minDays: z.number().int().min(0).optional(),
  })
  .refine(
    (row) => (row.storagePerGbMonth === undefined) !== (row.hardware === undefined),
    'a class has either storagePerGbMonth or hardware',
  );

const bookSchema = z.strictObject({
  version: z.literal(1),
  provider: z.string().min(1),
  region: z.string().min(1),
  currency: z.literal('USD'),
  date: z.string().refine((text) => parseInstant(text) !== undefined, 'write a date as 2026-01-31'),
  sources: z.array(z.string().min(1)).min(1),
  bytesPerGb: z
    .number()
    .int()
    .min(1_000_000_000)
    .max(2 ** 30),
  standardClass: z.string().describe('class of temporary restored copies and of overhead'),
  egressPerGb: steps,
  egressFreeGb: z.number().min(0).describe('a month'),
  classes: z.record(z.string().min(1), classPrice),
  unverified: z.array(z.string()).describe('cells, as CLASS.field or field, nobody has verified'),
});

export type Steps = z.output<typeof steps>;
export type ClassPrice = z.output<typeof classPrice>;
export type Retrieval = z.output<typeof retrieval>;

export interface PriceBook extends z.output<typeof bookSchema> {
  /** `provider-region`: how settings name it. */
  name: string;
}

/** Throws PolicyInvalid with file, line and column. */
export function parsePriceBook(file: string, text: string): PriceBook {
  const source = new YamlSource(file, text);
  const book = source.check(bookSchema);
  if (!Object.hasOwn(book.classes, book.standardClass)) {
    const hint = `name one of ${Object.keys(book.classes).join(', ')}`;
    const message = `standardClass ${book.standardClass} is not among the classes`;
    throw source.error([source.problemAt(['standardClass'], message, hint)]);
  }
  for (const [index, cell] of book.unverified.entries()) {
    if (cellExists(book, cell)) continue;
    const message = `no such cell: ${cell}`;
    throw source.error([
      source.problemAt(['unverified', index], message, 'name CLASS.field or a field of the book'),
    ]);
  }
  return { ...book, name: `${book.provider}-${book.region}` };
}

function cellExists(book: object, cell: string): boolean {
  const [first = ''] = cell.split('.');
  const classes = (book as { classes: object }).classes;
  let at: unknown = Object.hasOwn(classes, first) ? classes : book;
  for (const name of cell.split('.')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return false;
    at = (at as Record<string, unknown>)[name];
  }
  return true;
}

/** Every book of a folder (default: those that come with Firn), by name. */
export async function loadPriceBooks(
  folder: string = join(import.meta.dirname, 'books'),
): Promise<ReadonlyMap<string, PriceBook>> {
  const books = new Map<string, PriceBook>();
  for (const file of (await readdir(folder)).sort()) {
    if (!file.endsWith('.yaml')) continue;
    const book = parsePriceBook(file, await readFile(join(folder, file), 'utf8'));
    if (books.has(book.name)) {
      throw new FirnError('PolicyInvalid', `two price books are ${book.name}`, {
        subject: file,
        hint: 'keep one book a provider and region',
      });
    }
    books.set(book.name, book);
  }
  return books;
}

/** Whether the book is older than 180 days at `now`. */
export function isStale(book: Pick<PriceBook, 'date'>, now: number): boolean {
  return now - (parseInstant(book.date) ?? 0) > STALE_AFTER_DAYS * DAY_MS;
}
