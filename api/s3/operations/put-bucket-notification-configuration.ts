// PutBucketNotificationConfiguration: who is told of what happens in the bucket. An empty one ends
// it. A test event goes to each target first, so that what is set is known to be heard.

import { newId } from '../../../appliance/model/ids.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { confirmBucket } from '../access/authorize.ts';
import { rulesOfXml } from '../request/notification-xml.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { parseXml } from '../xml/parse.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { settings, bucket } = request;
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  const root = parseXml(bytes, 'NotificationConfiguration');
  const targets = settings.notificationTargets ?? { webhooks: [], queues: [] };
  const rules = rulesOfXml(root, targets, () => newId(settings.random));
  const isSilent = request.headers['x-amz-skip-destination-validation'] === 'true';
  if (rules.length > 0 && !isSilent) {
    await settings.testEvents?.(bucket, rules);
    await confirmBucket(request);
  }
  await settings.engine.updateBucket(bucket, ({ notifications: _past, ...kept }) =>
    rules.length === 0 ? kept : { ...kept, notifications: rules },
  );
  return { status: 200 };
}

export const putBucketNotification: Operation = {
  name: 'PutBucketNotificationConfiguration',
  method: 'PUT',
  level: 'bucket',
  subresource: 'notification',
  access: 'bucket',
  action: 's3:PutBucketNotification',
  run,
};
