// What an upload in parts was begun with, for policies that go by it: they speak of the object to
// be made, and only CreateMultipartUpload says how that will be. A policy that asks for encryption,
// an ACL or a lock would otherwise refuse every part, or take a part's own word for the whole.

import { isFirnError } from '../../../appliance/model/errors.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import type { S3Request } from '../request/request.ts';

const SAID = [
  'x-amz-acl',
  'x-amz-grant-full-control',
  'x-amz-grant-read',
  'x-amz-grant-read-acp',
  'x-amz-grant-write',
  'x-amz-grant-write-acp',
  'x-amz-object-lock-legal-hold',
  'x-amz-object-lock-mode',
  'x-amz-object-lock-retain-until-date',
  'x-amz-server-side-encryption',
  'x-amz-server-side-encryption-aws-kms-key-id',
  'x-amz-server-side-encryption-customer-algorithm',
  'x-amz-storage-class',
  'x-amz-tagging',
  'x-amz-website-redirect-location',
];

/** Kept with the upload; undefined where there is nothing to keep. */
export function saidOf(headers: RequestHeaders): Record<string, string> | undefined {
  let said: Record<string, string> | undefined;
  for (const name of SAID) {
    const value = headers[name];
    if (value !== undefined) said = { ...said, [name]: value };
  }
  return said;
}

/**
 * The headers that say what will be made: those of the upload, for its parts and its end. Of one
 * that is not there, nothing was said.
 */
export async function creationHeaders(request: S3Request): Promise<RequestHeaders> {
  const { bucket, key, query, settings, headers } = request;
  const uploadId = query.get('uploadId');
  if (uploadId === undefined) return headers;
  const others = { ...headers };
  for (const name of SAID) delete others[name];
  try {
    const upload = { bucket, key, uploadId };
    const answer = await settings.engine.listParts({ ...upload, after: 0, limit: 0 });
    return { ...others, ...answer.upload.said };
  } catch (error) {
    if (isFirnError(error, 'NoSuchUpload')) return others;
    throw error;
  }
}
