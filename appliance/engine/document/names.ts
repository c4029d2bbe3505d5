// What a request may name: keys, version ids, storage classes. The danger: a key that the store
// takes but S3 does not, or two spellings of one key.

import type { Bucket } from '../../model/bucket.ts';
import { FirnError } from '../../model/errors.ts';
import { NULL_VERSION } from '../../model/ids.ts';
import { KEY_BYTES_MAX, METADATA_BYTES_MAX } from '../../model/limits.ts';
import type { Version } from '../../model/object.ts';
import type { EngineContext } from './context.ts';

/**
 * The class whose tier takes all new bytes: packed classes are filled from there by a transition.
 */
const LANDING_CLASS = 'STANDARD';

/** What errors name. */
export function subjectOf(name: { bucket: string; key: string }): string {
  return `${name.bucket}/${name.key}`;
}

/** Throws unless the key can be one: 1 to 1,024 bytes of UTF-8 without NUL. */
export function checkKey(name: { bucket: string; key: string }): void {
  const { key } = name;
  if (key.length === 0) throw new FirnError('InvalidArgument', 'A key is needed');
  // No code unit takes more than 3 bytes: only long keys are measured.
  if (key.length * 3 > KEY_BYTES_MAX && Buffer.byteLength(key, 'utf8') > KEY_BYTES_MAX) {
    throw new FirnError('KeyTooLongError', 'Your key is too long', {
      details: { MaxSizeAllowed: String(KEY_BYTES_MAX) },
    });
  }
  if (key.includes('\0')) {
    throw new FirnError('InvalidArgument', 'A key may not hold NUL', { subject: name.bucket });
  }
  if (!key.isWellFormed()) {
    throw new FirnError('InvalidArgument', 'A key must be UTF-8', { subject: name.bucket });
  }
}

const VERSION_ID = /^[0-9a-f]{28}$/;

/** Throws unless it is 'null', absent, or could be one of ours. */
export function checkVersionId(versionId: string | undefined): void {
  if (versionId === undefined || versionId === NULL_VERSION || VERSION_ID.test(versionId)) return;
  throw new FirnError('InvalidArgument', 'Invalid version id specified', {
    details: { ArgumentName: 'versionId', ArgumentValue: versionId },
  });
}

/**
 * The tier that new bytes of any class go to. InvalidStorageClass for a class nobody configured.
 */
export function landingTier(context: EngineContext, storageClass: string): string {
  if (!context.classes.has(storageClass)) {
    throw new FirnError('InvalidStorageClass', 'The storage class you specified is not valid', {
      details: { StorageClass: storageClass },
    });
  }
  return context.classes.get(LANDING_CLASS) ?? (context.classes.get(storageClass) as string);
}

/** True where GET refuses without a restored copy: the class's tier is staged. */
export function isArchived(context: EngineContext, storageClass: string): boolean {
  const tier = context.classes.get(storageClass);
  return tier !== undefined && context.tiers.get(tier)?.retrieval === 'staged';
}

export function checkMetadata(metadata: Record<string, string>): void {
  let bytes = 0;
  for (const name in metadata) {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(metadata[name] ?? '');
  }
  if (bytes <= METADATA_BYTES_MAX) return;
  throw new FirnError('MetadataTooLarge', 'Your metadata headers exceed the maximum allowed size', {
    details: { MaxSizeAllowed: String(METADATA_BYTES_MAX) },
  });
}

/** The version id as S3 shows it: undefined where versioning was never on. */
export function shownVersionId(bucket: Bucket, version: Version): string | undefined {
  if (bucket.versioning === 'off') return undefined;
  return version.isNull ? NULL_VERSION : version.id;
}

/** The fields that a new version takes over from its request. */
export function carried(from: Carried): Carried {
  const { headers, metadata, owner, storageClass } = from;
  const fields: Carried = { headers, metadata, owner, storageClass };
  if (from.tags !== undefined) fields.tags = from.tags;
  if (from.acl !== undefined) fields.acl = from.acl;
  if (from.retention !== undefined) fields.retention = from.retention;
  if (from.legalHold !== undefined) fields.legalHold = from.legalHold;
  return fields;
}

type Carried = Pick<
  Version,
  'acl' | 'headers' | 'legalHold' | 'metadata' | 'owner' | 'retention' | 'storageClass' | 'tags'
>;
