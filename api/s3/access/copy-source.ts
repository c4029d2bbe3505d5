// The source of a copy, which the asker must be allowed to read: CopyObject and UploadPartCopy ask
// here alike. Its tags go along with a copy, so they must be allowed to be read there and written
// here: a tag may be what another statement of a policy goes by.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Version } from '../../../appliance/model/object.ts';
import type { ReadConditions, VersionName } from '../../../appliance/model/requests.ts';
import { etagOf, readConditionsOf } from '../request/conditions.ts';
import { COPY_SOURCE_HEADER, parseCopySource } from '../request/copy-source-name.ts';
import type { OwnedRequest } from '../request/request.ts';
import { authorizeAction, bucketOf, isPlain, judge, type Resource } from './authorize.ts';

export interface CopySource {
  source: VersionName;
  conditions: ReadConditions | undefined;
  /** Those that were judged, which alone may go along; absent where nobody had to be asked. */
  tags?: Readonly<Record<string, string>>;
}

/**
 * The source, which the asker may read. Throws InvalidArgument, NoSuchBucket, AccessDenied, and
 * what the engine throws of one that is not there, to who may list.
 */
export async function copySourceOf(
  request: OwnedRequest,
  options: { takesTags?: boolean } = {},
): Promise<CopySource> {
  const source = parseCopySource(request.headers[COPY_SOURCE_HEADER] ?? '');
  const bucket = await bucketOf(request, source.bucket, 'x-amz-source-expected-bucket-owner');
  const { key, versionId } = source;
  const resource: Resource = { bucket, key, versionId };
  const action = versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion';
  const isPlainSource = isPlain(request, bucket);
  const version = isPlainSource ? undefined : await judge(request, action, resource);
  const asked = readConditionsOf(request.headers, 'x-amz-copy-source-');
  const conditions = version === undefined ? asked : pinned(version, asked);
  const isPlainCopy = isPlainSource && isPlain(request, request.owned);
  if (options.takesTags !== true || isPlainCopy) return { source, conditions };
  const tags = await authorizeTags(request, {
    ...resource,
    ...(version !== undefined && { version }),
  });
  return { source, conditions, tags };
}

/** Resolves to the tags that were judged. */
async function authorizeTags(
  request: OwnedRequest,
  resource: Resource,
): Promise<Readonly<Record<string, string>>> {
  const { bucket, key = '', versionId } = resource;
  const name = { bucket: bucket.name, key, ...(versionId !== undefined && { versionId }) };
  const version = resource.version ?? (await request.settings.engine.headObject(name)).version;
  const tags = version.tags ?? {};
  if (Object.keys(tags).length === 0) return tags;
  const action = versionId === undefined ? 's3:GetObjectTagging' : 's3:GetObjectVersionTagging';
  await authorizeAction(request, action, { ...resource, version });
  const made = { bucket: request.owned, key: request.key, isNew: true, requestTags: tags };
  await authorizeAction(request, 's3:PutObjectTagging', made);
  return tags;
}

/**
 * What is copied must be what was judged: another version may have come between. Its ETag stands
 * in the place of whatever was asked for, which may fit that other one as well (`*`), and so is
 * held here.
 */
function pinned(version: Version, conditions: ReadConditions = {}): ReadConditions {
  const { ifMatch, ifUnmodifiedSince, ...others } = conditions;
  const seconds = Math.floor(version.lastModified / 1000);
  const holds =
    ifMatch === undefined
      ? ifUnmodifiedSince === undefined || seconds <= Math.floor(ifUnmodifiedSince / 1000)
      : ifMatch.split(',').some((one) => ['*', version.etag].includes(etagOf(one)));
  if (holds) return { ...others, ifMatch: version.etag };
  throw new FirnError(
    'PreconditionFailed',
    'At least one of the preconditions you specified did not hold.',
  );
}
