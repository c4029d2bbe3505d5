// One lifecycle pass over one bucket or all: freezes now and policies, cuts the buckets into
// shards, has each scanned as a job of its own (on whatever host is free), waits, adds up. The pass
// is a row of `runs`, asked for by an operator or by the schedule; a conductor that dies is
// followed by another that reads the same shards. The danger is a run that is "running" for ever:
// every state is in rows, and every row is looked at again.

import { setTimeout as sleep } from 'node:timers/promises';

import { allBuckets } from '../../appliance/engine/document/inventory.ts';
import type { Core } from '../../appliance/engine/document/core.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { Run } from '../../appliance/model/records.ts';
import { readCheckpoint, removeCheckpoint, saveCheckpoint } from '../base/checkpoints.ts';
import type { Turn, Worker } from '../base/worker.ts';
import { loadPolicies, type RuleSettings } from './rules.ts';

/** Shards looked at in between, so that an operator sees the run move. */
const LOOK_MS = 40;
const LOOK_MS_MAX = 1_000;
const ASK_AGAIN_MS = 5_000;
/** Small buckets share shards. */
const SHARDS_MIN = 4;
const RANGES_PER_SHARD = 64;

export interface ShardRange {
  bucket: string;
  bucketId: string;
  after?: string;
  before?: string;
  uploads: boolean;
}

export interface PassPlan {
  /** Engine ms, the same for the whole pass. */
  now: number;
  /** Of the policy files: a shard that finds another does not act. */
  revision: string;
  shards: ShardRange[][];
}

export interface ShardResult {
  done?: boolean;
  /** The rules no longer stand. */
  outdated?: boolean;
  error?: string;
  /** Bucket id → keys at which the next pass may cut it. */
  splits?: Record<string, string[]>;
}

export const passRow = (runId: string): string => `pass/${runId}`;
export const shardRow = (runId: string, shard: number): string => `pass/${runId}/${shard}`;
const splitsRow = (bucketId: string): string => `splits/${bucketId}`;

export interface PassSettings {
  rules: RuleSettings;
  /**
   * Asks for a shard to be scanned, by whichever process; a repeat does nothing while it is queued.
   */
  enqueue(runId: string, shard: number): Promise<void>;
  /** Before anything is moved: byte-hours so far belong to where the bytes are now. */
  sampleUsage(turn: Turn): Promise<void>;
}

export class LifecyclePass implements Worker {
  readonly name = 'lifecycle';
  readonly tranquility = 0;
  readonly #core: Core;
  readonly #settings: PassSettings;

  constructor(core: Core, settings: PassSettings) {
    this.#core = core;
    this.#settings = settings;
  }

  leaseName(runId: string): string {
    return `lifecycle/${runId}`;
  }

  async run(turn: Turn, runId: string): Promise<void> {
    const run = await this.#begin(runId);
    if (run === undefined) return;
    try {
      await this.#settings.sampleUsage(turn);
      const plan = await this.#plan(run);
      const counts = await this.#conduct(turn, runId, plan);
      await this.#end(runId, plan, counts);
    } catch (error) {
      // Not the end of the run: another conductor goes on, or this one after a restart.
      if (turn.signal.aborted || (isFirnError(error) && error.retryable)) throw error;
      const message = error instanceof Error ? error.message : String(error);
      await this.#update(runId, (row) => ({ ...row, state: 'failed', error: message }));
    }
  }

  /** The run, if there is still something to do. */
  async #begin(runId: string): Promise<Run | undefined> {
    const row = await this.#update(runId, (run) =>
      run.state === 'requested' ? { ...run, state: 'running' } : run,
    );
    return row?.state === 'running' ? row : undefined;
  }

  async #update(runId: string, change: (run: Run) => Run): Promise<Run | undefined> {
    const { store, clock } = this.#core.context;
    const id = `lifecycle/${runId}`;
    for (;;) {
      const row = await store.get<Run>('runs', id);
      if (row === undefined) return undefined;
      // Ended by another conductor: its word stands.
      if (row.value.state === 'done' || row.value.state === 'failed') return row.value;
      const changed = change(row.value);
      if (changed === row.value) return changed;
      const isOver = changed.state === 'done' || changed.state === 'failed';
      const value: Run = isOver ? { ...changed, finishedAt: clock.now() } : changed;
      const result = await store.replace({ table: 'runs', id, expected: row.revision, value });
      if (result.outcome === 'done') return value;
    }
  }

  /** Frozen by the first conductor; read by those after it. */
  async #plan(run: Run): Promise<PassPlan> {
    const { store, clock } = this.#core.context;
    const id = passRow(run.id);
    const known = await readCheckpoint(store, id);
    if (known?.data !== undefined) return known.data as unknown as PassPlan;
    const { revision } = await loadPolicies(this.#settings.rules);
    const plan: PassPlan = {
      now: clock.now(),
      revision,
      shards: await this.#cut(run.bucket),
    };
    const at = clock.now();
    await saveCheckpoint(store, id, { at, data: plan as unknown as Record<string, unknown> });
    return plan;
  }

  async #cut(only: string | undefined): Promise<ShardRange[][]> {
    const { store } = this.#core.context;
    const shards: ShardRange[][] = [];
    const small: ShardRange[] = [];
    for await (const bucket of allBuckets(store)) {
      if (bucket.state !== 'live' || (only !== undefined && bucket.name !== only)) continue;
      const splits = await readCheckpoint(store, splitsRow(bucket.id));
      const keys = (splits?.data?.['keys'] as string[] | undefined) ?? [];
      const ranges = rangesOf(bucket, keys);
      if (ranges.length === 1) small.push(...ranges);
      else shards.push(...ranges.map((range) => [range]));
    }
    const each = Math.max(1, Math.min(RANGES_PER_SHARD, Math.ceil(small.length / SHARDS_MIN)));
    for (let at = 0; at < small.length; at += each) shards.push(small.slice(at, at + each));
    return shards;
  }

  /** Asks for every shard and waits for all; returns their counts together. */
  async #conduct(turn: Turn, runId: string, plan: PassPlan): Promise<Record<string, number>> {
    const { store } = this.#core.context;
    const open = new Set(plan.shards.keys());
    let waitMs = LOOK_MS;
    let askedAt = -Infinity;
    for (;;) {
      const counts: Record<string, number> = { shards: plan.shards.length };
      const results = await Promise.all(
        plan.shards.map((_, shard) => readCheckpoint(store, shardRow(runId, shard))),
      );
      for (const [shard, row] of results.entries()) {
        addCounts(counts, row?.counts ?? {});
        const result = row?.data as ShardResult | undefined;
        if (result?.done === true) open.delete(shard);
      }
      turn.report(counts);
      if (open.size === 0) return counts;
      await this.#update(runId, (run) => ({ ...run, counts }));
      // A shard whose job failed or was lost with its process is asked for again.
      if (performance.now() - askedAt > ASK_AGAIN_MS) {
        askedAt = performance.now();
        for (const shard of open) await this.#settings.enqueue(runId, shard);
      }
      await sleep(waitMs, undefined, { signal: turn.signal }).catch(() => undefined);
      waitMs = Math.min(LOOK_MS_MAX, waitMs * 1.5);
      await turn.rest();
    }
  }

  async #end(runId: string, plan: PassPlan, counts: Record<string, number>): Promise<void> {
    const { store, clock } = this.#core.context;
    const splits: Record<string, string[]> = {};
    let outdated = false;
    let error: string | undefined;
    for (const shard of plan.shards.keys()) {
      const row = await readCheckpoint(store, shardRow(runId, shard));
      const result = row?.data as ShardResult | undefined;
      outdated ||= result?.outdated === true;
      error ??= result?.error;
      for (const [bucketId, keys] of Object.entries(result?.splits ?? {})) {
        splits[bucketId] = [...(splits[bucketId] ?? []), ...keys];
      }
    }
    const at = clock.now();
    for (const [bucketId, keys] of Object.entries(splits)) {
      await saveCheckpoint(store, splitsRow(bucketId), { at, data: { keys } });
    }
    if (outdated) error ??= 'the policy was changed during the run: run it again';
    await this.#update(runId, (run) => {
      const state = error === undefined ? 'done' : 'failed';
      return { ...run, state, counts, ...(error === undefined ? {} : { error }) };
    });
    for (const shard of plan.shards.keys()) await removeCheckpoint(store, shardRow(runId, shard));
    await removeCheckpoint(store, passRow(runId));
  }
}

/** The bucket cut at the keys that its last pass noted, in order. */
function rangesOf(bucket: { name: string; id: string }, keys: readonly string[]): ShardRange[] {
  const ranges: ShardRange[] = [];
  let after: string | undefined;
  for (const key of [...keys, undefined]) {
    ranges.push({
      bucket: bucket.name,
      bucketId: bucket.id,
      ...(after === undefined ? {} : { after }),
      // A split key belongs to the range that it ends.
      ...(key === undefined ? {} : { before: `${key}\u0001` }),
      uploads: after === undefined,
    });
    after = key;
  }
  return ranges;
}

export function addCounts(
  to: Record<string, number>,
  more: Readonly<Record<string, number>>,
): void {
  for (const [name, count] of Object.entries(more)) {
    const old = to[name] ?? 0;
    to[name] = name.endsWith('Max') ? Math.max(old, count) : old + count;
  }
}
