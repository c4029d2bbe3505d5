// Reads everything that a node group holds back and repairs it, so that a second failure does not
// find a first one that nobody had noticed. What cannot be repaired is a durability alarm, each by
// name.

import type { NodeGroupTier, StepJob } from '../appliance/model/node-group.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

export class ScrubWorker implements Worker {
  readonly name = 'scrub';
  readonly tranquility = 2;
  readonly #tiers: readonly NodeGroupTier[];
  readonly #log: WorkerLog;

  constructor(tiers: readonly NodeGroupTier[], log: WorkerLog) {
    this.#tiers = tiers;
    this.#log = log;
  }

  leaseName(): string {
    return 'scrub';
  }

  async run(turn: Turn): Promise<void> {
    const total = { checked: 0, bytes: 0, repaired: 0, lost: 0 };
    for (const tier of this.#tiers) {
      await stepThrough(tier.scrub(), { turn, total, tier: tier.name, log: this.#log });
    }
  }
}

interface Progress {
  checked: number;
  bytes: number;
  repaired: number;
  lost: readonly string[];
}

/**
 * Takes a job of a tier to its end, a step at a time, resting between them. Its counts are added to
 * `total` when it is done; the job is stopped also when a step or the lease fails.
 */
export async function stepThrough(
  job: StepJob,
  own: { turn: Turn; total: Parameters<typeof sumOf>[0]; tier: string; log: WorkerLog },
): Promise<void> {
  const { turn, total, tier, log } = own;
  try {
    for (;;) {
      const progress = await job.step();
      turn.report(sumOf(total, progress));
      if (progress.done) {
        Object.assign(total, sumOf(total, progress));
        alarm(log, tier, progress.lost);
        return;
      }
      await turn.rest();
    }
  } finally {
    await job.stop();
  }
}

function sumOf(
  total: { checked: number; bytes: number; repaired: number; lost: number },
  progress: Progress,
): typeof total {
  return {
    checked: total.checked + progress.checked,
    bytes: total.bytes + progress.bytes,
    repaired: total.repaired + progress.repaired,
    lost: total.lost + progress.lost.length,
  };
}

/** Names each loss, up to a hundred. */
export function alarm(log: WorkerLog, tier: string, lost: readonly string[]): void {
  for (const what of lost.slice(0, 100)) {
    log('error', `beyond repair in ${tier}: ${what}`, { tier, what });
  }
}
