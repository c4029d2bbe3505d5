// Long work as a row of bounded steps: a generator that yields after each bit of it. A worker calls
// step() when its throttle allows, and may stop at any point between.

import type {
  StepJob,
  StepPlace,
  StepProgress,
  Suspect,
} from '../../../appliance/model/node-group.ts';

/** A step ends after this many bytes or this long, whatever comes first. */
const STEP_BYTES = 4 * 1024 * 1024;
const STEP_MS = 100;

export interface Report {
  checked: number;
  bytes: number;
  repaired: number;
  lost: string[];
  suspects: Suspect[];
  /** Something could not be made just now. */
  short?: boolean;
  /** What was done last: a later job may go on behind it. */
  cursor?: string;
  /** Where it is: for people who wait. */
  place?: StepPlace;
}

export type Work = AsyncGenerator<number, void, undefined>;

export class GeneratorJob implements StepJob {
  readonly #report: Report = { checked: 0, bytes: 0, repaired: 0, lost: [], suspects: [] };
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
    const { lost, suspects } = this.#report;
    return { ...this.#report, lost: [...lost], suspects: [...suspects], done: this.#done };
  }

  async stop(): Promise<void> {
    this.#done = true;
    await this.#work.return();
  }
}

/**
 * How far a walk over shard files, then segments, has come, as a share. Ids are spread evenly over
 * the directories by their last byte, so the directory tells; shard files count as one half,
 * segments as the other.
 */
export function shareOf(at: { shard: string } | { segment: number; of: number }): number {
  if ('shard' in at) return parseInt(at.shard.slice(-2), 16) / 512;
  return 0.5 + at.segment / at.of / 2;
}

export function tellShare(report: Report, share: number): void {
  if (report.place !== undefined) report.place = { ...report.place, share };
}
