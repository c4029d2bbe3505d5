// Changes of what a version carries, by who may change this very version. The decision is taken
// when the body has said what is wanted (a policy may allow one tag and not another), and the
// change is refused where another version has come into its place since.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { HeadAnswer, UpdateVersion } from '../../../appliance/model/requests.ts';
import { versionIdOf, type OwnedRequest } from '../request/request.ts';
import { isPlain, judge, type Resource } from './authorize.ts';

export interface ChangeOfVersion
  extends
    Pick<UpdateVersion, 'bypassGovernance' | 'change' | 'event'>,
    Pick<Resource, 'requestTags' | 'values'> {
  action: string;
}

/** Durable on return. Throws AccessDenied, ConditionalRequestConflict and as updateVersion does. */
export async function changeVersion(
  request: OwnedRequest,
  wanted: ChangeOfVersion,
): Promise<HeadAnswer> {
  const { owned: bucket, key, settings } = request;
  const { action, requestTags, values, change, ...more } = wanted;
  const versionId = versionIdOf(request.query);
  const resource: Resource = { bucket, key, versionId };
  if (requestTags !== undefined) resource.requestTags = requestTags;
  if (values !== undefined) resource.values = values;
  const judged = isPlain(request, bucket) ? undefined : await judge(request, action, resource);
  return settings.engine.updateVersion({
    bucket: bucket.name,
    key,
    ...(versionId !== undefined && { versionId }),
    ...more,
    change: (version) => {
      if (judged === undefined || judged.id === version.id) return change(version);
      throw new FirnError(
        'ConditionalRequestConflict',
        'The object was replaced while it was being changed. Please try again.',
        { retryable: true },
      );
    },
  });
}
