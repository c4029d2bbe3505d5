// A metadata store with one-document commits, whose commits are steps of the scheduler. Values are
// frozen when they are committed: whoever changes what it read is found at once. A commit is visible
// before it is journaled, and answered after it (D3): a crash leaves what was journaled, and of what
// was only visible a beginning (`StoreReplay`). A commit may also end in doubt, done or not (B6).

import type { Clock } from '../../appliance/model/clock.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import {
  TABLES,
  type Change,
  type CommitOptions,
  type CommitResult,
  type MetadataStore,
  type RangeQuery,
  type Row,
  type Table,
} from '../../appliance/model/metadata-store.ts';
import { checkFormat, checkId, checkRange } from '../../appliance/metadata/base/rules.ts';
import type { Seeded } from './random.ts';
import type { Scheduler, Step } from './scheduler.ts';

type Stored = Row<unknown>;

export type StoreStep = Step & {
  change: Change;
  revision: string;
  /** Position at which it was durable: visible from its end on, and taken back until then (D4). */
  journaled: number;
};

/** What a store may get wrong, for mutants. */
export interface StoreLies {
  /** An insert of a row that is there replaces it. */
  insertPuts?: boolean;
  /** A replace looks at no revision. */
  replaceBlind?: boolean;
  /** Commits are acknowledged before they are durable, and lost with the power. */
  unflushed?: boolean;
}

/** UTF-8 bytes as one character each: JavaScript's own order is then that of the bytes. */
const orderKey = (id: string): string => Buffer.from(id, 'utf8').toString('latin1');

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value;
  for (const one of Object.values(value)) frozen(one);
  return Object.freeze(value);
}

/** Rows of one table in order; shared by copies until one is changed. */
class Rows {
  readonly #rows: Map<string, Stored>;
  #keys: string[] | undefined;

  constructor(rows = new Map<string, Stored>()) {
    this.#rows = rows;
  }

  get(id: string): Stored | undefined {
    return this.#rows.get(id);
  }

  with(id: string, row: Stored | undefined): Rows {
    const rows = new Map(this.#rows);
    if (row === undefined) rows.delete(id);
    else rows.set(id, row);
    return new Rows(rows);
  }

  get keys(): string[] {
    this.#keys ??= [...this.#rows.keys()].map(orderKey).toSorted();
    return this.#keys;
  }

  row(key: string): Stored {
    return this.#rows.get(Buffer.from(key, 'latin1').toString('utf8')) as Stored;
  }
}

export type Tables = ReadonlyMap<Table, Rows>;

export class SimStore implements MetadataStore {
  readonly name = 'lmdb';
  tables: Map<Table, Rows>;
  scheduler: Scheduler | undefined;
  readonly record: StoreStep[] = [];
  lies: StoreLies = {};
  /** Asked before each commit: the fate of its answer. */
  doubt: ((change: Change) => 'done' | 'lost' | undefined) | undefined;
  /** A process may stop here, before it reads or commits, and go on much later. */
  door: ((call: 'get' | Change['kind'], table: Table) => Promise<void> | undefined) | undefined;
  readonly #clock: Clock;
  #commits: number;
  #unjournaled: StoreStep[] = [];
  #round: Promise<void> | undefined;

  constructor(clock: Clock, tables?: Tables, commits = 0) {
    this.#clock = clock;
    this.tables = new Map(tables ?? TABLES.map((table) => [table, new Rows()]));
    this.#commits = commits;
  }

  async open(): Promise<void> {}
  async close(): Promise<void> {}
  healthy(): boolean {
    return true;
  }

  async get<T>(table: Table, id: string): Promise<Row<T> | undefined> {
    checkId(table, id);
    await this.door?.('get', table);
    return this.#rows(table).get(id) as Row<T> | undefined;
  }

  insert(table: Table, id: string, value: object, options?: CommitOptions): Promise<CommitResult> {
    return this.#commit({ kind: 'insert', table, id, value }, options);
  }

  replace(
    change: { table: Table; id: string; expected: string; value: object },
    options?: CommitOptions,
  ): Promise<CommitResult> {
    return this.#commit({ kind: 'replace', ...change }, options);
  }

  remove(
    table: Table,
    id: string,
    expected: string,
    options?: CommitOptions,
  ): Promise<CommitResult> {
    return this.#commit({ kind: 'remove', table, id, expected }, options);
  }

  bulk(changes: readonly Change[]): Promise<CommitResult[]> {
    return Promise.all(changes.map((change) => this.#commit(change, undefined)));
  }

  async range<T>(query: RangeQuery): Promise<Row<T>[]> {
    checkRange(query);
    const { table, from, after, to, limit, reverse = false } = query;
    const low = after === undefined ? orderKey(from ?? '') : `${orderKey(after)}\0`;
    const high = to === undefined ? undefined : orderKey(to);
    const rows = this.#rows(table);
    const all = rows.keys.filter((key) => key >= low && (high === undefined || key < high));
    const page = reverse ? all.reverse().slice(0, limit) : all.slice(0, limit);
    return page.map((key) => rows.row(key) as Row<T>);
  }

  async count(table: Table, bounds?: { from?: string; to?: string }): Promise<number> {
    const { from = '', to } = bounds ?? {};
    const high = to === undefined ? undefined : orderKey(to);
    return this.#rows(table).keys.filter(
      (key) => key >= orderKey(from) && (high === undefined || key < high),
    ).length;
  }

  async *snapshot(): ReturnType<MetadataStore['snapshot']> {
    for (const table of TABLES) {
      for (const row of this.rowsOf(table)) yield { table, ...(row as Row<object>) };
    }
  }

  rowsOf<T>(table: Table): Row<T>[] {
    const rows = this.#rows(table);
    return rows.keys.map((key) => rows.row(key) as Row<T>);
  }

  #rows(table: Table): Rows {
    return this.tables.get(table) as Rows;
  }

  async #commit(change: Change, options: CommitOptions | undefined): Promise<CommitResult> {
    checkId(change.table, change.id);
    const copy = { ...change };
    if (copy.kind !== 'remove') {
      checkFormat(copy.table, copy.id, copy.value);
      copy.value = frozen(structuredClone(copy.value));
    }
    await this.door?.(copy.kind, copy.table);
    const { scheduler } = this;
    if (scheduler === undefined || !scheduler.recording) {
      await Promise.resolve();
      return this.#apply(copy, options);
    }
    const name = `${scheduler.phase}/commit-${change.kind}/${change.table}`;
    const step: StoreStep = {
      name,
      begin: 0,
      end: Infinity,
      failed: false,
      change: copy,
      revision: '',
      journaled: Infinity,
    };
    this.record.push(step);
    const result = await scheduler.step(step, () => {
      const doubt = this.doubt?.(change);
      if (doubt === 'lost') throw inDoubt();
      const applied = this.#apply(copy, options);
      if (applied.outcome === 'done') {
        step.revision = applied.revision;
        this.#unjournaled.push(step);
      } else step.failed = true;
      if (doubt === 'done') {
        // Its outcome stands, only the answer is lost: the record must not call it undone.
        queueMicrotask(() => {
          step.failed = applied.outcome !== 'done';
        });
        throw inDoubt();
      }
      return applied;
    });
    const durable = this.#journaled(scheduler);
    if (this.lies.unflushed !== true) await durable;
    return result;
  }

  /** Everything that is visible now is durable on return: one log, in commit order, by batches. */
  async #journaled(scheduler: Scheduler): Promise<void> {
    const last = this.#unjournaled.at(-1);
    while (last !== undefined && last.journaled === Infinity) {
      this.#round ??= this.#journal(scheduler);
      await this.#round;
    }
  }

  async #journal(scheduler: Scheduler): Promise<void> {
    const batch = [...this.#unjournaled];
    const name = `${scheduler.phase}/journal-append/metadata`;
    const step: Step = { name, begin: 0, end: Infinity, failed: false };
    await scheduler.step(step, () => undefined);
    for (const one of batch) one.journaled = step.end;
    this.#unjournaled = this.#unjournaled.filter((one) => !batch.includes(one));
    this.#round = undefined;
  }

  async settled(): Promise<void> {
    if (this.scheduler?.recording !== true) return;
    await this.#journaled(this.scheduler);
  }

  #apply(change: Change, options: CommitOptions | undefined): CommitResult {
    if (options?.notAfter !== undefined && this.#clock.now() > options.notAfter) {
      return { outcome: 'expired' };
    }
    const row = this.#rows(change.table).get(change.id);
    if (!fits(change, row, this.lies)) return { outcome: 'conflict' };
    this.#commits += 1;
    const revision = String(this.#commits).padStart(12, '0');
    this.tables = withChange(this.tables, change, revision);
    return { outcome: 'done', revision };
  }
}

function fits(change: Change, row: Stored | undefined, lies: StoreLies): boolean {
  if (change.kind === 'insert') return row === undefined || lies.insertPuts === true;
  return row !== undefined && (row.revision === change.expected || lies.replaceBlind === true);
}

function withChange(tables: Tables, change: Change, revision: string): Map<Table, Rows> {
  const { table, id } = change;
  const row = change.kind === 'remove' ? undefined : { id, revision, value: change.value };
  const next = new Map(tables);
  next.set(table, (tables.get(table) as Rows).with(id, row));
  return next;
}

function inDoubt(): FirnError {
  return new FirnError('MetadataUnavailable', 'the outcome of a commit is unknown', {
    retryable: true,
  });
}

/**
 * What the store holds after a crash: all that was journaled, and of what was visible beyond it a
 * beginning, in commit order. What was still on its way never happened.
 */
export class StoreReplay {
  #tables: Tables;
  readonly #record: readonly StoreStep[];
  #next = 0;
  #open: StoreStep[] = [];
  #visible: StoreStep[] = [];
  settled = true;

  constructor(start: Tables, record: readonly StoreStep[]) {
    this.#tables = start;
    this.#record = record;
  }

  advance(p: number): void {
    for (; this.#next < this.#record.length; this.#next += 1) {
      const step = this.#record[this.#next] as StoreStep;
      if (step.begin >= p) break;
      this.#open.push(step);
    }
    this.#open = this.#open.filter((step) => !step.failed || step.end >= p);
    const byEnd = this.#open.filter((step) => step.end < p).toSorted((a, b) => a.end - b.end);
    for (const step of byEnd) {
      if (step.journaled >= p) continue;
      this.#tables = withChange(this.#tables, step.change, step.revision);
      this.#open.splice(this.#open.indexOf(step), 1);
    }
    this.#visible = byEnd.filter((step) => step.journaled >= p);
    this.settled = this.#visible.length === 0;
  }

  tables(draw: Seeded, note: (choice: number) => void): Tables {
    const count = draw.below(this.#visible.length + 1);
    note(count);
    let tables = this.#tables;
    for (const { change, revision } of this.#visible.slice(0, count)) {
      tables = withChange(tables, change, revision);
    }
    return tables;
  }
}
