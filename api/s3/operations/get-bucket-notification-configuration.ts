// GetBucketNotificationConfiguration: as it was set; empty where nobody is told.

import { xmlOfRules } from '../request/notification-xml.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  return await Promise.resolve({ status: 200, xml: xmlOfRules(request.owned.notifications ?? []) });
}

export const getBucketNotification: Operation = {
  name: 'GetBucketNotificationConfiguration',
  method: 'GET',
  level: 'bucket',
  subresource: 'notification',
  access: 'bucket',
  action: 's3:GetBucketNotification',
  run,
};
