// PutPublicAccessBlock: the four switches that keep the public out. One that isn't named is off.

import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { childrenOf, malformed, parseXml, textOf } from '../xml/parse.ts';

const SWITCHES = [
  'BlockPublicAcls',
  'IgnorePublicAcls',
  'BlockPublicPolicy',
  'RestrictPublicBuckets',
];

async function run(request: OwnedRequest): Promise<Answer> {
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  const fields = childrenOf(parseXml(bytes, 'PublicAccessBlockConfiguration'), SWITCHES);
  const isOn = (name: string): boolean => {
    const text = textOf(fields.one(name))?.trim().toLowerCase() ?? 'false';
    if (text !== 'true' && text !== 'false') throw malformed(`${name} must be true or false`);
    return text === 'true';
  };
  const publicAccessBlock = {
    blockPublicAcls: isOn('BlockPublicAcls'),
    ignorePublicAcls: isOn('IgnorePublicAcls'),
    blockPublicPolicy: isOn('BlockPublicPolicy'),
    restrictPublicBuckets: isOn('RestrictPublicBuckets'),
  };
  await request.settings.engine.updateBucket(request.bucket, (bucket) => ({
    ...bucket,
    publicAccessBlock,
  }));
  return { status: 200 };
}

export const putPublicAccessBlock: Operation = {
  name: 'PutPublicAccessBlock',
  method: 'PUT',
  level: 'bucket',
  subresource: 'publicAccessBlock',
  access: 'bucket',
  action: 's3:PutBucketPublicAccessBlock',
  run,
};
