// Access logs: a line for each request of a bucket that asks for them, in S3's own form, written as
// objects to the bucket that it names. Lines are gathered in memory and written about once a
// minute: a killed process loses its last minute of them, which is what S3 promises as well ("best
// effort"). The danger is the other way round: a log that slows or fails the requests it tells of,
// eats the memory when its target is gone, or holds a signature that somebody could use again.

import type { Bucket, BucketLogging } from '../../appliance/model/bucket.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import { MiB } from '../../appliance/model/limits.ts';
import { denied } from './access/authorize.ts';
import { lineOf, type LoggedRequest } from './access-line.ts';
import type { S3Settings } from './input/settings.ts';
import type { Operation, OwnedRequest, S3Request } from './request/request.ts';

/** What it needs of the settings. */
export type AccessLogSettings = Pick<
  S3Settings,
  'clock' | 'engine' | 'problem' | 'random' | 'region'
>;

const HELD_BYTES_MAX = 8 * MiB;
/** A log that grows faster than its interval is written earlier. */
const OBJECT_BYTES_MAX = MiB;

interface Gathered {
  bucket: Bucket;
  logging: BucketLogging;
  /** Engine ms of the first line: what an object partitioned by EventTime is put under. */
  day: string;
  lines: string[];
  bytes: number;
}

export class AccessLog {
  readonly #settings: AccessLogSettings;
  readonly #gathered = new Map<string, Gathered>();
  readonly #timer: NodeJS.Timeout;
  #heldBytes = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(settings: AccessLogSettings, intervalMs: number) {
    this.#settings = settings;
    this.#timer = setInterval(() => this.#flush(), intervalMs);
    this.#timer.unref();
  }

  /** Never throws, never waits. */
  note(request: LoggedRequest): void {
    const { bucket } = request;
    const { logging } = bucket;
    if (logging === undefined) return;
    const at = this.#settings.clock.now();
    const line = lineOf(request, at);
    if (this.#heldBytes + line.length > HELD_BYTES_MAX) {
      this.#settings.problem?.('access log lines were dropped: too many wait', bucket.name);
      return;
    }
    const day = new Date(at).toISOString().slice(0, 'YYYY-MM-DD'.length);
    const { targetBucket, targetPrefix } = logging;
    const id = `${bucket.id}\n${targetBucket}\n${targetPrefix}\n${day}`;
    let gathered = this.#gathered.get(id);
    if (gathered === undefined) {
      gathered = { bucket, logging, day, lines: [], bytes: 0 };
      this.#gathered.set(id, gathered);
    }
    gathered.lines.push(line);
    gathered.bytes += line.length;
    this.#heldBytes += line.length;
    if (gathered.bytes >= OBJECT_BYTES_MAX) this.#flush();
  }

  /** Writes what is gathered, and ends. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#writing;
    this.#flush();
    await this.#writing;
  }

  #flush(): void {
    const all = [...this.#gathered.values()];
    if (all.length === 0) return;
    this.#gathered.clear();
    this.#writing = this.#writing.then(async () => {
      for (const gathered of all) await this.#write(gathered);
    });
  }

  async #write(gathered: Gathered): Promise<void> {
    const { engine, clock } = this.#settings;
    const { bucket, logging, lines } = gathered;
    this.#heldBytes -= gathered.bytes;
    try {
      // The name may have another owner by now, whose room is not for these lines.
      const target = await engine.getBucket(logging.targetBucket);
      if (target.owner !== bucket.owner) throw denied();
      await engine.putObject({
        bucket: logging.targetBucket,
        key: this.#keyOf(gathered, clock.now()),
        owner: bucket.owner,
        storageClass: 'STANDARD',
        headers: { 'content-type': 'text/plain' },
        metadata: {},
        body: Buffer.from(lines.join(''), 'utf8'),
      });
    } catch (error) {
      const reason = isFirnError(error) ? error.code : 'a fault';
      this.#settings.problem?.(
        `${lines.length} access log lines were not written: ${reason}`,
        bucket.name,
      );
    }
  }

  #keyOf({ bucket, logging, day }: Gathered, at: number): string {
    const { random, region } = this.#settings;
    const time = new Date(at).toISOString().slice(0, 19).replaceAll(/[T:]/g, '-');
    const unique = Buffer.from(random.bytes(8)).toString('hex').toUpperCase();
    const { targetPrefix, partitionedBy } = logging;
    if (partitionedBy === undefined) return `${targetPrefix}${time}-${unique}`;
    const date = partitionedBy === 'EventTime' ? day : time.slice(0, 10);
    const folder = [bucket.owner, region, bucket.name, ...date.split('-')].join('/');
    return `${targetPrefix}${folder}/${time}-${unique}`;
  }
}

interface Served {
  request: S3Request & Partial<Pick<OwnedRequest, 'owned'>>;
  operation: Operation | undefined;
  status: number;
  code: string | undefined;
  sentBytes: number;
  durationMs: number;
}

/** As S3's logs call how a request was signed; nobody's is not. */
const AUTHENTICATION: Record<S3Request['identity']['kind'], LoggedRequest['authentication']> = {
  anonymous: undefined,
  form: 'AuthHeader',
  header: 'AuthHeader',
  presigned: 'QueryString',
};

/**
 * Notes an answered request where its bucket asks for that. One that was refused is looked up: its
 * bucket was not handed to it, and it is what a reader of logs looks for.
 */
export function noteAccess(log: AccessLog, served: Served): void {
  const { request } = served;
  const { owned, settings } = request;
  if (owned !== undefined) {
    if (owned.logging !== undefined) log.note(loggedOf(served, owned));
    return;
  }
  settings.engine.getBucket(request.bucket).then(
    (bucket) => log.note(loggedOf(served, bucket)),
    () => undefined,
  );
}

function loggedOf(served: Served, bucket: Bucket): LoggedRequest {
  const { request, operation, status, code, sentBytes, durationMs } = served;
  const { identity, incoming, headers } = request;
  const { kind, account } = identity;
  return {
    bucket,
    key: request.key,
    place: {
      method: request.method,
      level: operation?.level ?? request.level,
      subresource: operation?.subresource,
    },
    url: incoming.url ?? '',
    httpVersion: incoming.httpVersion,
    requester: kind === 'anonymous' ? undefined : account,
    requestId: request.id,
    status,
    code,
    sentBytes,
    durationMs,
    remoteAddress: incoming.socket.remoteAddress,
    referer: headers['referer'],
    userAgent: headers['user-agent'],
    versionId: request.query.get('versionId'),
    authentication: AUTHENTICATION[kind],
    host: headers['host'],
  };
}
