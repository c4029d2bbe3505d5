// The journal's upkeep in the primary: brings drives back to it, makes snapshots so that a rebuild
// stays short, and hands the newest to whoever keeps it elsewhere. The core has no timers; these
// are them.

import type { Journal } from './journal/journal.ts';

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
/** Logs are cut by a snapshot before its day when they are longer than this and than it is. */
const LOG_BYTES_MIN = 256 * 1024 * 1024;
/** A snapshot that failed is tried again at the next look, then at growing distances: an hour. */
const REST_POWER_MAX = 6;

/** Runs until the returned function is called and what runs has ended. */
export function keepJournal(options: JournalUpkeepOptions): () => Promise<void> {
  const { journal, now, failed } = options;
  let snapshotAt = now();
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
      const { logBytes, snapshot: last } = journal.status();
      const long = logBytes > Math.max(LOG_BYTES_MIN, 2 * last.sizeBytes);
      const due = long || now() - snapshotAt >= options.snapshotMs;
      attempt('a snapshot of the metadata', async () => {
        if (due) await snapshot();
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
