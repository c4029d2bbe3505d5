// PUT of an object. Bytes first, durable under a fresh name, then one compare-and-swap of the key's
// document, then the bucket once more (A6), then the answer. A crash in between leaves bytes that
// nobody names (the sweep finds them) and never a name without bytes (I1). Of the 250 µs that a PUT
// of 4 KiB may cost, about 20 are this layer's, half of that MD5.

import type { Bucket } from '../../model/bucket.ts';
import type { EventName } from '../../model/event-sink.ts';
import { newId, objectId } from '../../model/ids.ts';
import type { ObjectDocument, Part, Version } from '../../model/object.ts';
import type { PutAnswer, PutObject, WriteConditions } from '../../model/requests.ts';
import { needOfObject, withinRoom, withRoom } from './claim-room.ts';
import { commitObject } from '../document/commit.ts';
import { checkWrite, isConditional } from '../document/conditions.ts';
import { confirmBucket } from '../document/confirm-bucket.ts';
import { storeContent, type StoredContent } from '../bytes/contents.ts';
import type { Core } from '../document/core.ts';
import { newEnvelope, wishOf } from '../bytes/envelope.ts';
import { emitEvent } from '../event/events.ts';
import {
  carried,
  checkKey,
  checkMetadata,
  landingTier,
  shownVersionId,
  subjectOf,
} from '../document/names.ts';
import { withDefaultRetention } from '../document/protection.ts';
import type { Claim } from '../document/quota-meter.ts';
import type { HeldLocation } from '../document/references.ts';
import { putOnTop } from '../document/versions.ts';

/**
 * Durable on return, and current unless a later write has replaced it. A repeat call makes another
 * version (or replaces the null version by equal bytes).
 */
export async function putObject(core: Core, request: PutObject): Promise<PutAnswer> {
  const { context } = core;
  checkKey(request);
  checkMetadata(request.metadata);
  const tier = landingTier(context, request.storageClass);
  const bucket = request.known ?? (await core.buckets.live(request.bucket));
  const { conditions } = request;
  if (isConditional(conditions)) await refuseEarly(core, bucket, request);
  const need = needOfObject(core, bucket, { key: request.key, bytes: sizeOf(request) ?? 0 });
  return withRoom(core, { bucket, need }, (claim) =>
    storeObject(core, request, { bucket, tier, claim }),
  );
}

/** Undefined: nobody knows before the body has ended. */
function sizeOf({ body, sizeBytes }: PutObject): number | undefined {
  return body instanceof Uint8Array ? body.length : sizeBytes;
}

async function storeObject(
  core: Core,
  request: PutObject,
  { bucket, tier, claim }: { bucket: Bucket; tier: string; claim: Claim | undefined },
): Promise<PutAnswer> {
  const { context } = core;
  const { key, body, sizeBytes, contentMd5, signal, conditions } = request;
  const bucketId = bucket.id;
  const wish = wishOf(request.encryption, bucket);
  const envelope =
    wish === undefined ? undefined : await newEnvelope(context, objectId(bucketId, key), wish);
  const bytes = await storeContent(core, bucket, {
    tier,
    bucketId,
    key,
    body: claim !== undefined && sizeOf(request) === undefined ? withinRoom(body, claim) : body,
    sizeBytes,
    contentMd5,
    signal,
    envelope,
  });
  const version: Omit<Version, 'id' | 'isNull'> = {
    ...carried(request),
    ...describe(core, bytes),
  };
  if (envelope !== undefined) version.encryption = envelope.encryption;
  const checksum = request.checksum?.();
  if (checksum !== undefined) version.checksum = checksum;
  // A stream may have taken hours, and versioning may have been enabled meanwhile.
  const state = body instanceof Uint8Array ? bucket : await core.buckets.still(bucket);
  return commitVersion(core, {
    bucket: state,
    key,
    version,
    shared: bytes.shared,
    conditions,
    event: request.event ?? 's3:ObjectCreated:Put',
  });
}

/** Size, etag, parts and the operation's id of bytes just stored as one part. */
export function describe(
  core: Core,
  bytes: StoredContent,
): Pick<Version, 'deleteMarker' | 'lastModified' | 'sizeBytes' | 'etag' | 'parts' | 'operation'> {
  const { stored, sizeBytes, etag, nonce, shared } = bytes;
  const parts: Part[] = [];
  if (stored !== undefined) {
    const { location, checksum } = stored;
    const part: Part = { number: 1, location, sizeBytes, etag, checksum };
    if (nonce !== undefined) part.nonce = nonce;
    parts.push(part);
  }
  return {
    deleteMarker: false,
    lastModified: core.context.clock.now(),
    sizeBytes,
    etag,
    parts,
    // The location's id is as unique as any, and a call of the random source less; not a shared one.
    operation:
      (shared === undefined ? stored?.location.id : undefined) ?? newId(core.context.random),
  };
}

export interface VersionToCommit {
  bucket: Bucket;
  key: string;
  version: Omit<Version, 'id' | 'isNull'>;
  /** Its bytes, where they were there before it. */
  shared: HeldLocation | undefined;
  conditions: WriteConditions | undefined;
  event: EventName;
}

/** Puts stored bytes on top of their key. */
export async function commitVersion(core: Core, made: VersionToCommit): Promise<PutAnswer> {
  const { bucket, key, shared, conditions, event } = made;
  const version = withDefaultRetention(bucket, made.version);
  const object = objectId(bucket.id, key);
  const subject = subjectOf({ bucket: bucket.name, key });
  const { answer, created } = await commitObject(core, {
    object,
    reason: 'overwrite',
    bucket,
    fresh: shared === undefined ? made.version.parts.map((part) => part.location) : [],
    shared,
    conditional: isConditional(conditions),
    change: (draft) => {
      checkWrite(conditions, draft.current, subject);
      return putOnTop(draft, bucket.versioning, version);
    },
  });
  await confirmBucket(core, { bucket, object, created, versionId: answer.id });
  const told = emitEvent(core.context, event, { bucket, key, version: answer });
  if (told !== undefined) await told;
  return { bucket, version: answer, versionId: shownVersionId(bucket, answer) };
}

/** A condition that is false already is answered before 5 GiB are sent for nothing. */
async function refuseEarly(core: Core, bucket: Bucket, request: PutObject): Promise<void> {
  const { store } = core.context;
  const row = await store.get<ObjectDocument>('objects', objectId(bucket.id, request.key));
  checkWrite(request.conditions, row?.value.versions[0], subjectOf(request));
}
