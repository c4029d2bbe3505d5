// GetBucketLocation: S3 shows its first region as an empty constraint, and SDKs rely on it.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { escapeText, xmlDocument } from '../xml/write.ts';

function run(request: OwnedRequest): Promise<Answer> {
  const { region } = request.owned;
  const shown = region === 'us-east-1' ? '' : escapeText(region);
  return Promise.resolve({ status: 200, xml: xmlDocument('LocationConstraint', shown) });
}

export const getBucketLocation: Operation = {
  name: 'GetBucketLocation',
  method: 'GET',
  level: 'bucket',
  subresource: 'location',
  access: 'bucket',
  action: 's3:GetBucketLocation',
  run,
};
