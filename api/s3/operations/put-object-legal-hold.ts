// PutObjectLegalHold: on or off, whatever the retention says. While it is on nobody removes the
// version, with no right whatever.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { legalHoldOfXml, requireLockable } from '../request/object-lock.ts';
import { versionIdOf } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { bucket, key, settings, owned } = request;
  const versionId = versionIdOf(request.query);
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  requireLockable(owned);
  const legalHold = legalHoldOfXml(bytes);
  await settings.engine.updateVersion({
    bucket,
    key,
    ...(versionId !== undefined && { versionId }),
    change: (version) => ({ ...version, legalHold }),
  });
  return { status: 200 };
}

export const putObjectLegalHold: Operation = {
  name: 'PutObjectLegalHold',
  method: 'PUT',
  level: 'object',
  subresource: 'legal-hold',
  access: 'bucket',
  action: 's3:PutObjectLegalHold',
  run,
};
