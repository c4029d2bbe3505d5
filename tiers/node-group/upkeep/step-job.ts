// Long work as a row of bounded steps: a generator that yields after each bit of it. A worker calls
// step() when its throttle allows, and may stop at any point between.

import type { StepJob, StepProgress } from '../../../appliance/model/node-group.ts';

/** A step ends after this many bytes or this long, whatever comes first. */
const STEP_BYTES = 4 * 1024 * 1024;
const STEP_MS = 100;

export interface Report {
  checked: number;
  bytes: number;
  repaired: number;
  lost: string[];
}

export type Work = AsyncGenerator<number, void, undefined>;

export class GeneratorJob implements StepJob {
  readonly #report: Report = { checked: 0, bytes: 0, repaired: 0, lost: [] };
  readonly #work: Work;
  #done = false;

  constructor(begin: (report: Report) => Work) {
    this.#work = begin(this.#report);
  }

  async step(): Promise<StepProgress> {
    const begun = performance.now();
    const from = this.#report.bytes;
    while (!this.#done) {
      const { done, value } = await this.#work.next();
      this.#done = done === true;
      this.#report.bytes += value ?? 0;
      if (this.#report.bytes - from >= STEP_BYTES || performance.now() - begun >= STEP_MS) break;
    }
    return { ...this.#report, lost: [...this.#report.lost], done: this.#done };
  }

  async stop(): Promise<void> {
    this.#done = true;
    await this.#work.return();
  }
}
