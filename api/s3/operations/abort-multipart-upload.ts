// AbortMultipartUpload: its parts are freed.

import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { uploadNameOf } from '../request/upload-name.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  await request.settings.engine.abortUpload(uploadNameOf(request));
  return { status: 204 };
}

export const abortMultipartUpload: Operation = {
  name: 'AbortMultipartUpload',
  method: 'DELETE',
  level: 'object',
  subresource: 'uploadId',
  access: 'bucket',
  action: 's3:AbortMultipartUpload',
  run,
};
