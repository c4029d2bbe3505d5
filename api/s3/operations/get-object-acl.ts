// GetObjectAcl: of the version named, or the current one.

import { aclXml } from '../access/acl-xml.ts';
import { lookAtVersion } from '../access/look-at-version.ts';
import { isEnforced, ownerOf } from '../request/ownership.ts';
import { versionIdHeader } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { owned: bucket } = request;
  const answer = await lookAtVersion(request);
  const { version } = answer;
  const acl = isEnforced(bucket) ? undefined : version.acl;
  return {
    status: 200,
    headers: versionIdHeader(answer),
    xml: await aclXml(request, { owner: ownerOf(bucket, version), acl }),
  };
}

export const getObjectAcl: Operation = {
  name: 'GetObjectAcl',
  method: 'GET',
  level: 'object',
  subresource: 'acl',
  access: 'bucket',
  action: ({ query }) => (query.has('versionId') ? 's3:GetObjectVersionAcl' : 's3:GetObjectAcl'),
  run,
};
