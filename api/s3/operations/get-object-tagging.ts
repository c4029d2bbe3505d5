// GetObjectTagging: an object without tags has an empty set.

import { versionIdOf, versionIdHeader } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { taggingXml } from '../request/tags.ts';

async function run({ bucket, key, query, settings }: OwnedRequest): Promise<Answer> {
  const versionId = versionIdOf(query);
  const answer = await settings.engine.headObject({
    bucket,
    key,
    ...(versionId !== undefined && { versionId }),
  });
  const xml = taggingXml(answer.version.tags ?? {});
  return { status: 200, headers: versionIdHeader(answer), xml };
}

export const getObjectTagging: Operation = {
  name: 'GetObjectTagging',
  method: 'GET',
  level: 'object',
  subresource: 'tagging',
  access: 'bucket',
  action: ({ query }) =>
    query.has('versionId') ? 's3:GetObjectVersionTagging' : 's3:GetObjectTagging',
  run,
};
