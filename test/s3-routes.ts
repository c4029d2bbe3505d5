// Requests made from the table of operations, so that what must hold for every route is tested on every
// route: one that is added to the table is tested from then on, whoever added it.

import { createHmac } from 'node:crypto';
import { OPERATIONS, UNIMPLEMENTED_OPERATIONS } from '../api/s3/operation-table.ts';
import type { UnimplementedOperation } from '../api/s3/operation-table.ts';
import type { Operation } from '../api/s3/request/request.ts';
import { OWNER, REGION, type Call, type Wire } from './s3-caller.ts';

export type Route = Pick<Operation, 'name' | 'method' | 'level' | 'subresource' | 'copies'>;

export const ROUTES: readonly (Operation | UnimplementedOperation)[] = [
  ...OPERATIONS,
  ...UNIMPLEMENTED_OPERATIONS,
];

/** A request that names this operation, by its place in the table; without a body. */
export function sampleOf(route: Route, { bucket = 'bucket', key = 'some-key' } = {}): Call {
  const paths = { service: '/', bucket: `/${bucket}`, object: `/${bucket}/${key}` };
  const { subresource = '' } = route;
  const query =
    subresource === 'uploadId' ? `partNumber=1&uploadId=${'0'.repeat(32)}` : subresource;
  const call: Call = { method: route.method, path: paths[route.level], query };
  if (route.copies === true) call.headers = { 'x-amz-copy-source': `/${bucket}/${key}` };
  return call;
}

const hmac = (key: string | Buffer, text: string): Buffer =>
  createHmac('sha256', key).update(text).digest();

export interface FormField {
  name: string;
  value: string;
}

/**
 * A browser's upload form with its policy signed (by an HMAC of our own here), as multipart/form-data
 * to `path`. `change` may do what it likes with the fields, after they were signed.
 */
export function formWire(
  endpoint: { host: string },
  path: string,
  {
    as = OWNER,
    change = (fields: FormField[]): FormField[] => fields,
    conditions = [] as unknown[],
    method = 'POST',
    now = new Date(),
  } = {},
): Wire {
  const stamp = now.toISOString().replace(/[-:]|\.\d{3}/g, '');
  const day = stamp.slice(0, 8);
  const credential = `${as.accessKey}/${day}/${REGION}/s3/aws4_request`;
  const [bucket = ''] = path.split('/').filter((part) => part !== '');
  const policy = Buffer.from(
    JSON.stringify({
      expiration: new Date(now.getTime() + 60_000).toISOString(),
      conditions: [
        { bucket },
        ['starts-with', '$key', ''],
        { 'x-amz-algorithm': 'AWS4-HMAC-SHA256' },
        { 'x-amz-credential': credential },
        { 'x-amz-date': stamp },
        ...conditions,
      ],
    }),
  ).toString('base64');
  const key = [day, REGION, 's3', 'aws4_request'].reduce<string | Buffer>(
    (made, step) => hmac(made, step),
    `AWS4${as.secretKey}`,
  );
  const fields = change([
    { name: 'key', value: 'by-form' },
    { name: 'policy', value: policy },
    { name: 'x-amz-algorithm', value: 'AWS4-HMAC-SHA256' },
    { name: 'x-amz-credential', value: credential },
    { name: 'x-amz-date', value: stamp },
    { name: 'x-amz-signature', value: hmac(key, policy).toString('hex') },
  ]);
  const boundary = 'firn-form-boundary';
  const disposition = (name: string): string => `Content-Disposition: form-data; name="${name}"`;
  const parts = fields.map(
    ({ name, value }) => `--${boundary}\r\n${disposition(name)}\r\n\r\n${value}\r\n`,
  );
  parts.push(
    `--${boundary}\r\n${disposition('file')}; filename="f"\r\nContent-Type: text/plain\r\n\r\nbytes\r\n`,
  );
  const body = Buffer.from(`${parts.join('')}--${boundary}--\r\n`);
  const headers = {
    host: endpoint.host,
    'content-type': `multipart/form-data; boundary=${boundary}`,
    'content-length': String(body.length),
  };
  return { method, url: path, headers, body };
}

/** The signature made wrong by one digit, wherever the request carries it. */
export function forged(wire: Wire): Wire {
  const other = (text: string): string => text.replace(/.$/, (c) => (c === '0' ? '1' : '0'));
  const authorization = wire.headers['authorization'];
  if (authorization === undefined) return { ...wire, url: other(wire.url) };
  return { ...wire, headers: { ...wire.headers, authorization: other(authorization) } };
}
