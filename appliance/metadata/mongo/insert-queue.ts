// Inserts that wait in one turn of the event loop go out as one unordered insertMany (36 µs a
// document instead of 170–290), each with its own outcome: a duplicate id fails alone.

import { MongoBulkWriteError, type Collection } from 'mongodb';
import type { Clock } from '../../model/clock.ts';
import type { Table } from '../../model/metadata-store.ts';
import type { StoredDocument } from './document.ts';

/** Documents in one command. */
const INSERT_MAX = 64;
const DUPLICATE_KEY = 11000;

/** `doubt`: nobody knows yet whether it happened (B6). */
export type InsertOutcome = 'done' | 'conflict' | 'expired' | { doubt: unknown };

interface Waiting {
  document: StoredDocument;
  notAfter: number | undefined;
  resolve: (outcome: InsertOutcome) => void;
}

export class InsertQueue {
  readonly #collection: (table: Table) => Collection<StoredDocument>;
  readonly #clock: Clock;
  #waiting = new Map<Table, Waiting[]>();
  #scheduled = false;

  constructor(collection: (table: Table) => Collection<StoredDocument>, clock: Clock) {
    this.#collection = collection;
    this.#clock = clock;
  }

  /** Never rejects. */
  insert(table: Table, document: StoredDocument, notAfter?: number): Promise<InsertOutcome> {
    return new Promise((resolve) => {
      let waiting = this.#waiting.get(table);
      if (waiting === undefined) this.#waiting.set(table, (waiting = []));
      waiting.push({ document, notAfter, resolve });
      if (this.#scheduled) return;
      this.#scheduled = true;
      setImmediate(() => this.#flush());
    });
  }

  #flush(): void {
    this.#scheduled = false;
    const tables = this.#waiting;
    this.#waiting = new Map();
    const now = this.#clock.now();
    for (const [table, all] of tables) {
      const due: Waiting[] = [];
      for (const waiting of all) {
        if (waiting.notAfter !== undefined && now > waiting.notAfter) waiting.resolve('expired');
        else due.push(waiting);
      }
      for (let at = 0; at < due.length; at += INSERT_MAX) {
        void this.#send(table, due.slice(at, at + INSERT_MAX));
      }
    }
  }

  async #send(table: Table, waiting: Waiting[]): Promise<void> {
    const documents = waiting.map(({ document }) => document);
    const outcomes = await insertAll(this.#collection(table), documents);
    waiting.forEach(({ resolve }, at) => resolve(outcomes[at] as InsertOutcome));
  }
}

/** Inserts what is absent, all at once; one outcome each, in their order. Never rejects. */
export async function insertAll(
  collection: Collection<StoredDocument>,
  documents: StoredDocument[],
): Promise<InsertOutcome[]> {
  try {
    await collection.insertMany(documents, { ordered: false });
    return documents.map(() => 'done');
  } catch (error) {
    const doubt: InsertOutcome = { doubt: error };
    if (!(error instanceof MongoBulkWriteError)) return documents.map(() => doubt);
    const failures = Array.isArray(error.writeErrors) ? error.writeErrors : [error.writeErrors];
    // The driver dresses a lost connection as a bulk error as well, one without any write error;
    // and without the majority's word even what was taken is in doubt. The rest are done only where
    // the server's own count says so.
    const isCounted =
      failures.length > 0 &&
      error.insertedCount === documents.length - failures.length &&
      error.result.getWriteConcernError() === undefined;
    const outcomes = documents.map((): InsertOutcome => (isCounted ? 'done' : doubt));
    for (const failure of failures) {
      outcomes[failure.index] = failure.code === DUPLICATE_KEY ? 'conflict' : { doubt: failure };
    }
    return outcomes;
  }
}
