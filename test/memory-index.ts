// An index in memory with the journal port's exact semantics: rows, a counter, an outbox. For tests
// of the journal and for the simulator: `image()` is what a crash leaves, `from` brings it back.

import { placeOf } from '../appliance/metadata/journal/format.ts';
import type { BatchNumber, Entry, JournalIndex } from '../appliance/metadata/journal/ports.ts';
import type { Table } from '../appliance/model/metadata-store.ts';

export interface IndexImage {
  state: BatchNumber;
  rows: Map<string, Uint8Array>;
  /** Commit number → keys of rows changed. */
  outbox: Map<number, string[]>;
}

const keyOf = (table: Table, id: string): string => `${table} ${id}`;
const entryOf = (key: string, record: Uint8Array | undefined): Entry => {
  const at = key.indexOf(' ');
  return { table: key.slice(0, at) as Table, id: Buffer.from(key.slice(at + 1)), record };
};

export class MemoryIndex implements JournalIndex {
  #state: BatchNumber;
  readonly rowsByKey: Map<string, Uint8Array>;
  readonly #outbox: Map<number, string[]>;
  readonly #pageRows: number;

  constructor(from?: IndexImage, pageRows = 8) {
    this.#state = from?.state ?? { epoch: 1, number: 0 };
    this.rowsByKey = new Map(from?.rows);
    this.#outbox = new Map(from?.outbox);
    this.#pageRows = pageRows;
  }

  /** One write transaction of so many changes; undefined removes. Its commit number. */
  commit(changes: readonly [Table, string, Uint8Array | undefined][]): number {
    const keys: string[] = [];
    for (const [table, id, record] of changes) {
      const key = keyOf(table, id);
      if (record === undefined) this.rowsByKey.delete(key);
      else this.rowsByKey.set(key, record);
      keys.push(key);
    }
    const { epoch, number } = this.#state;
    this.#state = { epoch, number: number + changes.length };
    this.#outbox.set(this.#state.number, keys);
    return this.#state.number;
  }

  row(table: Table, id: string): Uint8Array | undefined {
    return this.rowsByKey.get(keyOf(table, id));
  }

  image(): IndexImage {
    return {
      state: this.#state,
      rows: new Map(this.rowsByKey),
      outbox: new Map(this.#outbox),
    };
  }

  state(): BatchNumber {
    return this.#state;
  }

  gather(after: number, take: (entry: Entry) => void): BatchNumber {
    const seen = new Set<string>();
    for (const [number, keys] of this.#outbox) {
      if (number > after) for (const key of keys) seen.add(key);
    }
    for (const key of seen) take(entryOf(key, this.rowsByKey.get(key)));
    return this.#state;
  }

  drop(upTo: number): void {
    for (const number of this.#outbox.keys()) if (number <= upTo) this.#outbox.delete(number);
  }

  async apply(entries: Iterable<Entry>, state: BatchNumber): Promise<void> {
    for (const { table, id, record } of entries) {
      const key = keyOf(table, Buffer.from(id).toString());
      if (record === undefined) this.rowsByKey.delete(key);
      else this.rowsByKey.set(key, Uint8Array.from(record));
    }
    this.#state = state;
    await Promise.resolve();
  }

  async setEpoch(epoch: number): Promise<void> {
    this.#state = { ...this.#state, epoch };
    await Promise.resolve();
  }

  async *rows(from: Uint8Array): AsyncGenerator<BatchNumber | readonly Entry[]> {
    const { state, rows } = this.image();
    yield state;
    const all = [...rows]
      .map(([key, record]) => entryOf(key, record))
      .filter((one) => Buffer.compare(placeOf(one), from) >= 0)
      .toSorted((a, b) => Buffer.compare(placeOf(a), placeOf(b)));
    for (let at = 0; at < all.length; at += this.#pageRows) {
      await Promise.resolve();
      yield all.slice(at, at + this.#pageRows);
    }
  }
}
