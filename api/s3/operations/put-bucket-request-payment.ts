// PutBucketRequestPayment: kept and shown. Nobody is billed here, so who would pay changes nothing.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { storeConfiguration } from '../request/configuration.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { parseXml } from '../xml/parse.ts';
import { canonicalDocument, fields, oneOf } from '../xml/shape.ts';

const SHAPE = fields({ Payer: oneOf('BucketOwner', 'Requester') });

async function run(request: OwnedRequest): Promise<Answer> {
  const root = parseXml(await request.payload.gather(XML_BYTES_MAX), 'RequestPaymentConfiguration');
  await storeConfiguration(request, 'requestPayment', canonicalDocument(root, SHAPE));
  return { status: 200 };
}

export const putBucketRequestPayment: Operation = {
  name: 'PutBucketRequestPayment',
  method: 'PUT',
  level: 'bucket',
  subresource: 'requestPayment',
  access: 'bucket',
  action: 's3:PutBucketRequestPayment',
  run,
};
