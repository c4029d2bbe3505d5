// The journal's upkeep in the primary: brings drives back to it, makes snapshots so that a rebuild
// stays short, reads again what lies still, and hands the newest snapshot to whoever keeps it
// elsewhere. The core has no timers; these are them.

import { DAY_MS } from '../model/clock.ts';
import { isFirnError } from '../model/errors.ts';
import type { Journal, JournalStatus } from './journal/journal.ts';

export interface JournalUpkeepOptions {
  journal: Journal;
  /** Ms between full snapshots: a day. */
  snapshotMs: number;
  /** Engine ms. */
  now: () => number;
  /** Each minute: keeps the newest snapshot elsewhere, if it isn't there yet. */
  keep?: () => Promise<void>;
  failed: (what: string, error: unknown) => void;
}

const REPAIR_MS = 5000;
const LOOK_MS = 60_000;
/**
 * Logs are cut by a snapshot before its day when they are longer than this and than that share of
 * the last one. A higher share takes more room on m+1 drives, a lower one more work a change.
 */
export const LOG_SHARE = 0.75;
const LOG_BYTES_MIN = 128 * 1024 * 1024;
/** Read again of all copies at each look; a round is begun a day after the last. */
const SCRUB_BYTES = 16 * 1024 * 1024;
/** A snapshot that failed is tried again at the next look, then at growing distances: an hour. */
const REST_POWER_MAX = 6;

/** The logs take more room than a snapshot in their place would be worth. */
export function hasOutgrown({ logBytes, snapshot }: JournalStatus): boolean {
  return logBytes > Math.max(LOG_BYTES_MIN, LOG_SHARE * snapshot.sizeBytes);
}

/** Runs until the returned function is called and what runs has ended. */
export function keepJournal(options: JournalUpkeepOptions): () => Promise<void> {
  const { journal, now, failed } = options;
  let snapshotAt = now();
  let scrubbedAt = now() - DAY_MS;
  let busy: Promise<void> = Promise.resolve();
  let idle = true;
  let failures = 0;
  let rest = 0;
  const snapshot = async (): Promise<void> => {
    if ((rest -= 1) >= 0) return;
    failures += 1;
    rest = 2 ** Math.min(failures - 1, REST_POWER_MAX) - 1;
    if (!(await journal.snapshot())) return;
    snapshotAt = now();
    failures = 0;
    rest = 0;
  };
  const scrub = async (): Promise<void> => {
    if (now() - scrubbedAt < DAY_MS) return;
    try {
      if (await journal.scrub(SCRUB_BYTES)) scrubbedAt = now();
    } catch (error) {
      // In no copy whole: a snapshot of the index takes the place of all of them.
      if (isFirnError(error, 'Corrupt')) {
        await snapshot().catch((cause: unknown) => failed('a snapshot in place of it', cause));
      }
      throw error;
    }
  };
  const attempt = (what: string, work: () => Promise<void>): void => {
    if (!idle) return;
    idle = false;
    busy = work()
      .catch((error: unknown) => failed(what, error))
      .finally(() => (idle = true));
  };
  const repair = setInterval(() => {
    attempt('mending the journal', async () => void (await journal.repair()));
  }, REPAIR_MS);
  const look = setInterval(
    () => {
      const due = hasOutgrown(journal.status()) || now() - snapshotAt >= options.snapshotMs;
      attempt('a snapshot of the metadata', async () => {
        if (due) await snapshot();
        await scrub().catch((error: unknown) => failed('reading the journal again', error));
        await options.keep?.();
      });
    },
    Math.min(LOOK_MS, options.snapshotMs),
  );
  repair.unref();
  look.unref();
  return async () => {
    clearInterval(repair);
    clearInterval(look);
    journal.interrupt();
    await busy;
  };
}
