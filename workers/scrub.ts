// Reads everything that a node group holds back and repairs it, so that a second failure does not
// find a first one that nobody had noticed. By schedule it goes at a set pace: one pass over a tier
// in so many days, a slice every ten minutes, with its cursor in a checkpoint, so that a restart
// goes on where it was; what is behind (the machine was off) is caught up with at once. On request
// one whole pass. What cannot be repaired is a durability alarm, each by name.

import type { Core } from '../appliance/engine/document/core.ts';
import { isNamed } from '../appliance/engine/document/named.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type {
  NodeGroupTier,
  StepJob,
  StepProgress,
  Suspect,
} from '../appliance/model/node-group.ts';
import { readCheckpoint, saveCheckpoint } from './base/checkpoints.ts';
import { UpkeepProgress } from './base/progress.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

/** A pass is to end in this share of its days: there is room for a busy week. */
const PASS_SHARE = 0.9;
/** A slice gives its lease back after this long, also when it is behind. */
const SLICE_MS = 600_000;
const SAVE_MS = 10_000;
const DONE = 'done';

interface ScrubCounts {
  /** About what a pass reads. */
  totalBytes: number;
  bytes: number;
  checked: number;
  repaired: number;
  lost: number;
}

/** How far the pass of a tier is: row `scrub/${tier}` of the checkpoints. */
interface Pass {
  cursor: string;
  /** Wall ms. */
  startedAt: number;
  counts: ScrubCounts;
  /** Begun right now: nothing of it is due. */
  isNew?: true;
}

export interface ScrubSettings {
  log: WorkerLog;
  /** Days that a pass over a tier takes. */
  days: (tier: string) => number;
}

export class ScrubWorker implements Worker {
  readonly name = 'scrub';
  readonly tranquility = 2;
  readonly #core: Core;
  readonly #tiers: readonly NodeGroupTier[];
  readonly #settings: ScrubSettings;

  constructor(core: Core, tiers: readonly NodeGroupTier[], settings: ScrubSettings) {
    this.#core = core;
    this.#tiers = tiers;
    this.#settings = settings;
  }

  leaseName(): string {
    return 'scrub';
  }

  /** `key`: of a run that was asked for, else the job's own name. */
  async run(turn: Turn, key: string): Promise<void> {
    const total = { checked: 0, bytes: 0, repaired: 0, lost: 0 };
    for (const tier of this.#tiers) {
      const progress = new UpkeepProgress(this.#core, 'scrub', tier.name);
      const own = { turn, total, tier, log: this.#settings.log, progress };
      if (key === this.name) await this.#slice(own);
      else {
        const startedAt = this.#core.context.clock.wall();
        await stepThrough(this.#core, tier.scrub(), own);
        await this.#save(tier, { cursor: DONE, startedAt, counts: noCounts() });
      }
    }
  }

  async #slice(own: StepOptions): Promise<void> {
    const { tier } = own;
    const pass = await this.#pass(tier);
    if (pass.cursor === DONE) return;
    const due = this.#dueBytes(tier, pass);
    if (pass.isNew === true || pass.counts.bytes >= due) return this.#save(tier, pass);
    const until = performance.now() + SLICE_MS;
    let at: Pass = pass;
    let savedAt = performance.now();
    const job = tier.scrub(pass.cursor === '' ? {} : { after: pass.cursor });
    try {
      const lost = await stepThrough(this.#core, job, {
        ...own,
        stepped: async (progress) => {
          const before = at.cursor;
          at = addTo(pass, progress);
          const now = performance.now();
          if (progress.done || at.cursor === before) return false;
          // A slice ends behind a file or segment: the next one would read a part of it again.
          if (at.counts.bytes >= due || now > until) return true;
          if (now - savedAt < SAVE_MS) return false;
          savedAt = now;
          await this.#save(tier, at);
          return false;
        },
      });
      at = { ...at, counts: { ...at.counts, lost: pass.counts.lost + lost } };
    } finally {
      await this.#save(tier, at);
    }
    if (at.cursor === DONE) await this.#passed(own, at);
  }

  /** The pass that is under way, or a new one once the last one's days are over. */
  async #pass(tier: NodeGroupTier): Promise<Pass> {
    const { store, clock } = this.#core.context;
    const now = clock.wall();
    const row = await readCheckpoint(store, rowOf(tier));
    const age = now - (row?.startedAt ?? 0);
    const isOver = row?.cursor === DONE && age >= this.#settings.days(tier.name) * DAY_MS;
    if (row !== undefined && !isOver && age >= 0) {
      const { cursor, startedAt, counts } = row;
      return { cursor, startedAt, counts: { ...noCounts(), ...counts } };
    }
    const counts = { ...noCounts(), totalBytes: Math.round(await tier.scrubBytes()) };
    return { cursor: '', startedAt: now, counts, isNew: true };
  }

  /** How far the pass should be by now. */
  #dueBytes(tier: NodeGroupTier, pass: Pass): number {
    const passMs = PASS_SHARE * this.#settings.days(tier.name) * DAY_MS;
    const share = (this.#core.context.clock.wall() - pass.startedAt) / passMs;
    return share >= 1 ? Infinity : share * pass.counts.totalBytes;
  }

  async #save(tier: NodeGroupTier, pass: Pass): Promise<void> {
    const { store, clock } = this.#core.context;
    const { cursor, startedAt } = pass;
    const fields = { at: clock.wall(), cursor, startedAt, counts: { ...pass.counts } };
    await saveCheckpoint(store, rowOf(tier), fields);
  }

  /** All of the tier was read in slices: people see it as one. */
  async #passed({ tier, progress }: StepOptions, pass: Pass): Promise<void> {
    const drives = await tier.drives();
    const groups = [...new Set(drives.map(({ group }) => group))];
    const { totalBytes: _, ...counts } = pass.counts;
    await progress.passed(groups, { startedAt: pass.startedAt, ...counts });
  }
}

const rowOf = (tier: NodeGroupTier): string => `scrub/${tier.name}`;
const noCounts = (): ScrubCounts => ({
  totalBytes: 0,
  bytes: 0,
  checked: 0,
  repaired: 0,
  lost: 0,
});

function addTo({ startedAt, counts, cursor }: Pass, progress: StepProgress): Pass {
  return {
    startedAt,
    cursor: progress.done ? DONE : (progress.cursor ?? cursor),
    counts: {
      totalBytes: counts.totalBytes,
      bytes: counts.bytes + progress.bytes,
      checked: counts.checked + progress.checked,
      repaired: counts.repaired + progress.repaired,
      lost: counts.lost + progress.lost.length,
    },
  };
}

export interface StepOptions {
  turn: Turn;
  total: Parameters<typeof sumOf>[0];
  tier: NodeGroupTier;
  log: WorkerLog;
  progress: UpkeepProgress;
  /** After each step; true ends the job before its end. */
  stepped?: (progress: StepProgress) => Promise<boolean>;
}

interface Progress {
  checked: number;
  bytes: number;
  repaired: number;
  lost: readonly string[];
}

/**
 * Takes a job of a tier to its end, a step at a time, resting between them. Its counts are added to
 * `total` when it is done; the job is stopped also when a step or the lease fails. How many losses.
 */
export async function stepThrough(core: Core, job: StepJob, own: StepOptions): Promise<number> {
  const { turn, total, tier, log } = own;
  let isWhole = false;
  try {
    for (;;) {
      const progress = await job.step();
      turn.report(sumOf(total, progress));
      await own.progress.stepped(progress);
      const ends = (await own.stepped?.(progress)) === true;
      if (progress.done || ends) {
        isWhole = progress.done && own.stepped === undefined;
        const lost = [...progress.lost, ...(await lostOf(core, tier, progress.suspects))];
        Object.assign(total, sumOf(total, { ...progress, lost }));
        turn.report(total);
        await own.progress.stepped({ ...progress, lost });
        alarm(log, tier.name, lost);
        return lost.length;
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
