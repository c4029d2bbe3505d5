// GetBucketAcl: also where ACLs are off, as what then holds.

import { aclXml } from '../access/acl-xml.ts';
import { isEnforced } from '../request/ownership.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { owned: bucket } = request;
  const acl = isEnforced(bucket) ? undefined : bucket.acl;
  return { status: 200, xml: await aclXml(request, { owner: bucket.owner, acl }) };
}

export const getBucketAcl: Operation = {
  name: 'GetBucketAcl',
  method: 'GET',
  level: 'bucket',
  subresource: 'acl',
  access: 'bucket',
  action: 's3:GetBucketAcl',
  run,
};
