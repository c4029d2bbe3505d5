// UploadPart: bytes of one part; the last one put under a number counts.

import type { PutPart } from '../../../appliance/model/requests.ts';
import { letGo } from '../body/let-go.ts';
import { asksEncryption, clientKeyOf, pushEncryption } from '../request/encryption-headers.ts';
import { etagHeader, pushChecksum } from '../request/object-headers.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { partNumberOf, uploadNameOf } from '../request/upload-name.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const name = uploadNameOf(request);
  const number = partNumberOf(request);
  const payload = await request.payload.open({ checksums: 'if-sent' });
  const clientKey = clientKeyOf(request.headers);
  const { body, sizeBytes, contentMd5, checksum, checksumAlgorithm } = payload;
  const put: PutPart = { ...name, number, body, checksum };
  if (checksumAlgorithm !== undefined) put.checksumAlgorithm = checksumAlgorithm;
  if (sizeBytes !== undefined) put.sizeBytes = sizeBytes;
  if (contentMd5 !== undefined) put.contentMd5 = contentMd5;
  if (clientKey !== undefined) put.clientKey = clientKey;
  if (asksEncryption(request.headers)) put.asksEncryption = true;
  const part = await request.settings.engine.putPart(put);
  // As in put-object.ts.
  if (body instanceof Uint8Array) letGo(body);
  const headers = ['ETag', etagHeader(part.etag)];
  pushChecksum(headers, part.clientChecksum);
  pushEncryption(headers, part.encryption, request.headers);
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
