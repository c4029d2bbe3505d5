// What is acknowledged holds in every process, on either metadata store: sixteen connections at once
// ask the moment a change was answered, so all processes of the api are among them. On MongoDB rows
// are kept for a second; what a user would lose is a key that was taken away and still opens
// something, a quota that two processes pass together, an event or a sealed byte.

import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import { sha256Hex, signRequest } from '../../appliance/model/signature.ts';
import { adminCall } from '../admin-fetch.ts';
import type { RunningFirn } from '../firn-process.ts';
import { errorCode, s3Call, type S3Answer, type S3Call, type S3Target } from '../s3-fetch.ts';

export const EVERYWHERE_SETTINGS = {
  processes: 2,
  notifications: { queues: ['line'] },
  encryption: { keys: ['first'] },
};

const CONNECTIONS = 16;
/** When every process obeys a new quota. */
const QUOTA_MS = 2_500;

export async function everywhereJourney(t: ExecutionContext, firn: RunningFirn): Promise<void> {
  await Promise.all([accessJourney(t, firn), quotaJourney(t, firn), sealedJourney(t, firn)]);
}

async function call(target: S3Target, request: S3Call, status = 200): Promise<S3Answer> {
  const answer = await s3Call(target, request);
  if (answer.status !== status) {
    throw new Error(`${request.method} ${request.path}: ${answer.status} ${answer.text}`);
  }
  return answer;
}

const put = (firn: S3Target, path: string, body: Uint8Array | string): Promise<S3Answer> =>
  call(firn, { method: 'PUT', path, body });

/** How often each answer came, of as many connections at once: `{ '403 AccessDenied': 16 }`. */
async function ask(target: S3Target, request: S3Call): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      const answer = await s3Call(target, request);
      const said = `${answer.status} ${errorCode(answer)}`.trim();
      counts[said] = (counts[said] ?? 0) + 1;
    }),
  );
  return counts;
}

async function act(
  target: S3Target,
  Action: string,
  given: Record<string, string>,
): Promise<string> {
  const body = new URLSearchParams({ Action, Version: '2010-05-08', ...given }).toString();
  const host = `127.0.0.1:${target.port}`;
  const headers = signRequest({
    method: 'POST',
    host,
    path: '/',
    query: '',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    payloadHash: sha256Hex(body),
    region: 'us-east-1',
    service: 'iam',
    date: new Date(),
    accessKey: target.accessKey,
    secretKey: target.secretKey,
  });
  const answer = await fetch(`http://${host}/`, { method: 'POST', headers, body });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${Action}: ${answer.status} ${text}`);
  return text;
}

const policyOf = (statement: Record<string, unknown>): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: [statement] });

/** What is given and taken away by policies and keys is given and taken away everywhere at once. */
async function accessJourney(t: ExecutionContext, firn: RunningFirn): Promise<void> {
  await put(firn, '/doors', '');
  await put(firn, '/doors/one', 'inside');
  const UserName = 'ann';
  await act(firn, 'CreateUser', { UserName });
  const made = await act(firn, 'CreateAccessKey', { UserName });
  const told = (name: string): string => new RegExp(`<${name}>([^<]*)<`).exec(made)?.[1] ?? '';
  const ann = {
    port: firn.port,
    accessKey: told('AccessKeyId'),
    secretKey: told('SecretAccessKey'),
  };
  const read: S3Call = { method: 'GET', path: '/doors/one' };
  const expect = async (after: string, said: string): Promise<void> => {
    t.deepEqual(await ask(ann, read), { [said]: CONNECTIONS }, after);
  };
  await expect('a user without policies', '403 AccessDenied');
  const PolicyDocument = policyOf({
    Effect: 'Allow',
    Action: 's3:GetObject',
    Resource: 'arn:aws:s3:::doors/*',
  });
  await act(firn, 'PutUserPolicy', { UserName, PolicyName: 'reads', PolicyDocument });
  await expect('a policy of the user', '200');
  const body = policyOf({
    Effect: 'Deny',
    Principal: '*',
    Action: 's3:GetObject',
    Resource: 'arn:aws:s3:::doors/*',
  });
  await call(firn, { method: 'PUT', path: '/doors', query: 'policy=', body }, 204);
  await expect('a policy of the bucket', '403 AccessDenied');
  await call(firn, { method: 'DELETE', path: '/doors', query: 'policy=' }, 204);
  await expect('no policy of the bucket', '200');
  await act(firn, 'DeleteAccessKey', { UserName, AccessKeyId: ann.accessKey });
  await expect('a key taken away', '403 InvalidAccessKeyId');
}

/** Eight writers, through all processes: never over the quota, and not far from it in the end. */
async function quotaJourney(t: ExecutionContext, firn: RunningFirn): Promise<void> {
  const bytesMax = 400_000;
  await put(firn, '/bounded', '');
  await put(firn, '/bounded/before', randomBytes(50_000));
  await adminCall(firn, 'POST', '/quotas', { bucket: 'bounded', bytesMax });
  await sleep(QUOTA_MS);
  const held = async (): Promise<number> => {
    const page = await call(firn, { method: 'GET', path: '/bounded', query: 'list-type=2' });
    const sizes = [...page.text.matchAll(/<Size>(\d+)<\/Size>/g)].map(([, size]) => Number(size));
    return sizes.reduce((sum, size) => sum + size, 0);
  };
  // Until the count has run, what was there before is not held against the quota.
  for (;;) {
    const answer = await adminCall<{ quotas: { name: string; countedAt: string | null }[] }>(
      firn,
      'GET',
      '/quotas',
    );
    if (answer.quotas.some((one) => one.name === 'bounded' && one.countedAt !== null)) break;
    await sleep(200);
  }
  let refused = 0;
  const writer = async (_: unknown, number: number): Promise<void> => {
    for (let n = 0; n < 20; n++) {
      const body = randomBytes(1_000 + Math.floor(Math.random() * 9_000));
      const answer = await s3Call(firn, { method: 'PUT', path: `/bounded/${number}/${n}`, body });
      if (answer.status === 200) continue;
      t.is(errorCode(answer), 'QuotaExceeded');
      refused += 1;
    }
  };
  await Promise.all(Array.from({ length: 8 }, writer));
  const bytes = await held();
  t.true(bytes <= bytesMax, `${bytes} bytes are there`);
  t.true(bytes >= bytesMax * 0.8, `${bytes} bytes are there`);
  t.true(refused > 0);
}

/** Sealed in each way, whole and in parts; and the queue is told of each. */
async function sealedJourney(t: ExecutionContext, firn: RunningFirn): Promise<void> {
  await put(firn, '/sealed', '');
  const body =
    '<NotificationConfiguration><QueueConfiguration>' +
    '<Queue>arn:firn:sqs:us-east-1::line</Queue><Event>s3:ObjectCreated:*</Event>' +
    '</QueueConfiguration></NotificationConfiguration>';
  await call(firn, { method: 'PUT', path: '/sealed', query: 'notification=', body });
  const key = randomBytes(32);
  const algorithm = 'x-amz-server-side-encryption';
  const own = {
    [`${algorithm}-customer-algorithm`]: 'AES256',
    [`${algorithm}-customer-key`]: key.toString('base64'),
    [`${algorithm}-customer-key-md5`]: createHash('md5').update(key).digest('base64'),
  };
  const ways: Record<string, { write: Record<string, string>; read: Record<string, string> }> = {
    s3: { write: { [algorithm]: 'AES256' }, read: {} },
    kms: {
      write: { [algorithm]: 'aws:kms', [`${algorithm}-aws-kms-key-id`]: 'first' },
      read: {},
    },
    customer: { write: own, read: own },
  };
  const parts = [randomBytes(5 * 1024 * 1024), randomBytes(1_000)];
  await Promise.all(
    Object.entries(ways).map(async ([name, { write, read }]) => {
      const path = `/sealed/${name}`;
      const bytes = randomBytes(10_000);
      await call(firn, { method: 'PUT', path: `${path}/whole`, headers: write, body: bytes });
      const whole = await call(firn, { method: 'GET', path: `${path}/whole`, headers: read });
      t.true(whole.body.equals(bytes), name);
      await sendParts(firn, { path: `${path}/parts`, write, read, parts });
      const got = await call(firn, { method: 'GET', path: `${path}/parts`, headers: read });
      t.true(got.body.equals(Buffer.concat(parts)), `${name}, in parts`);
    }),
  );
  const heard: string[] = [];
  for (let n = 0; n < 20 && heard.length < 6; n++) {
    const { events } = await adminCall<{
      events: {
        receipt: string;
        record: { eventName?: string; s3?: { object: { key: string } } };
      }[];
    }>(firn, 'POST', '/queues/line/receive', { limit: 100, hiddenSeconds: 60 });
    if (events.length === 0) break;
    for (const { record } of events) {
      if (record.s3 !== undefined) heard.push(`${record.eventName} ${record.s3.object.key}`);
    }
    const receipts = events.map(({ receipt }) => receipt);
    await adminCall(firn, 'POST', '/queues/line/acknowledge', { receipts });
  }
  const told = Object.keys(ways).flatMap((name) => [
    `ObjectCreated:CompleteMultipartUpload ${name}/parts`,
    `ObjectCreated:Put ${name}/whole`,
  ]);
  t.deepEqual(heard.toSorted(), told.toSorted());
}

async function sendParts(
  firn: RunningFirn,
  of: {
    path: string;
    write: Record<string, string>;
    read: Record<string, string>;
    parts: readonly Uint8Array[];
  },
): Promise<void> {
  const { path, write, read, parts } = of;
  const begun = await call(firn, { method: 'POST', path, query: 'uploads=', headers: write });
  const id = /<UploadId>([^<]*)</.exec(begun.text)?.[1] ?? '';
  const listed = await Promise.all(
    parts.map(async (body, at) => {
      const query = `partNumber=${at + 1}&uploadId=${id}`;
      const sent = await call(firn, { method: 'PUT', path, query, headers: read, body });
      const tag = sent.headers.get('etag');
      return `<Part><PartNumber>${at + 1}</PartNumber><ETag>${tag}</ETag></Part>`;
    }),
  );
  const body = `<CompleteMultipartUpload>${listed.join('')}</CompleteMultipartUpload>`;
  await call(firn, { method: 'POST', path, query: `uploadId=${id}`, headers: read, body });
}
