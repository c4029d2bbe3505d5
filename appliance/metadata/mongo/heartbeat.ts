// Proof that a majority still takes our writes. A primary that was deposed without noticing answers
// reads with what it has; a process that goes on believing it would serve an overwritten object. So
// a small majority write goes out every second, and once none has been acknowledged for 3 s nothing
// is answered any more, reads included, until one is. Every acknowledged commit counts as well.

import type { Collection } from 'mongodb';
import { FirnError } from '../../model/errors.ts';

export const BEAT_MS = 1000;
/** After this long without an acknowledged majority write the store answers MetadataUnavailable. */
export const SILENCE_MS_MAX = 3000;
/**
 * Beats on their way at once: one may hang on a server that is stopped while the next finds
 * another.
 */
const BEATS_MAX = 3;

export interface HeartbeatDocument {
  _id: string;
  at: Date;
}

export class Heartbeat {
  readonly #collection: Collection<HeartbeatDocument>;
  readonly #processName: string;
  readonly #onSilence: (error: FirnError) => void;
  #timer: NodeJS.Timeout | undefined;
  #beating = 0;
  #lastProof = Number.NEGATIVE_INFINITY;
  #lastError: unknown;

  /** `onSilence` is called each second without proof: what waits for an answer waits in vain. */
  constructor(
    collection: Collection<HeartbeatDocument>,
    processName: string,
    onSilence: (error: FirnError) => void,
  ) {
    this.#collection = collection;
    this.#processName = processName;
    this.#onSilence = onSilence;
  }

  /** Resolves once a first write is acknowledged; throws what kept it from that. */
  async start(): Promise<void> {
    await this.#beat();
    if (!this.isAlive()) throw this.#silence();
    this.#timer = setInterval(() => {
      if (!this.isAlive()) this.#onSilence(this.#silence());
      if (this.#beating < BEATS_MAX) void this.#beat();
    }, BEAT_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#lastProof = Number.NEGATIVE_INFINITY;
  }

  /** A majority acknowledged a write that was sent at `startedAt` (performance.now()). */
  proved(startedAt: number): void {
    if (startedAt > this.#lastProof) this.#lastProof = startedAt;
  }

  isAlive(): boolean {
    return performance.now() - this.#lastProof < SILENCE_MS_MAX;
  }

  /** Throws MetadataUnavailable while there is no proof. */
  check(): void {
    if (!this.isAlive()) throw this.#silence();
  }

  async #beat(): Promise<void> {
    const startedAt = performance.now();
    this.#beating += 1;
    try {
      await this.#collection.updateOne(
        { _id: this.#processName },
        { $set: { at: new Date() } },
        { upsert: true },
      );
      this.proved(startedAt);
    } catch (error) {
      // Kept for whoever is refused: until the next beat there is nobody to tell.
      this.#lastError = error;
    } finally {
      this.#beating -= 1;
    }
  }

  #silence(): FirnError {
    return new FirnError('MetadataUnavailable', 'MongoDB has no majority that takes writes', {
      cause: this.#lastError,
      retryable: true,
      hint: 'look at rs.status(): a primary and a majority of the voting members are needed',
    });
  }
}
