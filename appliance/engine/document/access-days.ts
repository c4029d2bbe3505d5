// The day of each version's last read, for rules on access. Kept at the grain of a day and written
// behind the reader's back, because a GET that waits for an fsync is no GET: at most one commit a
// version and day. What a crash loses is a day's note, and the next read makes it again.

import { setTimeout as sleep } from 'node:timers/promises';
import { DAY_MS } from '../../model/clock.ts';
import { isFirnError } from '../../model/errors.ts';
import type { Version } from '../../model/object.ts';
import { commitObject, type CommitCore } from './commit.ts';

const NOTED_MAX = 10_000;
const FLUSH_MS = 2000;

export class AccessDays {
  readonly #core: CommitCore;
  /** objectId → version id and day. */
  #noted = new Map<string, { version: Version; day: number }>();
  #flushing: Promise<void> | undefined;
  readonly #ended = new AbortController();

  constructor(core: CommitCore) {
    this.#core = core;
  }

  /** Notes a read. Never waits, never throws; past the bound of what is noted it does nothing. */
  note(object: string, version: Version): void {
    const day = Math.floor(this.#core.context.clock.now() / DAY_MS);
    if (version.lastAccessDay === day || this.#noted.size >= NOTED_MAX) return;
    this.#noted.set(object, { version, day });
    if (this.#flushing !== undefined || this.#ended.signal.aborted) return;
    this.#flushing = this.#flushLater().finally(() => {
      this.#flushing = undefined;
    });
  }

  /** Writes what is noted and ends. Safe twice. */
  async close(): Promise<void> {
    this.#ended.abort();
    await this.#flushing;
  }

  async #flushLater(): Promise<void> {
    const { signal } = this.#ended;
    await sleep(FLUSH_MS, undefined, { ref: false, signal }).catch(() => undefined);
    await this.flush();
  }

  /** Writes what is noted now. */
  async flush(): Promise<void> {
    const noted = this.#noted;
    this.#noted = new Map();
    for (const [object, { version, day }] of noted) {
      try {
        await this.#write(object, version.id, day);
      } catch (error) {
        // A day's note is not worth an alarm; the next read notes it again.
        if (!isFirnError(error)) throw error;
      }
    }
  }

  async #write(object: string, versionId: string, day: number): Promise<void> {
    await commitObject(this.#core, {
      object,
      reason: 'overwrite',
      change: async (draft) => {
        const version = await draft.findById(versionId);
        if (version === undefined || (version.lastAccessDay ?? 0) >= day) return;
        await draft.replace({ ...version, lastAccessDay: day });
      },
    });
  }
}
