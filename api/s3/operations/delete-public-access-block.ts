// DeletePublicAccessBlock: nothing is shut out any more; no error where nothing was.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    const { publicAccessBlock, ...kept } = bucket;
    return publicAccessBlock === undefined ? bucket : kept;
  });
  return { status: 204 };
}

export const deletePublicAccessBlock: Operation = {
  name: 'DeletePublicAccessBlock',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'publicAccessBlock',
  access: 'bucket',
  action: 's3:PutBucketPublicAccessBlock',
  run,
};
