// ListObjects, version 1: pages by marker.

import {
  rolledUpPrefixes,
  listingAnswer,
  listParametersOf,
  OwnerNames,
  wantsRestoreStatus,
} from '../request/listing.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, optional } from '../xml/write.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { query, settings, bucket } = request;
  const parameters = listParametersOf(query, 'max-keys');
  const { prefix, delimiter, limit, show, encoded } = parameters;
  const marker = query.get('marker') ?? '';
  const list = { bucket, prefix, delimiter, after: marker, limit };
  const page = await settings.engine.listObjects(list);
  const owners = new OwnerNames(request);
  await owners.load(page.entries.map(({ version }) => version.owner));
  const options = { parameters, owners, restoreStatus: wantsRestoreStatus(request) };
  // Without a delimiter the last key is where to go on, and S3 leaves it at that.
  const nextMarker = delimiter !== '' && page.next !== undefined ? show(page.next) : undefined;
  const before =
    element('Name', bucket) +
    element('Prefix', shownPrefix(prefix, show)) +
    element('Marker', show(marker)) +
    optional('NextMarker', nextMarker) +
    element('MaxKeys', limit) +
    (delimiter === '' ? '' : element('Delimiter', show(delimiter))) +
    (encoded ? element('EncodingType', 'url') : '') +
    element('IsTruncated', page.next !== undefined);
  const rolledUp = rolledUpPrefixes(page.prefixes, parameters);
  return listingAnswer({ before, entries: page.entries, after: rolledUp }, options);
}

/**
 * Some clients decode it and some do not (botocore): encoded only where it reads otherwise decoded,
 * or XML can't hold it.
 */
function shownPrefix(prefix: string, show: (key: string) => string): string {
  return UNAMBIGUOUS.test(prefix) ? prefix : show(prefix);
}

const UNAMBIGUOUS = /^[\t\n\u0020-\u0024\u0026-\u002a\u002c-\u007e]*$/;

export const listObjects: Operation = {
  name: 'ListObjects',
  method: 'GET',
  level: 'bucket',
  access: 'bucket',
  action: 's3:ListBucket',
  run,
};
