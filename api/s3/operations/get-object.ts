// GetObject: the hot path of reads.

import { confirmVersion } from '../access/authorize.ts';
import { isLocked, pushLock } from '../access/object-lock.ts';
import { actionOnVersion } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { describeRead, notModified, readOf } from '../request/read-object.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const read = await readOf(request);
  read.known = request.owned;
  try {
    const answer = await request.settings.engine.getObject(read);
    const confirmed = confirmVersion(request, answer.version);
    if (confirmed !== undefined) await confirmed;
    const headers = describeRead(request, read, answer);
    if (isLocked(answer)) await pushLock(headers, request, answer);
    return {
      status: answer.partial ? 206 : 200,
      headers,
      body: answer.body,
      sizeBytes: answer.range.length,
    };
  } catch (error) {
    return notModified(request, read, error);
  }
}

export const getObject: Operation = {
  name: 'GetObject',
  method: 'GET',
  level: 'object',
  access: 'bucket',
  action: actionOnVersion('s3:GetObject'),
  run,
};
