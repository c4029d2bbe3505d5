// Whose a new version is, and who else may reach it: what PutObject, CopyObject,
// CreateMultipartUpload and forms ask alike. The danger: a header that makes an object public where
// the bucket's owner has shut that out, or hands it to an owner who never asked.

import type { Acl } from '../../../appliance/model/access.ts';
import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import { isEnforced } from '../request/ownership.ts';
import type { OwnedRequest } from '../request/request.ts';
import { isPublicAcl, keptAcl } from './acl.ts';
import { authorizeAction, denied, isPlain } from './authorize.ts';
import { aclOfHeaders, asksAcl, grantsOf, type WantedAcl } from './wanted-acl.ts';

export interface NewAccess {
  owner: string;
  acl?: Acl;
}

/**
 * What a new version gets by these headers (a form's fields in their place), as the asker may; also
 * that it may set the tags that they name. Throws AccessControlListNotSupported, AccessDenied, and
 * what aclOfHeaders throws.
 */
export async function accessOfNewObject(
  request: OwnedRequest,
  headers: RequestHeaders = request.headers,
): Promise<NewAccess> {
  const { owned: bucket, key } = request;
  const owner = isEnforced(bucket) ? bucket.owner : request.identity.account;
  if (headers['x-amz-tagging'] !== undefined && !isPlain(request, bucket)) {
    await authorizeAction(request, 's3:PutObjectTagging', { bucket, key, isNew: true, owner });
  }
  if (!asksAcl(headers)) return { owner };
  const wanted = await aclOfHeaders(request, headers, 'object');
  if (wanted === undefined) return { owner };
  if (isEnforced(bucket)) {
    if (!isForBucketOwner(wanted, bucket)) throw notSupported();
    return { owner };
  }
  if (
    bucket.ownership === 'BucketOwnerPreferred' &&
    'canned' in wanted &&
    wanted.canned === 'bucket-owner-full-control'
  ) {
    return { owner: bucket.owner };
  }
  const acl = keptAcl(grantsOf(wanted, { owner, bucketOwner: bucket.owner }), owner);
  if (acl === undefined) return { owner };
  refusePublic(bucket, acl);
  const made = { bucket, key, isNew: true, owner };
  await authorizeAction(request, 's3:PutObjectAcl', made);
  return { owner, acl };
}

/**
 * All that may be said where there are no ACLs: what holds anyway. Clients of before 2023 say
 * `private` on every PUT, which holds too, and is refused only where somebody asked for enforcement.
 */
function isForBucketOwner(wanted: WantedAcl, bucket: Bucket): boolean {
  if ('canned' in wanted) {
    const holds = wanted.canned === 'private' && bucket.ownership === undefined;
    return holds || wanted.canned === 'bucket-owner-full-control';
  }
  return keptAcl(wanted.grants, bucket.owner) === undefined;
}

export function notSupported(): FirnError {
  return new FirnError('AccessControlListNotSupported', 'The bucket does not allow ACLs.');
}

/** Throws AccessDenied where the bucket takes no public ACLs and this is one. */
export function refusePublic({ publicAccessBlock }: Bucket, acl: Acl | undefined): void {
  if (publicAccessBlock?.blockPublicAcls === true && isPublicAcl(acl)) throw denied();
}
