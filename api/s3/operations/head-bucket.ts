// HeadBucket: the owner check before it is all there is to it.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

function run(request: OwnedRequest): Promise<Answer> {
  return Promise.resolve({
    status: 200,
    headers: ['x-amz-bucket-region', request.owned.region, 'x-amz-access-point-alias', 'false'],
  });
}

export const headBucket: Operation = {
  name: 'HeadBucket',
  method: 'HEAD',
  level: 'bucket',
  access: 'bucket',
  action: 's3:ListBucket',
  run,
};
