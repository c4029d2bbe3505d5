// CreateMultipartUpload: everything the object will have beside its bytes is said here.

import { isCrc } from '../../../appliance/model/checksum.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { CreateUpload } from '../../../appliance/model/requests.ts';
import { accessOfNewObject } from '../access/new-object.ts';
import { lockOf } from '../access/object-lock.ts';
import { saidOf } from '../access/said.ts';
import { encryptionWishOf, pushWritten } from '../request/encryption-headers.ts';
import {
  checksumAlgorithmOf,
  checksumTypeOf,
  metadataOf,
  storageClassOf,
  storedHeadersOf,
  tagsOf,
} from '../request/object-headers.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, xmlDocument } from '../xml/write.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { headers } = request;
  const tags = tagsOf(headers);
  const checksum = checksumOf(request);
  const encryption = encryptionWishOf(headers);
  const said = saidOf(headers);
  const upload = await request.settings.engine.createUpload({
    bucket: request.bucket,
    key: request.key,
    ...(await accessOfNewObject(request)),
    storageClass: storageClassOf(request),
    headers: storedHeadersOf(headers),
    metadata: metadataOf(headers),
    ...(tags !== undefined && { tags }),
    ...(await lockOf(request)),
    ...(encryption !== undefined && { encryption }),
    ...checksum,
    ...(said !== undefined && { said }),
  });
  const answered: string[] = [];
  pushWritten(answered, upload.encryption, headers);
  if (checksum?.checksumAlgorithm !== undefined) {
    answered.push('x-amz-checksum-algorithm', checksum.checksumAlgorithm);
    answered.push('x-amz-checksum-type', checksum.checksumType as string);
  }
  return {
    status: 200,
    headers: answered,
    xml: xmlDocument(
      'InitiateMultipartUploadResult',
      element('Bucket', request.bucket) +
        element('Key', request.key) +
        element('UploadId', upload.uploadId),
    ),
  };
}

/** SHA sums of parts can't become the sum of the whole; a CRC64 is nothing but that. */
function checksumOf({
  headers,
}: OwnedRequest): Pick<CreateUpload, 'checksumAlgorithm' | 'checksumType'> | undefined {
  const checksumAlgorithm = checksumAlgorithmOf(headers);
  const asked = checksumTypeOf(headers);
  if (checksumAlgorithm === undefined) {
    if (asked === undefined) return undefined;
    throw new FirnError('InvalidRequest', 'A checksum type needs a checksum algorithm.');
  }
  const checksumType = asked ?? (checksumAlgorithm === 'CRC64NVME' ? 'FULL_OBJECT' : 'COMPOSITE');
  const impossible =
    checksumType === 'FULL_OBJECT' ? !isCrc(checksumAlgorithm) : checksumAlgorithm === 'CRC64NVME';
  if (impossible) {
    throw new FirnError(
      'InvalidRequest',
      `The checksum type ${checksumType} is not possible with ${checksumAlgorithm}.`,
    );
  }
  return { checksumAlgorithm, checksumType };
}

export const createMultipartUpload: Operation = {
  name: 'CreateMultipartUpload',
  method: 'POST',
  level: 'object',
  subresource: 'uploads',
  access: 'bucket',
  action: 's3:PutObject',
  run,
};
