// DeleteBucketWebsite: 204 also where there was none.

import { removeConfiguration } from '../request/configuration.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await removeConfiguration(request, 'website');
  return { status: 204 };
}

export const deleteBucketWebsite: Operation = {
  name: 'DeleteBucketWebsite',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'website',
  access: 'bucket',
  action: 's3:DeleteBucketWebsite',
  run,
};
