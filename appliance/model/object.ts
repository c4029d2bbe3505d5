// The document of a key. One document a key holds all its recent versions, so that put, delete
// marker, delete of any version, conditional writes, restore state and every move are one
// compare-and-swap of this one row, which is therefore its own mutex (protocol A1). Immutable once
// read: build a new one.

import type { Acl } from './access.ts';
import type { LockMode } from './bucket.ts';
import type { Encryption } from './encryption.ts';
import type { Location } from './location.ts';

export type ChecksumAlgorithm =
  | 'CRC32'
  | 'CRC32C'
  | 'CRC64NVME'
  | 'MD5'
  | 'SHA1'
  | 'SHA256'
  | 'SHA512'
  | 'XXHASH64'
  | 'XXHASH3'
  | 'XXHASH128';

export interface ObjectChecksum {
  algorithm: ChecksumAlgorithm;
  type: 'FULL_OBJECT' | 'COMPOSITE';
  /** Base64, with "-N" behind it for a composite of N parts. */
  value: string;
}

export interface Part {
  number: number;
  location: Location;
  sizeBytes: number;
  /** MD5, 32 hex digits; under SSE-C and SSE-KMS a keyed digest of it. */
  etag: string;
  /** Where the part's bytes are sealed: the first counter block, base64. */
  nonce?: string;
  /** XXH3-64 of the part's bytes as stored, 16 hex digits: what every move verifies against. */
  checksum: string;
  /** The client's own checksum of this part, if it sent one. */
  clientChecksum?: ObjectChecksum;
}

/** Headers that S3 stores with an object and gives back as they came. Keys in lower case. */
export type StoredHeader =
  | 'content-type'
  | 'cache-control'
  | 'content-disposition'
  | 'content-encoding'
  | 'content-language'
  | 'expires'
  | 'x-amz-website-redirect-location';

export interface Restore {
  /** pending: bytes are being staged or copied. ready: a copy is readable until `expiry`. */
  state: 'pending' | 'ready';
  requestId: string;
  /** Retrieval tier asked for. */
  tier: 'Expedited' | 'Standard' | 'Bulk';
  days: number;
  requestedAt: number;
  /** Engine ms, set when ready: rounded up to the next midnight UTC. */
  expiry?: number;
  /**
   * The temporary copy, in the order of the version's parts. Expiry frees these and nothing else.
   */
  copy?: Location[];
}

/** The last action of a policy on this version, for explain. */
export interface LastAction {
  action: 'transition' | 'restore' | 'restore-expiry' | 'promote';
  at: number;
  rule?: string;
  policyRevision?: string;
  runId?: string;
  from: string;
  to: string;
}

export interface Retention {
  mode: LockMode;
  /** Engine ms: may not be deleted before. */
  until: number;
}

/** What a version carries beside its bytes, and may be changed without them. */
export interface VersionAttributes {
  tags?: Record<string, string>;
  /** Absent: nobody but the owner. */
  acl?: Acl;
  retention?: Retention;
  legalHold?: boolean;
}

export interface Version extends VersionAttributes {
  /** See newVersionId; unique in the key also for null versions (S3 shows those as "null"). */
  id: string;
  /** Written while versioning was off or suspended. */
  isNull: boolean;
  deleteMarker: boolean;
  /** Engine ms. Never changed by a move. */
  lastModified: number;
  sizeBytes: number;
  /** Without quotes; "<md5>-N" for multipart. Never changed by a move. */
  etag: string;
  storageClass: string;
  /** Empty for a delete marker and for an empty object. More than 64 live in a block (A5). */
  parts: Part[];
  /** Id of the row of `blocks` that holds the parts instead. */
  partsBlock?: string;
  /** Number of parts when made by multipart: GET ?partNumber answers it. */
  partCount?: number;
  headers: Partial<Record<StoredHeader, string>>;
  /** x-amz-meta-*, names without that prefix, lower case. */
  metadata: Record<string, string>;
  checksum?: ObjectChecksum;
  /** Absent: the bytes lie as they came. */
  encryption?: Encryption;
  /** Account id. */
  owner: string;
  /**
   * Id of the write or upload that made it: answers "was that ours?" when in doubt (A4, B6, C2).
   */
  operation: string;
  restore?: Restore;
  /** Day (engine ms / DAY_MS, whole) of the last read; day grain. */
  lastAccessDay?: number;
  last?: LastAction;
}

/** A block of old versions, newest first (A5). */
export interface HistoryRef {
  block: string;
  count: number;
  bytes: number;
  /**
   * Id of its newest version: ids begin with the key's sequence, so a version's block is found by
   * it.
   */
  newest?: string;
  /** One of its versions is the null version. */
  hasNull?: boolean;
}

export interface ObjectDocument {
  format: 1;
  /** Goes up with each version; begins at firstSequence, never again where a key was before. */
  sequence: number;
  /** Newest first. Empty means: counts as absent (kept only for `operations`, C2). */
  versions: Version[];
  history: HistoryRef[];
  /** Operation id of a Complete → version id it made, or 'refused' (C2, C3). */
  operations?: Record<string, string>;
}

/** Row of `blocks`: immutable. */
export type Block =
  | { format: 1; kind: 'versions'; object: string; versions: Version[] }
  | { format: 1; kind: 'parts'; object: string; parts: Part[] }
  /** Who was packed into a pack (`object` = `pack/${pack id}`): what the pack's row names. */
  | { format: 1; kind: 'members'; object: string; members: PackMember[] };

/** One version that a pack holds, or held: its object's document says whether it still does. */
export interface PackMember {
  object: string;
  versionId: string;
  /** Ids of the locations it was copied from. */
  from: string[];
  /** Ids of the locations of its parts inside the pack, one behind another from `offset` on. */
  locations: string[];
  offset: number;
  length: number;
  /** Parts are coded each by itself; absent: they lie as they are. */
  codec?: 'zstd';
  /** Set exactly where codec is: coded bytes of each part, in order. */
  codedBytes?: number[];
  /** The rule that moved it. */
  rule?: string;
}

export type UploadState = 'open' | 'completing' | 'aborting' | 'completed' | 'aborted';

/** Row of `uploads`; id = `${bucketId}/${key}\u0001${uploadId}`: listed in key order. */
export interface Upload extends VersionAttributes {
  format: 1;
  uploadId: string;
  bucketId: string;
  key: string;
  state: UploadState;
  initiatedAt: number;
  endedAt?: number;
  owner: string;
  storageClass: string;
  headers: Partial<Record<StoredHeader, string>>;
  metadata: Record<string, string>;
  encryption?: Encryption;
  checksumAlgorithm?: ChecksumAlgorithm;
  checksumType?: 'FULL_OBJECT' | 'COMPOSITE';
  /** Headers it was begun with that access policies go by: its parts are judged by these. */
  said?: Record<string, string>;
  /**
   * While completing: what roll-forward commits, all of it, so that it needs no part row (C2). Its
   * parts are named here until the object's document names them. Kept when completed, without them.
   */
  completing?: {
    operation: string;
    /** The chosen parts; empty where `partsBlock` holds them. */
    parts: Part[];
    partsBlock?: string;
    /** Name of the bucket: its row is read again after the commit (A6). */
    bucket: string;
    isNull: boolean;
    at: number;
    owner: string;
    sizeBytes: number;
    etag: string;
    partCount: number;
    checksum?: ObjectChecksum;
    conditions?: { ifMatch?: string; ifNoneMatch?: string };
  };
  /** After: what a repeated Complete answers. */
  result?: { versionId: string; etag: string };
}

/** Row of `parts`; id = `${uploadId}/${part number, 5 digits}`. */
export interface UploadPart extends Part {
  format: 1;
  uploadId: string;
  lastModified: number;
  /** Locations that this row named before it was replaced: freed when the upload ends (C1, C4). */
  replaced: Location[];
}
