// Metadata in MongoDB (a replica set, or a sharded cluster behind mongos): the store of an
// installation of several hosts. Every change is one document, acknowledged by a majority's
// journals, read as a majority has it. What a lost connection leaves in doubt is looked at once,
// linearizably, and otherwise told as it is (B6). Without a majority for 3 s nothing is answered
// (heartbeat.ts).

import { ObjectId, type Collection, type Filter } from 'mongodb';
import type { Clock } from '../../model/clock.ts';
import { FirnError, isFirnError } from '../../model/errors.ts';
import { TABLES } from '../../model/metadata-store.ts';
import type { Change, CommitOptions, CommitResult } from '../../model/metadata-store.ts';
import type {
  MetadataStore,
  RangeQuery,
  Revision,
  Row,
  Table,
} from '../../model/metadata-store.ts';
import { checkId, checkRange } from '../base/rules.ts';
import { applyBulk, BULK_MAX, done, documentOf, filterOf } from './bulk.ts';
import type { BulkOutcome, Planned } from './bulk.ts';
import { decodeDocument, decodeListed, LISTING_PROJECTION } from './document.ts';
import type { StoredDocument } from './document.ts';
import { FindQueue } from './find-queue.ts';
import { Heartbeat, type HeartbeatDocument } from './heartbeat.ts';
import { InsertQueue } from './insert-queue.ts';
import { connect, redacted, unavailable, type Connection } from './server.ts';

/** A linearizable read waits for a majority: this long, then the doubt stays. */
const LOOK_TIMEOUT_MS = 5000;
/** In-doubt changes of one bulk looked at together. */
const LOOKS_MAX = 64;
const SNAPSHOT_PAGE = 256;

const CONFLICT: CommitResult = { outcome: 'conflict' };
const EXPIRED: CommitResult = { outcome: 'expired' };

export interface MongoMetadataStoreOptions {
  url: string;
  clock: Clock;
  processName: string;
}

interface SnapshotRow {
  table: Table;
  id: string;
  revision: Revision;
  value: object;
}

interface Opened extends Connection {
  heartbeat: Heartbeat;
  finds: FindQueue;
  inserts: InsertQueue;
}

export class MongoMetadataStore implements MetadataStore {
  readonly name = 'mongo';
  readonly #options: MongoMetadataStoreOptions;
  readonly #subject: string;
  #opened: Opened | undefined;
  #collections = new Map<Table, Collection<StoredDocument>>();
  /** One a call that waits for the server: ends it. */
  readonly #waiting = new Set<(error: FirnError) => void>();
  #idle: (() => void)[] = [];

  constructor(options: MongoMetadataStoreOptions) {
    this.#options = options;
    this.#subject = redacted(options.url);
  }

  async open(): Promise<void> {
    const { url, processName, clock } = this.#options;
    const connection = await connect(url, processName);
    const { client, database } = connection;
    const beats = database.collection<HeartbeatDocument>('heartbeats');
    const heartbeat = new Heartbeat(beats, processName, (error) => {
      for (const end of this.#waiting) end(error);
    });
    try {
      await heartbeat.start();
    } catch (error) {
      await client.close();
      throw error;
    }
    for (const table of TABLES) this.#collections.set(table, database.collection(table));
    const collection = (table: Table): Collection<StoredDocument> => this.#collection(table);
    const finds = new FindQueue(collection);
    const inserts = new InsertQueue(collection, clock);
    this.#opened = { ...connection, heartbeat, finds, inserts };
  }

  async close(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    if (this.#waiting.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    opened?.heartbeat.stop();
    await opened?.client.close();
  }

  /** Reads are of majority concern: what they show stays. */
  async settled(): Promise<void> {}

  healthy(): boolean {
    return this.#opened?.heartbeat.isAlive() === true;
  }

  async get<T>(
    table: Table,
    id: string,
    options?: { linearizable?: boolean },
  ): Promise<Row<T> | undefined> {
    checkId(table, id);
    return this.#read(async ({ finds }) => {
      if (options?.linearizable !== true) {
        return (await finds.find(table, id)) as Row<T> | undefined;
      }
      const document = await this.#look(table, id);
      return document === undefined ? undefined : decodeDocument<T>(table, document);
    });
  }

  async insert(
    table: Table,
    id: string,
    value: object,
    options?: CommitOptions,
  ): Promise<CommitResult> {
    checkId(table, id);
    const planned = plan({ kind: 'insert', table, id, value });
    return this.#write(async ({ inserts }) => {
      const outcome = await inserts.insert(table, documentOf(planned), options?.notAfter);
      if (outcome === 'done') return done(planned);
      if (outcome === 'conflict') return CONFLICT;
      if (outcome === 'expired') return EXPIRED;
      return this.#resolve(planned, outcome.doubt);
    });
  }

  async replace(
    change: { table: Table; id: string; expected: Revision; value: object },
    options?: CommitOptions,
  ): Promise<CommitResult> {
    const { table, id, expected } = change;
    checkId(table, id);
    const planned = plan({ kind: 'replace', ...change });
    return this.#change(planned, options, async () => {
      const filter = filterOf(id, expected);
      const { _id, ...replacement } = documentOf(planned);
      const { matchedCount } = await this.#collection(table).replaceOne(filter, replacement);
      return matchedCount === 1;
    });
  }

  async remove(
    table: Table,
    id: string,
    expected: Revision,
    options?: CommitOptions,
  ): Promise<CommitResult> {
    checkId(table, id);
    return this.#change(plan({ kind: 'remove', table, id, expected }), options, async () => {
      const { deletedCount } = await this.#collection(table).deleteOne(filterOf(id, expected));
      return deletedCount === 1;
    });
  }

  async bulk(changes: readonly Change[]): Promise<CommitResult[]> {
    for (const { table, id } of changes) checkId(table, id);
    const planned = changes.map(plan);
    return this.#write(async () => {
      const outcomes: BulkOutcome[] = planned.map(() => CONFLICT);
      await Promise.all(
        groups(planned).map(async ({ table, places }) => {
          const group = places.map((at) => planned[at] as Planned);
          const results = await applyBulk(this.#collection(table), group);
          places.forEach((at, nth) => (outcomes[at] = results[nth] as BulkOutcome));
        }),
      );
      return this.#resolveAll(planned, outcomes);
    });
  }

  async range<T>(query: RangeQuery): Promise<Row<T>[]> {
    checkRange(query);
    const { table, limit, reverse, listing, without } = query;
    return this.#read(async () => {
      const isListing = listing === true && table === 'objects';
      const documents = await this.#collection(table)
        .find(boundsOf(query), {
          sort: { _id: reverse === true ? -1 : 1 },
          limit,
          batchSize: limit + 1,
          ...(isListing ? { projection: LISTING_PROJECTION } : projectionOf(without)),
        })
        .toArray();
      if (isListing) return documents.map((document) => decodeListed<T>(document));
      return documents.map((document) => decodeDocument<T>(table, document));
    });
  }

  async count(table: Table, bounds?: { from?: string; to?: string }): Promise<number> {
    return this.#read(() => {
      if (bounds?.from === undefined && bounds?.to === undefined) {
        return this.#collection(table).estimatedDocumentCount();
      }
      return this.#collection(table).countDocuments(boundsOf(bounds));
    });
  }

  /** Table by table, in order: no one instant, as the port says. */
  async *snapshot(): AsyncGenerator<SnapshotRow> {
    for (const table of TABLES) {
      let after: string | undefined;
      for (;;) {
        const query: RangeQuery = { table, limit: SNAPSHOT_PAGE };
        if (after !== undefined) query.after = after;
        const rows = await this.range<object>(query);
        for (const { id, revision, value } of rows) yield { table, id, revision, value };
        if (rows.length < SNAPSHOT_PAGE) break;
        after = rows.at(-1)?.id;
      }
    }
  }

  /** A single replacement or removal. */
  #change(
    planned: Planned,
    options: CommitOptions | undefined,
    send: () => Promise<boolean>,
  ): Promise<CommitResult> {
    return this.#write(async () => {
      const notAfter = options?.notAfter;
      if (notAfter !== undefined && this.#options.clock.now() > notAfter) return EXPIRED;
      let happened: boolean;
      try {
        happened = await send();
      } catch (error) {
        return this.#resolve(planned, error);
      }
      return happened ? done(planned) : CONFLICT;
    });
  }

  async #resolveAll(planned: Planned[], outcomes: BulkOutcome[]): Promise<CommitResult[]> {
    const doubtful: number[] = [];
    outcomes.forEach((outcome, at) => 'doubt' in outcome && doubtful.push(at));
    for (let start = 0; start < doubtful.length; start += LOOKS_MAX) {
      await Promise.all(
        doubtful.slice(start, start + LOOKS_MAX).map(async (at) => {
          const { doubt } = outcomes[at] as { doubt: unknown };
          outcomes[at] = await this.#resolve(planned[at] as Planned, doubt);
        }),
      );
    }
    return outcomes as CommitResult[];
  }

  /**
   * B6: one linearizable look. Ours there, or absent after a removal: it happened. Anything else
   * stays in doubt, for the change may still be on its way; it is thrown, and never repeated by us.
   */
  async #resolve(planned: Planned, doubt: unknown): Promise<CommitResult> {
    const { table, id, kind } = planned.change;
    try {
      this.#alive().heartbeat.check();
      const document = await this.#look(table, id);
      const isOurs =
        kind === 'remove' ? document === undefined : document?._revision.equals(planned.revision);
      if (isOurs === true) return done(planned);
    } catch {
      // The doubt itself says more than why the look failed, too.
    }
    throw new FirnError('MetadataUnavailable', 'a metadata change is in doubt', {
      subject: `${table} ${id}`,
      cause: doubt,
      retryable: true,
      hint: 'MongoDB gave no answer in time; what was asked for may yet have happened',
    });
  }

  async #look(table: Table, id: string): Promise<StoredDocument | undefined> {
    const options = {
      readConcern: { level: 'linearizable' },
      maxTimeMS: LOOK_TIMEOUT_MS,
      limit: 1,
    } as const;
    const [document] = await this.#collection(table).find({ _id: id }, options).toArray();
    return document;
  }

  /** Runs a read and makes sure, also afterwards, that who answered still has a majority. */
  async #read<T>(work: (opened: Opened) => Promise<T>): Promise<T> {
    const opened = this.#alive();
    opened.heartbeat.check();
    const answer = await this.#track(() => work(opened));
    opened.heartbeat.check();
    return answer;
  }

  /** Runs a change; its acknowledgement is a majority's word too. */
  async #write<T>(work: (opened: Opened) => Promise<T>): Promise<T> {
    const opened = this.#alive();
    opened.heartbeat.check();
    const startedAt = performance.now();
    const answer = await this.#track(() => work(opened));
    if (isDone(answer)) opened.heartbeat.proved(startedAt);
    return answer;
  }

  /** A call ends with what the server says, or when there has been no majority for too long. */
  #track<T>(work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        this.#waiting.delete(abandon);
        settle();
        if (this.#waiting.size === 0) for (const idle of this.#idle.splice(0)) idle();
      };
      const abandon = (error: FirnError): void => end(() => reject(error));
      this.#waiting.add(abandon);
      work().then(
        (answer) => end(() => resolve(answer)),
        (error: unknown) =>
          end(() => reject(isFirnError(error) ? error : unavailable(error, this.#subject))),
      );
    });
  }

  #alive(): Opened {
    if (this.#opened === undefined) {
      throw new FirnError('MetadataUnavailable', 'the metadata store is not open', {
        subject: this.#subject,
      });
    }
    return this.#opened;
  }

  #collection(table: Table): Collection<StoredDocument> {
    return this.#collections.get(table) as Collection<StoredDocument>;
  }
}

function plan(change: Change): Planned {
  return { change, revision: new ObjectId() };
}

function isDone(answer: unknown): boolean {
  return (answer as CommitResult).outcome === 'done';
}

/** The places of changes by table, at most BULK_MAX a group. */
function groups(planned: readonly Planned[]): { table: Table; places: number[] }[] {
  const open = new Map<Table, number[]>();
  const all: { table: Table; places: number[] }[] = [];
  planned.forEach(({ change: { table } }, at) => {
    let places = open.get(table);
    if (places === undefined || places.length >= BULK_MAX) {
      places = [];
      open.set(table, places);
      all.push({ table, places });
    }
    places.push(at);
  });
  return all;
}

function boundsOf(
  query: { from?: string; after?: string; to?: string } = {},
): Filter<StoredDocument> {
  const { from, after, to } = query;
  const bounds: { $gte?: string; $gt?: string; $lt?: string } = {};
  if (after !== undefined) bounds.$gt = after;
  else if (from !== undefined) bounds.$gte = from;
  if (to !== undefined) bounds.$lt = to;
  return Object.keys(bounds).length === 0 ? {} : { _id: bounds };
}

function projectionOf(without: readonly string[] | undefined): { projection?: object } {
  if (without === undefined || without.length === 0) return {};
  return { projection: Object.fromEntries(without.map((field) => [field, 0])) };
}
