// A cost report as CSV (columns of FOCUS, the open billing format, so that it joins other bills)
// and as a table for a terminal.

import { bookLine, type CostModel } from './cost-model.ts';
import { CHARGE_KINDS, type Charge, type CostReport } from './report.ts';
import {
  formatBytes,
  formatCount,
  formatMoney,
  printable,
  renderTable,
  type Column,
} from '../text-table.ts';

const FOCUS_COLUMNS = [
  'BillingPeriodStart',
  'BillingPeriodEnd',
  'ChargePeriodStart',
  'ChargePeriodEnd',
  'ChargeCategory',
  'ChargeDescription',
  'BilledCost',
  'EffectiveCost',
  'ListCost',
  'BillingCurrency',
  'ConsumedQuantity',
  'ConsumedUnit',
  'ServiceProviderName',
  'RegionId',
  'ServiceCategory',
  'ServiceName',
  'ResourceId',
  'ResourceType',
  'SkuId',
  'x_Tier',
  'x_StorageClass',
] as const;

const DESCRIPTIONS: Readonly<Record<Charge['kind'], string>> = {
  storage: 'Storage',
  requests: 'Requests',
  moves: 'Transitions into the tier',
  retrieval: 'Retrieval',
  egress: 'Data transfer out',
  earlyDeletion: 'Early deletion',
};

/** RFC 4180, CRLF, one row a charge. Estimated from list prices: BilledCost equals ListCost. */
export function renderCostCsv(report: CostReport, model: CostModel): string {
  const [start, end] = period(report.month);
  const lines = report.charges.map((charge) => {
    const { provider, region } = model.providerOf(charge.tier);
    const cost = decimal(charge.cost);
    return [
      start,
      end,
      start,
      end,
      'Usage',
      DESCRIPTIONS[charge.kind],
      cost,
      cost,
      cost,
      report.currency,
      decimal(charge.quantity),
      charge.unit,
      provider,
      region,
      'Storage',
      'Firn',
      charge.bucket,
      'Bucket',
      model.labelOf(charge.tier),
      charge.tier,
      charge.storageClass,
    ];
  });
  return `${[FOCUS_COLUMNS, ...lines].map((line) => line.map(csvCell).join(',')).join('\r\n')}\r\n`;
}

function period(month: string): [string, string] {
  const [year = 0, index = 0] = month.split('-').map(Number);
  const instant = (at: number): string => new Date(at).toISOString().replace('.000', '');
  return [instant(Date.UTC(year, index - 1, 1)), instant(Date.UTC(year, index, 1))];
}

/** Plain decimals: `1e-7` is text to a spreadsheet. */
function decimal(value: number): string {
  return value.toFixed(10).replace(/\.?0+$/, '');
}

/** A cell that begins like a formula would run in a spreadsheet: a quote in front makes it text. */
function csvCell(value: string): string {
  const safe = /^[=+@\t\r-]/.test(value) && !/^-?\d/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function renderCostTable(report: CostReport): string {
  const used = CHARGE_KINDS.filter((kind) => report.rows.some(({ costs }) => costs[kind] !== 0));
  const right = (title: string): Column => ({ title, align: 'right' });
  const columns: Column[] = [
    { title: report.by.toUpperCase(), widthMax: 63 },
    right('OBJECTS'),
    right('STORED'),
    ...used.map((kind) => right(kind.replace(/[A-Z]/g, ' $&').toUpperCase())),
    right('TOTAL'),
  ];
  const rows = report.rows.map((row) => [
    row.name === '' ? '-' : row.name,
    formatCount(row.meanObjects),
    formatBytes(row.meanBytes),
    ...used.map((kind) => formatMoney(row.costs[kind])),
    formatMoney(row.total),
  ]);
  const lines = [
    `Cost of ${report.month} by ${report.by}, ${report.daysMetered} days metered ` +
      '(means over the whole month)\n',
    renderTable(columns, rows),
    `Total: ${formatMoney(report.total)}\n`,
    `${bookLine(report.books)}\n`,
  ];
  if (report.unpricedTiers.length > 0) {
    lines.push(`! No price for: ${report.unpricedTiers.map(printable).join(', ')}\n`);
  }
  return lines.join('');
}
