// GetBucketLogging: empty where no lines are written.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, wrap, xmlDocument } from '../xml/write.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { logging } = request.owned;
  let content = '';
  if (logging !== undefined) {
    const { targetBucket, targetPrefix, partitionedBy } = logging;
    content =
      element('TargetBucket', targetBucket) +
      element('TargetPrefix', targetPrefix) +
      (partitionedBy === undefined
        ? ''
        : wrap(
            'TargetObjectKeyFormat',
            wrap('PartitionedPrefix', element('PartitionDateSource', partitionedBy)),
          ));
    content = wrap('LoggingEnabled', content);
  }
  return await Promise.resolve({ status: 200, xml: xmlDocument('BucketLoggingStatus', content) });
}

export const getBucketLogging: Operation = {
  name: 'GetBucketLogging',
  method: 'GET',
  level: 'bucket',
  subresource: 'logging',
  access: 'bucket',
  action: 's3:GetBucketLogging',
  run,
};
