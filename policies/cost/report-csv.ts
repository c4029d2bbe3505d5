// A cost report as CSV in columns of FOCUS, the open billing format, so that it joins other bills.

import type { CostModel } from './cost-model.ts';
import type { Charge, CostReport } from './report.ts';

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
