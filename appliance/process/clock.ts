// The clock and the random bytes of a process. Only a sandbox sets an offset (model/clock.ts says
// why there are two clocks).

import { randomFillSync } from 'node:crypto';
import type { Clock, Random } from '../model/clock.ts';

export class EngineClock implements Clock {
  offsetMs = 0;

  wall(): number {
    return Date.now();
  }

  now(): number {
    return Date.now() + this.offsetMs;
  }
}

/** Drawn 4 KiB at a time: a call to the system for every id cost more than the id (1.5 µs of 2). */
export class SystemRandom implements Random {
  readonly #pool = new Uint8Array(4096);
  #at = 4096;

  bytes(count: number): Uint8Array {
    if (count > 256) return randomFillSync(new Uint8Array(count));
    if (this.#at + count > this.#pool.length) {
      randomFillSync(this.#pool);
      this.#at = 0;
    }
    const out = this.#pool.slice(this.#at, this.#at + count);
    this.#pool.fill(0, this.#at, this.#at + count);
    this.#at += count;
    return out;
  }
}
