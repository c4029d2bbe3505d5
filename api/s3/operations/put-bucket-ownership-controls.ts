// PutBucketOwnershipControls: whether ACLs count, and whose an object is that another account
// writes. To turn ACLs off, the bucket's own must give nobody else anything: what a list gave would
// otherwise end without anyone having said so.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { givesOthers } from '../access/acl.ts';
import { isOwnership, type NamedOwnership } from '../request/ownership.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { childrenOf, malformed, parseXml, textOf } from '../xml/parse.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const ownership = ownershipOf(await request.payload.gather(XML_BYTES_MAX));
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    if (ownership === 'BucketOwnerEnforced') return enforced(bucket);
    return { ...bucket, ownership };
  });
  return { status: 200 };
}

function enforced(bucket: Bucket): Bucket {
  const { acl, ...kept } = bucket;
  if (givesOthers(acl, bucket.owner)) {
    throw new FirnError(
      'InvalidBucketAclWithObjectOwnership',
      'Bucket cannot have ACLs set with the BucketOwnerEnforced setting of ObjectOwnership.',
    );
  }
  return { ...kept, ownership: 'BucketOwnerEnforced' };
}

function ownershipOf(bytes: Uint8Array): NamedOwnership {
  const rules = childrenOf(parseXml(bytes, 'OwnershipControls'), ['Rule']);
  const rule = rules.one('Rule');
  if (rule === undefined) throw malformed('there must be one Rule');
  const ownership = textOf(childrenOf(rule, ['ObjectOwnership']).one('ObjectOwnership'));
  if (isOwnership(ownership)) return ownership;
  throw malformed('ObjectOwnership is none of the three there are');
}

export const putBucketOwnershipControls: Operation = {
  name: 'PutBucketOwnershipControls',
  method: 'PUT',
  level: 'bucket',
  subresource: 'ownershipControls',
  access: 'bucket',
  action: 's3:PutBucketOwnershipControls',
  run,
};
