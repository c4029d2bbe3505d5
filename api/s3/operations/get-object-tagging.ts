// GetObjectTagging: an object without tags has an empty set.

import { confirmVersion } from '../access/authorize.ts';
import { versionIdOf, versionIdHeader } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { taggingXml } from '../request/tags.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { bucket, key, settings } = request;
  const versionId = versionIdOf(request.query);
  const answer = await settings.engine.headObject({
    bucket,
    key,
    ...(versionId !== undefined && { versionId }),
  });
  await confirmVersion(request, answer.version);
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
