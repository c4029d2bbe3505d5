// Plain tables for a terminal: readable columns, numbers to the right, no colours to get in the way
// of a pipe. Values that come from clients lose their control characters: a key may not redraw a
// terminal.

export interface Column {
  title: string;
  align?: 'left' | 'right';
  /** Longer values are cut in the middle. */
  widthMax?: number;
}

export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
): string {
  const cells = [
    columns.map(({ title }) => title),
    ...rows.map((row) => columns.map(({ widthMax = 60 }, at) => fit(row[at] ?? '', widthMax))),
  ];
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => lengthOf(row[at] ?? ''))));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, at) => {
        const space = ' '.repeat((widths[at] ?? 0) - lengthOf(cell));
        return columns[at]?.align === 'right' ? space + cell : cell + space;
      })
      .join('  ')
      .trimEnd();
  return `${cells.map(line).join('\n')}\n`;
}

function lengthOf(text: string): number {
  return Array.from(text).length;
}

function fit(value: string, width: number): string {
  const points = Array.from(printable(value));
  if (points.length <= width) return points.join('');
  const head = Math.ceil((width - 1) / 2);
  const tail = points.slice(points.length - (width - 1 - head));
  return `${points.slice(0, head).join('')}…${tail.join('')}`;
}

/** Control characters shown as \xNN, so that what came from a client cannot act on a terminal. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (character) => `\\x${(character.codePointAt(0) as number).toString(16).padStart(2, '0')}`,
  );
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `1.4 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

/** `12,345`. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** `$12.34`; small sums keep what shows them: `$0.0021`. */
export function formatMoney(amount: number): string {
  const size = Math.abs(amount);
  if (size === 0) return '$0';
  const sign = amount < 0 ? '-' : '';
  if (size < 0.000_001) return `${sign}$0.000001`.replace('$', '<$');
  const digits = size >= 0.1 ? 2 : Math.min(6, 1 - Math.floor(Math.log10(size)));
  const fixed = size.toFixed(digits);
  const [whole = '0', fraction = ''] = fixed.split('.');
  return `${sign}$${Number(whole).toLocaleString('en-US')}.${fraction}`;
}
