// The orphan sweep as a job: once a day. What stops it (a share of orphans that looks like a defect
// of ours, metadata that was restored) is an alarm for an operator, and no failure to be tried
// again.

import { sweep } from '../appliance/engine/sweep.ts';
import type { Core } from '../appliance/engine/core.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { ClockGuard } from './base/clock-guard.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

export class SweepWorker implements Worker {
  readonly name = 'sweep';
  readonly tranquility = 1;
  readonly #core: Core;
  readonly #guard: ClockGuard;
  readonly #log: WorkerLog;

  constructor(core: Core, guard: ClockGuard, log: WorkerLog) {
    this.#core = core;
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
      const counts = await sweep(this.#core, { lease, signal, between });
      turn.report({ ...counts });
    } catch (error) {
      if (!isFirnError(error, 'GuardRail')) throw error;
      this.#log('error', `the orphan sweep stopped: ${error.message}`, { hint: error.hint });
      turn.report({ stopped: 1 });
    }
  }
}
