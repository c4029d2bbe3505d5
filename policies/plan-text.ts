// A plan for people: one row a rule, deletions and doubts where nobody can miss them.

import { bookLine } from './cost/cost-model.ts';
import type { Plan, PlannedChange } from './plan.ts';
import { formatBytes, formatCount, formatMoney, printable, renderTable } from './text-table.ts';

export function renderPlan(plan: Plan): string {
  const { inventory, totals, held, breaches, rules } = plan;
  const parts = [
    `Plan ${plan.hash.slice(0, 12)} over ${formatCount(inventory.objects)} objects, ` +
      `${formatBytes(inventory.bytes)}, as of ${plan.evaluatedAt}\n\n`,
    ruleTable(plan),
    '\n',
    `Due now: ${formatCount(totals.objects)} actions on ${formatBytes(totals.bytes)}; `,
    totals.deletes === 0
      ? 'nothing is deleted.\n'
      : `DELETES ${formatCount(totals.deletes)} (${formatBytes(totals.deletedBytes)}).\n`,
  ];
  if (held.objects > 0) {
    parts.push(`Held back: ${formatCount(held.objects)} (restored copies, pins, promotions).\n`);
  }
  parts.push(changeLines(plan));
  if (plan.currency !== null) {
    parts.push(
      `Money: ${formatMoney(totals.oneOffCost)} once, ` +
        `${formatMoney(totals.monthlySaving)} saved a month.\n${bookLine(plan.books)}\n`,
    );
  }
  for (const rule of rules) {
    if (plan.currency !== null && rule.objects > 0 && rule.monthlySaving < 0) {
      const loss = formatMoney(-rule.monthlySaving);
      parts.push(`! ${rule.id} loses money: ${loss} a month more.\n`);
    }
  }
  for (const { message } of breaches) parts.push(`! Guard rail: ${message}\n`);
  for (const rule of rules) {
    if (rule.examples.length === 0) continue;
    parts.push(`\n${rule.id} (${rule.action}), for example:\n`);
    for (const key of rule.examples) parts.push(`  ${printable(key)}\n`);
  }
  parts.push(`\nTo apply exactly this: apply --plan ${plan.hash}\n`);
  return parts.join('');
}

function ruleTable(plan: Plan): string {
  const money = plan.currency !== null;
  const columns = [
    { title: 'RULE', widthMax: 40 },
    { title: 'ACTION', widthMax: 30 },
    { title: 'OBJECTS', align: 'right' as const },
    { title: 'BYTES', align: 'right' as const },
    { title: 'DELETES', align: 'right' as const },
    { title: 'LATER', align: 'right' as const },
    { title: 'FIRST', align: 'left' as const },
    ...(money
      ? [
          { title: 'ONCE', align: 'right' as const },
          { title: 'SAVES/MONTH', align: 'right' as const },
        ]
      : []),
  ];
  const rows = plan.rules.map((rule) => [
    rule.id,
    rule.action,
    formatCount(rule.objects),
    formatBytes(rule.bytes),
    rule.deletes === 0 ? '-' : formatCount(rule.deletes),
    formatCount(rule.later.objects),
    rule.later.firstAt?.slice(0, 10) ?? '-',
    ...(money ? [formatMoney(rule.oneOffCost), formatMoney(rule.monthlySaving)] : []),
  ]);
  return renderTable(columns, rows);
}

function changeLines(plan: Plan): string {
  const { added, removed, changed } = plan.changes;
  const one = (name: string, change: PlannedChange): string =>
    `${name} ${formatCount(change.objects)} (${formatBytes(change.bytes)})`;
  const total = added.objects + removed.objects + changed.objects;
  if (total === 0) return 'Against the policy in force: no difference in what is due.\n';
  const list = [one('added', added), one('removed', removed), one('changed', changed)];
  return `Against the policy in force: ${list.join(', ')}.\n`;
}
