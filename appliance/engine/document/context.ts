// What every operation of the engine is given. One object, built once a process by the front door.

import type { Clock, Random } from '../../model/clock.ts';
import type { NamedKeys } from '../../model/encryption.ts';
import type { EventSink } from '../../model/event-sink.ts';
import type { MetadataStore } from '../../model/metadata-store.ts';
import type { Packer } from '../../model/packer.ts';
import type { StoredChecksums, Tier } from '../../model/tier.ts';

/** What the engine counts beside events: contention and repairs that no answer shows. */
export type EngineCount =
  | 'commit-conflict' // a compare-and-swap lost and was tried again
  | 'commit-expired' // a commit came too late for B2 or B3
  | 'bucket-reverted' // a writer found its bucket `deleting` and took the deletion back (A6)
  | 'creation-undone' // a writer found its bucket gone and removed what it had created (A6)
  | 'read-relocated'; // bytes were not where the document said: read again, found elsewhere

export interface EngineContext {
  store: MetadataStore;
  tiers: ReadonlyMap<string, Tier>;
  packer: Packer;
  clock: Clock;
  random: Random;
  events: EventSink;
  /** Storage class → name of its tier. */
  classes: ReadonlyMap<string, string>;
  /** Tiers into which moves compress what shrinks. None without. */
  compressedTiers?: ReadonlySet<string>;
  /** Seals secret keys at rest, and data keys of SSE-S3 (AES-256). */
  masterKey: Uint8Array;
  /** Seal data keys of SSE-KMS. */
  namedKeys: NamedKeys;
  checksums: StoredChecksums;
  /** GRACE_MS, shorter only under debug settings. */
  graceMs: number;
  /**
   * DAY_MS unless debug.restoreDaySeconds shortens it; shortened, expiry is not rounded to
   * midnight.
   */
  restoreDayMs: number;
  /**
   * How long rows of other processes may be stale in this one's caches: 0 on LMDB (section "What
   * may be cached").
   */
  staleMs: number;
  /**
   * Keep each version's last day of access (for rules on access). Off: a GET never leads to a
   * write.
   */
  accessDays?: boolean;
  /** For metrics. Never throws, never waits. */
  count?: (what: EngineCount) => void;
}
