// PutObjectRetention: sets or extends until when a version may not be removed. Shorter, or in
// another mode, only in GOVERNANCE mode and by who may pass over it; the engine judges that on the
// version as it then is.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { changeVersion } from '../access/change-version.ts';
import { bypassesGovernance } from '../access/object-lock.ts';
import { lockValues, requireLockable, retentionOfXml } from '../request/object-lock.ts';
import { versionIdOf } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

const ACTION = 's3:PutObjectRetention';

async function run(request: OwnedRequest): Promise<Answer> {
  const { key, settings } = request;
  const versionId = versionIdOf(request.query);
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  requireLockable(request.owned);
  const retention = retentionOfXml(bytes, settings.clock.now());
  await changeVersion(request, {
    action: ACTION,
    values: lockValues({ ...(retention !== undefined && { retention }) }),
    bypassGovernance: await bypassesGovernance(request, { key, versionId }),
    change: ({ retention: _old, ...kept }) => ({
      ...kept,
      ...(retention !== undefined && { retention }),
    }),
  });
  return { status: 200 };
}

export const putObjectRetention: Operation = {
  name: 'PutObjectRetention',
  method: 'PUT',
  level: 'object',
  subresource: 'retention',
  access: 'bucket',
  action: ACTION,
  run,
};
