// Takes up the moves of workers that died (step 6 of the protocol): by their intents' phase, once
// their leases are over.

import type { Core } from '../appliance/engine/document/core.ts';
import { resumeMoves } from '../appliance/engine/move/resume.ts';
import type { Turn, Worker } from './base/worker.ts';

export class MovesWorker implements Worker {
  readonly name = 'moves';
  readonly tranquility = 0;
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  leaseName(): string {
    return 'moves';
  }

  async run(turn: Turn): Promise<void> {
    const { lease, signal } = turn;
    const { moved, lost, failed } = await resumeMoves(this.#core, { lease, signal });
    turn.report({ moved, lost, failed });
  }
}
