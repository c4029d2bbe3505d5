// DeleteBucketReplication: 204 also where there was none.

import { removeConfiguration } from '../request/configuration.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await removeConfiguration(request, 'replication');
  return { status: 204 };
}

export const deleteBucketReplication: Operation = {
  name: 'DeleteBucketReplication',
  method: 'DELETE',
  level: 'bucket',
  subresource: 'replication',
  access: 'bucket',
  action: 's3:PutReplicationConfiguration',
  run,
};
