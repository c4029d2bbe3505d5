// ListBuckets: the asker's own, paged.

import { checkBucketName } from '../input/target.ts';
import { decodeToken, encodeToken, ownerXml, timeText } from '../request/listing.ts';
import {
  integerParameter,
  type Answer,
  type Operation,
  type OwnedRequest,
} from '../request/request.ts';
import { element, optional, wrap, xmlDocument } from '../xml/write.ts';

const BUCKETS_PER_PAGE_MAX = 10_000;

async function run(request: OwnedRequest): Promise<Answer> {
  const { query, identity, settings } = request;
  const limit = integerParameter(query, 'max-buckets', {
    from: 1,
    to: BUCKETS_PER_PAGE_MAX,
    otherwise: BUCKETS_PER_PAGE_MAX,
  });
  const token = query.get('continuation-token');
  const prefix = query.get('prefix');
  const region = query.get('bucket-region');
  const after = token === undefined || token === '' ? undefined : decodeToken(token);
  if (after !== undefined) checkBucketName(after);
  const page = await settings.engine.listBuckets({
    owner: identity.account,
    limit,
    ...(prefix !== undefined && { prefix }),
    ...(after !== undefined && { after }),
  });
  let buckets = '';
  for (const bucket of page.buckets) {
    if (region !== undefined && region !== bucket.region) continue;
    buckets += wrap(
      'Bucket',
      element('Name', bucket.name) +
        element('CreationDate', timeText(bucket.createdAt)) +
        element('BucketRegion', bucket.region),
    );
  }
  const next = page.next === undefined ? undefined : encodeToken(page.next);
  return {
    status: 200,
    xml: xmlDocument(
      'ListAllMyBucketsResult',
      wrap('Owner', await ownerXml(request, identity.account)) +
        wrap('Buckets', buckets) +
        optional('ContinuationToken', next) +
        optional('Prefix', prefix),
    ),
  };
}

export const listBuckets: Operation = {
  name: 'ListBuckets',
  method: 'GET',
  level: 'service',
  access: 'account',
  action: 's3:ListAllMyBuckets',
  run,
};
