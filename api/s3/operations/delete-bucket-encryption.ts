// DeleteBucketEncryption: writes that ask for no encryption get none any more. Twice is fine.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  if (request.owned.encryption !== undefined) {
    await request.settings.engine.updateBucket(request.bucket, (bucket) => {
      const { encryption: _, ...rest } = bucket;
      return rest;
    });
  }
  return { status: 204 };
}

export const deleteBucketEncryption: Operation = {
  name: 'DeleteBucketEncryption',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'encryption',
  access: 'bucket',
  action: 's3:PutEncryptionConfiguration',
  run,
};
