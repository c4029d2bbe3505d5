// How a cost report reads on a terminal; also what the demo shows.

import type { CostReportAnswer, CostRow } from '../../model/answers.ts';
import { countOf, countText, moneyText, sizeText } from './human.ts';
import type { Screen } from './output.ts';
import { printable, tableText } from './table.ts';
import type { Column } from './table.ts';

const KINDS = [
  ['storage', 'STORAGE'],
  ['requests', 'REQUESTS'],
  ['moves', 'MOVES'],
  ['retrieval', 'RETRIEVAL'],
  ['egress', 'EGRESS'],
  ['earlyDeletion', 'EARLY DELETION'],
] as const;

export function costText(report: CostReportAnswer, to: Screen): string {
  const price = (amount: number): string => moneyText(amount, report.currency);
  const sum = (of: (row: CostRow) => number): number =>
    report.rows.reduce((total, row) => total + of(row), 0);
  // Storage always, and what else there was to pay for.
  const kinds = KINDS.filter(([kind]) => kind === 'storage' || sum((row) => row.costs[kind]) !== 0);
  const line = (name: string, of: (pick: (row: CostRow) => number) => number): string[] => [
    name === '' ? '–' : name,
    countText(of((row) => row.meanObjects)),
    sizeText(of((row) => row.meanBytes)),
    sizeText(of((row) => row.meanStoredBytes)),
    ...kinds.map(([kind]) => price(of((row) => row.costs[kind]))),
    price(of((row) => row.total)),
  ];
  const titles: Column[] = [
    { title: report.by.toUpperCase(), shrink: true },
    { title: 'OBJECTS', align: 'right' },
    { title: 'BYTES', align: 'right' },
    { title: 'STORED', align: 'right' },
    ...kinds.map(([, title]): Column => ({ title, align: 'right' })),
    { title: 'TOTAL', align: 'right' },
  ];
  const { isTTY, columns } = to.io.stdout;
  const table = tableText(
    titles,
    [...report.rows.map((row) => line(row.name, (pick) => pick(row))), line('total', sum)],
    { bold: to.paint.bold, ...(isTTY ? { columns } : {}) },
  );
  const days = `${countOf(report.daysMetered, 'day')} metered, means over the whole month`;
  const notes = report.prices.map((source) => `Prices: ${printable(source)}\n`);
  if (report.unpricedTiers.length > 0) {
    const tiers = report.unpricedTiers.join(', ');
    notes.push(`${to.paint.yellow('No price:')} ${printable(tiers)} (counted as nothing)\n`);
  }
  if (report.daysMetered === 0) {
    notes.push('Nothing was metered in this month yet: workers do so every hour.\n');
  }
  return `${to.paint.bold(`Cost of ${report.month}`)}, ${days}\n\n${table}\n${notes.join('')}`;
}
