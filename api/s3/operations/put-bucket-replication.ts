// PutBucketReplication: checked strictly and kept. Nothing is replicated by it yet: that is another
// part of the appliance, and GET says only what was put.

import { FirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { storeConfiguration } from '../request/configuration.ts';
import { replicationXmlOf } from '../request/replication-xml.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const xml = replicationXmlOf(await request.payload.gather(XML_BYTES_MAX));
  if (request.owned.versioning !== 'enabled') {
    throw new FirnError(
      'InvalidRequest',
      "Versioning must be 'Enabled' on the bucket to apply a replication configuration",
    );
  }
  await storeConfiguration(request, 'replication', xml);
  return { status: 200 };
}

export const putBucketReplication: Operation = {
  name: 'PutBucketReplication',
  method: 'PUT',
  level: 'bucket',
  subresource: 'replication',
  access: 'bucket',
  action: 's3:PutReplicationConfiguration',
  run,
};
