// The port of metadata stores (LMDB, MongoDB). Every commit is one document: there is no
// transaction over two rows anywhere, so that one store and a sharded cluster behave alike. A
// conflict is a value. Rules are cited by number from appliance/metadata/DESIGN.md. Ids are
// non-empty strings of at most 1,500 UTF-8 bytes without NUL; order is that of their UTF-8 bytes.
// Values are plain data: strings, finite numbers, booleans, null, arrays, objects without
// undefined, Uint8Array.

export const TABLES = [
  'accounts', // Account, KeyPair
  'blocks', // Block: immutable
  'buckets', // Bucket, id = bucket name
  'checkpoints', // Checkpoint of a job
  'contents', // Content: where bytes lie that a bucket with dedupe may share
  'events', // EventRow: waits for its consumer
  'garbage', // Garbage: candidates to free
  'heals', // Heal: locations written short of full redundancy
  'leases', // Lease
  'moves', // Move: intents
  'objects', // ObjectDocument, id = objectId()
  'outbox', // the journal's own (lmdb/outbox.ts)
  'packs', // Pack
  'parts', // UploadPart
  'policy-sets', // PolicySet
  'quotas', // QuotaUsage: what buckets and accounts with a quota hold
  'references', // Reference: whose document may name a shared location
  'restores', // RestoreRequest
  'runs', // Run: work that the api asks of the workers
  'settings', // store id, clock offset, ...
  'uploads', // Upload
  'usage', // UsageRow
] as const;
export type Table = (typeof TABLES)[number];

/** Opaque; never repeats in a store, also not after removal and re-creation (A2). */
export type Revision = string;

export interface Row<T> {
  id: string;
  revision: Revision;
  value: T;
}

export interface CommitOptions {
  /**
   * Engine ms after which this commit must not happen (B3): on LMDB compared inside the write
   * transaction, on MongoDB just before it is sent.
   */
  notAfter?: number;
}

/** `expired`: notAfter had passed, nothing was changed. */
export type CommitResult =
  | { outcome: 'done'; revision: Revision }
  | { outcome: 'conflict' }
  | { outcome: 'expired' };

export interface RangeQuery {
  table: Table;
  /** Inclusive lower bound, in either direction. */
  from?: string;
  /** Exclusive lower bound, instead of `from`: where a page that ended with this id goes on. */
  after?: string;
  /** Exclusive upper bound: where a page in reverse goes on. */
  to?: string;
  /** 1 to 10,000. */
  limit: number;
  reverse?: boolean;
  /**
   * Top-level fields to leave out where that is cheap (a hint: they may be present all the same).
   */
  without?: readonly string[];
  /**
   * `objects` only: the caller lists. Each document then comes as a plain LIST needs it, about four
   * times cheaper: `versions` holds at most the newest, with its id, isNull, deleteMarker,
   * lastModified, sizeBytes, etag, storageClass, owner, checksum (perhaps without its value) and
   * restore; its parts, headers, metadata and operation are empty, and so is `history`. Such a
   * value is never written back.
   */
  listing?: boolean;
}

export type Change =
  | { kind: 'insert'; table: Table; id: string; value: object }
  | { kind: 'replace'; table: Table; id: string; expected: Revision; value: object }
  | { kind: 'remove'; table: Table; id: string; expected: Revision };

export interface MetadataStore {
  readonly name: 'lmdb' | 'mongo';
  /** Opens, creates what is missing, refuses what it can't serve (wrong version, newer format). */
  open(): Promise<void>;
  /** Ends what was begun; safe to call twice and after a failed open. */
  close(): Promise<void>;

  /**
   * Sees every commit acknowledged before the call, by any process. `linearizable` (MongoDB only,
   * up to 100 ms on a quiet server) also excludes that a deposed primary answers: for in-doubt
   * commits and the collector, never on the path of a GET or a normal PUT.
   */
  get<T>(
    table: Table,
    id: string,
    options?: { linearizable?: boolean },
  ): Promise<Row<T> | undefined>;

  /**
   * Inserts if absent. `done` is durable on return. Throws MetadataUnavailable when not reachable
   * or still in doubt after one look (B6): the caller then neither repeats nor lists anything.
   */
  insert(table: Table, id: string, value: object, options?: CommitOptions): Promise<CommitResult>;
  /** Replaces the row if it still has this revision. As insert otherwise. */
  replace(
    change: { table: Table; id: string; expected: Revision; value: object },
    options?: CommitOptions,
  ): Promise<CommitResult>;
  /** Removes the row if it still has this revision; `revision` of the result is meaningless. */
  remove(
    table: Table,
    id: string,
    expected: Revision,
    options?: CommitOptions,
  ): Promise<CommitResult>;

  /** One page in id order, as fresh as get. To go on: after = the last id. */
  range<T>(query: RangeQuery): Promise<Row<T>[]>;

  /** Unordered single-document changes, each done or not on its own; results in the order given. */
  bulk(changes: readonly Change[]): Promise<CommitResult[]>;

  /**
   * Rows in the table, or between from and to. May be an estimate only when no bounds are given.
   */
  count(table: Table, bounds?: { from?: string; to?: string }): Promise<number>;

  /** Every row of every table as of one instant (LMDB) or as read in order (MongoDB). */
  snapshot(): AsyncIterable<{ table: Table; id: string; revision: Revision; value: object }>;

  /**
   * Resolves once everything that any read so far could have seen is durable. An answer to a
   * changing request, a freed byte, a call to a cloud or an event that rests on a plain read waits
   * for it (D3): on LMDB with a journal a read may show what a power failure would take back.
   * Immediate elsewhere.
   */
  settled(): Promise<void>;

  /** Approximate health: true while commits can be acknowledged. */
  healthy(): boolean;
}
