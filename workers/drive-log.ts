// Keeps the log of drives: who is here since when, who was replaced. Once an hour is plenty for
// years; a look that is missed costs nothing, as the next one finds the same drives.

import type { Core } from '../appliance/engine/document/core.ts';
import { driveLogId, NO_DRIVES, observed, type DriveLog } from '../appliance/model/drive-log.ts';
import type { NodeGroupTier } from '../appliance/model/node-group.ts';
import { readCheckpoint, saveCheckpoint } from './base/checkpoints.ts';
import type { Turn, Worker } from './base/worker.ts';

export class DriveLogWorker implements Worker {
  readonly name = 'drive-log';
  readonly tranquility = 0;
  readonly #core: Core;
  readonly #tiers: readonly NodeGroupTier[];

  constructor(core: Core, tiers: readonly NodeGroupTier[]) {
    this.#core = core;
    this.#tiers = tiers;
  }

  leaseName(): string {
    return 'drive-log';
  }

  async run(turn: Turn): Promise<void> {
    const { store, clock } = this.#core.context;
    for (const tier of this.#tiers) {
      await turn.lease.check();
      const id = driveLogId(tier.name);
      const before = (await readCheckpoint(store, id))?.data as DriveLog | undefined;
      const at = clock.wall();
      const after = observed(before ?? NO_DRIVES, await tier.drives(), at);
      await saveCheckpoint(store, id, { at, data: { ...after } });
      turn.report({ drives: after.drives.length, replaced: after.gone.replaced });
    }
  }
}
