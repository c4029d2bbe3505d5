// GetBucketLifecycleConfiguration: as it was put, in canonical form.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { SIZE_FLOOR_HEADER } from './put-bucket-lifecycle-configuration.ts';

function run(request: OwnedRequest): Promise<Answer> {
  const { lifecycleXml, lifecycleSizeFloor } = request.owned;
  if (lifecycleXml === undefined) {
    throw new FirnError(
      'NoSuchLifecycleConfiguration',
      'The lifecycle configuration does not exist.',
      { details: { BucketName: request.bucket } },
    );
  }
  const floor = lifecycleSizeFloor ?? 'all_storage_classes_128K';
  return Promise.resolve({
    status: 200,
    headers: [SIZE_FLOOR_HEADER, floor],
    xml: lifecycleXml,
  });
}

export const getBucketLifecycle: Operation = {
  name: 'GetBucketLifecycleConfiguration',
  method: 'GET',
  level: 'bucket',
  subresource: 'lifecycle',
  access: 'bucket',
  action: 's3:GetLifecycleConfiguration',
  run,
};
