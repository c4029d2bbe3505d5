// An explanation for people.

import type { Explanation } from './explain.ts';
import { formatBytes, formatMoney, printable, renderTable } from './text-table.ts';

export function renderExplanation(explained: Explanation): string {
  const { rule, last, next, held, location, costPerMonth } = explained;
  const lines: [string, string][] = [
    ['Object', `s3://${explained.bucket}/${printable(explained.key)}`],
    ['Version', `${explained.versionId}${explained.isCurrent ? ' (current)' : ' (noncurrent)'}`],
    ['Size', formatBytes(explained.sizeBytes)],
    ['Class', explained.storageClass],
    ['Modified', explained.lastModified],
    ['Where', location.description],
  ];
  if (location.restoredUntil !== null) {
    lines.push(['Restored', `a readable copy until ${location.restoredUntil}`]);
  }
  if (costPerMonth !== null) lines.push(['Cost', `${formatMoney(costPerMonth)} a month`]);
  lines.push(['Rule now', rule === null ? 'none is due' : `${rule.id}: ${rule.action}`]);
  if (held !== null) lines.push(['Held', held]);
  lines.push(['Last', last === null ? 'nothing was done yet' : describeLast(last)]);
  lines.push(['Next', next === null ? 'nothing' : `${next.action} by ${next.rule} on ${next.at}`]);
  if (!explained.confirmed) {
    lines.push(['Warning', 'the two evaluators differ on this object: its rules do not act']);
  }
  const facts = renderTable([{ title: '' }, { title: '', widthMax: 200 }], lines).trimStart();
  if (explained.lost.length === 0) return facts;
  const rows = explained.lost.map(({ id, action, state, reason }) => [id, action, state, reason]);
  const columns = [
    { title: 'OTHER RULE', widthMax: 40 },
    { title: 'ACTION', widthMax: 30 },
    { title: 'STATE' },
    { title: 'WHY', widthMax: 100 },
  ];
  return `${facts}\n${renderTable(columns, rows)}`;
}

function describeLast(last: NonNullable<Explanation['last']>): string {
  const by = last.rule === null ? '' : ` by ${last.rule}`;
  const revision = last.policyRevision === null ? '' : `, policy revision ${last.policyRevision}`;
  const run = last.runId === null ? '' : `, run ${last.runId}`;
  return `${last.action} ${last.from} → ${last.to} at ${last.at}${by}${revision}${run}`;
}
