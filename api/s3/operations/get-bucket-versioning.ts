// GetBucketVersioning: no Status where versioning never was on.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, xmlDocument } from '../xml/write.ts';

const SHOWN = { off: undefined, enabled: 'Enabled', suspended: 'Suspended' } as const;

function run(request: OwnedRequest): Promise<Answer> {
  const status = SHOWN[request.owned.versioning];
  const content = status === undefined ? '' : element('Status', status);
  return Promise.resolve({ status: 200, xml: xmlDocument('VersioningConfiguration', content) });
}

export const getBucketVersioning: Operation = {
  name: 'GetBucketVersioning',
  method: 'GET',
  level: 'bucket',
  subresource: 'versioning',
  access: 'bucket',
  action: 's3:GetBucketVersioning',
  run,
};
