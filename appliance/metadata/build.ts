// Which store serves: MongoDB where a URL is given, else the LMDB environment under the data
// directory. The driver of MongoDB is loaded only then: it costs 100 ms and 30 MB that a laptop
// needn't pay.

import { join } from 'node:path';
import type { Clock, Random } from '../model/clock.ts';
import type {
  Change,
  CommitOptions,
  CommitResult,
  MetadataStore,
} from '../model/metadata-store.ts';
import type { RangeQuery, Revision, Row, Table } from '../model/metadata-store.ts';
import { FirnError } from '../model/errors.ts';
import type { CommitJournal } from './lmdb/commit-queue.ts';
import { LmdbMetadataStore } from './lmdb/lmdb-metadata-store.ts';
import type {
  MongoMetadataStore,
  MongoMetadataStoreOptions,
} from './mongo/mongo-metadata-store.ts';

export interface MetadataSettings {
  /** mongodb:// or mongodb+srv://, with the database as path (`firn` without). Absent: LMDB. */
  url?: string;
  /** The store's own directory is `metadata` in it. */
  dataDirectory: string;
  clock: Clock;
  random: Random;
  /** LMDB: the journal, which another process writes. */
  journal?: CommitJournal;
  /** Names this process in heartbeats and in the server's log. */
  processName: string;
}

/** Builds, opens nothing. */
export function buildMetadata(settings: MetadataSettings): MetadataStore {
  const { url, dataDirectory, clock, journal, processName } = settings;
  if (url !== undefined) return new DeferredMongoStore({ url, clock, processName });
  const directory = join(dataDirectory, 'metadata');
  return new LmdbMetadataStore({ directory, clock, ...(journal && { journal, inPlace: true }) });
}

/** The MongoDB store, its module and the driver loaded by open(). Passes everything on. */
class DeferredMongoStore implements MetadataStore {
  readonly name = 'mongo';
  readonly #options: MongoMetadataStoreOptions;
  #store: MongoMetadataStore | undefined;

  constructor(options: MongoMetadataStoreOptions) {
    this.#options = options;
  }

  async open(): Promise<void> {
    const { MongoMetadataStore } = await import('./mongo/mongo-metadata-store.ts');
    this.#store ??= new MongoMetadataStore(this.#options);
    await this.#store.open();
  }

  async close(): Promise<void> {
    await this.#store?.close();
  }

  healthy(): boolean {
    return this.#store?.healthy() === true;
  }

  get<T>(
    table: Table,
    id: string,
    options?: { linearizable?: boolean },
  ): Promise<Row<T> | undefined> {
    return this.#opened().get<T>(table, id, options);
  }

  insert(table: Table, id: string, value: object, options?: CommitOptions): Promise<CommitResult> {
    return this.#opened().insert(table, id, value, options);
  }

  replace(
    change: { table: Table; id: string; expected: Revision; value: object },
    options?: CommitOptions,
  ): Promise<CommitResult> {
    return this.#opened().replace(change, options);
  }

  remove(
    table: Table,
    id: string,
    expected: Revision,
    options?: CommitOptions,
  ): Promise<CommitResult> {
    return this.#opened().remove(table, id, expected, options);
  }

  range<T>(query: RangeQuery): Promise<Row<T>[]> {
    return this.#opened().range<T>(query);
  }

  bulk(changes: readonly Change[]): Promise<CommitResult[]> {
    return this.#opened().bulk(changes);
  }

  count(table: Table, bounds?: { from?: string; to?: string }): Promise<number> {
    return this.#opened().count(table, bounds);
  }

  settled(): Promise<void> {
    return this.#opened().settled();
  }

  snapshot(): ReturnType<MetadataStore['snapshot']> {
    return this.#opened().snapshot();
  }

  #opened(): MongoMetadataStore {
    if (this.#store !== undefined) return this.#store;
    throw new FirnError('MetadataUnavailable', 'the metadata store is not open');
  }
}
