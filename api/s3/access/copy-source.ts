// x-amz-copy-source, parsed once; what is parsed is what is authorised and what is read. (Elsewhere
// a source that was decoded twice, or checked in another form than it was read in, let accounts
// copy what they could not read.)

import { FirnError } from '../../../appliance/model/errors.ts';
import type { ReadConditions, VersionName } from '../../../appliance/model/requests.ts';
import { decodeComponent } from '../../../appliance/model/signature.ts';
import { authorizeAction, bucketOf } from './authorize.ts';
import { readConditionsOf } from '../request/conditions.ts';
import { invalidArgument, isVersionId, type S3Request } from '../request/request.ts';
import { checkKey, isBucketName } from '../input/target.ts';

const HEADER = 'x-amz-copy-source';

export interface CopySource {
  source: VersionName;
  conditions: ReadConditions | undefined;
}

/** The source, which the asker may read. Throws InvalidArgument, NoSuchBucket, AccessDenied. */
export async function copySourceOf(request: S3Request): Promise<CopySource> {
  const source = parseCopySource(request.headers[HEADER] ?? '');
  const bucket = await bucketOf(request, source.bucket, 'x-amz-source-expected-bucket-owner');
  const { key, versionId } = source;
  const action = versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion';
  await authorizeAction(request, action, { bucket, key, versionId });
  return { source, conditions: readConditionsOf(request.headers, 'x-amz-copy-source-') };
}

export function parseCopySource(header: string): VersionName {
  const refuse = (reason: string): FirnError => invalidArgument(reason, HEADER, header);
  const mark = header.indexOf('?');
  const rawPath = mark < 0 ? header : header.slice(0, mark);
  const path = decodeComponent(rawPath.startsWith('/') ? rawPath.slice(1) : rawPath);
  if (path === undefined) throw refuse('the copy source is not valid percent-encoded UTF-8');
  const slash = path.indexOf('/');
  const bucket = path.slice(0, Math.max(slash, 0));
  const key = path.slice(slash + 1);
  if (!isBucketName(bucket) || key === '' || key.includes('?versionId=')) {
    throw refuse('the copy source must be in the form bucket/key, percent-encoded');
  }
  try {
    checkKey(key);
  } catch (cause) {
    if (!(cause instanceof FirnError)) throw cause;
    throw refuse('the copy source names a key that is not allowed');
  }
  if (mark < 0) return { bucket, key };
  const match = /^versionId=(.*)$/.exec(header.slice(mark + 1));
  const versionId = match?.[1];
  if (versionId === undefined || !isVersionId(versionId)) throw refuse('this is no version id');
  return { bucket, key, versionId };
}
