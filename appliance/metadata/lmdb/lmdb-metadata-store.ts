// Metadata in one LMDB environment: the embedded default. A read is a memory-mapped look-up of some
// microseconds, a commit is synced before it is acknowledged and before anybody can read it, and
// all processes of a host open the same environment and see each other's commits at once. The traps
// that this file walks around are listed, with what was measured, in ../DESIGN.md.

import { open, type Database, type RootDatabase } from 'lmdb';
import { mkdirSync } from 'node:fs';
import type { Clock } from '../../model/clock.ts';
import { FirnError, isFirnError } from '../../model/errors.ts';
import { TABLES } from '../../model/metadata-store.ts';
import type {
  Change,
  CommitOptions,
  CommitResult,
  MetadataStore,
} from '../../model/metadata-store.ts';
import type { RangeQuery, Revision, Row, Table } from '../../model/metadata-store.ts';
import { checkId, checkRange, ID_BYTES_MAX, newerFormat } from '../base/rules.ts';
import { CommitQueue } from './commit-queue.ts';
import type { CommitJournal, PendingChange, TableHandle } from './commit-queue.ts';
import { KeptRows } from './kept-rows.ts';
import { LmdbIndex, type RawTable } from './lmdb-index.ts';
import { OUTBOX } from './outbox.ts';
import { decodeListing, decodeRecord, encodeRecord } from './record.ts';

/** Version of the layout of the whole environment: tables, their names, the key order. */
const STORE_FORMAT = 1;
/** Name of the sub-database of the store's own values; no table of the port is called so. */
const OWN = 'firn';
const FORMAT_KEY = 'format';
/** Least key: ids have no NUL. */
const FIRST_ID = '\u0001';
/** Above every id: no UTF-8 has this byte. */
const AFTER_ALL = Buffer.from([0xff]);
/** Address space, not disk: the file grows as it fills. */
const MAP_BYTES = 2 ** 40;
const READERS_MAX = 512;
const TABLES_MAX = 32;
const SNAPSHOT_PAGE = 256;

export interface LmdbMetadataStoreOptions {
  /** Directory of the environment; made if missing. Not on a network file system. */
  directory: string;
  clock: Clock;
  /** Makes commits durable in place of lmdb's own syncs (D); the directory is then an index. */
  journal?: CommitJournal;
  /** With a journal: commit on this thread (commit-queue.ts). */
  inPlace?: boolean;
  /** What opens the environment; a simulator has one whose crashes it chooses. */
  openEnvironment?: OpenEnvironment;
}

type EnvironmentOptions = Parameters<typeof open>[0] & { path: string };
type OpenEnvironment = (options: EnvironmentOptions) => RootDatabase;
type Handle = Database<Buffer, Bound> & TableHandle;
/** A key to scan from or to. */
type Bound = string | Buffer;
type Scan = NonNullable<Parameters<Handle['getRange']>[0]>;
interface SnapshotRow {
  table: Table;
  id: string;
  revision: Revision;
  value: object;
}

// Ids as UTF-8, in and out of lmdb's own buffers. lmdb asks again with more room after a
// RangeError; utf8Write alone would cut the id short without a word.
const KEY_ENCODER = {
  writeKey(id: string | Uint8Array, target: Buffer, start: number): number {
    if (typeof id !== 'string') {
      target.set(id, start);
      return start + id.length;
    }
    const room = target.length - start;
    if (id.length * 3 > room && Buffer.byteLength(id, 'utf8') > room) {
      throw new RangeError('no room for the id');
    }
    return start + target.write(id, start, 'utf8');
  },
  readKey(source: Buffer, start: number, end: number): string {
    return source.toString('utf8', start, end);
  },
};

// A value is lent: lmdb reads the next one into the same buffer. Nothing is copied before it is
// decoded.
const LENDING = { encode: (record: Buffer) => record, decode: (record: Buffer) => record };

export class LmdbMetadataStore implements MetadataStore {
  readonly name = 'lmdb';
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #journal: CommitJournal | undefined;
  readonly #inPlace: boolean;
  readonly #openEnvironment: OpenEnvironment;
  #environment: RootDatabase | undefined;
  #index: LmdbIndex | undefined;
  #tables = new Map<Table, Handle>();
  #queue: CommitQueue | undefined;
  #fence: Error | undefined;
  readonly #kept = new KeptRows();

  constructor(options: LmdbMetadataStoreOptions) {
    this.#directory = options.directory;
    this.#clock = options.clock;
    this.#journal = options.journal;
    this.#inPlace = options.journal !== undefined && options.inPlace === true;
    this.#openEnvironment = options.openEnvironment ?? openDirectory;
  }

  async open(): Promise<void> {
    try {
      await this.#open();
    } catch (error) {
      await this.close();
      if (isFirnError(error)) throw error;
      throw new FirnError('MetadataUnavailable', 'the metadata directory can not be opened', {
        subject: this.#directory,
        cause: error,
        hint: `look at its owner, its drive and the space left: ${String(error)}`,
      });
    }
  }

  async #open(): Promise<void> {
    const environment = this.#openEnvironment({
      path: this.#directory,
      noSubdir: false,
      maxDbs: TABLES_MAX,
      maxReaders: READERS_MAX,
      mapSize: MAP_BYTES,
      // Synced, then visible: nobody reads what a power failure could take back. With a journal
      // nothing is synced here: what a power failure leaves is thrown away (directory-state.ts).
      overlappingSync: false,
      ...(this.#journal === undefined ? {} : { noSync: true }),
      // Our own queue gathers a turn; lmdb's gathering leaves a rejection unhandled when a commit
      // fails.
      eventTurnBatching: false,
    } as EnvironmentOptions);
    this.#environment = environment;
    const own = openHandle(environment, OWN);
    await checkStoreFormat(environment, own, this.#directory);
    for (const table of TABLES) this.#tables.set(table, openHandle(environment, table));
    const raw = this.#tables as ReadonlyMap<Table, unknown> as ReadonlyMap<Table, RawTable>;
    this.#index = new LmdbIndex({ environment, own: own as unknown as RawTable, tables: raw });
    this.#queue = new CommitQueue({
      environment,
      own,
      clock: this.#clock,
      journal: this.#journal,
      inPlace: this.#inPlace,
      outbox: this.#journal && this.#tables.get(OUTBOX),
      onFence: (cause) => (this.#fence = cause),
    });
  }

  async close(): Promise<void> {
    const environment = this.#environment;
    this.#environment = undefined;
    await this.#queue?.drain();
    this.#queue = undefined;
    this.#tables = new Map();
    await environment?.close();
  }

  /** For the journal; only of an open store. */
  get index(): LmdbIndex {
    this.#check();
    return this.#index as LmdbIndex;
  }

  async settled(): Promise<void> {
    const journal = this.#journal;
    if (journal === undefined) return;
    const { number } = this.index.state();
    if (number > journal.journaled) await journal.settled(number);
  }

  healthy(): boolean {
    return this.#environment !== undefined && this.#fence === undefined;
  }

  async get<T>(table: Table, id: string): Promise<Row<T> | undefined> {
    checkId(table, id);
    const handle = this.#fresh(table);
    const record = handle.getBinaryFast(id);
    return record === undefined ? undefined : this.#kept.decode<T>(table, id, record);
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
    // A value that can't be stored is found before any of them is on its way.
    const pending = changes.map((change) => this.#pending(change));
    const queue = this.#writable();
    return Promise.all(pending.map((change) => queue.commit(change)));
  }

  async range<T>(query: RangeQuery): Promise<Row<T>[]> {
    checkRange(query);
    const { table, from, after, to, limit, reverse = false } = query;
    const handle = this.#fresh(table);
    if (to === '') return [];
    const lower = after === undefined ? lowerBound(from) : bound(`${after}\0`);
    const upper = to === undefined ? AFTER_ALL : bound(to);
    const options: Scan = reverse
      ? { start: upper, exclusiveStart: true, end: lower, inclusiveEnd: true, reverse, limit }
      : { start: lower, end: upper, limit };
    return scan<T>(handle, options, query.listing === true ? decodeListing : decodeRecord, table);
  }

  async count(table: Table, bounds?: { from?: string; to?: string }): Promise<number> {
    const handle = this.#fresh(table);
    if (bounds?.from === undefined && bounds?.to === undefined) {
      return (handle.getStats() as { entryCount: number }).entryCount;
    }
    if (bounds.to === '') return 0;
    const end = bounds.to === undefined ? AFTER_ALL : bound(bounds.to);
    return handle.getKeysCount({ start: lowerBound(bounds.from), end });
  }

  /** One read transaction over all tables: pins the pages of its instant until it ends. */
  async *snapshot(): AsyncGenerator<SnapshotRow> {
    const transaction = this.#fresh('objects').useReadTransaction();
    try {
      for (const table of TABLES) {
        if (table === OUTBOX && this.#journal !== undefined) continue;
        const handle = this.#handle(table);
        let start = FIRST_ID;
        for (;;) {
          const page: Scan = { start, end: AFTER_ALL, limit: SNAPSHOT_PAGE, transaction };
          const rows = scan<object>(handle, page, decodeRecord, table);
          for (const { id, revision, value } of rows) yield { table, id, revision, value };
          const last = rows.at(-1);
          if (last === undefined || rows.length < SNAPSHOT_PAGE) break;
          start = `${last.id}\0`;
        }
      }
    } finally {
      transaction.done();
    }
  }

  #commit(change: Change, options: CommitOptions | undefined): Promise<CommitResult> {
    const pending = this.#pending(change);
    if (options?.notAfter !== undefined) pending.notAfter = options.notAfter;
    return this.#writable().commit(pending);
  }

  #pending(change: Change): PendingChange {
    const { table, id } = change;
    checkId(table, id);
    const pending: PendingChange = { handle: this.#handle(table), table, id };
    if (change.kind !== 'remove') pending.record = encodeRecord(table, change.value);
    if (change.kind !== 'insert') pending.expected = change.expected;
    return pending;
  }

  #writable(): CommitQueue {
    this.#check();
    return this.#queue as CommitQueue;
  }

  /** The table, to be read as of now: without the reset a turn's first snapshot would serve on. */
  #fresh(table: Table): Handle {
    const handle = this.#handle(table);
    handle.resetReadTxn();
    return handle;
  }

  #handle(table: Table): Handle {
    this.#check();
    return this.#tables.get(table) as Handle;
  }

  #check(): void {
    if (this.#fence !== undefined) {
      throw new FirnError('MetadataUnavailable', 'metadata is fenced: a commit was not synced', {
        subject: this.#directory,
        cause: this.#fence,
        hint: 'the drive under the metadata directory fails: replace it, then start again',
      });
    }
    if (this.#queue === undefined || this.#environment === undefined) {
      throw new FirnError('MetadataUnavailable', 'the metadata store is not open', {
        subject: this.#directory,
      });
    }
  }
}

function openDirectory(options: EnvironmentOptions): RootDatabase {
  mkdirSync(options.path, { recursive: true, mode: 0o700 });
  return open(options);
}

function openHandle(environment: RootDatabase, name: string): Handle {
  const options = { keyEncoder: KEY_ENCODER, encoder: LENDING };
  return environment.openDB<Buffer, Bound>(name, options as object) as unknown as Handle;
}

async function checkStoreFormat(
  environment: RootDatabase,
  own: Handle,
  directory: string,
): Promise<void> {
  await environment.childTransaction(() => {
    void own.put(FORMAT_KEY, Buffer.from(String(STORE_FORMAT)), { noOverwrite: true });
  });
  own.resetReadTxn();
  const held = own.getBinaryFast(FORMAT_KEY);
  const format = held?.toString('latin1', 0, held.length);
  if (format !== String(STORE_FORMAT)) throw newerFormat(directory, `store ${format}`);
}

function lowerBound(from: string | undefined): Bound {
  return from === undefined || from === '' ? FIRST_ID : bound(from);
}

/**
 * Bounds may be longer than any id, and than LMDB takes; the first byte too many decides already.
 */
function bound(text: string): Bound {
  if (text.length * 3 <= ID_BYTES_MAX) return text;
  const bytes = Buffer.from(text, 'utf8');
  return bytes.length <= ID_BYTES_MAX + 1 ? bytes : bytes.subarray(0, ID_BYTES_MAX + 1);
}

function scan<T>(
  handle: Handle,
  options: Scan,
  decode: <V>(table: Table, id: string, record: Buffer) => Row<V>,
  table: Table,
): Row<T>[] {
  const rows: Row<T>[] = [];
  // By hand and to the end: for…of over lmdb's range costs twice as much, and an iterator left half
  // way would hold its snapshot.
  const iterator = (handle.getRange(options) as unknown as { iterate(): RawIterator }).iterate();
  try {
    for (let step = iterator.next(); step.done !== true; step = iterator.next()) {
      const { key, value } = step.value;
      rows.push(decode<T>(table, key, value));
    }
  } catch (error) {
    iterator.return();
    throw error;
  }
  return rows;
}

type RawIterator = Required<Iterator<{ key: string; value: Buffer }, undefined>>;
