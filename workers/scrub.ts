// Reads everything that a node group holds back and repairs it, so that a second failure does not
// find a first one that nobody had noticed. What cannot be repaired is a durability alarm, each by
// name.

import type { Core } from '../appliance/engine/core.ts';
import { isNamed } from '../appliance/engine/named.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { NodeGroupTier, StepJob, Suspect } from '../appliance/model/node-group.ts';
import { UpkeepProgress } from './base/progress.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

export class ScrubWorker implements Worker {
  readonly name = 'scrub';
  readonly tranquility = 2;
  readonly #core: Core;
  readonly #tiers: readonly NodeGroupTier[];
  readonly #log: WorkerLog;

  constructor(core: Core, tiers: readonly NodeGroupTier[], log: WorkerLog) {
    this.#core = core;
    this.#tiers = tiers;
    this.#log = log;
  }

  leaseName(): string {
    return 'scrub';
  }

  async run(turn: Turn): Promise<void> {
    const total = { checked: 0, bytes: 0, repaired: 0, lost: 0 };
    for (const tier of this.#tiers) {
      const progress = new UpkeepProgress(this.#core, 'scrub', tier.name);
      const own = { turn, total, tier, log: this.#log, progress };
      await stepThrough(this.#core, tier.scrub(), own);
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
  core: Core,
  job: StepJob,
  own: {
    turn: Turn;
    total: Parameters<typeof sumOf>[0];
    tier: NodeGroupTier;
    log: WorkerLog;
    progress: UpkeepProgress;
  },
): Promise<void> {
  const { turn, total, tier, log } = own;
  let isWhole = false;
  try {
    for (;;) {
      const progress = await job.step();
      turn.report(sumOf(total, progress));
      await own.progress.stepped(progress);
      if (progress.done) {
        isWhole = true;
        const lost = [...progress.lost, ...(await lostOf(core, tier, progress.suspects))];
        Object.assign(total, sumOf(total, { ...progress, lost }));
        turn.report(total);
        alarm(log, tier.name, lost);
        return;
      }
      await turn.rest();
    }
  } finally {
    await job.stop();
    // What people would have seen is lost with it, and nothing else.
    await own.progress.ended(isWhole).catch(() => undefined);
  }
}

/**
 * Those of the suspects that are lost: named, and still beyond repair afterwards (one that was just
 * being written got its other files and its document in between).
 */
async function lostOf(
  core: Core,
  tier: NodeGroupTier,
  suspects: readonly Suspect[],
): Promise<string[]> {
  const lost: string[] = [];
  for (const { what, bucketId, key, location } of suspects) {
    if (!(await isNamed(core.context.store, { bucketId, key, id: location.id }))) continue;
    try {
      await tier.healLocation(location);
    } catch (error) {
      if (!isFirnError(error, 'Corrupt') && !isFirnError(error, 'TierMissing')) throw error;
      lost.push(what);
    }
  }
  return lost;
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
