// The raw bytes of a request's body, piece by piece, with backpressure. Not the stream's own
// iterator: that one destroys the connection when its reader stops early, and the client would
// never see why it was refused; and it costs three promises a piece.

import type { IncomingMessage } from 'node:http';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { Awaited, StallGuard } from './stall-guard.ts';

/** Pieces taken in before the socket is paused. */
const QUEUE_BYTES_MAX = 128 * 1024;
/** Beside more bodies than this, one piece: its reader is not what all of them wait for. */
const CROWD = 16;
/**
 * Taken from one body before others have their turn. libuv reads a socket 32 times in a row: the
 * others' sums, which are made side by side (multi-lane MD5), would have nothing to be made of, and
 * their clients would wait.
 */
const TURN_BYTES = 64 * 1024;

/** Bodies being read, and those of them that have had their turn. */
let reading = 0;
let resting: IncomingBody[] = [];

const queueBytesMax = (): number => (reading > CROWD ? 1 : QUEUE_BYTES_MAX);

function wakeResting(): void {
  const all = resting;
  resting = [];
  for (const body of all) body.turn();
}

export class IncomingBody implements Awaited {
  readonly #incoming: IncomingMessage;
  readonly #guard: StallGuard;
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #turnBytes = 0;
  #rests = false;
  #isCounted = true;
  receivedBytes = 0;
  waiting = false;

  constructor(incoming: IncomingMessage, guard: StallGuard) {
    this.#incoming = incoming;
    this.#guard = guard;
    reading += 1;
    incoming.on('data', this.#take);
    incoming.on('end', this.#end);
    incoming.on('error', this.#gone);
    incoming.on('close', this.#gone);
    guard.watch(this);
  }

  /** The next piece; undefined at the end. Throws IncompleteBody or RequestTimeout. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const piece = this.#queue.shift();
      if (piece !== undefined) {
        this.#queuedBytes -= piece.length;
        if (this.#queuedBytes < queueBytesMax() / 2 && !this.#rests) this.#incoming.resume();
        return piece;
      }
      if (this.#error !== undefined) throw this.#error;
      if (this.#ended) return undefined;
      this.waiting = true;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.waiting = false;
    }
  }

  /** No more is wanted. What is left is for whoever ends the request. */
  stop(): void {
    this.#uncount();
    this.#guard.forget(this);
    if (!this.#ended) this.#incoming.pause();
    this.#queue.length = 0;
    this.#incoming.off('data', this.#take);
  }

  fail(error: Error): void {
    if (this.#ended || this.#error !== undefined) return;
    this.#error = error;
    this.#uncount();
    this.#guard.forget(this);
    this.#awake();
  }

  readonly #take = (piece: Buffer): void => {
    this.receivedBytes += piece.length;
    this.#queue.push(piece);
    this.#queuedBytes += piece.length;
    this.#turnBytes += piece.length;
    if (reading > 1 && this.#turnBytes >= TURN_BYTES && !this.#rests) {
      this.#rests = true;
      if (resting.push(this) === 1) setImmediate(wakeResting);
    }
    if (this.#rests || this.#queuedBytes >= queueBytesMax()) this.#incoming.pause();
    this.#awake();
  };

  /** Its next turn. */
  turn(): void {
    this.#rests = false;
    this.#turnBytes = 0;
    if (this.#isCounted && this.#queuedBytes < queueBytesMax()) this.#incoming.resume();
  }

  #uncount(): void {
    if (!this.#isCounted) return;
    this.#isCounted = false;
    reading -= 1;
  }

  readonly #end = (): void => {
    if (!this.#incoming.complete) {
      this.#gone();
      return;
    }
    this.#ended = true;
    this.#uncount();
    this.#guard.forget(this);
    this.#awake();
  };

  readonly #gone = (): void => {
    if (!this.#ended) this.fail(incomplete());
  };

  #awake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

export function incomplete(): FirnError {
  return new FirnError('IncompleteBody', 'The body ended before all announced bytes came.');
}
