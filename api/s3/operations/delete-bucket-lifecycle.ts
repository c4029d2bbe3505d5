// DeleteBucketLifecycle: every object follows at the next evaluation, since nothing is stamped into
// any.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await request.settings.engine.updateBucket(request.bucket, withoutLifecycle);
  return { status: 204 };
}

function withoutLifecycle(bucket: Bucket): Bucket {
  const { lifecycleXml: _xml, lifecycleSizeFloor: _floor, ...rest } = bucket;
  return rest;
}

export const deleteBucketLifecycle: Operation = {
  name: 'DeleteBucketLifecycle',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'lifecycle',
  access: 'bucket',
  action: 's3:PutLifecycleConfiguration',
  run,
};
