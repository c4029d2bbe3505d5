// What the operations on a bucket's policy share. Only the owner's account may have it at all: a
// policy that could give itself away would be the bucket's owner.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { OwnedRequest } from '../request/request.ts';

/** Throws MethodNotAllowed, as S3 does, to another account that the policy itself would let in. */
export function requireOwnersAccount({ identity, owned }: OwnedRequest): void {
  if (identity.kind !== 'anonymous' && identity.account === owned.owner) return;
  throw new FirnError(
    'MethodNotAllowed',
    'The specified method is not allowed against this resource.',
  );
}

export function noSuchPolicy({ bucket }: OwnedRequest): FirnError {
  return new FirnError('NoSuchBucketPolicy', 'The bucket policy does not exist.', {
    details: { BucketName: bucket },
  });
}
