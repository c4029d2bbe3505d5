// Runs workers under a lease: takes it, beats while a step lasts, gives it back. A worker whose
// lease was taken, or whose process is asked to stop, ends at its next rest; one that never rests
// is taken for hung and loses its lease after half an hour. About 1 ms a run beside the work
// itself.

import { setTimeout as sleep } from 'node:timers/promises';

import { isFirnError } from '../../appliance/model/errors.ts';
import {
  takeLease,
  type HeldLease,
  type LeaseContext,
} from '../../appliance/engine/document/lease.ts';
import { Throttle } from './throttle.ts';
import type { Turn, Worker, WorkerLog, WorkerStatus } from './worker.ts';

/** A step that lasts longer is hung: its lease runs out, and its job's lock. */
const STEP_MS_MAX = 30 * 60_000;

/** Thrown out of rest() to end a worker: no failure. */
export class Stopped extends Error {
  constructor() {
    super('the worker was asked to stop');
    this.name = 'Stopped';
  }
}

export interface RunnerOptions {
  /** Of this process; the same again after a restart. */
  processName: string;
  /** Of this start: begins with the process's name and `#`. */
  holder: string;
  /** A lease is renewed in its second half, by each look and by a beat every sixth of it. */
  leaseMs: number;
  log: WorkerLog;
}

export interface RunOptions {
  /** Of the job that runs it: keeps its lock. Throws when that is lost. */
  touch?: () => Promise<void>;
}

/** elsewhere: another process holds the lease. */
export type RunOutcome = 'done' | 'stopped' | 'elsewhere';

export class Runner {
  readonly #context: LeaseContext;
  readonly #options: RunnerOptions;
  readonly #statuses = new Map<string, WorkerStatus>();
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor(context: LeaseContext, options: RunnerOptions) {
    this.#context = context;
    this.#options = options;
  }

  status(): WorkerStatus[] {
    return [...this.#statuses.values()];
  }

  /** Ends all workers at their next rest; resolves when they have ended. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Stopped());
    await Promise.allSettled(this.#running);
  }

  /** Runs the worker once. Throws what it threw, for the job's own retry. */
  run(worker: Worker, key: string, options: RunOptions = {}): Promise<RunOutcome> {
    const running = this.#run(worker, key, options);
    this.#running.add(running);
    const ended = (): void => void this.#running.delete(running);
    running.then(ended, ended);
    return running;
  }

  async #run(worker: Worker, key: string, options: RunOptions): Promise<RunOutcome> {
    if (this.#stopping.signal.aborted) return 'stopped';
    const name = worker.leaseName(key);
    const { holder, processName, leaseMs: durationMs } = this.#options;
    const mine = `${holder}/${key}`;
    // A job of ours that runs beside this one is no predecessor.
    const request = { name, holder: mine, durationMs };
    const dead = this.#isRunningHere(name)
      ? request
      : { ...request, predecessors: `${processName}#` };
    const lease = await takeLease(this.#context, dead);
    if (lease === undefined) return 'elsewhere';
    const status: WorkerStatus = { name, state: 'busy', startedAt: Date.now(), counts: {} };
    this.#statuses.set(name, status);
    const beating = new Beat(lease, {
      beatMs: durationMs / 6,
      touch: options.touch,
      stopping: this.#stopping.signal,
    });
    try {
      await worker.run(this.#turn(worker, { lease, beating, status }), key);
      return 'done';
    } catch (error) {
      const cause: unknown = beating.signal.aborted ? beating.signal.reason : error;
      if (cause instanceof Stopped || error instanceof Stopped) return 'stopped';
      if (isFirnError(cause, 'LeaseLost')) {
        this.#options.log('info', `${name} is done by another worker now`);
        return 'elsewhere';
      }
      status.error = error instanceof Error ? error.message : String(error);
      throw error;
    } finally {
      await beating.end();
      status.state = 'idle';
      status.endedAt = Date.now();
      // One entry a worker is kept, not one for each of its keys.
      this.#statuses.delete(name);
      this.#statuses.set(worker.name, { ...status, name: worker.name });
      await lease.release().catch(() => undefined);
    }
  }

  #isRunningHere(name: string): boolean {
    const status = this.#statuses.get(name);
    return status !== undefined && status.state !== 'idle';
  }

  #turn(worker: Worker, run: { lease: HeldLease; beating: Beat; status: WorkerStatus }): Turn {
    const { lease, beating, status } = run;
    const throttle = new Throttle(worker.tranquility);
    let stepBegan = performance.now();
    return {
      lease,
      signal: beating.signal,
      async rest() {
        beating.signal.throwIfAborted();
        beating.stepped();
        const restMs = throttle.restMs(performance.now() - stepBegan);
        if (restMs >= 1) {
          status.state = 'throttled';
          await sleep(restMs, undefined, { signal: beating.signal }).catch(() => undefined);
        }
        beating.signal.throwIfAborted();
        await lease.check();
        status.state = 'busy';
        stepBegan = performance.now();
      },
      report(counts) {
        status.counts = { ...counts };
      },
    };
  }
}

/** Keeps lease and lock while steps last. */
class Beat {
  readonly #ended = new AbortController();
  readonly #lease: HeldLease;
  readonly #touch: (() => Promise<void>) | undefined;
  readonly #timer: NodeJS.Timeout;
  readonly #stopping: AbortSignal;
  readonly #stop: () => void;
  #steppedAt = performance.now();
  #beating: Promise<void> = Promise.resolve();

  constructor(
    lease: HeldLease,
    options: {
      beatMs: number;
      touch: (() => Promise<void>) | undefined;
      stopping: AbortSignal;
    },
  ) {
    const { beatMs, touch, stopping } = options;
    this.#lease = lease;
    this.#touch = touch;
    this.#stopping = stopping;
    this.#stop = () => this.#ended.abort(stopping.reason);
    stopping.addEventListener('abort', this.#stop);
    this.#timer = setInterval(() => {
      this.#beating = this.#beating.then(() => this.#beat());
    }, beatMs);
    this.#timer.unref();
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  stepped(): void {
    this.#steppedAt = performance.now();
  }

  /** No beat comes after it: a late one would lock the job again that has just ended. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopping.removeEventListener('abort', this.#stop);
    await this.#beating;
  }

  async #beat(): Promise<void> {
    if (performance.now() - this.#steppedAt > STEP_MS_MAX) return;
    try {
      await this.#lease.check();
      await this.#touch?.();
    } catch (error) {
      // A store that is away for a moment loses no lease: the next beat tells.
      if (isFirnError(error) && error.code !== 'LeaseLost') return;
      this.#ended.abort(error);
    }
  }
}
