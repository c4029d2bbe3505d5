// An S3 endpoint over the real engine in memory, and a caller that sends exactly the bytes it is
// told: paths that no URL parser has touched, bodies in S3's own chunking, and tampering with each.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { buildS3 } from '../api/s3/build.ts';
import type { RequestRecord, S3Settings } from '../api/s3/input/settings.ts';
import { buildEngine } from '../appliance/engine/build.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import {
  chunkContext,
  chunkSignature,
  EMPTY_SHA256,
  presignUrl,
  sha256Hex,
  signRequest,
  trailerSignature,
} from '../appliance/model/signature.ts';
import { buildTiers, CLASSES, contextOf, cryptoRandom } from './engine-harness.ts';
import { MemoryMetadataStore } from './memory-store.ts';
import type { MemoryTier } from './memory-tier.ts';

export const REGION = 'eu-test-1';
export const OWNER = { accessKey: 'AKOWNER', secretKey: 'owner-secret-key' };
export const STRANGER = { accessKey: 'AKSTRANGER', secretKey: 'stranger-secret-key' };

export class MovableClock {
  offsetMs = 0;

  wall(): number {
    return Date.now();
  }

  now(): number {
    return Date.now() + this.offsetMs;
  }
}

export interface Endpoint {
  port: number;
  host: string;
  engine: Engine;
  clock: MovableClock;
  tiers: Map<string, MemoryTier>;
  store: MemoryMetadataStore;
  records: RequestRecord[];
  close(): Promise<void>;
}

/** Starts on a free port; a bucket `bucket` of the owner and one `foreign` of a stranger exist. */
export async function startEndpoint(more: Partial<S3Settings> = {}): Promise<Endpoint> {
  const clock = new MovableClock();
  const store = new MemoryMetadataStore(clock);
  const tiers = buildTiers(clock);
  const engine = buildEngine(contextOf({ store, clock, tiers }));
  await engine.createBucket({ name: 'bucket', owner: 'owner', region: REGION });
  await engine.createBucket({ name: 'foreign', owner: 'stranger', region: REGION });
  const records: RequestRecord[] = [];
  const secrets = new Map([
    [OWNER.accessKey, { account: 'owner', secretKey: OWNER.secretKey }],
    [STRANGER.accessKey, { account: 'stranger', secretKey: STRANGER.secretKey }],
  ]);
  const s3 = buildS3({
    engine,
    accounts: { secretOf: (accessKey) => Promise.resolve(secrets.get(accessKey)) },
    clock,
    random: cryptoRandom,
    region: REGION,
    classes: CLASSES,
    observe: (record) => void records.push(record),
    ...more,
  });
  const server = http.createServer();
  s3.attach(server);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    port,
    host: `127.0.0.1:${port}`,
    engine,
    clock,
    tiers,
    store,
    records,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export type AuthKind = 'header' | 'presigned';
export type BodyKind =
  | 'sha256'
  | 'unsigned'
  | 'streaming-signed'
  | 'streaming-signed-trailer'
  | 'streaming-unsigned-trailer';

export const BODY_KINDS: readonly BodyKind[] = [
  'sha256',
  'unsigned',
  'streaming-signed',
  'streaming-signed-trailer',
  'streaming-unsigned-trailer',
];

const PAYLOAD_HASHES: Record<Exclude<BodyKind, 'sha256'>, string> = {
  unsigned: 'UNSIGNED-PAYLOAD',
  'streaming-signed': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
  'streaming-signed-trailer': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
  'streaming-unsigned-trailer': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
};

export interface Chunk {
  size: string;
  data: Buffer;
  /** Empty where chunks aren't signed. */
  signature: string;
}

export interface Call {
  method?: string;
  path: string;
  query?: string;
  headers?: Record<string, string>;
  body?: Uint8Array | string;
  auth?: AuthKind;
  bodyKind?: BodyKind;
  as?: typeof OWNER;
  payloadHash?: string;
  date?: Date;
  region?: string;
  service?: string;
  expiresSeconds?: number;
  /** aws-chunked. */
  chunkBytes?: number;
  /** name:value of the trailer; announced unless `announce` says otherwise. */
  trailers?: [name: string, value: string][];
  announce?: string;
  decodedLength?: string;
  /** Changes what was signed, before it is sent. */
  tamper?:
    | undefined
    | {
        chunks?: (chunks: Chunk[]) => void;
        trailer?: (text: string) => string;
        /** Headers as signed, then query and path. */
        request?: (request: Wire) => void;
      };
}

export interface Wire {
  method: string;
  /** Path and query. */
  url: string;
  headers: Record<string, string>;
  body: Buffer;
}

/** The signed request as it would be sent. */
export function wireOf(endpoint: { host: string }, call: Call): Wire {
  const bodyKind = call.bodyKind ?? 'sha256';
  const plain = Buffer.from(call.body ?? '');
  const method = call.method ?? 'GET';
  const headers: Record<string, string> = { ...call.headers };
  const streaming = bodyKind.startsWith('streaming');
  const trailers = call.trailers ?? [];
  if (streaming) {
    headers['x-amz-decoded-content-length'] ??= call.decodedLength ?? String(plain.length);
    if (call.decodedLength === '') delete headers['x-amz-decoded-content-length'];
    headers['content-encoding'] ??= 'aws-chunked';
  }
  const announced = call.announce ?? trailers.map(([name]) => name).join(',');
  if (announced !== '') headers['x-amz-trailer'] = announced;
  const payloadHash =
    call.payloadHash ?? (bodyKind === 'sha256' ? sha256Hex(plain) : PAYLOAD_HASHES[bodyKind]);
  const request = {
    ...(call.as ?? OWNER),
    method,
    host: endpoint.host,
    path: call.path,
    query: call.query ?? '',
    headers,
    payloadHash,
    region: call.region ?? REGION,
    service: call.service ?? 's3',
    date: call.date ?? new Date(),
  };
  const wire: Wire = { method, url: '', headers: {}, body: plain };
  let seed: string;
  if (call.auth === 'presigned') {
    // The payload's kind is a signed header here, as it is for header signatures.
    const own =
      bodyKind === 'sha256' || bodyKind === 'unsigned'
        ? headers
        : { ...headers, 'x-amz-content-sha256': payloadHash };
    const hash = own === headers ? 'UNSIGNED-PAYLOAD' : payloadHash;
    const url = presignUrl({
      ...request,
      headers: own,
      payloadHash: hash,
      scheme: 'http',
      expiresSeconds: call.expiresSeconds ?? 60,
    });
    wire.url = url.slice(`http://${endpoint.host}`.length);
    wire.headers = { ...own, host: endpoint.host };
    seed = (/X-Amz-Signature=([0-9a-f]+)/.exec(url) as RegExpExecArray)[1] as string;
  } else {
    wire.headers = signRequest(request);
    wire.url = call.query ? `${call.path}?${call.query}` : call.path;
    seed = (/Signature=([0-9a-f]+)/.exec(wire.headers['authorization'] as string) ?? [])[1] ?? '';
  }
  if (streaming) wire.body = chunkedBody(plain, { call, seed, signed: chunkContext(request) });
  if (method === 'PUT' || method === 'POST' || wire.body.length > 0) {
    wire.headers['content-length'] ??= String(wire.body.length);
  }
  call.tamper?.request?.(wire);
  return wire;
}

function chunkedBody(
  plain: Buffer,
  { call, seed, signed }: { call: Call; seed: string; signed: ReturnType<typeof chunkContext> },
): Buffer {
  const isSigned = call.bodyKind !== 'streaming-unsigned-trailer';
  const chunkBytes = call.chunkBytes ?? 64 * 1024;
  const pieces: Buffer[] = [];
  for (let at = 0; at < plain.length; at += chunkBytes) {
    pieces.push(plain.subarray(at, at + chunkBytes));
  }
  pieces.push(Buffer.alloc(0));
  let previous = seed;
  const chunks = pieces.map((data): Chunk => {
    const sum = data.length === 0 ? EMPTY_SHA256 : sha256Hex(data);
    const signature = isSigned ? chunkSignature(signed, previous, sum) : '';
    previous = signature;
    return { size: data.length.toString(16), data, signature };
  });
  let trailer = (call.trailers ?? []).map(([name, value]) => `${name}:${value}\r\n`).join('');
  if (call.bodyKind === 'streaming-signed-trailer') {
    const text = (call.trailers ?? []).map(([name, value]) => `${name}:${value}\n`).join('');
    trailer += `x-amz-trailer-signature:${trailerSignature(signed, previous, text)}\r\n`;
  }
  call.tamper?.chunks?.(chunks);
  trailer = call.tamper?.trailer?.(trailer) ?? trailer;
  const encoded = chunks.flatMap(({ size, data, signature }) => [
    Buffer.from(signature === '' ? `${size}\r\n` : `${size};chunk-signature=${signature}\r\n`),
    data,
    Buffer.from(data.length === 0 ? '' : '\r\n'),
  ]);
  return Buffer.concat([...encoded, Buffer.from(`${trailer}\r\n`)]);
}

/** What can be no source of a copy: each names something that is no bucket and key, or two things. */
export const BAD_COPY_SOURCES: readonly string[] = [
  '',
  'b',
  'bucket',
  'bucket/',
  '/bucket/../foreign/k',
  'bucket/a%2F..%2Fb',
  'bucket/%zz',
  'bucket/k%3FversionId=null',
  'bucket/k?versionId=x',
  'bucket/k?other=1',
  'UPPER/k',
  '//bucket/k',
  'bucket/%00',
];

export interface Answer {
  status: number;
  headers: http.IncomingHttpHeaders;
  text: string;
  bytes: Buffer;
}

/** Rejects where no answer begins within `timeoutMs`, if that is given. */
export function sendWire(
  endpoint: { port: number },
  wire: Wire,
  options: { agent?: http.Agent; timeoutMs?: number } = {},
): Promise<Answer> {
  const { agent, timeoutMs } = options;
  return new Promise((resolve, reject) => {
    const request = http.request({
      ...(agent !== undefined && { agent }),
      host: '127.0.0.1',
      port: endpoint.port,
      method: wire.method,
      path: wire.url,
      headers: wire.headers,
      setHost: false,
    });
    if (timeoutMs !== undefined) {
      const late = (): void => void request.destroy(new Error(`no answer in ${timeoutMs} ms`));
      request.setTimeout(timeoutMs, late);
    }
    let answered = false;
    request.on('error', (error) => {
      if (!answered) reject(error);
    });
    request.on('response', (response) => {
      answered = true;
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => pieces.push(piece));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = Buffer.concat(pieces);
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: bytes.toString('utf8'),
          bytes,
        });
      });
    });
    request.end(wire.body);
  });
}

export function send(endpoint: Endpoint, call: Call): Promise<Answer> {
  return sendWire(endpoint, wireOf(endpoint, call));
}

/**
 * What the server says to these bytes: until it closes, or its first final answer is whole. `end`
 * closes our half after sending.
 */
export function sendRaw(
  endpoint: { port: number },
  bytes: string | Uint8Array,
  options: { end?: boolean } = {},
): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(endpoint.port, '127.0.0.1');
    let text = '';
    const done = (): void => {
      clearTimeout(silence);
      socket.destroy();
      resolve(text);
    };
    const silence = setTimeout(done, 15_000);
    socket.on('data', (piece: Buffer) => {
      text += piece.toString('latin1');
      if (isWhole(text)) done();
    });
    socket.on('close', done);
    socket.on('error', () => undefined);
    if (options.end === true) socket.end(bytes);
    else socket.write(bytes);
  });
}

function isWhole(text: string): boolean {
  const final = text.replace(/^HTTP\/1\.1 100 [^\r]*\r\n\r\n/, '');
  const end = final.indexOf('\r\n\r\n');
  const length = /\r\ncontent-length: (\d+)/i.exec(final.slice(0, Math.max(end, 0)))?.[1];
  return length !== undefined && final.length >= end + 4 + Number(length);
}

/** The head of a signed request, for raw sockets. */
export function rawHead(wire: Wire, extra: string[] = []): string {
  const lines = Object.entries(wire.headers).map(([name, value]) => `${name}: ${value}`);
  return `${[`${wire.method} ${wire.url} HTTP/1.1`, ...lines, ...extra].join('\r\n')}\r\n\r\n`;
}

export function codeOf(answer: { text: string }): string {
  return /<Code>([^<]*)<\/Code>/.exec(answer.text)?.[1] ?? '';
}

export function elementOf(answer: { text: string }, name: string): string | undefined {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(answer.text)?.[1];
}

/** An S3 refusal: status, code, and a body that names the same request id as the header. */
export function checkRefusal(answer: Answer, status: number, code: string, what = ''): void {
  assert.equal(`${answer.status} ${codeOf(answer)}`, `${status} ${code}`, `${what} ${answer.text}`);
  assert.equal(answer.headers['content-type'], 'application/xml', what);
  checkErrorBody(answer.text, answer.headers['x-amz-request-id'] as string, what);
}

export function checkErrorBody(text: string, requestId: string | undefined, what = ''): void {
  assert.match(requestId ?? '', /^[0-9A-F]{16}$/, what);
  assert.equal(/<RequestId>([^<]*)</.exec(text)?.[1], requestId, what);
  assert.match(text, /^<\?xml version="1.0" encoding="UTF-8"\?>\n<Error>.*<\/Error>$/s, what);
  // Neither a stack nor a path of ours.
  assert.doesNotMatch(text, /\.ts:\d|node:internal|node_modules/, what);
}

export const randomKey = (): string => `k-${randomBytes(6).toString('hex')}`;
