// PutBucketAcl: the whole list, by headers or by a document.

import { keptAcl } from '../access/acl.ts';
import { notSupported, refusePublic } from '../access/new-object.ts';
import { grantsOf } from '../access/wanted-acl.ts';
import { wantedAclOf } from '../access/wanted-acl-body.ts';
import { isEnforced } from '../request/ownership.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { owner } = request.owned;
  const wanted = await wantedAclOf(request, { on: 'bucket', owner });
  const acl = keptAcl(grantsOf(wanted, { owner, bucketOwner: owner }), owner);
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    // Judged by the row that it goes into: another request may have shut this out meanwhile.
    if (isEnforced(bucket)) throw notSupported();
    refusePublic(bucket, acl);
    const { acl: _old, ...kept } = bucket;
    return acl === undefined ? kept : { ...kept, acl };
  });
  return { status: 200 };
}

export const putBucketAcl: Operation = {
  name: 'PutBucketAcl',
  method: 'PUT',
  level: 'bucket',
  subresource: 'acl',
  access: 'bucket',
  action: 's3:PutBucketAcl',
  run,
};
