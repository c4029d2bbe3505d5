// Who is let in. Beyond what a process can serve, each further request makes all others slower
// and takes memory until something breaks; so it is refused at the door, before its signature is
// checked or its body read, by 503 SlowDown (20 µs; SDKs come back by themselves). Three bounds:
// requests in flight of the process, those of one bucket (a hot bucket is throttled before it
// hurts others), and bytes that bodies may hold beside the stripe buffers. The first two move by
// AIMD: while turns of the event loop take too long they shrink by a quarter, else they grow
// again step by step. Up to the least of the first (256 where the settings say nothing) in flight
// nobody is ever refused, however slow the machine, but for bytes.

import { KiB, MiB } from '../../../appliance/model/limits.ts';

export interface AdmissionLimits {
  /** The process's limit moves between these. */
  requestsMin: number;
  requestsMax: number;
  /** A bucket's limit never falls below this. */
  bucketMin: number;
  /** What bodies in flight may hold in memory. */
  bytesMax: number;
}

/** What is left out has its default, within the bounds that are given. */
export type GivenLimits = { [name in keyof AdmissionLimits]?: number | undefined };

const DEFAULTS: AdmissionLimits = {
  requestsMin: 256,
  requestsMax: 384,
  bucketMin: 160,
  bytesMax: 40 * MiB,
};

/** What a large body holds at most between socket and stripe, and an answer between both. */
const LARGE_BODY_BYTES = 256 * KiB;
const SMALL_BODY_BYTES_MAX = 256 * KiB;
const ANSWER_BYTES = 128 * KiB;

const TICK_MS = 100;
/** A turn of the loop this long, several times in a row, is too long. */
const LAG_MS_MAX = 150;
const LAGS_IN_ROW = 3;
const SHRINK = 0.75;
const GROW = 8;
/** Kept free of any one bucket, as a share of the process's limit. */
const OTHERS_SHARE = 0.25;

interface BucketLoad {
  inFlight: number;
  limit: number;
}

/** For metrics: what is held, what may be, and who was sent away since the process started. */
export interface AdmissionState {
  inFlight: number;
  limit: number;
  bytes: number;
  bytesMax: number;
  refused: Record<'process' | 'bucket' | 'bytes', number>;
}

export interface Admitted {
  /** Once, when the request has ended. */
  leave(): void;
}

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #buckets = new Map<string, BucketLoad>();
  #limit: number;
  #inFlight = 0;
  #bytes = 0;
  #lags = 0;
  #dueAt = 0;
  #timer: NodeJS.Timeout | undefined;
  readonly #refused = { process: 0, bucket: 0, bytes: 0 };

  constructor(given: GivenLimits = {}) {
    const requestsMax = given.requestsMax ?? Math.max(DEFAULTS.requestsMax, given.requestsMin ?? 0);
    this.#limits = {
      requestsMin: Math.min(given.requestsMin ?? DEFAULTS.requestsMin, requestsMax),
      requestsMax,
      bucketMin: Math.min(given.bucketMin ?? DEFAULTS.bucketMin, requestsMax),
      bytesMax: given.bytesMax ?? DEFAULTS.bytesMax,
    };
    this.#limit = this.#limits.requestsMax;
  }

  /** For metrics and tests. */
  get state(): AdmissionState {
    return {
      inFlight: this.#inFlight,
      limit: this.#limit,
      bytes: this.#bytes,
      bytesMax: this.#limits.bytesMax,
      refused: { ...this.#refused },
    };
  }

  /** Undefined: to be refused. `bucket`: as the URL names it, '' for none. */
  enter(bucket: string, bytes: number): Admitted | undefined {
    if (this.#inFlight >= this.#limit) return this.#refuse('process');
    if (this.#bytes + bytes > this.#limits.bytesMax) return this.#refuse('bytes');
    let load = this.#buckets.get(bucket);
    if (load === undefined) {
      load = { inFlight: 0, limit: this.#bucketMax };
      this.#buckets.set(bucket, load);
    } else if (load.inFlight >= Math.min(load.limit, this.#bucketMax)) {
      return this.#refuse('bucket');
    }
    this.#timer ??= this.#watch();
    this.#inFlight += 1;
    this.#bytes += bytes;
    load.inFlight += 1;
    const counted = load;
    let left = false;
    return {
      leave: () => {
        if (left) return;
        left = true;
        this.#inFlight -= 1;
        this.#bytes -= bytes;
        counted.inFlight -= 1;
      },
    };
  }

  #refuse(bound: keyof AdmissionState['refused']): undefined {
    this.#refused[bound] += 1;
    return undefined;
  }

  get #bucketMax(): number {
    return Math.max(this.#limits.bucketMin, Math.floor(this.#limit * (1 - OTHERS_SHARE)));
  }

  /** While anything is in flight: how long turns of the loop take. */
  #watch(): NodeJS.Timeout {
    this.#dueAt = performance.now() + TICK_MS;
    return setInterval(() => this.#tick(), TICK_MS).unref();
  }

  #tick(): void {
    const now = performance.now();
    const lag = now - this.#dueAt;
    this.#dueAt = now + TICK_MS;
    this.#lags = lag > LAG_MS_MAX ? this.#lags + 1 : 0;
    const { requestsMin, requestsMax, bucketMin } = this.#limits;
    if (this.#lags >= LAGS_IN_ROW) {
      this.#lags = 0;
      this.#limit = Math.max(requestsMin, Math.floor(this.#limit * SHRINK));
      const hottest = this.#hottest();
      if (hottest !== undefined) {
        hottest.limit = Math.max(bucketMin, Math.floor(hottest.limit * SHRINK));
      }
      return;
    }
    this.#limit = Math.min(requestsMax, this.#limit + GROW);
    for (const [name, load] of this.#buckets) {
      load.limit += GROW;
      if (load.inFlight === 0 && load.limit >= this.#bucketMax) this.#buckets.delete(name);
      else load.limit = Math.min(load.limit, this.#bucketMax);
    }
    if (this.#inFlight === 0 && this.#buckets.size === 0 && this.#limit === requestsMax) {
      this.close();
    }
  }

  #hottest(): BucketLoad | undefined {
    let hottest: BucketLoad | undefined;
    for (const load of this.#buckets.values()) {
      if (load.inFlight > (hottest?.inFlight ?? 0)) hottest = load;
    }
    return hottest;
  }

  /** Stops watching; goes on with the next request. */
  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** What a request may hold in memory: told by its method and announced length. */
export function bytesHeld(method: string, contentLength: string | undefined): number {
  if (method === 'GET') return ANSWER_BYTES;
  const length = Number(contentLength ?? 0);
  return length <= SMALL_BODY_BYTES_MAX ? length : LARGE_BODY_BYTES;
}
