// What every operation of the engine is given. One object, built once a process by the front door.

import type { Clock, Random } from '../model/clock.ts';
import type { EventSink } from '../model/event-sink.ts';
import type { MetadataStore } from '../model/metadata-store.ts';
import type { Packer } from '../model/packer.ts';
import type { Tier } from '../model/tier.ts';

export interface EngineContext {
  store: MetadataStore;
  tiers: ReadonlyMap<string, Tier>;
  packer: Packer;
  clock: Clock;
  random: Random;
  events: EventSink;
  /** Storage class → name of its tier. */
  classes: ReadonlyMap<string, string>;
  /** Seals secret keys at rest (AES-256). */
  masterKey: Uint8Array;
  /** GRACE_MS, shorter only under debug settings. */
  graceMs: number;
  /** DAY_MS unless debug.restoreDaySeconds shortens it; shortened, expiry is not rounded to midnight. */
  restoreDayMs: number;
  /** How long rows of other processes may be stale in this one's caches: 0 on LMDB (section "What may be cached"). */
  staleMs: number;
}
