// Counts what buckets and accounts with a quota hold: once when the quota is set, again where a
// process died with room set aside, and every day. The danger is a count that misses what is
// written while it runs, and so lets a quota be passed: what came meanwhile is added in full, what
// went is not taken off, so a count on a busy bucket is a little too high, is marked so, and is
// made again soon, after fifty times what it took. It also says in the log when a quota is used to
// 80 %.

import { setTimeout as sleep } from 'node:timers/promises';

import type { Core } from '../appliance/engine/document/core.ts';
import { allBuckets, allVersions, inventoryPages } from '../appliance/engine/document/inventory.ts';
import { warningsOf } from '../appliance/engine/document/quota-meter.ts';
import {
  allQuotas,
  newUsage,
  takenOf,
  type QuotaState,
} from '../appliance/engine/account/quotas.ts';
import { isEnded, partPages } from '../appliance/engine/document/upload-rows.ts';
import type { Bucket } from '../appliance/model/bucket.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { afterPrefix, newId, objectId } from '../appliance/model/ids.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { Upload } from '../appliance/model/object.ts';
import { NOTHING, plus, type Amount, type QuotaUsage } from '../appliance/model/quota.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

/** Until every process obeys a new quota, or has told what it wrote. */
const SETTLE_MS = 2_000;
/** A count that was not exact is made again after this many times what it took, or a minute. */
const AGAIN_TIMES = 50;
const AGAIN_MS_MIN = 60_000;
const WARN_AGAIN_MS = DAY_MS;
const PAGE_ROWS = 500;

export class QuotaWorker implements Worker {
  readonly name = 'quotas';
  readonly tranquility = 1;
  readonly #core: Core;
  readonly #log: WorkerLog;
  readonly #settleMs: number;

  constructor(core: Core, log: WorkerLog, options: { settleMs?: number } = {}) {
    this.#core = core;
    this.#log = log;
    this.#settleMs = options.settleMs ?? SETTLE_MS;
  }

  leaseName(): string {
    return 'quotas';
  }

  async run(turn: Turn): Promise<void> {
    const standing = new Set<string>();
    const counts = { quotas: 0, counted: 0, warned: 0 };
    for await (const state of allQuotas(this.#core.context)) {
      standing.add(state.id);
      counts.quotas += 1;
      if (this.#isDue(state.usage)) {
        await this.#count(turn, state);
        counts.counted += 1;
      }
      if (await this.#warn(state)) counts.warned += 1;
      turn.report(counts);
      await turn.rest();
    }
    await this.#drop(standing);
  }

  #isDue(usage: QuotaUsage | undefined): boolean {
    const { clock } = this.#core.context;
    if (usage?.countedAt === undefined) return true;
    const wall = clock.wall();
    if (Object.values(usage.holds).some(({ until }) => until < wall)) return true;
    const age = clock.now() - usage.countedAt;
    const again = Math.max(AGAIN_MS_MIN, (usage.countMs ?? 0) * AGAIN_TIMES);
    return age < 0 || age > (usage.isExact ? DAY_MS : Math.min(DAY_MS, again));
  }

  async #count(turn: Turn, state: QuotaState): Promise<void> {
    const { random, clock } = this.#core.context;
    const id = newId(random);
    // Who writes by an older look at the bucket does so before the count begins; what is told until
    // then is there for the count to see.
    await this.#settle(turn);
    await this.#change(state, (usage) => ({
      ...usage,
      count: { id, grown: NOTHING, moved: false },
    }));
    const startedAt = performance.now();
    let sum = NOTHING;
    for await (const bucket of allBuckets(this.#core.context.store)) {
      const isMeant =
        state.kind === 'bucket'
          ? bucket.name === state.name && `bucket/${bucket.id}` === state.id
          : bucket.owner === state.name;
      if (isMeant) sum = plus(sum, await this.#countBucket(turn, bucket));
    }
    const countMs = Math.round(performance.now() - startedAt);
    // What was written or taken out before the count ended is told then.
    await this.#settle(turn);
    await turn.lease.check();
    await this.#change(state, ({ count, ...usage }) => {
      // Another count has begun since: it ends this one's business.
      if (count?.id !== id) return undefined;
      const wall = clock.wall();
      const live = Object.entries(usage.holds).filter(([, { until }]) => until >= wall);
      return {
        ...usage,
        used: plus(sum, count.grown),
        holds: Object.fromEntries(live),
        countedAt: clock.now(),
        countMs,
        isExact: !count.moved,
      };
    });
  }

  async #settle(turn: Turn): Promise<void> {
    await sleep(this.#settleMs, undefined, { signal: turn.signal }).catch(() => undefined);
    await turn.rest();
  }

  /** Every version that is no delete marker, and every part of an upload under way. */
  async #countBucket(turn: Turn, bucket: Bucket): Promise<Amount> {
    const { store } = this.#core.context;
    const sum = { bytes: 0, objects: 0 };
    for await (const page of inventoryPages(store, bucket.id)) {
      for (const row of page) {
        for (const version of await allVersions(store, row)) {
          sum.bytes += version.sizeBytes;
          if (!version.deleteMarker) sum.objects += 1;
        }
      }
      await turn.rest();
    }
    const from = objectId(bucket.id, '');
    let bound: { from: string } | { after: string } = { from };
    for (;;) {
      const rows: Row<Upload>[] = await store.range<Upload>({
        table: 'uploads',
        ...bound,
        to: afterPrefix(from) as string,
        limit: PAGE_ROWS,
      });
      for (const { value } of rows) {
        if (isEnded(value.state)) continue;
        for await (const parts of partPages(store, value.uploadId)) {
          for (const part of parts) sum.bytes += part.value.sizeBytes;
        }
      }
      const last = rows.at(-1);
      if (last === undefined || rows.length < PAGE_ROWS) return sum;
      bound = { after: last.id };
      await turn.rest();
    }
  }

  async #change(
    state: QuotaState,
    change: (usage: QuotaUsage) => QuotaUsage | undefined,
  ): Promise<QuotaUsage | undefined> {
    const { store } = this.#core.context;
    const { id } = state;
    for (;;) {
      const row = await store.get<QuotaUsage>('quotas', id);
      const value = change(row?.value ?? newUsage(state));
      if (value === undefined) return undefined;
      const { outcome } =
        row === undefined
          ? await store.insert('quotas', id, value)
          : await store.replace({ table: 'quotas', id, expected: row.revision, value });
      if (outcome === 'done') return value;
    }
  }

  /** Once a day while it is so. */
  async #warn(state: QuotaState): Promise<boolean> {
    const { store, clock } = this.#core.context;
    const usage = (await store.get<QuotaUsage>('quotas', state.id))?.value;
    if (usage === undefined) return false;
    const said = warningsOf(state, takenOf(usage));
    const isTold = usage.warnedAt !== undefined && clock.now() - usage.warnedAt < WARN_AGAIN_MS;
    if (said.length === 0 || isTold) return false;
    await this.#change(state, (now) => ({ ...now, warnedAt: clock.now() }));
    this.#log('warn', `a quota is nearly used up: ${said.join(', ')}`, {
      [state.kind]: state.name,
    });
    return true;
  }

  /** Rows of quotas that nobody has any more: their bucket is gone. */
  async #drop(standing: ReadonlySet<string>): Promise<void> {
    const { store } = this.#core.context;
    let after: string | undefined;
    for (;;) {
      const rows: Row<QuotaUsage>[] = await store.range<QuotaUsage>({
        table: 'quotas',
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const { id, revision } of rows) {
        if (!standing.has(id)) await store.remove('quotas', id, revision);
      }
      if (rows.length < PAGE_ROWS) return;
      after = rows.at(-1)?.id;
    }
  }
}
