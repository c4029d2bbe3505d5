// Durable steps on a file system: what is named is on the medium, or not named at all. A file's
// bytes are synced before it gets its name, the directory after. Names are given by link, which
// fails where the name is taken (rename would overwrite), so that several processes agree on who
// was first.

import { link, mkdir, open, opendir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { FirnError } from '../../../appliance/model/errors.ts';

export const codeOf = (error: unknown): string | undefined =>
  (error as NodeJS.ErrnoException | undefined)?.code;

/**
 * An operating system error in the port's words; FirnErrors and everything else pass as they are.
 */
export function inPortWords(error: unknown, tier: string, subject: string): unknown {
  const code = codeOf(error);
  if (error instanceof FirnError || code === undefined || !/^E[A-Z0-9]+$/.test(code)) return error;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new FirnError('InsufficientCapacity', `${tier} is full`, {
      subject,
      cause: error,
      hint: 'free space below its directory, or map the storage class to another tier',
      retryable: true,
    });
  }
  return new FirnError('TierUnavailable', `${tier}: ${code} on ${subject}`, {
    subject,
    cause: error,
    hint: 'is its file system mounted, writable and healthy?',
    retryable: true,
  });
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Makes one directory (its parent must stand) and syncs the parent, also when another made it. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 });
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
  await syncDirectory(dirname(path));
}

/** Writes all of it: a short write is taken up again, never taken for done. */
export async function writeFully(
  file: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/** Reads up to `length` bytes; fewer only at the end of the file. */
export async function readUpTo(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafeSlow(length);
  let at = 0;
  while (at < length) {
    const { bytesRead } = await file.read(bytes, at, length - at, offset + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return bytes.subarray(0, at);
}

/** A new file with these bytes, synced; not yet under any name that a reader looks at. */
export async function writeDraft(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await writeFully(file, bytes, 0);
    await file.datasync();
  } finally {
    await file.close();
  }
}

/** Gives a synced file a further name; false where the name is taken. */
export async function linkOnce(draft: string, path: string): Promise<boolean> {
  try {
    await link(draft, path);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EEXIST') return false;
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'ENOSYS') {
      throw new FirnError('SettingsInvalid', `the file system of ${path} has no hard links`, {
        subject: path,
        cause: error,
        hint: 'use one that has (ext4, XFS, Btrfs, ZFS, NFS): names are given by link',
      });
    }
    throw error;
  }
}

/** Replaces a small file by whole new bytes, durably. */
export async function replaceFile(draft: string, path: string, bytes: Uint8Array): Promise<void> {
  await writeDraft(draft, bytes);
  await rename(draft, path);
  await syncDirectory(dirname(path));
}

export async function removeIfThere(path: string): Promise<void> {
  await rm(path, { force: true });
}

/** No put lasts that long: an older draft was left by a crash. */
const DRAFT_AGE_MS_MAX = 48 * 3_600_000;

/** Removes drafts that nobody will name any more. Safe beside other processes at work. */
export async function sweepDrafts(directory: string): Promise<void> {
  const oldest = Date.now() - DRAFT_AGE_MS_MAX;
  for await (const { name } of await opendir(directory)) {
    const path = join(directory, name);
    const found = await stat(path).catch((error: unknown) => {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (found !== undefined && found.mtimeMs < oldest) await removeIfThere(path);
  }
}
