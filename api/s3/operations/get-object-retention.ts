// GetObjectRetention: mode and date, also when the date has passed.

import { FirnError } from '../../../appliance/model/errors.ts';
import { lookAtVersion } from '../access/look-at-version.ts';
import { requireLockable, retentionXml } from '../request/object-lock.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { version } = await lookAtVersion(request, requireLockable);
  if (version.retention === undefined) throw notLocked();
  return { status: 200, xml: retentionXml(version.retention) };
}

export function notLocked(): FirnError {
  return new FirnError(
    'NoSuchObjectLockConfiguration',
    'The specified object does not have a ObjectLock configuration',
  );
}

export const getObjectRetention: Operation = {
  name: 'GetObjectRetention',
  method: 'GET',
  level: 'object',
  subresource: 'retention',
  access: 'bucket',
  action: 's3:GetObjectRetention',
  run,
};
