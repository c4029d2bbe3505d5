// A large body taken from its socket without node's HTTP parser, which copies it in pieces of
// 64 KiB that are each allocated, handed through a stream and thrown away, with four times as many
// steps for all that stands behind. Here the kernel fills one of three lent buffers, and whoever
// reads the body gets that.
//
// The danger is the border between two requests. Three things guard it: never more is asked of the
// kernel than the body has left, so that no byte of the next request can come into a buffer; the
// parser is told of every byte (its own count of the body goes on, so that abort, end of stream and
// the next head are its business as ever); and it gets the socket back before it hears of the last.
//
// Node offers this for sockets that one opens oneself (`onread`), not for accepted ones: what is
// reached into stands in `Inside`, is looked at before it is used, and where anything is not as
// known the body comes the usual way. test/socket-body.test.ts fails when that happens.

import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { KiB, MiB } from '../../../appliance/model/limits.ts';
import { incomplete } from './incoming-body.ts';
import type { Awaited, StallGuard } from './stall-guard.ts';

/** Smaller bodies are not worth the change of hands. */
const TAKEN_BYTES_MIN = 2 * MiB;
const BUFFER_BYTES = 256 * KiB;
/** One is used, one held back, one filled. */
const BUFFERS = 3;
/** Bodies taken at once (12 MiB); the others come the usual way. */
const TAKEN_MAX = 16;

/** As much of node's HTTP parser as is used. */
interface Parser {
  consume(handle: Handle): void;
  unconsume(): void;
  execute(bytes: Uint8Array): unknown;
  incoming: IncomingMessage | null;
  _consumed: boolean;
  [callback: number]: unknown;
}

interface Handle {
  reading: boolean;
  readStart(): number;
  readStop(): number;
  useUserBuffer(buffer: Uint8Array): void;
}

/** What is node's own business in an accepted socket. */
interface Inside {
  _handle: Handle | null;
  parser: Parser | null;
  _paused: boolean;
  destroyed: boolean;
  destroy(error: Error): void;
  resume(): void;
  [symbol: symbol]: unknown;
}

interface Symbols {
  buffer: symbol;
  callback: symbol;
  next: symbol;
}

/** Found on a socket that is made as the documents of node say. */
function findSymbols(): Symbols | undefined {
  const probe = new Socket({ onread: { buffer: Buffer.alloc(1), callback: () => true } });
  const symbols = Object.getOwnPropertySymbols(probe);
  probe.destroy();
  const named = (name: string): symbol | undefined =>
    symbols.find(({ description }) => description === name);
  const [buffer, callback, next] = [named('kBuffer'), named('kBufferCb'), named('kBufferGen')];
  if (buffer === undefined || callback === undefined || next === undefined) return undefined;
  return { buffer, callback, next };
}

const symbols = findSymbols();

/**
 * Where a handle reads into that is not being asked to: never lent to a body, and what comes into
 * it all the same is copied at once.
 */
const SINK = Buffer.alloc(BUFFER_BYTES / 4);
/** Handles that have a buffer of ours below the parser, by now SINK. */
const armed = new WeakSet<Handle>();
/** As long as any piece; nobody looks at what is in it. */
const UNSEEN = Buffer.alloc(BUFFER_BYTES);
/** Never freed: a handle keeps the address that it was given last. */
const idle: Buffer[][] = [];
let made = 0;

/**
 * Where something threw behind a read's callback and a handler let the process live on, node may
 * have dropped the next buffer: the kernel fills another one than is believed. What was taken then
 * ends in an error, and nothing is taken any more.
 */
let inDoubt = false;
process.on('uncaughtExceptionMonitor', () => {
  inDoubt = true;
});

/** Bodies taken so far: what a test asks for. */
export const taken = { bodies: 0, bytes: 0 };

function lend(): Buffer[] | undefined {
  const kept = idle.pop();
  if (kept !== undefined || made === TAKEN_MAX) return kept;
  made += 1;
  return Array.from({ length: BUFFERS }, () => Buffer.allocUnsafeSlow(BUFFER_BYTES));
}

/** The parser's callback for bytes of a body; 0 where this is no parser as known. */
function bodyCallback(parser: Parser): number {
  const { kOnBody } = parser.constructor as unknown as { kOnBody?: unknown };
  return typeof kOnBody === 'number' && typeof parser[kOnBody] === 'function' ? kOnBody : 0;
}

/** Whether all of it is as it was when this was written, and nothing else is under way. */
function isTakeable(incoming: IncomingMessage, response: ServerResponse, socket: Inside): boolean {
  const { parser, _handle: handle } = socket;
  if (parser === null || handle === null || handle === undefined) return false;
  return (
    handle.constructor.name === 'TCP' &&
    typeof handle.useUserBuffer === 'function' &&
    parser.incoming === incoming &&
    parser._consumed &&
    typeof parser.execute === 'function' &&
    bodyCallback(parser) > 0 &&
    (response.socket as unknown) === socket &&
    !socket._paused &&
    !socket.destroyed &&
    !incoming.complete &&
    incoming.readableFlowing === null
  );
}

export class SocketBody implements Awaited {
  readonly #incoming: IncomingMessage;
  readonly #guard: StallGuard;
  readonly #socket: Inside;
  readonly #parser: Parser;
  readonly #handle: Handle;
  readonly #buffers: Buffer[];
  #at = 0;
  /** Of the body, not yet read from the socket. */
  #left: number;
  readonly #queue: Buffer[] = [];
  /** The last two pieces handed out, of which one while the next is asked for. */
  readonly #held: Buffer[] = [];
  #state: 'before' | 'taken' | 'given back' = 'before';
  #hasSink = false;
  /** Read from the socket, and the parser has not been told. */
  #untold = 0;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  receivedBytes = 0;
  waiting = false;

  /**
   * Undefined where the body is small, of unknown length, or comes in another way than by plain
   * TCP. To be asked for before anything of the body was read.
   */
  static of(
    incoming: IncomingMessage,
    response: ServerResponse,
    guard: StallGuard,
  ): SocketBody | undefined {
    const { headers } = incoming;
    const length = Number(headers['content-length'] ?? 0);
    if (!(length >= TAKEN_BYTES_MIN) || headers['transfer-encoding'] !== undefined)
      return undefined;
    const socket = incoming.socket as unknown as Inside;
    if (symbols === undefined || inDoubt || !isTakeable(incoming, response, socket))
      return undefined;
    const buffers = lend();
    return buffers && new SocketBody({ incoming, guard, socket, buffers, length });
  }

  constructor(given: {
    incoming: IncomingMessage;
    guard: StallGuard;
    socket: Inside;
    buffers: Buffer[];
    length: number;
  }) {
    this.#incoming = given.incoming;
    this.#guard = given.guard;
    this.#socket = given.socket;
    this.#parser = given.socket.parser as Parser;
    this.#handle = given.socket._handle as Handle;
    this.#buffers = given.buffers;
    this.#left = given.length;
    given.incoming.on('error', this.#gone);
    given.incoming.on('close', this.#gone);
    given.guard.watch(this);
  }

  /**
   * The next piece; undefined at the end. A piece is good until the next but one is asked for.
   * Throws IncompleteBody or RequestTimeout.
   */
  async next(): Promise<Buffer | undefined> {
    // The parser may be in the middle of what brought the request; and one piece a turn each, so
    // that the sums of bodies that come together are made together.
    await turn();
    if (this.#held.length > 1) this.#held.shift();
    if (this.#state === 'before') this.#take();
    for (;;) {
      const piece = this.#queue.shift();
      if (piece !== undefined) {
        this.#held.push(piece);
        return piece;
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#left === 0) return undefined;
      this.#read(true);
      this.waiting = true;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.waiting = false;
    }
  }

  /** No more is wanted, and no piece is held; what is left is for whoever ends the request. */
  stop(): void {
    this.#guard.forget(this);
    if (this.#state === 'taken') this.#giveBack();
    else if (this.#state === 'before') this.#state = 'given back';
    else if (this.#buffers.length === 0) return;
    this.#queue.length = 0;
    this.#held.length = 0;
    idle.push(this.#buffers.splice(0));
  }

  fail(error: Error): void {
    if (this.#left === 0 || this.#error !== undefined) return;
    this.#error = error;
    this.#guard.forget(this);
    this.#awake();
  }

  readonly #gone = (): void => this.fail(incomplete());

  #awake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** What came with the head is the parser's and counted by it. */
  #take(): void {
    const [incoming, socket, handle] = [this.#incoming, this.#socket, this.#handle];
    const begun = incoming.read() as Buffer | null;
    if (begun !== null) this.#arrived(begun);
    if (inDoubt) this.#socket.destroy(incomplete());
    if (this.#error !== undefined || !this.#isOurs()) return;
    assert.ok(this.#left > SINK.length, 'node holds back no more than a few pieces');
    const { buffer, callback, next } = symbols as Symbols;
    this.#state = 'taken';
    taken.bodies += 1;
    // An end of the stream is told to who flows.
    socket.resume();
    this.#parser.unconsume();
    this.#read(false);
    this.#hasSink = armed.has(handle);
    const first = this.#hasSink ? SINK : this.#target();
    if (!this.#hasSink) handle.useUserBuffer(first);
    socket[buffer] = first;
    socket[callback] = this.#came;
    socket[next] = this.#target;
  }

  /** The connection is as it was when the request came. */
  #isOurs(): boolean {
    const { _handle: handle, parser, destroyed } = this.#socket;
    return handle === this.#handle && parser === this.#parser && !destroyed;
  }

  /** Where the next bytes shall lie; where none is free (others let the socket flow), in SINK. */
  readonly #target = (): Buffer => {
    const left = this.#left;
    const buffer = this.#buffers[this.#at] as Buffer;
    const isIn = (piece: Buffer): boolean => piece.buffer === buffer.buffer;
    this.#hasSink = left === 0 || this.#held.some(isIn) || this.#queue.some(isIn);
    if (this.#hasSink) return left === 0 ? SINK : SINK.subarray(0, left);
    return buffer.subarray(0, left);
  };

  readonly #came = (count: number, into: Buffer): boolean => {
    if (inDoubt) {
      this.#socket.destroy(incomplete());
      return false;
    }
    const bytes = into.subarray(0, count);
    if (into.buffer === SINK.buffer) this.#arrived(Buffer.from(bytes));
    else {
      this.#at = (this.#at + 1) % BUFFERS;
      this.#arrived(bytes);
    }
    this.#untold += count;
    taken.bytes += count;
    // The parser hears of the last byte when it has the socket back, behind this call.
    if (this.#left > 0) this.#tell();
    else process.nextTick(() => this.#giveBack());
    this.#awake();
    return false;
  };

  #arrived(bytes: Buffer): void {
    this.receivedBytes += bytes.length;
    this.#left -= bytes.length;
    this.#queue.push(bytes);
    if (this.#left === 0) this.#guard.forget(this);
  }

  /** To the parser, so many bytes of the body have passed. It looks at none of them. */
  #tell(): void {
    const [parser, count] = [this.#parser, this.#untold];
    this.#untold = 0;
    if (!this.#isOurs()) return;
    const name = bodyCallback(parser);
    const onBody = parser[name];
    parser[name] = undefined;
    let seen: unknown;
    try {
      seen = parser.execute(UNSEEN.subarray(0, count));
    } finally {
      // Whatever is thrown: node lends the parser to other connections afterwards.
      parser[name] = onBody;
    }
    // Where the two counts differ nothing that follows can be believed.
    if (seen !== count) this.#socket.destroy(incomplete());
  }

  #read(on: boolean): void {
    const [handle, socket] = [this.#handle, this.#socket];
    if (handle.reading === on || !this.#isOurs()) return;
    handle.reading = on;
    const failed = on ? handle.readStart() : handle.readStop();
    if (failed !== 0) socket.destroy(incomplete());
  }

  /** The parser reads on from where it knows the body to be. */
  #giveBack(): void {
    if (this.#state !== 'taken') return;
    this.#read(false);
    this.#state = 'given back';
    const { buffer, callback, next } = symbols as Symbols;
    for (const name of [buffer, callback, next]) this.#socket[name] = null;
    if (!this.#isOurs()) return;
    if (!this.#hasSink) this.#handle.useUserBuffer(SINK);
    armed.add(this.#handle);
    this.#parser.consume(this.#handle);
    if (this.#untold > 0) this.#tell();
    this.#read(true);
    // Nobody else asks for its end.
    if (this.#left === 0) this.#incoming.resume();
  }
}
