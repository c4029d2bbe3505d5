// GetObject: the hot path of reads.

import { actionOnVersion } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { describeRead, notModified, readOf } from '../request/read-object.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const read = await readOf(request);
  read.known = request.owned;
  try {
    const answer = await request.settings.engine.getObject(read);
    return {
      status: answer.partial ? 206 : 200,
      headers: describeRead(request, read, answer),
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
