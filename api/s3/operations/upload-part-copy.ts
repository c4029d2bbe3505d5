// UploadPartCopy: a part whose bytes are (a range of) an object. The same checks of the source as
// CopyObject.

import { abortSignalOf } from '../request/abort-signal.ts';
import { copyRangeOf } from '../request/conditions.ts';
import { copySourceOf } from '../access/copy-source.ts';
import {
  asksEncryption,
  clientKeyOf,
  pushEncryption,
  sourceClientKeyOf,
} from '../request/encryption-headers.ts';
import { timeText } from '../request/listing.ts';
import { etagHeader } from '../request/object-headers.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { checksumXml } from '../request/checksum-xml.ts';
import { partNumberOf, uploadNameOf } from '../request/upload-name.ts';
import { element, xmlDocument } from '../xml/write.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const name = uploadNameOf(request);
  const number = partNumberOf(request);
  const range = copyRangeOf(request.headers['x-amz-copy-source-range']);
  const { source, conditions } = await copySourceOf(request);
  const clientKey = clientKeyOf(request.headers);
  const sourceClientKey = sourceClientKeyOf(request.headers);
  const part = await request.settings.engine.copyPart({
    ...name,
    number,
    source,
    signal: abortSignalOf(request),
    ...(range !== undefined && { range }),
    ...(conditions !== undefined && { sourceConditions: conditions }),
    ...(clientKey !== undefined && { clientKey }),
    ...(sourceClientKey !== undefined && { sourceClientKey }),
    ...(asksEncryption(request.headers) && { asksEncryption: true }),
  });
  const headers: string[] = [];
  if (part.sourceVersionId !== undefined) {
    headers.push('x-amz-copy-source-version-id', part.sourceVersionId);
  }
  pushEncryption(headers, part.encryption, request.headers);
  return {
    status: 200,
    headers,
    xml: xmlDocument(
      'CopyPartResult',
      element('LastModified', timeText(part.lastModified)) +
        element('ETag', etagHeader(part.etag)) +
        checksumXml(part.clientChecksum, false),
    ),
  };
}

export const uploadPartCopy: Operation = {
  name: 'UploadPartCopy',
  method: 'PUT',
  level: 'object',
  subresource: 'uploadId',
  copies: true,
  isSlow: true,
  access: 'bucket',
  action: 's3:PutObject',
  run,
};
