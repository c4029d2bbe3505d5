// Replay: finds the end of the journal in all copies at hand, and brings an index forward to it.
// What lies at or below the index's own commit number is passed over.

import type { Drive } from '../../model/drive.ts';
import { entriesOf } from './format.ts';
import { heldBy, sealedIn, shownBy, type Manifest, type SealedFile } from './manifest.ts';
import { MergedReader, type FoundBatch } from './merged-reader.ts';
import type { IndexState, JournalIndex } from './ports.ts';

export interface LogEnd {
  /** The last commit number that the journal holds. */
  number: number;
  /** Place of the next batch in the open log. */
  position: number;
  sequence: number;
  previous: bigint;
  /** Nothing was journaled since the open log was begun. */
  empty: boolean;
  /** Copies of the open log that lack some of it. */
  damaged: Set<Drive>;
}

type AnyFile = Pick<SealedFile, 'kind' | 'file'> & { sizeBytes?: number };

async function readFile(
  file: AnyFile,
  from: { drives: readonly Drive[]; store: string },
  take: (found: FoundBatch) => Promise<void> | void,
): Promise<MergedReader> {
  const reader = new MergedReader(file, from.store, file.sizeBytes === undefined);
  try {
    await reader.open(from.drives);
    for (let one = await reader.next(); one !== undefined; one = await reader.next()) {
      const taken = take(one);
      if (taken !== undefined) await taken;
    }
  } finally {
    await reader.close();
  }
  return reader;
}

/** Where the longest valid log of all copies ends. Throws Corrupt where it is cut in the middle. */
export async function endOfLog(manifest: Manifest, drives: readonly Drive[]): Promise<LogEnd> {
  const { open, store } = manifest;
  let number = heldBy(manifest);
  const reader = await readFile({ kind: 'log', file: open }, { drives, store }, ({ head }) => {
    number = Math.max(number, head.number);
  });
  const { place, position, damaged } = reader;
  const { sequence = 1, previous = 0n } = place ?? {};
  return { number, position, sequence, previous, empty: sequence === 1, damaged };
}

export interface ReplayOptions {
  manifest: Manifest;
  drives: readonly Drive[];
  index: JournalIndex;
  /** For a bar; the open log is not counted in `all`. */
  progress?: (doneBytes: number, allBytes: number) => void;
}

/**
 * The index is empty (then the snapshot comes first) or a beginning of the journal; on return it
 * shows all of the journal.
 */
export async function replay(options: ReplayOptions): Promise<{ rows: number; batches: number }> {
  const { manifest, drives, index, progress } = options;
  const { store, snapshot, logs, open, epoch } = manifest;
  let state: IndexState = { ...index.state() };
  const sum = { rows: 0, batches: 0 };
  let doneBytes = 0;
  const allBytes = sealedIn(manifest).reduce((all, { sizeBytes }) => all + sizeBytes, 0);
  const read = (file: AnyFile): Promise<MergedReader> =>
    readFile(file, { drives, store }, async ({ head, bytes }) => {
      const ofSnapshot = file.kind === 'snapshot';
      if (ofSnapshot || head.number > state.number) {
        state = { epoch, number: ofSnapshot ? state.number : head.number };
        await index.apply(entriesOf(head, bytes), state);
        sum.rows += head.entries;
        sum.batches += 1;
      }
      doneBytes += bytes.length;
      progress?.(doneBytes, allBytes);
    });
  const reach = async (number: number): Promise<void> => {
    if (state.number >= number) return;
    state = { epoch, number };
    await index.apply([], state);
  };
  if (state.number < shownBy(manifest)) {
    for (const stretch of snapshot) await read(stretch);
    // A snapshot is there or not, and as old as its oldest stretch: what the others are ahead of
    // it is in the logs once more.
    await reach(shownBy(manifest));
  }
  for (const log of logs) if (log.number > state.number) await read(log);
  await read({ kind: 'log', file: open });
  // Commits that changed nothing are in no log, and their numbers are used up.
  await reach(heldBy(manifest));
  return sum;
}
