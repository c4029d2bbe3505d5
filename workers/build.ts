// The workers of one process, wired: every worker, its job, its schedule. Started after store and
// tiers are open, stopped before they close. Every process may run them; leases decide who does
// what.

import { randomBytes } from 'node:crypto';

import type { EvaluatorOptions } from '../policies/evaluator.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { newRequestId } from '../appliance/model/ids.ts';
import { isNodeGroupTier } from '../appliance/model/node-group.ts';
import type { Run } from '../appliance/model/records.ts';
import { LmdbJobBackend } from './agenda-lmdb/lmdb-job-backend.ts';
import { ClockGuard } from './base/clock-guard.ts';
import { CollectWorker } from './collect.ts';
import { CompactWorker } from './compact.ts';
import { DriveLogWorker } from './drive-log.ts';
import { GroupsWorker } from './groups.ts';
import { HealWorker } from './heal.ts';
import { InventoryWorker } from './inventory/inventory.ts';
import { LifecyclePass } from './lifecycle/pass.ts';
import { storedPolicies, type PolicySource, type RuleSettings } from './lifecycle/rules.ts';
import { LifecycleShard } from './lifecycle/shard.ts';
import { MovesWorker } from './moves.ts';
import { NotifyWorker, type NotifySettings } from './notify.ts';
import { QuotaWorker } from './quotas.ts';
import { RequestedRuns } from './requested-run.ts';
import { RestoreExpiry } from './restore-expiry.ts';
import { RestoreWorker } from './restore.ts';
import { Runner } from './base/runner.ts';
import { Schedules } from './schedules.ts';
import { ScrubWorker } from './scrub.ts';
import { SweepWorker } from './sweep.ts';
import { UploadsWorker } from './uploads.ts';
import { sampleUsage, UsageWorker } from './usage.ts';
import { WorkWatch } from './watch.ts';
import type { Worker, WorkerLog, WorkerStatus } from './base/worker.ts';

const LEASE_MS = 30_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const SCRUB_DAYS = 14;

export interface WorkersOptions {
  engine: Engine;
  /** lmdb: an environment of its own (DATA/jobs). mongo: the url of the metadata store. */
  backend: { kind: 'lmdb'; directory: string } | { kind: 'mongo'; url: string };
  /**
   * Unique among live processes, the same again after a restart: what the dead one held is then
   * taken over at once.
   */
  processName: string;
  /** Between two lifecycle passes over everything. Default an hour. */
  lifecycleIntervalMs?: number;
  /** The engine's day for lifecycle: DAY_MS unless debug.lifecycleDaySeconds shortens it. */
  dayMs?: number;
  /** debug.sandboxClock: the guard against clock jumps is off. */
  sandboxClock?: boolean;
  /** Further options of every evaluation (waterfall, size floor, order of classes). */
  evaluation?: Omit<EvaluatorOptions, 'classes' | 'dayMs'>;
  /** Default: the active row of `policy-sets`. */
  policySource?: PolicySource;
  /** Whom buckets have told of what happens to their objects. Default: nobody. */
  notify?: NotifySettings;
  /** Days that a tier's provider charges for at least. Default 0. */
  minimumDays?: (tier: string) => number;
  /** Days in which all of a tier of drives is read back once. Default 14. */
  scrubDays?: (tier: string) => number;
  /** How long the work of a process that died rests before another takes it up. Default 30 s. */
  leaseMs?: number;
  /** Default: silent. Never given secrets or object bytes. */
  log?: WorkerLog;
}

export interface WorkersStatus {
  workers: WorkerStatus[];
  /** Why deletions and moves rest, if they do. */
  paused: string | undefined;
}

export interface Workers {
  start(): Promise<void>;
  /** Ends all work at its next rest, waits for it, gives leases back. Safe twice. */
  stop(): Promise<void>;
  status(): Promise<WorkersStatus>;
}

export async function buildWorkers(options: WorkersOptions): Promise<Workers> {
  const { backend } = options;
  if (backend.kind === 'lmdb') {
    const jobs = new LmdbJobBackend(backend.directory);
    return new AgendaWorkers(options, { backend: jobs, isDuplicate: () => false });
  }
  // The driver is loaded only where it is used.
  const { MongoJobBackend, isDuplicate } = await import('./agenda-mongo/mongo-job-backend.ts');
  return new AgendaWorkers(options, { backend: new MongoJobBackend(backend.url), isDuplicate });
}

type JobStore = Pick<ConstructorParameters<typeof Schedules>[0], 'backend' | 'isDuplicate'>;

class AgendaWorkers implements Workers {
  readonly #options: WorkersOptions;
  readonly #runner: Runner;
  readonly #schedules: Schedules;
  readonly #watch: WorkWatch;
  readonly #guard: ClockGuard;
  readonly #runs: RequestedRuns;
  #isStarted = false;

  constructor(options: WorkersOptions, jobs: JobStore) {
    const { engine, processName } = options;
    const log: WorkerLog = (level, message, fields = {}) => options.log?.(level, message, fields);
    const { core } = engine;
    const name = `${processName}#${randomBytes(4).toString('hex')}`;
    this.#options = options;
    const { leaseMs = LEASE_MS } = options;
    this.#runner = new Runner(core.context, { processName, holder: name, leaseMs, log });
    const lockMs = 2 * leaseMs;
    this.#schedules = new Schedules({
      ...jobs,
      processName,
      name,
      runner: this.#runner,
      lockMs,
      log,
    });
    const { store, clock } = core.context;
    this.#guard = new ClockGuard({
      store,
      wall: () => clock.wall(),
      sandbox: options.sandboxClock === true,
    });
    const groups = [...core.context.tiers.values()].filter(isNodeGroupTier);
    const moving = new GroupsWorker(core, groups, log);
    const heal = new HealWorker(core, groups, log);
    const keptMs = 96 * HOUR_MS;
    const notifying = options.notify ?? { webhooks: new Map(), region: '', keptMs };
    const notify = new NotifyWorker(core, notifying, log);
    this.#watch = new WorkWatch(core, {
      enqueue: (job, key) => this.#schedules.enqueue(job, key),
      eventsWait: () => notify.isNeeded(),
      healNeeded: (rows) => heal.isNeeded(rows),
      groupsNeeded: () => moving.isNeeded(),
      compactNeeded: () => compact.isNeeded(),
      log,
    });
    const rules = this.#ruleSettings(log);
    const inventory = new InventoryWorker(core, rules, log);
    const scrub = new ScrubWorker(core, groups, {
      log,
      days: options.scrubDays ?? (() => SCRUB_DAYS),
    });
    const collect = new CollectWorker(core, this.#guard);
    const minimumDays = options.minimumDays ?? (() => 0);
    const compact = new CompactWorker(core, groups, { guard: this.#guard, log, minimumDays });
    const others: Worker[] = [
      new RestoreWorker(core, (look) => this.#watch.restoreLooked(look)),
      new RestoreExpiry(core, this.#guard),
      new SweepWorker(core, groups, { guard: this.#guard, log }),
      new UploadsWorker(core, log),
      moving,
      new MovesWorker(core),
      new UsageWorker(core),
      new DriveLogWorker(core, groups),
      compact,
    ];
    const quotas = new QuotaWorker(core, log);
    const onRequest = [scrub, collect, heal, inventory, quotas];
    for (const worker of [...onRequest, notify, ...others]) this.#schedules.define(worker);
    this.#defineLifecycle(rules, log);
    const asked = new Map<string, Worker>(onRequest.map((one) => [one.name, one]));
    this.#runs = new RequestedRuns(core, this.#runner, asked);
    this.#schedules.defineTask('run', (key, touch) => this.#runs.run(key, touch));
    this.#schedules.defineTask('lifecycle-tick', () => this.#tick());
  }

  #ruleSettings(log: WorkerLog): RuleSettings {
    const { engine, policySource, dayMs = DAY_MS, evaluation } = this.#options;
    const { core } = engine;
    return {
      source: policySource ?? storedPolicies(core),
      evaluation: { ...evaluation, classes: core.context.classes, dayMs },
      log,
    };
  }

  #defineLifecycle(rules: RuleSettings, log: WorkerLog): void {
    const { core } = this.#options.engine;
    const pass = new LifecyclePass(core, {
      rules,
      enqueue: (runId, shard) => this.#schedules.enqueue('lifecycle-shard', `${runId}/${shard}`),
      sampleUsage: (turn) => sampleUsage(core, () => turn.rest()),
    });
    this.#schedules.define(pass, 2);
    const shard = new LifecycleShard(core, { rules, guard: this.#guard, log });
    this.#schedules.define(shard, 2);
  }

  async start(): Promise<void> {
    if (this.#isStarted) return;
    this.#isStarted = true;
    await this.#schedules.start();
    const { dayMs = DAY_MS, lifecycleIntervalMs = HOUR_MS, engine } = this.#options;
    const { graceMs, restoreDayMs } = engine.core.context;
    const every = (ms: number, name: string, now = true): Promise<void> =>
      this.#schedules.every(Math.max(1_000, Math.round(ms)), name, { now });
    // With a shortened day every half of it must be seen evaluated: a pass begins up to a second
    // after its tick and takes a while.
    await every(Math.min(lifecycleIntervalMs, dayMs / 4), 'lifecycle-tick', false);
    await every(Math.min(MINUTE_MS, restoreDayMs / 10), 'restore-expiry');
    await every(Math.min(10 * MINUTE_MS, graceMs / 10), 'collect', false);
    await every(Math.min(24 * HOUR_MS, graceMs), 'sweep', false);
    await every(10 * MINUTE_MS, 'uploads');
    await every(HOUR_MS, 'notify', false);
    await every(MINUTE_MS, 'moves');
    await every(MINUTE_MS, 'quotas');
    await every(HOUR_MS, 'usage', false);
    await every(HOUR_MS, 'drive-log');
    await every(Math.min(HOUR_MS, graceMs / 4), 'compact', false);
    await every(10 * MINUTE_MS, 'inventory');
    await every(10 * MINUTE_MS, 'scrub', false);
    this.#watch.start();
  }

  async stop(): Promise<void> {
    if (!this.#isStarted) return;
    this.#isStarted = false;
    await this.#watch.stop();
    await this.#runner.stop();
    await this.#schedules.stop();
  }

  async status(): Promise<WorkersStatus> {
    return { workers: this.#runner.status(), paused: await this.#guard.paused() };
  }

  /** Asks for a pass over everything, unless one is asked for or under way. */
  async #tick(): Promise<void> {
    const { store, clock, random } = this.#options.engine.core.context;
    await this.#runs.dropOld();
    const rows = await store.range<Run>({
      table: 'runs',
      from: 'lifecycle/',
      to: 'lifecycle0',
      limit: 50,
      reverse: true,
    });
    const isOpen = rows.some(
      ({ value }) =>
        value.bucket === undefined && (value.state === 'requested' || value.state === 'running'),
    );
    if (isOpen) return;
    const run: Run = {
      format: 1,
      id: newRequestId(clock, random),
      kind: 'lifecycle',
      state: 'requested',
      requestedAt: clock.now(),
      counts: {},
    };
    await store.insert('runs', `lifecycle/${run.id}`, run);
  }
}
