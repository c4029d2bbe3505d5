// Empties and frees containers that hold mostly dead bytes: segments of node groups, and packs in
// tiers that are read at once. Reading a segment costs 64 MiB, so one is looked at only when more
// of it has been noted dead since the last look, or a week has passed (what a crashed PUT left is
// in no note). Packs of staged tiers are never emptied, as that would cost a retrieval: they go
// when nothing lives.

import { compactPack, compactSegment, LIVE_SHARE_MIN } from '../appliance/engine/compact.ts';
import type { Core } from '../appliance/engine/core.ts';
import { bucketNames } from '../appliance/engine/inventory.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { Pack } from '../appliance/model/location.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { NodeGroupTier, SegmentInfo } from '../appliance/model/node-group.ts';
import { readCheckpoint, removeCheckpoint, saveCheckpoint } from './base/checkpoints.ts';
import type { ClockGuard } from './base/clock-guard.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

const PAGE_ROWS = 500;
const LOOK_AGAIN_MS = 7 * DAY_MS;
/** Share of a segment's extent newly noted dead that is worth a look. */
const NEWLY_DEAD_MIN = 0.25;

export interface CompactSettings {
  guard: ClockGuard;
  log: WorkerLog;
  /** Days that a provider charges for at least: a younger pack is left alone. */
  minimumDays: (tier: string) => number;
}

export class CompactWorker implements Worker {
  readonly name = 'compact';
  readonly tranquility = 2;
  readonly #core: Core;
  readonly #tiers: readonly NodeGroupTier[];
  readonly #settings: CompactSettings;

  constructor(core: Core, tiers: readonly NodeGroupTier[], settings: CompactSettings) {
    this.#core = core;
    this.#tiers = tiers;
    this.#settings = settings;
  }

  leaseName(): string {
    return 'compact';
  }

  async run(turn: Turn): Promise<void> {
    const names = await bucketNames(this.#core.context.store);
    const counts: Record<string, number> = { looked: 0, emptied: 0, freed: 0, moved: 0 };
    for (const tier of this.#tiers) {
      for await (const info of tier.segments()) {
        await this.#settings.guard.check();
        await this.#segment({ tier, info }, { turn, names, counts });
        await turn.rest();
      }
    }
    await this.#packs({ turn, names, counts });
  }

  async #segment(of: { tier: NodeGroupTier; info: SegmentInfo }, pass: Pass): Promise<void> {
    const { store, clock } = this.#core.context;
    const { tier, info } = of;
    if (!info.settled) return;
    const row = `segment/${tier.name}/${info.group}/${info.segment}`;
    const last = await readCheckpoint(store, row);
    const at = clock.now();
    const newlyDead = info.deadBytes - (last?.counts['deadBytes'] ?? 0);
    const isDue = newlyDead > info.extentBytes * NEWLY_DEAD_MIN;
    // Emptied before: what was moved out is dead once its grace is over.
    const isEmpty = last?.cursor === 'emptied' && at - last.updatedAt > this.#core.context.graceMs;
    if (!isDue && !isEmpty && at - (last?.updatedAt ?? info.openedAt) < LOOK_AGAIN_MS) return;
    const { lease, signal } = pass.turn;
    const { names } = pass;
    const { outcome, moves } = await compactSegment(this.#core, of, { lease, signal, names });
    count(pass, outcome, moves.moved);
    if (outcome === 'freed') {
      await removeCheckpoint(store, row);
      return;
    }
    const cursor = outcome === 'held' && last?.cursor === 'emptied' ? 'emptied' : outcome;
    await saveCheckpoint(store, row, { at, cursor, counts: { deadBytes: info.deadBytes } });
  }

  async #packs(pass: Pass): Promise<void> {
    const { store } = this.#core.context;
    let after: string | undefined;
    for (;;) {
      const rows: Row<Pack>[] = await store.range<Pack>({
        table: 'packs',
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const { value } of rows) {
        if (this.#isWorthIt(value)) await this.#pack(value, pass);
      }
      pass.turn.report(pass.counts);
      if (rows.length < PAGE_ROWS) return;
      after = rows.at(-1)?.id;
      await pass.turn.rest();
    }
  }

  #isWorthIt(pack: Pack): boolean {
    const { tiers, clock } = this.#core.context;
    if (pack.deadBytes >= pack.entryBytes && pack.entryBytes > 0) return true;
    if (pack.deadBytes < pack.entryBytes * LIVE_SHARE_MIN) return false;
    if (tiers.get(pack.tier)?.retrieval !== 'immediate') return false;
    const age = clock.now() - pack.createdAt;
    return age >= this.#settings.minimumDays(pack.tier) * DAY_MS;
  }

  async #pack(pack: Pack, pass: Pass): Promise<void> {
    const { lease, signal } = pass.turn;
    try {
      await this.#settings.guard.check();
      const options = { lease, signal, names: pass.names };
      const { outcome, moves } = await compactPack(this.#core, pack, options);
      count(pass, outcome, moves.moved);
    } catch (error) {
      if (!isFirnError(error) || error.code === 'LeaseLost') throw error;
      this.#settings.log('warn', `pack ${pack.id} is not compacted: ${error.message}`);
    }
    await pass.turn.rest();
  }
}

interface Pass {
  turn: Turn;
  names: ReadonlyMap<string, string>;
  counts: Record<string, number>;
}

function count(pass: Pass, outcome: string, moved: number): void {
  const { counts } = pass;
  counts['looked'] = (counts['looked'] ?? 0) + 1;
  counts[outcome] = (counts[outcome] ?? 0) + 1;
  counts['moved'] = (counts['moved'] ?? 0) + moved;
  pass.turn.report(counts);
}
