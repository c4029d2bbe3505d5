// The manifest of a drive's journal: which epoch this copy belongs to and which files make it up.
// It is replaced as a whole, so a drive changes from one epoch to the next in one step and never
// shows a snapshot of one with the log of another (D6). One line of JSON and its checksum.

import { hash } from 'node:crypto';
import { Xxh3 } from '../../model/xxhash.ts';
import type { Drive } from '../../model/drive.ts';
import { FirnError } from '../../model/errors.ts';

export const JOURNAL_DIRECTORY = 'journal';
const MANIFEST = `${JOURNAL_DIRECTORY}/manifest.json`;
const FORMAT = 2;

/** A file that changes no more: a log that was sealed, or a snapshot. */
export interface SealedFile {
  /** Its id, 16 hex digits; the file is called `log-` or `snapshot-` and this. */
  file: string;
  kind: 'log' | 'snapshot';
  /** Up to where it counts: what lies behind was never acknowledged. */
  sizeBytes: number;
  /** Every change up to this commit number is in it or before it. */
  number: number;
  /** Checksum of its last batch, 16 hex digits. */
  checksum: string;
}

/**
 * A file of a snapshot: all rows from one on, as of its commit number. Up to where the next one
 * begins it is the one that counts; what it holds behind that is older and does no harm.
 */
export interface Stretch extends SealedFile {
  /** Place of its first row (format.ts), in hex; empty: before all. */
  from: string;
}

/** Tells snapshots apart that agree in number and size: one that was given up half way does. */
export const printOf = (snapshot: readonly Stretch[]): string =>
  hash('sha256', snapshot.map(({ file }) => file).join()).slice(0, 32);

export interface Manifest {
  format: 2;
  store: string;
  /** This copy belongs to it; of all copies the highest holds, the others are ignored. */
  epoch: number;
  /** No epoch up to this one may be begun again. */
  reserved: number;
  /** Raised within an epoch: a log was sealed, a snapshot made. */
  generation: number;
  /** On so many drives it was installed: with fewer at hand, some are missing. */
  copies: number;
  /** In order; the first begins before all rows. */
  snapshot: Stretch[];
  /** In order: every change that the oldest stretch lacks. */
  logs: SealedFile[];
  /** Id of the log that is being written. */
  open: string;
  /** Ended epochs, oldest first, each with the last commit number that counts of it. */
  ended: { epoch: number; number: number }[];
}

export const pathOf = ({ kind, file }: Pick<SealedFile, 'kind' | 'file'>): string =>
  `${JOURNAL_DIRECTORY}/${kind}-${file}`;

/** All that is to stand on a drive of the epoch, but the open log. */
export const sealedIn = ({ snapshot, logs }: Manifest): SealedFile[] => [...snapshot, ...logs];

/** Every change up to this commit number is in each stretch: only the logs behind it are needed. */
export const shownBy = ({ snapshot }: Pick<Manifest, 'snapshot'>): number =>
  Math.min(...snapshot.map(({ number }) => number));

/** Every change up to this commit number is in the snapshot or in the logs. */
export const heldBy = ({ snapshot, logs }: Manifest): number =>
  Math.max(...[...snapshot, ...logs].map(({ number }) => number));

/** `made` counts from its first row up to `to`: what stands for fewer rows then counts for those. */
export function replaceStretch(
  all: readonly Stretch[],
  made: Stretch,
  to: string | undefined,
): Stretch[] {
  const before = all.filter(({ from }) => from < made.from);
  const behind = all.flatMap((one, i) => {
    const end = all[i + 1]?.from;
    const isOver = to === undefined || (end !== undefined && end <= to);
    if (isOver || one.from < made.from) return [];
    return [{ ...one, from: one.from < to ? to : one.from }];
  });
  return [...before, made, ...behind];
}

const sumOf = (text: string): string => {
  const hash = new Xxh3(8);
  hash.update(Buffer.from(text));
  return hash.digest().toString('hex');
};

async function readWhole(drive: Drive, path: string): Promise<Buffer> {
  const file = await drive.open(path, { mode: 'read' });
  try {
    const { sizeBytes } = await file.stat();
    const bytes = Buffer.alloc(sizeBytes);
    return bytes.subarray(0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}

/** Its snapshot is one file. */
type ManifestOf1 = Omit<Manifest, 'format' | 'snapshot'> & { format: 1; snapshot: SealedFile };

/** Undefined where the drive has none, or one that is damaged: then this copy is none. */
export async function readManifest(drive: Drive): Promise<Manifest | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readWhole(drive, MANIFEST);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const [text = '', sum] = bytes.toString('utf8').split('\n');
  if (sum !== sumOf(text)) return undefined;
  const manifest = JSON.parse(text) as Manifest | ManifestOf1 | { format: number };
  if (manifest.format === FORMAT) return manifest as Manifest;
  if (manifest.format === 1) {
    const { snapshot, ...rest } = manifest as ManifestOf1;
    return { ...rest, format: FORMAT, snapshot: [{ ...snapshot, from: '' }] };
  }
  throw new FirnError('FormatUnknown', `journal format ${manifest.format} is of a newer Firn`, {
    subject: `${drive.path}/${MANIFEST}`,
    hint: 'run the version of Firn that wrote it, or a newer one',
  });
}

/** Replaces it or leaves the old one; durable on return. The directory is there. */
export async function writeManifest(drive: Drive, manifest: Manifest): Promise<void> {
  const text = JSON.stringify(manifest);
  const draft = `${MANIFEST}.new`;
  await drive.remove(draft);
  const file = await drive.open(draft, { mode: 'create' });
  try {
    await file.write(Buffer.from(`${text}\n${sumOf(text)}\n`), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await drive.rename(draft, MANIFEST);
  await drive.syncDirectory(JOURNAL_DIRECTORY);
}
