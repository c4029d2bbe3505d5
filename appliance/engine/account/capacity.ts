// How much room a bucket has, as backup programs ask before they write: what its quota leaves, else
// what its tier leaves. A tier that says no capacity has no bound that we know.

import type { Bucket } from '../../model/bucket.ts';
import { quotaRowId, type QuotaUsage } from '../../model/quota.ts';
import type { TierUsage } from '../../model/tier.ts';
import type { EngineContext } from '../document/context.ts';
import { takenOf } from './quotas.ts';

/** A tier is asked again after this: it may have to look at every drive. */
const KNOWN_MS = 30_000;

export interface Capacity {
  capacityBytes: number;
  usedBytes: number;
}

type CapacityContext = Pick<EngineContext, 'classes' | 'clock' | 'store' | 'tiers'>;

export class Capacities {
  readonly #context: CapacityContext;
  #known: { at: number; usage: Promise<TierUsage> } | undefined;

  constructor(context: CapacityContext) {
    this.#context = context;
  }

  async of(bucket: Bucket): Promise<Capacity> {
    const capacityBytes = bucket.quota?.bytesMax;
    if (capacityBytes === undefined) return await this.#ofTier();
    const id = quotaRowId('bucket', bucket.id);
    const row = await this.#context.store.get<QuotaUsage>('quotas', id);
    return { capacityBytes, usedBytes: takenOf(row?.value).bytes };
  }

  /** Of the tier that new objects go to. */
  #ofTier(): Promise<Capacity> {
    const { classes, clock, tiers } = this.#context;
    const at = clock.wall();
    if (this.#known === undefined || at - this.#known.at > KNOWN_MS) {
      const tier = tiers.get(classes.get('STANDARD') ?? '');
      if (tier === undefined) return Promise.resolve({ capacityBytes: 0, usedBytes: 0 });
      const usage = tier.usage();
      this.#known = { at, usage };
      usage.catch(() => {
        this.#known = undefined;
      });
    }
    return this.#known.usage;
  }
}
