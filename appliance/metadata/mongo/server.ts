// Connecting: which servers are refused, and which driver settings the promises rest on.

import { MongoAPIError, MongoClient, MongoCompatibilityError, MongoError } from 'mongodb';
import { MongoParseError, MongoServerSelectionError } from 'mongodb';
import type { Db, MongoClientOptions } from 'mongodb';
import { FirnError, isFirnError } from '../../model/errors.ts';
import { newerFormat } from '../base/rules.ts';

/** MongoDB 4.4: what the driver needs, too. */
export const WIRE_VERSION_MIN = 9;
/** How long a commit may wait for a majority before it is in doubt (B6). */
export const MAJORITY_WAIT_MS = 10_000;
/** A connection silent for longer while an answer is due is given up. */
const SOCKET_TIMEOUT_MS = 15_000;
/** How long an operation waits for a primary, and for a free connection. */
const SELECTION_TIMEOUT_MS = 2500;
const DEFAULT_DATABASE = 'firn';
const STORE_FORMAT = 1;

export interface Connection {
  client: MongoClient;
  database: Db;
}

/**
 * Connects to the primary. Throws SettingsInvalid or MetadataUnavailable, and leaves nothing open.
 */
export async function connect(url: string, processName: string): Promise<Connection> {
  let client: MongoClient | undefined;
  try {
    client = new MongoClient(url, clientOptions(processName));
    await client.connect();
    const database = client.db(databaseOf(url));
    checkServer(await database.admin().command({ hello: 1 }), redacted(url));
    await checkStoreFormat(database, redacted(url));
    return { client, database };
  } catch (error) {
    await client?.close();
    throw client === undefined ? misread(error, url) : connectFailure(error, url);
  }
}

function clientOptions(processName: string): MongoClientOptions {
  return {
    appName: `firn ${processName}`,
    // Durable on a majority, and read as a majority has it: whatever the URL says.
    writeConcern: { w: 'majority', journal: true, wtimeoutMS: MAJORITY_WAIT_MS },
    readConcern: { level: 'majority' },
    readPreference: 'primary',
    // The server itself sees to it that a retried write happens once.
    retryWrites: true,
    retryReads: true,
    ignoreUndefined: true,
    promoteBuffers: true,
    maxPoolSize: 64,
    minPoolSize: 2,
    connectTimeoutMS: 3000,
    heartbeatFrequencyMS: 2000,
    serverSelectionTimeoutMS: SELECTION_TIMEOUT_MS,
    waitQueueTimeoutMS: SELECTION_TIMEOUT_MS,
    socketTimeoutMS: SOCKET_TIMEOUT_MS,
  };
}

/** The path of the URL; the driver would take `test` without one. */
export function databaseOf(url: string): string {
  const path = /^mongodb(?:\+srv)?:\/\/[^/]+\/([^?]+)/.exec(url)?.[1];
  return path === undefined ? DEFAULT_DATABASE : decodeURIComponent(path);
}

/** The URL without user, password and options: fit for messages. */
export function redacted(url: string): string {
  const [, scheme = '', hosts = ''] = /^(mongodb(?:\+srv)?):\/\/([^/?]*)/.exec(url) ?? [];
  return `${scheme || 'mongodb'}://${hosts.slice(hosts.lastIndexOf('@') + 1)}`;
}

/** Refuses what can't keep the promises: a standalone server, and one that is too old. */
export function checkServer(hello: Record<string, unknown>, subject: string): void {
  const wire = Number(hello['maxWireVersion'] ?? 0);
  if (wire < WIRE_VERSION_MIN) {
    throw new FirnError('SettingsInvalid', 'this MongoDB is too old', {
      subject: `${subject}, wire version ${wire}`,
      hint: `MongoDB 4.4 (wire version ${WIRE_VERSION_MIN}) or newer is needed`,
    });
  }
  const isSharded = hello['msg'] === 'isdbgrid';
  if (!isSharded && typeof hello['setName'] !== 'string') {
    throw new FirnError('SettingsInvalid', 'this MongoDB is a standalone server', {
      subject,
      hint:
        'a replica set is needed, of one member at least: ' +
        'start mongod with --replSet NAME and run rs.initiate()',
    });
  }
}

async function checkStoreFormat(database: Db, subject: string): Promise<void> {
  const own = database.collection<{ _id: string; format: number }>('firn');
  const stored = await own.findOneAndUpdate(
    { _id: 'store' },
    { $setOnInsert: { format: STORE_FORMAT } },
    { upsert: true, returnDocument: 'after' },
  );
  if (stored?.format !== STORE_FORMAT) throw newerFormat(subject, `store ${stored?.format}`);
}

function connectFailure(error: unknown, url: string): unknown {
  if (isFirnError(error)) return error;
  const subject = redacted(url);
  if (error instanceof MongoCompatibilityError) {
    return new FirnError('SettingsInvalid', 'this MongoDB does not fit', {
      subject,
      cause: error,
      hint: `MongoDB 4.4 (wire version ${WIRE_VERSION_MIN}) or newer is needed: ${error.message}`,
    });
  }
  if (error instanceof MongoParseError || error instanceof MongoAPIError)
    return misread(error, url);
  const hint =
    error instanceof MongoServerSelectionError
      ? 'no primary answers: is it running, initiated (rs.initiate()), the replicaSet name right?'
      : 'look at user, password and roles: readWrite on the database is needed';
  return unavailable(error, subject, hint);
}

function misread(error: unknown, url: string): FirnError {
  // The driver may quote the whole URL; what has no @ in it has no password either.
  const reason = error instanceof MongoError && !error.message.includes('@') ? error.message : '';
  return new FirnError('SettingsInvalid', 'the URL of the metadata store is not usable', {
    subject: redacted(url),
    hint:
      'mongodb://HOST:PORT/DATABASE?replicaSet=NAME, special characters percent-encoded' +
      (reason === '' ? '' : `: ${reason}`),
  });
}

/** How everything that the driver throws leaves the store. */
export function unavailable(cause: unknown, subject: string, hint?: string): FirnError {
  return new FirnError('MetadataUnavailable', 'MongoDB does not answer as it should', {
    subject,
    cause,
    retryable: true,
    ...(hint === undefined ? {} : { hint }),
  });
}
