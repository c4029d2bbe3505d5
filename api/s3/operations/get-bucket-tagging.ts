// GetBucketTagging: unlike an object's, an absent set is an error.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { taggingXml } from '../request/tags.ts';

function run({ owned, bucket }: OwnedRequest): Promise<Answer> {
  if (owned.tags === undefined || Object.keys(owned.tags).length === 0) {
    throw new FirnError('NoSuchTagSet', 'The TagSet does not exist', {
      details: { BucketName: bucket },
    });
  }
  return Promise.resolve({ status: 200, xml: taggingXml(owned.tags) });
}

export const getBucketTagging: Operation = {
  name: 'GetBucketTagging',
  method: 'GET',
  level: 'bucket',
  subresource: 'tagging',
  access: 'bucket',
  action: 's3:GetBucketTagging',
  run,
};
