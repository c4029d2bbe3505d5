// A signal that says the client has gone. Made only for work that reads or writes much without the
// client's bytes: where a body passes, its end says the same for nothing.

import type { S3Request } from './request.ts';

export function abortSignalOf({ response }: S3Request): AbortSignal {
  const controller = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) controller.abort();
  });
  return controller.signal;
}
