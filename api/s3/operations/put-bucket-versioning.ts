// PutBucketVersioning: on or suspended; off is only what never was on. Where object lock is on it
// stays enabled.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { childrenOf, malformed, parseXml, textOf } from '../xml/parse.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const root = parseXml(await request.payload.gather(XML_BYTES_MAX), 'VersioningConfiguration');
  const fields = childrenOf(root, ['Status', 'MfaDelete']);
  const mfaDelete = textOf(fields.one('MfaDelete')) ?? 'Disabled';
  if (mfaDelete === 'Enabled')
    throw new FirnError('NotImplemented', 'MFA delete is not implemented.');
  if (mfaDelete !== 'Disabled') throw malformed('MfaDelete must be Enabled or Disabled');
  const versioning = versioningOf(textOf(fields.one('Status')));
  await request.settings.engine.updateBucket(request.bucket, (bucket) => {
    if (versioning !== 'enabled') requireNothingThatNeedsIt(bucket);
    return { ...bucket, versioning };
  });
  return { status: 200 };
}

function requireNothingThatNeedsIt({ objectLock, configurations }: Bucket): void {
  const replicates = configurations?.['replication'] !== undefined;
  if (objectLock === undefined && !replicates) return;
  const what = objectLock === undefined ? 'A replication' : 'An Object Lock';
  throw new FirnError(
    'InvalidBucketState',
    `${what} configuration is present on this bucket, so the versioning state cannot be changed.`,
  );
}

function versioningOf(status: string | undefined): Bucket['versioning'] {
  if (status === 'Enabled') return 'enabled';
  if (status === 'Suspended') return 'suspended';
  if (status !== undefined) throw malformed('Status must be Enabled or Suspended');
  throw new FirnError(
    'IllegalVersioningConfigurationException',
    'The versioning configuration must have a Status.',
  );
}

export const putBucketVersioning: Operation = {
  name: 'PutBucketVersioning',
  method: 'PUT',
  level: 'bucket',
  subresource: 'versioning',
  access: 'bucket',
  action: 's3:PutBucketVersioning',
  run,
};
