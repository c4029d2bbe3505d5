// Changes what a version carries beside its bytes: tags, ACL, retention, hold. The same one
// compare-and-swap as a PUT, so that a tag set while the object is moved, or overwritten, lands on
// the version it was meant for or is refused, and a lock is never loosened by who may not.

import { objectId } from '../../model/ids.ts';
import type { Version } from '../../model/object.ts';
import type { HeadAnswer, UpdateVersion } from '../../model/requests.ts';
import { commitObject } from '../document/commit.ts';
import type { Core } from '../document/core.ts';
import { emitEvent } from '../event/events.ts';
import { requireObject } from './get.ts';
import { checkKey, checkVersionId, shownVersionId } from '../document/names.ts';

/**
 * Durable on return. A repeat call changes nothing. NoSuchKey, NoSuchVersion, MethodNotAllowed (a
 * delete marker has no attributes), AccessDenied (protection.ts), and what `change` throws.
 */
export async function updateVersion(core: Core, request: UpdateVersion): Promise<HeadAnswer> {
  checkKey(request);
  checkVersionId(request.versionId);
  const bucket = await core.buckets.live(request.bucket);
  const { answer } = await commitObject(core, {
    object: objectId(bucket.id, request.key),
    reason: 'overwrite',
    change: async (draft) => {
      const version = requireObject(await draft.find(request.versionId), request);
      const next = withAttributes(version, request.change(version));
      await draft.relock(next, request.bypassGovernance === true);
      return next;
    },
  });
  const { event, key } = request;
  if (event !== undefined) await emitEvent(core.context, event, { bucket, key, version: answer });
  return {
    bucket,
    version: answer,
    versionId: shownVersionId(bucket, answer),
    range: { offset: 0, length: answer.sizeBytes },
    partial: false,
    restore: answer.restore,
  };
}

function withAttributes(
  version: Version,
  attributes: ReturnType<UpdateVersion['change']>,
): Version {
  const { tags: _t, acl: _a, retention: _r, legalHold: _h, ...kept } = version;
  const next: Version = kept;
  if (attributes.tags !== undefined) next.tags = attributes.tags;
  if (attributes.acl !== undefined) next.acl = attributes.acl;
  if (attributes.retention !== undefined) next.retention = attributes.retention;
  if (attributes.legalHold !== undefined) next.legalHold = attributes.legalHold;
  return next;
}
