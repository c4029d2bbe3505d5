// Brings back full redundancy: refills drives that were replaced, and rewrites the lanes that a
// write had to leave out when it was acknowledged (table `heals`). Little rest: until it is done
// one failure more counts double.

import type { Core } from '../appliance/engine/document/core.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { NodeGroupTier, StepProgress } from '../appliance/model/node-group.ts';
import type { Heal } from '../appliance/model/records.ts';
import { alarm, stepThrough } from './scrub.ts';
import { UpkeepProgress } from './base/progress.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

const PAGE_ROWS = 200;
const TRY_AGAIN_MS = 600_000;
const SHORT_MS_MIN = 2_000;
const SHORT_MS_MAX = 60_000;

interface Tried {
  /** Of all drives. */
  states: string;
  at: number;
}

export class HealWorker implements Worker {
  readonly name = 'heal';
  readonly tranquility = 0.2;
  readonly #core: Core;
  readonly #tiers: readonly NodeGroupTier[];
  readonly #log: WorkerLog;
  /** When locations were last asked for, and what the drives were then. */
  #tried: Tried | undefined;
  /** When a drive could not be refilled, as others lacked: to walk all of it again costs much. */
  #short: Tried | undefined;
  #shortMs = SHORT_MS_MIN;

  constructor(core: Core, tiers: readonly NodeGroupTier[], log: WorkerLog) {
    this.#core = core;
    this.#tiers = tiers;
    this.#log = log;
  }

  leaseName(): string {
    return 'heal';
  }

  /**
   * Whether a drive waits to be refilled or (`rows`: looked at too) a location to be made whole.
   * While drives are away those that wait for them are tried again only when the drives change, or
   * after ten minutes: thousands may wait for days.
   */
  async isNeeded(rows = true): Promise<boolean> {
    const states = await this.#states();
    const now = performance.now();
    const isSame = (then: Tried | undefined, forMs: number): boolean =>
      then?.states === states && now - then.at < forMs;
    if (states.includes('healing') && !isSame(this.#short, this.#shortMs)) return true;
    if (!rows) return false;
    if (isSame(this.#tried, TRY_AGAIN_MS) && !/^(?:up ?)*$/.test(states)) return false;
    const found = await this.#core.context.store.range({ table: 'heals', limit: 1 });
    this.#tried = { states, at: now };
    return found.length > 0;
  }

  async #states(): Promise<string> {
    const lists = await Promise.all(this.#tiers.map((tier) => tier.drives()));
    return lists
      .flat()
      .map(({ state }) => state)
      .join(' ');
  }

  async run(turn: Turn): Promise<void> {
    const total = { checked: 0, bytes: 0, repaired: 0, lost: 0 };
    for (const tier of this.#tiers) {
      const drives = await tier.drives();
      if (!drives.some(({ state }) => state === 'healing')) continue;
      const progress = new UpkeepProgress(this.#core, 'heal', tier.name);
      const own = { turn, total, tier, log: this.#log, progress };
      const job = tier.heal();
      let isShort = false;
      const step = async (): Promise<StepProgress> => {
        const done = await job.step();
        isShort = done.short === true;
        return done;
      };
      await stepThrough(this.#core, { step, stop: () => job.stop() }, own);
      this.#ended(isShort, await this.#states());
    }
    await this.#locations(turn, total);
  }

  /** Drives that lack for long are waited for longer and longer; a change of any ends that. */
  #ended(isShort: boolean, states: string): void {
    const again = isShort && this.#short?.states === states;
    this.#shortMs = again ? Math.min(SHORT_MS_MAX, 2 * this.#shortMs) : SHORT_MS_MIN;
    this.#short = isShort ? { states, at: performance.now() } : undefined;
  }

  async #locations(turn: Turn, total: Record<string, number>): Promise<void> {
    const { store } = this.#core.context;
    const counts: Record<string, number> = { ...total, whole: 0, waiting: 0 };
    let after: string | undefined;
    for (;;) {
      const rows: Row<Heal>[] = await store.range<Heal>({
        table: 'heals',
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const row of rows) {
        await turn.lease.check();
        const outcome = await this.#location(row);
        counts[outcome] = (counts[outcome] ?? 0) + 1;
      }
      turn.report(counts);
      if (rows.length < PAGE_ROWS) return;
      after = rows.at(-1)?.id;
      await turn.rest();
    }
  }

  async #location({ id, revision, value }: Row<Heal>): Promise<'whole' | 'waiting'> {
    const { store } = this.#core.context;
    const { location } = value;
    const tier = this.#tiers.find(({ name }) => name === location.tier);
    const isOurs = location.kind === 'segment' || location.kind === 'shards';
    if (tier === undefined || !isOurs) return 'waiting';
    let outcome: 'whole' | 'partial' = 'partial';
    try {
      outcome = await tier.healLocation(location);
    } catch (error) {
      // Freed since, with what named it.
      if (isFirnError(error, 'TierMissing')) outcome = 'whole';
      else if (!isFirnError(error)) throw error;
      else if (error.code === 'Corrupt') alarm(this.#log, tier.name, [id]);
    }
    if (outcome === 'whole') {
      await store.remove('heals', id, revision);
      return 'whole';
    }
    const tried: Heal = { ...value, attempts: value.attempts + 1 };
    await store.replace({ table: 'heals', id, expected: revision, value: tried });
    return 'waiting';
  }
}
