// One primary a data directory. Two at once would both write the journal, and what the one had
// acknowledged the other would not know (the danger that a row with a process id in it doesn't
// answer: the directory may be deleted under it, ids come back, containers have their own). So it
// is a lock of the system on a file, which goes with the process however that ends: the only such
// lock that Node offers is SQLite's.

import { DatabaseSync } from 'node:sqlite';

export interface Held {
  release(): void;
}

/** Undefined where another process holds it. Kept until released or the process ends. */
export function holdExclusively(file: string): Held | undefined {
  const database = new DatabaseSync(file);
  try {
    database.exec('PRAGMA busy_timeout = 0; PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    // 5: SQLITE_BUSY.
    if ((error as { errcode?: number }).errcode === 5) return undefined;
    throw error;
  }
  return { release: () => database.close() };
}
