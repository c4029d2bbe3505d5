// DeleteObjects: up to 1,000 keys, each on its own: one that fails is an Error in the answer, and
// the others are deleted all the same.

import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { DELETE_KEYS_MAX, MiB } from '../../../appliance/model/limits.ts';
import type { DeleteObject, WriteConditions } from '../../../appliance/model/requests.ts';
import { etagOf } from '../request/conditions.ts';
import { visibleError } from '../answer/errors.ts';
import { authorizeAction } from '../access/authorize.ts';
import { bypassesGovernance } from '../access/object-lock.ts';
import { invalidArgument, isVersionId } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { checkKey } from '../input/target.ts';
import { childrenOf, integerOf, malformed, parseXml, textOf } from '../xml/parse.ts';
import type { XmlElement } from '../xml/parse.ts';
import { element, optional, wrap, xmlDocument } from '../xml/write.ts';
import { isSystemObject } from './system-object.ts';

/** 1,000 keys of 1,024 bytes, escaped. */
const BODY_BYTES_MAX = 6 * MiB;
/** Deletes in flight for one request. */
const AT_ONCE = 32;

interface Asked {
  key: string;
  versionId: string | undefined;
  conditions: WriteConditions | undefined;
}

async function run(request: OwnedRequest): Promise<Answer> {
  const root = parseXml(await request.payload.gather(BODY_BYTES_MAX), 'Delete');
  const fields = childrenOf(root, ['Quiet'], ['Object']);
  const quiet = textOf(fields.one('Quiet'))?.trim().toLowerCase() === 'true';
  const asked = fields.all('Object').map(askedOf);
  if (asked.length === 0 || asked.length > DELETE_KEYS_MAX) {
    throw malformed(`there must be 1 to ${DELETE_KEYS_MAX} objects`);
  }
  const answers: string[] = [];
  let next = 0;
  const deleteSome = async (): Promise<void> => {
    while (next < asked.length) {
      const index = next++;
      answers[index] = await deleteOne(request, asked[index] as Asked, quiet);
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, asked.length) }, deleteSome));
  return { status: 200, xml: xmlDocument('DeleteResult', answers.join('')) };
}

function askedOf(object: XmlElement): Asked {
  const fields = childrenOf(object, ['Key', 'VersionId', 'ETag', 'LastModifiedTime', 'Size']);
  const key = textOf(fields.one('Key'));
  if (key === undefined || key === '') throw malformed('an object has no key');
  return {
    key,
    versionId: textOf(fields.one('VersionId')) || undefined,
    conditions: conditionsOf(fields),
  };
}

function conditionsOf(fields: ReturnType<typeof childrenOf>): WriteConditions | undefined {
  const conditions: WriteConditions = {};
  const etag = textOf(fields.one('ETag'));
  if (etag !== undefined) conditions.ifMatch = etagOf(etag);
  const size = integerOf(fields.one('Size'));
  if (size !== undefined) conditions.ifMatchSize = size;
  const time = textOf(fields.one('LastModifiedTime'));
  if (time !== undefined) {
    const at = Date.parse(time);
    if (Number.isNaN(at)) throw malformed('LastModifiedTime is no date');
    conditions.ifMatchLastModified = at;
  }
  return Object.keys(conditions).length === 0 ? undefined : conditions;
}

async function deleteOne(request: OwnedRequest, asked: Asked, quiet: boolean): Promise<string> {
  const { key, versionId } = asked;
  const named = element('Key', key) + optional('VersionId', versionId);
  try {
    checkKey(key);
    if (isSystemObject(key)) {
      throw new FirnError('MethodNotAllowed', 'This object can only be read.');
    }
    if (versionId !== undefined && !isVersionId(versionId)) {
      throw invalidArgument('this is no version id', 'VersionId', versionId);
    }
    const action = versionId === undefined ? 's3:DeleteObject' : 's3:DeleteObjectVersion';
    await authorizeAction(request, action, { bucket: request.owned, key, versionId });
    const wanted: DeleteObject = { bucket: request.bucket, key, owner: request.identity.account };
    if (versionId !== undefined) wanted.versionId = versionId;
    if (await bypassesGovernance(request, { key, versionId })) wanted.bypassGovernance = true;
    if (asked.conditions !== undefined) wanted.conditions = asked.conditions;
    const done = await request.settings.engine.deleteObject(wanted);
    if (quiet) return '';
    return wrap(
      'Deleted',
      named +
        (done.deleteMarker ? element('DeleteMarker', true) : '') +
        (done.deleteMarker ? optional('DeleteMarkerVersionId', done.versionId) : ''),
    );
  } catch (error) {
    const gone = isFirnError(error, 'NoSuchKey') || isFirnError(error, 'NoSuchVersion');
    if (gone) return quiet ? '' : wrap('Deleted', named);
    // A broken invariant is no key's own matter.
    if (!isFirnError(error)) throw error;
    const { code, message } = visibleError(error);
    return wrap('Error', named + element('Code', code) + element('Message', message));
  }
}

export const deleteObjects: Operation = {
  name: 'DeleteObjects',
  method: 'POST',
  level: 'bucket',
  subresource: 'delete',
  access: 'bucket',
  action: undefined,
  run,
};
