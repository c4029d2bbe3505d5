// Looks for work that others ask for by rows, at least every second: runs (an operator's), restores
// (S3 clients'), locations and drives that wait to be healed. It only asks for jobs; whoever takes
// them finds the work again in the same rows. Looking costs a few short ranges and writes nothing.

import type { Core } from '../appliance/engine/document/core.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { RestoreRequest, Run } from '../appliance/model/records.ts';
import { locationBirth } from '../appliance/model/ids.ts';
import type { RestoreLook } from './restore.ts';
import { isSettled, restoreRows } from './restore-rows.ts';
import type { WorkerLog } from './base/worker.ts';

const LOOK_MS = 400;
/** Looks at every row this often. */
const FULL_MS = 5_000;
const FULL_DRIVES_MS = 60_000;
const RUNS_PER_KIND = 50;
const RUN_KINDS: readonly Run['kind'][] = [
  'lifecycle',
  'scrub',
  'heal',
  'collect',
  'inventory',
  'quotas',
];
/** The same job is not asked for again within this. */
const ASK_AGAIN_MS = 2_000;
/** Providers that promise nothing are asked again after this, doubled up to the maximum. */
const POLL_MS_MIN = 500;
const POLL_MS_MAX = 60_000;
/** Request ids of other hosts may be this far behind our newest: their clocks differ. */
const SKEW_MS = 60_000;

export interface WatchOptions {
  enqueue(name: string, key: string): Promise<void>;
  /** `rows`: locations that wait are looked for too, not only drives. */
  healNeeded(rows: boolean): Promise<boolean>;
  /** A drive is full: looked at once a minute. */
  compactNeeded(): Promise<boolean>;
  /** Groups drain or are rebalanced. */
  groupsNeeded(): Promise<boolean>;
  eventsWait(): Promise<boolean>;
  log: WorkerLog;
}

export class WorkWatch {
  readonly #core: Core;
  readonly #options: WatchOptions;
  readonly #asked = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #isEnded = false;
  #fullAt = -Infinity;
  #fullDrivesAt = -Infinity;
  /** Every request up to this id is settled. */
  #settledUpTo: string | undefined;
  /** Unsettled requests at the last look, with their revisions. */
  #waiting = new Map<string, string>();
  /** Engine ms before which providers need not be asked again. */
  #pollAt = -Infinity;
  #pollMs = POLL_MS_MIN;

  constructor(core: Core, options: WatchOptions) {
    this.#core = core;
    this.#options = options;
  }

  start(): void {
    this.#schedule(0);
  }

  async stop(): Promise<void> {
    this.#isEnded = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  /** How a look at restores ended. */
  restoreLooked(look: RestoreLook): void {
    if (look.waiting === 0) {
      this.#pollMs = POLL_MS_MIN;
      this.#pollAt = -Infinity;
      return;
    }
    this.#pollMs = Math.min(POLL_MS_MAX, this.#pollMs * 2);
    const now = this.#core.context.clock.now();
    this.#pollAt = Math.min(look.nextAt ?? Infinity, now + this.#pollMs);
  }

  #schedule(ms: number): void {
    if (this.#isEnded) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().finally(() => this.#schedule(LOOK_MS));
    }, ms);
  }

  async #look(): Promise<void> {
    try {
      const isFull = performance.now() - this.#fullAt > FULL_MS;
      if (isFull) this.#fullAt = performance.now();
      await this.#runs();
      if (await this.#options.eventsWait()) await this.#ask('notify', 'notify');
      await this.#restores(isFull);
      if (await this.#options.healNeeded(isFull)) await this.#ask('heal', 'heal');
      if (isFull && performance.now() - this.#fullDrivesAt > FULL_DRIVES_MS) {
        this.#fullDrivesAt = performance.now();
        if (await this.#options.compactNeeded()) await this.#ask('compact', 'compact');
      }
      if (await this.#options.groupsNeeded()) await this.#ask('groups', 'groups');
    } catch (error) {
      // The store may be away for a while; the next look finds everything.
      this.#options.log('warn', `no look for work: ${(error as Error).message}`);
    }
  }

  async #ask(name: string, key: string): Promise<void> {
    const id = `${name}\n${key}`;
    const now = performance.now();
    if (now - (this.#asked.get(id) ?? -Infinity) < ASK_AGAIN_MS) return;
    if (this.#asked.size > 10_000) this.#asked.clear();
    this.#asked.set(id, now);
    await this.#options.enqueue(name, key);
  }

  async #runs(): Promise<void> {
    for (const kind of RUN_KINDS) {
      const rows: Row<Run>[] = await this.#core.context.store.range<Run>({
        table: 'runs',
        from: `${kind}/`,
        to: `${kind}0`,
        limit: RUNS_PER_KIND,
        reverse: true,
      });
      for (const { value } of rows) {
        if (value.state !== 'requested' && value.state !== 'running') continue;
        if (kind === 'lifecycle') await this.#ask('lifecycle', value.id);
        else await this.#ask('run', `${kind}/${value.id}`);
      }
    }
  }

  async #restores(isFull: boolean): Promise<void> {
    const { store, clock } = this.#core.context;
    if (isFull) this.#settledUpTo = undefined;
    const waiting = new Map<string, string>();
    let isNew = false;
    let settledUpTo = this.#settledUpTo;
    for await (const { id, revision, value } of restoreRows(store, this.#settledUpTo)) {
      if (isSettled(value)) {
        if (waiting.size === 0 && isPast(id, clock.now())) settledUpTo = id;
        continue;
      }
      waiting.set(id, revision);
      isNew ||= !this.#waiting.has(id) || changedByOthers(value, this.#waiting.get(id), revision);
    }
    this.#settledUpTo = settledUpTo;
    this.#waiting = waiting;
    if (waiting.size === 0) return;
    if (isNew || clock.now() >= this.#pollAt) await this.#ask('restore', 'restore');
  }
}

/** No request with a lower id can still arrive. */
function isPast(id: string, now: number): boolean {
  return locationBirth(id) < now - SKEW_MS;
}

/** Hastened or cancelled: a row that changed while it waits for a provider. */
function changedByOthers(
  request: RestoreRequest,
  known: string | undefined,
  revision: string,
): boolean {
  return known !== undefined && known !== revision && request.state !== 'copying';
}
