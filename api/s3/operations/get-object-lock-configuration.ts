// GetObjectLockConfiguration: whether object lock is on, and its default.

import { FirnError } from '../../../appliance/model/errors.ts';
import { lockConfigurationXml } from '../request/object-lock.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

function run({ owned, bucket }: OwnedRequest): Promise<Answer> {
  if (owned.objectLock === undefined) {
    throw new FirnError(
      'ObjectLockConfigurationNotFoundError',
      'Object Lock configuration does not exist for this bucket',
      { details: { BucketName: bucket } },
    );
  }
  return Promise.resolve({ status: 200, xml: lockConfigurationXml(owned.objectLock) });
}

export const getObjectLockConfiguration: Operation = {
  name: 'GetObjectLockConfiguration',
  method: 'GET',
  level: 'bucket',
  subresource: 'object-lock',
  access: 'bucket',
  action: 's3:GetBucketObjectLockConfiguration',
  run,
};
