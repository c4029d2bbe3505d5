// Runs of scrub, heal and collect that an operator asked for: the same workers as by schedule, with
// the outcome in the run's row.

import type { Core } from '../appliance/engine/document/core.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { Lease, Run } from '../appliance/model/records.ts';
import type { Runner } from './base/runner.ts';
import type { Worker } from './base/worker.ts';

const SWAPS_MAX = 64;
const PAGE_ROWS = 500;
/** How long a run can be read of. */
const KEPT_MS = 30 * DAY_MS;

export class RequestedRuns {
  readonly #core: Core;
  readonly #runner: Runner;
  readonly #workers: ReadonlyMap<string, Worker>;

  constructor(core: Core, runner: Runner, workers: ReadonlyMap<string, Worker>) {
    this.#core = core;
    this.#runner = runner;
    this.#workers = workers;
  }

  /**
   * `id`: of the row, `${kind}/${run id}`. While the worker is busy elsewhere the run stays asked
   * for.
   */
  async run(id: string, touch: () => Promise<void>): Promise<void> {
    const worker = this.#workers.get(id.slice(0, id.indexOf('/')));
    if (worker === undefined) return;
    try {
      const outcome = await this.#runner.run(worker, id, { touch });
      if (outcome !== 'done') return;
      const status = this.#runner.status().find(({ name }) => name === worker.name);
      await this.#end(id, { state: 'done', counts: { ...status?.counts } });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      await this.#end(id, { state: 'failed', error: message });
    }
  }

  async #end(id: string, change: Partial<Run>): Promise<void> {
    const { store, clock } = this.#core.context;
    for (let i = 0; i < SWAPS_MAX; i++) {
      const row = await store.get<Run>('runs', id);
      if (row === undefined) return;
      const value: Run = { ...row.value, ...change, finishedAt: clock.now() };
      const result = await store.replace({ table: 'runs', id, expected: row.revision, value });
      if (result.outcome === 'done') return;
    }
  }

  /** Removes rows of runs that ended long ago, and the leases of their passes and shards. */
  async dropOld(): Promise<void> {
    await this.#dropRuns();
    await this.#dropLeases();
  }

  /** A run's id never comes again, so neither does the name of its lease. */
  async #dropLeases(): Promise<void> {
    const { store, clock } = this.#core.context;
    let bound: { from: string } | { after: string } = { from: 'lifecycle' };
    for (;;) {
      const rows: Row<Lease>[] = await store.range<Lease>({
        table: 'leases',
        ...bound,
        to: 'lifecyclf',
        limit: PAGE_ROWS,
      });
      for (const { id, revision, value } of rows) {
        if (value.until + DAY_MS < clock.wall()) await store.remove('leases', id, revision);
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE_ROWS) return;
      bound = { after: last.id };
    }
  }

  async #dropRuns(): Promise<void> {
    const { store, clock } = this.#core.context;
    let after: string | undefined;
    for (;;) {
      const rows: Row<Run>[] = await store.range<Run>({
        table: 'runs',
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const { id, revision, value } of rows) {
        const isOld = (value.finishedAt ?? Infinity) + KEPT_MS < clock.now();
        if (isOld) await store.remove('runs', id, revision);
      }
      if (rows.length < PAGE_ROWS) return;
      after = rows.at(-1)?.id;
    }
  }
}
