// Refuses to delete, move or collect by a clock that has just jumped. A host that wakes up in 2041
// would otherwise expire everything at once. A jump of more than 15 minutes, forward against the
// monotonic clock or back behind the highest time ever seen here, pauses such work for an hour of
// steady time; then the clock counts as right. Off in a sandbox, whose clock is meant to jump.

import { FirnError } from '../../appliance/model/errors.ts';
import type { MetadataStore } from '../../appliance/model/metadata-store.ts';
import type { Checkpoint } from '../../appliance/model/records.ts';

const JUMP_MS_MAX = 15 * 60_000;
const PAUSE_MS = 3_600_000;
const SAVE_MS = 60_000;
const ROW = 'clock';

export interface ClockGuardOptions {
  store: MetadataStore;
  wall: () => number;
  /** Milliseconds of a clock that never jumps. */
  steady?: () => number;
  /** debug.sandboxClock. */
  sandbox: boolean;
}

export class ClockGuard {
  readonly #options: ClockGuardOptions;
  readonly #steady: () => number;
  #wallSeen: number;
  #steadySeen: number;
  #pausedUntil = -Infinity;
  #savedAt = -Infinity;
  #why = '';

  constructor(options: ClockGuardOptions) {
    this.#options = options;
    this.#steady = options.steady ?? (() => performance.now());
    this.#wallSeen = options.wall();
    this.#steadySeen = this.#steady();
  }

  /** Why destructive work rests, or undefined. */
  async paused(): Promise<string | undefined> {
    const { sandbox, wall, store } = this.#options;
    if (sandbox) return undefined;
    const now = wall();
    const steady = this.#steady();
    const drift = now - this.#wallSeen - (steady - this.#steadySeen);
    if (Math.abs(drift) > JUMP_MS_MAX) this.#pause(steady, drift);
    this.#wallSeen = now;
    this.#steadySeen = steady;
    if (steady - this.#savedAt > SAVE_MS) {
      this.#savedAt = steady;
      const row = await store.get<Checkpoint>('checkpoints', ROW);
      const highest = row?.value.updatedAt ?? 0;
      if (highest - now > JUMP_MS_MAX) this.#pause(steady, now - highest);
      else await this.#save(now, row?.revision, Math.max(highest, now));
    }
    return steady < this.#pausedUntil ? this.#why : undefined;
  }

  /** Throws GuardRail while destructive work rests. */
  async check(): Promise<void> {
    const why = await this.paused();
    if (why === undefined) return;
    throw new FirnError('GuardRail', `deletions and moves rest: ${why}`, {
      subject: 'clock',
      hint: 'check the host’s time service; work goes on after an hour without a further jump',
      retryable: true,
    });
  }

  #pause(steady: number, drift: number): void {
    this.#pausedUntil = steady + PAUSE_MS;
    this.#why = `the clock jumped by ${Math.round(drift / 60_000)} minutes`;
  }

  async #save(now: number, revision: string | undefined, highest: number): Promise<void> {
    const { store } = this.#options;
    const value: Checkpoint = {
      format: 1,
      cursor: '',
      startedAt: now,
      updatedAt: highest,
      counts: {},
    };
    // A conflict: another process has just saved its own.
    if (revision === undefined) await store.insert('checkpoints', ROW, value);
    else await store.replace({ table: 'checkpoints', id: ROW, expected: revision, value });
  }
}
