// usage and cost report.

import { z } from 'zod';
import type { CostReportAnswer } from '../../../appliance/model/answers.ts';
import type { UsageRow } from '../../../appliance/model/records.ts';
import { monthOf } from '../../../policies/cost/cost-model.ts';
import { renderCostCsv } from '../../../policies/cost/report-csv.ts';
import { renderCostHtml } from '../../../policies/cost/report-html.ts';
import { costReport, REPORT_GROUPS } from '../../../policies/cost/report.ts';
import { costModelOf, priceLines } from '../queries/pricing.ts';
import { isAsked, route } from '../contract/route.ts';
import type { Route } from '../contract/route.ts';
import type { AdminOptions } from '../contract/options.ts';
import { allRows } from '../contract/rows.ts';
import { costReportAnswer, usageAnswer } from '../contract/schemas.ts';
import { inventoriedUsage, usageOf } from '../queries/usage.ts';

async function* monthRows(options: AdminOptions, month: string): AsyncGenerator<UsageRow> {
  // Ids begin with the day: `2026-11-…` lies between `2026-11-` and `2026-11.`.
  const bounds = { from: `${month}-`, to: `${month}.` };
  for await (const row of allRows<UsageRow>(options.store, 'usage', bounds)) yield row.value;
}

/** As if what the newest inventories counted had lain there from the month's first day to its last. */
async function* inventoriedRows(options: AdminOptions, month: string): AsyncGenerator<UsageRow> {
  const counted = await inventoriedUsage(options);
  const days = new Date(
    Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5)), 0),
  ).getUTCDate();
  for (let day = 1; day <= days; day++) {
    for (const { bucket, tier, storageClass, objects, bytes } of counted) {
      yield {
        format: 1,
        day: `${month}-${String(day).padStart(2, '0')}`,
        kind: 'stored',
        bucket,
        tier,
        storageClass,
        bytes: bytes * 24,
        count: objects,
      };
    }
  }
}

export const costRoutes: readonly Route[] = [
  route({
    id: 'getCostReport',
    method: 'GET',
    path: '/cost/report',
    summary: 'What a month cost by bucket, tier or class, from meters and dated price books',
    tag: 'cost',
    query: z.strictObject({
      month: z
        .string()
        .regex(/^\d{4}-(0[1-9]|1[0-2])$/, 'a month is YYYY-MM')
        .optional(),
      by: z.enum(REPORT_GROUPS).default('tier'),
      /** inventory: what is stored now, kept for a whole month; meters: what was there. */
      source: z.enum(['meters', 'inventory']).default('meters'),
    }),
    answer: costReportAnswer,
    texts: ['text/csv', 'text/html'],
    handle: async ({ options, query, accept }) => {
      const model = await costModelOf(options);
      const now = options.clock.now();
      const month = query.month ?? monthOf(now);
      const rows =
        query.source === 'meters' ? monthRows(options, month) : inventoriedRows(options, month);
      const report = await costReport(rows, { month, by: query.by, model, now });
      if (isAsked(accept, 'text/csv')) {
        return { contentType: 'text/csv; header=present', text: renderCostCsv(report, model) };
      }
      if (isAsked(accept, 'text/html')) {
        return { contentType: 'text/html', text: renderCostHtml(report) };
      }
      const { books, charges: _, ...rest } = report;
      return { ...rest, prices: priceLines(books) } satisfies CostReportAnswer;
    },
  }),
  route({
    id: 'getUsage',
    method: 'GET',
    path: '/usage',
    summary: 'Objects and bytes by bucket, tier and class',
    tag: 'cost',
    query: z.strictObject({ source: z.enum(['scan', 'meters', 'inventory']).default('scan') }),
    answer: usageAnswer,
    streams: true,
    handle: (input) => usageOf(input.query.source, input),
  }),
];
