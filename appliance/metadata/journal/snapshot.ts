// Snapshots: every row of the index, in files of some megabytes (stretches), each as of an instant
// of its own, streamed to each drive in compressed batches of about a megabyte and read back
// before anything relies on it. Stretch by stretch, because old and new in whole would stand on
// each drive at once. The danger is one that is short or wrong and behind which the log was cut: so
// it ends in a batch that says that it is whole, each copy is compared with what was written, and
// the caller cuts nothing before that.

import type { Drive } from '../../model/drive.ts';
import { FirnError } from '../../model/errors.ts';
import {
  BatchBuilder,
  BLOCK_BYTES,
  encodeFileHeader,
  placeOf,
  type BatchPlace,
  type FileHeader,
} from './format.ts';
import { JOURNAL_DIRECTORY, pathOf, type SealedFile, type Stretch } from './manifest.ts';
import { ManyCopies, type Failed, type Patience } from './many-copies.ts';
import { MergedReader } from './merged-reader.ts';
import type { Entry, IndexState, JournalIndex } from './ports.ts';

export interface WrittenStretch {
  stretch: Stretch;
  /** Place up to which it counts; undefined: to the end. */
  to: Buffer | undefined;
  rows: number;
  /** Where it stands, whole and verified. */
  drives: Drive[];
  /** Drives that failed, with the error. */
  failed: Failed[];
}

/** `text` of a checksum as manifests carry it. */
export const checksumText = (value: bigint): string => value.toString(16).padStart(16, '0');

/** A file of a snapshot ends about here. */
export const STRETCH_BYTES = 32 * 1024 * 1024;

/**
 * Writes the index as it stands, from a place on and about so many bytes, to the drives. Whole and
 * verified on those that are returned.
 */
export async function writeStretch(
  index: JournalIndex,
  drives: readonly Drive[],
  named: {
    store: string;
    file: string;
    from: Uint8Array;
    /** 32 MiB. */
    bytes?: number | undefined;
    patience?: Patience | undefined;
    /** True: it is given up at the next page, with ServiceUnavailable. */
    stopped?: () => boolean;
  },
): Promise<WrittenStretch> {
  const { bytes: stretchBytes = STRETCH_BYTES } = named;
  const many = new ManyCopies();
  const builder = new BatchBuilder();
  let state: IndexState | undefined;
  let place: BatchPlace = { file: named.file, sequence: 1, previous: 0n };
  let position = BLOCK_BYTES;
  let rows = 0;
  let to: Buffer | undefined;
  const put = async (end: boolean): Promise<void> => {
    const { bytes, checksum } = builder.finish(place, state as IndexState, end);
    await many.write(bytes, position, named.patience);
    place = { file: named.file, sequence: place.sequence + 1, previous: checksum };
    position += bytes.length;
    builder.clear();
  };
  for await (const page of index.rows(named.from)) {
    if (!isPage(page)) {
      state = page;
      const { store, file } = named;
      const header: FileHeader = { kind: 'snapshot', store, file, ...state };
      place.previous = encodeFileHeader(header).checksum;
      await many.create(drives, header, { sizeBytes: BLOCK_BYTES, aheadBytes: 0 });
      continue;
    }
    builder.pack(page);
    rows += page.length;
    await put(false);
    if (many.drives.length === 0) break;
    if (named.stopped?.() === true) {
      await many.close();
      throw new FirnError('ServiceUnavailable', 'a snapshot was given up: Firn stops');
    }
    if (position < stretchBytes) continue;
    to = behind(page.at(-1) as Entry);
    break;
  }
  if (state === undefined) throw new Error('an index shows its state before its rows');
  await put(true);
  await many.close();
  const { number } = state;
  const checksum = checksumText(place.previous);
  const stretch: Stretch = {
    kind: 'snapshot',
    file: named.file,
    sizeBytes: position,
    number,
    checksum,
    from: Buffer.from(named.from).toString('hex'),
  };
  const failed = [...many.failed];
  const whole = await wholeOn(many.drives, { sealed: stretch, store: named.store, failed });
  return { stretch, to, rows, drives: whole, failed };
}

/** Those on which it reads back as it was written; the others are added to `failed`. */
async function wholeOn(
  drives: readonly Drive[],
  of: { sealed: SealedFile; store: string; failed: Failed[] },
): Promise<Drive[]> {
  const checked = await Promise.allSettled(
    drives.map((drive) => verifyFile(drive, of.sealed, of.store)),
  );
  return drives.filter((drive, i) => {
    const one = checked[i];
    if (one?.status === 'rejected') of.failed.push({ drive, error: one.reason });
    return one?.status === 'fulfilled';
  });
}

/** The first place behind a row: no id holds a zero. */
const behind = (row: Entry): Buffer => Buffer.concat([placeOf(row), Buffer.of(0)]);

const isPage = (page: IndexState | readonly Entry[]): page is readonly Entry[] =>
  Array.isArray(page);

/** Reads a sealed file on one drive to its end and compares. Throws Corrupt. */
export async function verifyFile(drive: Drive, sealed: SealedFile, store: string): Promise<void> {
  for await (const _ of verifying(drive, sealed, store));
}

/** As verifyFile, by and by: yields the bytes of each batch. */
export async function* verifying(
  drive: Drive,
  sealed: SealedFile,
  store: string,
): AsyncGenerator<number> {
  const reader = new MergedReader(sealed, store);
  try {
    await reader.open([drive]);
    for (let one = await reader.next(); one !== undefined; one = await reader.next()) {
      yield one.bytes.length;
    }
    const last = reader.place?.previous ?? 0n;
    if (reader.position === sealed.sizeBytes && checksumText(last) === sealed.checksum) return;
    throw new FirnError('Corrupt', 'a copy of the journal is not what was written', {
      subject: `${drive.path}, ${sealed.kind} ${sealed.file}`,
    });
  } finally {
    await reader.close();
  }
}

const COPY_BYTES = 1024 * 1024;

/** What a copy is called until it is whole. */
export const draftOf = (sealed: SealedFile): string => `${pathOf(sealed)}.copy`;

/**
 * Makes a sealed file whole on a drive from the copies at hand, whatever stands there under its
 * name. Durable and verified on return.
 */
export async function copyFile(
  to: Drive,
  sealed: SealedFile,
  from: { drives: readonly Drive[]; store: string },
): Promise<void> {
  const reader = new MergedReader(sealed, from.store);
  const path = pathOf(sealed);
  const draft = draftOf(sealed);
  await reader.open(from.drives.filter((drive) => drive !== to));
  try {
    await to.makeDirectory(JOURNAL_DIRECTORY);
    await to.remove(draft);
    const file = await to.open(draft, { mode: 'create' });
    try {
      await file.write(encodeFileHeader(reader.header).bytes, 0);
      for (let one = await reader.next(); one !== undefined; one = await reader.next()) {
        const whole = Buffer.alloc(Math.ceil(one.bytes.length / BLOCK_BYTES) * BLOCK_BYTES);
        one.bytes.copy(whole);
        for (let at = 0; at < whole.length; at += COPY_BYTES) {
          await file.write(whole.subarray(at, at + COPY_BYTES), one.position + at);
        }
      }
      await file.sync();
    } finally {
      await file.close();
    }
    await to.rename(draft, path);
    await to.syncDirectory(JOURNAL_DIRECTORY);
  } finally {
    await reader.close();
  }
  await verifyFile(to, sealed, from.store);
}
