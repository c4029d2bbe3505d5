// Deletion by a policy. It happens only to the very version that was judged, in the place where it
// was judged to be: a key that was overwritten between the look and the act keeps its new version,
// and a marker that got company stays. What is locked stays until it no longer is. The danger is an
// unattended DELETE of what nobody decided about.

import type { Bucket } from '../../model/bucket.ts';
import { isFirnError } from '../../model/errors.ts';
import { newId, objectId } from '../../model/ids.ts';
import type { ObjectDocument, Version } from '../../model/object.ts';
import { tellingOf } from '../event/announce.ts';
import { commitObject, type Committed } from '../document/commit.ts';
import type { Core } from '../document/core.ts';
import type { Draft } from '../document/draft.ts';
import { findById, reread } from '../document/history.ts';
import { newMarker, putOnTop } from '../document/versions.ts';

export interface Expiry {
  bucket: Bucket;
  key: string;
  /** Internal id of the version judged, also of a null version. */
  versionId: string;
  /** add-delete-marker: DELETE of the key. remove-version: this version goes, for good. */
  effect: 'remove-version' | 'add-delete-marker';
  /**
   * As judged; the version is spared when it is not so any more. lone: a marker with nothing
   * behind.
   */
  place: 'current' | 'noncurrent' | 'lone';
}

/**
 * `lost`: the key has changed since; the next pass judges anew. `locked`: retention or a hold keeps
 * it; a later pass tries again.
 */
export type ExpiryOutcome = 'expired' | 'locked' | 'lost';

/** Durable on return. A repeat call answers `lost`. Throws as commitObject does. */
export async function expireVersion(core: Core, expiry: Expiry): Promise<ExpiryOutcome> {
  try {
    return await expireUnlocked(core, expiry);
  } catch (error) {
    if (isFirnError(error, 'AccessDenied')) return 'locked';
    throw error;
  }
}

async function expireUnlocked(core: Core, expiry: Expiry): Promise<'expired' | 'lost'> {
  const { bucket, key, versionId, effect } = expiry;
  const row = await core.buckets.fresh(bucket.name);
  if (row?.value.id !== bucket.id || row.value.state !== 'live') return 'lost';
  // Somebody turned versioning on or off: what was judged would now mean something else.
  if (row.value.versioning !== bucket.versioning) return 'lost';
  const operation = newId(core.context.random);
  const object = objectId(bucket.id, key);
  const isMarker = effect === 'add-delete-marker';
  const { answer } = await tellingOf(
    core.context,
    {
      name: isMarker
        ? 's3:LifecycleExpiration:DeleteMarkerCreated'
        : 's3:LifecycleExpiration:Delete',
      bucket: row.value,
      object,
      version: () => judged(core, object, versionId),
      proof: isMarker ? { kind: 'marker', operation } : { kind: 'gone' },
    },
    {
      change: () => commitExpiry(core, { ...expiry, bucket: row.value }, { object, operation }),
      told: (committed) => committed.answer,
    },
  );
  return answer === undefined ? 'lost' : 'expired';
}

function judged(core: Core, object: string, versionId: string): Promise<Version | undefined> {
  const { store } = core.context;
  return reread(object, async () => {
    const row = await store.get<ObjectDocument>('objects', object);
    return row && findById(store, row.value, versionId);
  });
}

/** Answers what the event tells of: the marker, or the version that is gone. */
function commitExpiry(
  core: Core,
  expiry: Expiry,
  { object, operation }: { object: string; operation: string },
): Promise<Committed<Version | undefined>> {
  const { bucket, versionId, effect } = expiry;
  return commitObject(core, {
    object,
    reason: 'delete',
    bucket,
    async change(draft): Promise<Version | undefined> {
      const version = await draft.findById(versionId);
      if (version === undefined || !isInPlace(draft, version, expiry)) return undefined;
      if (effect === 'add-delete-marker') {
        const at = core.context.clock.now();
        const marker = newMarker({ owner: bucket.owner, at, operation });
        return putOnTop(draft, bucket.versioning, marker);
      }
      await draft.remove(version);
      return version;
    },
  });
}

function isInPlace(draft: Draft, version: Version, expiry: Expiry): boolean {
  const isCurrent = draft.current?.id === version.id;
  if (expiry.place === 'noncurrent') return !isCurrent;
  if (!isCurrent) return false;
  if (expiry.place === 'current') return !version.deleteMarker;
  const { base } = draft;
  return version.deleteMarker && base?.versions.length === 1 && base.history.length === 0;
}
