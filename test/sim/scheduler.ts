// The seeded scheduler and its record. Every step of a simulated port (a write of a drive, a commit
// of the store, a call of a cloud) is put down when it is asked for and done when its turn comes;
// among those that wait the seed chooses. The record is what crashes are cut from: between `begin`
// and `end` a step is in flight, and power lost there may have left any part of it.

import { Seeded } from './random.ts';
import type { SimTime } from './time.ts';

export interface Step {
  /** Name of the crash point, such as 'put-small/segment-write/lane-3'. */
  name: string;
  /** Positions in the record; Infinity: never ended. */
  begin: number;
  end: number;
  /** It ended by an error, and had no effect. */
  failed: boolean;
}

interface Waiting {
  step: Step;
  /** Position before which it has no turn while others wait. */
  from: number;
  run: () => void;
}

/** Turns of the event loop without any step before a timer may fire. */
const IDLE_TURNS = 40;
/** With real input and output (the spool of packs): this long. */
const IDLE_REAL_MS = 40;

/** So many pauses and no event: nothing will come. */
const STUCK_TURNS = 1_000_000;

const SLOW_EVENTS = 30;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class Scheduler {
  readonly draw: Seeded;
  readonly time: SimTime;
  /** Events so far: begins and ends of steps, marks of clients. */
  position = 0;
  /** Steps by the position of their begin or end. */
  readonly events: { step: Step; isEnd: boolean; clock: number }[] = [];
  phase = 'start';
  /** Some step is real: do not take its silence for idleness. */
  real = false;
  clock: () => number = () => 0;
  /** False: steps are done at once and leave no record. */
  recording = true;
  #waiting: Waiting[] = [];

  constructor(seed: number, time: SimTime) {
    this.draw = new Seeded(seed);
    this.time = time;
  }

  /** Puts a step down; resolves with what `effect` gives once it was this step's turn. */
  step<T>(step: Step, effect: () => T, hangs = false): Promise<T> {
    this.#record(step, false);
    return new Promise<T>((resolve, reject) => {
      if (hangs) return;
      // One of eight is slow: others overtake it by many steps, which a fair choice hardly shows.
      const slow = this.draw.below(8) === 0 ? this.draw.below(SLOW_EVENTS) : 0;
      this.#waiting.push({
        step,
        from: this.position + slow,
        run: () => {
          try {
            const value = effect();
            this.#record(step, true);
            resolve(value);
          } catch (error) {
            step.failed = true;
            this.#record(step, true);
            reject(error);
          }
        },
      });
    });
  }

  #record(step: Step, isEnd: boolean): void {
    if (isEnd) step.end = this.position;
    else step.begin = this.position;
    this.events.push({ step, isEnd, clock: this.clock() });
    this.position += 1;
  }

  /** Its process stands still for so many events, or until nothing else goes on. */
  pause(events: number): Promise<void> {
    const step = { name: `${this.phase}/pause`, begin: 0, end: 0, failed: false };
    return new Promise((run) => this.#waiting.push({ step, from: this.position + events, run }));
  }

  /** A client asked or was answered: an instant of its own in the record. */
  mark(name: string): number {
    const at = this.position;
    const step = { name, begin: at, end: at, failed: false };
    this.events.push({ step, isEnd: true, clock: this.clock() });
    this.position += 1;
    return at;
  }

  /** Gives turns until the work has ended. */
  async run<T>(work: Promise<T>): Promise<T> {
    let ended = false;
    const end = (): void => {
      ended = true;
    };
    work.then(end, end);
    let idle = 0;
    let since = 0n;
    let at = 0;
    let turnsThere = 0;
    while (!ended) {
      await turn();
      if (this.#waiting.length > 0) {
        idle = 0;
        // A workload that waits by pauses for what never comes.
        turnsThere = this.position === at ? turnsThere + 1 : 0;
        at = this.position;
        if (turnsThere > STUCK_TURNS && !this.real) throw this.#standsStill();
        const ready = this.#waiting.filter(({ from }) => from <= this.position);
        const some = ready.length > 0 ? ready : this.#waiting;
        const one = some[this.draw.below(some.length)] as Waiting;
        this.#waiting.splice(this.#waiting.indexOf(one), 1);
        one.run();
        continue;
      }
      if (idle === 0) since = process.hrtime.bigint();
      idle += 1;
      if (idle < IDLE_TURNS || ended) continue;
      if (this.real && process.hrtime.bigint() - since < BigInt(IDLE_REAL_MS * 1e6)) continue;
      idle = 0;
      if (!this.time.fireNext()) {
        if (this.real) continue;
        throw this.#standsStill();
      }
    }
    return work;
  }

  #standsStill(): Error {
    return new Error(`the simulation stands still in ${this.phase} at ${this.position}`);
  }
}
