// A MetadataStore in memory with the port's exact semantics, and a place to put faults: what a test
// does before a commit, a commit that conflicts, one whose outcome nobody knows, a process that dies
// between two steps. Rows go through the structured clone, so that a caller who changes what it read,
// or what it wrote, changes nothing here.

import assert from 'node:assert/strict';
import type { Clock } from '../appliance/model/clock.ts';
import { FirnError } from '../appliance/model/errors.ts';
import {
  TABLES,
  type Change,
  type CommitOptions,
  type CommitResult,
  type MetadataStore,
  type RangeQuery,
  type Revision,
  type Row,
  type Table,
} from '../appliance/model/metadata-store.ts';
import type { ObjectDocument } from '../appliance/model/object.ts';
import { checkFormat, checkId, checkRange } from '../appliance/metadata/base/rules.ts';

interface Stored {
  id: string;
  revision: Revision;
  value: object;
}

/** What happens to a commit: nothing, or one of the outcomes of a real store on a bad day. */
export type Fault =
  | undefined
  | 'conflict'
  /** Committed, but the answer is lost (B6). */
  | 'doubt-done'
  /** Not committed, and the answer is lost. */
  | 'doubt-lost';

/** Thrown out of a store whose process has died: nothing the engine catches by code. */
export class Crash extends Error {
  constructor() {
    super('the process has died here');
    this.name = 'Crash';
  }
}

/** UTF-8 bytes as one character each: JavaScript's own order is then that of the bytes. */
const orderKey = (id: string): string => Buffer.from(id, 'utf8').toString('latin1');

class MemoryTable {
  readonly keys: string[] = [];
  readonly rows = new Map<string, Stored>();

  /** Index of the first key at or above. */
  lower(key: string): number {
    let low = 0;
    let high = this.keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.keys[middle] as string) < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  set(row: Stored): void {
    const key = orderKey(row.id);
    if (!this.rows.has(key)) this.keys.splice(this.lower(key), 0, key);
    this.rows.set(key, row);
  }

  delete(id: string): void {
    const key = orderKey(id);
    if (this.rows.delete(key)) this.keys.splice(this.lower(key), 1);
  }

  get(id: string): Stored | undefined {
    return this.rows.get(orderKey(id));
  }
}

export class MemoryMetadataStore implements MetadataStore {
  readonly name = 'lmdb';
  readonly #tables = new Map<Table, MemoryTable>(TABLES.map((table) => [table, new MemoryTable()]));
  readonly #clock: Clock;
  #commits = 0;
  #reads = 0;
  /** Called before each single change; its answer is the change's fate. May throw, may wait. */
  beforeCommit: ((change: Change) => Fault | Promise<Fault>) | undefined;
  /** Called before each get and range. */
  beforeRead: ((table: Table, id: string | undefined) => void | Promise<void>) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get commits(): number {
    return this.#commits;
  }

  get reads(): number {
    return this.#reads;
  }

  async open(): Promise<void> {}

  async close(): Promise<void> {}

  async settled(): Promise<void> {}

  healthy(): boolean {
    return true;
  }

  async get<T>(table: Table, id: string): Promise<Row<T> | undefined> {
    checkId(table, id);
    this.#reads += 1;
    await this.beforeRead?.(table, id);
    const row = this.#table(table).get(id);
    return row === undefined ? undefined : (structuredClone(row) as Row<T>);
  }

  async insert(
    table: Table,
    id: string,
    value: object,
    options?: CommitOptions,
  ): Promise<CommitResult> {
    return this.#commit({ kind: 'insert', table, id, value }, options);
  }

  async replace(
    change: { table: Table; id: string; expected: Revision; value: object },
    options?: CommitOptions,
  ): Promise<CommitResult> {
    return this.#commit({ kind: 'replace', ...change }, options);
  }

  async remove(
    table: Table,
    id: string,
    expected: Revision,
    options?: CommitOptions,
  ): Promise<CommitResult> {
    return this.#commit({ kind: 'remove', table, id, expected }, options);
  }

  async bulk(changes: readonly Change[]): Promise<CommitResult[]> {
    const results: CommitResult[] = [];
    for (const change of changes) results.push(await this.#commit(change, undefined));
    return results;
  }

  async range<T>(query: RangeQuery): Promise<Row<T>[]> {
    checkRange(query);
    const { table, from, after, to, limit, reverse = false } = query;
    this.#reads += 1;
    await this.beforeRead?.(table, from ?? after);
    const { keys, rows } = this.#table(table);
    const lowest = this.#table(table).lower(
      orderKey(after === undefined ? (from ?? '') : `${after}\0`),
    );
    const highest = to === undefined ? keys.length : this.#table(table).lower(orderKey(to));
    const found = keys.slice(lowest, Math.max(lowest, highest));
    const page = reverse ? found.reverse().slice(0, limit) : found.slice(0, limit);
    return page.map((key) => {
      const row = rows.get(key) as Stored;
      if (query.listing !== true) return structuredClone(row) as Row<T>;
      return { ...row, value: listed(row.value as ObjectDocument) as T };
    });
  }

  async count(table: Table, bounds?: { from?: string; to?: string }): Promise<number> {
    const stored = this.#table(table);
    const from = bounds?.from === undefined ? 0 : stored.lower(orderKey(bounds.from));
    const to = bounds?.to === undefined ? stored.keys.length : stored.lower(orderKey(bounds.to));
    return Math.max(0, to - from);
  }

  async *snapshot(): ReturnType<MetadataStore['snapshot']> {
    const all = TABLES.flatMap((table) =>
      this.#table(table).keys.map((key) => ({
        table,
        ...structuredClone(this.#table(table).rows.get(key) as Stored),
      })),
    );
    yield* all;
  }

  /** Every row of a table, for assertions. */
  rowsOf<T>(table: Table): Row<T>[] {
    const { keys, rows } = this.#table(table);
    return keys.map((key) => structuredClone(rows.get(key)) as Row<T>);
  }

  #table(table: Table): MemoryTable {
    const found = this.#tables.get(table);
    assert(found !== undefined, `no table ${table}`);
    return found;
  }

  async #commit(change: Change, options: CommitOptions | undefined): Promise<CommitResult> {
    checkId(change.table, change.id);
    if (change.kind !== 'remove') {
      checkPlain(change.value);
      checkFormat(change.table, change.id, change.value);
    }
    // A commit is never done in the same turn as it was asked for.
    await Promise.resolve();
    const fault = await this.beforeCommit?.(change);
    if (fault === 'conflict') return { outcome: 'conflict' };
    if (fault === 'doubt-lost') throw inDoubt();
    const result = this.#apply(change, options);
    if (fault === 'doubt-done') throw inDoubt();
    return result;
  }

  #apply(change: Change, options: CommitOptions | undefined): CommitResult {
    if (options?.notAfter !== undefined && this.#clock.now() > options.notAfter) {
      return { outcome: 'expired' };
    }
    const table = this.#table(change.table);
    const row = table.get(change.id);
    const expected = change.kind === 'insert' ? undefined : change.expected;
    if (row?.revision !== expected) return { outcome: 'conflict' };
    this.#commits += 1;
    const revision = String(this.#commits).padStart(12, '0');
    if (change.kind === 'remove') table.delete(change.id);
    else table.set({ id: change.id, revision, value: structuredClone(change.value) });
    return { outcome: 'done', revision };
  }
}

function inDoubt(): FirnError {
  return new FirnError('MetadataUnavailable', 'the outcome of a commit is unknown', {
    retryable: true,
  });
}

/** As RangeQuery.listing has it. */
function listed(document: ObjectDocument): ObjectDocument {
  const newest = document.versions[0];
  if (newest === undefined) return { ...document, history: [] };
  const version = { ...newest, parts: [], headers: {}, metadata: {}, operation: '' };
  return structuredClone({ format: 1, sequence: 0, versions: [version], history: [] });
}

/** The port takes plain data only: what a real store would refuse or lose is refused here. */
function checkPlain(value: unknown, path = ''): void {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return;
  if (value instanceof Uint8Array) return;
  if (typeof value === 'number') {
    assert(Number.isFinite(value), `${path} is ${value}`);
    return;
  }
  assert(typeof value === 'object', `${path} is ${typeof value}`);
  if (Array.isArray(value)) {
    for (const [i, one] of value.entries()) checkPlain(one, `${path}[${i}]`);
    return;
  }
  assert.equal(Object.getPrototypeOf(value), Object.prototype, `${path} is no plain object`);
  for (const [name, one] of Object.entries(value)) checkPlain(one, `${path}.${name}`);
}
