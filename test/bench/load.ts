// The load: a process of its own that speaks HTTP over raw sockets with requests signed beforehand, so
// that neither a client library nor signing shares the measured CPU. Full SigV4 headers,
// UNSIGNED-PAYLOAD, head and body in two writes (without that, bare PUT measured 18 to 90 µs by chance).
// Bounded in count and time; stops by itself.

import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { signRequest, UNSIGNED_PAYLOAD } from '../../appliance/model/signature.ts';

export interface LoadSpec {
  port: number;
  accessKey: string;
  secretKey: string;
  method: 'PUT' | 'GET';
  /** Raw path and query of request i: from, from+1, … with {i} replaced. */
  path: string;
  query: string;
  from: number;
  count: number;
  /** Request i uses index i modulo this (GETs of known keys). */
  modulo: number;
  inFlight: number;
  bodyBytes: number;
  headers: Record<string, string>;
  /** GETs of `bytes` at ever other places of the first `span` bytes. */
  ranges?: { span: number; bytes: number };
}

export interface LoadResult {
  seconds: number;
  failed: number;
  firstFailure: string;
  /** Milliseconds, sorted. */
  latencies: number[];
}

const timeLimitMs = 120_000;

/** A prime step: no place comes twice before all have come. */
function rangeOf({ span, bytes }: { span: number; bytes: number }, index: number): string {
  const at = ((index * 7919) % Math.floor(span / bytes)) * bytes;
  return `bytes=${at}-${at + bytes - 1}`;
}

function heads(spec: LoadSpec): Buffer[] {
  const host = `127.0.0.1:${spec.port}`;
  const date = new Date();
  return Array.from({ length: spec.count }, (_, index) => {
    const path = spec.path.replace('{i}', String((spec.from + index) % spec.modulo));
    const headers: Record<string, string> = { ...spec.headers };
    if (spec.ranges !== undefined) headers['range'] = rangeOf(spec.ranges, spec.from + index);
    if (spec.method === 'PUT') headers['content-length'] = String(spec.bodyBytes);
    const signed = signRequest({
      method: spec.method,
      host,
      path,
      query: spec.query,
      headers,
      payloadHash: UNSIGNED_PAYLOAD,
      region: 'us-east-1',
      service: 's3',
      date,
      accessKey: spec.accessKey,
      secretKey: spec.secretKey,
    });
    const all = { host, ...headers, ...signed };
    const lines = Object.entries(all)
      .map(([name, value]) => `${name}: ${value}\r\n`)
      .join('');
    const target = spec.query === '' ? path : `${path}?${spec.query}`;
    return Buffer.from(`${spec.method} ${target} HTTP/1.1\r\n${lines}\r\n`, 'latin1');
  });
}

class Connection {
  readonly #socket: Socket;
  #head = '';
  #left = -1;
  #status = 0;
  #done: ((status: number) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#failed?.(error));
    socket.on('close', () => this.#failed?.(new Error('closed')));
  }

  send(head: Buffer, body: Buffer | undefined): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#done = resolve;
      this.#failed = reject;
      this.#socket.write(head);
      if (body !== undefined) this.#socket.write(body);
    });
  }

  end(): void {
    this.#failed = undefined;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    let at = 0;
    if (this.#left < 0) {
      this.#head += chunk.toString('latin1');
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const before = this.#head.length - chunk.length;
      at = end + 4 - before;
      const head = this.#head.slice(0, end);
      this.#head = '';
      this.#status = Number(head.slice(9, 12));
      this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
      if (/\r\ntransfer-encoding: *chunked/i.test(head)) throw new Error('chunked answer');
    }
    this.#left -= chunk.length - at;
    if (this.#left > 0) return;
    this.#left = -1;
    this.#done?.(this.#status);
  }
}

export async function runLoad(spec: LoadSpec): Promise<LoadResult> {
  const requests = heads(spec);
  const body = spec.method === 'PUT' ? Buffer.alloc(spec.bodyBytes, 'firn') : undefined;
  const latencies: number[] = [];
  let failed = 0;
  let firstFailure = '';
  let at = 0;
  const connections = await Promise.all(
    Array.from(
      { length: spec.inFlight },
      () =>
        new Promise<Connection>((resolve, reject) => {
          const socket = connect(spec.port, '127.0.0.1', () => resolve(new Connection(socket)));
          socket.once('error', reject);
        }),
    ),
  );
  const begun = performance.now();
  await Promise.all(
    connections.map(async (connection) => {
      while (at < requests.length && performance.now() - begun < timeLimitMs) {
        const head = requests[at++] as Buffer;
        const started = performance.now();
        const status = await connection.send(head, body);
        latencies.push(performance.now() - started);
        if (status !== (spec.ranges === undefined ? 200 : 206)) {
          failed += 1;
          firstFailure ||= `${status} for ${head.toString('latin1').split('\r\n')[0]}`;
        }
      }
    }),
  );
  const seconds = (performance.now() - begun) / 1000;
  for (const connection of connections) connection.end();
  return { seconds, failed, firstFailure, latencies: latencies.toSorted((a, b) => a - b) };
}

if (process.send !== undefined && process.argv[1] === import.meta.filename) {
  process.on('message', (spec: LoadSpec) => {
    void runLoad(spec).then(
      (result) => process.send?.(result),
      (error: unknown) => {
        process.send?.({
          seconds: 0,
          failed: spec.count,
          firstFailure: String(error),
          latencies: [],
        });
      },
    );
  });
  process.on('disconnect', () => process.exit(0));
}
