// The version that a reader of what it carries (tags, ACL, locks) means, as it may be shown.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import type { HeadAnswer } from '../../../appliance/model/requests.ts';
import { versionIdOf, type OwnedRequest } from '../request/request.ts';
import { confirmVersion } from './authorize.ts';

/**
 * `check`: what the bucket must be for the question to make sense. Throws what it throws,
 * InvalidArgument, AccessDenied, and as headObject does.
 */
export async function lookAtVersion(
  request: OwnedRequest,
  check?: (bucket: Bucket) => void,
): Promise<HeadAnswer> {
  const { bucket, key, owned, query, settings } = request;
  const versionId = versionIdOf(query);
  check?.(owned);
  const answer = await settings.engine.headObject({
    bucket,
    key,
    known: owned,
    ...(versionId !== undefined && { versionId }),
  });
  await confirmVersion(request, answer.version);
  return answer;
}
