// How a plan and an explanation read on a terminal; also what the demo shows.

import type { ExplainAnswer, PlanAnswer, PlannedChange } from '../../model/answers.ts';
import { countOf, countText, dayText, moneyText, sizeText, timeText } from './human.ts';
import type { Paint, Screen } from './output.ts';
import { printable, tableText } from './table.ts';
import type { Column } from './table.ts';

export function planText(plan: PlanAnswer, to: Screen): string {
  const { bold, yellow, red, green } = to.paint;
  const { objects, bytes } = plan.inventory;
  const { totals, held } = plan;
  const seen = `${countOf(objects, 'object')}, ${sizeText(bytes)}`;
  const lines = [
    `${bold('Plan')} over ${seen}, as of ${timeText(plan.evaluatedAt)} UTC\n\n`,
    planTable(plan, to),
    `\nDue now: ${countOf(totals.objects, 'action')} on ${sizeText(totals.bytes)}. `,
    totals.deletes === 0
      ? `${green('Nothing is deleted.')}\n`
      : `${red(`${lostText(totals)} would be deleted.`)}\n`,
  ];
  if (held.objects > 0) {
    const what = `${countOf(held.objects, 'object')}, ${sizeText(held.bytes)}`;
    lines.push(`Held back by a restored copy, a pin or a promotion: ${what}\n`);
  }
  lines.push(differenceText(plan));
  for (const rule of plan.rules) {
    if (rule.objects > 0 && rule.monthlySaving < 0) {
      const loss = moneyText(-rule.monthlySaving, plan.currency ?? undefined);
      lines.push(`${yellow('Warning:')} ${rule.id} loses money: ${loss} more a month\n`);
    }
  }
  for (const warning of plan.warnings) lines.push(`${yellow('Warning:')} ${printable(warning)}\n`);
  for (const source of plan.prices) lines.push(`Prices: ${printable(source)}\n`);
  for (const { message } of plan.breaches) {
    lines.push(`${red('Apply would refuse:')} ${printable(message)}\n`);
  }
  return lines.join('');
}

const lostText = ({ deletes, deletedBytes }: PlanAnswer['totals']): string =>
  `${countOf(deletes, 'version')} (${sizeText(deletedBytes)})`;

/** Columns in which nothing stands are left out: a plan of nothing due fits a narrow terminal. */
function planTable(plan: PlanAnswer, to: Screen): string {
  const { isTTY, columns } = to.io.stdout;
  const currency = plan.currency ?? undefined;
  const hasMoney = plan.rules.some((rule) => rule.oneOffCost !== 0 || rule.monthlySaving !== 0);
  const hasExamples = plan.rules.some((rule) => rule.examples.length > 0);
  const titles: Column[] = [
    { title: 'RULE' },
    { title: 'ACTION' },
    { title: 'NOW', align: 'right' },
    { title: 'BYTES', align: 'right' },
    { title: 'DELETES', align: 'right' },
    { title: 'LATER', align: 'right' },
    { title: 'FROM' },
  ];
  if (hasMoney) {
    titles.push({ title: 'COST ONCE', align: 'right' }, { title: 'SAVES A MONTH', align: 'right' });
  }
  if (hasExamples) titles.push({ title: 'FOR EXAMPLE', shrink: true });
  const rows = plan.rules.map((rule) => [
    rule.id,
    rule.action,
    countText(rule.objects),
    sizeText(rule.bytes),
    countText(rule.deletes),
    countText(rule.later.objects),
    rule.later.firstAt === null ? '–' : dayText(rule.later.firstAt),
    ...(hasMoney
      ? [moneyText(rule.oneOffCost, currency), moneyText(rule.monthlySaving, currency)]
      : []),
    ...(hasExamples ? [rule.examples[0] ?? '–'] : []),
  ]);
  return tableText(titles, rows, { bold: to.paint.bold, ...(isTTY ? { columns } : {}) });
}

function differenceText(plan: PlanAnswer): string {
  const { added, removed, changed } = plan.difference;
  if (plan.activeRevision === null) return 'No policy file is in force yet.\n';
  const told = [
    ['adds', added],
    ['removes', removed],
    ['changes', changed],
  ] as const;
  const rules = told
    .filter(([, ids]) => ids.length > 0)
    .map(([verb, ids]) => `${verb} ${ids.join(', ')}`);
  if (rules.length === 0) return `The rules are those of revision ${plan.activeRevision}.\n`;
  const part = (change: PlannedChange, verb: string): string[] =>
    change.objects === 0 ? [] : [`${countOf(change.objects, 'object')} ${verb}`];
  const acts = [
    ...part(plan.changes.added, 'more are acted on'),
    ...part(plan.changes.removed, 'are left alone'),
    ...part(plan.changes.changed, 'are acted on otherwise'),
  ];
  const effect = acts.length === 0 ? 'nothing due changes' : acts.join(', ');
  return `Against revision ${plan.activeRevision} it ${rules.join('; ')}: ${effect}.\n`;
}

export function explainText(answer: ExplainAnswer, paint: Paint): string {
  const name = printable(`s3://${answer.bucket}/${answer.key}`);
  const { rule, held, location, costPerMonth } = answer;
  const rows: [string, string][] = [
    [
      'is',
      `${sizeText(answer.sizeBytes)}, class ${answer.storageClass}, ` +
        `written ${timeText(answer.lastModified)} UTC, version ${answer.versionId}` +
        (answer.isCurrent ? '' : ' (not current)'),
    ],
    ['is in', locationText(answer)],
    [
      'costs',
      costPerMonth === null
        ? 'no price for this tier'
        : `${moneyText(costPerMonth, answer.currency ?? undefined)} a month to keep`,
    ],
    ['last', lastText(answer)],
    ['now', rule === null ? 'nothing is due' : `${rule.action} by rule ${rule.id}, ${rule.reason}`],
    ['next', nextText(answer)],
  ];
  if (held !== null) rows.push(['held', held]);
  if (location.restoredUntil !== null) {
    rows.push(['restored', `a readable copy until ${timeText(location.restoredUntil)} UTC`]);
  }
  for (const [index, lost] of answer.lost.entries()) {
    rows.push([index === 0 ? 'others' : '', `${lost.id}: ${lost.state}, ${lost.reason}`]);
  }
  const body = rows.map(([title, text]) => `  ${paint.dim(title.padEnd(9))}${printable(text)}\n`);
  const warning = answer.confirmed
    ? ''
    : paint.red('  The two evaluators differ on this object: its rules do not act.\n');
  return `${paint.bold(name)}\n${body.join('')}${warning}`;
}

function locationText(answer: ExplainAnswer): string {
  const { retrieval, description } = answer.location;
  return retrieval === 'staged' ? `${description} (restore it to read it)` : description;
}

function lastText(answer: ExplainAnswer): string {
  const { last } = answer;
  if (last === null) return 'nothing has happened to it yet';
  const by = [
    last.rule === null ? [] : [`rule ${last.rule}`],
    last.policyRevision === null ? [] : [`revision ${last.policyRevision}`],
    last.runId === null ? [] : [`run ${last.runId}`],
  ].flat();
  const why = by.length === 0 ? '' : ` by ${by.join(', ')}`;
  return `${last.action} ${last.from} → ${last.to}, ${timeText(last.at)} UTC${why}`;
}

function nextText(answer: ExplainAnswer): string {
  const { next } = answer;
  if (next === null) return 'nothing: no rule will act on it as it is';
  return `${next.action} on ${timeText(next.at)} UTC by rule ${next.rule}`;
}
