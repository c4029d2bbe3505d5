// A share as a row of cells: seen at a glance where a figure must be read.

/** `███░░░░░`. Anything above nothing shows a cell, and only the whole shows all. */
export function barText(share: number, cells: number): string {
  const bounded = Math.min(1, Math.max(0, share));
  let full = Math.round(bounded * cells);
  if (bounded > 0 && full === 0) full = 1;
  if (bounded < 1 && full === cells) full = cells - 1;
  return '█'.repeat(full) + '░'.repeat(cells - full);
}
