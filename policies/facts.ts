// What rules are asked about: flat, plain facts of one version (or one upload), built from the
// model's own records and from nothing else. Pure: no clock, no store. A scan makes them a million
// a minute, so every object has the same fields in the same order (one hidden class). What is not
// known is `undefined`, and a missing fact never matches a rule: not knowing must never delete
// anything.

import { strict as assert } from 'node:assert';
import type { Bucket } from '../appliance/model/bucket.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import type {
  LastAction,
  ObjectDocument,
  Restore,
  Upload,
  Version,
} from '../appliance/model/object.ts';

export interface VersionFacts {
  subject: 'version';
  bucket: string;
  versioning: Bucket['versioning'];
  key: string;
  versionId: string;
  isNull: boolean;
  isCurrent: boolean;
  deleteMarker: boolean;
  /** A delete marker with no version of any kind behind it. */
  lone: boolean;
  sizeBytes: number;
  storageClass: string;
  /** Of the storage class by configuration; undefined for a class that is no longer configured. */
  tier: string | undefined;
  /** Engine ms. */
  lastModified: number;
  /** When the next newer version was made; undefined for the current version. */
  successorAt: number | undefined;
  /** Noncurrent versions newer than this one, delete markers not counted; undefined if current. */
  newerNoncurrent: number | undefined;
  /** Engine ms of the last read or write, day grain; undefined where reads are not recorded. */
  lastAccessAt: number | undefined;
  /** Engine ms of the last recorded read, day grain. */
  lastReadAt: number | undefined;
  contentType: string | undefined;
  owner: string;
  tags: Readonly<Record<string, string>> | undefined;
  metadata: Readonly<Record<string, string>>;
  /** Parts of a multipart upload; undefined for a plain put. */
  partCount: number | undefined;
  restore: Restore | undefined;
  /** Engine ms until which object lock keeps it; Infinity: a hold, or a lock that can't be read. */
  lockedUntil: number | undefined;
  /** Share of the version's tier in use, 0 to 1; undefined where unbounded or not measured. */
  poolFill: number | undefined;
  /** Id of the pack that holds the (first part's) bytes. */
  pack: string | undefined;
  last: LastAction | undefined;
}

export interface UploadFacts {
  subject: 'upload';
  bucket: string;
  key: string;
  uploadId: string;
  initiatedAt: number;
  storageClass: string;
  owner: string;
  tags: Readonly<Record<string, string>> | undefined;
  /** Of the parts stored so far, where the caller counted them. */
  sizeBytes: number | undefined;
}

export type Facts = VersionFacts | UploadFacts;

/** What facts need beside the records; one a pass, not one an object. */
export interface FactsContext {
  /** Storage class → tier. */
  classes: ReadonlyMap<string, string>;
  /** Tier → share in use, 0 to 1. */
  poolFill?: ReadonlyMap<string, number>;
  /**
   * Engine ms since when reads are recorded. With it an object never read since counts as read then
   * (or when it was written, if later). Without it only a recorded read gives lastAccessAt.
   */
  readsRecordedSince?: number;
}

/**
 * Facts of every version of a key, newest first. `versions` is the whole history (document.versions
 * and then the blocks', A5) where the caller loaded it; by default the inline ones only, which is
 * right for everything but noncurrent rules on keys with a long history.
 */
export function factsOfKey(
  subject: { bucket: Bucket; key: string; document: ObjectDocument },
  context: FactsContext,
  versions: readonly Version[] = subject.document.versions,
): VersionFacts[] {
  const { bucket, key, document } = subject;
  const older = document.history.reduce((sum, block) => sum + block.count, 0);
  const total = Math.max(versions.length, document.versions.length + older);
  const facts: VersionFacts[] = [];
  let newer = 0;
  let successorAt: number | undefined;
  for (const [index, version] of versions.entries()) {
    const isCurrent = index === 0;
    const fact = factsOfVersion({ bucket, key, version }, context, {
      lone: version.deleteMarker && total === 1,
      successorAt,
      newerNoncurrent: isCurrent ? undefined : newer,
    });
    facts.push(fact);
    if (!isCurrent && !version.deleteMarker) newer += 1;
    successorAt = version.lastModified;
  }
  return facts;
}

/** Where a version stands among its key's: what its own record does not say. */
export interface VersionPlace {
  lone: boolean;
  /** Undefined: it is the current version. */
  successorAt: number | undefined;
  newerNoncurrent: number | undefined;
}

export function factsOfVersion(
  subject: { bucket: Bucket; key: string; version: Version },
  context: FactsContext,
  place: VersionPlace,
): VersionFacts {
  const { bucket, key, version } = subject;
  const isCurrent = place.successorAt === undefined;
  assert.equal(isCurrent, place.newerNoncurrent === undefined, 'a noncurrent version has both');
  const tier = version.deleteMarker ? undefined : context.classes.get(version.storageClass);
  const location = version.parts[0]?.location;
  return {
    subject: 'version',
    bucket: bucket.name,
    versioning: bucket.versioning,
    key,
    versionId: version.id,
    isNull: version.isNull,
    isCurrent,
    deleteMarker: version.deleteMarker,
    lone: place.lone,
    sizeBytes: version.sizeBytes,
    storageClass: version.storageClass,
    tier,
    lastModified: version.lastModified,
    successorAt: place.successorAt,
    newerNoncurrent: place.newerNoncurrent,
    lastAccessAt: lastAccess(version, context.readsRecordedSince),
    lastReadAt: lastRead(version),
    contentType: version.headers['content-type'],
    owner: version.owner,
    tags: version.tags,
    metadata: version.metadata,
    partCount: version.partCount,
    restore: version.restore,
    lockedUntil: lockedUntil(version),
    poolFill: tier === undefined ? undefined : context.poolFill?.get(tier),
    pack: location?.kind === 'pack' ? location.pack : undefined,
    last: version.last,
  };
}

export function factsOfUpload(bucket: string, upload: Upload, storedBytes?: number): UploadFacts {
  return {
    subject: 'upload',
    bucket,
    key: upload.key,
    uploadId: upload.uploadId,
    initiatedAt: upload.initiatedAt,
    storageClass: upload.storageClass,
    owner: upload.owner,
    tags: upload.tags,
    sizeBytes: storedBytes,
  };
}

function lockedUntil({ retention, legalHold }: Version): number | undefined {
  if (retention === undefined && legalHold === undefined) return undefined;
  if (legalHold !== undefined && legalHold !== false) return Infinity;
  if (retention === undefined) return undefined;
  // As the engine takes it: not knowing must never delete anything.
  return Number.isFinite(retention?.until) ? retention.until : Infinity;
}

function lastRead(version: Version): number | undefined {
  return version.lastAccessDay === undefined ? undefined : version.lastAccessDay * DAY_MS;
}

/**
 * A write counts as an access; so does the beginning of the records, as nothing earlier is known.
 */
function lastAccess(version: Version, recordedSince: number | undefined): number | undefined {
  const read = lastRead(version);
  if (read === undefined && recordedSince === undefined) return undefined;
  return Math.max(recordedSince ?? 0, version.lastModified, read ?? 0);
}
