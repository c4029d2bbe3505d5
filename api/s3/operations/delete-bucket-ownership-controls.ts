// DeleteBucketOwnershipControls: ACLs count again, and an object is its writer's.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await request.settings.engine.updateBucket(request.bucket, (bucket) =>
    bucket.ownership === 'unset' ? bucket : { ...bucket, ownership: 'unset' },
  );
  return { status: 204 };
}

export const deleteBucketOwnershipControls: Operation = {
  name: 'DeleteBucketOwnershipControls',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'ownershipControls',
  access: 'bucket',
  action: 's3:PutBucketOwnershipControls',
  run,
};
