// Inventory configurations: kept as they are, executed by a worker. A report names every key of its
// bucket, so it goes into a bucket of the same owner and nowhere else.

import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { INVENTORY_FIELDS, parseInventoryXml } from '../../../policies/inventory-xml.ts';
import { choice, fields, many, maybe, oneOf, text } from '../xml/shape.ts';
import type { ConfigurationKind } from './configuration.ts';
import type { OwnedRequest } from './request.ts';

const prefix = text({ from: 0, to: 1024 });
const nothing = fields({});

const destination = fields({
  AccountId: maybe(text({ to: 256 })),
  Bucket: text({ to: 2048 }),
  Encryption: maybe(
    choice({
      'SSE-S3': nothing,
      'SSE-KMS': fields({ KeyId: text({ to: 2048 }) }),
    }),
  ),
  Format: oneOf('CSV', 'NDJSON', 'ORC', 'Parquet'),
  Prefix: maybe(prefix),
});

async function check({ settings, owned }: OwnedRequest, xml: string): Promise<void> {
  const { destinationBucket } = parseInventoryXml(xml);
  try {
    const bucket = await settings.engine.getBucket(destinationBucket);
    if (bucket.owner === owned.owner) return;
  } catch (error) {
    if (!isFirnError(error, 'NoSuchBucket')) throw error;
  }
  // Whether others have such a bucket is not said.
  throw new FirnError('InvalidArgument', 'The destination must be a bucket of the same owner.', {
    details: { ArgumentName: 'Bucket', ArgumentValue: destinationBucket },
  });
}

export const INVENTORY: ConfigurationKind = {
  subresource: 'inventory',
  root: 'InventoryConfiguration',
  list: 'ListInventoryConfigurationsResult',
  name: 'Inventory',
  action: 'InventoryConfiguration',
  shape: fields({
    Destination: fields({ S3BucketDestination: destination }),
    IsEnabled: oneOf('true', 'false'),
    Filter: maybe(fields({ Prefix: prefix })),
    Id: text({ to: 64, form: /^[A-Za-z0-9._-]+$/ }),
    IncludedObjectVersions: oneOf('All', 'Current'),
    OptionalFields: maybe(
      fields({ Field: many(oneOf(...INVENTORY_FIELDS), 0, INVENTORY_FIELDS.length) }),
    ),
    Schedule: fields({ Frequency: oneOf('Daily', 'Weekly') }),
  }),
  check,
};
