// PutBucketCors: the whole configuration, in place of the one that is there.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { storeConfiguration } from '../request/configuration.ts';
import { corsConfigurationOf } from '../request/cors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const xml = corsConfigurationOf(await request.payload.gather(XML_BYTES_MAX));
  await storeConfiguration(request, 'cors', xml);
  return { status: 200 };
}

export const putBucketCors: Operation = {
  name: 'PutBucketCors',
  method: 'PUT',
  level: 'bucket',
  subresource: 'cors',
  access: 'bucket',
  action: 's3:PutBucketCORS',
  run,
};
