// PutObjectTagging: the whole set of a version, in place of the one it has.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { changeVersion } from '../access/change-version.ts';
import { versionIdHeader } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest, S3Request } from '../request/request.ts';
import { objectTagsOf, tagPairsOf } from '../request/tags.ts';

const action = ({ query }: S3Request): string =>
  query.has('versionId') ? 's3:PutObjectVersionTagging' : 's3:PutObjectTagging';

async function run(request: OwnedRequest): Promise<Answer> {
  const tags = objectTagsOf(tagPairsOf(await request.payload.gather(XML_BYTES_MAX)));
  const answer = await changeVersion(request, {
    action: action(request),
    requestTags: tags,
    event: 's3:ObjectTagging:Put',
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
  action,
  run,
};
