// DeleteBucket: BucketNotEmpty while any version, delete marker or open upload is in it.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await request.settings.engine.deleteBucket(request.bucket);
  return { status: 204 };
}

export const deleteBucket: Operation = {
  name: 'DeleteBucket',
  method: 'DELETE',
  level: 'bucket',
  access: 'bucket',
  action: 's3:DeleteBucket',
  run,
};
