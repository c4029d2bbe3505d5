// A snapshot that no drive at hand has whole any more is brought back from where it is kept besides
// (the tier to which the newest ones go). The danger is one of another time: behind an older one
// changes would be missing, without a word. So only the very file that the manifest names is taken,
// by its id, its length and the checksum of its last batch.

import type { Drive } from '../../model/drive.ts';
import { FirnError } from '../../model/errors.ts';
import { BLOCK_BYTES, decodeFileHeader } from './format.ts';
import { JOURNAL_DIRECTORY, pathOf, type Manifest, type SealedFile } from './manifest.ts';
import { MergedReader } from './merged-reader.ts';
import { copyFile, draftOf, verifyFile } from './snapshot.ts';

export interface WantedSnapshot {
  store: string;
  /** Of its files together. */
  sizeBytes: number;
  /** Of the first block of a blob of this size: whether it is the one. */
  isIt: (head: Uint8Array) => boolean;
}

export interface FoundSnapshot {
  /** Where it comes from. */
  from: string;
  /** The wanted files one behind another; to be read once. */
  body: AsyncIterable<Uint8Array>;
  /** To be called in any case, also where the body was not begun. */
  close(): Promise<void>;
}

/** Undefined where nobody has them. */
export type FindSnapshot = (wanted: WantedSnapshot) => Promise<FoundSnapshot | undefined>;

export const HEADER_BYTES = BLOCK_BYTES;

/**
 * On return the snapshot of the manifest can be read from these drives. Tells where it was brought
 * back from, if it was. Corrupt where nobody has it.
 */
export async function bringBackSnapshot(
  { snapshot, store }: Manifest,
  drives: readonly Drive[],
  find: FindSnapshot | undefined,
): Promise<string | undefined> {
  const damaged = new Map<SealedFile, FirnError>();
  for (const stretch of snapshot) {
    const damage = await damageOf(stretch, { drives, store });
    if (damage !== undefined) damaged.set(stretch, damage);
  }
  const [damage] = damaged.values();
  if (damage === undefined) return undefined;
  const isIt = (head: Uint8Array): boolean => {
    const header = decodeFileHeader(Buffer.from(head), 'a kept snapshot');
    const isOfStore = header?.store === store && header.kind === 'snapshot';
    return isOfStore && header.file === snapshot[0]?.file;
  };
  const sizeBytes = snapshot.reduce((sum, one) => sum + one.sizeBytes, 0);
  let error: unknown = damage;
  let first: { drive: Drive; from: string } | undefined;
  for (const drive of drives) {
    try {
      if (first !== undefined) {
        for (const one of damaged.keys()) {
          await copyFile(drive, one, { drives: [first.drive], store });
        }
        continue;
      }
      const found = await find?.({ store, sizeBytes, isIt });
      if (found === undefined) break;
      try {
        await writeDamaged(drive, { snapshot, damaged, store, body: found.body });
      } finally {
        await found.close();
      }
      first = { drive, from: found.from };
    } catch (cause) {
      error = cause;
      // What was kept is at fault, and not this drive: the next would fare no better.
      if (first === undefined && cause instanceof FirnError) break;
    }
  }
  if (first !== undefined) return first.from;
  throw error as Error;
}

/** Of the files that lie in the body one behind another, those that are damaged. */
async function writeDamaged(
  drive: Drive,
  from: {
    snapshot: readonly SealedFile[];
    damaged: ReadonlyMap<SealedFile, unknown>;
    store: string;
    body: AsyncIterable<Uint8Array>;
  },
): Promise<void> {
  const { snapshot, damaged, store } = from;
  const pieces = from.body[Symbol.asyncIterator]();
  let rest: Uint8Array = Buffer.alloc(0);
  async function* next(bytes: number): AsyncGenerator<Uint8Array> {
    for (let left = bytes; left > 0;) {
      if (rest.length === 0) {
        const { done, value } = await pieces.next();
        if (done === true) return;
        rest = value;
      }
      const piece = rest.subarray(0, left);
      rest = rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }
  try {
    for (const sealed of snapshot) {
      const body = next(sealed.sizeBytes);
      if (damaged.has(sealed)) await writeWhole(drive, { sealed, store, body });
      else for await (const _ of body);
    }
  } finally {
    await pieces.return?.();
  }
}

/** Why the file can't be read whole from these drives together; undefined: it can. */
async function damageOf(
  sealed: SealedFile,
  { drives, store }: { drives: readonly Drive[]; store: string },
): Promise<FirnError | undefined> {
  const reader = new MergedReader(sealed, store);
  try {
    await reader.open(drives);
    while ((await reader.next()) !== undefined);
    return undefined;
  } catch (error) {
    if (error instanceof FirnError && error.code === 'Corrupt') return error;
    throw error;
  } finally {
    await reader.close();
  }
}

async function writeWhole(
  drive: Drive,
  { sealed, store, body }: { sealed: SealedFile; store: string; body: AsyncIterable<Uint8Array> },
): Promise<void> {
  const draft = draftOf(sealed);
  await drive.remove(draft);
  const file = await drive.open(draft, { mode: 'create' });
  try {
    let position = 0;
    for await (const piece of body) {
      // Lent until the next is asked for, and a write that is given up may still read it.
      await file.write(Buffer.from(piece), position);
      position += piece.length;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await drive.rename(draft, pathOf(sealed));
  await drive.syncDirectory(JOURNAL_DIRECTORY);
  await verifyFile(drive, sealed, store);
}
