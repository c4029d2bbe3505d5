// What the journal needs of the index that it proves. LMDB is one (lmdb/lmdb-index.ts), a map in
// memory another (test/sim): the journal itself knows neither, has no timers and does no input or
// output but by the Drive port, so that a simulator can stop it between any two steps.

import type { Drive } from '../../model/drive.ts';
import type { Random } from '../../model/clock.ts';
import type { BatchNumber, Entry } from './format.ts';

export type { BatchNumber, Entry } from './format.ts';

/** Where an index stands: the epoch of the revisions it draws, the last commit number drawn. */
export type IndexState = BatchNumber;

export interface JournalIndex {
  /** As of now, whoever committed. */
  state(): IndexState;
  /**
   * In one read snapshot, the state that is returned: each id that the outbox names above commit
   * number `after`, once, with its record as of the snapshot, or none where the row is gone. Ids in
   * any order. Synchronous: nothing may come between.
   */
  gather(after: number, take: (entry: Entry) => void): IndexState;
  /** The outbox rows up to this number may go; a hint: what stays is journaled again, harmlessly. */
  drop(upTo: number): void;
  /**
   * Replay: puts and removes these rows whatever stands there, and takes the state, in one
   * transaction. Rows are lent until the promise resolves.
   */
  apply(entries: Iterable<Entry>, state: IndexState): Promise<void>;
  /** From now on revisions are drawn in this epoch; the number stays. Durable is not needed. */
  setEpoch(epoch: number): Promise<void>;
  /**
   * Every row of one read snapshot from this place on (format.ts), in the order of places, in pages
   * of about a megabyte, outbox excepted. The first page is preceded by the snapshot's state.
   */
  rows(from: Uint8Array): AsyncIterable<IndexState | readonly Entry[]>;
}

export interface JournalOptions {
  /** 32 hex digits: journals of another store are never touched. */
  store: string;
  /** Where copies may stand, the best first; those that are away are left out by the caller. */
  drives: readonly Drive[];
  /** m+1. */
  copies: number;
  /** With fewer than `copies` drives at hand the journal goes on down to so many (two). */
  copiesMin: number;
  index: JournalIndex;
  random: Random;
  /** No epoch up to this one is begun, whatever the drives tell. */
  epochSeen?: number;
  /** Where a log is sealed and another begun; 32 MiB. */
  logBytes?: number;
  /** Where a file of a snapshot ends and another is begun; 32 MiB. */
  stretchBytes?: number;
  /** False: an empty directory where a device was mounted, a drive of others. */
  isUsable?: (drive: Drive) => Promise<boolean>;
  /** Drives that are emptied for good: each gives its copy up once others hold enough. */
  leaving?: () => Promise<ReadonlySet<Drive>>;
  /** Every change up to this commit number is on all copies. Often; never throws. */
  journaled?: (number: number) => void;
  /** Told of what an operator should know; never throws. */
  notice?: (event: JournalEvent) => void;
  /**
   * Begun with a write, resolves once that takes too long to be waited for: the drive is then left
   * out as if it had failed. Absent: writes are waited for as long as they take.
   */
  patience?: () => Promise<void>;
}

export type JournalEvent =
  | { kind: 'drive-left'; path: string; error: unknown }
  | { kind: 'epoch'; epoch: number; drives: string[]; copies: number }
  | { kind: 'replayed'; batches: number; rows: number; from: number; to: number }
  | { kind: 'mended'; path: string; file: string; error: unknown }
  | { kind: 'snapshot'; number: number; rows: number; sizeBytes: number }
  | { kind: 'down'; error: unknown };
