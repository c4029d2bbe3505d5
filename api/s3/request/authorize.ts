// Who may do what. Until access policies exist there is one rule, and everything else is refused: a
// bucket and all in it belong to the account that made it. Nobody is anonymous here.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { S3Request } from './request.ts';

const denied = (): FirnError => new FirnError('AccessDenied', 'Access Denied.');

/**
 * The bucket, if it belongs to the asker and to whom the asker expects. Throws NoSuchBucket or
 * AccessDenied.
 */
export async function checkOwner(
  request: S3Request,
  bucketName: string,
  expectedOwner: string | undefined,
): Promise<Bucket> {
  const bucket = await request.settings.engine.getBucket(bucketName);
  if (bucket.owner !== request.identity.account) throw denied();
  if (expectedOwner !== undefined && expectedOwner !== bucket.owner) throw denied();
  return bucket;
}
