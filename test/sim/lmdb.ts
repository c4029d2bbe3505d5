// An LMDB environment in memory under the real store, commit queue and index: what of lmdb they use,
// with its semantics. A transaction is visible to every process at once or not at all, a read
// transaction keeps its instant. Each commit's state is kept, so a crash may leave any of them.

import type { RootDatabase } from 'lmdb';
import type { Scheduler, Step } from './scheduler.ts';

type Key = string | Buffer;
interface Range {
  start?: Key;
  end?: Key;
  limit?: number;
  reverse?: boolean;
  exclusiveStart?: boolean;
  inclusiveEnd?: boolean;
  transaction?: View;
}

/** UTF-8 bytes as one character each: JavaScript's own order is then that of the bytes. */
const keyOf = (key: Key): string =>
  (typeof key === 'string' ? Buffer.from(key, 'utf8') : key).toString('latin1');

/** Rows of one sub-database; never changed, shared by states. */
class Sheet {
  readonly rows: ReadonlyMap<string, Buffer>;
  #keys: string[] | undefined;

  constructor(rows: ReadonlyMap<string, Buffer> = new Map()) {
    this.rows = rows;
  }

  get keys(): readonly string[] {
    this.#keys ??= [...this.rows.keys()].toSorted();
    return this.#keys;
  }

  with(key: string, value: Buffer | undefined): Sheet {
    const rows = new Map(this.rows);
    if (value === undefined) rows.delete(key);
    else rows.set(key, value);
    return new Sheet(rows);
  }

  range(range: Range): string[] {
    const { start, end, limit, reverse, exclusiveStart, inclusiveEnd } = range;
    const [first, last] = [start, end].map((key) => (key === undefined ? undefined : keyOf(key)));
    const [low, high] = reverse === true ? [last, first] : [first, last];
    const withLow = reverse === true ? inclusiveEnd === true : exclusiveStart !== true;
    const withHigh = reverse === true ? exclusiveStart !== true : inclusiveEnd === true;
    const found = this.keys.filter(
      (key) =>
        (low === undefined || key > low || (withLow && key === low)) &&
        (high === undefined || key < high || (withHigh && key === high)),
    );
    if (reverse === true) found.reverse();
    return found.slice(0, limit);
  }
}

/** All rows at one instant. */
export type LmdbState = ReadonlyMap<string, Sheet>;

interface View {
  state: LmdbState;
  done(): void;
}

/** The file: survives processes, which each open it. */
export class SimLmdb {
  state: LmdbState;
  scheduler: Scheduler | undefined;
  /** What stood since which position. */
  readonly commits: { at: number; state: LmdbState }[] = [];
  #draft: LmdbState | undefined;

  constructor(state: LmdbState = new Map()) {
    this.state = state;
  }

  /** Begins the record with what stands. */
  record(): void {
    this.commits.splice(0, Infinity, { at: this.scheduler?.position ?? 0, state: this.state });
  }

  /** Inside a transaction its own rows, outside what was committed last. */
  get now(): LmdbState {
    return this.#draft ?? this.state;
  }

  sheet(name: string, view?: View): Sheet {
    return (view?.state ?? this.now).get(name) ?? new Sheet();
  }

  put(name: string, key: string, value: Buffer | undefined): void {
    if (this.#draft === undefined) throw new Error(`${name} is written outside a transaction`);
    this.#draft = new Map(this.#draft).set(name, this.sheet(name).with(key, value));
  }

  transact<T>(work: () => T): T {
    this.#draft = this.state;
    try {
      const answer = work();
      if (this.#draft !== this.state) this.#commit(this.#draft);
      return answer;
    } finally {
      this.#draft = undefined;
    }
  }

  #commit(state: LmdbState): void {
    this.state = state;
    const { scheduler } = this;
    if (scheduler === undefined || !scheduler.recording) return;
    const at = scheduler.mark(`${scheduler.phase}/commit/lmdb`);
    this.commits.push({ at, state });
  }

  /** What `open` of lmdb gives. */
  readonly open = (): RootDatabase => this.#environment();

  #environment(): RootDatabase {
    const environment = {
      openDB: (name: string) => new Table(this, name),
      transactionSync: <T>(work: () => T): T => this.transact(work),
      childTransaction: async <T>(work: () => T): Promise<T> => {
        const { scheduler } = this;
        if (scheduler === undefined || !scheduler.recording) {
          await Promise.resolve();
          return this.transact(work);
        }
        const name = `${scheduler.phase}/transaction/lmdb`;
        const step: Step = { name, begin: 0, end: Infinity, failed: false };
        return await scheduler.step(step, () => this.transact(work));
      },
      close: () => Promise.resolve(),
    };
    return environment as unknown as RootDatabase;
  }
}

const answered = (result: boolean): Promise<boolean> & { result?: boolean } =>
  Object.assign(Promise.resolve(result), { result });

class Table {
  readonly #file: SimLmdb;
  readonly #name: string;

  constructor(file: SimLmdb, name: string) {
    this.#file = file;
    this.#name = name;
  }

  resetReadTxn(): void {}

  useReadTransaction(): View {
    return { state: this.#file.now, done: () => undefined };
  }

  getBinaryFast(id: Key, options?: { transaction?: View }): Buffer | undefined {
    return this.#file.sheet(this.#name, options?.transaction).rows.get(keyOf(id));
  }

  put(id: Key, record: Buffer, options?: { noOverwrite?: boolean }): Promise<boolean> {
    const key = keyOf(id);
    const isThere = this.#file.sheet(this.#name).rows.has(key);
    if (isThere && options?.noOverwrite === true) return answered(false);
    this.#file.put(this.#name, key, Buffer.from(record));
    return answered(true);
  }

  remove(id: Key): Promise<boolean> {
    const key = keyOf(id);
    const isThere = this.#file.sheet(this.#name).rows.has(key);
    if (isThere) this.#file.put(this.#name, key, undefined);
    return answered(isThere);
  }

  getRange(range: Range = {}) {
    const sheet = this.#file.sheet(this.#name, range.transaction);
    const rows = sheet.range(range).map((key) => ({
      key: Buffer.from(key, 'latin1').toString('utf8'),
      value: sheet.rows.get(key) as Buffer,
    }));
    return { [Symbol.iterator]: () => rows.values(), iterate: () => rows.values() };
  }

  getKeys(range: Range = {}): string[] {
    return [...this.getRange(range)].map(({ key }) => key);
  }

  getKeysCount(range: Range = {}): number {
    return this.#file.sheet(this.#name, range.transaction).range(range).length;
  }

  getStats(): { entryCount: number } {
    return { entryCount: this.#file.sheet(this.#name).rows.size };
  }
}

/**
 * What a crash leaves: killed, the file as it was committed last; without power nothing that is
 * believed (D4), or an earlier commit, as a directory put back shows it (D6).
 */
export class LmdbReplay {
  readonly #commits: SimLmdb['commits'];
  #known = 0;
  settled = true;

  constructor(file: SimLmdb) {
    this.#commits = file.commits;
  }

  advance(p: number): void {
    while (this.#known < this.#commits.length && (this.#commits[this.#known]?.at ?? p) < p) {
      this.#known += 1;
    }
    // A crash always has several ends: the file may be gone.
    this.settled = false;
  }

  state(
    kind: 'kill' | 'lost' | 'torn',
    draw: { below(count: number): number },
    note: (choice: number) => void,
  ): LmdbState | undefined {
    const luck = draw.below(8);
    const isGone = kind === 'kill' ? luck === 0 : luck < 5;
    const back = kind === 'kill' || isGone ? 0 : draw.below(Math.min(this.#known, 12));
    note(isGone ? 999 : back);
    return isGone ? undefined : this.#commits[this.#known - 1 - back]?.state;
  }
}
