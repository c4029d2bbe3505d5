// ListParts: the parts that an upload has so far.

import { LIST_KEYS_MAX, PARTS_MAX } from '../../../appliance/model/limits.ts';
import type { UploadPart } from '../../../appliance/model/object.ts';
import { checksumXml } from '../request/checksum-xml.ts';
import { OwnerNames, timeText } from '../request/listing.ts';
import { etagHeader } from '../request/object-headers.ts';
import {
  integerParameter,
  type Answer,
  type Operation,
  type OwnedRequest,
} from '../request/request.ts';
import { uploadNameOf } from '../request/upload-name.ts';
import { element, optional, wrap, xmlDocument } from '../xml/write.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { query, settings } = request;
  const name = uploadNameOf(request);
  const bounds = { from: 0, to: 2_147_483_647 };
  const asked = integerParameter(query, 'max-parts', { ...bounds, otherwise: LIST_KEYS_MAX });
  const limit = Math.min(asked, LIST_KEYS_MAX);
  const marker = integerParameter(query, 'part-number-marker', { ...bounds, otherwise: 0 });
  const after = Math.min(marker, PARTS_MAX);
  const { upload, parts, next } = await settings.engine.listParts({ ...name, after, limit });
  const owners = new OwnerNames(request);
  await owners.load([upload.owner]);
  return {
    status: 200,
    xml: xmlDocument(
      'ListPartsResult',
      element('Bucket', request.bucket) +
        element('Key', request.key) +
        element('UploadId', upload.uploadId) +
        owners.xml(upload.owner, 'Initiator') +
        owners.xml(upload.owner) +
        element('StorageClass', upload.storageClass) +
        element('PartNumberMarker', marker) +
        optional('NextPartNumberMarker', next ?? parts.at(-1)?.number) +
        element('MaxParts', limit) +
        element('IsTruncated', next !== undefined) +
        optional('ChecksumAlgorithm', upload.checksumAlgorithm) +
        optional('ChecksumType', upload.checksumType) +
        parts.map(partXml).join(''),
    ),
  };
}

function partXml(part: UploadPart): string {
  return wrap(
    'Part',
    element('PartNumber', part.number) +
      element('LastModified', timeText(part.lastModified)) +
      element('ETag', etagHeader(part.etag)) +
      element('Size', part.sizeBytes) +
      checksumXml(part.clientChecksum, false),
  );
}

export const listParts: Operation = {
  name: 'ListParts',
  method: 'GET',
  level: 'object',
  subresource: 'uploadId',
  access: 'bucket',
  action: 's3:ListMultipartUploadParts',
  run,
};
