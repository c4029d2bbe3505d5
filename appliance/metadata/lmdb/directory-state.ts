// Whether the LMDB files of a journaled store may be believed. Nothing syncs them while they are
// written, so a power failure leaves some pages new and some old: a tree that looks sound and is
// not. The danger is to open it. A mark, synced before the first write, says that they are being
// written, and under which start of the system and which mount; it goes when they were synced at an
// orderly end. The mark found again: after a mere crash of our processes the system still holds
// every page (the same start, the same mount); otherwise the files are thrown away, and made anew
// from the snapshot and the journal.

import { closeSync, fsyncSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';

const MARK = 'unsynced';
const DATA = 'data.mdb';

export type DirectoryState =
  /** No files. */
  | 'empty'
  /** Synced at the end of the last writer. */
  | 'synced'
  /** Not synced, but the system that took the writes still runs. */
  | 'kept'
  /** What is there may be torn. */
  | 'torn';

export function directoryState(directory: string): DirectoryState {
  const mark = markIn(directory);
  // Also where the files are gone: a power failure may have taken their names along.
  if (mark !== undefined && mark !== sessionOf(directory)) return 'torn';
  if (!existsSync(join(directory, DATA))) return 'empty';
  return mark === undefined ? 'synced' : 'kept';
}

function markIn(directory: string): string | undefined {
  try {
    return readFileSync(join(directory, MARK), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Durable on return: from here on the files may be written without syncs. */
export function markUnsynced(directory: string): void {
  writeFileSync(join(directory, MARK), sessionOf(directory), { flush: true });
  syncPath(directory);
  syncPath(dirname(directory));
}

/** After the last writer has closed them. */
export function markSynced(directory: string): void {
  syncPath(join(directory, DATA));
  rmSync(join(directory, MARK), { force: true });
  syncPath(directory);
}

function syncPath(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Of the system's start and of the mount; elsewhere than on Linux never the same twice. */
function sessionOf(directory: string): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot}\n${mountOf(realpathSync(directory))}\n`;
  } catch {
    return `${process.pid} ${performance.timeOrigin}\n`;
  }
}

/** Number and device of the mount that the path lies on. */
function mountOf(path: string): string {
  let best = '';
  let mount = '';
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [id, , device, , at] = line.split(' ');
    if (at === undefined || at.length < best.length) continue;
    const prefix = at === '/' ? '/' : `${at}/`;
    if (path !== at && !path.startsWith(prefix)) continue;
    best = at;
    mount = `${id} ${device}`;
  }
  return mount;
}
