// PutObjectTagging: the whole set of a version, in place of the one it has.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { versionIdOf, versionIdHeader } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { objectTagsOf, tagPairsOf } from '../request/tags.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const versionId = versionIdOf(request.query);
  const tags = objectTagsOf(tagPairsOf(await request.payload.gather(XML_BYTES_MAX)));
  const answer = await request.settings.engine.updateVersion({
    bucket: request.bucket,
    key: request.key,
    event: 's3:ObjectTagging:Put',
    ...(versionId !== undefined && { versionId }),
    change: (version) => ({ ...version, tags }),
  });
  return { status: 200, headers: versionIdHeader(answer) };
}

export const putObjectTagging: Operation = {
  name: 'PutObjectTagging',
  method: 'PUT',
  level: 'object',
  subresource: 'tagging',
  access: 'bucket',
  action: ({ query }) =>
    query.has('versionId') ? 's3:PutObjectVersionTagging' : 's3:PutObjectTagging',
  run,
};
