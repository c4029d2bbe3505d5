// Money that a user would be billed. Figures worked out by hand from the same rates are golden
// cases: a wrong factor here is a wrong decision about terabytes.

import test from 'ava';
import { DAY_MS } from '../appliance/model/clock.ts';
import { FirnError } from '../appliance/model/errors.ts';
import type { UsageRow } from '../appliance/model/records.ts';
import { bookLine, CostModel, LOCAL_PRICING } from '../policies/cost/cost-model.ts';
import {
  breakEvenBytes,
  breakEvenOf,
  earlyDeletionCost,
  egressCost,
  retrievalCost,
  stepped,
  storageCost,
  transitionCost,
} from '../policies/cost/money.ts';
import { isStale, loadPriceBooks, parsePriceBook } from '../policies/cost/price-book.ts';
import { quoteRestore } from '../policies/cost/quote.ts';
import { renderCostCsv } from '../policies/cost/report-csv.ts';
import { renderCostHtml } from '../policies/cost/report-html.ts';
import { costReport, requestKind } from '../policies/cost/report.ts';
import { parseInstant } from '../policies/base/dates.ts';
import { formatBytes, formatMoney } from '../policies/base/amounts.ts';

const books = await loadPriceBooks();
const aws = books.get('aws-us-east-1');
const gcs = books.get('gcs-us-central1');
const azure = books.get('azure-eastus-lrs');
if (!aws || !gcs || !azure) throw new Error('a price book is missing');
const KB = 1024;
const GB = 2 ** 30;
const NOW = parseInstant('2026-11-24') as number;

const near = (
  t: { true(value: boolean, message?: string): void },
  value: number,
  expected: number,
  tolerance = 0.005,
): void => {
  const close = Math.abs(value - expected) <= Math.abs(expected) * tolerance;
  t.true(close, `${value} is not about ${expected}`);
};

test('break-even sizes come out as published: below them a move loses money', (t) => {
  const cases = [
    [aws, 'GLACIER', 12, 151],
    [aws, 'GLACIER', 36, 60],
    [aws, 'DEEP_ARCHIVE', 12, 208],
    [aws, 'DEEP_ARCHIVE', 36, 76],
    [aws, 'GLACIER_IR', 12, 92],
    [gcs, 'ARCHIVE', 12, 232],
    [gcs, 'COLDLINE', 12, 109],
    [azure, 'Archive', 12, 51],
  ] as const;
  for (const [book, name, months, kb] of cases) {
    t.is(Math.round(breakEvenOf(book, name, months) / KB), kb, `${book.name} ${name} ${months}`);
  }
  const never = { fee: 1, months: 12, overheadHotBytes: 0, overheadColdBytes: 0, bytesPerGb: GB };
  t.is(breakEvenBytes({ ...never, hotRate: 0.01, coldRate: 0.01 }), Number.POSITIVE_INFINITY);
});

test('packing a million small objects: $50 becomes a cent, and so does the restore', (t) => {
  const bytes = 1e6 * 16 * KB;
  const single = { bytes, count: 1e6 };
  const packs = { bytes, count: 244 };
  const sum = (cost: { bytes: number; requests: number } | undefined): number =>
    cost ? cost.bytes + cost.requests : Number.NaN;
  const cases = [
    [single, 50, 0.22, 25.04, 100.31],
    [packs, 0.012, 0.015, 0.04, 0.33],
  ] as const;
  for (const [holding, moveCost, month, bulk, standard] of cases) {
    near(t, transitionCost(aws, 'DEEP_ARCHIVE', holding.count), moveCost, 0.02);
    near(t, storageCost(aws, 'DEEP_ARCHIVE', holding), month, 0.02);
    near(t, sum(retrievalCost(aws, 'DEEP_ARCHIVE', 'Bulk', holding)), bulk, 0.12);
    near(t, sum(retrievalCost(aws, 'DEEP_ARCHIVE', 'Standard', holding)), standard, 0.02);
  }
});

test('what others forget is counted: egress, floors, overhead, minimum days, steps', (t) => {
  const tb = 1024 * GB;
  near(t, retrievalCost(aws, 'GLACIER', 'Standard', { bytes: tb, count: 0 })?.bytes ?? 0, 10.24);
  near(t, egressCost(aws, tb, aws.egressFreeGb), 92.16);
  near(t, egressCost(aws, tb), 92.16 - 9, 0.001);
  t.is(egressCost(aws, 50 * GB), 0, 'the free allowance');
  near(t, storageCost(aws, 'STANDARD_IA', { bytes: 1e6, count: 1000 }), (128e3 * KB * 0.0125) / GB);
  near(
    t,
    storageCost(aws, 'GLACIER', { bytes: 0, count: 1e6 }),
    (8 * KB * 1e6 * 0.023 + 32 * KB * 1e6 * 0.0036) / GB,
  );
  near(t, earlyDeletionCost(aws, 'GLACIER', GB, 30), 0.0036 * (60 / (730 / 24)));
  t.is(earlyDeletionCost(aws, 'GLACIER', GB, 91), 0);
  const steps = [{ upToGb: 10, price: 1 }, { upToGb: 20, price: 0.5 }, { price: 0.1 }];
  t.is(stepped(steps, 25), 10 + 5 + 0.5);
  t.is(stepped(steps, 5, 18), 1 + 0.3 * 1);
  t.is(retrievalCost(aws, 'DEEP_ARCHIVE', 'Expedited', { bytes: 1, count: 1 }), undefined);
});

test('a price book with a slip in it is refused with its place; old ones are called stale', (t) => {
  const text = `version: 1
provider: p
region: r
currency: USD
date: 2026-01-01
sources: [me]
bytesPerGb: 1073741824
standardClass: A
egressPerGb: 0
egressFreeGb: 0
classes:
  A: {storagePerGbMonth: 0.02, putPer1k: 0, getPer1k: 0, retrieval: {}}
unverified: []
`;
  const book = parsePriceBook('b.yaml', text);
  t.is(book.name, 'p-r');
  t.false(isStale(book, (parseInstant('2026-01-01') as number) + 180 * DAY_MS));
  t.true(isStale(book, (parseInstant('2026-01-01') as number) + 181 * DAY_MS));
  for (const [from, to, place] of [
    ['0.02', '-0.02', '12:26'],
    ['0.02', '"0.02"', '12:26'],
    ['putPer1k', 'put', '12:32'],
    ['standardClass: A', 'standardClass: B', '8:16'],
    ['unverified: []', 'unverified: [A.nothing]', '13:14'],
    ['USD', 'EUR', '4:11'],
    ['date: 2026-01-01', 'date: May', '5:7'],
  ] as const) {
    const error = t.throws(() => parsePriceBook('b.yaml', text.replace(from, to)), {
      instanceOf: FirnError,
    });
    t.is(error?.code, 'PolicyInvalid');
    t.true(error?.message.includes(`b.yaml:${place}: `), `${to}: ${error?.message}`);
  }
});

test('the books that come with Firn say their date, sources and doubts under every figure', (t) => {
  t.deepEqual(
    [...books.keys()],
    ['aws-us-east-1', 'azure-eastus-lrs', 'gcs-us-central1', 'local-default', 'r2-auto'],
  );
  const model = new CostModel(books, {
    archive: { book: 'aws-us-east-1', class: 'GLACIER_IR', packed: true },
  });
  const [note] = model.books(NOW);
  t.deepEqual(note?.unverified, [
    'egressPerGb',
    'GLACIER_IR.putPer1k',
    'GLACIER_IR.getPer1k',
    'GLACIER_IR.transitionPer1k',
    'GLACIER_IR.retrieval',
  ]);
  t.regex(bookLine(model.books(NOW)), /aws-us-east-1 of 2026-06-30, 5 cells unverified/);
  t.regex(bookLine(model.books(NOW + 100 * DAY_MS)), /STALE/);
  const error = t.throws(
    () => new CostModel(books, { x: { book: 'aws', class: 'A', packed: false } }),
    {
      instanceOf: FirnError,
    },
  );
  t.is(error?.code, 'SettingsInvalid');
});

const cloud = new CostModel(books, {
  ...LOCAL_PRICING,
  cold: { book: 'gcs-us-central1', class: 'ARCHIVE', packed: true },
  archive: { book: 'aws-us-east-1', class: 'DEEP_ARCHIVE', packed: true },
});

test('a quote counts each pack once, brings egress into the sum, and says when it will be ready', async (t) => {
  const pack = { id: 'p', sizeBytes: 64 * 2 ** 20 };
  const objects = Array.from({ length: 1000 }, () => ({ sizeBytes: 1000, tier: 'archive', pack }));
  const alone = { sizeBytes: 200 * GB, tier: 'archive', pack: { id: 'q', sizeBytes: 200 * GB } };
  const quote = await quoteRestore([...objects, alone], {
    model: cloud,
    tier: 'Bulk',
    days: 7,
    now: NOW,
    copyTier: 'hot',
  });
  const gb = 200 + 0.0625;
  t.like(quote, { objects: 1001, bytes: 1_000_000 + 200 * GB, packs: 2, refused: [] });
  t.is(quote.fetchedBytes, gb * GB);
  near(t, quote.money.retrieval, gb * 0.0025, 1e-9);
  near(t, quote.money.requests, (2 * 0.025) / 1000, 1e-9);
  near(t, quote.money.egress, (gb - 100) * 0.09, 1e-9);
  t.true(quote.money.egress > 10 * quote.money.retrieval, 'egress is the bill');
  const { retrieval, requests, egress, temporaryCopy, total } = quote.money;
  near(t, total, retrieval + requests + egress + temporaryCopy, 1e-12);
  t.true(temporaryCopy > 0);
  t.deepEqual(quote.readyBetween, { from: '2026-11-25T00:00:00Z', to: '2026-11-26T00:00:00Z' });
  const expedited = await quoteRestore([alone], {
    model: cloud,
    tier: 'Expedited',
    days: 1,
    now: NOW,
    copyTier: 'hot',
  });
  t.deepEqual(expedited.refused, ['archive'], 'the class has no such tier: nothing is promised');
  const local = await quoteRestore([{ sizeBytes: 10, tier: 'archive' }], {
    model: new CostModel(books),
    tier: 'Standard',
    days: 1,
    now: NOW,
    copyTier: 'hot',
  });
  t.is(local.money.egress + local.money.retrieval, 0, 'own drives ask nothing');
});

const DAYS = Array.from({ length: 30 }, (_, n) => `2026-11-${String(n + 1).padStart(2, '0')}`);
const usage: UsageRow[] = [
  ...DAYS.flatMap((day): UsageRow[] => [
    row({
      day,
      bucket: 'photos',
      tier: 'cold',
      storageClass: 'GLACIER_IR',
      bytes: 24 * 100 * GB,
      count: 5000,
    }),
    row({
      day,
      bucket: 'logs',
      tier: 'archive',
      storageClass: 'DEEP_ARCHIVE',
      bytes: 24 * 10 * GB,
      count: 100,
    }),
  ]),
  row({
    day: '2026-11-03',
    kind: 'requests',
    bucket: 'photos',
    tier: 'cold',
    operation: 'GetObject',
    count: 10_000,
    bytes: 0,
  }),
  row({
    day: '2026-11-03',
    kind: 'requests',
    bucket: 'photos',
    tier: 'cold',
    operation: 'DeleteObject',
    count: 10_000,
    bytes: 0,
  }),
  row({
    day: '2026-11-04',
    kind: 'moved',
    bucket: 'photos',
    tier: 'cold',
    count: 1_000_000,
    bytes: 64 * 2 ** 20 * 244,
  }),
  row({
    day: '2026-11-05',
    kind: 'retrieved',
    bucket: 'logs',
    tier: 'archive',
    count: 1,
    bytes: 300 * GB,
  }),
  row({
    day: '2026-11-06',
    kind: 'deleted-early',
    bucket: 'photos',
    tier: 'cold',
    count: 1,
    bytes: 720 * GB,
  }),
  row({ day: '2026-10-31', bucket: 'photos', tier: 'cold', bytes: 1e18 }),
  row({ day: '2026-11-07', bucket: '=cmd()', tier: 'attic', bytes: 24 * GB, count: 1 }),
];

function row(over: Partial<UsageRow>): UsageRow {
  return {
    format: 1,
    day: '2026-11-01',
    kind: 'stored',
    bucket: 'b',
    tier: 'hot',
    storageClass: 'STANDARD',
    bytes: 0,
    count: 0,
    ...over,
  };
}

test('a month is priced from its meters: storage, requests, packs, retrieval, egress, early fees', async (t) => {
  const report = await costReport(usage, {
    month: '2026-11',
    by: 'bucket',
    model: cloud,
    now: NOW,
  });
  t.is(report.daysMetered, 30);
  const photos = report.rows.find(({ name }) => name === 'photos');
  const logs = report.rows.find(({ name }) => name === 'logs');
  near(t, photos?.meanBytes ?? 0, 100 * GB, 1e-9);
  near(t, photos?.meanObjects ?? 0, 5000, 1e-9);
  near(t, photos?.costs.storage ?? 0, 100 * 0.0012, 1e-9);
  near(t, photos?.costs.requests ?? 0, 10 * 0.05, 1e-9);
  near(t, photos?.costs.moves ?? 0, (244 * 0.05) / 1000, 1e-9);
  near(t, photos?.costs.earlyDeletion ?? 0, 0.0012, 1e-9);
  near(t, logs?.costs.egress ?? 0, 200 * 0.09, 1e-9);
  near(t, logs?.costs.retrieval ?? 0, 300 * 0.02 + 4800 * 0 + 0.1 / 1000, 1e-9);
  t.deepEqual(
    report.unpricedTiers,
    ['attic'],
    'what has no price is named, not left out in silence',
  );
  for (const by of ['tier', 'class'] as const) {
    const other = await costReport(usage, { month: '2026-11', by, model: cloud, now: NOW });
    near(t, other.total, report.total, 1e-9);
  }
  const empty = await costReport([], { month: '2026-02', by: 'tier', model: cloud, now: NOW });
  t.is(empty.total, 0);
  const error = await t.throwsAsync(
    costReport([], { month: '2026-13', by: 'tier', model: cloud, now: NOW }),
  );
  t.true(error instanceof FirnError && error.code === 'UsageError');
});

test('providers count reads, writes and deletes apart', (t) => {
  t.is(requestKind('GetObject'), 'get');
  t.is(requestKind('HeadObject'), 'get');
  t.is(requestKind('PutObject'), 'put');
  t.is(requestKind('ListObjectsV2'), 'put');
  t.is(requestKind('CompleteMultipartUpload'), 'put');
  t.is(requestKind('DeleteObjects'), 'free');
  t.is(requestKind('AbortMultipartUpload'), 'free');
});

test('the report as CSV joins other bills: FOCUS columns, plain numbers, no cell that runs', async (t) => {
  const report = await costReport(usage, {
    month: '2026-11',
    by: 'bucket',
    model: cloud,
    now: NOW,
  });
  const lines = renderCostCsv(report, cloud).trimEnd().split('\r\n');
  t.is(lines.length, report.charges.length + 1);
  const columns = lines[0]?.split(',') ?? [];
  for (const name of [
    'BillingPeriodStart',
    'BilledCost',
    'BillingCurrency',
    'ChargeCategory',
    'ResourceId',
  ]) {
    t.true(columns.includes(name), name);
  }
  t.true(lines.some((line) => line.includes("'=cmd()")));
  t.false(
    lines.some((line) => /\de-\d/.test(line)),
    'no exponents',
  );
  const cost = columns.indexOf('BilledCost');
  const sum = lines.slice(1).reduce((total, line) => total + Number(line.split(',')[cost]), 0);
  near(t, sum, report.total, 1e-6);
  t.true(lines[1]?.startsWith('2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,'));
});

test('the report as a page runs nothing and shows everything: escaped names, charts, book dates', async (t) => {
  const hostile = row({
    bucket: '<script>alert(1)</script>',
    tier: 'cold"x',
    bytes: 24 * GB,
    count: 1,
  });
  const report = await costReport([...usage, hostile], {
    month: '2026-11',
    by: 'bucket',
    model: cloud,
    now: NOW,
  });
  const html = renderCostHtml(report);
  t.false(/<script/i.test(html));
  t.true(html.includes('&lt;script&gt;'));
  t.is(html.match(/<svg /g)?.length, 2);
  t.true(html.includes('gcs-us-central1 of 2026-09-20'));
  t.false(/NaN|Infinity|undefined/.test(html));
  const empty = await costReport([], { month: '2026-11', by: 'bucket', model: cloud, now: NOW });
  t.true(renderCostHtml(empty).includes('Nothing was charged'));
  t.true(html.includes('No price for: attic, cold&quot;x'));
});

test('small sums stay readable, large ones keep their commas', (t) => {
  t.is(formatMoney(0.0000215), '$0.000022');
  t.is(formatMoney(1234.5), '$1,234.50');
  t.is(formatMoney(-0.5), '-$0.50');
  t.is(formatMoney(0), '$0');
  t.is(formatBytes(1536), '1.50 KiB');
});
