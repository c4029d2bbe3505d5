// Which upload and which part a request is about.

import { FirnError } from '../../../appliance/model/errors.ts';
import { PARTS_MAX } from '../../../appliance/model/limits.ts';
import type { UploadName } from '../../../appliance/model/requests.ts';
import { integerParameter, invalidArgument, type S3Request } from './request.ts';

const UPLOAD_ID = /^[0-9a-f]{32}$/;

export function uploadNameOf(request: S3Request): UploadName {
  const uploadId = request.query.get('uploadId') ?? '';
  if (!UPLOAD_ID.test(uploadId)) {
    throw new FirnError('NoSuchUpload', 'The specified upload does not exist.', {
      details: { UploadId: uploadId },
    });
  }
  return { bucket: request.bucket, key: request.key, uploadId };
}

/** 1 to 10,000. Throws InvalidArgument. */
export function partNumberOf(request: S3Request): number {
  if (!request.query.has('partNumber')) {
    throw invalidArgument('a part has a number', 'partNumber', '');
  }
  return integerParameter(request.query, 'partNumber', { from: 1, to: PARTS_MAX, otherwise: 0 });
}
