// More requests at once than an appliance takes, from many connections of one process, and what
// became of each: its status and error code, or how its connection ended. Bodies of all sizes,
// GETs and LISTs; who is told to slow down waits a moment, as SDKs do, and comes back.

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { KiB, MiB } from '../appliance/model/limits.ts';
import { signRequest, UNSIGNED_PAYLOAD } from '../appliance/model/signature.ts';
import { childrenOf } from './firn-process.ts';

export interface Aim {
  port: number;
  accessKey: string;
  secretKey: string;
}

export interface Ask {
  method: 'GET' | 'PUT';
  path: string;
  bodyBytes?: number;
}

/** Head of a request, signed; good for 15 minutes and as often as wanted. */
export function headOf({ port, accessKey, secretKey }: Aim, ask: Ask): Buffer {
  const host = `127.0.0.1:${port}`;
  const { method, path, bodyBytes } = ask;
  const [rawPath = '', query = ''] = path.split('?');
  const headers: Record<string, string> = {};
  if (bodyBytes !== undefined) headers['content-length'] = String(bodyBytes);
  const signed = signRequest({
    method,
    host,
    path: rawPath,
    query,
    headers,
    payloadHash: UNSIGNED_PAYLOAD,
    region: 'us-east-1',
    service: 's3',
    date: new Date(),
    accessKey,
    secretKey,
  });
  const lines = Object.entries({ host, ...headers, ...signed }).map(([n, v]) => `${n}: ${v}\r\n`);
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1');
}

interface Outcome {
  /** '200', '503 SlowDown', '503 SlowDown without Retry-After', 'ECONNRESET', 'closed' … */
  what: string;
  ms: number;
}

/** A connection that asks for one thing after another, and connects again when it was closed. */
class Caller {
  readonly #port: number;
  #socket: ReturnType<typeof connect> | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  ask(head: Buffer, body: Buffer | undefined): Promise<Outcome> {
    const begun = performance.now();
    const socket = (this.#socket ??= connect(this.#port, '127.0.0.1').setNoDelay(true));
    return new Promise((resolve) => {
      let text = '';
      let left = -1;
      const end = (what: string, keeps: boolean): void => {
        socket.removeAllListeners();
        socket.on('error', () => undefined);
        if (!keeps) {
          socket.destroy();
          this.#socket = undefined;
        }
        resolve({ what, ms: performance.now() - begun });
      };
      socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error', false));
      socket.on('close', () => end('closed', false));
      socket.on('data', (chunk) => {
        let rest = chunk.length;
        if (left < 0 || text.length < 4000) {
          text += chunk.toString('latin1');
        }
        if (left < 0) {
          const at = text.indexOf('\r\n\r\n');
          if (at < 0) return;
          left = Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, at))?.[1] ?? 0);
          rest = text.length - at - 4;
        }
        left -= rest;
        if (left <= 0) end(meaning(text), !/\r\nconnection: close/i.test(text));
      });
      socket.write(head);
      if (body !== undefined) socket.write(body);
    });
  }

  end(): void {
    this.#socket?.destroy();
  }
}

function meaning(text: string): string {
  const status = text.slice(9, 12);
  if (status === '200') return status;
  const code = /<Code>(\w+)<\/Code>/.exec(text)?.[1] ?? '';
  const retry = status !== '503' || /\r\nretry-after: *\d/i.test(text);
  return `${status} ${code}${retry ? '' : ' without Retry-After'}`;
}

export interface Told {
  /** How often each outcome was. */
  outcomes: Record<string, number>;
  /** Of those that were served, sorted. */
  servedMs: number[];
}

/** Asks for `asks` in turn from that many connections until the time is over. */
export async function press(
  aim: Aim,
  asks: readonly Ask[],
  { connections, forMs }: { connections: number; forMs: number },
): Promise<Told> {
  const bodies = new Map<number, Buffer>();
  const all = asks.map((ask) => {
    const size = ask.bodyBytes;
    if (size !== undefined && !bodies.has(size)) bodies.set(size, Buffer.alloc(size, 'firn'));
    return { head: headOf(aim, ask), body: size === undefined ? undefined : bodies.get(size) };
  });
  const outcomes: Record<string, number> = {};
  const servedMs: number[] = [];
  let turn = 0;
  const until = performance.now() + forMs;
  const callers = Array.from({ length: connections }, () => new Caller(aim.port));
  await Promise.all(
    callers.map(async (caller) => {
      while (performance.now() < until) {
        const { head, body } = all[turn++ % all.length] as (typeof all)[number];
        const { what, ms } = await caller.ask(head, body);
        outcomes[what] = (outcomes[what] ?? 0) + 1;
        if (what === '200') servedMs.push(ms);
        else await sleep(200);
      }
      caller.end();
    }),
  );
  return { outcomes, servedMs: servedMs.toSorted((a, b) => a - b) };
}

/** A bit of everything; `/load` must be a bucket with small-0 … small-9 and large-0. */
export function mixture(): Ask[] {
  const asks: Ask[] = [];
  for (let i = 0; i < 40; i += 1) {
    asks.push({ method: 'PUT', path: `/load/put-${i}`, bodyBytes: 4 * KiB });
    asks.push({ method: 'GET', path: `/load/small-${i % 10}` });
    asks.push({ method: 'GET', path: '/load?list-type=2&max-keys=100' });
    if (i % 4 === 0) asks.push({ method: 'PUT', path: `/load/part-${i}`, bodyBytes: 256 * KiB });
    if (i % 8 === 1) asks.push({ method: 'PUT', path: `/load/file-${i}`, bodyBytes: MiB });
    if (i % 8 === 2) asks.push({ method: 'GET', path: '/load/large-0' });
  }
  return asks;
}

export async function prepare(aim: Aim): Promise<Told> {
  const asks: Ask[] = [{ method: 'PUT', path: '/load', bodyBytes: 0 }];
  for (let i = 0; i < 10; i += 1) {
    asks.push({ method: 'PUT', path: `/load/small-${i}`, bodyBytes: 4 * KiB });
  }
  asks.push({ method: 'PUT', path: '/load/large-0', bodyBytes: 4 * MiB });
  const caller = new Caller(aim.port);
  const outcomes: Record<string, number> = {};
  for (const ask of asks) {
    const body = Buffer.alloc(ask.bodyBytes ?? 0, 'firn');
    const { what } = await caller.ask(headOf(aim, ask), body);
    outcomes[what] = (outcomes[what] ?? 0) + 1;
  }
  caller.end();
  return { outcomes, servedMs: [] };
}

/** Pids of the processes that serve S3. */
export function apiPids(primary: number): number[] {
  return childrenOf(primary).filter((pid) =>
    readFileSync(`/proc/${pid}/environ`, 'utf8').includes('FIRN_PART=api'),
  );
}

/** Anonymous memory of a process, bytes: mapped files (LMDB's pages) are not its own. */
export function anonymousBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * KiB;
}
