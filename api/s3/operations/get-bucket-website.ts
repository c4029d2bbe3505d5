// GetBucketWebsite: in canonical form.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

function run({ owned, bucket }: OwnedRequest): Promise<Answer> {
  const xml = owned.configurations?.['website'];
  if (xml === undefined) {
    throw new FirnError(
      'NoSuchWebsiteConfiguration',
      'The specified bucket does not have a website configuration',
      { details: { BucketName: bucket } },
    );
  }
  return Promise.resolve({ status: 200, xml });
}

export const getBucketWebsite: Operation = {
  name: 'GetBucketWebsite',
  method: 'GET',
  level: 'bucket',
  subresource: 'website',
  access: 'bucket',
  action: 's3:GetBucketWebsite',
  run,
};
