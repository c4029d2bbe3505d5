// The orphan sweep as a job: once a day. What stops it (a share of orphans that looks like a defect
// of ours, metadata that was restored) is an alarm for an operator, and no failure to be tried
// again.

import { Audit } from '../appliance/engine/upkeep/audit.ts';
import { sweep } from '../appliance/engine/upkeep/sweep.ts';
import type { Core } from '../appliance/engine/document/core.ts';
import type { Location } from '../appliance/model/location.ts';
import type { NodeGroupTier } from '../appliance/model/node-group.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { ClockGuard } from './base/clock-guard.ts';
import { LiveBytes, noteLive } from './segment-rows.ts';
import { SWEEP_AUDIT } from '../appliance/model/records.ts';
import { saveCheckpoint } from './base/checkpoints.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

export class SweepWorker implements Worker {
  readonly name = 'sweep';
  readonly tranquility = 1;
  readonly #core: Core;
  readonly #guard: ClockGuard;
  readonly #log: WorkerLog;
  readonly #tiers: readonly NodeGroupTier[];

  /** `tiers`: those whose segments it counts on its way. */
  constructor(
    core: Core,
    tiers: readonly NodeGroupTier[],
    { guard, log }: { guard: ClockGuard; log: WorkerLog },
  ) {
    this.#core = core;
    this.#tiers = tiers;
    this.#guard = guard;
    this.#log = log;
  }

  leaseName(): string {
    return 'sweep';
  }

  async run(turn: Turn): Promise<void> {
    try {
      await this.#guard.check();
      const { lease, signal } = turn;
      const between = (): Promise<void> => turn.rest();
      const beganAt = this.#core.context.clock.now();
      const live = new LiveBytes();
      const audit = new Audit(this.#core);
      await audit.begin(this.#tiers);
      const seen = (location: Location, object: string): void => {
        live.add(location);
        audit.see(location, object);
      };
      let found = { asked: 0, lost: 0 };
      // Before orphans are judged: too many of them end the sweep, and what is lost must be told.
      const gathered = async (): Promise<void> => void (found = await this.#tell(audit, turn));
      const counts = await sweep(this.#core, { lease, signal, between, seen, gathered });
      turn.report({ ...counts, ...found });
      for (const tier of this.#tiers) await noteLive(this.#core, tier, { live, beganAt, turn });
    } catch (error) {
      if (!isFirnError(error, 'GuardRail')) throw error;
      this.#log('error', `the orphan sweep stopped: ${error.message}`, { hint: error.hint });
      turn.report({ stopped: 1 });
    }
  }

  /** What is named and not there: into the log, and for metrics, as an alarm in a log is missed. */
  async #tell(audit: Audit, turn: Turn): Promise<{ asked: number; lost: number }> {
    const lost = await audit.end(turn);
    const { store, clock } = this.#core.context;
    const counts = { asked: audit.asked, lost: lost.length };
    await saveCheckpoint(store, SWEEP_AUDIT, { at: clock.wall(), counts });
    if (lost.length > 0) {
      const message = `${lost.length} objects name bytes that are not there`;
      this.#log('error', `durability alarm: ${message}`, { objects: lost.slice(0, 20) });
    }
    return counts;
  }
}
