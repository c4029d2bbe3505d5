// DELETE. Unversioned: the null version goes. Versioned: a delete marker comes on top and nothing
// goes. By version id: exactly that version goes, unless a lock holds it (protection.ts). An absent
// key or version is a success (S3), never an error; a version that comes back after an acknowledged
// DELETE is the danger (I2).

import { NULL_VERSION, firstSequence, newId, newVersionId, objectId } from '../../model/ids.ts';
import type { Version } from '../../model/object.ts';
import type { DeleteAnswer, DeleteObject } from '../../model/requests.ts';
import { commitObject } from '../document/commit.ts';
import { checkDelete, isConditional } from '../document/conditions.ts';
import { confirmBucket } from '../document/confirm-bucket.ts';
import type { Core } from '../document/core.ts';
import type { Draft } from '../document/draft.ts';
import { emitEvent } from '../event/events.ts';
import { checkKey, checkVersionId, shownVersionId, subjectOf } from '../document/names.ts';
import { newMarker, putOnTop } from '../document/versions.ts';

/**
 * Longer than a write takes from its look at an absent key to its commit: a DELETE that found
 * nothing is told as of so much earlier, that it is not taken for the later one.
 */
const CREATION_MS_MAX = 1000;

/**
 * Durable on return. A repeat call by version id, or on an unversioned bucket, changes nothing.
 * AccessDenied where what would go is locked.
 */
export async function deleteObject(core: Core, request: DeleteObject): Promise<DeleteAnswer> {
  checkKey(request);
  checkVersionId(request.versionId);
  const bucket = await core.buckets.live(request.bucket);
  const { key, conditions, versionId } = request;
  const object = objectId(bucket.id, key);
  const subject = subjectOf(request);
  const marks = versionId === undefined && bucket.versioning !== 'off';
  const operation = newId(core.context.random);
  const begunAt = core.context.clock.now();
  const { answer, created } = await commitObject(core, {
    object,
    reason: 'delete',
    bucket,
    conditional: isConditional(conditions),
    change: async (draft): Promise<{ removed?: Version; made?: Version; sequence?: number }> => {
      const sequence = draft.base?.sequence ?? firstSequence(begunAt - CREATION_MS_MAX);
      if (!marks) return { ...(await removeVersion(draft, request, subject)), sequence };
      checkDelete(conditions, draft.current, subject);
      // A condition about an object that never was: there is nothing to mark as deleted.
      if (draft.current === undefined && isConditional(conditions)) return {};
      const at = core.context.clock.now();
      const marker = newMarker({ owner: request.owner, at, operation });
      return { made: await putOnTop(draft, bucket.versioning, marker) };
    },
  });
  const { context } = core;
  const name = { bucket, key };
  const { made, removed, sequence = 0 } = answer;
  if (made !== undefined) {
    await confirmBucket(core, { bucket, object, created, versionId: made.id });
    await emitEvent(context, 's3:ObjectRemoved:DeleteMarkerCreated', { ...name, version: made });
    return { versionId: shownVersionId(bucket, made), deleteMarker: true };
  }
  // What was not there is told too: it may be the repeat of a DELETE that died before it had told.
  const isRepeat = !marks && bucket.notifications !== undefined;
  const told = removed ?? (isRepeat ? absentVersion(core, request, sequence) : undefined);
  if (told !== undefined) {
    await emitEvent(context, 's3:ObjectRemoved:Delete', { ...name, version: told });
  }
  return { versionId, deleteMarker: removed?.deleteMarker === true };
}

/** Stands for what a DELETE did not find: its event comes before that of whatever is made next. */
function absentVersion(
  { context }: Core,
  { owner, versionId }: DeleteObject,
  sequence: number,
): Version {
  const isNull = versionId === undefined || versionId === NULL_VERSION;
  const id = isNull ? newVersionId(sequence, context.random) : versionId;
  return { ...newMarker({ owner, at: context.clock.now(), operation: '' }), id, isNull };
}

async function removeVersion(
  draft: Draft,
  request: DeleteObject,
  subject: string,
): Promise<{ removed?: Version }> {
  // A bucket that never was versioned holds null versions only.
  const version = await draft.find(request.versionId ?? NULL_VERSION);
  checkDelete(request.conditions, version, subject);
  if (version === undefined) return {};
  await draft.remove(version, request.bypassGovernance === true ? 'governed' : 'unprotected');
  return { removed: version };
}
