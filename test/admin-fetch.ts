// A bare caller of the admin API for system tests: one signed fetch. Polling by it costs a hundredth of
// starting the command each time.

import { sha256Hex, signRequest } from '../appliance/model/signature.ts';

export interface AdminTarget {
  adminPort: number;
  accessKey: string;
  secretKey: string;
}

/** The answer of `/v1` + path (with its query, its names in order); throws where it is an error. */
export async function adminCall<Answer>(
  target: AdminTarget,
  method: string,
  path: string,
  given?: unknown,
): Promise<Answer> {
  const body = given === undefined ? '' : JSON.stringify(given);
  const host = `127.0.0.1:${target.adminPort}`;
  const [pathOnly = '', query = ''] = path.split('?');
  const headers = signRequest({
    method,
    host,
    path: `/v1${pathOnly}`,
    query,
    headers: body === '' ? {} : { 'content-type': 'application/json' },
    payloadHash: sha256Hex(body),
    region: 'us-east-1',
    service: 'firn',
    date: new Date(),
    accessKey: target.accessKey,
    secretKey: target.secretKey,
  });
  const request = { method, headers, ...(body === '' ? {} : { body }) };
  const answer = await fetch(`http://${host}/v1${path}`, request);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return JSON.parse(text) as Answer;
}
