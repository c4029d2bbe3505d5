// PutBucketLifecycleConfiguration: checked whole before it replaces anything; what is stored is its
// canonical form with every rule named.

import { parseLifecycleXml, parseSizeFloor } from '../../../policies/lifecycle-xml.ts';
import { renderLifecycleXml } from '../../../policies/lifecycle-xml-writer.ts';
import { XML_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { parseXml } from '../xml/parse.ts';

export const SIZE_FLOOR_HEADER = 'x-amz-transition-default-minimum-object-size';

async function run(request: OwnedRequest): Promise<Answer> {
  const { settings } = request;
  const floor = parseSizeFloor(request.headers[SIZE_FLOOR_HEADER]);
  const bytes = await request.payload.gather(XML_BYTES_MAX);
  // The same strictness as for every body, whatever reads it next.
  parseXml(bytes, 'LifecycleConfiguration');
  const configuration = parseLifecycleXml(Buffer.from(bytes).toString('utf8'), {
    classes: settings.classes,
    // Other stores take them, clients were written against those, and both conditions hold.
    combinedFilters: true,
    ...(settings.waterfall !== undefined && { waterfall: settings.waterfall }),
  });
  const lifecycleXml = renderLifecycleXml(configuration);
  await settings.engine.updateBucket(request.bucket, (bucket) => ({
    ...bucket,
    lifecycleXml,
    lifecycleSizeFloor: floor,
  }));
  return { status: 200, headers: [SIZE_FLOOR_HEADER, floor] };
}

export const putBucketLifecycle: Operation = {
  name: 'PutBucketLifecycleConfiguration',
  method: 'PUT',
  level: 'bucket',
  subresource: 'lifecycle',
  access: 'bucket',
  action: 's3:PutLifecycleConfiguration',
  run,
};
