// Agenda as Firn uses it: schedules and batches, never one job an object. It always runs by wall
// time. Its locks are no fences: each handler runs its worker under our own lease. What Agenda
// would do by itself and we don't want: lock every due job into memory (lockLimit is always set),
// run a repeating job twice because two processes registered it at once (registered only where it
// is not there), give a job up after a failure (each is tried again, within a minute).

import { setTimeout as sleep } from 'node:timers/promises';

import { Agenda } from 'agenda';
import type { AgendaBackend, Job } from 'agenda';

import type { Runner } from './base/runner.ts';
import type { Worker, WorkerLog } from './base/worker.ts';

const PROCESS_EVERY_MS = 1_000;
const RETRY_MS_MAX = 60_000;
const DRAIN_MS_MAX = 10_000;
/** Running at once in one process, over all jobs. */
const CONCURRENCY_MAX = 12;

interface KeyedData {
  key: string;
}

export interface SchedulesOptions {
  backend: AgendaBackend;
  /** Of this process; the same again after a restart. */
  processName: string;
  /** Of this start: begins with the process's name and `#`. */
  name: string;
  runner: Runner;
  log: WorkerLog;
  /** How long a job that nobody touches stays locked. */
  lockMs: number;
  /** The unique index of the store refused a second row. */
  isDuplicate: (error: unknown) => boolean;
}

export class Schedules {
  readonly #agenda: Agenda;
  readonly #options: SchedulesOptions;

  constructor(options: SchedulesOptions) {
    this.#options = options;
    this.#agenda = new Agenda({
      backend: options.backend,
      name: options.name,
      processEvery: PROCESS_EVERY_MS,
      maxConcurrency: CONCURRENCY_MAX,
      lockLimit: 2 * CONCURRENCY_MAX,
      defaultConcurrency: 1,
      defaultLockLimit: 2,
      defaultLockLifetime: options.lockMs,
      removeOnComplete: true,
    });
    this.#agenda.on('error', (error) => {
      options.log('warn', `a job failed: ${error.message}`);
    });
  }

  /** The job that runs a worker. */
  define(worker: Worker, concurrency = 1): void {
    this.#define(worker.name, concurrency, async (job) => {
      const key = (job.attrs.data as KeyedData | undefined)?.key ?? worker.name;
      await this.#options.runner.run(worker, key, { touch: () => job.touch() });
    });
  }

  /** A job that is no worker: done in a moment. */
  defineTask(name: string, task: (key: string, touch: () => Promise<void>) => Promise<void>): void {
    this.#define(name, 1, (job) => {
      const key = (job.attrs.data as KeyedData | undefined)?.key ?? name;
      return task(key, () => job.touch());
    });
  }

  #define(name: string, concurrency: number, handler: (job: Job) => Promise<void>): void {
    // Agenda's first overload takes a callback instead of a promise; the second is meant.
    // oxlint-disable-next-line typescript/no-misused-promises
    this.#agenda.define(name, handler, {
      concurrency,
      lockLimit: 2 * concurrency,
      lockLifetime: this.#options.lockMs,
      removeOnComplete: true,
      backoff: ({ attempt }) => Math.min(RETRY_MS_MAX, 1000 * 2 ** Math.min(attempt, 10)),
    });
  }

  async start(): Promise<void> {
    await this.#agenda.ready;
    const { processName } = this.#options;
    // What this process had locked before it was restarted need not wait for its locks to run out.
    await this.#unlock((by) => by.startsWith(`${processName}#`));
    await this.#agenda.start();
  }

  async #unlock(isMeant: (by: string) => boolean): Promise<void> {
    const { repository } = this.#options.backend;
    const { jobs } = await repository.queryJobs({ state: 'running' });
    const meant = jobs.filter((job) => isMeant(job.lastModifiedBy ?? ''));
    if (meant.length > 0) await repository.unlockJobs(meant.map((job) => job._id));
    // A one-off that had begun has no next run any more.
    for (const job of meant) {
      if (job.nextRunAt !== null) continue;
      await repository.removeJobs({ id: job._id });
    }
  }

  /** Repeats a job: one row whoever asks, in however many processes. `now`: and runs it at once. */
  async every(intervalMs: number, name: string, options: { now: boolean }): Promise<void> {
    const repository = this.#options.backend.repository;
    const { jobs } = await repository.queryJobs({ name });
    const known = jobs.find((job) => job.type === 'single');
    // Registered again, a row of Agenda's MongoDB backend would lose the lock of a job that runs.
    if (known?.repeatInterval === intervalMs) return;
    try {
      await this.#agenda.every(intervalMs, name, undefined, { skipImmediate: !options.now });
    } catch (error) {
      if (!this.#options.isDuplicate(error)) throw error;
    }
  }

  /** Asks for one run with this key; while one is queued or running a repeat does nothing. */
  async enqueue(name: string, key: string): Promise<void> {
    try {
      await this.#agenda
        .create<KeyedData>(name, { key })
        .unique({ 'data.key': key }, { insertOnly: true })
        .save();
    } catch (error) {
      if (!this.#options.isDuplicate(error)) throw error;
    }
  }

  /** Waits for what runs, gives back what was locked and never began, and closes the store. */
  async stop(): Promise<void> {
    const { backend, name, log } = this.#options;
    await drainAgenda(this.#agenda, DRAIN_MS_MAX);
    try {
      await this.#unlock((by) => by === name);
    } catch (error) {
      // Their locks run out within a minute.
      log('warn', `jobs stay locked: ${error instanceof Error ? error.message : String(error)}`);
    }
    await backend.disconnect();
  }
}

/**
 * Takes no more jobs and waits for those that run, at most so long. Agenda's own drain waits for an
 * event that a job emits before it is removed, and so misses the last one for ever (measured,
 * 6.2.6): here the number of running jobs is looked at besides. The store's connection stays open.
 */
export async function drainAgenda(agenda: Agenda, timeoutMs: number): Promise<void> {
  const ended = new AbortController();
  const draining = agenda
    .drain({ timeout: timeoutMs, signal: ended.signal, closeConnection: false })
    .finally(() => ended.abort());
  while (!ended.signal.aborted) {
    const { runningJobs } = await agenda.getRunningStats();
    if (runningJobs === 0) ended.abort();
    else await sleep(10);
  }
  await draining;
}
