// The highest epoch that this host has begun, beside the metadata and not in it. The danger: after
// a power failure the index can't be believed, and the drives at hand are those that had left the
// journal: they tell an older past, whole and without a fault. This says that there was a later
// one, on drives that are missing. 65 bytes, written once an epoch.

import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FILE = 'journal-epoch';

interface Seen {
  store: string;
  epoch: number;
}

/** 0 where nothing is known. */
export function epochSeen(dataDirectory: string, store: string): number {
  try {
    const seen = JSON.parse(readFileSync(join(dataDirectory, FILE), 'utf8')) as Seen;
    return seen.store === store && Number.isInteger(seen.epoch) ? seen.epoch : 0;
  } catch {
    // A host that never began one, or a torn file: the index itself may still tell.
    return 0;
  }
}

/** Durable on return, or as it was. Never throws: a full disk must not keep the journal off. */
export function noteEpoch(dataDirectory: string, seen: Seen): void {
  const place = join(dataDirectory, FILE);
  try {
    writeFileSync(`${place}.new`, `${JSON.stringify(seen)}\n`, { flush: true });
    renameSync(`${place}.new`, place);
    const directory = openSync(dataDirectory, 'r');
    try {
      fsyncSync(directory);
    } finally {
      closeSync(directory);
    }
  } catch {
    // The index and the drives have it; this is the third place.
  }
}
