// PutObjectRetention: sets or extends until when a version may not be removed. Shorter, or in
// another mode, only in GOVERNANCE mode and by who may pass over it; the engine judges that on the
// version as it then is.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { bypassesGovernance } from '../access/object-lock.ts';
import { requireLockable, retentionOfXml } from '../request/object-lock.ts';
import { versionIdOf } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { bucket, key, settings, owned } = request;
  const versionId = versionIdOf(request.query);
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  requireLockable(owned);
  const retention = retentionOfXml(bytes, settings.clock.now());
  const bypassGovernance = await bypassesGovernance(request, { key, versionId });
  await settings.engine.updateVersion({
    bucket,
    key,
    bypassGovernance,
    ...(versionId !== undefined && { versionId }),
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
  action: 's3:PutObjectRetention',
  run,
};
