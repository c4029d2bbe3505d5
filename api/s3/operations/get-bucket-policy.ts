// GetBucketPolicy: the text as it was put.

import { noSuchPolicy, requireOwnersAccount } from '../access/own-policy.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

function run(request: OwnedRequest): Promise<Answer> {
  requireOwnersAccount(request);
  const { policy } = request.owned;
  if (policy === undefined) throw noSuchPolicy(request);
  const body = Buffer.from(policy);
  return Promise.resolve({
    status: 200,
    headers: ['Content-Type', 'application/json'],
    body,
    sizeBytes: body.length,
  });
}

export const getBucketPolicy: Operation = {
  name: 'GetBucketPolicy',
  method: 'GET',
  level: 'bucket',
  subresource: 'policy',
  access: 'bucket',
  action: 's3:GetBucketPolicy',
  run,
};
