// The port of tiers: hot and warm (node groups), cold (directory, s3, gcs, azure). A tier stores
// blobs that are written once under a fresh name and never changed. S3's rules are written once,
// above it.

import type { BlobLocation } from './location.ts';

/**
 * Bytes in hand, or a stream of them that is read once. A stream's chunks may not be kept by the
 * reader.
 */
export type Body = Uint8Array | AsyncIterable<Uint8Array>;

export interface PutRequest {
  /** A fresh id (newLocationId). Becomes the location's id and the blob's name. */
  id: string;
  /** Exact size where known; otherwise an upper bound does not exist and the tier streams. */
  sizeBytes?: number;
  body: Body;
  /** XXH3-64 of the bytes where the caller knows it: cold tiers refuse another body (Corrupt). */
  checksum?: string;
  /** What the bytes belong to, kept beside them so that a rebuild finds it. */
  owner: { bucketId: string; key: string };
  /** Name to use where the tier keeps plain names (layout: plain); otherwise derived from id. */
  name?: string;
  /** Node groups that must not take it: a move that empties them. Other tiers have none. */
  avoidGroups?: ReadonlySet<number>;
  signal?: AbortSignal;
}

export interface Stored {
  location: BlobLocation;
  sizeBytes: number;
  /** XXH3-64 of all bytes, 16 hex digits. */
  checksum: string;
}

/** XXH3-64, the checksum of all stored bytes, as 16 hex digits: in one piece and by stream. */
export interface StoredChecksums {
  of(bytes: Uint8Array): string;
  open(): { update(bytes: Uint8Array): void; digest(): string };
}

export interface ByteRange {
  /** First byte. */
  offset: number;
  length: number;
}

export interface ReadOptions {
  range?: ByteRange;
  signal?: AbortSignal;
}

export type StagePriority = 'Expedited' | 'Standard' | 'Bulk';

export type StageStatus =
  | { state: 'offline' }
  | { state: 'staging'; readyAt?: number }
  /** Readable; `until` is when the provider takes it offline again. */
  | { state: 'ready'; until?: number };

export interface TierUsage {
  /** Bytes that may be stored, 0 where unbounded. */
  capacityBytes: number;
  usedBytes: number;
  blobs: number;
}

export interface TierCapabilities {
  /** put refuses to overwrite (TierConflict) by the provider's own means. */
  createOnly: boolean;
  /** read of a range costs about the range, not the blob. */
  rangedRead: boolean;
  /** Stage priorities the provider knows; empty for immediate tiers. */
  priorities: readonly StagePriority[];
  /**
   * Blobs are offline as soon as put returns, so that verify() throws TierOffline: put itself has
   * had every byte compared (read back while online, or by a hash that the provider checked).
   */
  verifiesInPut?: boolean;
}

export interface ListedBlob {
  /** What delete takes: a location, as far as a listing can tell it. */
  location: BlobLocation;
  sizeBytes: number;
  /** What put was told, where the tier finds it without reading the blob. */
  owner?: { bucketId: string; key: string };
}

export interface ListOptions {
  /** Leave out records of segments: those are freed by segment, never one by one. */
  withoutSegments?: boolean;
  /**
   * Ids that the caller knows all about: left out before anything of them is read, where the tier
   * can. A tier that can't lists them.
   */
  skip?: (id: string) => boolean;
  /** Only what was put for this key, or bucket: whole segments that can't hold it are not read. */
  owner?: { bucketId: string; key?: string };
}

export interface Tier {
  readonly name: string;
  readonly retrieval: 'immediate' | 'staged';
  readonly capabilities: TierCapabilities;

  /** Takes what it needs (directories, clients); refuses foreign or unsafe places loudly. */
  open(): Promise<void>;
  /** Works after a failed open, and twice. */
  close(): Promise<void>;

  /**
   * Stores the bytes. On return they are durable (node groups: fdatasync on k'+1 drives; clouds:
   * the provider's acknowledgement, checksum compared). The same id and bytes again succeed; the
   * same name with other bytes throws TierConflict where createOnly. A throw may leave a partial
   * blob: the caller lists the id as garbage or leaves it to the sweep. A body that throws aborts
   * the put.
   */
  put(request: PutRequest): Promise<Stored>;

  /**
   * The bytes of the range (whole without), every byte verified against our own checksum where the
   * layout allows it, never wrong bytes. Small reads resolve to a Uint8Array that the caller owns;
   * large ones to a stream whose chunks stay valid until the next one is asked for. Missing:
   * TierMissing. Staged and offline: TierOffline. Beyond repair: Corrupt.
   */
  read(location: BlobLocation, options?: ReadOptions): Promise<Body>;

  /** Frees exactly this blob. Absent already: succeeds. */
  delete(location: BlobLocation): Promise<void>;

  /** Reads everything back; XXH3-64 of it and the size. Throws as read does. */
  verify(
    location: BlobLocation,
    signal?: AbortSignal,
  ): Promise<{ checksum: string; sizeBytes: number }>;

  /**
   * Asks the provider to make a staged blob readable for `days`. A repeat call raises the priority
   * or does nothing. Immediate tiers: resolves at once.
   */
  stage(location: BlobLocation, options: { priority: StagePriority; days: number }): Promise<void>;
  /** Immediate tiers: always ready. */
  stageStatus(location: BlobLocation): Promise<StageStatus>;

  usage(): Promise<TierUsage>;

  /** Every blob there is, in any order, for the orphan sweep and rebuild. */
  list(options?: ListOptions): AsyncIterable<ListedBlob>;
}
