// PutBucketLogging: where a line for each request of this bucket is written. The target must be a
// bucket of the same account: otherwise one account could fill, or read by, another's.

import type { BucketLogging } from '../../../appliance/model/bucket.ts';
import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { KEY_BYTES_MAX, XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { invalidArgument, type Answer } from '../request/request.ts';
import type { Operation, OwnedRequest } from '../request/request.ts';
import { childrenOf, malformed, parseXml, textOf, type XmlElement } from '../xml/parse.ts';

/** What a key of a log needs behind the prefix: account, region, bucket, dates, name. */
const PREFIX_BYTES_MAX = KEY_BYTES_MAX - 400;

async function run(request: OwnedRequest): Promise<Answer> {
  const { settings, bucket, owned } = request;
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  const root = parseXml(bytes, 'BucketLoggingStatus');
  const enabled = childrenOf(root, ['LoggingEnabled']).one('LoggingEnabled');
  const logging = enabled && loggingOf(enabled);
  if (logging !== undefined) await checkTarget(request, logging.targetBucket, owned.owner);
  await settings.engine.updateBucket(bucket, ({ logging: _past, ...kept }) =>
    logging === undefined ? kept : { ...kept, logging },
  );
  return { status: 200 };
}

function loggingOf(enabled: XmlElement): BucketLogging {
  const fields = childrenOf(enabled, [
    'TargetBucket',
    'TargetPrefix',
    'TargetGrants',
    'TargetObjectKeyFormat',
  ]);
  if ((fields.one('TargetGrants')?.children.length ?? 0) > 0) {
    throw new FirnError('NotImplemented', 'TargetGrants are not implemented: use a bucket policy.');
  }
  const targetBucket = textOf(fields.one('TargetBucket'))?.trim();
  const targetPrefix = textOf(fields.one('TargetPrefix'));
  if (!targetBucket || targetPrefix === undefined) {
    throw malformed('LoggingEnabled must have TargetBucket and TargetPrefix');
  }
  if (Buffer.byteLength(targetPrefix) > PREFIX_BYTES_MAX) {
    throw invalidArgument('the prefix is too long', 'TargetPrefix', targetPrefix);
  }
  const partitionedBy = partitionOf(fields.one('TargetObjectKeyFormat'));
  return { targetBucket, targetPrefix, ...(partitionedBy !== undefined && { partitionedBy }) };
}

function partitionOf(format: XmlElement | undefined): BucketLogging['partitionedBy'] {
  if (format === undefined) return undefined;
  const fields = childrenOf(format, ['SimplePrefix', 'PartitionedPrefix']);
  const partitioned = fields.one('PartitionedPrefix');
  if ((fields.one('SimplePrefix') === undefined) === (partitioned === undefined)) {
    throw malformed('TargetObjectKeyFormat must hold SimplePrefix or PartitionedPrefix');
  }
  if (partitioned === undefined) return undefined;
  const source = textOf(
    childrenOf(partitioned, ['PartitionDateSource']).one('PartitionDateSource'),
  );
  if (source === undefined || source === 'EventTime' || source === 'DeliveryTime') {
    return source ?? 'EventTime';
  }
  throw malformed('PartitionDateSource must be EventTime or DeliveryTime');
}

async function checkTarget(request: OwnedRequest, name: string, owner: string): Promise<void> {
  const refused = (): FirnError =>
    new FirnError('InvalidTargetBucketForLogging', 'The target bucket must be one of yours.', {
      details: { TargetBucket: name },
    });
  try {
    const target = await request.settings.engine.getBucket(name);
    if (target.owner !== owner || target.region !== request.owned.region) throw refused();
  } catch (error) {
    throw isFirnError(error, 'NoSuchBucket') ? refused() : error;
  }
}

export const putBucketLogging: Operation = {
  name: 'PutBucketLogging',
  method: 'PUT',
  level: 'bucket',
  subresource: 'logging',
  access: 'bucket',
  action: 's3:PutBucketLogging',
  run,
};
