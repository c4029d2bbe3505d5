// GetBucketAccelerateConfiguration: without a Status where none was ever set.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { xmlDocument } from '../xml/write.ts';

function run({ owned }: OwnedRequest): Promise<Answer> {
  const xml = owned.configurations?.['accelerate'] ?? xmlDocument('AccelerateConfiguration', '');
  return Promise.resolve({ status: 200, xml });
}

export const getBucketAccelerate: Operation = {
  name: 'GetBucketAccelerateConfiguration',
  method: 'GET',
  level: 'bucket',
  subresource: 'accelerate',
  access: 'bucket',
  action: 's3:GetAccelerateConfiguration',
  run,
};
