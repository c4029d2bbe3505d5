// One line that tells how far long work is: share, amount, rate, time left. On a terminal it is
// redrawn ten times a second at most and removed when done; into a file or a log it is a plain line
// every five seconds, so that a scheduled run leaves a page of lines and not a megabyte.

import { countText, durationText, sizeText } from './human.ts';
import type { CliOutput } from './output.ts';
import { widthOf } from './table.ts';

const REDRAW_MS = 100;
const LINE_MS = 5000;
const BAR_CELLS = 24;

export interface ProgressOptions {
  label: string;
  unit: 'bytes' | 'objects';
  /** Absent while nobody knows. */
  total?: number;
  wall: () => number;
}

export class Progress {
  readonly #output: CliOutput;
  readonly #options: ProgressOptions;
  readonly #startedAt: number;
  #amount = 0;
  #total: number | undefined;
  #drawnAt: number;
  #drawn = false;

  constructor(output: CliOutput, options: ProgressOptions) {
    this.#output = output;
    this.#options = options;
    this.#total = options.total;
    this.#startedAt = options.wall();
    this.#drawnAt = this.#startedAt;
  }

  add(amount: number): void {
    this.set(this.#amount + amount);
  }

  set(amount: number, total?: number): void {
    this.#amount = amount;
    if (total !== undefined) this.#total = total;
    const now = this.#options.wall();
    if (now - this.#drawnAt < (this.#output.isTTY ? REDRAW_MS : LINE_MS)) return;
    this.#drawnAt = now;
    const text = this.text(now);
    if (this.#output.isTTY) {
      this.#output.write(`\r\u001b[2K${text}`);
      this.#drawn = true;
    } else {
      this.#output.write(`${text}\n`);
    }
  }

  /** Removes the line and answers how long the work took, ms. */
  end(): number {
    if (this.#drawn) this.#output.write('\r\u001b[2K');
    this.#drawn = false;
    return this.#options.wall() - this.#startedAt;
  }

  /** The line as it stands at `now`. */
  text(now: number): string {
    const { label, unit } = this.#options;
    const figure = (amount: number): string =>
      unit === 'bytes' ? sizeText(amount) : countText(amount);
    const seconds = Math.max(0.001, (now - this.#startedAt) / 1000);
    const rate = this.#amount / seconds;
    const parts = [label];
    const total = this.#total;
    if (total !== undefined && total > 0) {
      const share = Math.min(1, this.#amount / total);
      const cells = Math.round(share * BAR_CELLS);
      parts.push(
        `[${'█'.repeat(cells)}${'░'.repeat(BAR_CELLS - cells)}]`,
        `${String(Math.floor(share * 100)).padStart(3)} %`,
        `${figure(this.#amount)} of ${figure(total)}`,
      );
    } else {
      parts.push(figure(this.#amount));
    }
    parts.push(unit === 'bytes' ? `${sizeText(rate)}/s` : `${countText(rate)}/s`);
    if (total !== undefined && rate > 0 && this.#amount < total) {
      parts.push(`${durationText(((total - this.#amount) / rate) * 1000)} left`);
    }
    const line = parts.join('  ');
    return widthOf(line) < this.#output.columns ? line : line.slice(0, this.#output.columns - 1);
  }
}
