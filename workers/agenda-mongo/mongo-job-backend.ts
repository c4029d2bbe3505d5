// Agenda's MongoDB backend, with what it lacks: unique indexes. Its own upserts of one repeating
// job by two processes at once may insert it twice, and the work is then done twice for ever; with
// the indexes the second insert is refused, which callers take as "it is there". Notices stay
// inside the process; other processes find work by polling every second.

import { MongoBackend } from '@agendajs/mongo-backend';
import { InMemoryNotificationChannel } from 'agenda';
import type { AgendaBackend, JobRepository } from 'agenda';
import { MongoClient } from 'mongodb';
import type { Db } from 'mongodb';

const COLLECTION = 'agendaJobs';
const DATABASE = 'firn';

export class MongoJobBackend implements AgendaBackend {
  readonly name = 'MongoDB';
  readonly ownsConnection = true;
  readonly notificationChannel = new InMemoryNotificationChannel();
  readonly #client: MongoClient;
  readonly #backend: MongoBackend;
  readonly #database: Db;

  /** `url` as of the metadata store; without a database in it, `firn`. */
  constructor(url: string) {
    this.#client = new MongoClient(url, { appName: 'firn-jobs', maxPoolSize: 4 });
    const path = /^mongodb(?:\+srv)?:\/\/[^/]+\/([^?]+)/.exec(url)?.[1];
    this.#database = this.#client.db(path ?? DATABASE);
    this.#backend = new MongoBackend({ mongo: this.#database, collection: COLLECTION });
  }

  get repository(): JobRepository {
    return this.#backend.repository;
  }

  async connect(): Promise<void> {
    await this.#client.connect();
    await this.#backend.connect();
    const jobs = this.#database.collection(COLLECTION);
    await jobs.createIndex(
      { name: 1 },
      { name: 'singleOnce', unique: true, partialFilterExpression: { type: 'single' } },
    );
    await jobs.createIndex(
      { name: 1, 'data.key': 1 },
      { name: 'keyOnce', unique: true, partialFilterExpression: { 'data.key': { $exists: true } } },
    );
  }

  async disconnect(): Promise<void> {
    await this.#backend.disconnect();
    await this.#client.close();
  }
}

/** The row that an upsert was about to insert is there already. */
export function isDuplicate(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === 11_000;
}
