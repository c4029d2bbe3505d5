// Object ownership: whether ACLs count in a bucket, and whose an object in it is.

import type { Ownership } from '../../../appliance/model/access.ts';
import type { Bucket } from '../../../appliance/model/bucket.ts';

/** What a client can name. */
export type NamedOwnership = Exclude<Ownership, 'unset'>;

export function isOwnership(text: string | undefined): text is NamedOwnership {
  return (
    text === 'BucketOwnerEnforced' || text === 'BucketOwnerPreferred' || text === 'ObjectWriter'
  );
}

/** ACLs are off: all in the bucket is its owner's, whoever wrote it. */
export function isEnforced({ ownership }: Pick<Bucket, 'ownership'>): boolean {
  return ownership === undefined || ownership === 'BucketOwnerEnforced';
}

/** Whose the version is, also one that was written while ACLs counted. */
export function ownerOf(bucket: Bucket, version: { owner: string }): string {
  return isEnforced(bucket) ? bucket.owner : version.owner;
}
