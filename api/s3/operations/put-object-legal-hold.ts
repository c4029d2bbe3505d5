// PutObjectLegalHold: on or off, whatever the retention says. While it is on nobody removes the
// version, with no right whatever.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { changeVersion } from '../access/change-version.ts';
import { legalHoldOfXml, lockValues, requireLockable } from '../request/object-lock.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

const ACTION = 's3:PutObjectLegalHold';

async function run(request: OwnedRequest): Promise<Answer> {
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  requireLockable(request.owned);
  const legalHold = legalHoldOfXml(bytes);
  await changeVersion(request, {
    action: ACTION,
    values: lockValues({ legalHold }),
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
  action: ACTION,
  run,
};
