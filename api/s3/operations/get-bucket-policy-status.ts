// GetBucketPolicyStatus: whether the public is let in, by the policy or by the bucket's ACL.

import { isPublicAcl } from '../access/acl.ts';
import { policyOf } from '../access/bucket-policy.ts';
import { isEnforced } from '../request/ownership.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, xmlDocument } from '../xml/write.ts';

function run(request: OwnedRequest): Promise<Answer> {
  const { owned: bucket } = request;
  const countsAcl = !isEnforced(bucket) && bucket.publicAccessBlock?.ignorePublicAcls !== true;
  const isPublic = policyOf(bucket)?.isPublic === true || (countsAcl && isPublicAcl(bucket.acl));
  return Promise.resolve({
    status: 200,
    xml: xmlDocument('PolicyStatus', element('IsPublic', isPublic)),
  });
}

export const getBucketPolicyStatus: Operation = {
  name: 'GetBucketPolicyStatus',
  method: 'GET',
  level: 'bucket',
  subresource: 'policyStatus',
  access: 'bucket',
  action: 's3:GetBucketPolicyStatus',
  run,
};
