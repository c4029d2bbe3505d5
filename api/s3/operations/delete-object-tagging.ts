// DeleteObjectTagging: all of a version's tags.

import { changeVersion } from '../access/change-version.ts';
import { versionIdHeader } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest, S3Request } from '../request/request.ts';

const action = ({ query }: S3Request): string =>
  query.has('versionId') ? 's3:DeleteObjectVersionTagging' : 's3:DeleteObjectTagging';

async function run(request: OwnedRequest): Promise<Answer> {
  const answer = await changeVersion(request, {
    action: action(request),
    event: 's3:ObjectTagging:Delete',
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
  action,
  run,
};
