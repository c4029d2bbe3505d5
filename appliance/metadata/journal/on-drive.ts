// What is done to the files of a journal on one drive: how much room is kept ahead of a log, how an
// epoch is reserved, and how a copy goes. The danger is a rest that is later taken for a copy.

import type { Drive } from '../../model/drive.ts';
import { BLOCK_BYTES } from './format.ts';
import { inTime, lateAfter } from './many-copies.ts';
import { JOURNAL_DIRECTORY, readManifest, writeManifest } from './manifest.ts';
import type { Manifest } from './manifest.ts';
import type { JournalOptions } from './ports.ts';

/**
 * Room kept behind the end of the log on every copy, for some thousand changes on drives that
 * others have filled; on a small drive less than this.
 */
const AHEAD_BYTES = 4 * 1024 * 1024;
const AHEAD_SHARE = 16;
const AHEAD_BYTES_MIN = 256 * 1024;

/** Room to keep ahead on each of these drives: what the smallest can spare. */
export async function aheadOn(
  drives: readonly Drive[],
  late: Promise<never> | undefined,
): Promise<number> {
  const rooms = await Promise.allSettled(drives.map((drive) => inTime(drive.usage(), late)));
  const spared = rooms.map((room) =>
    room.status === 'fulfilled' ? room.value.capacityBytes / AHEAD_SHARE : AHEAD_BYTES,
  );
  const bytes = Math.floor(Math.min(...spared) / BLOCK_BYTES) * BLOCK_BYTES;
  return Math.min(AHEAD_BYTES, Math.max(AHEAD_BYTES_MIN, bytes));
}

export async function cutTo(drive: Drive, path: string, sizeBytes: number): Promise<void> {
  const there = await drive.stat(path);
  if (there.sizeBytes <= sizeBytes) return;
  const file = await drive.open(path, { mode: 'change' });
  try {
    await file.resize(sizeBytes);
  } finally {
    await file.close();
  }
}

/** What the drive has stays, but no epoch up to this one can begin again where this is seen. */
export async function reserve(drive: Drive, base: Manifest, epoch: number): Promise<void> {
  await drive.makeDirectory(JOURNAL_DIRECTORY);
  const own = await readManifest(drive);
  const none: Manifest = { ...base, epoch: 0, generation: 0, copies: 0 };
  await writeManifest(drive, { ...(own ?? none), reserved: epoch });
}

/** No part of a journal stays on the drive. The manifest goes first: no rest is taken for one. */
export async function forget(drive: Drive): Promise<void> {
  const names = await drive.list(JOURNAL_DIRECTORY);
  if (names.length === 0) return;
  for (const name of names.toSorted((a, b) => Number(isPart(a)) - Number(isPart(b)))) {
    await drive.remove(`${JOURNAL_DIRECTORY}/${name}`);
    if (!isPart(name)) await drive.syncDirectory(JOURNAL_DIRECTORY);
  }
}

export const isPart = (name: string): boolean => /^(?:log|snapshot)-/.test(name);

/** Those that answer that they are this store's, and mounted. */
export async function usableDrives(
  options: JournalOptions,
  drives: readonly Drive[],
): Promise<Drive[]> {
  const { isUsable, patience } = options;
  if (isUsable === undefined) return [...drives];
  const late = lateAfter(patience);
  const answers = await Promise.all(
    drives.map((drive) => inTime(isUsable(drive), late).catch(() => false)),
  );
  return drives.filter((_, i) => answers[i]);
}
