// How a cost report reads on a terminal; also what the demo shows.

import type { CostLine, CostReportAnswer } from '../model/answers.ts';
import { moneyText, sizeText, timeText } from './human.ts';
import type { CliIo } from './io.ts';
import { printable, tableText } from './table.ts';
import type { Paint } from './table.ts';

export function costText(report: CostReportAnswer, to: { io: CliIo; paint: Paint }): string {
  const price = (amount: number): string => moneyText(amount, report.currency);
  const row = (line: CostLine): string[] => [
    line.name,
    sizeText(line.averageBytes),
    price(line.storage),
    price(line.requests),
    price(line.transitions),
    price(line.retrieval),
    price(line.earlyDeletion),
    price(line.total),
  ];
  const { isTTY, columns } = to.io.stdout;
  const through =
    report.through === null
      ? 'nothing metered yet'
      : `metered until ${timeText(report.through)} UTC`;
  const table = tableText(
    [
      { title: report.by.toUpperCase(), shrink: true },
      { title: 'AVERAGE', align: 'right' },
      { title: 'STORAGE', align: 'right' },
      { title: 'REQUESTS', align: 'right' },
      { title: 'MOVES', align: 'right' },
      { title: 'RETRIEVAL', align: 'right' },
      { title: 'EARLY DELETION', align: 'right' },
      { title: 'TOTAL', align: 'right' },
    ],
    [...report.lines, { ...report.total, name: 'total' }].map(row),
    { bold: to.paint.bold, ...(isTTY ? { columns } : {}) },
  );
  const notes = [
    ...report.prices.map((source) => `Prices: ${source}`),
    ...report.notes.map((note) => `Note: ${note}`),
  ];
  return (
    `${to.paint.bold(`Cost of ${report.month}`)}, ${through}\n\n${table}` +
    (notes.length === 0 ? '' : `\n${notes.map((note) => `${printable(note)}\n`).join('')}`)
  );
}
