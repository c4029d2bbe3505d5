// The one writer: makes headers and bytes of what operations answer and of what went wrong. Writes
// to node's response directly, one flat array of headers and one write, because going through a
// framework's body property costs a small GET another 15 µs. A stream is written one piece at a
// time, and the next is asked for only when the kernel has taken this one: so a tier may reuse its
// buffer, and a slow reader slows the drives instead of filling memory.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { Body } from '../../../appliance/model/tier.ts';
import { errorXml, type VisibleError } from './errors.ts';
import { endInTurn } from './leave.ts';
import { endBegun, hasBegun } from './patience.ts';
import { letGo } from '../body/let-go.ts';
import type { Answer } from '../request/request.ts';

/** A reader that takes nothing for this long is gone. */
const SEND_STALL_MS = 60_000;
/** Of a refused body, how much and how long is read on, so that the refusal is seen. */
const DRAIN_BYTES_MAX = 4 * 1024 * 1024;
const DRAIN_MS_MAX = 5000;
/** A body this small is swallowed without ado, and its connection kept. */
const SWALLOWED_BYTES_MAX = 64 * 1024;

export interface Exchange {
  id: string;
  incoming: IncomingMessage;
  response: ServerResponse;
  /** The raw path, shown as Resource. */
  resource: string;
  /** 100 Continue was asked for and maybe not given: the body may never come. */
  expectsContinue: boolean;
  /** Beside the answer's own headers: who may read it across origins. */
  more?: readonly string[];
}

/**
 * Resolves when everything has been given to the kernel, or will be at the end of this turn;
 * rejects when a stream fails half way.
 */
export async function writeAnswer(exchange: Exchange, answer: Answer): Promise<number> {
  const { response, incoming } = exchange;
  // Its headers are gone already: the version's id is in the object's own.
  if (hasBegun(response)) return endBegun(response, answer.xml as string);
  const headers = ['x-amz-request-id', exchange.id];
  if (answer.headers !== undefined) headers.push(...answer.headers);
  if (exchange.more !== undefined) headers.push(...exchange.more);
  if (answer.xml !== undefined) {
    const bytes = Buffer.from(answer.xml, 'utf8');
    headers.push('Content-Type', 'application/xml', 'Content-Length', String(bytes.length));
    await finish(exchange, { status: answer.status, headers, bytes });
    return bytes.length;
  }
  if (answer.body === undefined || incoming.method === 'HEAD') {
    const length = answer.sizeBytes;
    if (length !== undefined) headers.push('Content-Length', String(length));
    else if (answer.status !== 204 && answer.status !== 304) headers.push('Content-Length', '0');
    await finish(exchange, { status: answer.status, headers });
    return 0;
  }
  const length = answer.sizeBytes as number;
  headers.push('Content-Length', String(length));
  response.writeHead(answer.status, headers);
  if (answer.body instanceof Uint8Array) endInTurn(response, answer.body);
  else await sendStream(response, answer.body);
  return length;
}

/** The error as S3's XML; returns the bytes of its body. A HEAD gets its headers only. */
export async function writeError(exchange: Exchange, visible: VisibleError): Promise<number> {
  const { response, incoming } = exchange;
  if (hasBegun(response)) {
    return endBegun(response, errorXml(visible, exchange.resource, exchange.id));
  }
  if (response.headersSent) {
    // Too late to say so: a body cut short is what tells the client.
    response.destroy();
    return 0;
  }
  const headers = ['x-amz-request-id', exchange.id, ...visible.headers, ...(exchange.more ?? [])];
  let bytes: Buffer | undefined;
  if (incoming.method === 'HEAD') headers.push('Content-Length', '0');
  else if (visible.status !== 304) {
    bytes = Buffer.from(errorXml(visible, exchange.resource, exchange.id), 'utf8');
    headers.push('Content-Type', 'application/xml', 'Content-Length', String(bytes.length));
  }
  const swallows = visible.code === 'SlowDown';
  await finish(exchange, { status: visible.status, headers, swallows, ...(bytes && { bytes }) });
  return bytes?.length ?? 0;
}

interface Finished {
  status: number;
  headers: string[];
  bytes?: Buffer;
  /** The client comes back in a moment: its connection is kept, where that costs little. */
  swallows?: boolean;
}

async function finish(exchange: Exchange, answer: Finished): Promise<void> {
  const { incoming, response } = exchange;
  if (response.destroyed || response.socket?.destroyed === true) return;
  const swallows = answer.swallows === true && isShort(exchange);
  if (incoming.complete || swallows) {
    response.writeHead(answer.status, answer.headers);
    endInTurn(response, answer.bytes);
    if (swallows) incoming.resume();
    return;
  }
  // Part of the body is still to come. Closing at once would reset the connection, and the client,
  // busy sending, would never read why; keeping it would mean to swallow 5 GiB.
  answer.headers.push('Connection', 'close');
  response.writeHead(answer.status, answer.headers);
  if (exchange.expectsContinue) {
    response.end(answer.bytes);
    return;
  }
  if (answer.bytes === undefined) response.flushHeaders();
  else response.write(answer.bytes);
  await drain(incoming);
  response.end();
}

/** What is left of its body is read and thrown away faster than a new connection is made. */
function isShort({ incoming, expectsContinue }: Exchange): boolean {
  const length = incoming.headers['content-length'];
  return !expectsContinue && length !== undefined && Number(length) <= SWALLOWED_BYTES_MAX;
}

function drain(incoming: IncomingMessage): Promise<void> {
  if (incoming.destroyed || incoming.readableEnded) return Promise.resolve();
  return new Promise((resolve) => {
    let bytes = 0;
    const done = (): void => {
      clearTimeout(timer);
      incoming.off('data', count);
      resolve();
    };
    const count = (piece: Buffer): void => {
      bytes += piece.length;
      letGo(piece);
      if (bytes > DRAIN_BYTES_MAX) done();
    };
    const timer = setTimeout(done, DRAIN_MS_MAX);
    incoming.once('end', done);
    incoming.once('close', done);
    incoming.once('error', done);
    incoming.on('data', count);
    incoming.resume();
  });
}

async function sendStream(
  response: ServerResponse,
  body: Exclude<Body, Uint8Array>,
): Promise<void> {
  // Only the client's slowness ends an answer: a tier may take its time to fetch the next piece.
  let sending = false;
  response.setTimeout(SEND_STALL_MS, () => {
    if (sending) response.destroy();
  });
  for await (const piece of body) {
    sending = true;
    await written(response, piece);
    sending = false;
  }
  response.end();
}

function written(response: ServerResponse, piece: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    // A pipelined answer has no socket until its turn comes: where the connection ends before that,
    // nothing calls back for what was written, and the reader of a tier would be held for good.
    const lost = (): void => reject(gone());
    response.once('close', lost);
    response.write(piece, (cause) => {
      response.off('close', lost);
      if (cause) reject(gone(cause));
      else resolve();
    });
  });
}

/** No fault of ours: who asked has hung up, or taken nothing for a minute. */
function gone(cause?: Error): FirnError {
  return new FirnError('RequestTimeout', 'The client is gone.', { cause });
}
