// Aligned tables without lines between: they survive `grep`, `awk` and a narrow terminal.

import type { CliOutput, Paint } from './output.ts';

export interface Column {
  title: string;
  align?: 'left' | 'right';
  /** Cut with … so that the row fits; at most one column of a table. */
  shrink?: boolean;
}

const GAP = '  ';

/**
 * Columns a terminal shows: one for most characters, two for East Asian wide ones, none for marks.
 */
export function widthOf(text: string): number {
  let width = 0;
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    if (/\p{Mark}/u.test(character) || point < 32) continue;
    const wide =
      (point >= 0x1100 && point <= 0x115f) ||
      (point >= 0x2e80 && point <= 0xa4cf) ||
      (point >= 0xac00 && point <= 0xd7a3) ||
      (point >= 0xf900 && point <= 0xfaff) ||
      (point >= 0xfe30 && point <= 0xfe6f) ||
      (point >= 0xff00 && point <= 0xff60) ||
      (point >= 0x1f300 && point <= 0x1faff);
    width += wide ? 2 : 1;
  }
  return width;
}

function pad(text: string, width: number, align: 'left' | 'right'): string {
  const fill = ' '.repeat(Math.max(0, width - widthOf(text)));
  return align === 'right' ? fill + text : text + fill;
}

/** Cut in the middle: both ends of a key tell more than its start alone. */
export function shorten(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width < 2) return '…'.slice(0, Math.max(0, width));
  const characters = Array.from(text);
  const head: string[] = [];
  const tail: string[] = [];
  let used = 1;
  let low = 0;
  let high = characters.length - 1;
  while (low <= high) {
    const fromHead = head.length <= tail.length;
    const next = (fromHead ? characters[low] : characters[high]) ?? '';
    if (used + widthOf(next) > width) break;
    used += widthOf(next);
    if (fromHead) {
      head.push(next);
      low += 1;
    } else {
      tail.unshift(next);
      high -= 1;
    }
  }
  return `${head.join('')}…${tail.join('')}`;
}

/** Control characters of a key must not drive the terminal: they are shown as escapes. */
export function printable(text: string): string {
  return text.replace(
    // oxlint-disable-next-line no-control-regex -- these are what must not reach the terminal
    /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
  );
}

/** The table as text, a title line first, each line ended. No rows: the title line alone. */
export function tableText(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  options: { columns?: number; indent?: string; bold?: (text: string) => string } = {},
): string {
  const clean = rows.map((row) => row.map((cell) => printable(cell)));
  const widths = columns.map((column, index) =>
    Math.max(widthOf(column.title), ...clean.map((row) => widthOf(row[index] ?? ''))),
  );
  const indent = options.indent ?? '';
  const total =
    widthOf(indent) +
    widths.reduce((sum, width) => sum + width, 0) +
    GAP.length * (columns.length - 1);
  const shrinking = columns.findIndex((column) => column.shrink === true);
  if (options.columns !== undefined && total > options.columns && shrinking >= 0) {
    const least = Math.max(8, widthOf(columns[shrinking]?.title ?? ''));
    widths[shrinking] = Math.max(least, (widths[shrinking] ?? 0) - (total - options.columns));
  }
  const line = (cells: readonly string[]): string =>
    columns
      .map((column, index) => {
        const cell = cells[index] ?? '';
        const width = widths[index] ?? 0;
        return pad(
          column.shrink === true ? shorten(cell, width) : cell,
          width,
          column.align ?? 'left',
        );
      })
      .join(GAP)
      .trimEnd();
  const bold = options.bold ?? ((text: string): string => text);
  const title = indent + bold(line(columns.map((column) => column.title)));
  return [title, ...clean.map((row) => indent + line(row))].map((text) => `${text}\n`).join('');
}

/** Colours where the output wants them; otherwise the text as it is. */
export function paintFor(output: CliOutput): Paint {
  const code =
    (on: number, off: number) =>
    (text: string): string =>
      output.colour ? `\u001b[${on}m${text}\u001b[${off}m` : text;
  return {
    bold: code(1, 22),
    dim: code(2, 22),
    green: code(32, 39),
    yellow: code(33, 39),
    red: code(31, 39),
  };
}
