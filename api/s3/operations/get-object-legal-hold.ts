// GetObjectLegalHold: ON or OFF, once it was ever set.

import { lookAtVersion } from '../access/look-at-version.ts';
import { legalHoldXml, requireLockable } from '../request/object-lock.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { notLocked } from './get-object-retention.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { version } = await lookAtVersion(request, requireLockable);
  if (version.legalHold === undefined) throw notLocked();
  // Anything but a plain false holds.
  return { status: 200, xml: legalHoldXml(version.legalHold !== false) };
}

export const getObjectLegalHold: Operation = {
  name: 'GetObjectLegalHold',
  method: 'GET',
  level: 'object',
  subresource: 'legal-hold',
  access: 'bucket',
  action: 's3:GetObjectLegalHold',
  run,
};
