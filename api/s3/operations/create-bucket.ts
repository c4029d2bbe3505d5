// CreateBucket. The location constraint must be this region: there is no other here.

import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { childrenOf, parseXml, textOf } from '../xml/parse.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { headers, settings, bucket, identity } = request;
  const ownership = headers['x-amz-object-ownership'];
  if (ownership !== undefined && ownership !== 'BucketOwnerEnforced') {
    throw new FirnError('NotImplemented', 'Only BucketOwnerEnforced is implemented.');
  }
  if (headers['x-amz-bucket-object-lock-enabled']?.toLowerCase() === 'true') {
    throw new FirnError('NotImplemented', 'Object lock is not implemented.');
  }
  await checkConfiguration(request);
  try {
    await settings.engine.createBucket({
      name: bucket,
      owner: identity.account,
      region: settings.region,
    });
  } catch (error) {
    // Again by its owner: it is as wanted.
    if (!isFirnError(error, 'BucketAlreadyOwnedByYou')) throw error;
  }
  return { status: 200, headers: ['Location', `/${bucket}`] };
}

async function checkConfiguration(request: OwnedRequest): Promise<void> {
  const { headers, settings } = request;
  if ((headers['content-length'] ?? '0') === '0' && !headers['transfer-encoding']) return;
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  if (bytes.length === 0) return;
  const root = parseXml(bytes, 'CreateBucketConfiguration');
  const fields = childrenOf(root, ['LocationConstraint', 'Location', 'Bucket', 'Tags']);
  for (const name of ['Location', 'Bucket', 'Tags']) {
    if (fields.one(name) !== undefined) {
      throw new FirnError('NotImplemented', `${name} of a new bucket is not implemented.`);
    }
  }
  const constraint = textOf(fields.one('LocationConstraint')) ?? '';
  if (constraint !== '' && constraint !== settings.region) {
    throw new FirnError(
      'IllegalLocationConstraintException',
      `The location constraint must be ${settings.region}.`,
    );
  }
}

export const createBucket: Operation = {
  name: 'CreateBucket',
  method: 'PUT',
  level: 'bucket',
  access: 'account',
  action: 's3:CreateBucket',
  run,
};
