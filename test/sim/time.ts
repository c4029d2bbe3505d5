// Simulated time. Product code waits with setTimeout and measures with performance.now; both are
// taken over for as long as a simulation runs, so that a stall of five seconds costs nothing, a
// loaded machine changes no outcome, and one seed gives one order of events. Real turns of the
// event loop (promises, setImmediate) stay: their order is fixed.

import type { Clock } from '../../appliance/model/clock.ts';

/** 2026-01-15 10:30 UTC. */
export const NOON = Date.UTC(2026, 0, 15, 10, 30);

interface Timer {
  due: number;
  call: () => void;
  /** 0: once. */
  everyMs: number;
}

const real = { setTimeout, setInterval, clearTimeout, clearInterval };
const realNow = performance.now.bind(performance);

/** One timeline: timers of all simulated processes, fired only by `fireNext`. */
export class SimTime {
  ms = 1000;
  #timers = new Map<number, Timer>();
  #ids = 0;

  /** Takes the global timers over until the returned function is called. */
  install(): () => void {
    const add = (call: (...all: unknown[]) => void, ms = 0, all: unknown[] = []): number => {
      this.#ids += 1;
      this.#timers.set(this.#ids, { due: this.ms + ms, call: () => call(...all), everyMs: 0 });
      return this.#ids;
    };
    const handle = (id: number): object => ({
      [Symbol.toPrimitive]: () => id,
      id,
      unref() {
        return this;
      },
      ref() {
        return this;
      },
    });
    const clear = (one: { id?: number } | undefined): void => {
      if (one?.id !== undefined) this.#timers.delete(one.id);
    };
    Object.assign(globalThis, {
      setTimeout: (call: () => void, ms?: number, ...all: unknown[]) => handle(add(call, ms, all)),
      setInterval: (call: () => void, ms: number, ...all: unknown[]) => {
        const id = add(call, ms, all);
        (this.#timers.get(id) as Timer).everyMs = ms;
        return handle(id);
      },
      clearTimeout: clear,
      clearInterval: clear,
    });
    performance.now = () => this.ms;
    return () => {
      Object.assign(globalThis, real);
      performance.now = realNow;
    };
  }

  /** Goes to the next timer that fires once and runs it; false when there is none. */
  fireNext(): boolean {
    let next: [number, Timer] | undefined;
    for (const entry of this.#timers) {
      if (entry[1].everyMs !== 0) continue;
      if (next === undefined || entry[1].due < next[1].due) next = entry;
    }
    if (next === undefined) return false;
    this.#timers.delete(next[0]);
    this.ms = Math.max(this.ms, next[1].due);
    next[1].call();
    return true;
  }

  /** The processes that set them are dead. */
  forgetAll(): void {
    this.#timers.clear();
  }
}

/** A clock that moves a millisecond at each look: nothing may rest on equal times. */
export class SimClock implements Clock {
  at: number;

  constructor(at = NOON) {
    this.at = at;
  }

  wall(): number {
    this.at += 1;
    return this.at;
  }

  now(): number {
    return this.wall();
  }

  pass(ms: number): void {
    this.at += ms;
  }
}
