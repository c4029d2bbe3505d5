// Rows that workers keep: candidates, intents, leases, checkpoints, requests.

import type { BlobLocation, Location } from './location.ts';

/** Row of `garbage`, id = location id (or `block/${id}`): perhaps garbage (protocol B1). */
export interface Garbage {
  format: 1;
  /** What to free. */
  location?: Location;
  block?: string;
  /** The document that may still name it: objectId. */
  object: string;
  /** The upload that may still name it. */
  uploadId?: string;
  notBefore: number;
  /**
   * Set by compare-and-swap after the look, before the bytes go (B4). Final: nobody takes it back.
   */
  condemned?: boolean;
  /**
   * Of a location that may be shared: set before the last look at its references. While it stands
   * nobody begins to share; whoever lists the location again takes it back.
   */
  questioned?: boolean;
  reason: 'overwrite' | 'delete' | 'move' | 'upload' | 'lost' | 'restore-expiry' | 'orphan';
}

/**
 * Row of `contents`, id = `${bucket id}/${sha256}/${bytes}`: where such bytes lie. A hint: whoever
 * follows it reads them back first.
 */
export interface Content {
  format: 1;
  location: BlobLocation;
  /** MD5 of the bytes. */
  etag: string;
  /** Part.checksum. */
  checksum: string;
}

/**
 * Row of `references`, id = `${location id}/${object id}`: the object's document names the location
 * or may be about to.
 */
export interface Reference {
  format: 1;
  /** objectId. */
  object: string;
  /** Engine ms at which it was said last. */
  at: number;
}

/**
 * The first of a location's references, id = location id: without it nobody shares the location. Of
 * the object that it was written for.
 */
export interface ReferenceHead extends Reference {
  /** Id of the row of `contents` that may name the location. */
  content: string;
  location: BlobLocation;
}

/** Row of `heals`, id = location id: stored short of full redundancy. */
export interface Heal {
  format: 1;
  location: Location;
  since: number;
  attempts: number;
}

/** Row of `leases`, id = what is leased. */
export interface Lease {
  format: 1;
  holder: string;
  /** Raised by one at each taking. */
  epoch: number;
  /** Wall ms. */
  until: number;
}

/**
 * Row of `moves`, id = move id: the intent (protocol E). One row a batch of copies made together (a
 * pack, or some versions); each version is committed on its own.
 */
export interface Move {
  format: 1;
  id: string;
  kind: 'transition' | 'restore' | 'promote' | 'compact' | 'rebalance';
  /** copying: bytes may be anywhere. copied: durable and verified, commits may have begun. */
  phase: 'copying' | 'copied';
  /** Where the copies go. */
  tier: string;
  /** What the versions show afterwards; unchanged without. */
  storageClass?: string;
  /** Without a pack: what is copied. */
  members: MoveMember[];
  /** The pack that the copies are: its row of `packs` names its members. */
  pack?: string;
  lease: { name: string; epoch: number };
  runId?: string;
  startedAt: number;
}

export interface MoveMember {
  object: string;
  versionId: string;
  /** Ids of the locations copied from. */
  from: string[];
  /** Once copied: the new locations, in the order of `from`. */
  copy?: Location[];
  rule?: string;
}

/** Row of `checkpoints`, id = job name and scope. */
export interface Checkpoint {
  format: 1;
  cursor: string;
  startedAt: number;
  updatedAt: number;
  counts: Record<string, number>;
  data?: Record<string, unknown>;
}

/**
 * Row of `runs`, id = `${kind}/${run id}`: work that the api asks of the workers, and its progress.
 */
export interface Run {
  format: 1;
  id: string;
  kind: 'lifecycle' | 'scrub' | 'heal' | 'collect' | 'inventory' | 'quotas';
  /** Bucket name; all without. */
  bucket?: string;
  state: 'requested' | 'running' | 'done' | 'failed';
  requestedAt: number;
  finishedAt?: number;
  counts: Record<string, number>;
  error?: string;
}

/** Objects and bytes by storage class. */
export type ClassTotals = Record<string, { objects: number; bytes: number }>;

/** `data` of the checkpoint `inventory/${bucket id}/${configuration id}`: its last report. */
export interface InventoryState {
  /** Engine ms, midnight of the day that was last reported. */
  day: number;
  manifestKey: string;
  destinationBucket: string;
  totals: ClassTotals;
  /** Of the whole bucket, every version: what usage and cost may stand on. */
  isWhole: boolean;
}

export const inventoryRowId = (bucketId: string, id: string): string =>
  `inventory/${bucketId}/${id}`;

export type UpkeepKind = 'heal' | 'scrub';

/** One drive that was refilled, or one group that was read back whole. Wall ms. */
export interface EndedUpkeep {
  group: number;
  /** Heal only: the drive. */
  position?: number;
  startedAt: number;
  endedAt: number;
  checked: number;
  bytes: number;
  repaired: number;
  lost: number;
}

/** `data` of the checkpoint `upkeep/${kind}/${tier}`: how far heal or scrub is, how it ended. */
export interface UpkeepState {
  /** Absent while it does not run. Counts are of the whole run, `place` is where it is now. */
  running?: {
    startedAt: number;
    /** When it came to the place, and bytes since. */
    partStartedAt?: number;
    partBytes?: number;
    checked: number;
    bytes: number;
    repaired: number;
    lost: number;
    place?: { group: number; position?: number; share: number };
  };
  /** The last ones, oldest first. */
  ended: EndedUpkeep[];
}

/** Checkpoint whose counts say what the last orphan sweep found named and not there. */
export const SWEEP_AUDIT = 'sweep-audit';

export const upkeepRowId = (kind: UpkeepKind, tier: string): string => `upkeep/${kind}/${tier}`;

/** Row of `restores`, id = request id (newRequestId): one RestoreObject, or a batch by prefix. */
export interface RestoreRequest {
  format: 1;
  id: string;
  /** S3 RestoreObject names one version; the CLI a prefix. */
  scope:
    | { bucket: string; bucketId: string; key: string; versionId: string }
    | { bucket: string; bucketId: string; prefix: string };
  tier: 'Expedited' | 'Standard' | 'Bulk';
  days: number;
  requestedAt: number;
  requestedBy: string;
  quoteId?: string;
  state: 'requested' | 'staging' | 'copying' | 'done' | 'cancelled' | 'failed';
  counts: { objects: number; bytes: number; ready: number; failed: number };
  /** Where a batch by prefix goes on: the last key looked at. */
  cursor?: string;
  finishedAt?: number;
  /** Set by the worker once it has nothing more to stage, copy or (cancelled) take back. */
  settledAt?: number;
  /** Engine ms at which the first of its copies ends, once settled: when expiry looks at it. */
  expiresAt?: number;
  error?: string;
}

/** Row of `policy-sets`, id = 'active' or `revision/${revision}`. */
export interface PolicySet {
  format: 1;
  revision: string;
  /** Name and text of each policy file, as given. */
  files: { name: string; text: string }[];
  appliedAt: number;
  appliedBy: string;
  planHash: string;
}

/** Row of `usage`, id = `${day}/${source}/...`: what the cost report adds up. */
export interface UsageRow {
  format: 1;
  /** YYYY-MM-DD, engine clock. */
  day: string;
  kind: 'stored' | 'requests' | 'moved' | 'retrieved' | 'deleted-early';
  bucket: string;
  tier: string;
  storageClass: string;
  /**
   * stored: byte-hours of the day. deleted-early: byte-hours that the provider goes on billing
   * (size times what is left of its minimum days). Otherwise bytes.
   */
  bytes: number;
  /** stored: byte-hours of what lay there, compressed where it was; absent: as many as bytes. */
  storedBytes?: number;
  /** Objects, or number of requests. */
  count: number;
  /** requests: S3 operation. */
  operation?: string;
  /** stored: engine ms up to which the day is counted: a repeated sample adds nothing. */
  through?: number;
}
