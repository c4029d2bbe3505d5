// A cost report as one plain HTML page: no scripts, no other files, charts as inline SVG. It can be
// mailed, printed and read in ten years.

import { bookLine } from './cost-model.ts';
import { CHARGE_KINDS, type CostReport } from './report.ts';
import { formatBytes, formatCount, formatMoney } from '../base/amounts.ts';

const COLOURS = ['#3b6ea5', '#7fa7c9', '#b5651d', '#5b8c5a', '#8e6c8a', '#a0a0a0'] as const;
const WIDTH = 720;

export function renderCostHtml(report: CostReport): string {
  const title = `Cost of ${report.month} by ${report.by}`;
  const unpriced = report.unpricedTiers.map(escapeHtml).join(', ');
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(title)}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:780px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%}th,td{padding:.3em .6em;text-align:right}
th:first-child,td:first-child{text-align:left}tr+tr{border-top:1px solid #ddd}
svg{width:100%;height:auto;margin:1em 0}text{font:12px system-ui,sans-serif;fill:#333}
footer{color:#666;font-size:13px}
</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p>Total <strong>${formatMoney(report.total)}</strong>, from ${report.daysMetered} days metered.</p>
${barChart(report)}
${table(report)}
<h2>Stored by day</h2>
${dayChart(report)}
<footer><p>${escapeHtml(bookLine(report.books))}</p>
${sourceLines(report)}
${unpriced === '' ? '' : `<p>No price for: ${unpriced}</p>`}</footer>
</body></html>
`;
}

function sourceLines(report: CostReport): string {
  const lines = report.books.map(({ name, sources }) => `${name}: ${sources.join('; ')}`);
  return lines.map((line) => `<p>${escapeHtml(line)}</p>`).join('\n');
}

export function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;');
}

function table(report: CostReport): string {
  const used = CHARGE_KINDS.filter((kind) => report.rows.some(({ costs }) => costs[kind] !== 0));
  const head = [report.by, 'objects', 'bytes', 'stored', ...used, 'total'];
  const rows = report.rows.map((row) => [
    row.name === '' ? '-' : row.name,
    formatCount(row.meanObjects),
    formatBytes(row.meanBytes),
    formatBytes(row.meanStoredBytes),
    ...used.map((kind) => formatMoney(row.costs[kind])),
    formatMoney(row.total),
  ]);
  const line = (cells: readonly string[], tag: 'td' | 'th'): string =>
    `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`;
  return `<table>${line(head, 'th')}${rows.map((row) => line(row, 'td')).join('')}</table>`;
}

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
  /** Index of its colour. */
  colour: number;
}

function box({ x, y, width, height, colour }: Box, title = ''): string {
  const at = `x="${x.toFixed(1)}" y="${y.toFixed(1)}"`;
  const size = `width="${width.toFixed(1)}" height="${height.toFixed(1)}"`;
  const fill = COLOURS[colour % COLOURS.length];
  const inner = title === '' ? '' : `<title>${escapeHtml(title)}</title>`;
  return `<rect ${at} ${size} fill="${fill}">${inner}</rect>`;
}

function label(x: number, y: number, text: string, anchor: 'start' | 'end' = 'start'): string {
  const at = `x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}"`;
  return `<text ${at}>${escapeHtml(text)}</text>`;
}

function legend(names: readonly string[], y: number): string[] {
  return names.map((name, colour) => {
    const x = 100 + colour * 100;
    return box({ x, y, width: 10, height: 10, colour }) + label(x + 14, y + 9, name);
  });
}

/** One bar a row, in stretches by kind of charge. */
function barChart(report: CostReport): string {
  const rows = report.rows.slice(0, 20);
  const most = Math.max(...rows.map(({ total }) => total), 0);
  if (most === 0) return '<p>Nothing was charged.</p>';
  const bars = rows.map((row, index) => {
    const y = index * 26;
    let x = 160;
    const stretches = CHARGE_KINDS.map((kind, colour) => {
      const width = (row.costs[kind] / most) * (WIDTH - 260);
      if (width <= 0) return '';
      const title = `${kind} ${formatMoney(row.costs[kind])}`;
      const stretch = box({ x, y: y + 4, width, height: 16, colour }, title);
      x += width;
      return stretch;
    });
    const name = row.name.length > 22 ? `${row.name.slice(0, 21)}…` : row.name || '-';
    const sum = label(x + 6, y + 17, formatMoney(row.total));
    return label(150, y + 17, name, 'end') + stretches.join('') + sum;
  });
  const y = rows.length * 26 + 10;
  return svg(y + 18, [...bars, ...legend(CHARGE_KINDS, y)], 'Cost by row and kind of charge');
}

/** Bytes stored by day, one column a day, tiers on top of one another. */
function dayChart(report: CostReport): string {
  const { days } = report;
  const tiers = [...new Set(days.flatMap((day) => Object.keys(day.bytesByTier)))].sort();
  const sums = days.map(({ bytesByTier }) =>
    Object.values(bytesByTier).reduce((sum, bytes) => sum + bytes, 0),
  );
  const most = Math.max(...sums, 0);
  if (most === 0) return '<p>Nothing was stored.</p>';
  const step = (WIDTH - 100) / Math.max(days.length, 1);
  const parts: string[] = [label(90, 14, formatBytes(most), 'end')];
  for (const [index, { day, bytesByTier }] of days.entries()) {
    let y = 160;
    for (const [colour, tier] of tiers.entries()) {
      const bytes = bytesByTier[tier] ?? 0;
      const height = (bytes / most) * 150;
      y -= height;
      const column = { x: 100 + index * step, y, width: step * 0.85, height, colour };
      parts.push(box(column, `${day} ${tier} ${formatBytes(bytes)}`));
    }
  }
  const [first, last] = [days[0]?.day ?? '', days.at(-1)?.day ?? ''];
  parts.push(label(100, 176, first));
  if (last !== first) parts.push(label(WIDTH, 176, last, 'end'));
  return svg(204, [...parts, ...legend(tiers, 186)], 'Bytes stored by day and tier');
}

function svg(height: number, parts: readonly string[], name: string): string {
  const open = `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeHtml(name)}">`;
  return `${open}${parts.join('')}</svg>`;
}
