// GetObjectTagging: an object without tags has an empty set.

import { lookAtVersion } from '../access/look-at-version.ts';
import { versionIdHeader } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { taggingXml } from '../request/tags.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const answer = await lookAtVersion(request);
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
