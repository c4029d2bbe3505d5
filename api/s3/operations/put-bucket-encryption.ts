// PutBucketEncryption: what a write gets from now on that asks for no encryption itself. Objects
// that are there stay as they are. A key that does not exist is refused here, not at each write.

import type { DefaultEncryption } from '../../../appliance/model/encryption.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import {
  invalidArgument,
  type Answer,
  type Operation,
  type OwnedRequest,
} from '../request/request.ts';
import { childrenOf, malformed, parseXml, textOf, type XmlElement } from '../xml/parse.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  const root = parseXml(bytes, 'ServerSideEncryptionConfiguration');
  const rules = childrenOf(root, [], ['Rule']).all('Rule');
  const [rule] = rules;
  if (rule === undefined || rules.length > 1) throw malformed('there must be one Rule');
  const encryption = defaultOf(rule);
  checkKey(request, encryption);
  await request.settings.engine.updateBucket(request.bucket, (bucket) => ({
    ...bucket,
    encryption,
  }));
  return { status: 200 };
}

function defaultOf(rule: XmlElement): DefaultEncryption {
  const fields = childrenOf(rule, [
    'ApplyServerSideEncryptionByDefault',
    'BucketKeyEnabled',
    'BlockedEncryptionTypes',
  ]);
  if (fields.one('BlockedEncryptionTypes') !== undefined) {
    throw new FirnError('NotImplemented', 'BlockedEncryptionTypes is not implemented.');
  }
  const applied = fields.one('ApplyServerSideEncryptionByDefault');
  if (applied === undefined) throw malformed('ApplyServerSideEncryptionByDefault is missing');
  const terms = childrenOf(applied, ['SSEAlgorithm', 'KMSMasterKeyID']);
  const algorithm = textOf(terms.one('SSEAlgorithm'));
  const keyId = textOf(terms.one('KMSMasterKeyID'));
  const bucketKey = textOf(fields.one('BucketKeyEnabled'));
  if (bucketKey !== undefined && bucketKey !== 'true' && bucketKey !== 'false') {
    throw malformed('BucketKeyEnabled must be true or false');
  }
  if (algorithm === 'aws:kms:dsse') {
    throw new FirnError('NotImplemented', 'Encryption in two layers is not implemented.');
  }
  if (algorithm !== 'AES256' && algorithm !== 'aws:kms') {
    throw malformed('SSEAlgorithm must be AES256 or aws:kms');
  }
  if (keyId !== undefined && algorithm === 'AES256') {
    throw invalidArgument('it has no place beside AES256', 'KMSMasterKeyID', keyId);
  }
  if (keyId === '') throw malformed('KMSMasterKeyID must not be empty');
  return {
    algorithm,
    ...(keyId !== undefined && { keyId }),
    ...(bucketKey === 'true' && { bucketKey: true }),
  };
}

/** Throws KMS.NotFoundException, or InvalidArgument without a name where there is no default. */
function checkKey({ settings }: OwnedRequest, { algorithm, keyId }: DefaultEncryption): void {
  const { namedKeys } = settings;
  if (algorithm === 'AES256' || namedKeys === undefined) return;
  if (keyId === undefined && namedKeys.defaultKeyId === undefined) {
    throw invalidArgument('no key is named, and there is no default', 'KMSMasterKeyID', '');
  }
  if (keyId === undefined || namedKeys.has(keyId)) return;
  throw new FirnError('KMS.NotFoundException', `Key '${keyId}' does not exist`);
}

export const putBucketEncryption: Operation = {
  name: 'PutBucketEncryption',
  method: 'PUT',
  level: 'bucket',
  subresource: 'encryption',
  access: 'bucket',
  action: 's3:PutEncryptionConfiguration',
  run,
};
