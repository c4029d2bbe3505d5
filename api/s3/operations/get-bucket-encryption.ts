// GetBucketEncryption: what a write gets that asks for nothing; 404 where that is nothing.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, optional, wrap, xmlDocument } from '../xml/write.ts';

function run(request: OwnedRequest): Promise<Answer> {
  const { encryption } = request.owned;
  if (encryption === undefined) {
    throw new FirnError(
      'ServerSideEncryptionConfigurationNotFoundError',
      'The server side encryption configuration was not found.',
      { details: { BucketName: request.bucket } },
    );
  }
  const { algorithm, keyId, bucketKey } = encryption;
  const applied = element('SSEAlgorithm', algorithm) + optional('KMSMasterKeyID', keyId);
  const rule =
    wrap('ApplyServerSideEncryptionByDefault', applied) +
    element('BucketKeyEnabled', bucketKey ?? false);
  return Promise.resolve({
    status: 200,
    xml: xmlDocument('ServerSideEncryptionConfiguration', wrap('Rule', rule)),
  });
}

export const getBucketEncryption: Operation = {
  name: 'GetBucketEncryption',
  method: 'GET',
  level: 'bucket',
  subresource: 'encryption',
  access: 'bucket',
  action: 's3:GetEncryptionConfiguration',
  run,
};
