// The store of a rig on a real MongoDB: what a test wants to happen before a commit or a read happens in
// this process, the rest is the server's. A process that dies in the middle of a bulk has done what
// stood before.

import { randomBytes } from 'node:crypto';
import { MongoMetadataStore } from '../appliance/metadata/mongo/mongo-metadata-store.ts';
import { TABLES } from '../appliance/model/metadata-store.ts';
import type {
  Change,
  CommitOptions,
  CommitResult,
  MetadataStore,
  RangeQuery,
  Revision,
  Row,
  Table,
} from '../appliance/model/metadata-store.ts';
import type { RigStore, TestClock } from './move-rig.ts';
import type { Peer } from './peers.ts';

/** Clock of whichever rig has the database now. */
class LentClock {
  lentTo: TestClock | undefined;
  now = (): number => this.lentTo?.now() ?? 0;
  wall = (): number => this.lentTo?.wall() ?? 0;
}

interface Database {
  clock: LentClock;
  store: MongoMetadataStore;
}

/** More at once only keep the server from its heartbeats. */
const DATABASES = 3;
/** A test that failed did not give its database back. */
const KEPT_MS = 30_000;

/**
 * Databases of one server: a rig has one to itself, empty. That of a closed rig is emptied and lent
 * again; who comes while all are lent waits.
 */
export class RigDatabases {
  readonly #server: Promise<Peer>;
  readonly #all: Database[] = [];
  readonly #free: Database[] = [];
  readonly #waiting: ((database: Database | undefined) => void)[] = [];
  #made = 0;

  constructor(server: Promise<Peer>) {
    this.#server = server;
  }

  async open(clock: TestClock): Promise<RigStore> {
    const database = this.#free.pop() ?? (await this.#another());
    await emptied(database.store);
    database.clock.lentTo = clock;
    return new HookedStore(database.store, () => this.#takeBack(database));
  }

  #takeBack(database: Database): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(database);
    else next(database);
  }

  async #another(): Promise<Database> {
    if (this.#made >= DATABASES) {
      const given = await new Promise<Database | undefined>((resolve) => {
        const given = (database: Database | undefined): void => {
          clearTimeout(timer);
          resolve(database);
        };
        const timer = setTimeout(() => {
          this.#waiting.splice(this.#waiting.indexOf(given), 1);
          resolve(undefined);
        }, KEPT_MS);
        this.#waiting.push(given);
      });
      if (given !== undefined) return given;
    }
    this.#made += 1;
    return await this.#make();
  }

  async #make(): Promise<Database> {
    const { url } = await this.#server;
    const name = `firn${randomBytes(6).toString('hex')}`;
    const clock = new LentClock();
    const store = new MongoMetadataStore({
      url: url.replace(/\/(\?|$)/, `/${name}$1`),
      clock,
      processName: 'test',
    });
    await store.open();
    const made = { clock, store };
    this.#all.push(made);
    return made;
  }

  async close(): Promise<void> {
    for (const { store } of this.#all) await store.close();
    await (await this.#server).stop();
  }
}

async function rowsOf<T>(store: MetadataStore, table: Table): Promise<Row<T>[]> {
  return await store.range<T>({ table, limit: 10_000 });
}

async function emptied(store: MetadataStore): Promise<void> {
  for (const table of TABLES) {
    const rows = await rowsOf(store, table);
    const changes = rows.map(({ id, revision }) => {
      return { kind: 'remove', table, id, expected: revision } as const;
    });
    for (let at = 0; at < changes.length; at += 500) await store.bulk(changes.slice(at, at + 500));
  }
}

class HookedStore implements RigStore {
  readonly name: MetadataStore['name'];
  beforeCommit: RigStore['beforeCommit'];
  beforeRead: RigStore['beforeRead'];
  readonly #inner: MetadataStore;
  readonly #closed: () => void;

  constructor(inner: MetadataStore, closed: () => void) {
    this.#inner = inner;
    this.#closed = closed;
    this.name = inner.name;
  }

  async open(): Promise<void> {}

  async close(): Promise<void> {
    this.#closed();
  }

  settled(): Promise<void> {
    return this.#inner.settled();
  }

  healthy(): boolean {
    return this.#inner.healthy();
  }

  async get<T>(
    table: Table,
    id: string,
    options?: { linearizable?: boolean },
  ): Promise<Row<T> | undefined> {
    await this.beforeRead?.(table, id);
    return this.#inner.get<T>(table, id, options);
  }

  async range<T>(query: RangeQuery): Promise<Row<T>[]> {
    await this.beforeRead?.(query.table, query.from ?? query.after);
    return this.#inner.range<T>(query);
  }

  async insert(
    table: Table,
    id: string,
    value: object,
    options?: CommitOptions,
  ): Promise<CommitResult> {
    await this.#before({ kind: 'insert', table, id, value });
    return this.#inner.insert(table, id, value, options);
  }

  async replace(
    change: { table: Table; id: string; expected: Revision; value: object },
    options?: CommitOptions,
  ): Promise<CommitResult> {
    await this.#before({ kind: 'replace', ...change });
    return this.#inner.replace(change, options);
  }

  async remove(
    table: Table,
    id: string,
    expected: Revision,
    options?: CommitOptions,
  ): Promise<CommitResult> {
    await this.#before({ kind: 'remove', table, id, expected });
    return this.#inner.remove(table, id, expected, options);
  }

  async bulk(changes: readonly Change[]): Promise<CommitResult[]> {
    for (const [i, change] of changes.entries()) {
      try {
        await this.#before(change);
      } catch (error) {
        await this.#inner.bulk(changes.slice(0, i));
        throw error;
      }
    }
    return await this.#inner.bulk(changes);
  }

  async #before(change: Change): Promise<void> {
    const fault = await this.beforeCommit?.(change);
    if (fault !== undefined) throw new Error(`a real store can't be told: ${fault}`);
  }

  count(table: Table, bounds?: { from?: string; to?: string }): Promise<number> {
    return this.#inner.count(table, bounds);
  }

  snapshot(): ReturnType<MetadataStore['snapshot']> {
    return this.#inner.snapshot();
  }

  rowsOf<T>(table: Table): Promise<Row<T>[]> {
    return rowsOf<T>(this.#inner, table);
  }
}
