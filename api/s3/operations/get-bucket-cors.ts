// GetBucketCors.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

function run({ owned }: OwnedRequest): Promise<Answer> {
  const xml = owned.configurations?.['cors'];
  if (xml === undefined) {
    throw new FirnError('NoSuchCORSConfiguration', 'The CORS configuration does not exist', {
      details: { BucketName: owned.name },
    });
  }
  return Promise.resolve({ status: 200, xml });
}

export const getBucketCors: Operation = {
  name: 'GetBucketCors',
  method: 'GET',
  level: 'bucket',
  subresource: 'cors',
  access: 'bucket',
  action: 's3:GetBucketCORS',
  run,
};
