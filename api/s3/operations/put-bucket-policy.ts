// PutBucketPolicy: kept as it was sent, once it has been read in full. What isn't understood is
// refused here, so that nothing has to be guessed when it is asked.

import { FirnError } from '../../../appliance/model/errors.ts';
import { denied } from '../access/authorize.ts';
import { requireOwnersAccount } from '../access/own-policy.ts';
import { parseBucketPolicy } from '../../../policies/access/document.ts';
import { isPublicPolicy } from '../../../policies/access/public.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

/** Blanks count for nothing in the policy's own bound, which is 20 KiB. */
const BODY_BYTES_MAX = 64 * 1024;

async function run(request: OwnedRequest): Promise<Answer> {
  requireOwnersAccount(request);
  const text = textOf(await request.payload.gather(BODY_BYTES_MAX));
  const isPublic = isPublicPolicy(parseBucketPolicy(text, request.bucket));
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    if (isPublic && bucket.publicAccessBlock?.blockPublicPolicy === true) throw denied();
    return { ...bucket, policy: text };
  });
  return { status: 204 };
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FirnError('MalformedPolicy', 'Policies must be valid JSON in UTF-8.', { cause });
  }
}

export const putBucketPolicy: Operation = {
  name: 'PutBucketPolicy',
  method: 'PUT',
  level: 'bucket',
  subresource: 'policy',
  access: 'bucket',
  action: 's3:PutBucketPolicy',
  run,
};
