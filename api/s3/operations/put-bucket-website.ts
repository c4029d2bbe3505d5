// PutBucketWebsite: checked whole, kept in canonical form, served at once (website/).

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { storeConfiguration } from '../request/configuration.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { websiteXmlOf } from '../website/configuration.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const xml = websiteXmlOf(await request.payload.gather(XML_BYTES_MAX));
  await storeConfiguration(request, 'website', xml);
  return { status: 200 };
}

export const putBucketWebsite: Operation = {
  name: 'PutBucketWebsite',
  method: 'PUT',
  level: 'bucket',
  subresource: 'website',
  access: 'bucket',
  action: 's3:PutBucketWebsite',
  run,
};
