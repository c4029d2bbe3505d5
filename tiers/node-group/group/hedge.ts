// Hedged reads: a drive that does not answer in the time in which 95 of 100 reads did is not waited
// for; the bytes are decoded from the others meanwhile, and whoever is first answers. One slow
// drive of six would otherwise set the latency of every sixth read.

const SAMPLES = 256;
const REFRESH_EVERY = 64;
/** Never sooner: on a busy machine a hedge only adds load. */
const HEDGE_MS_MIN = 25;
export const LARGE_HEDGE_MS_MIN = 50;

export class Hedge {
  readonly #samples = new Float64Array(SAMPLES);
  readonly #floorMs: number;
  #count = 0;
  #afterMs = 200;

  constructor(floorMs = HEDGE_MS_MIN) {
    this.#floorMs = floorMs;
  }

  get afterMs(): number {
    return this.#afterMs;
  }

  took(ms: number): void {
    this.#samples[this.#count % SAMPLES] = ms;
    this.#count += 1;
    if (this.#count % REFRESH_EVERY !== 0) return;
    const known = this.#samples.slice(0, Math.min(this.#count, SAMPLES)).toSorted();
    this.#afterMs = Math.max(this.#floorMs, 2 * (known[Math.floor(known.length * 0.95)] as number));
  }
}

export interface Race<T> {
  first: () => Promise<T | undefined>;
  second: () => Promise<T | undefined>;
  /** The second was done before the first. */
  overtaken: () => void;
  /** After so long the first is no longer waited for, whether or not the second has an answer. */
  hopelessMs: number;
  hopeless: () => void;
}

/** The first defined answer; undefined when both have none. Errors of the second count as none. */
export function hedged<T>(race: Race<T>, hedge: Hedge): Promise<T | undefined> {
  return new Promise<T | undefined>((resolve, reject) => {
    const begun = performance.now();
    let open = 1;
    let isFirstOut = false;
    let hopeless: NodeJS.Timeout | undefined;
    const answer = (value: T | undefined): void => {
      open -= 1;
      if (value !== undefined || open === 0) resolve(value);
    };
    const timer = setTimeout(() => {
      open += 1;
      hopeless = setTimeout(() => {
        isFirstOut = true;
        race.hopeless();
        answer(undefined);
      }, race.hopelessMs).unref();
      race.second().then(
        (value) => {
          if (value !== undefined && open === 2) race.overtaken();
          answer(value);
        },
        () => answer(undefined),
      );
    }, hedge.afterMs);
    race.first().then((value) => {
      clearTimeout(timer);
      clearTimeout(hopeless);
      hedge.took(performance.now() - begun);
      if (isFirstOut) return;
      answer(value);
    }, reject);
  });
}
