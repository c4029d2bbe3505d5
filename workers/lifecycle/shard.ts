// One shard of a pass: scans its ranges one after another from where its checkpoint says. It
// compiles the rules itself, for each bucket by the row that it scans under, and acts only by the
// policy files that the pass was frozen with.

import type { Core } from '../../appliance/engine/document/core.ts';
import type { MoveCounts } from '../../appliance/engine/move/move.ts';
import type { Bucket } from '../../appliance/model/bucket.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import { readCheckpoint, saveCheckpoint } from '../base/checkpoints.ts';
import type { ClockGuard } from '../base/clock-guard.ts';
import type { Turn, Worker, WorkerLog } from '../base/worker.ts';
import { DeleteBatches, RulesChanged } from './deletes.ts';
import { landingOf, MoveBatches } from './moves.ts';
import {
  addCounts,
  passRow,
  shardRow,
  type PassPlan,
  type ShardRange,
  type ShardResult,
} from './pass.ts';
import { BucketRules, factsContext, type PassRules, type RuleSettings } from './rules.ts';
import { BucketScan } from './scan.ts';

export interface ShardSettings {
  rules: RuleSettings;
  guard: ClockGuard;
  log: WorkerLog;
}

/** Where a shard goes on: the range, and the key in it. */
interface Cursor {
  range: number;
  key?: string;
}

export class LifecycleShard implements Worker {
  readonly name = 'lifecycle-shard';
  readonly tranquility = 0.2;
  readonly #core: Core;
  readonly #settings: ShardSettings;

  constructor(core: Core, settings: ShardSettings) {
    this.#core = core;
    this.#settings = settings;
  }

  /** `key`: run id · `/` · shard. */
  leaseName(key: string): string {
    return `lifecycle-shard/${key}`;
  }

  async run(turn: Turn, key: string): Promise<void> {
    const { store } = this.#core.context;
    const [runId, shard] = key.split('/') as [string, string];
    const pass = await readCheckpoint(store, passRow(runId));
    if (pass?.data === undefined) return;
    const plan = pass.data as unknown as PassPlan;
    const row = shardRow(runId, Number(shard));
    const known = await readCheckpoint(store, row);
    if ((known?.data as ShardResult | undefined)?.done === true) return;
    const work = new ShardWork(this.#core, this.#settings, {
      turn,
      runId,
      plan,
      row,
      ranges: plan.shards[Number(shard)] ?? [],
      counts: { ...known?.counts },
    });
    const cursor = known?.cursor ? (JSON.parse(known.cursor) as Cursor) : { range: 0 };
    await work.run(cursor);
  }
}

interface WorkOptions {
  turn: Turn;
  runId: string;
  plan: PassPlan;
  row: string;
  ranges: readonly ShardRange[];
  /** Of the ranges already done. */
  counts: Record<string, number>;
}

class ShardWork {
  readonly #core: Core;
  readonly #settings: ShardSettings;
  readonly #options: WorkOptions;
  readonly #splits: Record<string, string[]> = {};

  constructor(core: Core, settings: ShardSettings, options: WorkOptions) {
    this.#core = core;
    this.#settings = settings;
    this.#options = options;
  }

  async run(cursor: Cursor): Promise<void> {
    const { plan, ranges, counts } = this.#options;
    const result: ShardResult = { done: true, splits: this.#splits };
    try {
      await this.#settings.guard.check();
      const rules = new BucketRules(this.#settings.rules);
      const facts = await factsContext(this.#core);
      for (let i = cursor.range; i < ranges.length; i++) {
        const bucket = await this.#standing(ranges[i] as ShardRange);
        if (bucket === undefined) continue;
        const standing = await rules.of(bucket);
        if (standing.revision !== plan.revision) throw new RulesChanged();
        const after = i === cursor.range ? cursor.key : undefined;
        await this.#unlessChanged(() => this.#range(i, { bucket, rules: standing, facts, after }));
      }
    } catch (error) {
      if (error instanceof RulesChanged) result.outdated = true;
      // The clock rests destructive work: said in the run, tried again by the next one.
      else if (isFirnError(error, 'GuardRail')) result.error = error.message;
      else throw error;
    }
    await this.#save({ range: ranges.length }, counts, result);
  }

  /** The bucket of a range, unless it is gone or going. */
  async #standing(range: ShardRange): Promise<Bucket | undefined> {
    const bucket = (await this.#core.buckets.fresh(range.bucket))?.value;
    return bucket?.id === range.bucketId && bucket.state === 'live' ? bucket : undefined;
  }

  /** A bucket whose lifecycle changes while it is scanned waits for the next pass, it alone. */
  async #unlessChanged(scan: () => Promise<void>): Promise<void> {
    const { plan, counts } = this.#options;
    try {
      await scan();
    } catch (error) {
      if (!(error instanceof RulesChanged)) throw error;
      const policies = await this.#settings.rules.source();
      if ((policies?.revision ?? '') !== plan.revision) throw error;
      counts['outdated'] = (counts['outdated'] ?? 0) + 1;
    }
  }

  async #range(
    index: number,
    of: {
      bucket: Bucket;
      rules: PassRules;
      facts: Awaited<ReturnType<typeof factsContext>>;
      after?: string | undefined;
    },
  ): Promise<void> {
    const { turn, runId, plan, ranges, counts } = this.#options;
    const { guard, log } = this.#settings;
    const range = ranges[index] as ShardRange;
    const { bucket } = of;
    const { lease, signal } = turn;
    const landing = landingOf(this.#core);
    const moves = new MoveBatches(this.#core, { landing, lease, runId, signal, log });
    const deletes = new DeleteBatches(this.#core, {
      rules: this.#settings.rules,
      revision: of.rules.revision,
      bucket,
      guard,
      turn,
      now: plan.now,
      log,
    });
    const scan = new BucketScan(this.#core, {
      bucket,
      evaluator: of.rules.evaluator,
      facts: of.facts,
      now: plan.now,
      turn,
      moves,
      deletes,
      log,
    });
    const sum = (): Record<string, number> => {
      const all = { ...counts };
      const { postponed } = moves;
      addCounts(all, { ...scan.counts, ...deletes.counts, ...countsOf(moves.counts), postponed });
      return all;
    };
    const after = of.after ?? range.after;
    await scan.run(
      {
        ...(after === undefined ? {} : { after }),
        ...(range.before === undefined ? {} : { before: range.before }),
        uploads: range.uploads,
      },
      async (key) => {
        turn.report(sum());
        await this.#save({ range: index, key }, sum());
      },
    );
    for (const problem of moves.counts.problems.slice(0, 10)) {
      log('error', 'a version could not be moved', { ...problem });
    }
    const done = sum();
    for (const [name, count] of Object.entries(done)) counts[name] = count;
    this.#splits[range.bucketId] = [...(this.#splits[range.bucketId] ?? []), ...scan.splits];
    turn.report(counts);
    await this.#save({ range: index + 1 }, counts);
  }

  async #save(cursor: Cursor, counts: Record<string, number>, result?: ShardResult): Promise<void> {
    const { store, clock } = this.#core.context;
    await saveCheckpoint(store, this.#options.row, {
      at: clock.now(),
      cursor: JSON.stringify(cursor),
      counts,
      ...(result === undefined ? {} : { data: { ...result } }),
    });
  }
}

function countsOf(moves: MoveCounts): Record<string, number> {
  const { moved, bytes, lost, offline, failed, packs } = moves;
  return { moved, movedBytes: bytes, lost, offline, failed, packs };
}
