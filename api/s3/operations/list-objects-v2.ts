// ListObjectsV2: pages by an opaque token.

import {
  rolledUpPrefixes,
  decodeToken,
  encodeToken,
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
  const token = query.get('continuation-token');
  const startAfter = query.get('start-after');
  // An empty token says as little as none.
  const after = token === undefined || token === '' ? (startAfter ?? '') : decodeToken(token);
  const page = await settings.engine.listObjects({ bucket, prefix, delimiter, after, limit });
  const owners = query.get('fetch-owner') === 'true' ? new OwnerNames(request) : undefined;
  await owners?.load(page.entries.map(({ version }) => version.owner));
  const options = { parameters, owners, restoreStatus: wantsRestoreStatus(request) };
  const next = page.next === undefined ? undefined : encodeToken(page.next);
  const before =
    element('Name', bucket) +
    element('Prefix', show(prefix)) +
    (startAfter === undefined ? '' : element('StartAfter', show(startAfter))) +
    optional('ContinuationToken', token) +
    optional('NextContinuationToken', next) +
    element('KeyCount', page.entries.length + page.prefixes.length) +
    element('MaxKeys', limit) +
    (delimiter === '' ? '' : element('Delimiter', show(delimiter))) +
    (encoded ? element('EncodingType', 'url') : '') +
    element('IsTruncated', next !== undefined);
  const rolledUp = rolledUpPrefixes(page.prefixes, parameters);
  return listingAnswer({ before, entries: page.entries, after: rolledUp }, options);
}

export const listObjectsV2: Operation = {
  name: 'ListObjectsV2',
  method: 'GET',
  level: 'bucket',
  subresource: 'list-type=2',
  access: 'bucket',
  action: 's3:ListBucket',
  run,
};
