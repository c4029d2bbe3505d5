// PutBucketTagging: the whole set, in place of the one that is there.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { bucketTagsOf, tagPairsOf } from '../request/tags.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const tags = bucketTagsOf(tagPairsOf(await request.payload.gather(XML_BYTES_MAX)));
  await request.settings.engine.updateBucket(request.bucket, (bucket) => ({ ...bucket, tags }));
  return { status: 204 };
}

export const putBucketTagging: Operation = {
  name: 'PutBucketTagging',
  method: 'PUT',
  level: 'bucket',
  subresource: 'tagging',
  access: 'bucket',
  action: 's3:PutBucketTagging',
  run,
};
