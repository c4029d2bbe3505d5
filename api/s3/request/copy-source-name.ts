// x-amz-copy-source, parsed once; what is parsed is what is judged, authorised and read. (Elsewhere
// a source that was decoded twice, or checked in another form than it was read in, let accounts
// copy what they could not read.)

import { FirnError } from '../../../appliance/model/errors.ts';
import type { VersionName } from '../../../appliance/model/requests.ts';
import { decodeComponent } from '../../../appliance/model/signature.ts';
import { checkKey, isBucketName } from '../input/target.ts';
import { invalidArgument, isVersionId } from './request.ts';

export const COPY_SOURCE_HEADER = 'x-amz-copy-source';

/** Throws InvalidArgument. */
export function parseCopySource(header: string): VersionName {
  const refuse = (reason: string): FirnError => invalidArgument(reason, COPY_SOURCE_HEADER, header);
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
