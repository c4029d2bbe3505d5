// The LMDB environment as the journal sees it: records as they lie in the tables, revisions and
// checksums included, so that what is replayed is what was committed, byte for byte.

import type { Database, RootDatabase, Transaction } from 'lmdb';
import type { Table } from '../../model/metadata-store.ts';
import { TABLE_CODES, TABLES_IN_ORDER } from '../journal/format.ts';
import type { BatchNumber, Entry, JournalIndex } from '../journal/ports.ts';
import { COUNTER_KEY } from './commit-queue.ts';
import { decodeOutbox, OUTBOX, outboxKey } from './outbox.ts';

type Read = { transaction?: Transaction };
/** A table by the bytes of its records. */
export type RawTable = Omit<Database<Buffer, string | Buffer>, 'getBinaryFast'> & {
  getBinaryFast(id: string | Buffer, options?: Read): Buffer | undefined;
};

export interface LmdbIndexOptions {
  environment: RootDatabase;
  own: RawTable;
  tables: ReadonlyMap<Table, RawTable>;
}

/** A page of a snapshot: what is read before the event loop may turn. */
const PAGE_BYTES = 1024 * 1024;
const PAGE_ROWS = 2048;
const AFTER_ALL = Buffer.from([0xff]);
const FIRST_ID = '\u0001';

export class LmdbIndex implements JournalIndex {
  readonly #options: LmdbIndexOptions;
  #dropped = false;

  constructor(options: LmdbIndexOptions) {
    this.#options = options;
  }

  state(): BatchNumber {
    const { own } = this.#options;
    own.resetReadTxn();
    return stateOf(own.getBinaryFast(COUNTER_KEY));
  }

  gather(after: number, take: (entry: Entry) => void): BatchNumber {
    const { own, tables } = this.#options;
    own.resetReadTxn();
    const transaction = own.useReadTransaction();
    try {
      const state = stateOf(own.getBinaryFast(COUNTER_KEY, { transaction }));
      const changed = this.#changed(after, transaction);
      for (const [table, ids] of changed) {
        const handle = tables.get(table) as RawTable;
        for (const id of ids) {
          const held = handle.getBinaryFast(id, { transaction });
          const record = held?.subarray(0, held.length);
          take({ table, id: Buffer.from(id, 'utf8'), record });
        }
      }
      return state;
    } finally {
      transaction.done();
    }
  }

  #changed(after: number, transaction: Transaction): Map<Table, Set<string>> {
    const outbox = this.#options.tables.get(OUTBOX) as RawTable;
    const changed = new Map<Table, Set<string>>();
    const start = outboxKey(after + 1);
    for (const { value } of outbox.getRange({ start, transaction })) {
      decodeOutbox(value.subarray(0, value.length), ({ table, id }) => {
        const ids = changed.get(table);
        if (ids === undefined) changed.set(table, new Set([id]));
        else ids.add(id);
      });
    }
    return changed;
  }

  /** Each process takes its own rows out; here, once, what others left when they died. */
  drop(upTo: number): void {
    if (this.#dropped) return;
    this.#dropped = true;
    const outbox = this.#options.tables.get(OUTBOX) as RawTable;
    outbox.resetReadTxn();
    const keys = [...outbox.getKeys({ end: outboxKey(upTo + 1) })];
    if (keys.length === 0) return;
    const gone = this.#options.environment.childTransaction(() => {
      for (const key of keys) void outbox.remove(key);
    });
    // A commit that failed leaves rows that are journaled again at the next start, harmlessly.
    gone.catch(() => undefined);
  }

  async apply(entries: Iterable<Entry>, state: BatchNumber): Promise<void> {
    const { environment, own, tables } = this.#options;
    await environment.childTransaction(() => {
      for (const { table, id, record } of entries) {
        const handle = tables.get(table) as RawTable;
        const key = id as Buffer;
        if (record === undefined) void handle.remove(key);
        else void handle.put(key, record as Buffer);
      }
      void own.put(COUNTER_KEY, counterOf(state));
    });
  }

  async setEpoch(epoch: number): Promise<void> {
    const { environment, own } = this.#options;
    await environment.childTransaction(() => {
      const { number } = stateOf(own.getBinaryFast(COUNTER_KEY));
      void own.put(COUNTER_KEY, counterOf({ epoch, number }));
    });
  }

  async *rows(from: Uint8Array): AsyncGenerator<BatchNumber | readonly Entry[]> {
    const [code = 0, ...id] = from;
    const { own, tables } = this.#options;
    own.resetReadTxn();
    const transaction = own.useReadTransaction();
    try {
      yield stateOf(own.getBinaryFast(COUNTER_KEY, { transaction }));
      for (const table of TABLES_IN_ORDER) {
        if (table === OUTBOX || TABLE_CODES[table] < code) continue;
        const handle = tables.get(table) as RawTable;
        const isFirst = TABLE_CODES[table] === code && id.length > 0;
        let start: string | Buffer = isFirst ? Buffer.from(id) : FIRST_ID;
        for (;;) {
          const page = readPage(handle, { table, start, transaction });
          if (page.length > 0) yield page;
          const last = page.at(-1);
          if (last === undefined) break;
          start = Buffer.concat([last.id, Buffer.from([0])]);
        }
      }
    } finally {
      transaction.done();
    }
  }
}

function readPage(
  handle: RawTable,
  from: { table: Table; start: string | Buffer; transaction: Transaction },
): Entry[] {
  const { table, start, transaction } = from;
  const page: Entry[] = [];
  let bytes = 0;
  const range = { start, end: AFTER_ALL, limit: PAGE_ROWS, transaction };
  for (const { key, value } of handle.getRange(range)) {
    // Lent: lmdb reads the next one into the same buffer.
    const record = Buffer.from(value.subarray(0, value.length));
    const id = Buffer.from(key as string, 'utf8');
    page.push({ table, id, record });
    bytes += id.length + record.length;
    if (bytes >= PAGE_BYTES) break;
  }
  return page;
}

function stateOf(counter: Buffer | undefined): BatchNumber {
  if (counter === undefined) return { epoch: 1, number: 0 };
  return { epoch: counter.readUInt16BE(0), number: counter.readUIntBE(2, 6) };
}

function counterOf({ epoch, number }: BatchNumber): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt16BE(epoch, 0);
  bytes.writeUIntBE(number, 2, 6);
  return bytes;
}
