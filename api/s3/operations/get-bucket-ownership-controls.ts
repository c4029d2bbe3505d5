// GetBucketOwnershipControls.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, wrap, xmlDocument } from '../xml/write.ts';

function run(request: OwnedRequest): Promise<Answer> {
  const { ownership = 'BucketOwnerEnforced' } = request.owned;
  if (ownership === 'unset') {
    throw new FirnError(
      'OwnershipControlsNotFoundError',
      'The bucket ownership controls were not found.',
      { details: { BucketName: request.bucket } },
    );
  }
  return Promise.resolve({
    status: 200,
    xml: xmlDocument('OwnershipControls', wrap('Rule', element('ObjectOwnership', ownership))),
  });
}

export const getBucketOwnershipControls: Operation = {
  name: 'GetBucketOwnershipControls',
  method: 'GET',
  level: 'bucket',
  subresource: 'ownershipControls',
  access: 'bucket',
  action: 's3:GetBucketOwnershipControls',
  run,
};
