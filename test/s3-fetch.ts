// A bare S3 caller for system tests: one signed fetch, nothing retried, so that a test sees exactly
// what the server answered.

import { sha256Hex, signRequest } from '../appliance/model/signature.ts';

export interface S3Answer {
  status: number;
  headers: Headers;
  body: Buffer;
  text: string;
}

export interface S3Call {
  method: string;
  /** Raw, as sent. */
  path: string;
  query?: string;
  headers?: Record<string, string>;
  body?: Uint8Array | string;
  /** Instead of the hash of the body. */
  payloadHash?: string;
  date?: Date;
}

export interface S3Target {
  port: number;
  accessKey: string;
  secretKey: string;
}

export async function s3Call(target: S3Target, call: S3Call): Promise<S3Answer> {
  const host = `127.0.0.1:${target.port}`;
  const body = call.body ?? '';
  const headers = signRequest({
    method: call.method,
    host,
    path: call.path,
    query: call.query ?? '',
    headers: call.headers ?? {},
    payloadHash: call.payloadHash ?? sha256Hex(body),
    region: 'us-east-1',
    service: 's3',
    date: call.date ?? new Date(),
    accessKey: target.accessKey,
    secretKey: target.secretKey,
  });
  const url = `http://${host}${call.path}${call.query ? `?${call.query}` : ''}`;
  const answer = await fetch(url, {
    method: call.method,
    headers,
    ...(call.method === 'GET' || call.method === 'HEAD'
      ? {}
      : { body: body as string | Uint8Array<ArrayBuffer> }),
  });
  const bytes = Buffer.from(await answer.arrayBuffer());
  return { status: answer.status, headers: answer.headers, body: bytes, text: bytes.toString() };
}

/** The code of an S3 error body. */
export function errorCode(answer: S3Answer): string {
  return /<Code>([^<]*)<\/Code>/.exec(answer.text)?.[1] ?? '';
}
