// How a version comes to stand on top of a key, by the bucket's versioning state. Off or suspended:
// the null version is replaced, all others stay. Enabled: nothing is replaced. The danger is the
// null version written before versioning was enabled: it is a version like any, and only another
// null version or a DELETE that names it may take its place, and neither may while it is locked.

import type { Bucket } from '../../model/bucket.ts';
import { NULL_VERSION } from '../../model/ids.ts';
import type { Version } from '../../model/object.ts';
import type { Draft } from './draft.ts';

/** Puts `version` on top; returns it with its id. AccessDenied where the null version is locked. */
export async function putOnTop(
  draft: Draft,
  versioning: Bucket['versioning'],
  version: Omit<Version, 'id' | 'isNull'>,
): Promise<Version> {
  const isNull = versioning !== 'enabled';
  const whole: Version = { ...version, id: draft.nextVersionId(), isNull };
  if (isNull) {
    const old = await draft.find(NULL_VERSION);
    if (old !== undefined) await draft.remove(old);
  }
  draft.prepend(whole);
  return whole;
}

/** A delete marker, to be put on top. */
export function newMarker(fields: {
  owner: string;
  at: number;
  operation: string;
}): Omit<Version, 'id' | 'isNull'> {
  return {
    deleteMarker: true,
    lastModified: fields.at,
    sizeBytes: 0,
    etag: '',
    storageClass: 'STANDARD',
    parts: [],
    headers: {},
    metadata: {},
    owner: fields.owner,
    operation: fields.operation,
  };
}
