// Frees what nobody names and whose grace is over (B4), page after page through all candidates.

import { collectPage, noCollect } from '../appliance/engine/upkeep/collect.ts';
import type { Core } from '../appliance/engine/document/core.ts';
import type { ClockGuard } from './base/clock-guard.ts';
import type { Turn, Worker } from './base/worker.ts';

export class CollectWorker implements Worker {
  readonly name = 'collect';
  readonly tranquility = 0.5;
  readonly #core: Core;
  readonly #guard: ClockGuard;

  constructor(core: Core, guard: ClockGuard) {
    this.#core = core;
    this.#guard = guard;
  }

  leaseName(): string {
    return 'collect';
  }

  async run(turn: Turn): Promise<void> {
    const total = noCollect();
    let after: string | undefined;
    do {
      await this.#guard.check();
      const { lease, signal } = turn;
      const { next, counts } = await collectPage(this.#core, after, { lease, signal });
      for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += counts[name];
      turn.report({ ...total });
      after = next;
      await turn.rest();
    } while (after !== undefined);
  }
}
