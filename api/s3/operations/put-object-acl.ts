// PutObjectAcl: the whole list of a version, by headers or by a document. Neither bytes nor dates
// change, nor who owns it.

import { FirnError } from '../../../appliance/model/errors.ts';
import { keptAcl } from '../access/acl.ts';
import { judge } from '../access/authorize.ts';
import { notSupported, refusePublic } from '../access/new-object.ts';
import { grantsOf } from '../access/wanted-acl.ts';
import { wantedAclOf } from '../access/wanted-acl-body.ts';
import { isEnforced } from '../request/ownership.ts';
import { versionIdHeader, versionIdOf } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

const action = ({ query }: { query: OwnedRequest['query'] }): string =>
  query.has('versionId') ? 's3:PutObjectVersionAcl' : 's3:PutObjectAcl';

async function run(request: OwnedRequest): Promise<Answer> {
  const { owned: bucket, key, settings } = request;
  const versionId = versionIdOf(request.query);
  if (isEnforced(bucket)) throw notSupported();
  const name = { bucket: bucket.name, key, ...(versionId !== undefined && { versionId }) };
  const { version: known } = await settings.engine.headObject({ ...name, known: bucket });
  // By this very version's owner and list, whatever was judged before.
  await judge(request, action(request), { bucket, key, versionId, version: known });
  const wanted = await wantedAclOf(request, { on: 'object', owner: known.owner });
  const grants = grantsOf(wanted, { owner: known.owner, bucketOwner: bucket.owner });
  const acl = keptAcl(grants, known.owner);
  refusePublic(bucket, acl);
  const answer = await settings.engine.updateVersion({
    ...name,
    event: 's3:ObjectAcl:Put',
    change: (version) => {
      if (version.id !== known.id) throw overtaken();
      const { acl: _old, ...kept } = version;
      return acl === undefined ? kept : { ...kept, acl };
    },
  });
  return { status: 200, headers: versionIdHeader(answer) };
}

/** The key has another version by now, which this list was not meant for. */
function overtaken(): FirnError {
  return new FirnError(
    'ConditionalRequestConflict',
    'The object was replaced while its ACL was being set. Please try again.',
    { retryable: true },
  );
}

export const putObjectAcl: Operation = {
  name: 'PutObjectAcl',
  method: 'PUT',
  level: 'object',
  subresource: 'acl',
  access: 'bucket',
  action,
  run,
};
