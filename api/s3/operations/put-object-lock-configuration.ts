// PutObjectLockConfiguration: turns object lock on, for good, and says what new versions get that
// ask for nothing. Versioning must be enabled: elsewhere an overwrite would replace what is locked.

import { FirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { lockConfigurationOfXml } from '../request/object-lock.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const objectLock = lockConfigurationOfXml(await request.payload.gather(XML_BYTES_MAX));
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    if (bucket.versioning === 'enabled') return { ...bucket, objectLock };
    throw new FirnError(
      'InvalidBucketState',
      "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
    );
  });
  return { status: 200 };
}

export const putObjectLockConfiguration: Operation = {
  name: 'PutObjectLockConfiguration',
  method: 'PUT',
  level: 'bucket',
  subresource: 'object-lock',
  access: 'bucket',
  action: 's3:PutBucketObjectLockConfiguration',
  run,
};
