// The few S3 requests that a tier needs, on undici and our own signer: any S3 service, path style.
// Every body sent is signed by its SHA-256, so the service refuses bytes that were changed on the
// way. One attempt a call; who repeats and when is decided above (base/calls.ts).

import { Agent, type Dispatcher } from 'undici';
import {
  EMPTY_SHA256,
  encodeComponent,
  encodePath,
  sha256Hex,
  signRequest,
} from '../../../appliance/model/signature.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { errorOf } from './s3-xml.ts';

export interface S3ClientSettings {
  /** With scheme, without a path. */
  endpoint: string;
  bucket: string;
  /** Before every key. */
  prefix: string;
  region: string;
  accessKey: string;
  secretKey: string;
  concurrency: number;
  timeoutMs: number;
}

export interface S3Call {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Without the prefix; absent for calls on the bucket. */
  key?: string;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: Uint8Array;
  signal: AbortSignal;
  /** Statuses that are answers, not failures. */
  accepts?: readonly number[];
}

export interface S3Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: Dispatcher.ResponseData['body'];
}

/** An error answer of the service. */
export class S3Failure extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(`${code}: ${message}`);
    this.name = 'S3Failure';
    this.status = status;
    this.code = code;
  }
}

const ERROR_BYTES_MAX = 64 * 1024;

export class S3Client {
  readonly #settings: S3ClientSettings;
  readonly #origin: string;
  readonly #host: string;
  #agent: Agent | undefined;

  constructor(settings: S3ClientSettings) {
    const url = URL.canParse(settings.endpoint) ? new URL(settings.endpoint) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.pathname !== '/') {
      throw new FirnError('SettingsInvalid', `${settings.endpoint} is not an S3 endpoint`, {
        hint: 'give scheme and host alone, for example https://s3.eu-central-1.amazonaws.com',
      });
    }
    this.#settings = settings;
    this.#origin = url.origin;
    this.#host = url.host;
  }

  /** Ends its connections; a later call makes new ones. */
  async close(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    await agent?.destroy();
  }

  /** The answer, its body unread. Statuses of 300 and more throw S3Failure unless accepted. */
  async call(call: S3Call): Promise<S3Answer> {
    const { bucket, prefix } = this.#settings;
    const key = call.key === undefined ? '' : `/${prefix}${call.key}`;
    const path = encodePath(`/${bucket}${key}`);
    const query = Object.entries(call.query ?? {})
      .map(([name, value]) => `${encodeComponent(name)}=${encodeComponent(value)}`)
      .join('&');
    const answer = await this.#connections().request({
      origin: this.#origin,
      path: query === '' ? path : `${path}?${query}`,
      method: call.method,
      headers: this.#sign(call, path, query),
      body: call.body === undefined ? null : asBuffer(call.body),
      signal: call.signal,
    });
    const { statusCode: status, headers, body } = answer;
    if (status < 300 || call.accepts?.includes(status) === true) return { status, headers, body };
    throw await failureOf(status, await textOf(body));
  }

  /** The answer's whole body as text, for XML answers. */
  async text(call: S3Call): Promise<string> {
    const { status, body } = await this.call(call);
    const text = await body.text();
    // Completing an upload can fail behind a 200.
    if (/^\s*(<\?xml[^>]*>\s*)?<Error[\s>]/.test(text)) throw await failureOf(status, text);
    return text;
  }

  /** As text, for calls whose answer's body says nothing. */
  async done(call: S3Call): Promise<S3Answer> {
    const answer = await this.call(call);
    await answer.body.dump();
    return answer;
  }

  #connections(): Agent {
    const { concurrency, timeoutMs } = this.#settings;
    this.#agent ??= new Agent({
      connections: concurrency * 2,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      connectTimeout: Math.min(timeoutMs, 10_000),
    });
    return this.#agent;
  }

  #sign(call: S3Call, path: string, query: string): Record<string, string> {
    const { accessKey, secretKey, region } = this.#settings;
    const headers: Record<string, string> = { ...call.headers };
    if (call.body !== undefined) headers['content-length'] = String(call.body.length);
    return signRequest({
      accessKey,
      secretKey,
      region,
      service: 's3',
      method: call.method,
      host: this.#host,
      path,
      query,
      headers,
      payloadHash: call.body === undefined ? EMPTY_SHA256 : sha256Hex(call.body),
      date: new Date(),
    });
  }
}

const asBuffer = (bytes: Uint8Array): Buffer =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

async function textOf(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > ERROR_BYTES_MAX) break;
  }
  return Buffer.concat(chunks).toString('utf8');
}

async function failureOf(status: number, text: string): Promise<S3Failure> {
  const { code, message } = await errorOf(text);
  return new S3Failure(status, code ?? `HTTP${status}`, message ?? `status ${status}`);
}

export function headerOf(answer: S3Answer, name: string): string | undefined {
  const value = answer.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
