// ListMultipartUploads: open uploads in key order.

import type { Upload } from '../../../appliance/model/object.ts';
import { rolledUpPrefixes, listParametersOf, OwnerNames, timeText } from '../request/listing.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, optional, wrap, xmlDocument } from '../xml/write.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { query, settings, bucket } = request;
  const parameters = listParametersOf(query, 'max-uploads');
  const { prefix, delimiter, limit, show, encoded } = parameters;
  const keyMarker = query.get('key-marker') ?? '';
  // Without a key it says nothing, and S3 ignores it.
  const idMarker = keyMarker === '' ? '' : (query.get('upload-id-marker') ?? '');
  const page = await settings.engine.listUploads({
    bucket,
    prefix,
    delimiter,
    limit,
    after: keyMarker,
    ...(idMarker !== '' && { afterUploadId: idMarker }),
  });
  const owners = new OwnerNames(request);
  await owners.load(page.uploads.map(({ owner }) => owner));
  const next = page.next;
  let uploads = '';
  for (const upload of page.uploads) uploads += uploadXml(upload, show(upload.key), owners);
  return {
    status: 200,
    xml: xmlDocument(
      'ListMultipartUploadsResult',
      element('Bucket', bucket) +
        element('KeyMarker', show(keyMarker)) +
        element('UploadIdMarker', idMarker) +
        optional('NextKeyMarker', next && show(next.key)) +
        optional('NextUploadIdMarker', next?.uploadId) +
        element('Prefix', show(prefix)) +
        (delimiter === '' ? '' : element('Delimiter', show(delimiter))) +
        element('MaxUploads', limit) +
        (encoded ? element('EncodingType', 'url') : '') +
        element('IsTruncated', next !== undefined) +
        uploads +
        rolledUpPrefixes(page.prefixes, parameters),
    ),
  };
}

function uploadXml(upload: Upload, shownKey: string, owners: OwnerNames): string {
  return wrap(
    'Upload',
    element('Key', shownKey) +
      element('UploadId', upload.uploadId) +
      owners.xml(upload.owner, 'Initiator') +
      owners.xml(upload.owner) +
      element('StorageClass', upload.storageClass) +
      element('Initiated', timeText(upload.initiatedAt)) +
      optional('ChecksumAlgorithm', upload.checksumAlgorithm) +
      optional('ChecksumType', upload.checksumType),
  );
}

export const listMultipartUploads: Operation = {
  name: 'ListMultipartUploads',
  method: 'GET',
  level: 'bucket',
  subresource: 'uploads',
  access: 'bucket',
  action: 's3:ListBucketMultipartUploads',
  run,
};
