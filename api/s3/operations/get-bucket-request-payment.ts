// GetBucketRequestPayment: the bucket's owner pays unless it was said otherwise.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, xmlDocument } from '../xml/write.ts';

function run({ owned }: OwnedRequest): Promise<Answer> {
  const usual = xmlDocument('RequestPaymentConfiguration', element('Payer', 'BucketOwner'));
  return Promise.resolve({ status: 200, xml: owned.configurations?.['requestPayment'] ?? usual });
}

export const getBucketRequestPayment: Operation = {
  name: 'GetBucketRequestPayment',
  method: 'GET',
  level: 'bucket',
  subresource: 'requestPayment',
  access: 'bucket',
  action: 's3:GetBucketRequestPayment',
  run,
};
