// What the engine is asked and answers: the face that api and workers call
// (appliance/engine/engine.ts implements it). Sizes in bytes, times in engine ms, etags without
// quotes. Every refusal is a FirnError with an S3 code.

import type { Bucket } from './bucket.ts';
import type { Encryption, EncryptionWish } from './encryption.ts';
import type { EventName } from './event-sink.ts';
import type {
  ObjectChecksum,
  ChecksumAlgorithm,
  Part,
  Restore,
  StoredHeader,
  Upload,
  UploadPart,
  Version,
  VersionAttributes,
} from './object.ts';
import type { Body, ByteRange, StagePriority } from './tier.ts';

export interface ReadConditions {
  ifMatch?: string;
  ifNoneMatch?: string;
  ifModifiedSince?: number;
  ifUnmodifiedSince?: number;
}

export interface WriteConditions {
  /** Etag or '*'. */
  ifMatch?: string;
  ifNoneMatch?: string;
  ifMatchSize?: number;
  ifMatchLastModified?: number;
}

export interface ObjectName {
  bucket: string;
  key: string;
}

export interface VersionName extends ObjectName {
  /** 'null', a version id, or absent for the current version. */
  versionId?: string;
}

/** What a new version carries beside its bytes. */
export interface NewVersion extends VersionAttributes {
  owner: string;
  storageClass: string;
  headers: Partial<Record<StoredHeader, string>>;
  metadata: Record<string, string>;
  /** Undefined: as the bucket's default says, else the bytes lie as they come. */
  encryption?: EncryptionWish;
}

export interface PutObject extends ObjectName, NewVersion {
  body: Body;
  sizeBytes?: number;
  /** Content-MD5 as hex: compared with the bytes (BadDigest). */
  contentMd5?: string;
  /** Read after the body has ended: the checksum that the client sent and the api verified. */
  checksum?: () => ObjectChecksum | undefined;
  conditions?: WriteConditions;
  /** What is told of it; s3:ObjectCreated:Put where absent. */
  event?: EventName;
  signal?: AbortSignal;
  /** The bucket, live, by a look within this request, after its body came: not read again before. */
  known?: Bucket;
}

export interface PutAnswer {
  bucket: Bucket;
  version: Version;
  /** As S3 shows it: 'null', an id, or undefined where versioning was never on. */
  versionId: string | undefined;
}

/**
 * Refusals that clients must be able to tell apart carry details, which api turns into headers too:
 * NoSuchKey because the current version is a delete marker, and MethodNotAllowed for the version id
 * of one: { DeleteMarker: 'true', VersionId }; InvalidRange: { ActualObjectSize };
 * InvalidObjectState: { StorageClass }.
 */
export interface GetObject extends VersionName {
  /**
   * Wanted bytes; resolved against the size by the engine: a suffix has offset < 0 and length =
   * -offset. `length` may pass the end. Unsatisfiable: InvalidRange.
   */
  range?: ByteRange;
  partNumber?: number;
  conditions?: ReadConditions;
  signal?: AbortSignal;
  /** The bucket, live, by a look within this request: it is not read again. */
  known?: Bucket;
  /** SSE-C: the key that the version was sealed with. */
  clientKey?: Uint8Array;
  /** Of headObject: refuse SSE-C without its key, as HeadObject of S3 does; getObject always does. */
  asksKey?: boolean;
  /** Of headObject: answer the parts too, wherever they are listed. */
  asksParts?: boolean;
}

export interface HeadAnswer {
  bucket: Bucket;
  version: Version;
  versionId: string | undefined;
  /** Bytes answered: the range or part asked for, else everything. */
  range: ByteRange;
  /** The checksum of the part asked for, where the object is made of parts. */
  partChecksum?: ObjectChecksum;
  partial: boolean;
  restore: Restore | undefined;
  /** Where they were asked for; a part without bytes is not among them. */
  parts?: readonly Part[];
}

export interface GetAnswer extends HeadAnswer {
  body: Body;
}

export interface DeleteObject extends VersionName {
  conditions?: WriteConditions;
  /** Who asks: owner of a delete marker. */
  owner: string;
  /** May delete what is under retention in GOVERNANCE mode. */
  bypassGovernance?: boolean;
}

export interface DeleteAnswer {
  /** As S3 shows it: the version removed, or the marker made. */
  versionId: string | undefined;
  /** True if what was removed or made is a delete marker. */
  deleteMarker: boolean;
}

export interface CopyObject extends ObjectName {
  source: VersionName;
  sourceConditions?: ReadConditions;
  conditions?: WriteConditions;
  owner: string;
  /** Undefined: keep the source's. */
  replaceMetadata?: Pick<NewVersion, 'headers' | 'metadata'>;
  replaceTags?: Record<string, string>;
  /** x-amz-website-redirect-location: a copy never has its source's. */
  redirectLocation?: string;
  /** The copy's own: none of these is taken over from the source. */
  attributes?: Omit<VersionAttributes, 'tags'>;
  /** Undefined: as the bucket's default says. Nothing of the source's is taken over. */
  encryption?: EncryptionWish;
  /** SSE-C: the key of the source. */
  sourceClientKey?: Uint8Array;
  storageClass?: string;
  checksumAlgorithm?: ChecksumAlgorithm;
  signal?: AbortSignal;
}

export interface CopyAnswer extends PutAnswer {
  sourceVersionId: string | undefined;
}

export interface ListQuery {
  bucket: string;
  prefix: string;
  delimiter: string;
  /** Exclusive: keys (and common prefixes) above this. */
  after: string;
  /** Keys and common prefixes together. 0 answers nothing. */
  limit: number;
}

export interface ListedVersion {
  key: string;
  version: Version;
  versionId: string;
  isLatest: boolean;
}

export interface ListAnswer {
  bucket: Bucket;
  entries: ListedVersion[];
  prefixes: string[];
  /** There is more: go on with `after` = this (a key or a common prefix). */
  next: string | undefined;
}

export interface ListVersionsQuery extends ListQuery {
  /** With `after` as key: versions of that key behind this one come first. */
  afterVersionId?: string;
}

export interface ListVersionsAnswer extends ListAnswer {
  nextVersionId: string | undefined;
}

export interface CreateUpload extends ObjectName, NewVersion {
  /** Kept with the upload, for who judges its parts. */
  said?: Record<string, string>;
  checksumAlgorithm?: ChecksumAlgorithm;
  checksumType?: 'FULL_OBJECT' | 'COMPOSITE';
}

export interface UploadName extends ObjectName {
  uploadId: string;
}

export interface PutPart extends UploadName {
  number: number;
  body: Body;
  sizeBytes?: number;
  contentMd5?: string;
  /** Read after the body has ended, of `checksumAlgorithm`: as in PutObject. */
  checksum?: () => ObjectChecksum | undefined;
  checksumAlgorithm?: ChecksumAlgorithm;
  /** SSE-C: the key that the upload was begun with. */
  clientKey?: Uint8Array;
  /** The client counts on encryption: refused where the upload has none. */
  asksEncryption?: boolean;
  signal?: AbortSignal;
}

/** The part, and how its upload is sealed. */
export interface PartAnswer extends UploadPart {
  encryption?: Encryption;
  /** Of a copy, where its source's bucket shows version ids. */
  sourceVersionId?: string;
}

export interface CompleteUpload extends UploadName {
  owner: string;
  /** SSE-C: the key that the upload was begun with. */
  clientKey?: Uint8Array;
  parts: { number: number; etag: string; checksum?: ObjectChecksum }[];
  checksum?: ObjectChecksum;
  checksumType?: 'FULL_OBJECT' | 'COMPOSITE';
  objectSize?: number;
  conditions?: WriteConditions;
}

export interface ListUploadsQuery extends ListQuery {
  afterUploadId?: string;
}

export interface ListUploadsAnswer {
  bucket: Bucket;
  uploads: Upload[];
  prefixes: string[];
  next: { key: string; uploadId: string } | undefined;
}

export interface ListPartsAnswer {
  upload: Upload;
  parts: UploadPart[];
  next: number | undefined;
}

export interface RestoreObject extends VersionName {
  days: number;
  tier: StagePriority;
  owner: string;
}

export interface UpdateVersion extends VersionName {
  /** May shorten or take off a retention in GOVERNANCE mode. */
  bypassGovernance?: boolean;
  /**
   * Pure; sees the version as it is now, and runs again where another commit came first. Only
   * attributes may differ: bytes, etag and dates stay. Throws what to answer.
   */
  change: (version: Version) => VersionAttributes;
  /** What is told of it. */
  event?: EventName;
}

/** started: 202. extended: 200 (a live copy's expiry was set anew). upgraded: 202. */
export type RestoreAnswer = 'started' | 'upgraded' | 'extended';

export interface CreateBucket {
  name: string;
  owner: string;
  region: string;
  /** How it begins; a bucket that stands already is left as it is. */
  with?: Pick<
    Bucket,
    'acl' | 'objectLock' | 'ownership' | 'publicAccessBlock' | 'tags' | 'versioning'
  >;
}

export interface ListBucketsAnswer {
  buckets: Bucket[];
  /** Continue after this bucket name. */
  next: string | undefined;
}

/** The engine as its callers see it. */
export interface ObjectStore {
  createBucket(request: CreateBucket): Promise<Bucket>;
  /** NoSuchBucket when absent or being deleted. */
  getBucket(name: string): Promise<Bucket>;
  deleteBucket(name: string): Promise<void>;
  listBuckets(query: {
    owner: string;
    prefix?: string;
    after?: string;
    limit: number;
  }): Promise<ListBucketsAnswer>;
  /** Compare-and-swap loop over `change`, which must be pure. */
  updateBucket(name: string, change: (bucket: Bucket) => Bucket): Promise<Bucket>;

  putObject(request: PutObject): Promise<PutAnswer>;
  getObject(request: GetObject): Promise<GetAnswer>;
  headObject(request: GetObject): Promise<HeadAnswer>;
  deleteObject(request: DeleteObject): Promise<DeleteAnswer>;
  /** Tags, ACL, retention, hold. Durable on return; the version as it then is. */
  updateVersion(request: UpdateVersion): Promise<HeadAnswer>;
  copyObject(request: CopyObject): Promise<CopyAnswer>;
  listObjects(query: ListQuery): Promise<ListAnswer>;
  listVersions(query: ListVersionsQuery): Promise<ListVersionsAnswer>;

  /**
   * What a writer is told from 80 % of a quota on, as this process last knew: `bucket bytes 83 %`.
   */
  quotaWarning(bucket: Bucket): string | undefined;

  createUpload(request: CreateUpload): Promise<Upload>;
  putPart(request: PutPart): Promise<PartAnswer>;
  /** UploadPartCopy. */
  copyPart(
    request: UploadName & {
      number: number;
      source: VersionName;
      range?: ByteRange;
      sourceConditions?: ReadConditions;
      signal?: AbortSignal;
      clientKey?: Uint8Array;
      sourceClientKey?: Uint8Array;
      asksEncryption?: boolean;
    },
  ): Promise<PartAnswer>;
  completeUpload(request: CompleteUpload): Promise<PutAnswer>;
  abortUpload(name: UploadName): Promise<void>;
  listUploads(query: ListUploadsQuery): Promise<ListUploadsAnswer>;
  listParts(query: UploadName & { after: number; limit: number }): Promise<ListPartsAnswer>;

  restoreObject(request: RestoreObject): Promise<RestoreAnswer>;
}
