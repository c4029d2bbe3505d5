// DeleteBucketPolicy: no error where there is none.

import { requireOwnersAccount } from '../access/own-policy.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  requireOwnersAccount(request);
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    const { policy, ...kept } = bucket;
    return policy === undefined ? bucket : kept;
  });
  return { status: 204 };
}

export const deleteBucketPolicy: Operation = {
  name: 'DeleteBucketPolicy',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'policy',
  access: 'bucket',
  action: 's3:DeleteBucketPolicy',
  run,
};
