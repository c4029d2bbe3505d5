// DeleteBucketCors: the action is that of putting, as S3 has it.

import { removeConfiguration } from '../request/configuration.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await removeConfiguration(request, 'cors');
  return { status: 204 };
}

export const deleteBucketCors: Operation = {
  name: 'DeleteBucketCors',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'cors',
  access: 'bucket',
  action: 's3:PutBucketCORS',
  run,
};
