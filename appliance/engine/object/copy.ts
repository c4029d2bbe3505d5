// CopyObject: read, store again, commit as a PUT. A copy shares the source's location only where
// its bucket says so (DEDUPE.md): otherwise what frees one would free the other. The new bytes' MD5
// is compared with the source's where the source has one, so that a copy can't launder damage. What
// it is sealed by is the request's and its bucket's to say; nothing of the source's encryption is
// taken over.

import { DEFAULT_CHECKSUM, newChecksum, checksumOf } from '../../model/checksum.ts';
import type { Bucket } from '../../model/bucket.ts';
import { FirnError } from '../../model/errors.ts';
import { objectId } from '../../model/ids.ts';
import { PUT_BYTES_MAX } from '../../model/limits.ts';
import type { ChecksumAlgorithm, ObjectChecksum, Version } from '../../model/object.ts';
import type { CopyAnswer, CopyObject, PutAnswer } from '../../model/requests.ts';
import type { Body } from '../../model/tier.ts';
import { needOfObject, withRoom } from './claim-room.ts';
import { checkCopySource } from '../document/conditions.ts';
import { storeContent } from '../bytes/contents.ts';
import type { Core } from '../document/core.ts';
import { newEnvelope, openEnvelope, wishOf } from '../bytes/envelope.ts';
import { findObject, requireOnline, type Found } from './get.ts';
import {
  carried,
  checkKey,
  checkMetadata,
  landingTier,
  shownVersionId,
  subjectOf,
} from '../document/names.ts';
import { commitVersion, describe } from './put.ts';
import { readVersion } from './read-version.ts';

/** What a copy gets when the request names no class (S3): not the source's. */
const COPY_CLASS = 'STANDARD';
const REDIRECT = 'x-amz-website-redirect-location';

/**
 * Durable on return. InvalidRequest for a copy to itself that changes nothing, InvalidObjectState
 * for an archived source without a restored copy, PreconditionFailed by the source's conditions.
 */
export async function copyObject(core: Core, request: CopyObject): Promise<CopyAnswer> {
  const { context } = core;
  checkKey(request);
  if (request.replaceMetadata !== undefined) checkMetadata(request.replaceMetadata.metadata);
  const storageClass = request.storageClass ?? COPY_CLASS;
  const tier = landingTier(context, storageClass);
  const bucket = await core.buckets.live(request.bucket);
  const found = await findObject(core, request.source, { parts: true });
  const source = found.version;
  const subject = subjectOf(request.source);
  checkCopySource(request.sourceConditions, source, subject);
  refuseIdle(request);
  if (source.sizeBytes > PUT_BYTES_MAX) {
    throw new FirnError(
      'InvalidRequest',
      'The specified copy source is larger than the maximum allowable size for a copy source: 5368709120',
      { subject },
    );
  }
  const fromCopy = requireOnline(context, source, subject);
  const need = needOfObject(core, bucket, { key: request.key, bytes: source.sizeBytes });
  const answer = await withRoom(core, { bucket, need }, () =>
    storeCopy(core, request, { found, fromCopy, bucket, tier, storageClass }),
  );
  return { ...answer, sourceVersionId: shownVersionId(found.bucket, source) };
}

interface Copying {
  found: Found;
  fromCopy: boolean;
  bucket: Bucket;
  tier: string;
  storageClass: string;
}

async function storeCopy(core: Core, request: CopyObject, copying: Copying): Promise<PutAnswer> {
  const { context } = core;
  const { found, fromCopy, bucket, tier, storageClass } = copying;
  const source = found.version;
  const { key, signal, conditions } = request;
  const dataKey = await openEnvelope(context, {
    object: found.object,
    encryption: source.encryption,
    clientKey: request.sourceClientKey,
  });
  const wish = wishOf(request.encryption, bucket);
  const envelope =
    wish === undefined ? undefined : await newEnvelope(context, objectId(bucket.id, key), wish);
  const body = await open(core, found, { fromCopy, dataKey, signal });
  const summed = sumFor(request, source, body);
  const bytes = await storeContent(core, bucket, {
    tier,
    bucketId: bucket.id,
    key,
    body: summed.body,
    sizeBytes: source.sizeBytes,
    contentMd5: md5Of(source),
    signal,
    envelope,
  });
  const version: Omit<Version, 'id' | 'isNull'> = {
    ...carried({
      ...kept(request, source),
      ...request.attributes,
      owner: request.owner,
      storageClass,
    }),
    ...describe(core, bytes),
  };
  if (envelope !== undefined) version.encryption = envelope.encryption;
  version.checksum = summed.checksum();
  const state = await core.buckets.still(bucket);
  return commitVersion(core, {
    bucket: state,
    key,
    version,
    shared: bytes.shared,
    conditions,
    event: 's3:ObjectCreated:Copy',
  });
}

/** MD5 of the source's bytes, where its etag is that: not of several parts, nor of sealed bytes. */
function md5Of({ partCount, encryption, etag }: Version): string | undefined {
  const isPlain = encryption === undefined || encryption.kind === 'SSE-S3';
  return partCount === undefined && isPlain ? etag : undefined;
}

/**
 * Headers, metadata and tags: the request's where it replaces them, else the source's. Where a site
 * leads to is not copied (S3): only the request says it.
 */
function kept(
  request: CopyObject,
  source: Version,
): Pick<Version, 'headers' | 'metadata' | 'tags'> {
  const { metadata, headers: all } = request.replaceMetadata ?? source;
  const headers = { ...all };
  delete headers[REDIRECT];
  if (request.redirectLocation !== undefined) headers[REDIRECT] = request.redirectLocation;
  const tags = request.replaceTags ?? source.tags;
  return tags === undefined ? { headers, metadata } : { headers, metadata, tags };
}

/** S3 refuses to rewrite the current version by itself. */
function refuseIdle(request: CopyObject): void {
  const { bucket, key, versionId } = request.source;
  if (bucket !== request.bucket || key !== request.key || versionId !== undefined) return;
  const changes =
    request.replaceMetadata !== undefined ||
    request.replaceTags !== undefined ||
    request.checksumAlgorithm !== undefined ||
    request.encryption !== undefined ||
    request.redirectLocation !== undefined ||
    // Also the class that it has: that is how clients write an object anew (aws s3 cp onto itself).
    request.storageClass !== undefined;
  if (changes) return;
  throw new FirnError(
    'InvalidRequest',
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
    { subject: subjectOf(request) },
  );
}

function open(
  core: Core,
  found: Found,
  options: {
    fromCopy: boolean;
    dataKey: Uint8Array | undefined;
    signal: AbortSignal | undefined;
  },
): Promise<Body> {
  const { object, version, parts } = found;
  const range = { offset: 0, length: version.sizeBytes };
  return readVersion(core, { object, version, parts, range, ...options });
}

interface Summed {
  body: Body;
  /** After the body has ended. */
  checksum(): ObjectChecksum;
}

/** The copy's checksum: the source's, or one made on the way. */
function sumFor(request: CopyObject, source: Version, body: Body): Summed {
  const whole = source.checksum?.type === 'FULL_OBJECT' ? source.checksum : undefined;
  const algorithm: ChecksumAlgorithm =
    request.checksumAlgorithm ?? source.checksum?.algorithm ?? DEFAULT_CHECKSUM;
  if (whole?.algorithm === algorithm) return { body, checksum: () => whole };
  if (body instanceof Uint8Array) {
    const value = checksumOf(algorithm, body);
    return { body, checksum: () => ({ algorithm, type: 'FULL_OBJECT', value }) };
  }
  const running = newChecksum(algorithm);
  const stream = body;
  async function* summing(): AsyncGenerator<Uint8Array> {
    for await (const chunk of stream) {
      running.update(chunk);
      yield chunk;
    }
  }
  return {
    body: summing(),
    checksum: () => ({ algorithm, type: 'FULL_OBJECT', value: running.digest() }),
  };
}
