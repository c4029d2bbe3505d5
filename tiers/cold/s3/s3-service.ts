// S3 in RemoteTier's words: create-only by If-None-Match, multipart for large blobs, RestoreObject
// for classes that are offline. Tested on versitygw, on a clock-driven archive double, and on any
// real service whose credentials are given to the tests.

import { FirnError } from '../../../appliance/model/errors.ts';
import { MiB } from '../../../appliance/model/limits.ts';
import type { ByteRange, StagePriority, StageStatus } from '../../../appliance/model/tier.ts';
import { missing, offline } from '../base/bodies.ts';
import { refusal } from '../base/calls.ts';
import { idOfName } from '../base/names.ts';
import type {
  BlobHead,
  BlobLabels,
  BlobPage,
  BlobService,
  BlobStream,
  BlobUpload,
  PutOutcome,
} from '../base/service.ts';
import { headerOf, S3Failure, type S3Answer, type S3Call, type S3Client } from './s3-client.ts';
import { listedPage, listedUploads, uploadIdOf } from './s3-xml.ts';

export interface S3ServiceSettings {
  tier: string;
  prefix: string;
  storageClass: string | undefined;
  retrieval: 'immediate' | 'staged';
  partBytes: number | undefined;
}

const PRIORITIES: readonly StagePriority[] = ['Expedited', 'Standard', 'Bulk'];
/** Refusals of what came over the wire, not of what was asked. */
const REPEATABLE = new Set([
  'RequestTimeout',
  'OperationAborted',
  'ConditionalRequestConflict',
  'XAmzContentSHA256Mismatch',
  'BadDigest',
  'IncompleteBody',
]);
/** No upload of ours lasts that long. */
const UPLOAD_AGE_MS_MAX = 48 * 3_600_000;

export class S3Service implements BlobService {
  readonly partBytes: number;
  readonly partsMax = 10_000;
  readonly priorities: readonly StagePriority[];
  readonly offlineAtOnce: boolean;
  readonly #client: S3Client;
  readonly #settings: S3ServiceSettings;
  /** Off once a service has said that it does not know conditional writes. */
  #conditional = true;

  constructor(client: S3Client, settings: S3ServiceSettings) {
    this.#client = client;
    this.#settings = settings;
    this.partBytes = settings.partBytes ?? 8 * MiB;
    this.offlineAtOnce = settings.retrieval === 'staged';
    this.priorities = this.offlineAtOnce ? PRIORITIES : [];
  }

  /** Ends uploads that a crash left behind: they cost money and show in no listing. */
  async open(signal: AbortSignal): Promise<void> {
    const { prefix } = this.#settings;
    const query = { uploads: '', prefix };
    try {
      const text = await this.#client.text({ method: 'GET', query, signal });
      for (const { key, uploadId, initiatedAt } of await listedUploads(text)) {
        const name = key.slice(prefix.length);
        const isOld = initiatedAt < Date.now() - UPLOAD_AGE_MS_MAX;
        if (!isOld || idOfName(name) === undefined) continue;
        await this.#client.done({ method: 'DELETE', key: name, query: { uploadId }, signal });
      }
    } catch (error) {
      // A service without that call, or a key without that right, can still hold blobs.
      if (!(error instanceof S3Failure) || ![403, 405, 501].includes(error.status)) throw error;
    }
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  async head(name: string, signal: AbortSignal): Promise<BlobHead | undefined> {
    const answer = await this.#client.done({ method: 'HEAD', key: name, signal, accepts: [404] });
    if (answer.status === 404) return undefined;
    return {
      sizeBytes: Number(headerOf(answer, 'content-length')),
      checksum: headerOf(answer, 'x-amz-meta-firnxxh3'),
      stage: this.#stageOf(answer),
    };
  }

  async put(
    name: string,
    bytes: Buffer,
    labels: BlobLabels,
    signal: AbortSignal,
  ): Promise<PutOutcome> {
    const headers = { ...labelHeaders(labels), ...this.#classHeader(name) };
    return this.#storing({ method: 'PUT', key: name, headers, body: bytes, signal });
  }

  async beginUpload(name: string, labels: BlobLabels, signal: AbortSignal): Promise<BlobUpload> {
    const headers = { ...labelHeaders(labels), ...this.#classHeader(name) };
    const query = { uploads: '' };
    const text = await this.#client.text({ method: 'POST', key: name, query, headers, signal });
    return this.#upload(name, await uploadIdOf(text));
  }

  async get(name: string, range: ByteRange, signal: AbortSignal): Promise<BlobStream> {
    const last = range.offset + range.length - 1;
    const headers = { range: `bytes=${range.offset}-${last}` };
    const answer = await this.#client.call({ method: 'GET', key: name, headers, signal });
    const total = /^bytes (\d+)-\d+\/(\d+)$/.exec(headerOf(answer, 'content-range') ?? '');
    const wrong = answer.status !== 206 || Number(total?.[1]) !== range.offset;
    if (wrong && !isWhole(answer, range)) {
      await answer.body.dump();
      throw new FirnError('TierUnavailable', `${this.#settings.tier} does not serve ranges`);
    }
    return { body: answer.body, totalBytes: total === null ? undefined : Number(total[2]) };
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    await this.#client.done({ method: 'DELETE', key: name, signal, accepts: [404] });
  }

  async listPage(token: string | undefined, signal: AbortSignal): Promise<BlobPage> {
    const { prefix } = this.#settings;
    const query: Record<string, string> = { 'list-type': '2', prefix };
    if (token !== undefined) query['continuation-token'] = token;
    const page = await listedPage(await this.#client.text({ method: 'GET', query, signal }));
    const blobs = page.objects.map(({ key, sizeBytes }) => ({
      name: key.slice(prefix.length),
      sizeBytes,
    }));
    return { blobs, next: page.next };
  }

  /** RestoreObject. A faster class than the service offers is asked for again as Standard. */
  async stage(
    name: string,
    { priority, days }: { priority: StagePriority; days: number },
    signal: AbortSignal,
  ): Promise<void> {
    const body = Buffer.from(
      `<RestoreRequest xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Days>${days}</Days>` +
        `<GlacierJobParameters><Tier>${priority}</Tier></GlacierJobParameters></RestoreRequest>`,
    );
    try {
      await this.#client.done({ method: 'POST', key: name, query: { restore: '' }, body, signal });
    } catch (error) {
      if (!(error instanceof S3Failure)) throw error;
      if (error.code === 'RestoreAlreadyInProgress') return;
      const notOffered =
        error.code === 'GlacierExpeditedRetrievalNotAvailable' || error.code === 'InvalidArgument';
      if (priority !== 'Expedited' || !notOffered) throw error;
      await this.stage(name, { priority: 'Standard', days }, signal);
    }
  }

  translate(error: unknown, subject: string): unknown {
    if (error instanceof FirnError) return error;
    const { tier } = this.#settings;
    if (!(error instanceof S3Failure)) return refusal({ tier, subject, cause: error });
    const { status, code } = error;
    if (code === 'NoSuchKey') return missing(tier, subject, error);
    if (code === 'InvalidObjectState') return offline(tier, subject);
    const as = REPEATABLE.has(code) ? 503 : status;
    return refusal({ tier, subject, cause: error, status: as, reason: error.message });
  }

  #stageOf(answer: S3Answer): StageStatus {
    if (this.#settings.retrieval === 'immediate') return { state: 'ready' };
    const storageClass = headerOf(answer, 'x-amz-storage-class') ?? 'STANDARD';
    const archived = headerOf(answer, 'x-amz-archive-status') !== undefined;
    if (!archived && !['GLACIER', 'DEEP_ARCHIVE'].includes(storageClass)) {
      return { state: 'ready' };
    }
    const restore = headerOf(answer, 'x-amz-restore');
    if (restore === undefined) return { state: 'offline' };
    if (restore.includes('ongoing-request="true"')) return { state: 'staging' };
    const until = Date.parse(/expiry-date="([^"]+)"/.exec(restore)?.[1] ?? '');
    return Number.isNaN(until) ? { state: 'ready' } : { state: 'ready', until };
  }

  /** Blobs go into the tier's class; what is ours beside them must stay readable at once. */
  #classHeader(name: string): Record<string, string> {
    const { storageClass } = this.#settings;
    if (storageClass === undefined || idOfName(name) === undefined) return {};
    return { 'x-amz-storage-class': storageClass };
  }

  /** A call that makes the name, unless it is taken. */
  async #storing(call: S3Call): Promise<PutOutcome> {
    const headers = this.#conditional ? { ...call.headers, 'if-none-match': '*' } : call.headers;
    try {
      await this.#client.text({ ...call, ...(headers === undefined ? {} : { headers }) });
      return 'stored';
    } catch (error) {
      if (!(error instanceof S3Failure)) throw error;
      if (error.status === 412) return 'taken';
      if (error.status !== 501 || !this.#conditional) throw error;
      this.#conditional = false;
      return this.#storing(call);
    }
  }

  #upload(name: string, uploadId: string): BlobUpload {
    const etags = new Map<number, string>();
    return {
      repeatable: true,
      part: async (number, bytes, signal) => {
        const query = { partNumber: String(number), uploadId };
        const sent = { method: 'PUT', key: name, query, body: bytes, signal } as const;
        const etag = headerOf(await this.#client.done(sent), 'etag');
        if (etag === undefined) throw new FirnError('TierUnavailable', 'a part without an etag');
        etags.set(number, etag);
      },
      complete: async (_, signal) => {
        const parts = [...etags]
          .toSorted(([a], [b]) => a - b)
          .map(([n, e]) => `<Part><PartNumber>${n}</PartNumber><ETag>${escaped(e)}</ETag></Part>`);
        const xml = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${parts.join('')}</CompleteMultipartUpload>`;
        const body = Buffer.from(xml);
        try {
          return await this.#storing({
            method: 'POST',
            key: name,
            query: { uploadId },
            body,
            signal,
          });
        } catch (error) {
          // An earlier attempt has completed it: the caller looks whose bytes stand there.
          if (error instanceof S3Failure && error.code === 'NoSuchUpload') return 'taken';
          throw error;
        }
      },
      abort: async () => {
        const signal = AbortSignal.timeout(60_000);
        const query = { uploadId };
        await this.#client.done({ method: 'DELETE', key: name, query, signal, accepts: [404] });
      },
    };
  }
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;');

const isWhole = (answer: S3Answer, range: ByteRange): boolean =>
  answer.status === 200 &&
  range.offset === 0 &&
  Number(headerOf(answer, 'content-length')) === range.length;

function labelHeaders({ checksum, owner }: BlobLabels): Record<string, string> {
  const headers: Record<string, string> = {
    'content-type': 'application/octet-stream',
    'x-amz-meta-firnbucket': owner.bucketId,
    'x-amz-meta-firnkey': Buffer.from(owner.key, 'utf8').toString('base64url'),
  };
  if (checksum !== undefined) headers['x-amz-meta-firnxxh3'] = checksum;
  return headers;
}
