// PutBucketAccelerateConfiguration: kept and shown. There is one site and no edge to accelerate by.

import { FirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { storeConfiguration } from '../request/configuration.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { parseXml } from '../xml/parse.ts';
import { canonicalDocument, fields, oneOf } from '../xml/shape.ts';

const SHAPE = fields({ Status: oneOf('Enabled', 'Suspended') });

async function run(request: OwnedRequest): Promise<Answer> {
  const root = parseXml(await request.payload.gather(XML_BYTES_MAX), 'AccelerateConfiguration');
  const xml = canonicalDocument(root, SHAPE);
  if (request.bucket.includes('.')) {
    throw new FirnError(
      'InvalidRequest',
      'S3 Transfer Acceleration is not supported for buckets with periods (.) in their names',
    );
  }
  await storeConfiguration(request, 'accelerate', xml);
  return { status: 200 };
}

export const putBucketAccelerate: Operation = {
  name: 'PutBucketAccelerateConfiguration',
  method: 'PUT',
  level: 'bucket',
  subresource: 'accelerate',
  access: 'bucket',
  action: 's3:PutAccelerateConfiguration',
  run,
};
