// Reverse proxies before the real test servers. One breaks the network in chosen ways; two add what
// no emulator has: an archive whose objects are offline until they were asked for and time has
// passed, by S3's rules (Glacier) and by Azure's (rehydration by copy). Time is the test's own
// clock. What they answer is written after the services' documents, so they are doubles, not proof;
// the suites also run against the real services when credentials are given.

import { createServer, request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Upstream {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Exchange {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  body: Buffer;
  /** Sends it on as it came, and brings the whole answer. */
  forward(): Promise<Upstream>;
  reply(answer: { status: number; headers?: IncomingHttpHeaders; body?: Buffer | string }): void;
  response: ServerResponse;
}

export interface Proxy {
  url: string;
  stop(): Promise<void>;
}

/** A proxy on a free port; `handle` answers each request, most simply by pass(). */
export async function startProxy(
  target: string,
  handle: (exchange: Exchange) => Promise<void> | void,
): Promise<Proxy> {
  const server = createServer((req, res) => {
    void serve(new URL(target), req, res, handle).catch(() => res.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

async function serve(
  target: URL,
  req: IncomingMessage,
  res: ServerResponse,
  handle: (exchange: Exchange) => Promise<void> | void,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const [path = '/', query = ''] = (req.url ?? '/').split('?');
  await handle({
    method: req.method ?? 'GET',
    path,
    query: new URLSearchParams(query),
    headers: req.headers,
    body,
    response: res,
    forward: () => forward(target, req, body),
    reply: (answer) => reply(res, answer),
  });
}

function forward(target: URL, req: IncomingMessage, body: Buffer): Promise<Upstream> {
  return new Promise((resolve, reject) => {
    // The Host header stays the client's: it is signed.
    const options = {
      method: req.method,
      path: req.url,
      headers: req.headers,
      agent: false,
    } as const;
    const sent = httpRequest(
      { hostname: target.hostname, port: target.port, ...options },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk));
        answer.on('error', reject);
        answer.on('end', () => {
          const { statusCode: status = 502, headers } = answer;
          resolve({ status, headers, body: Buffer.concat(chunks) });
        });
      },
    );
    sent.on('error', reject);
    sent.end(body);
  });
}

function reply(
  res: ServerResponse,
  answer: { status: number; headers?: IncomingHttpHeaders; body?: Buffer | string },
): void {
  const headers = { ...answer.headers };
  for (const name of ['connection', 'keep-alive', 'transfer-encoding']) delete headers[name];
  const body = Buffer.from(answer.body ?? '');
  if (res.req.method !== 'HEAD' && answer.status !== 204)
    headers['content-length'] = String(body.length);
  res.writeHead(answer.status, headers);
  res.end(res.req.method === 'HEAD' ? undefined : body);
}

export const pass = async (exchange: Exchange): Promise<void> => {
  exchange.reply(await exchange.forward());
};

// --- faults --------------------------------------------------------------------------------------

export type Fault =
  | 'refuse' // the connection is reset before the request was looked at
  | 'reply-lost' // done by the server, but the answer never comes
  | 'unavailable' // 503
  | 'throttled' // 429, or the service's own word for it
  | 'reset-mid-body' // half of the answer's body, then a reset
  | 'short-body' // an answer that claims to be complete and holds half
  | 'flipped-bit' // one wrong bit in the answer's body
  | 'stall'; // no answer until the client gives up

export async function withFault(fault: Fault, exchange: Exchange): Promise<void> {
  const { response } = exchange;
  switch (fault) {
    case 'refuse':
      response.destroy();
      return;
    case 'reply-lost':
      await exchange.forward();
      response.destroy();
      return;
    case 'unavailable':
      exchange.reply({ status: 503, body: '<Error><Code>SlowDown</Code></Error>' });
      return;
    case 'throttled':
      exchange.reply({ status: 429, body: 'too many requests' });
      return;
    case 'stall':
      return;
    case 'reset-mid-body':
    case 'short-body':
    case 'flipped-bit':
      return withBrokenBody(fault, exchange);
  }
}

async function withBrokenBody(fault: Fault, exchange: Exchange): Promise<void> {
  const upstream = await exchange.forward();
  const half = upstream.body.subarray(0, upstream.body.length >> 1);
  if (fault === 'short-body') {
    exchange.reply({ ...upstream, body: half });
    return;
  }
  if (fault === 'flipped-bit') {
    const body = Buffer.from(upstream.body);
    if (body.length > 0) body[body.length >> 1] = (body[body.length >> 1] as number) ^ 1;
    exchange.reply({ ...upstream, body });
    return;
  }
  const headers = { ...upstream.headers };
  delete headers['transfer-encoding'];
  headers['content-length'] = String(upstream.body.length);
  exchange.response.writeHead(upstream.status, headers);
  exchange.response.write(half, () => exchange.response.destroy());
}

// --- S3 Glacier ----------------------------------------------------------------------------------

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Latest times of S3's documents for GLACIER. */
const GLACIER_MS: Record<string, number> = {
  Expedited: 5 * 60_000,
  Standard: 5 * HOUR_MS,
  Bulk: 12 * HOUR_MS,
};
export const GLACIER_STANDARD_MS = 5 * HOUR_MS;

interface GlacierState {
  storageClass: string;
  readyAt?: number;
  until?: number;
}

/** Glacier before an S3 server: objects put with an archive class are offline until restored. */
export function startGlacierDouble(target: string, now: () => number): Promise<Proxy> {
  const archived = new Map<string, GlacierState>();
  return startProxy(target, async (exchange) => {
    const { method, path, query, headers } = exchange;
    const storageClass = String(headers['x-amz-storage-class'] ?? '');
    const isCreation = method === 'PUT' ? !query.has('partNumber') : query.has('uploads');
    if (isCreation && method !== 'GET' && /^(GLACIER|DEEP_ARCHIVE)$/.test(storageClass)) {
      const upstream = await exchange.forward();
      if (upstream.status < 300) archived.set(path, { storageClass });
      exchange.reply(upstream);
      return;
    }
    const state = archived.get(path);
    if (method === 'POST' && query.has('restore')) restore(exchange, state, now());
    else if (state === undefined) await pass(exchange);
    else await asArchived(exchange, state, { now: now(), forget: () => archived.delete(path) });
  });
}

async function asArchived(
  exchange: Exchange,
  state: GlacierState,
  { now, forget }: { now: number; forget: () => void },
): Promise<void> {
  if (state.until !== undefined && now >= state.until) {
    delete state.readyAt;
    delete state.until;
  }
  if (exchange.method === 'GET' && !exchange.query.has('uploadId')) {
    if (state.readyAt === undefined || now < state.readyAt) {
      exchange.reply({
        status: 403,
        headers: { 'content-type': 'application/xml' },
        body: `<?xml version="1.0"?><Error><Code>InvalidObjectState</Code><Message>The operation is not valid for the object's storage class</Message><StorageClass>${state.storageClass}</StorageClass></Error>`,
      });
      return;
    }
  }
  const upstream = await exchange.forward();
  if (exchange.method === 'DELETE' && !exchange.query.has('uploadId')) forget();
  if (exchange.method === 'HEAD' && upstream.status === 200) {
    upstream.headers['x-amz-storage-class'] = state.storageClass;
    if (state.readyAt !== undefined) {
      upstream.headers['x-amz-restore'] =
        now < state.readyAt
          ? 'ongoing-request="true"'
          : `ongoing-request="false", expiry-date="${new Date(state.until ?? 0).toUTCString()}"`;
    }
  }
  exchange.reply(upstream);
}

function restore(exchange: Exchange, state: GlacierState | undefined, now: number): void {
  const text = exchange.body.toString('utf8');
  const days = Number(/<Days>(\d+)<\/Days>/.exec(text)?.[1]);
  const tier = /<Tier>(\w+)<\/Tier>/.exec(text)?.[1] ?? 'Standard';
  const refuse = (status: number, code: string): void =>
    exchange.reply({ status, body: `<Error><Code>${code}</Code><Message>no</Message></Error>` });
  if (state === undefined) return refuse(403, 'InvalidObjectState');
  const isOver = state.until !== undefined && now >= state.until;
  const asked = now + (GLACIER_MS[tier] ?? Number.NaN);
  const midnightAfter = (at: number): number => Math.ceil((at + days * DAY_MS) / DAY_MS) * DAY_MS;
  if (state.readyAt !== undefined && !isOver) {
    if (now >= state.readyAt) {
      state.until = midnightAfter(now);
      return exchange.reply({ status: 200 });
    }
    if (asked >= state.readyAt) return refuse(409, 'RestoreAlreadyInProgress');
  }
  state.readyAt = asked;
  state.until = midnightAfter(asked);
  exchange.reply({ status: 202 });
}

// --- Azure Archive -------------------------------------------------------------------------------

export const REHYDRATE_MS = 15 * HOUR_MS;

/** Rehydration before Azurite, which knows Archive but makes every copy readable at once. */
export function startRehydrationDouble(target: string, now: () => number): Promise<Proxy> {
  const readyAt = new Map<string, number>();
  return startProxy(target, async (exchange) => {
    const { method, path, headers } = exchange;
    const isPending = now() < (readyAt.get(path) ?? 0);
    if (isPending && method === 'GET') {
      exchange.reply({
        status: 409,
        headers: { 'x-ms-error-code': 'BlobArchived', 'content-type': 'application/xml' },
        body: '<?xml version="1.0"?><Error><Code>BlobArchived</Code><Message>archived</Message></Error>',
      });
      return;
    }
    const upstream = await exchange.forward();
    if (upstream.status < 300 && method === 'PUT' && headers['x-ms-copy-source'] !== undefined) {
      const high = headers['x-ms-rehydrate-priority'] === 'High';
      readyAt.set(path, now() + (high ? HOUR_MS : REHYDRATE_MS));
    }
    if (upstream.status < 300 && method === 'DELETE') readyAt.delete(path);
    if (isPending && method === 'HEAD' && upstream.status === 200) {
      upstream.headers['x-ms-access-tier'] = 'Archive';
      upstream.headers['x-ms-archive-status'] = 'rehydrate-pending-to-hot';
    }
    exchange.reply(upstream);
  });
}
