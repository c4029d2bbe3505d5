// Long answers as lines of JSON: progress while the work goes on, then one result or one error. The
// status is sent before the outcome is known, so the last line is what counts: without it the
// answer is cut off, and the client says so.

import { PassThrough } from 'node:stream';
import type { Context } from 'koa';
import { answerOf } from './errors.ts';

const PROGRESS_MS = 250;

type ProgressSink = (event: { objects: number; bytes: number }) => void;

export async function sendStream(
  ctx: Context,
  work: (progress: ProgressSink) => Promise<object>,
  options: { requestId: string; fault: (error: unknown) => void },
): Promise<void> {
  const lines = new PassThrough();
  ctx.status = 200;
  ctx.type = 'application/x-ndjson';
  ctx.body = lines;
  const line = (value: object): void => {
    if (!lines.destroyed) lines.write(`${JSON.stringify(value)}\n`);
  };
  let told = 0;
  const progress: ProgressSink = (event) => {
    const now = performance.now();
    if (now - told < PROGRESS_MS) return;
    told = now;
    line({ progress: event });
  };
  const run = async (): Promise<void> => {
    try {
      line({ result: await work(progress) });
    } catch (error) {
      const { answer, internal } = answerOf(error, options.requestId);
      if (internal) options.fault(error);
      line({ error: answer });
    }
    lines.end();
  };
  // Koa sends the headers and the body once the middleware has returned: the work goes on behind
  // it.
  void run();
  await Promise.resolve();
}
