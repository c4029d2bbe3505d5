// GetBucketReplication: in canonical form.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

function run({ owned, bucket }: OwnedRequest): Promise<Answer> {
  const xml = owned.configurations?.['replication'];
  if (xml === undefined) {
    throw new FirnError(
      'ReplicationConfigurationNotFoundError',
      'The replication configuration was not found',
      { details: { BucketName: bucket } },
    );
  }
  return Promise.resolve({ status: 200, xml });
}

export const getBucketReplication: Operation = {
  name: 'GetBucketReplication',
  method: 'GET',
  level: 'bucket',
  subresource: 'replication',
  access: 'bucket',
  action: 's3:GetReplicationConfiguration',
  run,
};
