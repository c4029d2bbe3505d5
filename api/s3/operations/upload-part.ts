// UploadPart: bytes of one part; the last one put under a number counts.

import type { PutPart } from '../../../appliance/model/requests.ts';
import { etagHeader, pushChecksum } from '../request/object-headers.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { partNumberOf, uploadNameOf } from '../request/upload-name.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const name = uploadNameOf(request);
  const number = partNumberOf(request);
  const { body, sizeBytes, contentMd5, checksum } = await request.payload.open();
  const put: PutPart = { ...name, number, body, checksum };
  if (sizeBytes !== undefined) put.sizeBytes = sizeBytes;
  if (contentMd5 !== undefined) put.contentMd5 = contentMd5;
  const part = await request.settings.engine.putPart(put);
  const headers = ['ETag', etagHeader(part.etag)];
  pushChecksum(headers, part.clientChecksum);
  return { status: 200, headers };
}

export const uploadPart: Operation = {
  name: 'UploadPart',
  method: 'PUT',
  level: 'object',
  subresource: 'uploadId',
  access: 'bucket',
  action: 's3:PutObject',
  run,
};
