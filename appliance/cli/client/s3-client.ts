// An S3 client of our own over undici: put (single and multipart), get, head, list, delete,
// restore. Every request is signed with the SHA-256 of its body, so a byte that changes on the way
// is refused by the server. Works against any S3, path-style. Bodies are in memory, a part at a
// time.

import { FirnError } from '../../model/errors.ts';
import { MiB } from '../../model/limits.ts';
import type { StagePriority } from '../../model/tier.ts';
import { encodeComponent, encodePath } from '../../model/signature.ts';
import { answeredError, Connection } from './connection.ts';
import type { IncomingAnswer, OutgoingRequest } from './connection.ts';
import type { KeyPairInHand } from './credentials.ts';
import { escapeXml, readListPage, textOf } from './s3-answers.ts';
import type { ListedObject } from './s3-answers.ts';

export const PART_BYTES = 16 * MiB;

export interface S3ClientSettings {
  endpoint: string;
  region: string;
  credentials: KeyPairInHand;
  connections?: number;
  wall: () => number;
  signal?: AbortSignal;
}

export interface PutOptions {
  contentType?: string;
  storageClass?: string;
  metadata?: Record<string, string>;
}

/** Bytes of an object to be put: read by stretch, so that a large file is never whole in memory. */
export interface Source {
  sizeBytes: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface HeadFacts {
  sizeBytes: number;
  etag: string;
  storageClass: string;
  lastModified: string;
  /** The x-amz-restore header as it came. */
  restore: string | undefined;
}

export class S3Client {
  readonly #connection: Connection;

  constructor(settings: S3ClientSettings) {
    this.#connection = new Connection({
      ...settings,
      endpointFlag: '--s3-endpoint',
      service: 's3',
    });
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  /** Succeeds also where the caller owns the bucket already. */
  async createBucket(bucket: string): Promise<void> {
    const answer = await this.#send({
      method: 'PUT',
      path: pathOf(bucket),
      repeatable: true,
    });
    await this.#checked(answer, bucket, ['BucketAlreadyOwnedByYou']);
  }

  /** One PUT. Durable on return; the etag without quotes. */
  async putObject(
    bucket: string,
    key: string,
    body: Uint8Array,
    options: PutOptions = {},
  ): Promise<{ etag: string }> {
    const answer = await this.#send({
      method: 'PUT',
      path: pathOf(bucket, key),
      headers: putHeaders(options),
      body,
      repeatable: true,
    });
    await this.#checked(answer, `${bucket}/${key}`);
    return { etag: etagOf(answer) };
  }

  /**
   * Puts any size: one PUT up to a part's size, otherwise a multipart upload, which is aborted when
   * anything fails. `onBytes` is told what has been acknowledged.
   */
  async putSource(
    bucket: string,
    key: string,
    source: Source,
    options: PutOptions & { onBytes?: (bytes: number) => void } = {},
  ): Promise<{ etag: string }> {
    if (source.sizeBytes <= PART_BYTES) {
      const body = await source.read(0, source.sizeBytes);
      const put = await this.putObject(bucket, key, body, options);
      options.onBytes?.(source.sizeBytes);
      return put;
    }
    const uploadId = await this.#createUpload(bucket, key, options);
    try {
      const etags: string[] = [];
      for (let offset = 0; offset < source.sizeBytes; offset += PART_BYTES) {
        const body = await source.read(offset, Math.min(PART_BYTES, source.sizeBytes - offset));
        const query = `partNumber=${etags.length + 1}&uploadId=${encodeComponent(uploadId)}`;
        const path = pathOf(bucket, key);
        const answer = await this.#send({ method: 'PUT', path, query, body, repeatable: true });
        await this.#checked(answer, `${bucket}/${key}`);
        etags.push(etagOf(answer));
        options.onBytes?.(body.length);
      }
      return { etag: await this.#completeUpload({ bucket, key, uploadId, etags }) };
    } catch (error) {
      await this.#abortUpload(bucket, key, uploadId);
      throw error;
    }
  }

  /** The object's bytes as they come. InvalidObjectState while it is archived. */
  async getObject(
    bucket: string,
    key: string,
    options: { offset?: number; length?: number } = {},
  ): Promise<{ sizeBytes: number; body: AsyncIterable<Uint8Array> }> {
    const from = options.offset ?? 0;
    const headers: Record<string, string> =
      options.length === undefined && from === 0
        ? {}
        : {
            range: `bytes=${from}-${options.length === undefined ? '' : from + options.length - 1}`,
          };
    const path = pathOf(bucket, key);
    const answer = await this.#send({ method: 'GET', path, headers, repeatable: true });
    if (answer.statusCode >= 300) await this.#checked(answer, `${bucket}/${key}`);
    return { sizeBytes: Number(answer.headers['content-length'] ?? 0), body: answer.body };
  }

  /** Undefined where there is no such object. */
  async headObject(bucket: string, key: string): Promise<HeadFacts | undefined> {
    const answer = await this.#send({
      method: 'HEAD',
      path: pathOf(bucket, key),
      repeatable: true,
    });
    await answer.body.dump();
    if (answer.statusCode === 404) return undefined;
    if (answer.statusCode >= 300) {
      throw new FirnError('InternalError', `HEAD answered ${answer.statusCode}`, {
        subject: `${bucket}/${key}`,
      });
    }
    const text = (name: string): string | undefined => {
      const value = answer.headers[name];
      return Array.isArray(value) ? value[0] : value;
    };
    return {
      sizeBytes: Number(text('content-length') ?? 0),
      etag: etagOf(answer),
      storageClass: text('x-amz-storage-class') ?? 'STANDARD',
      lastModified: text('last-modified') ?? '',
      restore: text('x-amz-restore'),
    };
  }

  /** Every object under the prefix, in key order, a page of 1,000 at a time. */
  async *listObjects(bucket: string, prefix = ''): AsyncIterable<ListedObject> {
    let token: string | undefined;
    do {
      const query =
        `list-type=2&encoding-type=url&prefix=${encodeComponent(prefix)}` +
        (token === undefined ? '' : `&continuation-token=${encodeComponent(token)}`);
      const path = pathOf(bucket);
      const answer = await this.#send({ method: 'GET', path, query, repeatable: true });
      const page = readListPage(await this.#checked(answer, bucket));
      yield* page.objects;
      token = page.next;
    } while (token !== undefined);
  }

  /** Succeeds also where there was nothing. */
  async deleteObject(bucket: string, key: string): Promise<void> {
    const answer = await this.#send({
      method: 'DELETE',
      path: pathOf(bucket, key),
      repeatable: true,
    });
    await this.#checked(answer, `${bucket}/${key}`);
  }

  /** started: being fetched. extended: a readable copy is there and its date was set anew. */
  async restoreObject(
    bucket: string,
    key: string,
    request: { days: number; tier: StagePriority },
  ): Promise<'started' | 'extended'> {
    const answer = await this.#send({
      method: 'POST',
      path: pathOf(bucket, key),
      query: 'restore=',
      headers: { 'content-type': 'application/xml' },
      body:
        `<RestoreRequest><Days>${request.days}</Days><GlacierJobParameters>` +
        `<Tier>${request.tier}</Tier></GlacierJobParameters></RestoreRequest>`,
      repeatable: false,
    });
    await this.#checked(answer, `${bucket}/${key}`);
    return answer.statusCode === 200 ? 'extended' : 'started';
  }

  async #createUpload(bucket: string, key: string, options: PutOptions): Promise<string> {
    const answer = await this.#send({
      method: 'POST',
      path: pathOf(bucket, key),
      query: 'uploads=',
      headers: putHeaders(options),
      repeatable: true,
    });
    const uploadId = textOf(await this.#checked(answer, `${bucket}/${key}`), 'UploadId');
    if (uploadId !== undefined) return uploadId;
    throw new FirnError('InternalError', 'the server gave no upload id', {
      subject: `${bucket}/${key}`,
    });
  }

  async #completeUpload(upload: {
    bucket: string;
    key: string;
    uploadId: string;
    etags: readonly string[];
  }): Promise<string> {
    const parts = upload.etags.map(
      (etag, index) =>
        `<Part><PartNumber>${index + 1}</PartNumber><ETag>${escapeXml(`"${etag}"`)}</ETag></Part>`,
    );
    const answer = await this.#send({
      method: 'POST',
      path: pathOf(upload.bucket, upload.key),
      query: `uploadId=${encodeComponent(upload.uploadId)}`,
      headers: { 'content-type': 'application/xml' },
      body: `<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`,
      repeatable: true,
    });
    const xml = await this.#checked(answer, `${upload.bucket}/${upload.key}`);
    // Complete may answer 200 and an error: the status is sent before the work is done.
    if (xml.includes('<Error>')) throw s3Error(xml, 200, `${upload.bucket}/${upload.key}`);
    return (textOf(xml, 'ETag') ?? '').replaceAll('"', '');
  }

  /**
   * Best effort: the upload that stays behind is found by ListMultipartUploads and lifecycle rules.
   */
  async #abortUpload(bucket: string, key: string, uploadId: string): Promise<void> {
    const query = `uploadId=${encodeComponent(uploadId)}`;
    try {
      const path = pathOf(bucket, key);
      const answer = await this.#send({ method: 'DELETE', path, query, repeatable: true });
      await answer.body.dump();
    } catch {
      // The first error is the one to tell.
    }
  }

  async #send(request: OutgoingRequest): Promise<IncomingAnswer> {
    return this.#connection.send(request);
  }

  async #checked(
    answer: IncomingAnswer,
    subject: string,
    fine: readonly string[] = [],
  ): Promise<string> {
    const text = await answer.body.text();
    if (answer.statusCode < 300) return text;
    const error = s3Error(text, answer.statusCode, subject);
    if (fine.includes(error.code)) return text;
    throw error;
  }
}

function s3Error(xml: string, status: number, subject: string): FirnError {
  return answeredError(
    {
      code: textOf(xml, 'Code') ?? 'InternalError',
      message: `${subject}: ${textOf(xml, 'Message') ?? `S3 answered ${status}`}`,
    },
    subject,
  );
}

function pathOf(bucket: string, key?: string): string {
  return key === undefined ? `/${encodePath(bucket)}` : `/${encodePath(bucket)}/${encodePath(key)}`;
}

function putHeaders(options: PutOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  if (options.contentType !== undefined) headers['content-type'] = options.contentType;
  if (options.storageClass !== undefined) headers['x-amz-storage-class'] = options.storageClass;
  for (const [name, value] of Object.entries(options.metadata ?? {})) {
    headers[`x-amz-meta-${name}`] = value;
  }
  return headers;
}

function etagOf(answer: IncomingAnswer): string {
  const value = answer.headers['etag'];
  return ((Array.isArray(value) ? value[0] : value) ?? '').replaceAll('"', '');
}
