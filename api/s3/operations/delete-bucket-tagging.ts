// DeleteBucketTagging: the action is that of putting, as S3 has it.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    const { tags, ...kept } = bucket;
    return tags === undefined ? bucket : kept;
  });
  return { status: 204 };
}

export const deleteBucketTagging: Operation = {
  name: 'DeleteBucketTagging',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'tagging',
  access: 'bucket',
  action: 's3:PutBucketTagging',
  run,
};
