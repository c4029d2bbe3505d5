// Group commit. Changes that arrive in one turn of the event loop go into one child transaction,
// and lmdb gathers the child transactions that wait for the disk into one commit: 64 writers cost
// one fdatasync, not 64. Inside the transaction each change looks at its row, draws the next
// revision of the whole store (A2), and is done or not on its own; a promise resolves when the
// commit is on disk.
//
// Only childTransaction rolls back a callback that throws (DESIGN.md, LMDB), and its callback must
// not wait: it holds the one write lock of all processes.

import type { RootDatabase } from 'lmdb';
import { FirnError } from '../../model/errors.ts';
import type { Clock } from '../../model/clock.ts';
import type { CommitResult, Revision, Table } from '../../model/metadata-store.ts';
import { encodeOutbox, outboxKey, type Changed } from './outbox.ts';
import { revisionOf, stampRevision } from './record.ts';

/** One sub-database; ids are its keys, our own records its values. */
export interface TableHandle {
  getBinaryFast(id: string): Buffer | undefined;
  put(id: string, record: Buffer, options?: { noOverwrite: true }): Promise<boolean>;
  remove(id: string): Promise<boolean>;
  resetReadTxn(): void;
}

export interface PendingChange {
  handle: TableHandle;
  table: Table;
  id: string;
  /** The record to put; absent: remove. */
  record?: Buffer;
  /** The revision that the row must have; absent: the row must be absent. */
  expected?: Revision;
  notAfter?: number;
}

interface Waiting extends PendingChange {
  result: CommitResult;
  resolve(result: CommitResult): void;
  reject(error: Error): void;
}

/**
 * Changes in one callback: bounds how long the write lock waits for this thread (about 5 µs each).
 */
const CALLBACK_CHANGES_MAX = 512;
const NO_OVERWRITE = { noOverwrite: true } as const;
const CONFLICT: CommitResult = { outcome: 'conflict' };
const EXPIRED: CommitResult = { outcome: 'expired' };
export const COUNTER_KEY = 'revision';

/** Where commits go to become durable; it may be of another process. */
export interface CommitJournal {
  /** Up to this commit number everything is on all copies. */
  readonly journaled: number;
  /** Resolves once it is up to this one; rejects where that can't be said any more. */
  settled(number: number): Promise<void>;
  /** Why nothing can be journaled now: then nothing is changed either. */
  refusal?(): Error | undefined;
}

export interface CommitQueueOptions {
  environment: RootDatabase;
  /** The sub-database of the store's own few values. */
  own: TableHandle;
  clock: Clock;
  /** With a journal: its outbox. */
  outbox?: TableHandle | undefined;
  journal?: CommitJournal | undefined;
  /**
   * Commit on this thread: with nothing to sync a third of the CPU of lmdb's own (40 µs against
   * 130). It waits for the lock of other processes blocking, so not where somebody must stay awake.
   */
  inPlace?: boolean | undefined;
  /** A commit failed and yet its rows are visible: nothing read from here on may be trusted. */
  onFence(cause: Error): void;
}

export class CommitQueue {
  readonly #options: CommitQueueOptions;
  #waiting: Waiting[] = [];
  #scheduled = false;
  #running = 0;
  #idle: (() => void)[] = [];
  /** Commit numbers of the outbox rows that this process put, oldest first. */
  #sent: number[] = [];

  constructor(options: CommitQueueOptions) {
    this.#options = options;
  }

  /** Resolves when the change is durable, or known not to happen. */
  commit(change: PendingChange): Promise<CommitResult> {
    const refusal = this.#options.journal?.refusal?.();
    if (refusal !== undefined) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ ...change, result: CONFLICT, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      setImmediate(() => this.#flush());
    });
  }

  /** Resolves when nothing is waiting or on its way to disk. */
  async drain(): Promise<void> {
    while (this.#scheduled || this.#running > 0) {
      await new Promise<void>((done) => this.#idle.push(done));
    }
  }

  #flush(): void {
    this.#scheduled = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (let at = 0; at < waiting.length; at += CALLBACK_CHANGES_MAX) {
      const batch = waiting.slice(at, at + CALLBACK_CHANGES_MAX);
      this.#running += 1;
      void this.#commitBatch(batch).finally(() => {
        this.#running -= 1;
        if (this.#running > 0 || this.#scheduled) return;
        const idle = this.#idle;
        this.#idle = [];
        for (const done of idle) done();
      });
    }
  }

  async #commitBatch(batch: Waiting[]): Promise<void> {
    let applied = false;
    let number = 0;
    try {
      const { environment, inPlace } = this.#options;
      const work = (): void => {
        applied = false;
        number = this.#apply(batch);
        applied = true;
      };
      if (inPlace === true) environment.transactionSync(work);
      else await environment.childTransaction(work);
    } catch (error) {
      this.#fail(batch, error as Error & { commitError?: Promise<unknown> }, applied);
      return;
    }
    const { journal } = this.#options;
    if (journal !== undefined && number > journal.journaled) {
      try {
        await journal.settled(number);
      } catch (error) {
        for (const change of batch) change.reject(error as Error);
        return;
      }
    }
    for (const change of batch) change.resolve(change.result);
  }

  /** Inside the write transaction. The commit number that it has seen. */
  #apply(batch: Waiting[]): number {
    const { own, clock } = this.#options;
    const changed: Changed[] = [];
    const counter = own.getBinaryFast(COUNTER_KEY);
    const epoch = counter?.readUInt16BE(0) ?? 1;
    let commit = counter?.readUIntBE(2, 6) ?? 0;
    const before = commit;
    let now: number | undefined;
    for (const change of batch) {
      if (change.notAfter !== undefined) {
        // B3: after this look nothing can come between but the commit itself.
        now ??= clock.now();
        if (now > change.notAfter) {
          change.result = EXPIRED;
          continue;
        }
      }
      const { handle, id, record, expected } = change;
      if (expected !== undefined) {
        const held = handle.getBinaryFast(id);
        if (held === undefined || revisionOf(held) !== expected) continue;
      }
      commit += 1;
      if (record === undefined) {
        void handle.remove(id);
        change.result = { outcome: 'done', revision: '' };
        changed.push(change);
        continue;
      }
      const revision = stampRevision(record, epoch, commit);
      if (expected !== undefined) void handle.put(id, record);
      else if (!putAbsent(handle, id, record)) continue;
      change.result = { outcome: 'done', revision };
      changed.push(change);
    }
    if (commit === before) return commit;
    const next = Buffer.allocUnsafe(8);
    next.writeUInt16BE(epoch, 0);
    next.writeUIntBE(commit, 2, 6);
    void own.put(COUNTER_KEY, next);
    if (changed.length > 0) this.#send(commit, changed);
    return commit;
  }

  /** Inside the write transaction: this one into the outbox, and out of it what is journaled. */
  #send(commit: number, changed: readonly Changed[]): void {
    const { outbox, journal } = this.#options;
    if (outbox === undefined || journal === undefined) return;
    void outbox.put(outboxKey(commit), encodeOutbox(changed));
    const done = this.#sent.findIndex((number) => number > journal.journaled);
    const count = done < 0 ? this.#sent.length : done;
    for (const number of this.#sent.slice(0, count)) void outbox.remove(outboxKey(number));
    this.#sent = [...this.#sent.slice(count), commit];
  }

  #fail(
    batch: Waiting[],
    error: Error & { commitError?: Promise<unknown> },
    applied: boolean,
  ): void {
    // lmdb rejects this one as well; unhandled, it would end the process.
    error.commitError?.catch(() => undefined);
    let failure = new FirnError('MetadataUnavailable', 'the metadata could not be written', {
      cause: error,
      retryable: true,
      hint: 'look at the space and the health of the drive under the metadata directory',
    });
    // Written short or out of space, a commit leaves nothing behind. But after a failed sync it is
    // there to be read, and only until the power fails.
    if (applied && isAnyVisible(batch)) {
      this.#options.onFence(error);
      failure = new FirnError('MetadataUnavailable', 'a metadata commit could not be synced', {
        cause: error,
        hint: 'the drive under the metadata directory fails: replace it, then start again',
      });
    }
    for (const change of batch) change.reject(failure);
  }
}

/**
 * Put with MDB_NOOVERWRITE. In a write transaction lmdb answers at once, in the promise's `result`.
 */
function putAbsent(handle: TableHandle, id: string, record: Buffer): boolean {
  const answer = handle.put(id, record, NO_OVERWRITE) as Promise<boolean> & { result?: boolean };
  return answer.result === true;
}

/** Also true where the store can't be read any more. */
function isAnyVisible(batch: readonly Waiting[]): boolean {
  try {
    return batch.some(isVisible);
  } catch {
    return true;
  }
}

function isVisible({ handle, id, record, result }: Waiting): boolean {
  if (result.outcome !== 'done') return false;
  handle.resetReadTxn();
  const held = handle.getBinaryFast(id);
  if (record === undefined) return held === undefined;
  return held !== undefined && held.subarray(0, held.length).equals(record);
}
