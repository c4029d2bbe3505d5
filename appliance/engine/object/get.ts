// GET and HEAD. One read of the document, then the bytes. The dangers: wrong bytes, another
// version's bytes, and bytes of an archived object that a client believes to be online.

import type { Bucket } from '../../model/bucket.ts';
import { FirnError } from '../../model/errors.ts';
import { NULL_VERSION, objectId } from '../../model/ids.ts';
import type { ObjectDocument, Part, Restore, Version } from '../../model/object.ts';
import type { GetAnswer, GetObject, HeadAnswer, VersionName } from '../../model/requests.ts';
import type { ByteRange } from '../../model/tier.ts';
import { checkRead } from '../document/conditions.ts';
import type { EngineContext } from '../document/context.ts';
import type { Core } from '../document/core.ts';
import { openEnvelope } from '../bytes/envelope.ts';
import { findVersion, loadParts, reread } from '../document/history.ts';
import {
  checkKey,
  checkVersionId,
  isArchived,
  shownVersionId,
  subjectOf,
} from '../document/names.ts';
import { rangeOfPart, resolveRange } from '../bytes/range.ts';
import { readVersion } from './read-version.ts';

/**
 * Names of `details` that an answer without the object carries: headers, no elements of the body.
 */
const MARKER_DETAIL = 'DeleteMarker';
const VERSION_DETAIL = 'VersionId';
const ALLOW_DETAIL = 'Allow';

export interface Found {
  bucket: Bucket;
  object: string;
  version: Version;
  /** Empty unless asked for, where a block holds them. */
  parts: readonly Part[];
}

/**
 * The version a request means. NoSuchBucket, NoSuchKey (also where the current version is a delete
 * marker), NoSuchVersion, MethodNotAllowed for a delete marker asked for by id.
 */
export async function findObject(
  core: Core,
  name: VersionName,
  options: { parts?: boolean; known?: Bucket | undefined } = {},
): Promise<Found> {
  checkKey(name);
  checkVersionId(name.versionId);
  const { store } = core.context;
  const bucket = options.known ?? (await core.buckets.live(name.bucket));
  const object = objectId(bucket.id, name.key);
  let parts: readonly Part[] = [];
  const version = await reread(object, async () => {
    const row = await store.get<ObjectDocument>('objects', object);
    if (row === undefined) return undefined;
    const { value } = row;
    // What nearly every read asks for is waited for by nothing more.
    const found =
      name.versionId === undefined
        ? value.versions[0]
        : await findVersion(store, value, name.versionId);
    if (found === undefined || options.parts !== true) return found;
    // Inside the same look at the document: a block may be gone at the next.
    parts = found.partsBlock === undefined ? found.parts : await loadParts(store, found);
    return found;
  });
  return { bucket, object, version: requireObject(version, name), parts };
}

/** The version if it is one with bytes: absent ones and delete markers are refused as S3 does. */
export function requireObject(version: Version | undefined, name: VersionName): Version {
  if (version === undefined) throw absent(name);
  if (!version.deleteMarker) return version;
  const details = {
    [MARKER_DETAIL]: 'true',
    [VERSION_DETAIL]: version.isNull ? NULL_VERSION : version.id,
  };
  const allowed = { [ALLOW_DETAIL]: 'DELETE' };
  throw name.versionId === undefined
    ? new FirnError('NoSuchKey', 'The specified key does not exist.', {
        subject: subjectOf(name),
        details: { Key: name.key, ...details },
      })
    : new FirnError('MethodNotAllowed', 'A delete marker can only be deleted', {
        subject: subjectOf(name),
        details: { ...details, ...allowed },
      });
}

function absent(name: VersionName): FirnError {
  const { key, versionId } = name;
  if (versionId === undefined) {
    return new FirnError('NoSuchKey', 'The specified key does not exist.', {
      subject: subjectOf(name),
      details: { Key: key },
    });
  }
  return new FirnError('NoSuchVersion', 'The specified version does not exist.', {
    subject: subjectOf(name),
    details: { Key: key, [VERSION_DETAIL]: versionId },
  });
}

/** A restored copy that can be read now. */
export function liveRestore(context: EngineContext, version: Version): Restore | undefined {
  const { restore } = version;
  if (restore?.state !== 'ready' || restore.copy === undefined) return undefined;
  return (restore.expiry ?? 0) > context.clock.now() ? restore : undefined;
}

/** As headers show it: pending, or ready and not lapsed. */
function shownRestore(context: EngineContext, version: Version): Restore | undefined {
  if (version.restore === undefined || version.restore.state === 'pending') return version.restore;
  return liveRestore(context, version);
}

interface Resolved {
  found: Found;
  answer: HeadAnswer;
  /** Of an encrypted version. */
  dataKey: Uint8Array | undefined;
}

/** Everything up to the bytes: key, conditions and range resolved. */
async function resolve(
  core: Core,
  request: GetObject,
  options: { parts: boolean; key: boolean },
): Promise<Resolved> {
  const { partNumber } = request;
  if (request.range !== undefined && partNumber !== undefined) {
    throw new FirnError('InvalidRequest', 'Cannot specify both Range header and partNumber');
  }
  const found = await findObject(core, request, {
    parts: options.parts || partNumber !== undefined,
    known: request.known,
  });
  const { bucket, version } = found;
  const subject = subjectOf(request);
  let range: ByteRange = { offset: 0, length: version.sizeBytes };
  // S3 finds a part missing before it asks for a key.
  if (partNumber !== undefined) range = rangeOfPart(version, found.parts, partNumber);
  const opening = options.key ? dataKeyOf(core, request, found) : undefined;
  const dataKey = opening === undefined ? undefined : await opening;
  checkRead(request.conditions, version, subject);
  if (request.range !== undefined) {
    range = resolveRange(request.range, version.sizeBytes, subject);
  }
  const answer: HeadAnswer = {
    bucket,
    version,
    versionId: shownVersionId(bucket, version),
    range,
    partial: request.range !== undefined || (partNumber !== undefined && range.length > 0),
    restore: shownRestore(core.context, version),
  };
  if (partNumber !== undefined && version.partCount !== undefined) {
    const part = found.parts.find(({ number }) => number === partNumber);
    if (part?.clientChecksum !== undefined) answer.partChecksum = part.clientChecksum;
  }
  return { found, answer, dataKey };
}

/** Undefined where nothing is sealed and no key was brought: that waits for nothing. */
function dataKeyOf(
  core: Core,
  { clientKey }: GetObject,
  { object, version }: Found,
): Promise<Uint8Array | undefined> | undefined {
  const { encryption } = version;
  if (encryption === undefined && clientKey === undefined) return undefined;
  return openEnvelope(core.context, { object, encryption, clientKey });
}

/** What HEAD answers; archived objects too. */
export async function headObject(core: Core, request: GetObject): Promise<HeadAnswer> {
  const { asksKey, asksParts } = request;
  const options = { parts: asksParts === true, key: asksKey === true };
  const { answer, found } = await resolve(core, request, options);
  return asksParts === true ? { ...answer, parts: found.parts } : answer;
}

/**
 * The object's bytes. InvalidObjectState for a class whose tier is staged, unless a restored copy
 * is live: by class, also while a fresh object's bytes are still hot, because S3 shows it so.
 */
export async function getObject(core: Core, request: GetObject): Promise<GetAnswer> {
  const { found, answer, dataKey } = await resolve(core, request, { parts: true, key: true });
  const { object, version, parts } = found;
  const fromCopy = requireOnline(core.context, version, subjectOf(request));
  const { range } = answer;
  const { signal } = request;
  const body = await readVersion(core, {
    object,
    version,
    parts,
    fromCopy,
    range,
    dataKey,
    signal,
  });
  core.accessDays?.note(object, version);
  return { ...answer, body };
}

/**
 * True: read the restored copy. Throws InvalidObjectState where there is none and one is needed.
 */
export function requireOnline(context: EngineContext, version: Version, subject: string): boolean {
  if (!isArchived(context, version.storageClass)) return false;
  if (liveRestore(context, version) !== undefined) return true;
  throw invalidState(version, subject);
}

export function invalidState(version: Version, subject: string): FirnError {
  return new FirnError(
    'InvalidObjectState',
    "The operation is not valid for the object's storage class",
    { subject, details: { StorageClass: version.storageClass } },
  );
}
