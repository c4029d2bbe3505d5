// A cold tier whose place may be away when a process starts: a cloud that does not answer, a mount
// that is missing today. The danger: a start that waits for it, or refuses, takes hot and warm data
// down with it, also when a single process is restarted in the midst of a cloud's outage. So the
// start goes on after 2 s, what needs the tier is told to try later, and every 5 s it is tried
// again. Only for places that were opened before: the first time a wrong address must be seen at
// once. What is foreign or of a newer format refuses the start as ever.

import { FirnError, isFirnError } from '../../appliance/model/errors.ts';
import type { BlobLocation } from '../../appliance/model/location.ts';
import type {
  Body,
  ListedBlob,
  ListOptions,
  PutRequest,
  ReadOptions,
  StagePriority,
  StageStatus,
  Stored,
  Tier,
  TierCapabilities,
  TierUsage,
} from '../../appliance/model/tier.ts';

const START_WAIT_MS = 2000;
const AGAIN_MS = 5000;

export interface LateTierOptions {
  /** Told once when the place is away, and once when it is there. */
  noticed: (event: 'away' | 'back', error?: unknown) => void;
  startWaitMs?: number;
  againMs?: number;
}

export class LateTier implements Tier {
  readonly #inner: Tier;
  readonly #options: LateTierOptions;
  #state: 'closed' | 'open' | 'away' = 'closed';
  #cause: unknown;
  #isToldAway = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(inner: Tier, options: LateTierOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  get name(): string {
    return this.#inner.name;
  }

  get retrieval(): 'immediate' | 'staged' {
    return this.#inner.retrieval;
  }

  get capabilities(): TierCapabilities {
    return this.#inner.capabilities;
  }

  /** On return the tier is open, or away and tried again. Throws for a place that is not ours. */
  async open(): Promise<void> {
    if (this.#state !== 'closed') return;
    this.#state = 'away';
    const { startWaitMs = START_WAIT_MS } = this.#options;
    let wait: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      wait = setTimeout(resolve, startWaitMs, 'late');
    });
    // A refusal that comes after the wait is no longer the start's: it is told as the reason.
    const outcome = await Promise.race([this.#try(), late]);
    clearTimeout(wait);
    if (outcome === undefined) return;
    if (outcome !== 'late' && !isFirnError(outcome, 'TierUnavailable')) {
      await this.close();
      throw outcome;
    }
    this.#isToldAway = true;
    this.#options.noticed('away', this.#cause);
  }

  async close(): Promise<void> {
    const wasOpened = this.#state !== 'closed';
    this.#state = 'closed';
    clearTimeout(this.#timer);
    if (wasOpened) await this.#inner.close();
  }

  /** One attempt. Never throws: answers what it failed by. */
  async #try(): Promise<unknown> {
    const failure: unknown = await this.#inner.open().then(
      () => undefined,
      (error: unknown) => error,
    );
    if (this.#state === 'closed') {
      // Closed meanwhile: what this attempt opened goes again.
      if (failure === undefined) await this.#inner.close();
    } else if (failure === undefined) {
      this.#state = 'open';
      if (this.#isToldAway) this.#options.noticed('back');
    } else {
      this.#cause = failure;
      const { againMs = AGAIN_MS } = this.#options;
      this.#timer = setTimeout(() => void this.#try(), againMs).unref();
    }
    return failure;
  }

  #there(): Tier {
    if (this.#state === 'open') return this.#inner;
    const reason = this.#cause instanceof Error ? this.#cause.message : 'it does not answer';
    throw new FirnError('TierUnavailable', `${this.name} is away since the start: ${reason}`, {
      subject: this.name,
      cause: this.#cause,
      hint: isFirnError(this.#cause)
        ? (this.#cause.hint ?? 'it is tried again')
        : 'it is tried again',
      retryable: true,
    });
  }

  async put(request: PutRequest): Promise<Stored> {
    return await this.#there().put(request);
  }

  async read(location: BlobLocation, options?: ReadOptions): Promise<Body> {
    return await this.#there().read(location, options);
  }

  async delete(location: BlobLocation): Promise<void> {
    await this.#there().delete(location);
  }

  async verify(
    location: BlobLocation,
    signal?: AbortSignal,
  ): Promise<{ checksum: string; sizeBytes: number }> {
    return await this.#there().verify(location, signal);
  }

  async stage(
    location: BlobLocation,
    options: { priority: StagePriority; days: number },
  ): Promise<void> {
    await this.#there().stage(location, options);
  }

  async stageStatus(location: BlobLocation): Promise<StageStatus> {
    return await this.#there().stageStatus(location);
  }

  async usage(): Promise<TierUsage> {
    return await this.#there().usage();
  }

  async *list(options?: ListOptions): AsyncIterable<ListedBlob> {
    yield* this.#there().list(options);
  }
}
