// DeleteObjectTagging: all of a version's tags.

import { versionIdOf, versionIdHeader } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const versionId = versionIdOf(request.query);
  const answer = await request.settings.engine.updateVersion({
    bucket: request.bucket,
    key: request.key,
    event: 's3:ObjectTagging:Delete',
    ...(versionId !== undefined && { versionId }),
    change: ({ tags: _old, ...kept }) => kept,
  });
  return { status: 204, headers: versionIdHeader(answer) };
}

export const deleteObjectTagging: Operation = {
  name: 'DeleteObjectTagging',
  method: 'DELETE',
  level: 'object',
  subresource: 'tagging',
  access: 'bucket',
  action: ({ query }) =>
    query.has('versionId') ? 's3:DeleteObjectVersionTagging' : 's3:DeleteObjectTagging',
  run,
};
