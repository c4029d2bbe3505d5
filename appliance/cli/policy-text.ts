// How a plan and an explanation read on a terminal; also what the demo shows.

import type { ExplainAnswer, PlanAnswer } from '../model/answers.ts';
import { countOf, countText, moneyText, sizeText, timeText } from './human.ts';
import type { CliIo } from './io.ts';
import { printable, tableText } from './table.ts';
import type { Paint } from './table.ts';

export function planText(plan: PlanAnswer, to: { io: CliIo; paint: Paint }): string {
  const { bold, yellow, red, green } = to.paint;
  const { objects, bytes } = plan.inventory;
  const seen = `${countOf(objects, 'object')}, ${sizeText(bytes)}`;
  const lines = [`${bold('Plan')} over ${seen}, as of ${timeText(plan.at)} UTC\n\n`];
  const { isTTY, columns } = to.io.stdout;
  lines.push(
    tableText(
      [
        { title: 'RULE' },
        { title: 'ACTION' },
        { title: 'OBJECTS', align: 'right' },
        { title: 'BYTES', align: 'right' },
        { title: 'DELETES', align: 'right' },
        { title: 'COST ONCE', align: 'right' },
        { title: 'SAVES A MONTH', align: 'right' },
        { title: 'FOR EXAMPLE', shrink: true },
      ],
      plan.rules.map((rule) => [
        rule.id,
        rule.to === null ? rule.action : `${rule.action} → ${rule.to}`,
        countText(rule.objects),
        sizeText(rule.bytes),
        countText(rule.deletes),
        rule.cost === null ? '–' : moneyText(rule.cost.amount, rule.cost.currency),
        rule.savingPerMonth === null
          ? '–'
          : moneyText(rule.savingPerMonth.amount, rule.savingPerMonth.currency),
        rule.examples[0] ?? '–',
      ]),
      { bold, ...(isTTY ? { columns } : {}) },
    ),
  );
  const deletes = plan.rules.reduce((sum, rule) => sum + rule.deletes, 0);
  lines.push(
    deletes === 0
      ? `\n${green('Nothing is deleted.')}\n`
      : `\n${red(`${countOf(deletes, 'version')} would be deleted.`)}\n`,
  );
  lines.push(differenceText(plan));
  for (const warning of plan.warnings) lines.push(`${yellow('Warning:')} ${printable(warning)}\n`);
  for (const rail of plan.guardRails) {
    lines.push(`${red('Apply would refuse:')} ${printable(rail)}\n`);
  }
  return lines.join('');
}

function differenceText(plan: PlanAnswer): string {
  const { added, removed, changed } = plan.difference;
  if (plan.activeRevision === null) return 'No policy is active yet.\n';
  const parts = [
    ['adds', added],
    ['removes', removed],
    ['changes', changed],
  ] as const;
  const told = parts
    .filter(([, ids]) => ids.length > 0)
    .map(([verb, ids]) => `${verb} ${ids.join(', ')}`);
  return told.length === 0
    ? `The rules are those of the active revision ${plan.activeRevision}.\n`
    : `Against the active revision ${plan.activeRevision} it ${told.join('; ')}.\n`;
}

export function explainText(answer: ExplainAnswer, paint: Paint): string {
  const name = printable(`s3://${answer.bucket}/${answer.key}`);
  const rows: [string, string][] = [
    [
      'is',
      `${sizeText(answer.sizeBytes)}, class ${answer.storageClass}, ` +
        `written ${timeText(answer.lastModified)} UTC, version ${answer.versionId}`,
    ],
    ['is in', locationText(answer)],
    ['costs', answer.costPerMonth === null ? '–' : `${money(answer)} a month to keep`],
    ['last', lastText(answer)],
    ['next', nextText(answer)],
    ['rule', answer.rule ?? 'none that ever acts on it'],
  ];
  if (answer.held !== null) rows.push(['held', answer.held]);
  if (answer.restore !== null) {
    const until =
      answer.restore.expiry === null ? '' : ` until ${timeText(answer.restore.expiry)} UTC`;
    rows.push(['restore', `${answer.restore.state}${until}`]);
  }
  for (const [index, lost] of answer.lost.entries()) {
    rows.push([index === 0 ? 'lost' : '', `${lost.rule}: ${lost.reason}`]);
  }
  const body = rows.map(([title, text]) => `  ${paint.dim(title.padEnd(8))}${printable(text)}\n`);
  return `${paint.bold(name)}\n${body.join('')}`;
}

function money(answer: ExplainAnswer): string {
  const cost = answer.costPerMonth;
  return cost === null ? '–' : moneyText(cost.amount, cost.currency);
}

function locationText(answer: ExplainAnswer): string {
  const { tier, retrieval, parts } = answer.location;
  const first = parts[0];
  const where = `${tier}${retrieval === 'staged' ? ' (must be restored before it can be read)' : ''}`;
  if (first === undefined) return `${where}, no bytes`;
  const more = parts.length > 1 ? ` and ${parts.length - 1} more parts` : '';
  if (first.pack !== null) {
    return `${where}, pack ${first.pack} at byte ${countText(first.offset ?? 0)}${more}`;
  }
  return `${where}, ${first.kind} ${first.id}${more}`;
}

function lastText(answer: ExplainAnswer): string {
  const { last } = answer;
  if (last === null) return 'nothing has happened to it yet';
  const by = [
    last.rule === null ? undefined : `rule ${last.rule}`,
    last.policyRevision === null ? undefined : `revision ${last.policyRevision}`,
    last.runId === null ? undefined : `run ${last.runId}`,
  ].filter((part) => part !== undefined);
  const why = by.length === 0 ? '' : ` by ${by.join(', ')}`;
  return `${last.action} ${last.from} → ${last.to}, ${timeText(last.at)} UTC${why}`;
}

function nextText(answer: ExplainAnswer): string {
  const { next } = answer;
  if (next === null) return 'nothing: no rule will act on it as it is';
  const to = next.to === null ? '' : ` → ${next.to}`;
  return `${next.action}${to} on ${timeText(next.at)} UTC by rule ${next.rule}`;
}
