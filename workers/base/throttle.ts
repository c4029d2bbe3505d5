// Background work gives way to requests by resting in proportion to what its own steps cost: on a
// busy machine a step takes longer, so the rest after it grows too, and nobody has to configure a
// rate. With tranquility 2 a worker is busy a third of the time. A rest is bounded, so that a step
// that waited for a slow cloud does not turn into minutes of idling.

const REST_MS_MAX = 5_000;
/** Weight of the newest step in the running mean. */
const NEWEST = 0.3;

export class Throttle {
  readonly tranquility: number;
  #meanMs: number | undefined;

  /** `tranquility`: rest as a multiple of work; 0 never rests. */
  constructor(tranquility: number) {
    this.tranquility = tranquility;
  }

  /** How long to rest after a step of `stepMs`. */
  restMs(stepMs: number): number {
    this.#meanMs = this.#meanMs === undefined ? stepMs : mix(this.#meanMs, stepMs);
    return Math.min(REST_MS_MAX, this.#meanMs * this.tranquility);
  }
}

function mix(mean: number, newest: number): number {
  return mean * (1 - NEWEST) + newest * NEWEST;
}
