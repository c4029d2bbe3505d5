// Uploads by forms of browsers, pages of other origins, hosts of buckets, caches in front, and what
// backup programs look for. The dangers, most of them holes of others once: a field that overrides
// what was signed, a form without end that fills memory, a header made of a rule's text, a cache
// that answers whom Firn would refuse.

import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import fc from 'fast-check';
import { FormReader } from '../api/s3/body/form-reader.ts';
import type { S3Settings, Secret } from '../api/s3/input/settings.ts';
import { parseFormPolicy } from '../api/s3/signature/form-policy.ts';
import { Capacities } from '../appliance/engine/account/capacity.ts';
import { quotaRowId, type QuotaUsage } from '../appliance/model/quota.ts';
import { CLASSES } from './engine-harness.ts';
import {
  checkRefusal,
  codeOf,
  elementOf,
  OWNER,
  REGION,
  send,
  sendRaw,
  sendWire,
  startEndpoint,
  STRANGER,
  type Answer,
  type Endpoint,
  type Wire,
} from './s3-caller.ts';
import { cpuMsOf } from './cpu-time.ts';

async function endpointOf(t: ExecutionContext, more: Partial<S3Settings> = {}): Promise<Endpoint> {
  const endpoint = await startEndpoint({
    newBuckets: { ownership: 'unset', blockPublicAccess: false },
    ...more,
  });
  t.teardown(async () => {
    await endpoint.close();
    const faults = endpoint.records.filter(({ fault }) => fault !== undefined);
    assert.deepEqual(faults, [], 'a fault of ours');
  });
  return endpoint;
}

type Field = readonly [name: string, value: string];

const BOUNDARY = 'firn-boundary-7f3a';

interface Form {
  /** Before signing: conditions beside bucket, key and credential. */
  conditions?: unknown[];
  fields?: readonly Field[];
  key?: string;
  file?: Uint8Array | string;
  fileName?: string;
  as?: typeof OWNER;
  kind?: 'own' | 'old' | 'none';
  now?: Date;
  expiresMs?: number;
  bucket?: string;
  /** As text, whatever it is. */
  policy?: string;
  /** The last word about fields: after they were signed. */
  change?: (fields: Field[]) => Field[];
  path?: string;
  /** In the place of the file and what follows it. */
  tail?: Uint8Array | string;
  headers?: Record<string, string>;
}

const part = (name: string, value: string): string =>
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;

function formOf(endpoint: { host: string }, form: Form): Wire {
  const { as = OWNER, bucket = 'bucket', key = 'by-form', kind = 'own', now = new Date() } = form;
  const stamp = now.toISOString().replace(/[-:]|\.\d{3}/g, '');
  const credential = `${as.accessKey}/${stamp.slice(0, 8)}/${REGION}/s3/aws4_request`;
  const own: Field[] = [
    ['x-amz-algorithm', 'AWS4-HMAC-SHA256'],
    ['x-amz-credential', credential],
    ['x-amz-date', stamp],
  ];
  const document = {
    expiration: new Date(now.getTime() + (form.expiresMs ?? 60_000)).toISOString(),
    conditions: [
      { bucket },
      ['starts-with', '$key', ''],
      ...(kind === 'own' ? own.map(([name, value]) => ({ [name]: value })) : []),
      ...(form.conditions ?? []),
    ],
  };
  const policy = Buffer.from(form.policy ?? JSON.stringify(document)).toString('base64');
  const fields: Field[] = [['key', key], ...(form.fields ?? [])];
  if (kind === 'own') {
    const steps = [stamp.slice(0, 8), REGION, 's3', 'aws4_request', policy];
    const signature = steps.reduce<Buffer | string>(
      (made, step) => createHmac('sha256', made).update(step).digest(),
      `AWS4${as.secretKey}`,
    ) as Buffer;
    fields.push(['policy', policy], ...own, ['x-amz-signature', signature.toString('hex')]);
  } else if (kind === 'old') {
    const signature = createHmac('sha1', as.secretKey).update(policy).digest('base64');
    fields.push(['AWSAccessKeyId', as.accessKey], ['policy', policy], ['signature', signature]);
  }
  const changed = form.change?.(fields) ?? fields;
  const head = changed.map(([name, value]) => part(name, value)).join('');
  const { fileName = 'photo.jpg' } = form;
  const tail =
    form.tail ??
    Buffer.concat([
      Buffer.from(
        `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="${fileName}"\r\n` +
          'Content-Type: image/jpeg\r\n\r\n',
      ),
      Buffer.from(form.file ?? 'bytes of a file'),
      Buffer.from(`\r\n--${BOUNDARY}--\r\n`),
    ]);
  const body = Buffer.concat([Buffer.from(head), Buffer.from(tail)]);
  return {
    method: 'POST',
    url: form.path ?? `/${bucket}`,
    headers: {
      host: endpoint.host,
      'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
      'content-length': String(body.length),
      ...form.headers,
    },
    body,
  };
}

const post = (endpoint: Endpoint, form: Form = {}): Promise<Answer> =>
  sendWire(endpoint, formOf(endpoint, form));

const get = (endpoint: Endpoint, key: string): Promise<Answer> =>
  send(endpoint, { path: `/bucket/${key}` });

/** A bucket where anybody may write. */
async function openBucket(endpoint: Endpoint, name = 'open'): Promise<void> {
  const headers = { 'x-amz-acl': 'public-read-write' };
  const made = await send(endpoint, { method: 'PUT', path: `/${name}`, headers });
  assert.equal(made.status, 200, made.text);
}

test('a signed form stores its file, with the headers its fields name, and answers as it asks', async (t) => {
  const endpoint = await endpointOf(t);
  for (const kind of ['own', 'old'] as const) {
    const key = `photos/${kind}`;
    const answer = await post(endpoint, {
      kind,
      key: `photos/\${filename}`,
      fileName: `C:\\pictures\\${kind}`,
      fields: [
        ['Content-Type', 'image/png'],
        ['x-amz-meta-Title', 'Grüße'],
        ['Cache-Control', 'max-age=60'],
        [
          'tagging',
          '<Tagging><TagSet><Tag><Key>a b</Key><Value>c=d</Value></Tag></TagSet></Tagging>',
        ],
        ['success_action_status', '201'],
        ['x-ignore-me', 'anything'],
      ],
      conditions: [
        ['starts-with', '$Content-Type', 'image/'],
        ['starts-with', '$x-amz-meta-title', ''],
        ['eq', '$cache-control', 'max-age=60'],
        ['starts-with', '$tagging', ''],
        { success_action_status: '201' },
        ['content-length-range', 1, '100'],
      ],
    });
    t.is(answer.status, 201, answer.text);
    t.is(elementOf(answer, 'Key'), key);
    t.is(elementOf(answer, 'Location'), `http://${endpoint.host}/bucket/${key}`);
    const read = await get(endpoint, key);
    t.is(read.text, 'bytes of a file');
    t.is(elementOf(answer, 'ETag'), read.headers.etag);
    t.is(read.headers['content-type'], 'image/png');
    t.is(read.headers['cache-control'], 'max-age=60');
    t.is(Buffer.from(read.headers['x-amz-meta-title'] as string, 'latin1').toString(), 'Grüße');
    const tags = await send(endpoint, { path: `/bucket/${key}`, query: 'tagging' });
    t.regex(tags.text, /<Key>a b<\/Key><Value>c=d<\/Value>/);
  }
  const plain = await post(endpoint);
  t.is(plain.status, 204);
  t.is(plain.text, '');
  t.is(plain.headers['location'], `http://${endpoint.host}/bucket/by-form`);
  const redirect = 'https://example.com/done?x=1';
  const sent = await post(endpoint, {
    key: 'a&b',
    fields: [['success_action_redirect', redirect]],
    conditions: [{ success_action_redirect: redirect }],
  });
  t.is(sent.status, 303);
  const etag = encodeURIComponent(sent.headers.etag as string);
  t.is(sent.headers['location'], `${redirect}&bucket=bucket&key=a%26b&etag=${etag}`);
  for (const odd of ['javascript:alert(1)', 'not an address', 'ftp://host/']) {
    const fields: Field[] = [['success_action_redirect', odd]];
    const answer = await post(endpoint, {
      fields,
      conditions: [['starts-with', '$success_action_redirect', '']],
    });
    t.is(answer.status, 204, odd);
  }
});

test('nothing that the policy does not say: fields nobody signed, another bucket, another key', async (t) => {
  const endpoint = await endpointOf(t);
  const bad: Record<string, Form & { code?: string; status?: number }> = {
    'an ACL that no condition speaks of': { fields: [['acl', 'public-read']] },
    'a header that no condition speaks of': { fields: [['x-amz-storage-class', 'STANDARD']] },
    'a field unknown to us that no condition speaks of': { fields: [['x-foo', 'bar']] },
    'a key outside the prefix': { key: 'admin/x', conditions: [['starts-with', '$key', 'users/']] },
    'a file name that leaves the prefix': {
      key: '${filename}',
      fileName: 'evil',
      conditions: [['starts-with', '$key', 'users/']],
    },
    'an absent field that must be there': { conditions: [['eq', '$x-amz-meta-a', '']] },
    'an absent field that must begin so': { conditions: [['starts-with', '$acl', 'p']] },
    'a list of types of which one is another': {
      fields: [['Content-Type', 'image/png, text/html']],
      conditions: [['starts-with', '$Content-Type', 'image/']],
    },
    'a form for another bucket, sent here': { bucket: 'foreign', path: '/bucket' },
    'a form for this bucket, sent to another': { path: '/foreign' },
    'a bucket field that is not the URL': { fields: [['bucket', 'foreign']] },
    'an expired policy': { expiresMs: -1000 },
    'a form signed eight days ago': { now: new Date(Date.now() - 8 * 86_400_000), expiresMs: 9e8 },
    'a form signed tomorrow': { now: new Date(Date.now() + 86_400_000) },
    'the right of a stranger': { as: STRANGER },
    'a secret of another': {
      as: { ...OWNER, secretKey: 'guess' },
      code: 'SignatureDoesNotMatch',
    },
    'a key pair of nobody': {
      as: { ...OWNER, accessKey: 'AKNOBODY' },
      code: 'InvalidAccessKeyId',
    },
    'a file longer than allowed': {
      conditions: [['content-length-range', 0, 14]],
      code: 'EntityTooLarge',
      status: 400,
    },
    'a file shorter than allowed': {
      conditions: [['content-length-range', 16, 100]],
      code: 'EntityTooSmall',
      status: 400,
    },
    'two ranges that exclude each other': {
      conditions: [
        ['content-length-range', 0, 10],
        ['content-length-range', 12, 20],
      ],
      code: 'EntityTooLarge',
      status: 400,
    },
    'a copy by a form': {
      fields: [['x-amz-copy-source', '/foreign/secret']],
      conditions: [['starts-with', '$x-amz-copy-source', '']],
      code: 'InvalidArgument',
      status: 400,
    },
  };
  for (const kind of ['own', 'old'] as const) {
    for (const [what, { code = 'AccessDenied', status = 403, ...form }] of Object.entries(bad)) {
      if (kind === 'old' && what.includes('form signed')) continue;
      checkRefusal(await post(endpoint, { kind, ...form }), status, code, `${kind}: ${what}`);
    }
  }
  for (const bucket of ['bucket', 'foreign']) {
    const as = bucket === 'foreign' ? STRANGER : OWNER;
    const listed = await send(endpoint, { path: `/${bucket}`, as });
    t.is(listed.status, 200);
    t.false(listed.text.includes('<Key>'), listed.text);
  }
});

test('a signature holds the policy it was made for, digit by digit', async (t) => {
  const endpoint = await endpointOf(t);
  const other = (text: string): string => text.replace(/.$/, (c) => (c === '0' ? '1' : '0'));
  for (const kind of ['own', 'old'] as const) {
    const name = kind === 'own' ? 'x-amz-signature' : 'signature';
    const changes: Record<string, (value: string) => string> = {
      'another digit': (value) => (kind === 'own' ? other(value) : `A${value.slice(1)}`),
      shorter: (value) => value.slice(0, -4),
      longer: (value) => `${value}00`,
    };
    for (const [what, change] of Object.entries(changes)) {
      const answer = await post(endpoint, {
        kind,
        change: (fields) =>
          fields.map(([field, value]) => [field, field === name ? change(value) : value] as const),
      });
      checkRefusal(answer, 403, 'SignatureDoesNotMatch', `${kind} ${what}`);
    }
    const wider = Buffer.from('{"expiration":"2099-01-01T00:00:00Z","conditions":[]}').toString(
      'base64',
    );
    const answer = await post(endpoint, {
      kind,
      change: (fields) =>
        fields.map(([field, value]) => [field, field === 'policy' ? wider : value] as const),
    });
    checkRefusal(answer, 403, 'SignatureDoesNotMatch', `${kind} another policy`);
    for (const gone of kind === 'own'
      ? ['policy', 'x-amz-signature', 'x-amz-credential', 'x-amz-date']
      : ['policy', 'signature', 'AWSAccessKeyId']) {
      const without = await post(endpoint, {
        kind,
        change: (fields) => fields.filter(([field]) => field !== gone),
      });
      checkRefusal(without, 400, 'InvalidArgument', `${kind} without ${gone}`);
    }
  }
  const both = await post(endpoint, {
    fields: [
      ['AWSAccessKeyId', 'x'],
      ['signature', 'y'],
    ],
  });
  checkRefusal(both, 400, 'InvalidArgument', 'two signatures');
  t.is((await get(endpoint, 'by-form')).status, 404);
});

test('the older signature signs forms and nothing else', async (t) => {
  const endpoint = await endpointOf(t);
  const date = new Date().toUTCString();
  const signature = createHmac('sha1', OWNER.secretKey)
    .update(`GET\n\n\n${date}\n/bucket/`)
    .digest('base64');
  const wire = { method: 'GET', url: '/bucket/', body: Buffer.alloc(0) };
  const header = {
    host: endpoint.host,
    date,
    authorization: `AWS ${OWNER.accessKey}:${signature}`,
  };
  checkRefusal(await sendWire(endpoint, { ...wire, headers: header }), 400, 'InvalidRequest');
  const url = `/bucket/?AWSAccessKeyId=${OWNER.accessKey}&Signature=${encodeURIComponent(signature)}&Expires=9999999999`;
  const headers = { host: endpoint.host };
  t.true((await sendWire(endpoint, { ...wire, url, headers })).status >= 400);
});

test('a policy that is not understood lets nothing through', async (t) => {
  const endpoint = await endpointOf(t);
  const at = new Date(Date.now() + 60_000).toISOString();
  const documents: Record<string, string> = {
    'no JSON': '{"expiration":',
    'a list': '[]',
    null: 'null',
    'no expiration': '{"conditions":[]}',
    'no conditions': `{"expiration":"${at}"}`,
    'a date without a time': '{"expiration":"2099-01-01","conditions":[]}',
    'a local date': '{"expiration":"2099-01-01T00:00:00+00:00","conditions":[]}',
    'no date': '{"expiration":"2099-13-41T00:00:00Z","conditions":[]}',
    capitals: `{"Expiration":"${at}","CONDITIONS":[]}`,
    'more than it may have': `{"expiration":"${at}","conditions":[],"x":1}`,
    'an empty condition': `{"expiration":"${at}","conditions":[{}]}`,
    'two in one': `{"expiration":"${at}","conditions":[{"a":"b","c":"d"}]}`,
    'a number for a text': `{"expiration":"${at}","conditions":[{"acl":1}]}`,
    'an unknown operator': `{"expiration":"${at}","conditions":[["matches","$key","a"]]}`,
    'no dollar': `{"expiration":"${at}","conditions":[["eq","key","a"]]}`,
    'a range of one': `{"expiration":"${at}","conditions":[["content-length-range",0]]}`,
    'a negative range': `{"expiration":"${at}","conditions":[["content-length-range",-1,0]]}`,
    'a range of fractions': `{"expiration":"${at}","conditions":[["content-length-range",0.5,9]]}`,
    'a range backwards': `{"expiration":"${at}","conditions":[["content-length-range",9,1]]}`,
    'a condition of text': `{"expiration":"${at}","conditions":["eq"]}`,
    'a thousand conditions': `{"expiration":"${at}","conditions":[${Array<string>(1000).fill('{"a":"b"}').join()}]}`,
  };
  for (const [what, policy] of Object.entries(documents)) {
    for (const kind of ['own', 'old'] as const) {
      checkRefusal(await post(endpoint, { policy, kind }), 400, 'InvalidPolicyDocument', what);
    }
  }
  t.is((await get(endpoint, 'by-form')).status, 404);
  const cpuMs = await cpuMsOf(() => {
    t.throws(() => parseFormPolicy(`${' '.repeat(20_000)}!`), { code: 'InvalidPolicyDocument' });
  });
  t.true(cpuMs < 500, 'blanks that are tried in every division take seconds');
});

test('forms that are no forms, have two of a thing or no end leave nothing behind', async (t) => {
  const endpoint = await endpointOf(t);
  await openBucket(endpoint);
  const file = (name: string, bytes: string): string =>
    `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"; filename="f"\r\n\r\n${bytes}\r\n`;
  const end = `--${BOUNDARY}--\r\n`;
  const open = { kind: 'none', bucket: 'open' } as const;
  const bad: Record<string, [code: string, form: Form]> = {
    'two keys': ['MalformedPOSTRequest', { ...open, fields: [['key', 'other']] }],
    'two keys, one in capitals': ['MalformedPOSTRequest', { ...open, fields: [['KEY', 'other']] }],
    'no key': ['UserKeyMustBeSpecified', { ...open, change: () => [] }],
    'an empty key': ['UserKeyMustBeSpecified', { ...open, key: '' }],
    'a key of file name alone, and none': [
      'UserKeyMustBeSpecified',
      { ...open, key: '${filename}', fileName: '' },
    ],
    'no file': ['IncorrectNumberOfFilesInPostRequest', { ...open, tail: end }],
    'two files': [
      'IncorrectNumberOfFilesInPostRequest',
      { ...open, tail: file('file', 'a') + file('file', 'b') + end },
    ],
    'no end': ['MalformedPOSTRequest', { ...open, tail: file('file', 'cut') }],
    'no end, nothing': ['MalformedPOSTRequest', { ...open, tail: '' }],
    'a field without a name': ['MalformedPOSTRequest', { ...open, fields: [['', 'x']] }],
    'no boundary': [
      'MalformedPOSTRequest',
      { ...open, headers: { 'content-type': 'multipart/form-data' } },
    ],
    'a boundary of another': [
      'MalformedPOSTRequest',
      { ...open, headers: { 'content-type': 'multipart/form-data; boundary=other' } },
    ],
    'a boundary far too long': [
      'MalformedPOSTRequest',
      { ...open, headers: { 'content-type': `multipart/form-data; boundary=${'b'.repeat(300)}` } },
    ],
    'a key of dots': ['InvalidURI', { ...open, key: 'a/../b' }],
    'a key too long': ['KeyTooLongError', { ...open, key: 'k'.repeat(1025) }],
    'a key with NUL': ['InvalidURI', { ...open, key: 'a\0b' }],
    'a header of two lines': [
      'InvalidArgument',
      { ...open, fields: [['Content-Type', 'a\r\nSet-Cookie: b']] },
    ],
    'metadata of two lines': ['InvalidArgument', { ...open, fields: [['x-amz-meta-a', 'a\nb']] }],
    'tags that are none': [
      'MalformedXML',
      { ...open, fields: [['tagging', '<Tagging><x/></Tagging>']] },
    ],
    'a checksum of other bytes': [
      'BadDigest',
      { ...open, fields: [['x-amz-checksum-crc32', 'AAAAAA==']] },
    ],
    'an MD5 of other bytes': [
      'BadDigest',
      { ...open, fields: [['Content-MD5', 'AAAAAAAAAAAAAAAAAAAAAA==']] },
    ],
    'a class that is none': [
      'InvalidStorageClass',
      { ...open, fields: [['x-amz-storage-class', 'NONE']] },
    ],
    '20 KiB of fields and a byte': [
      'MaxPostPreDataLengthExceededError',
      { ...open, fields: [['x-ignore-a', 'a'.repeat(20 * 1024)]] },
    ],
    '100 kB of fields': [
      'MaxPostPreDataLengthExceededError',
      { ...open, fields: [['x-ignore-a', 'a'.repeat(100_000)]] },
    ],
    'ten thousand fields': [
      'MaxPostPreDataLengthExceededError',
      { ...open, fields: Array.from({ length: 10_000 }, (_, i): Field => [`x-${i}`, '']) },
    ],
    'a megabyte before the first part': [
      'MaxPostPreDataLengthExceededError',
      { ...open, change: () => [], tail: 'x'.repeat(1_000_000) },
    ],
    'a megabyte behind the file': [
      'MaxPostPreDataLengthExceededError',
      { ...open, tail: file('file', 'a') + part('x', 'a'.repeat(1_000_000)) + end },
    ],
  };
  for (const [what, [code, form]] of Object.entries(bad)) {
    const answer = await post(endpoint, form);
    t.is(codeOf(answer), code, `${what} ${answer.status} ${answer.text}`);
    t.true(answer.status === 400, what);
  }
  const listed = await send(endpoint, { path: '/open' });
  t.false(listed.text.includes('<Key>'), listed.text);
  const large = Buffer.alloc(3_000_000, 'x');
  const wire = formOf(endpoint, { ...open, key: 'cut', file: large });
  const head = Object.entries(wire.headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const cut = wire.body.subarray(0, 2_000_000);
  await sendRaw(
    endpoint,
    Buffer.concat([Buffer.from(`POST /open HTTP/1.1\r\n${head.join('')}\r\n`), cut]),
    { end: true },
  );
  const after = await send(endpoint, { path: '/open' });
  t.false(after.text.includes('<Key>'), 'a connection that broke off');
});

test('what follows the file says nothing, and a button may follow it', async (t) => {
  const endpoint = await endpointOf(t);
  const tail =
    `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nbytes\r\n` +
    part('key', 'another') +
    part('submit', 'Upload') +
    `--${BOUNDARY}--\r\n`;
  const answer = await post(endpoint, { tail });
  t.is(answer.status, 204, answer.text);
  t.is((await get(endpoint, 'by-form')).text, 'bytes');
  t.is((await get(endpoint, 'another')).status, 404);
});

test('nobody uploads by form where nobody may write, and whom nobody signed for owns what he made', async (t) => {
  const endpoint = await endpointOf(t);
  await openBucket(endpoint);
  checkRefusal(await post(endpoint, { kind: 'none' }), 403, 'AccessDenied');
  checkRefusal(
    await post(endpoint, { kind: 'none', path: '/not-there-at-all' }),
    404,
    'NoSuchBucket',
  );
  const fields: Field[] = [['acl', 'public-read']];
  const answer = await post(endpoint, { kind: 'none', bucket: 'open', fields });
  t.is(answer.status, 204, answer.text);
  const read = await sendWire(endpoint, {
    method: 'GET',
    url: '/open/by-form',
    headers: { host: endpoint.host },
    body: Buffer.alloc(0),
  });
  t.is(read.text, 'bytes of a file');
  const signedHead = await send(endpoint, {
    method: 'POST',
    path: '/bucket',
    headers: { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` },
    body: formOf(endpoint, {}).body,
  });
  checkRefusal(signedHead, 412, 'PreconditionFailed', 'a head that is signed takes no form');
});

/** A body that comes in pieces of these lengths, over and over. */
function piecesOf(
  bytes: Buffer,
  lengths: readonly number[],
): { next(): Promise<Buffer | undefined>; stop(): void } {
  let at = 0;
  let turn = 0;
  return {
    next() {
      if (at >= bytes.length) return Promise.resolve(undefined);
      const length = lengths[turn++ % lengths.length] as number;
      // A copy: what the parser keeps of it must stay as it was.
      const piece = Buffer.from(bytes.subarray(at, at + length));
      at += length;
      return Promise.resolve(piece);
    },
    stop: () => undefined,
  };
}

test('a file arrives byte for byte, however it is cut and whatever it holds of boundaries', async (t) => {
  const seed = Number(process.env['SEED'] ?? randomBytes(4).readUInt32LE());
  t.log(`SEED=${seed}`);
  // Made of what a boundary begins with, so that most pieces end within one.
  const alphabet = [
    '\r',
    '\n',
    '-',
    '--',
    '\r\n',
    '\r\n--',
    `\r\n--${BOUNDARY.slice(0, 9)}`,
    'x',
    '\0',
    BOUNDARY,
  ];
  const texts = fc.array(fc.constantFrom(...alphabet), { maxLength: 400 });
  const cuts = fc.array(fc.integer({ min: 1, max: 97 }), { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(texts, cuts, async (words, lengths) => {
      // Behind the head of its part a boundary alone would be one.
      const text = words.join('');
      fc.pre(!`\r\n${text}`.includes(`\r\n--${BOUNDARY}`));
      const bytes = Buffer.from(text, 'latin1');
      const { body } = formOf({ host: 'h' }, { kind: 'none', file: bytes });
      const reader = new FormReader(
        piecesOf(body, lengths),
        `multipart/form-data; boundary=${BOUNDARY}`,
      );
      const fields = await reader.fields();
      assert.equal(fields.get('key'), 'by-form');
      const pieces: Buffer[] = [];
      for (let piece = await reader.next(); piece !== undefined; piece = await reader.next()) {
        pieces.push(piece);
      }
      assert.ok(Buffer.concat(pieces).equals(bytes), `${bytes.toString('hex')}`);
    }),
    { seed, numRuns: 1500 },
  );
  t.pass();
});

test('a large file streams, and is nothing when its checksum is wrong or its end is missing', async (t) => {
  const endpoint = await endpointOf(t);
  const file = randomBytes(5_000_000);
  const answer = await post(endpoint, {
    file,
    conditions: [['content-length-range', 0, 5_000_000]],
  });
  t.is(answer.status, 204, answer.text);
  t.true((await get(endpoint, 'by-form')).bytes.equals(file));
  const wrong = await post(endpoint, {
    file,
    key: 'wrong',
    fields: [['x-amz-checksum-crc32', 'AAAAAA==']],
  });
  checkRefusal(wrong, 400, 'BadDigest');
  const long = await post(endpoint, {
    file,
    key: 'long',
    conditions: [['content-length-range', 0, 4_999_999]],
  });
  checkRefusal(long, 400, 'EntityTooLarge');
  const short = await post(endpoint, {
    file,
    key: 'short',
    conditions: [['content-length-range', 5_000_001, 6_000_000]],
  });
  checkRefusal(short, 400, 'EntityTooSmall');
  for (const key of ['wrong', 'long', 'short']) t.is((await get(endpoint, key)).status, 404, key);
});

const CORS = (...rules: string[]): string =>
  `<CORSConfiguration>${rules.map((rule) => `<CORSRule>${rule}</CORSRule>`).join('')}</CORSConfiguration>`;
const allow = (name: string, ...values: string[]): string =>
  values.map((value) => `<${name}>${value}</${name}>`).join('');

async function setCors(endpoint: Endpoint, ...rules: string[]): Promise<Answer> {
  return await send(endpoint, {
    method: 'PUT',
    path: '/bucket',
    query: 'cors',
    body: CORS(...rules),
  });
}

function unsigned(
  endpoint: Endpoint,
  method: string,
  url: string,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const wire = { method, url, headers: { host: endpoint.host, ...headers }, body: Buffer.alloc(0) };
  return sendWire(endpoint, wire);
}

const corsOf = ({ headers }: Answer): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(headers).filter(([name]) => name.startsWith('access-control-')),
  );

test('pages of other origins read what a rule lets them read, errors too, and nothing without one', async (t) => {
  const endpoint = await endpointOf(t);
  await send(endpoint, { method: 'PUT', path: '/bucket/key', body: 'bytes' });
  const asks = { origin: 'https://app.example', 'access-control-request-method': 'PUT' };
  checkRefusal(await unsigned(endpoint, 'OPTIONS', '/bucket/key', asks), 403, 'AccessForbidden');
  checkRefusal(await unsigned(endpoint, 'OPTIONS', '/none-such/key', asks), 403, 'AccessForbidden');
  checkRefusal(await unsigned(endpoint, 'OPTIONS', '/bucket/key'), 400, 'BadRequest');
  const early = await send(endpoint, { path: '/bucket/key', headers: { origin: asks.origin } });
  t.deepEqual(corsOf(early), {});
  t.is(early.headers['vary'], undefined);

  const set = await setCors(
    endpoint,
    allow('AllowedOrigin', 'https://app.example', 'https://*.example') +
      allow('AllowedMethod', 'GET', 'PUT') +
      allow('AllowedHeader', 'X-Amz-*', 'content-type') +
      allow('ExposeHeader', 'ETag', 'x-amz-meta-a') +
      '<MaxAgeSeconds>600</MaxAgeSeconds><ID>one</ID>',
    allow('AllowedOrigin', '*') + allow('AllowedMethod', 'GET'),
  );
  t.is(set.status, 200, set.text);
  const shown = await send(endpoint, { path: '/bucket', query: 'cors' });
  t.regex(shown.text, /<ID>one<\/ID>.*<AllowedOrigin>https:\/\/\*\.example</);

  const vary = 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method';
  const exact = await unsigned(endpoint, 'OPTIONS', '/bucket/key', {
    ...asks,
    'access-control-request-headers': 'Content-Type, x-amz-date',
  });
  t.is(exact.status, 200, exact.text);
  t.deepEqual(corsOf(exact), {
    'access-control-allow-origin': 'https://app.example',
    'access-control-allow-methods': 'GET, PUT',
    'access-control-allow-headers': 'content-type, x-amz-date',
    'access-control-expose-headers': 'ETag, x-amz-meta-a',
    'access-control-max-age': '600',
    'access-control-allow-credentials': 'true',
  });
  t.is(exact.headers['vary'], vary);
  for (const headers of [
    { ...asks, 'access-control-request-headers': 'x-other' },
    { ...asks, 'access-control-request-headers': 'x-amz-a\tb' },
    { ...asks, 'access-control-request-method': 'DELETE' },
    { ...asks, origin: 'https://app.example.evil' },
    { ...asks, origin: 'http://app.example' },
    { ...asks, origin: 'null' },
  ]) {
    const answer = await unsigned(endpoint, 'OPTIONS', '/bucket/key', headers);
    checkRefusal(answer, 403, 'AccessForbidden', JSON.stringify(headers));
    t.deepEqual(corsOf(answer), {});
  }
  const pattern = await send(endpoint, {
    path: '/bucket/key',
    headers: { origin: 'https://b.example' },
  });
  t.is(pattern.headers['access-control-allow-origin'], 'https://b.example');
  t.is(pattern.headers['access-control-allow-credentials'], undefined, 'a pattern names nobody');
  const anybody = await send(endpoint, {
    path: '/bucket/key',
    headers: { origin: 'https://evil' },
  });
  t.is(anybody.headers['access-control-allow-origin'], '*');
  t.is(anybody.headers['access-control-allow-credentials'], undefined);
  const refused = await unsigned(endpoint, 'GET', '/bucket/key', { origin: asks.origin });
  checkRefusal(refused, 403, 'AccessDenied');
  t.is(refused.headers['access-control-allow-origin'], asks.origin, 'a page may read why not');
  const plain = await send(endpoint, { path: '/bucket/key' });
  t.deepEqual(corsOf(plain), {});
  t.is(plain.headers['vary'], vary, 'caches must know');
  const etag = plain.headers.etag as string;
  const kept = await send(endpoint, {
    path: '/bucket/key',
    headers: { 'if-none-match': etag, origin: asks.origin },
  });
  t.is(`${kept.status} ${kept.headers['vary']} ${kept.headers.etag}`, `304 ${vary} ${etag}`);

  const query = 'response-cache-control=max-age%3D5';
  const aged = await send(endpoint, {
    path: '/bucket/key',
    query,
    headers: { 'if-none-match': etag },
  });
  t.is(`${aged.status} ${aged.headers['cache-control']}`, '304 max-age=5');

  t.is((await send(endpoint, { method: 'DELETE', path: '/bucket', query: 'cors' })).status, 204);
  checkRefusal(
    await send(endpoint, { path: '/bucket', query: 'cors' }),
    404,
    'NoSuchCORSConfiguration',
  );
  t.deepEqual(
    corsOf(await send(endpoint, { path: '/bucket/key', headers: { origin: asks.origin } })),
    {},
  );
});

test('a form is answered to its page, and a bucket has its own host for all of it', async (t) => {
  const endpoint = await endpointOf(t, { domain: 's3.test' });
  await setCors(
    endpoint,
    allow('AllowedOrigin', 'https://app') + allow('AllowedMethod', 'POST', 'GET'),
  );
  const host = `bucket.s3.test:${endpoint.port}`;
  const hosted = { ...endpoint, host } as Endpoint;
  const answer = await sendWire(
    hosted,
    formOf(hosted, { path: '/', headers: { origin: 'https://app' } }),
  );
  t.is(answer.status, 204, answer.text);
  t.is(answer.headers['location'], `http://${host}/by-form`);
  t.is(answer.headers['access-control-allow-origin'], 'https://app');
  t.is((await send(hosted, { path: '/by-form' })).text, 'bytes of a file');
  t.is((await get(endpoint, 'by-form')).text, 'bytes of a file', 'by path as well');
  const asks = { host, origin: 'https://app', 'access-control-request-method': 'POST' };
  t.is((await unsigned(endpoint, 'OPTIONS', '/', asks)).status, 200);
  checkRefusal(await send(hosted, { path: '/none' }), 404, 'NoSuchKey');
  const wrong = await send(hosted, { method: 'PATCH', path: '/' });
  checkRefusal(wrong, 405, 'MethodNotAllowed');
  for (const method of ['GET', 'PUT', 'POST']) t.true(wrong.headers['allow']?.includes(method));
  const odd = { ...endpoint, host: `Bad_Name.s3.test` } as Endpoint;
  checkRefusal(await send(odd, { path: '/' }), 400, 'InvalidBucketName');
  for (const method of ['GET', 'HEAD', 'OPTIONS']) {
    const text = await sendRaw(
      endpoint,
      `${method} http://evil/bucket/by-form HTTP/1.1\r\nHost: ${host}\r\nOrigin: https://app\r\nAccess-Control-Request-Method: GET\r\n\r\n`,
    );
    t.regex(text, /^HTTP\/1\.1 400 /, method);
  }
});

test('rules that browsers could not keep, or that would make headers of their own, are refused', async (t) => {
  const endpoint = await endpointOf(t);
  const good = allow('AllowedOrigin', '*') + allow('AllowedMethod', 'GET');
  const bad: Record<string, [code: string, ...rules: string[]]> = {
    'no rule': ['MalformedXML'],
    'no origin': ['MalformedXML', allow('AllowedMethod', 'GET')],
    'no method': ['MalformedXML', allow('AllowedOrigin', '*')],
    'an unknown element': ['MalformedXML', `${good}<AllowCredentials>true</AllowCredentials>`],
    'an origin of two lines': [
      'MalformedXML',
      allow('AllowedMethod', 'GET') + allow('AllowedOrigin', 'a&#13;&#10;b: c'),
    ],
    'an exposed header of two lines': [
      'InvalidRequest',
      good + allow('ExposeHeader', 'a&#13;&#10;Set-Cookie: b'),
    ],
    'an exposed wildcard': ['InvalidRequest', good + allow('ExposeHeader', '*')],
    'a method that S3 has not': [
      'InvalidRequest',
      allow('AllowedOrigin', '*') + allow('AllowedMethod', 'OPTIONS'),
    ],
    'a method in small letters': [
      'InvalidRequest',
      allow('AllowedOrigin', '*') + allow('AllowedMethod', 'get'),
    ],
    'two wildcards': [
      'InvalidRequest',
      allow('AllowedOrigin', 'http://*.*') + allow('AllowedMethod', 'GET'),
    ],
    'two wildcards in a header': ['InvalidRequest', good + allow('AllowedHeader', 'x-*-*')],
    'a negative age': ['MalformedXML', `${good}<MaxAgeSeconds>-1</MaxAgeSeconds>`],
    'a long id': ['MalformedXML', `${good}<ID>${'i'.repeat(256)}</ID>`],
    '101 rules': ['MalformedXML', ...Array<string>(101).fill(good)],
  };
  for (const [what, [code, ...rules]] of Object.entries(bad)) {
    checkRefusal(await setCors(endpoint, ...rules), 400, code, what);
  }
  t.is((await setCors(endpoint, ...Array<string>(100).fill(good))).status, 200);
});

test.serial('a preflight of nobody costs nothing, whatever rules a bucket has', async (t) => {
  const endpoint = await endpointOf(t);
  const headers = Array.from({ length: 100 }, (_, i) => `a-${i}-*`);
  const rule =
    allow('AllowedOrigin', '*') +
    allow('AllowedMethod', 'GET') +
    allow('AllowedHeader', ...headers);
  const set = await setCors(endpoint, ...Array<string>(100).fill(rule));
  t.is(set.status, 200, set.text);
  const asked = {
    origin: 'https://app.example',
    'access-control-request-method': 'GET',
    'access-control-request-headers': `${'a-99-,'.repeat(2000)}b`,
  };
  const cpuMs = await cpuMsOf(async () => {
    checkRefusal(await unsigned(endpoint, 'OPTIONS', '/bucket/key', asked), 403, 'AccessForbidden');
  });
  t.true(cpuMs < 1000, 'each name looked for in each rule takes seconds');
});

test('a cache is told whom it may answer, and never given a byte', async (t) => {
  const endpoint = await endpointOf(t);
  await send(endpoint, { method: 'PUT', path: '/bucket/key', body: 'bytes' });
  const mark = { 'x-firn-authorize': '1' };
  const askedAs = async (call: Parameters<typeof send>[1]): Promise<Answer> =>
    await send(endpoint, { ...call, headers: { ...call.headers, ...mark } });
  const yes = await askedAs({ path: '/bucket/key' });
  const name = yes.headers['x-firn-cache-key'] as string;
  t.is(`${yes.status} ${yes.text} ${yes.headers['cache-control']}`, '204  no-store');
  t.regex(name, /^bucket\/key\/[0-9a-f]{32}$/);
  const same = await askedAs({ path: '/bucket/key', auth: 'presigned' });
  t.is(same.headers['x-firn-cache-key'], name, 'another signature, the same object');
  const conditional = { range: 'bytes=0-0', 'if-none-match': yes.headers.etag ?? '*' };
  const whole = await askedAs({ path: '/bucket/key', headers: conditional });
  t.is(whole.headers['x-firn-cache-key'], name);
  const otherwise = [
    await askedAs({ path: '/bucket/key', query: 'response-content-type=text%2Fhtml' }),
    await askedAs({ path: '/bucket/key', headers: { 'x-amz-checksum-mode': 'ENABLED' } }),
    await askedAs({ path: '/bucket/key', headers: { origin: 'https://a' } }),
  ].map(({ headers }) => headers['x-firn-cache-key']);
  await send(endpoint, { method: 'PUT', path: '/bucket/key', body: 'other' });
  otherwise.push((await askedAs({ path: '/bucket/key' })).headers['x-firn-cache-key']);
  t.is(new Set([name, ...otherwise]).size, 5, 'each its own');
  t.false(otherwise.includes(undefined));

  checkRefusal(await askedAs({ path: '/bucket/key', as: STRANGER }), 403, 'AccessDenied');
  checkRefusal(await unsigned(endpoint, 'GET', '/bucket/key', mark), 403, 'AccessDenied');
  const old = { auth: 'presigned', date: new Date(Date.now() - 3_600_000) } as const;
  checkRefusal(await askedAs({ path: '/bucket/key', ...old }), 403, 'AccessDenied');
  checkRefusal(await askedAs({ path: '/bucket/none' }), 403, 'AccessDenied', 'not there');
  for (const call of [
    { method: 'PUT', path: '/bucket/key', body: 'written' },
    { method: 'DELETE', path: '/bucket/key' },
    { method: 'GET', path: '/bucket', query: 'list-type=2' },
    { method: 'GET', path: '/bucket', query: 'policy' },
    { method: 'GET', path: '/' },
  ]) {
    checkRefusal(await askedAs(call), 403, 'AccessDenied', `${call.method} ${call.path}`);
  }
  t.is((await get(endpoint, 'key')).text, 'other');
  const key = randomBytes(32);
  const own = {
    'x-amz-server-side-encryption-customer-algorithm': 'AES256',
    'x-amz-server-side-encryption-customer-key': key.toString('base64'),
    'x-amz-server-side-encryption-customer-key-md5': createHash('md5').update(key).digest('base64'),
  };
  t.is(
    (await send(endpoint, { method: 'PUT', path: '/bucket/own', body: 'x', headers: own })).status,
    200,
  );
  const sealed = await askedAs({ path: '/bucket/own', headers: own });
  t.is(`${sealed.status} ${String(sealed.headers['x-firn-cache-key'])}`, '204 undefined');
  t.true((await askedAs({ path: '/bucket/own' })).status >= 400, 'without its key');
});

test('backup programs find what this is and the room that is left, and nobody writes it', async (t) => {
  const folder = '.system-d26a9498-cb7c-4a87-a44a-8ae204f5ba6c';
  const endpoint = await endpointOf(t, {
    capacityOf: ({ name }) =>
      Promise.resolve({ capacityBytes: 1000, usedBytes: name === 'bucket' ? 300 : 2000 }),
  });
  const system = await get(endpoint, `${folder}/system.xml`);
  t.is(system.status, 200, system.text);
  t.is(elementOf(system, 'ProtocolVersion'), '"1.0"');
  t.is(elementOf(system, 'CapacityInfo'), 'true');
  const capacity = await get(endpoint, `${folder}/capacity.xml`);
  t.regex(capacity.text, /<Capacity>1000<\/Capacity><Available>700<\/Available><Used>300</);
  const full = await send(endpoint, { path: `/foreign/${folder}/capacity.xml`, as: STRANGER });
  t.is(elementOf(full, 'Available'), '0');
  const head = await send(endpoint, { method: 'HEAD', path: `/bucket/${folder}/capacity.xml` });
  t.is(`${head.status} ${head.headers['content-length']}`, `200 ${capacity.bytes.length}`);
  t.false((await send(endpoint, { path: '/bucket' })).text.includes('<Key>'));
  for (const name of ['system.xml', 'capacity.xml']) {
    const path = `/bucket/${folder}/${name}`;
    checkRefusal(await send(endpoint, { path, as: STRANGER }), 403, 'AccessDenied');
    checkRefusal(await unsigned(endpoint, 'GET', path), 403, 'AccessDenied');
    const written = await send(endpoint, { method: 'PUT', path, body: 'mine' });
    checkRefusal(written, 405, 'MethodNotAllowed');
    t.is(written.headers['allow'], 'GET, HEAD');
    checkRefusal(await send(endpoint, { method: 'DELETE', path }), 405, 'MethodNotAllowed');
    checkRefusal(
      await send(endpoint, { method: 'POST', path, query: 'uploads' }),
      405,
      'MethodNotAllowed',
    );
    const headers = { 'x-amz-copy-source': '/bucket/key' };
    checkRefusal(await send(endpoint, { method: 'PUT', path, headers }), 405, 'MethodNotAllowed');
    checkRefusal(await post(endpoint, { key: `${folder}/${name}` }), 405, 'MethodNotAllowed');
  }
  const named = `<Delete><Object><Key>${folder}/system.xml</Key></Object></Delete>`;
  const many = { method: 'POST', path: '/bucket', query: 'delete', body: named };
  t.is(elementOf(await send(endpoint, many), 'Code'), 'MethodNotAllowed');
  t.is(
    (await send(endpoint, { method: 'PUT', path: `/bucket/${folder}/other`, body: '' })).status,
    200,
  );
});

test('the room of a bucket is what its quota leaves, else what its tier leaves', async (t) => {
  const endpoint = await endpointOf(t);
  const { clock, store, tiers, engine } = endpoint;
  const capacities = new Capacities({ classes: CLASSES, clock, store, tiers });
  await send(endpoint, { method: 'PUT', path: '/bucket/key', body: 'x'.repeat(1000) });
  const bucket = await engine.getBucket('bucket');
  const hot = tiers.get(CLASSES.get('STANDARD') ?? '');
  const { capacityBytes, usedBytes } = await (hot as NonNullable<typeof hot>).usage();
  t.like(await capacities.of(bucket), { capacityBytes, usedBytes });
  const limited = { ...bucket, quota: { bytesMax: 5000 } };
  t.deepEqual(await capacities.of(limited), { capacityBytes: 5000, usedBytes: 0 });
  const value: QuotaUsage = {
    format: 1,
    kind: 'bucket',
    name: 'bucket',
    used: { bytes: 700, objects: 1 },
    holds: { one: { bytes: 300, objects: 1, until: 0 } },
    isExact: true,
  };
  const id = quotaRowId('bucket', bucket.id);
  await store.insert('quotas', id, value);
  t.deepEqual(await capacities.of(limited), { capacityBytes: 5000, usedBytes: 1000 });
});

test('a policy of the bucket tells a form from a request, and the older signature from the newer', async (t) => {
  const endpoint = await endpointOf(t);
  const deny = async (condition: Record<string, unknown>): Promise<void> => {
    const statement = {
      Effect: 'Deny',
      Principal: '*',
      Action: 's3:PutObject',
      Resource: 'arn:aws:s3:::bucket/*',
      Condition: condition,
    };
    const body = JSON.stringify({ Version: '2012-10-17', Statement: [statement] });
    const set = await send(endpoint, { method: 'PUT', path: '/bucket', query: 'policy', body });
    t.true(set.status < 300, set.text);
  };
  await deny({ StringNotEquals: { 's3:signatureversion': 'AWS4-HMAC-SHA256' } });
  t.is((await post(endpoint)).status, 204);
  checkRefusal(await post(endpoint, { kind: 'old' }), 403, 'AccessDenied', 'HMAC-SHA1');
  await deny({ StringEquals: { 's3:authType': 'POST' } });
  checkRefusal(await post(endpoint), 403, 'AccessDenied', 'no forms');
  t.is((await send(endpoint, { method: 'PUT', path: '/bucket/key', body: 'x' })).status, 200);
  await deny({ NumericGreaterThan: { 's3:signatureAge': '600000' } });
  t.is((await post(endpoint)).status, 204);
  const now = new Date(Date.now() - 700_000);
  checkRefusal(await post(endpoint, { now, expiresMs: 900_000 }), 403, 'AccessDenied', 'too old');
});

test('temporary credentials sign forms with their token, and are nothing without it', async (t) => {
  const session = { accessKey: 'ASSESSION', secretKey: 'session-secret' };
  const secretOf = (accessKey: string, token?: string): Promise<Secret | undefined> => {
    if (accessKey !== session.accessKey) {
      return Promise.resolve({ account: 'owner', secretKey: OWNER.secretKey });
    }
    const { secretKey } = session;
    return Promise.resolve({ account: 'owner', secretKey, isTemporary: token === 'good' });
  };
  const endpoint = await endpointOf(t, { accounts: { secretOf } });
  const conditions = [{ 'x-amz-security-token': 'good' }];
  const fields: Field[] = [['x-amz-security-token', 'good']];
  const good = await post(endpoint, { as: session, fields, conditions });
  t.is(good.status, 204, good.text);
  const owners = await post(endpoint, { fields, conditions });
  checkRefusal(owners, 400, 'InvalidToken', 'a token of a key that lasts');
  const bare = await post(endpoint, { as: session, fields });
  checkRefusal(bare, 403, 'AccessDenied', 'a token that no condition speaks of');
});
