// GetPublicAccessBlock.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, xmlDocument } from '../xml/write.ts';

function run(request: OwnedRequest): Promise<Answer> {
  const { publicAccessBlock: block } = request.owned;
  if (block === undefined) {
    throw new FirnError(
      'NoSuchPublicAccessBlockConfiguration',
      'The public access block configuration was not found.',
      { details: { BucketName: request.bucket } },
    );
  }
  return Promise.resolve({
    status: 200,
    xml: xmlDocument(
      'PublicAccessBlockConfiguration',
      element('BlockPublicAcls', block.blockPublicAcls) +
        element('IgnorePublicAcls', block.ignorePublicAcls) +
        element('BlockPublicPolicy', block.blockPublicPolicy) +
        element('RestrictPublicBuckets', block.restrictPublicBuckets),
    ),
  });
}

export const getPublicAccessBlock: Operation = {
  name: 'GetPublicAccessBlock',
  method: 'GET',
  level: 'bucket',
  subresource: 'publicAccessBlock',
  access: 'bucket',
  action: 's3:GetBucketPublicAccessBlock',
  run,
};
