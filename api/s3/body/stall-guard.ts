// Ends bodies that don't come. The danger: a thousand clients that send a byte a minute hold a
// thousand sockets, buffers and slots. A total time-out would end a 5 GiB upload over a slow line;
// so only the time spent waiting for the client counts, and what it brought meanwhile. One timer
// for all.

import { FirnError } from '../../../appliance/model/errors.ts';

export const STALL_MS = 30_000;
/** What a client that is slow all the time must bring in each such stretch of waiting. */
const BYTES_MIN = 16 * 1024;

export interface Awaited {
  /** True while nothing but the client's next bytes is waited for. */
  waiting: boolean;
  /** Bytes that came, ever. */
  receivedBytes: number;
  fail(error: Error): void;
}

interface Watched {
  waitedMs: number;
  /** Since the last byte. */
  silentMs: number;
  seenBytes: number;
  windowBytes: number;
}

export class StallGuard {
  readonly #stallMs: number;
  readonly #tickMs: number;
  readonly #watched = new Map<Awaited, Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(stallMs = STALL_MS) {
    this.#stallMs = stallMs;
    this.#tickMs = Math.min(1000, Math.ceil(stallMs / 4));
  }

  watch(body: Awaited): void {
    const seenBytes = body.receivedBytes;
    this.#watched.set(body, { waitedMs: 0, silentMs: 0, seenBytes, windowBytes: seenBytes });
    if (this.#timer === undefined) {
      this.#timer = setInterval(() => this.#tick(), this.#tickMs);
      this.#timer.unref();
    }
  }

  forget(body: Awaited): void {
    this.#watched.delete(body);
  }

  #tick(): void {
    // Stopped here and not in forget: a timer set and cleared for each body costs more than the
    // watch.
    if (this.#watched.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    for (const [body, watched] of this.#watched) {
      if (body.receivedBytes > watched.seenBytes || !body.waiting) watched.silentMs = 0;
      else watched.silentMs += this.#tickMs;
      watched.seenBytes = body.receivedBytes;
      if (body.waiting) watched.waitedMs += this.#tickMs;
      const windowOver = watched.waitedMs >= this.#stallMs;
      const tooSlow = windowOver && body.receivedBytes - watched.windowBytes < BYTES_MIN;
      if (windowOver) {
        watched.waitedMs = 0;
        watched.windowBytes = body.receivedBytes;
      }
      if (tooSlow || watched.silentMs >= this.#stallMs) {
        this.forget(body);
        body.fail(new FirnError('RequestTimeout', 'The body came too slowly, or not at all.'));
      }
    }
  }
}
