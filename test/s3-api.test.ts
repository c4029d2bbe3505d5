// The S3 endpoint over real HTTP: who is let in, what is refused and by which code, and that what
// comes in is what comes out. The engine and its rules are real; store and tiers are in memory.

import assert from 'node:assert/strict';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import http from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketLifecycleConfigurationCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  RestoreObjectCommand,
  S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import test, { type ExecutionContext } from 'ava';
import type { S3Settings } from '../api/s3/input/settings.ts';
import { parseXml } from '../api/s3/xml/parse.ts';
import { element } from '../api/s3/xml/write.ts';
import { CHECKSUM_ALGORITHMS, CHECKSUM_HEADERS, checksumOf } from '../appliance/model/checksum.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { FirnError, isFirnError } from '../appliance/model/errors.ts';
import { MiB } from '../appliance/model/limits.ts';
import { encodePath, presignUrl } from '../appliance/model/signature.ts';
import { seeded } from './engine-harness.ts';
import {
  BAD_COPY_SOURCES,
  BODY_KINDS,
  checkErrorBody,
  checkRefusal,
  codeOf,
  elementOf,
  OWNER,
  randomKey,
  rawHead,
  REGION,
  send,
  sendRaw,
  sendWire,
  startEndpoint,
  STRANGER,
  wireOf,
  type Answer,
  type AuthKind,
  type BodyKind,
  type Call,
  type Endpoint,
} from './s3-caller.ts';

let shared: Endpoint;

test.before(async () => {
  shared = await startEndpoint();
});

test.after.always(async () => {
  // Whatever else was tested: nothing here was ever our own fault.
  const faults = shared.records.filter(({ fault }) => fault !== undefined);
  assert.deepEqual(faults, []);
  await shared.close();
});

/** An endpoint for one test. */
async function ownEndpoint(t: ExecutionContext, settings: Partial<S3Settings>): Promise<Endpoint> {
  const endpoint = await startEndpoint(settings);
  t.teardown(() => endpoint.close());
  return endpoint;
}

const refused = async (status: number, code: string, call: Call, what = ''): Promise<Answer> => {
  const answer = await send(shared, call);
  checkRefusal(answer, status, code, what === '' ? JSON.stringify(call).slice(0, 300) : what);
  return answer;
};

async function putKey(key: string, body: string | Uint8Array, more: Partial<Call> = {}) {
  const path = `/bucket/${encodePath(key)}`;
  const answer = await send(shared, { method: 'PUT', path, body, ...more });
  assert.equal(answer.status, 200, answer.text);
  return answer;
}

const isThere = async (key: string): Promise<boolean> => {
  const answer = await send(shared, { method: 'HEAD', path: `/bucket/${encodePath(key)}` });
  return answer.status === 200;
};

// ---------------------------------------------------------------- who is let in

test('what another account owns is not readable by way of a copy', async (t) => {
  const put = { method: 'PUT', path: '/foreign/secret', body: 'secret', as: STRANGER };
  t.is((await send(shared, put)).status, 200);
  for (const source of [
    '/foreign/secret',
    'foreign/secret',
    '%66oreign/secret',
    'foreign%2Fsecret',
  ]) {
    const headers = { 'x-amz-copy-source': source };
    await refused(403, 'AccessDenied', { method: 'PUT', path: '/bucket/stolen', headers });
  }
  t.false(await isThere('stolen'));
});

test('one flipped bit anywhere in the signature is refused', async (t) => {
  const wire = wireOf(shared, { path: '/bucket' });
  const authorization = wire.headers['authorization'] as string;
  const start = authorization.length - 64;
  for (let at = start; at < authorization.length; at++) {
    const flipped = String.fromCharCode(authorization.charCodeAt(at) ^ 1);
    wire.headers['authorization'] =
      authorization.slice(0, at) + flipped + authorization.slice(at + 1);
    checkRefusal(await sendWire(shared, wire), 403, 'SignatureDoesNotMatch', String(at));
  }
  wire.headers['authorization'] = authorization;
  t.is((await sendWire(shared, wire)).status, 200);
  // Right after the right one: of other lengths in bytes, and of letters that fold into the right one.
  const signature = authorization.slice(start);
  for (const wrong of [
    `${signature.slice(0, -1)}\u00e9`,
    signature.toUpperCase(),
    `${signature}0`,
  ]) {
    wire.headers['authorization'] = authorization.slice(0, start) + wrong;
    checkRefusal(await sendWire(shared, wire), 403, 'SignatureDoesNotMatch', wrong);
  }
  const presigned = wireOf(shared, { path: '/bucket', auth: 'presigned' });
  t.is((await sendWire(shared, presigned)).status, 200);
  const [before, given] = presigned.url.split('X-Amz-Signature=') as [string, string];
  const folding = encodeURIComponent(String.fromCodePoint(0x100 + given.charCodeAt(0)));
  presigned.url = `${before}X-Amz-Signature=${folding}${given.slice(1)}`;
  checkRefusal(await sendWire(shared, presigned), 403, 'SignatureDoesNotMatch');
});

test('anything changed after signing is refused: method, path, query, header, host', async (t) => {
  const call: Call = { method: 'GET', path: '/bucket/a', query: 'versionId=null' };
  const changes: ((wire: ReturnType<typeof wireOf>) => void)[] = [
    (wire) => void (wire.method = 'DELETE'),
    (wire) => void (wire.url = '/bucket/b?versionId=null'),
    (wire) => void (wire.url = '/bucket/%61%2F?versionId=null'),
    (wire) => void (wire.url = '/bucket/a'),
    (wire) => void (wire.url += '&acl'),
    (wire) => {
      const date = wire.headers['x-amz-date'] as string;
      wire.headers['x-amz-date'] = date.replace(/.Z$/, (end) => (end === '0Z' ? '1Z' : '0Z'));
    },
    (wire) => void (wire.headers['x-amz-content-sha256'] = 'UNSIGNED-PAYLOAD'),
    (wire) => void (wire.headers['host'] = 'localhost'),
  ];
  for (const [index, change] of changes.entries()) {
    const answer = await send(shared, { ...call, tamper: { request: change } });
    t.is(answer.status, 403, String(index));
  }
  for (const change of changes.slice(0, 5)) {
    const answer = await send(shared, { ...call, auth: 'presigned', tamper: { request: change } });
    t.is(answer.status, 403);
  }
});

test('claims that are malformed, late, early or of another place are refused by their own codes', async (t) => {
  const path = '/bucket';
  const header = (value: string): Partial<Call> => ({
    tamper: { request: (wire) => void (wire.headers['authorization'] = value) },
  });
  const minutes = (count: number): Date => new Date(Date.now() + count * 60_000);
  await refused(403, 'InvalidAccessKeyId', { path, as: { accessKey: 'NOBODY', secretKey: 'x' } });
  await refused(403, 'InvalidAccessKeyId', {
    path,
    as: { accessKey: '{"$gt":""}', secretKey: 'x' },
  });
  await refused(400, 'InvalidArgument', { path, ...header('Bearer token') });
  await refused(400, 'InvalidRequest', { path, ...header('AWS AK:sig') });
  const ecdsa = header('AWS4-ECDSA-P256-SHA256 Credential=x');
  await refused(400, 'AuthorizationHeaderMalformed', { path, ...ecdsa });
  for (const value of [
    'AWS4-HMAC-SHA256',
    'AWS4-HMAC-SHA256 Credential=A/20260101/eu-test-1/s3/aws4_request',
    'AWS4-HMAC-SHA256 Credential=A/x, SignedHeaders=host, Signature=0',
    'AWS4-HMAC-SHA256 Credential=A/20260101/eu-test-1/s3, SignedHeaders=host, Signature=0',
    'AWS4-HMAC-SHA256 Credential=A/20260101/eu-test-1/s3/aws4_request, SignedHeaders=host, Signature=0',
    'AWS4-HMAC-SHA256 Credential=A/B/C/D/E, SignedHeaders=host, Signature=0, Signature=1',
  ]) {
    await refused(400, 'AuthorizationHeaderMalformed', { path, ...header(value) });
  }
  const wrongRegion = await refused(400, 'AuthorizationHeaderMalformed', {
    path,
    region: 'mars-1',
  });
  t.is(elementOf(wrongRegion, 'Region'), REGION);
  await refused(400, 'AuthorizationHeaderMalformed', { path, service: 'ec2' });
  await refused(403, 'RequestTimeTooSkewed', { path, date: minutes(-16) });
  await refused(403, 'RequestTimeTooSkewed', { path, date: minutes(16) });
  t.is((await send(shared, { path, date: minutes(-14) })).status, 200);
  const noDate = (wire: ReturnType<typeof wireOf>): void => void delete wire.headers['x-amz-date'];
  await refused(403, 'AccessDenied', { path, tamper: { request: noDate } });
  await refused(403, 'AccessDenied', {
    path,
    tamper: { request: (wire) => void (wire.headers['x-amz-meta-late'] = 'unsigned') },
  });
  await refused(403, 'AccessDenied', {
    path,
    tamper: {
      request: (wire) => {
        const value = wire.headers['authorization'] as string;
        wire.headers['authorization'] = value.replace('SignedHeaders=host;', 'SignedHeaders=');
      },
    },
  });
  await refused(400, 'InvalidToken', { path, headers: { 'x-amz-security-token': 'x' } });
  await refused(400, 'InvalidArgument', {
    path,
    query: 'X-Amz-Signature=0',
  });
  await refused(400, 'InvalidArgument', { path, payloadHash: 'not-hex' });
  await refused(400, 'InvalidArgument', { path, payloadHash: 'A'.repeat(64) });
  await refused(400, 'InvalidArgument', {
    path,
    payloadHash: 'STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD',
  });
  const noHash = (wire: ReturnType<typeof wireOf>): void =>
    void delete wire.headers['x-amz-content-sha256'];
  await refused(400, 'InvalidRequest', { path, tamper: { request: noHash } });
});

test('presigned URLs: refused when expired, early, too long or malformed', async (t) => {
  const path = '/bucket';
  const signed = { path, auth: 'presigned' } as const;
  for (const expiresSeconds of [0, -1, 604_801, Number.NaN]) {
    await refused(403, 'AccessDenied', { ...signed, expiresSeconds });
  }
  const ago = (seconds: number): Date => new Date(Date.now() - seconds * 1000);
  await refused(403, 'AccessDenied', { ...signed, date: ago(61), expiresSeconds: 60 });
  await refused(403, 'AccessDenied', { ...signed, date: ago(-1000) });
  t.is(
    (await send(shared, { ...signed, date: ago(500_000), expiresSeconds: 604_800 })).status,
    200,
  );
  for (const name of ['Algorithm', 'Credential', 'Date', 'Expires', 'SignedHeaders']) {
    await refused(400, 'AuthorizationQueryParametersError', {
      ...signed,
      tamper: {
        request: (wire) => {
          wire.url = wire.url.replace(new RegExp(`X-Amz-${name}=[^&]*&?`), '');
        },
      },
    });
  }
  await refused(400, 'AuthorizationQueryParametersError', { ...signed, region: 'mars-1' });
  // The engine's clock may be moved by years; signatures know nothing of it.
  const endpoint = await ownEndpoint(t, {});
  endpoint.clock.offsetMs = 400 * DAY_MS;
  t.is((await send(endpoint, signed)).status, 200);
  const ahead = await send(endpoint, { path, date: new Date(endpoint.clock.now()) });
  checkRefusal(ahead, 403, 'RequestTimeTooSkewed');
});

test('a presigned URL that carries headers in its query means them', async (t) => {
  const url = presignUrl({
    ...OWNER,
    method: 'PUT',
    scheme: 'http',
    host: shared.host,
    path: '/bucket/hoisted',
    query: 'x-amz-meta-colour=bl%C3%A4ulich&x-amz-storage-class=STANDARD_IA&X-Amz-Meta-Up=1',
    expiresSeconds: 60,
    region: REGION,
    service: 's3',
    date: new Date(),
  });
  const answer = await fetch(url, { method: 'PUT', body: 'x' });
  t.is(answer.status, 200);
  const head = await send(shared, { method: 'HEAD', path: '/bucket/hoisted' });
  t.is(Buffer.from(String(head.headers['x-amz-meta-colour']), 'latin1').toString(), 'bläulich');
  t.is(head.headers['x-amz-meta-up'], '1');
  t.is(head.headers['x-amz-storage-class'], 'STANDARD_IA');
  const split = url.replace('bl%C3%A4ulich', 'a%0D%0Ax-evil%3A1');
  t.is((await fetch(split, { method: 'PUT', body: 'x' })).status, 403);
  await refused(400, 'InvalidArgument', {
    method: 'PUT',
    path: '/bucket/split',
    auth: 'presigned',
    query: 'x-amz-meta-a=a%0D%0Ax-evil%3A1',
  });
  // A name that no answer can carry: stored, it would make the object unreadable for good.
  for (const name of ['a%20b', 'b%C3%A9', '%E6%97%A5', 'a%0D%0Ax-evil', 'a%3Ab', '']) {
    const query = `x-amz-meta-${name}=1`;
    await refused(400, 'InvalidArgument', {
      method: 'PUT',
      path: '/bucket/split',
      auth: 'presigned',
      query,
    });
  }
});

// ---------------------------------------------------------------- bodies

const bodyOf = (length: number): Buffer => randomBytes(length);

test('every kind of body arrives as it was sent, small and large', async (t) => {
  for (const auth of ['header', 'presigned'] as AuthKind[]) {
    for (const bodyKind of BODY_KINDS) {
      for (const length of [0, 1, 8191, 8192, 70_000, 256 * 1024, 256 * 1024 + 1, 2 * MiB]) {
        const body = bodyOf(length);
        const key = randomKey();
        const call: Call = { method: 'PUT', path: `/bucket/${key}`, body, auth, bodyKind };
        if (bodyKind.endsWith('trailer')) {
          call.trailers = [['x-amz-checksum-crc32c', checksumOf('CRC32C', body)]];
        }
        const what = `${auth} ${bodyKind} ${length}`;
        const put = await send(shared, call);
        t.is(put.status, 200, `${what} ${put.text}`);
        const md5 = createHash('md5').update(body).digest('hex');
        t.is(put.headers.etag, `"${md5}"`, what);
        const got = await send(shared, { path: `/bucket/${key}` });
        t.true(got.bytes.equals(body), what);
        t.is(got.headers['content-encoding'], undefined, what);
        if (call.trailers !== undefined) {
          t.is(put.headers['x-amz-checksum-crc32c'], call.trailers[0]?.[1], what);
        }
      }
    }
  }
});

test('a body that was changed, cut or padded on the way is refused and leaves nothing behind', async (t) => {
  for (const length of [20_000, 600_000]) {
    const body = bodyOf(length);
    const wrong = Buffer.from(body);
    wrong[length - 1] = (wrong[length - 1] as number) ^ 1;
    const key = randomKey();
    const put: Call = { method: 'PUT', path: `/bucket/${key}`, body };
    const swapBody = { request: (wire: ReturnType<typeof wireOf>) => void (wire.body = wrong) };
    await refused(400, 'XAmzContentSHA256Mismatch', { ...put, tamper: swapBody });
    for (const algorithm of CHECKSUM_ALGORITHMS) {
      const name = CHECKSUM_HEADERS[algorithm];
      const bodyKind = 'unsigned';
      const wrongSum = checksumOf(algorithm, wrong);
      await refused(400, 'BadDigest', { ...put, bodyKind, headers: { [name]: wrongSum } });
      await refused(400, 'BadDigest', { ...put, bodyKind, headers: { [name]: 'AAAA' } });
      for (const kind of ['streaming-signed-trailer', 'streaming-unsigned-trailer'] as const) {
        await refused(400, 'BadDigest', { ...put, bodyKind: kind, trailers: [[name, wrongSum]] });
        await refused(400, 'BadDigest', { ...put, bodyKind: kind, trailers: [[name, 'x']] });
      }
    }
    const md5 = createHash('md5').update(wrong).digest('base64');
    await refused(400, 'BadDigest', { ...put, headers: { 'content-md5': md5 } });
    for (const value of ['', 'x', md5.slice(1), `${md5}=`]) {
      await refused(400, 'InvalidDigest', { ...put, headers: { 'content-md5': value } });
    }
    t.false(await isThere(key));
  }
});

const SIGNED_KINDS: readonly BodyKind[] = ['streaming-signed', 'streaming-signed-trailer'];

test('signed chunks: none can be changed, moved, left out, added or resized', async (t) => {
  const body = bodyOf(40_000);
  const chunkBytes = 10_000;
  for (const bodyKind of SIGNED_KINDS) {
    const put: Call = { method: 'PUT', path: '/bucket/chunks', body, bodyKind, chunkBytes };
    if (bodyKind.endsWith('trailer'))
      put.trailers = [['x-amz-checksum-crc32', checksumOf('CRC32', body)]];
    const forgeries: [
      number,
      string,
      (chunks: { data: Buffer; signature: string; size: string }[]) => void,
    ][] = [
      [
        403,
        'SignatureDoesNotMatch',
        (c) => void (c[1] as { data: Buffer }).data.writeUInt8(1 ^ (c[1]?.data[5] as number), 5),
      ],
      [403, 'SignatureDoesNotMatch', (c) => void c.splice(0, 2, c[1] as never, c[0] as never)],
      [403, 'SignatureDoesNotMatch', (c) => void c.splice(1, 1)],
      [403, 'SignatureDoesNotMatch', (c) => void c.splice(3, 1)],
      [
        403,
        'SignatureDoesNotMatch',
        (c) => void ((c[2] as { signature: string }).signature = '0'.repeat(64)),
      ],
      [400, 'InvalidRequest', (c) => void ((c[2] as { signature: string }).signature = '')],
      [400, 'InvalidRequest', (c) => void ((c[0] as { size: string }).size = 'xyz')],
      [400, 'InvalidRequest', (c) => void ((c[0] as { size: string }).size = '-1')],
      [400, 'InvalidRequest', (c) => void ((c[0] as { size: string }).size = 'ffffffffffffffff')],
      [400, 'InvalidRequest', (c) => void ((c[0] as { size: string }).size = '1'.repeat(300))],
      [400, 'IncompleteBody', (c) => void ((c[0] as { size: string }).size = '100000')],
      [403, 'SignatureDoesNotMatch', (c) => void ((c[0] as { size: string }).size = '270f')],
      [400, 'IncompleteBody', (c) => void c.push(c[0] as never)],
    ];
    for (const [status, code, chunks] of forgeries.slice(0, -1)) {
      const copy = Buffer.from(body);
      await refused(
        status,
        code,
        { ...put, body: copy, tamper: { chunks } },
        `${bodyKind} ${chunks}`,
      );
    }
    t.is((await send(shared, put)).status, 200);
  }
});

test('chunks: sizes, lengths and trailers that lie are refused by their own codes', async (t) => {
  const body = bodyOf(30_000);
  const sum = checksumOf('SHA256', body);
  const trailers: [string, string][] = [['x-amz-checksum-sha256', sum]];
  const path = '/bucket/lies';
  for (const bodyKind of ['streaming-signed-trailer', 'streaming-unsigned-trailer'] as const) {
    const put: Call = { method: 'PUT', path, body, bodyKind, trailers };
    await refused(400, 'InvalidChunkSizeError', { ...put, chunkBytes: 8191 });
    await refused(411, 'MissingContentLength', { ...put, decodedLength: '' });
    await refused(400, 'InvalidArgument', { ...put, decodedLength: 'many' });
    await refused(400, 'IncompleteBody', { ...put, decodedLength: '30001' });
    await refused(400, 'IncompleteBody', { ...put, decodedLength: '29999' });
    await refused(400, 'EntityTooLarge', { ...put, decodedLength: String(6 * 1024 * MiB) });
    await refused(400, 'MalformedTrailerError', {
      ...put,
      trailers: [],
      announce: 'x-amz-checksum-sha256',
    });
    await refused(400, 'MalformedTrailerError', {
      ...put,
      trailers: [...trailers, ...trailers],
      announce: 'x-amz-checksum-sha256',
    });
    await refused(400, 'MalformedTrailerError', {
      ...put,
      trailers: [...trailers, ['x-other', '1']],
      announce: 'x-amz-checksum-sha256',
    });
    await refused(400, 'InvalidRequest', {
      ...put,
      headers: { 'x-amz-checksum-crc32': checksumOf('CRC32', body) },
    });
    await refused(501, 'NotImplemented', {
      ...put,
      trailers: [['x-amz-checksum-blake3', 'AAAAAAAAAAA=']],
    });
    await refused(400, 'MalformedTrailerError', {
      ...put,
      tamper: { trailer: () => 'nonsense\r\n' },
    });
    await refused(400, 'MalformedTrailerError', {
      ...put,
      tamper: { trailer: (text) => text + 'x'.repeat(20_000) },
    });
  }
  const signed: Call = {
    method: 'PUT',
    path,
    body,
    bodyKind: 'streaming-signed-trailer',
    trailers,
  };
  await refused(400, 'MalformedTrailerError', {
    ...signed,
    tamper: { trailer: (text) => text.replace(/x-amz-trailer.*\r\n/, '') },
  });
  await refused(403, 'SignatureDoesNotMatch', {
    ...signed,
    tamper: {
      trailer: (text) => text.replace(/signature:../, 'signature:00').replace(/signature:00$/, 'x'),
    },
  });
  const otherSum = checksumOf('SHA256', bodyOf(1));
  await refused(403, 'SignatureDoesNotMatch', {
    ...signed,
    tamper: { trailer: (text) => text.replace(sum, otherSum) },
  });
  await refused(400, 'MalformedTrailerError', {
    ...signed,
    bodyKind: 'streaming-unsigned-trailer',
    tamper: { trailer: (text) => `${text}x-amz-trailer-signature:00\r\n` },
  });
  await refused(400, 'InvalidRequest', {
    method: 'PUT',
    path,
    body,
    headers: { 'x-amz-trailer': 'x-amz-checksum-crc32' },
  });
  await refused(400, 'MalformedTrailerError', {
    method: 'PUT',
    path,
    body,
    bodyKind: 'streaming-signed',
    tamper: { trailer: () => 'x-amz-checksum-crc32:AAAAAA==\r\n' },
  });
  await refused(501, 'NotImplemented', {
    method: 'PUT',
    path,
    body,
    headers: { 'x-amz-checksum-blake3': 'x' },
  });
  t.false(await isThere('lies'));
});

test('who got every byte of a stream got verified bytes: the last piece waits for the checks', async (t) => {
  // A reader that stops at the announced size, without asking for the end, must not be fooled.
  const seen: number[] = [];
  const endpoint = await ownEndpoint(t, {
    engine: {
      getBucket: () => Promise.resolve({ name: 'bucket', owner: 'owner' }),
      putObject: async ({
        body,
        sizeBytes,
      }: {
        body: AsyncIterable<Uint8Array>;
        sizeBytes: number;
      }) => {
        let got = 0;
        for await (const piece of body) {
          got += piece.length;
          seen.push(got);
          if (got === sizeBytes) break;
        }
        assert.equal(got, sizeBytes);
        return { version: { etag: 'x' }, versionId: undefined };
      },
    } as never,
  });
  const body = bodyOf(3 * MiB);
  for (const bodyKind of BODY_KINDS) {
    const wrong = checksumOf('CRC64NVME', bodyOf(1));
    const call: Call = { method: 'PUT', path: '/bucket/k', body, bodyKind };
    if (bodyKind.endsWith('trailer')) call.trailers = [['x-amz-checksum-crc64nvme', wrong]];
    else call.headers = { 'x-amz-checksum-crc64nvme': wrong };
    seen.length = 0;
    checkRefusal(await send(endpoint, call), 400, 'BadDigest', bodyKind);
    t.true(seen.length > 0 && (seen.at(-1) as number) < body.length, bodyKind);
  }
});

test('lengths: a body must be announced, and may not be larger than S3 allows', async (t) => {
  const put: Call = { method: 'PUT', path: '/bucket/lengths' };
  const length = (value: string | undefined): Call['tamper'] => ({
    request: (wire) => {
      if (value === undefined) delete wire.headers['content-length'];
      else wire.headers['content-length'] = value;
    },
  });
  const head = rawHead(wireOf(shared, { ...put, tamper: length(undefined) }));
  const none = await sendRaw(shared, head);
  t.regex(none, /^HTTP\/1\.1 411 /);
  t.regex(none, /<Code>MissingContentLength</);
  const huge = wireOf(shared, { ...put, tamper: length(String(6 * 1024 * MiB)) });
  t.regex(await sendRaw(shared, rawHead(huge)), /<Code>EntityTooLarge</);
  // HTTP's own chunking, without a length, is fine.
  const chunked = wireOf(shared, { ...put, bodyKind: 'unsigned', tamper: length(undefined) });
  const head2 = rawHead(chunked, ['transfer-encoding: chunked']);
  t.regex(await sendRaw(shared, `${head2}5\r\nhello\r\n0\r\n\r\n`), /^HTTP\/1\.1 200 /);
  t.is((await send(shared, { path: '/bucket/lengths' })).text, 'hello');
});

// ---------------------------------------------------------------- HTTP itself

test('what is not even HTTP gets S3 XML and a closed connection', async (t) => {
  const host = `Host: ${shared.host}`;
  const cases: [string, string, string?][] = [
    [
      'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      'InvalidRequest',
    ],
    [
      'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      'InvalidRequest',
    ],
    [
      'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n',
      'InvalidRequest',
    ],
    ['PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n', 'InvalidRequest'],
    ['GET / HTTP/1.1\r\nHost : a\r\n\r\n', 'InvalidRequest'],
    ['GET / HTTP/1.1\nHost: a\n\n', 'InvalidRequest'],
    ['GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n', 'InvalidRequest'],
    ['NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n', 'InvalidRequest'],
    ['\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03', 'InvalidRequest'],
    [
      `GET / HTTP/1.1\r\n${host}\r\nX-Big: ${'x'.repeat(40_000)}\r\n\r\n`,
      'RequestHeaderSectionTooLarge',
    ],
    // What the parser lets through is ours to refuse.
    [
      `PUT /bucket/k HTTP/1.1\r\n${host}\r\nContent-Length: 9223372036854775808\r\n\r\n`,
      'InvalidRequest',
    ],
    [`GET /bucket HTTP/1.1\r\n${host}\r\nHost: other\r\n\r\n`, 'InvalidRequest'],
    ['GET /bucket HTTP/1.1\r\n\r\n', 'InvalidRequest'],
    [
      `GET /bucket HTTP/1.1\r\n${host}\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n`,
      'InvalidRequest',
    ],
    [`GET http://elsewhere/bucket HTTP/1.1\r\n${host}\r\n\r\n`, 'InvalidURI'],
    [`OPTIONS * HTTP/1.1\r\n${host}\r\n\r\n`, 'InvalidURI'],
    [`GET /bucket/a#b HTTP/1.1\r\n${host}\r\n\r\n`, 'InvalidURI'],
  ];
  for (const [bytes, code] of cases) {
    const what = bytes.slice(0, 90);
    const text = await sendRaw(shared, Buffer.from(bytes, 'latin1'));
    t.regex(text, /^HTTP\/1\.1 400 /, what);
    const [head, body] = text.split('\r\n\r\n') as [string, string];
    checkErrorBody(body, /x-amz-request-id: (\S+)/i.exec(head)?.[1], what);
    t.is(codeOf({ text: body }), code, what);
  }
  t.is((await send(shared, { path: '/bucket' })).status, 200);
});

test('paths that two programs could read differently are refused', async (t) => {
  for (const path of [
    '/bucket/..',
    '/bucket/../foreign/x',
    '/bucket/a/../b',
    '/bucket/%2e%2e/x',
    '/bucket/%2E%2E%2Fx',
    '/bucket/a/./b',
    '/bucket/a/%2e',
    '/bucket/a%2F..',
    '/bucket/%',
    '/bucket/%4',
    '/bucket/%zz',
    '/bucket/%c0%ae%c0%ae/x',
    '/bucket/%ed%a0%80',
    '/bucket/%ff',
    '/bucket/%00',
    '/bucket/a%00b',
  ]) {
    const wire = wireOf(shared, { path: '/bucket/plain' });
    wire.url = path;
    checkRefusal(await sendWire(shared, wire), 400, 'InvalidURI', path);
  }
  for (const path of [
    '//bucket/k',
    '//',
    '/..',
    '/../bucket',
    '/%2e%2e/bucket',
    '/.',
    '/%2Fbucket/k',
  ]) {
    const wire = wireOf(shared, { path: '/bucket/plain' });
    wire.url = path;
    checkRefusal(await sendWire(shared, wire), 400, 'InvalidBucketName', path);
  }
  // These only look dangerous, and are keys like others: what was put is what is read, each its
  // own.
  const keys = [
    'a..b',
    '...',
    '..a',
    'a/...',
    '/',
    '//',
    '/lead',
    'a//b',
    'trail/',
    'a\\..\\b',
    '%2e%2e',
    '%252e',
    'C:\\x',
    'a b+c',
    'ünï/😀',
    '\u0001',
    'a\r\nb',
    '~',
    '__proto__',
    'constructor',
    `${'é'.repeat(512)}`,
  ];
  for (const key of keys) await putKey(key, `of ${key}`);
  for (const key of keys) {
    const got = await send(shared, { path: `/bucket/${encodePath(key)}` });
    t.is(got.text, `of ${key}`, key);
  }
  const listed = await sdk().send(new ListObjectsV2Command({ Bucket: 'bucket' }));
  const names = new Set(listed.Contents?.map(({ Key }) => decodeURIComponent(Key as string)));
  t.true(names.size > 0);
});

test('keys and buckets: the limits of length and form', async (t) => {
  const put = (path: string): Call => ({ method: 'PUT', path, body: '' });
  await refused(400, 'KeyTooLongError', put(`/bucket/${'k'.repeat(1025)}`));
  await refused(400, 'KeyTooLongError', put(`/bucket/${encodePath('ä'.repeat(513))}`));
  t.is((await send(shared, put(`/bucket/${'k'.repeat(1024)}`))).status, 200);
  for (const name of [
    '..',
    'a',
    'UPPER',
    'under_score',
    '127.0.0.1',
    'x'.repeat(64),
    'xn--a',
    'a..b',
    'a.-b',
    'a-.b',
    '-ab',
    'ab-',
    'x-s3alias',
    'sthree-a',
    'a%2Fb',
    '%C3%A4bc',
    '.ab',
    'ab.',
  ]) {
    await refused(400, 'InvalidBucketName', { method: 'PUT', path: `/${name}` });
  }
  for (const name of ['a.b-c', '123', 'x'.repeat(63)]) {
    t.is((await send(shared, { method: 'PUT', path: `/${name}` })).status, 200, name);
    t.is((await send(shared, { method: 'DELETE', path: `/${name}` })).status, 204, name);
  }
});

test('a body that ends early or stalls is refused in time, and the server lives', async (t) => {
  const endpoint = await ownEndpoint(t, { stallMs: 200 });
  for (const length of [5000, 2 * MiB]) {
    const wire = wireOf(endpoint, { method: 'PUT', path: '/bucket/cut', body: bodyOf(length) });
    const cut = Buffer.concat([Buffer.from(rawHead(wire)), wire.body.subarray(0, length - 1)]);
    const ended = await sendRaw(endpoint, cut, { end: true });
    t.regex(ended, /<Code>IncompleteBody</, String(length));
    const stalled = await sendRaw(endpoint, cut);
    t.regex(stalled, /<Code>RequestTimeout</, String(length));
    t.regex(stalled, /connection: close/i);
  }
  // Gone in the middle, many times.
  for (let i = 0; i < 20; i++) {
    const wire = wireOf(endpoint, { method: 'PUT', path: '/bucket/cut', body: bodyOf(MiB) });
    const socket = connect(endpoint.port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(Buffer.concat([Buffer.from(rawHead(wire)), wire.body.subarray(0, 1000 * i)]));
    await sleep(2);
    socket.destroy();
  }
  await sleep(50);
  t.is((await send(endpoint, { path: '/bucket/cut' })).status, 404);
  t.deepEqual(
    endpoint.records.filter(({ fault }) => fault !== undefined),
    [],
  );
});

test('a slow but steady body is not a stalled one', async (t) => {
  const endpoint = await ownEndpoint(t, { stallMs: 300 });
  const body = bodyOf(160 * 1024);
  const wire = wireOf(endpoint, { method: 'PUT', path: '/bucket/slow', body });
  const socket = connect(endpoint.port, '127.0.0.1');
  const answer = new Promise<string>((resolve) => {
    socket.once('data', (piece) => resolve(String(piece)));
  });
  socket.write(rawHead(wire));
  for (let at = 0; at < body.length; at += 8192) {
    socket.write(body.subarray(at, at + 8192));
    await sleep(60);
  }
  t.regex(await answer, /^HTTP\/1\.1 200 /);
  socket.destroy();
});

test('100 Continue is sent to who may go on, and never to who is refused', async (t) => {
  const expect = async (call: Call): Promise<{ continued: boolean; status: number }> => {
    const wire = wireOf(shared, { ...call, headers: { expect: '100-continue' } });
    return new Promise((resolve, reject) => {
      const request = http.request({
        host: '127.0.0.1',
        port: shared.port,
        method: wire.method,
        path: wire.url,
        headers: wire.headers,
        setHost: false,
      });
      let continued = false;
      request.on('continue', () => {
        continued = true;
        request.end(wire.body);
      });
      request.on('response', (response) => {
        response.resume();
        resolve({ continued, status: response.statusCode ?? 0 });
        request.destroy();
      });
      request.on('error', reject);
      request.flushHeaders();
    });
  };
  const body = bodyOf(300_000);
  const put: Call = { method: 'PUT', path: '/bucket/expected', body };
  t.deepEqual(await expect(put), { continued: true, status: 200 });
  t.deepEqual(await expect({ ...put, body: 'small' }), { continued: true, status: 200 });
  const refusals: [number, Partial<Call>][] = [
    [403, { tamper: { request: (wire) => void delete wire.headers['authorization'] } }],
    [403, { tamper: { request: (wire) => void (wire.url = '/bucket/other') } }],
    [403, { path: '/foreign/k' }],
    [404, { path: '/no-such-bucket/k' }],
    [
      400,
      {
        headers: {},
        tamper: {
          request: (wire) => void (wire.headers['content-length'] = String(6 * 1024 * MiB)),
        },
      },
    ],
  ];
  for (const [status, more] of refusals) {
    t.deepEqual(
      await expect({ ...put, ...more }),
      { continued: false, status },
      JSON.stringify(more),
    );
  }
});

test('a refusal reaches a client that is still sending', async (t) => {
  const body = bodyOf(3 * MiB);
  const spoil = (wire: ReturnType<typeof wireOf>): void =>
    void delete wire.headers['authorization'];
  for (let i = 0; i < 5; i++) {
    await refused(
      403,
      'AccessDenied',
      { method: 'PUT', path: '/bucket/big', body, tamper: { request: spoil } },
      'sending',
    );
  }
  t.pass();
});

// ---------------------------------------------------------------- dispatch

test('a subresource that we do not know never falls through to the object', async (t) => {
  await putKey('precious', 'precious');
  for (const query of [
    'acl',
    'tagging',
    'retention',
    'newthing',
    'legal-hold=',
    'x=1',
    'torrent',
    'policy',
  ]) {
    for (const method of ['PUT', 'DELETE', 'POST']) {
      const answer = await send(shared, {
        method,
        path: '/bucket/precious',
        query,
        body: method === 'DELETE' ? '' : 'overwritten',
      });
      // It has tags of its own to delete, and nothing else.
      const isDone = query === 'tagging' && method === 'DELETE' ? [204] : [400, 405, 501];
      t.true(isDone.includes(answer.status), `${method} ${query} ${answer.text}`);
    }
  }
  for (const query of ['annotations', 'newthing', 'policy']) {
    await refused(501, 'NotImplemented', { path: '/bucket/precious', query });
  }
  t.is((await send(shared, { path: '/bucket/precious', query: 'cachebuster=1' })).text, 'precious');
  await refused(400, 'InvalidArgument', {
    method: 'PUT',
    path: '/bucket/precious',
    query: 'partNumber=1',
    body: 'x',
  });
  await refused(400, 'InvalidArgument', {
    method: 'PUT',
    path: '/bucket/precious',
    query: 'versionId=null',
    body: 'x',
  });
  await refused(400, 'InvalidArgument', { path: '/bucket', query: 'versions&uploads' });
  await refused(400, 'InvalidArgument', { path: '/bucket', query: 'list-type=3' });
  await refused(405, 'MethodNotAllowed', { method: 'PATCH', path: '/bucket/precious' });
  await refused(405, 'MethodNotAllowed', { method: 'POST', path: '/' });
  await refused(405, 'MethodNotAllowed', { method: 'DELETE', path: '/' });
  const versioning = { method: 'DELETE', path: '/bucket', query: 'versioning' };
  t.is((await refused(405, 'MethodNotAllowed', versioning)).headers.allow, 'GET, PUT');
  t.is((await send(shared, { path: '/bucket/precious' })).text, 'precious');
});

test('headers that ask for what we do not do are refused, not ignored', async (t) => {
  const refuse: [string, string, number, string][] = [
    ['x-amz-server-side-encryption', 'aws:kms:dsse', 501, 'NotImplemented'],
    ['x-amz-server-side-encryption-customer-algorithm', 'AES256', 400, 'InvalidArgument'],
    ['x-amz-object-lock-mode', 'GOVERNANCE', 400, 'InvalidRequest'],
    ['x-amz-website-redirect-location', 'javascript:alert(1)', 400, 'InvalidRedirectLocation'],
    ['x-amz-grant-read', 'id=x', 400, 'InvalidArgument'],
    ['x-amz-acl', 'public-read', 400, 'AccessControlListNotSupported'],
    ['x-amz-storage-class', 'NEVERNEVER', 400, 'InvalidStorageClass'],
    ['x-amz-tagging', 'a=1&a=2', 400, 'InvalidTag'],
    ['x-amz-tagging', Array.from({ length: 11 }, (_, i) => `k${i}=1`).join('&'), 400, 'InvalidTag'],
    ['x-amz-tagging', `${'k'.repeat(129)}=1`, 400, 'InvalidTag'],
    ['x-amz-meta-big', 'x'.repeat(2048), 400, 'MetadataTooLarge'],
    // A record would give it back under another name.
    ['x-amz-meta-__proto__', 'x', 400, 'InvalidArgument'],
  ];
  for (const [name, value, status, code] of refuse) {
    const call: Call = {
      method: 'PUT',
      path: '/bucket/asked',
      body: 'x',
      headers: { [name]: value },
    };
    await refused(status, code, call);
    await refused(status, code, { ...call, method: 'POST', query: 'uploads' });
  }
  t.false(await isThere('asked'));
  await putKey('asked', 'x', { headers: { 'x-amz-acl': 'bucket-owner-full-control' } });
  await refused(400, 'MalformedPOSTRequest', {
    method: 'POST',
    path: '/bucket',
    headers: { 'content-type': 'multipart/form-data; boundary=x' },
    tamper: { request: (wire) => void delete wire.headers['authorization'] },
  });
});

test('virtual hosts: the bucket may be in the host, and only below our own domain', async (t) => {
  const endpoint = await ownEndpoint(t, { domain: 's3.example.com' });
  const at = (host: string, path: string, more: Partial<Call> = {}): Promise<Answer> =>
    sendWire(endpoint, wireOf({ host }, { path, ...more }));
  t.is((await at('bucket.s3.example.com:9000', '/k', { method: 'PUT', body: 'v' })).status, 200);
  t.is((await at('BUCKET.s3.example.com', '/k')).text, 'v');
  t.is((await at('s3.example.com', '/bucket/k')).text, 'v');
  t.is((await at('localhost', '/bucket/k')).text, 'v');
  t.is((await at('bucket.other.com', '/k')).status, 400);
  checkRefusal(await at('foreign.s3.example.com', '/k'), 403, 'AccessDenied');
  checkRefusal(await at('a.b..s3.example.com', '/k'), 400, 'InvalidBucketName');
});

// ---------------------------------------------------------------- our own faults

test('a fault of ours shows its request id and nothing else', async (t) => {
  let thrown: unknown;
  const endpoint = await ownEndpoint(t, {
    engine: new Proxy({} as never, { get: () => () => Promise.reject(thrown as Error) }),
  });
  const cases: [unknown, number, string, boolean][] = [
    [new Error('/var/lib/firn/drive-3 exploded'), 500, 'InternalError', false],
    [new TypeError('undefined is not a function'), 500, 'InternalError', false],
    ['a string', 500, 'InternalError', false],
    [
      new FirnError('Corrupt', '/drives/3/seg is bad', { hint: '/secret' }),
      500,
      'InternalError',
      false,
    ],
    [new FirnError('TierMissing', 'gs://secret/x'), 500, 'InternalError', false],
    [
      new FirnError('MetadataUnavailable', 'mongodb://user:secret@host'),
      503,
      'ServiceUnavailable',
      true,
    ],
    [new FirnError('TierUnavailable', 'secret'), 503, 'ServiceUnavailable', true],
    [new FirnError('DriveUnavailable', '/drives/secret'), 503, 'ServiceUnavailable', true],
    [new FirnError('SlowDown', 'secret'), 503, 'SlowDown', true],
    [new FirnError('TierOffline', 'secret'), 403, 'InvalidObjectState', false],
  ];
  for (const [error, status, code, retry] of cases) {
    thrown = error;
    endpoint.records.length = 0;
    const answer = await send(endpoint, { path: '/bucket/k' });
    checkRefusal(answer, status, code, String(error));
    t.is(answer.headers['retry-after'] !== undefined, retry);
    t.notRegex(answer.text, /secret|drive|exploded|function|mongodb/);
    if (status >= 500) t.is(endpoint.records[0]?.fault, error);
  }
});

test('bytes that go bad half way are cut off, never passed as whole', async (t) => {
  const endpoint = await ownEndpoint(t, {
    engine: {
      getBucket: () => Promise.resolve({ name: 'bucket', owner: 'owner' }),
      getObject: () =>
        Promise.resolve({
          bucket: {},
          version: {
            etag: 'x',
            lastModified: 0,
            headers: {},
            metadata: {},
            storageClass: 'STANDARD',
            sizeBytes: 2000,
          },
          range: { offset: 0, length: 2000 },
          partial: false,
          body: (async function* () {
            yield Buffer.alloc(1000);
            await sleep(1);
            throw new FirnError('Corrupt', 'beyond repair');
          })(),
        }),
    } as never,
  });
  await t.throwsAsync(send(endpoint, { path: '/bucket/k' }));
  t.true(isFirnError(endpoint.records.at(-1)?.fault, 'Corrupt'));
});

for (const pipelined of [1, 3]) {
  test(`a client that hangs up during ${pipelined} large answers is no fault of ours, and frees the readers`, async (t) => {
    let returned = 0;
    let asked = 0;
    const version = { etag: 'x', lastModified: 0, headers: {}, metadata: {} };
    const endpoint = await ownEndpoint(t, {
      engine: {
        getBucket: () => Promise.resolve({ name: 'bucket', owner: 'owner' }),
        getObject: () => {
          asked++;
          return Promise.resolve({
            bucket: {},
            version: { ...version, storageClass: 'STANDARD', sizeBytes: 2 ** 40 },
            range: { offset: 0, length: 2 ** 40 },
            partial: false,
            body: (async function* () {
              try {
                for (;;) yield Buffer.alloc(MiB);
              } finally {
                returned++;
              }
            })(),
          });
        },
      } as never,
    });
    const wire = wireOf(endpoint, { path: '/bucket/k' });
    const socket = connect(endpoint.port, '127.0.0.1');
    socket.write(rawHead(wire).repeat(pipelined));
    await new Promise((resolve) => {
      socket.once('readable', resolve);
    });
    for (let i = 0; i < 100 && asked < pipelined; i++) await sleep(10);
    socket.destroy();
    for (let i = 0; i < 100 && returned < pipelined; i++) await sleep(10);
    t.is(returned, pipelined);
    for (let i = 0; i < 100 && endpoint.records.length < pipelined; i++) await sleep(10);
    t.deepEqual(
      endpoint.records.map(({ fault }) => fault),
      Array.from({ length: pipelined }, () => undefined),
    );
  });
}

// ---------------------------------------------------------------- XML

test('XML is read strictly: no key becomes another key', (t) => {
  const text = (xml: string): string => parseXml(Buffer.from(xml), 'K').text;
  t.is(text('<K>001</K>'), '001');
  t.is(text('<K>1e3</K>'), '1e3');
  t.is(text('<K>  a  </K>'), '  a  ');
  t.is(text('<K>&amp;#13;</K>'), '&#13;');
  t.is(text('<K>&#13;&#xA;&lt;&gt;&quot;&apos;&amp;</K>'), '\r\n<>"\'&');
  t.is(text('<K>&#x1F600;😀</K>'), '😀😀');
  t.is(text('<K>true</K>'), 'true');
  t.is(text('<?xml version="1.0"?><!-- c --><K xmlns="x">a</K>'), 'a');
  for (const bad of [
    '',
    ' ',
    'x',
    '<K>',
    '<K></J>',
    '<J/>',
    '<K/><K/>',
    '<K>a</K>b',
    '<K>&#0;</K>',
    '<K>&#xD800;</K>',
    '<K>&#x110000;</K>',
    '<K>&bogus;</K>',
    '<K>&copy;</K>',
    '<K>a & b</K>',
    '<K>a<B/>c</K>',
    '<K><![CDATA[a]]></K>',
    '<!DOCTYPE K [<!ENTITY e SYSTEM "file:///etc/passwd">]><K>&e;</K>',
    '<!DOCTYPE K [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><K>&b;</K>',
    '<K><__proto__>1</__proto__></K>',
    `<K>${'<A>'.repeat(10_000)}${'</A>'.repeat(10_000)}</K>`,
    `<K>${'<A/>'.repeat(100_000)}</K>`,
  ]) {
    const error = t.throws(() => parseXml(Buffer.from(bad), 'K'), undefined, bad.slice(0, 80));
    t.true(isFirnError(error, 'MalformedXML'), bad.slice(0, 80));
  }
  t.throws(() => parseXml(Buffer.from([0x3c, 0x4b, 0x3e, 0xff, 0x3c, 0x2f, 0x4b, 0x3e]), 'K'));
});

test('XML is written so that every key that XML can hold comes back', (t) => {
  const random = seeded(randomInt(2 ** 31));
  for (let i = 0; i < 500; i++) {
    let key = '';
    for (let n = 0; n < 10; n++) {
      const point = Math.floor(random() * (random() < 0.5 ? 128 : 0x10000));
      const control = point < 32 && ![9, 10, 13].includes(point);
      if (!control && (point < 0xd800 || point > 0xdfff)) key += String.fromCharCode(point);
    }
    t.is(parseXml(Buffer.from(element('K', key)), 'K').text, key, JSON.stringify(key));
  }
  t.is(element('K', 'a\u0001b'), '<K>a&#1;b</K>');
});

const post = (query: string, body: string, path = '/bucket'): Call => ({
  method: 'POST',
  path,
  query,
  body,
});

test('XML bodies that are malformed, foreign or too large are refused', async (t) => {
  const keys = (count: number): string =>
    `<Delete>${'<Object><Key>k</Key></Object>'.repeat(count)}</Delete>`;
  const upload = '0'.repeat(32);
  for (const body of [
    '',
    'x',
    '<Delete>',
    '<Delete/>',
    keys(0),
    keys(1001),
    '<Delete><Object/></Delete>',
    '<Delete><Object><Key></Key></Object></Delete>',
    '<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>',
    '<Delete><Object><Key>a</Key><Other/></Object></Delete>',
    '<Delete><Quiet>1</Quiet><Quiet>1</Quiet></Delete>',
    '<Remove/>',
  ]) {
    await refused(400, 'MalformedXML', post('delete', body));
    await refused(400, 'MalformedXML', post('restore', body, '/bucket/k'));
    await refused(400, 'MalformedXML', post(`uploadId=${upload}`, body, '/bucket/k'));
    await refused(400, 'MalformedXML', { ...post('versioning', body), method: 'PUT' });
    await refused(400, 'MalformedXML', { ...post('lifecycle', body), method: 'PUT' });
    if (body !== '')
      await refused(400, 'MalformedXML', { ...post('', body, '/new-bucket'), method: 'PUT' });
  }
  const large = `<VersioningConfiguration>${' '.repeat(MiB)}</VersioningConfiguration>`;
  await refused(400, 'MaxMessageLengthExceeded', { ...post('versioning', large), method: 'PUT' });
  await refused(400, 'MaxMessageLengthExceeded', post('restore', large, '/bucket/k'));
  const put = { method: 'PUT', path: '/bucket' };
  await refused(400, 'IllegalVersioningConfigurationException', {
    ...put,
    query: 'versioning',
    body: '<VersioningConfiguration/>',
  });
  await refused(501, 'NotImplemented', {
    ...put,
    query: 'versioning',
    body: '<VersioningConfiguration><Status>Enabled</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>',
  });
  await refused(400, 'IllegalLocationConstraintException', {
    ...put,
    path: '/new-bucket',
    body: '<CreateBucketConfiguration><LocationConstraint>mars-1</LocationConstraint></CreateBucketConfiguration>',
  });
  t.is((await send(shared, { path: '/new-bucket' })).status, 404);
  const rule = (inner: string): Call => ({
    ...put,
    query: 'lifecycle',
    body: `<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status>${inner}</Rule></LifecycleConfiguration>`,
  });
  await refused(
    400,
    'MalformedXML',
    rule('<Filter/><Expiration><Days>1</Days></Expiration><Surprise/>'),
  );
  await refused(
    400,
    'MalformedXML',
    rule('<Filter><Prefix>a</Prefix></Filter><Filter/><Expiration><Days>1</Days></Expiration>'),
  );
  await refused(400, 'InvalidArgument', rule('<Filter/><Expiration><Days>0</Days></Expiration>'));
  await refused(
    400,
    'InvalidStorageClass',
    rule('<Filter/><Transition><Days>1</Days><StorageClass>NEVER</StorageClass></Transition>'),
  );
  const numbers = (list: number[]): string =>
    `<CompleteMultipartUpload>${list.map((n) => `<Part><PartNumber>${n}</PartNumber><ETag>x</ETag></Part>`).join('')}</CompleteMultipartUpload>`;
  await refused(400, 'InvalidPartOrder', post(`uploadId=${upload}`, numbers([2, 1]), '/bucket/k'));
  await refused(400, 'InvalidArgument', post(`uploadId=${upload}`, numbers([0, 1]), '/bucket/k'));
  await refused(404, 'NoSuchUpload', post(`uploadId=${upload}`, numbers([1]), '/bucket/k'));
  await refused(404, 'NoSuchUpload', post('uploadId=..%2Fx', numbers([1]), '/bucket/k'));
  for (const days of ['0', '-1', '99999999']) {
    await refused(
      400,
      'InvalidArgument',
      post('restore', `<RestoreRequest><Days>${days}</Days></RestoreRequest>`, '/bucket/k'),
    );
  }
  await refused(
    501,
    'NotImplemented',
    post(
      'restore',
      '<RestoreRequest><Type>SELECT</Type><Days>1</Days></RestoreRequest>',
      '/bucket/k',
    ),
  );
  await refused(
    400,
    'MalformedXML',
    post(
      'restore',
      '<RestoreRequest><Days>1</Days><Tier>Warp</Tier></RestoreRequest>',
      '/bucket/k',
    ),
  );
});

test('parameters that are no numbers, tokens or ids are refused', async (t) => {
  for (const [query, code] of [
    ['max-keys=-1', 'InvalidArgument'],
    ['max-keys=abc', 'InvalidArgument'],
    ['list-type=2&max-keys=1e3', 'InvalidArgument'],
    ['list-type=2&continuation-token=forged', 'InvalidArgument'],
    ['encoding-type=base64', 'InvalidArgument'],
    ['versions&version-id-marker=null', 'InvalidArgument'],
    ['versions&key-marker=a&version-id-marker=zzz', 'InvalidArgument'],
    ['uploads&max-uploads=x', 'InvalidArgument'],
  ] as const) {
    await refused(400, code, { path: '/bucket', query });
  }
  for (const query of ['max-buckets=0', 'max-buckets=10001', 'continuation-token=x']) {
    await refused(400, 'InvalidArgument', { path: '/', query });
  }
  await putKey('params', 'x');
  for (const query of [
    'versionId=',
    'versionId=../x',
    'versionId=zz',
    'partNumber=0',
    'partNumber=10001',
    'partNumber=abc',
  ]) {
    await refused(400, 'InvalidArgument', { path: '/bucket/params', query });
  }
  await refused(404, 'NoSuchVersion', {
    path: '/bucket/params',
    query: `versionId=${'0'.repeat(28)}`,
  });
  await refused(400, 'InvalidPart', { path: '/bucket/params', query: 'partNumber=2' });
  await refused(400, 'InvalidArgument', {
    method: 'PUT',
    path: '/bucket/params',
    query: `uploadId=${'0'.repeat(32)}`,
    body: '',
  });
  await refused(400, 'InvalidArgument', {
    path: '/bucket/params',
    query: 'response-content-type=a%0d%0ab',
  });
  for (const source of BAD_COPY_SOURCES) {
    await refused(
      400,
      'InvalidArgument',
      { method: 'PUT', path: '/bucket/copy', headers: { 'x-amz-copy-source': source } },
      source,
    );
  }
  await refused(404, 'NoSuchBucket', {
    method: 'PUT',
    path: '/bucket/copy',
    headers: { 'x-amz-copy-source': 'no-such-bucket/k' },
  });
  await refused(400, 'InvalidRequest', {
    method: 'PUT',
    path: '/bucket/params',
    headers: { 'x-amz-copy-source': 'bucket/params' },
  });
  await refused(400, 'InvalidArgument', {
    method: 'PUT',
    path: '/bucket/params',
    headers: { 'x-amz-copy-source': 'bucket/params', 'x-amz-metadata-directive': 'MAYBE' },
  });
  t.is((await send(shared, { path: '/bucket/params' })).text, 'x');
});

// ---------------------------------------------------------------- reading

test('ranges: exactly the bytes asked for, and nonsense counts as no range', async (t) => {
  const body = bodyOf(1000);
  await putKey('ranged', body);
  await putKey('empty', '');
  const get = (range: string, key = 'ranged', more: Record<string, string> = {}): Promise<Answer> =>
    send(shared, { path: `/bucket/${key}`, headers: { range, ...more } });
  for (const [range, from, to] of [
    ['bytes=0-0', 0, 1],
    ['bytes=5-9', 5, 10],
    ['bytes=990-', 990, 1000],
    ['bytes=-10', 990, 1000],
    ['bytes=-5000', 0, 1000],
    ['bytes=0-99999999999', 0, 1000],
    ['bytes=999-999', 999, 1000],
  ] as const) {
    const answer = await get(range);
    t.is(answer.status, 206, range);
    t.true(answer.bytes.equals(body.subarray(from, to)), range);
    t.is(answer.headers['content-range'], `bytes ${from}-${to - 1}/1000`, range);
  }
  for (const range of [
    'bytes=5-3',
    'bytes=',
    'bytes=-',
    'bytes=a-b',
    'lines=1-2',
    'bytes=0-1,5-6',
    'garbage',
    `bytes=${'9'.repeat(30)}-`,
  ]) {
    const answer = await get(range);
    t.is(answer.status, 200, range);
    t.is(answer.bytes.length, 1000, range);
  }
  for (const [range, key] of [
    ['bytes=1000-', 'ranged'],
    ['bytes=-0', 'ranged'],
    ['bytes=0-0', 'empty'],
    ['bytes=-1', 'empty'],
  ] as const) {
    const answer = await get(range, key);
    checkRefusal(answer, 416, 'InvalidRange', range);
  }
  t.is((await get('bytes=2000-')).headers['content-range'], 'bytes */1000');
  await refused(400, 'InvalidRequest', {
    path: '/bucket/ranged',
    query: 'partNumber=1',
    headers: { range: 'bytes=0-1' },
  });
  // A client that goes on with an old object must not glue its tail to another one.
  t.is((await get('bytes=5-9', 'ranged', { 'if-range': '"other"' })).status, 200);
  const etag = `"${createHash('md5').update(body).digest('hex')}"`;
  t.is((await get('bytes=5-9', 'ranged', { 'if-range': etag })).status, 206);
});

test('conditions: a cache is told the truth, a writer loses no update', async (t) => {
  const { headers } = await putKey('conditional', 'one');
  const etag = headers.etag as string;
  const path = '/bucket/conditional';
  const later = new Date(Date.now() + 60_000).toUTCString();
  const earlier = new Date(Date.now() - 60_000).toUTCString();
  const status = async (name: string, value: string, more: Partial<Call> = {}): Promise<number> =>
    (await send(shared, { path, headers: { [name]: value }, ...more })).status;
  t.is(await status('if-match', etag), 200);
  t.is(await status('if-match', `"x", ${etag}`), 200);
  t.is(await status('if-match', '"x"'), 412);
  t.is(await status('if-none-match', '"x"'), 200);
  t.is(await status('if-unmodified-since', earlier), 412);
  t.is(await status('if-modified-since', earlier), 200);
  t.is(await status('if-modified-since', 'garbage'), 200);
  for (const [name, value] of [
    ['if-none-match', etag],
    ['if-none-match', `"x", ${etag}`],
    ['if-modified-since', later],
  ] as const) {
    for (const method of ['GET', 'HEAD']) {
      const answer = await send(shared, { method, path, headers: { [name]: value } });
      t.is(answer.status, 304);
      t.is(answer.headers.etag, etag);
      t.is(answer.text, '');
    }
  }
  const put = { method: 'PUT', body: 'two' };
  t.is(await status('if-none-match', '*', put), 412);
  t.is(await status('if-match', '"x"', put), 412);
  t.is(await status('if-match', '*', { ...put, path: '/bucket/absent' }), 404);
  t.is(await status('if-match', etag, put), 200);
  t.is(await status('if-match', etag, put), 412);
  t.is(await status('if-match', etag, { method: 'DELETE' }), 412);
  t.is(await status('x-amz-if-match-size', '4', { method: 'DELETE' }), 412);
  t.is(await status('x-amz-if-match-size', 'x', { method: 'DELETE' }), 400);
  t.is(await status('x-amz-if-match-size', '3', { method: 'DELETE' }), 204);
});

test('what was stored with an object comes back with it, and can be overridden by who signs', async (t) => {
  const sent = {
    'content-type': 'text/plain; charset=utf-8',
    'cache-control': 'max-age=60',
    'content-disposition': 'attachment; filename="a.txt"',
    'content-encoding': 'gzip,aws-chunked',
    'content-language': 'de',
    expires: 'Thu, 01 Dec 2033 16:00:00 GMT',
    'x-amz-website-redirect-location': '/elsewhere',
    'x-amz-meta-one': 'eins  zwei',
    'x-amz-meta-b64': 'Zm9v=',
    'x-amz-tagging': 'a=1&b=%C3%A4',
  };
  await putKey('described', 'x', { headers: sent });
  const head = await send(shared, { method: 'HEAD', path: '/bucket/described' });
  for (const [name, value] of Object.entries(sent)) {
    if (name === 'x-amz-tagging') t.is(head.headers['x-amz-tagging-count'], '2');
    else t.is(head.headers[name], value.replace(',aws-chunked', ''), name);
  }
  t.is(head.headers['content-length'], '1');
  const query =
    'response-content-type=text%2Fhtml&response-cache-control=no-store&response-expires=';
  for (const auth of ['header', 'presigned'] as AuthKind[]) {
    const got = await send(shared, { path: '/bucket/described', query, auth });
    t.is(got.headers['content-type'], 'text/html');
    t.is(got.headers['cache-control'], 'no-store');
    t.is(got.headers['content-language'], 'de');
  }
});

test('a missing key, a delete marker and a version are told apart', async (t) => {
  const bucket = 'told-apart';
  t.is((await send(shared, { method: 'PUT', path: `/${bucket}` })).status, 200);
  const path = `/${bucket}/k`;
  const absent = await refused(404, 'NoSuchKey', { path });
  t.is(absent.headers['x-amz-delete-marker'], 'false');
  const enable = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
  t.is(
    (await send(shared, { method: 'PUT', path: `/${bucket}`, query: 'versioning', body: enable }))
      .status,
    200,
  );
  const put = await send(shared, { method: 'PUT', path, body: 'v1' });
  const versionId = put.headers['x-amz-version-id'] as string;
  const deleted = await send(shared, { method: 'DELETE', path });
  const marker = deleted.headers['x-amz-version-id'] as string;
  t.is(deleted.headers['x-amz-delete-marker'], 'true');
  const gone = await refused(404, 'NoSuchKey', { path });
  t.is(gone.headers['x-amz-delete-marker'], 'true');
  t.is(gone.headers['x-amz-version-id'], marker);
  const byId = await refused(405, 'MethodNotAllowed', { path, query: `versionId=${marker}` });
  t.is(byId.headers['x-amz-delete-marker'], 'true');
  t.is(byId.headers.allow, 'DELETE');
  t.is((await send(shared, { path, query: `versionId=${versionId}` })).text, 'v1');
  const list = await send(shared, { path: `/${bucket}`, query: 'versions' });
  t.is([...list.text.matchAll(/<DeleteMarker>/g)].length, 1);
  t.is([...list.text.matchAll(/<Version>/g)].length, 1);
  await refused(409, 'BucketNotEmpty', { method: 'DELETE', path: `/${bucket}` });
  for (const id of [marker, versionId]) {
    t.is((await send(shared, { method: 'DELETE', path, query: `versionId=${id}` })).status, 204);
  }
  t.is((await send(shared, { method: 'DELETE', path: `/${bucket}` })).status, 204);
});

// ---------------------------------------------------------------- with the SDK

const clients: S3Client[] = [];

function sdk(): S3Client {
  const client = new S3Client({
    endpoint: `http://${shared.host}`,
    region: REGION,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: OWNER.accessKey, secretAccessKey: OWNER.secretKey },
  });
  clients.push(client);
  return client;
}

test.after.always(() => {
  for (const client of clients) client.destroy();
});

async function newBucket(versioned = false): Promise<string> {
  const name = `b-${randomBytes(5).toString('hex')}`;
  await shared.engine.createBucket({ name, owner: 'owner', region: REGION });
  if (versioned) {
    const VersioningConfiguration = { Status: 'Enabled' } as const;
    await sdk().send(new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration }));
  }
  return name;
}

test('every page of every listing together is everything, once', async (t) => {
  const Bucket = await newBucket();
  const keys = [
    'a',
    'a/b',
    'a/c',
    'a/d/e',
    'b\u0001',
    'b b+%',
    'c\r\n',
    'd/',
    'd//x',
    'ä/1',
    'ä/2',
    '😀',
    '\uffee',
  ];
  for (const key of keys) {
    await shared.engine.putObject({
      bucket: Bucket,
      key,
      owner: 'owner',
      storageClass: 'STANDARD',
      headers: {},
      metadata: {},
      body: Buffer.from(key),
    });
  }
  const sorted = [...keys].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const client = sdk();
  const decode = (key: string | undefined): string => decodeURIComponent(key ?? '');
  for (const MaxKeys of [1, 2, 3, 1000]) {
    const seen: string[] = [];
    let ContinuationToken: string | undefined;
    do {
      const page = await client.send(
        new ListObjectsV2Command({ Bucket, MaxKeys, EncodingType: 'url', ContinuationToken }),
      );
      seen.push(...(page.Contents ?? []).map(({ Key }) => decode(Key)));
      t.true((page.KeyCount ?? 0) <= MaxKeys);
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken !== undefined);
    t.deepEqual(seen, sorted);
    const rolled: string[] = [];
    let Marker: string | undefined;
    do {
      const page = await client.send(
        new ListObjectsCommand({ Bucket, MaxKeys, Delimiter: '/', EncodingType: 'url', Marker }),
      );
      rolled.push(...(page.Contents ?? []).map(({ Key }) => decode(Key)));
      rolled.push(...(page.CommonPrefixes ?? []).map(({ Prefix }) => decode(Prefix)));
      Marker = page.IsTruncated === true ? decode(page.NextMarker) : undefined;
    } while (Marker !== undefined);
    const expected = [
      ...new Set(keys.map((key) => (key.includes('/') ? key.slice(0, key.indexOf('/') + 1) : key))),
    ];
    t.deepEqual(rolled.sort(), expected.sort());
    const versions: string[] = [];
    let KeyMarker: string | undefined;
    let VersionIdMarker: string | undefined;
    do {
      const page = await client.send(
        new ListObjectVersionsCommand({
          Bucket,
          MaxKeys,
          EncodingType: 'url',
          KeyMarker,
          VersionIdMarker,
        }),
      );
      versions.push(...(page.Versions ?? []).map(({ Key }) => decode(Key)));
      KeyMarker = page.IsTruncated === true ? decode(page.NextKeyMarker) : undefined;
      VersionIdMarker = page.NextVersionIdMarker;
    } while (KeyMarker !== undefined);
    t.deepEqual(versions, sorted);
  }
  const plain = await client.send(
    new ListObjectsV2Command({ Bucket, StartAfter: 'a/c', MaxKeys: 0, FetchOwner: true }),
  );
  t.is(plain.KeyCount, 0);
  const owned = await client.send(
    new ListObjectsV2Command({ Bucket, StartAfter: 'a/c', MaxKeys: 1, FetchOwner: true }),
  );
  t.is(owned.Contents?.[0]?.Owner?.ID, 'owner');
  t.is(owned.Contents?.[0]?.Key, 'a/d/e');
  const all = await client.send(
    new DeleteObjectsCommand({ Bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }),
  );
  t.is(all.Errors, undefined);
  t.deepEqual(all.Deleted?.map(({ Key }) => Key).slice(0, 4), keys.slice(0, 4));
  t.is((await client.send(new ListObjectsV2Command({ Bucket }))).KeyCount, 0);
});

test('buckets are listed in pages, only those of the asker', async (t) => {
  const made = [await newBucket(), await newBucket(), await newBucket()].sort();
  const seen: string[] = [];
  let ContinuationToken: string | undefined;
  do {
    const page = await sdk().send(
      new ListBucketsCommand({ MaxBuckets: 2, Prefix: 'b-', ContinuationToken }),
    );
    seen.push(...(page.Buckets ?? []).map(({ Name }) => Name as string));
    ContinuationToken = page.ContinuationToken;
  } while (ContinuationToken !== undefined);
  for (const name of made) t.true(seen.includes(name));
  t.deepEqual(seen, [...new Set(seen)].sort());
});

test('DeleteObjects: each key on its own, a failed condition is an error of that key alone', async (t) => {
  const Bucket = await newBucket(true);
  const client = sdk();
  for (const Key of ['a', 'b', 'c'])
    await client.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
  const answer = await client.send(
    new DeleteObjectsCommand({
      Bucket,
      Delete: {
        Objects: [
          { Key: 'a' },
          { Key: 'b', ETag: '"wrong"' },
          { Key: 'absent' },
          { Key: '../x' },
          { Key: 'c', VersionId: 'nonsense' },
        ],
      },
    }),
  );
  t.deepEqual(
    answer.Deleted?.map(({ Key }) => Key),
    ['a', 'absent'],
  );
  t.true(answer.Deleted?.[0]?.DeleteMarker);
  t.deepEqual(
    answer.Errors?.map(({ Key, Code }) => `${Key} ${Code}`),
    ['b PreconditionFailed', '../x InvalidURI', 'c InvalidArgument'],
  );
  const left = await client.send(new ListObjectsV2Command({ Bucket }));
  t.deepEqual(
    left.Contents?.map(({ Key }) => Key),
    ['b', 'c'],
  );
  const quiet = await client.send(
    new DeleteObjectsCommand({ Bucket, Delete: { Quiet: true, Objects: [{ Key: 'b' }] } }),
  );
  t.is(quiet.Deleted, undefined);
});

test('multipart by the SDK: parts, copies, checksums, listings, ranges by part', async (t) => {
  const Bucket = await newBucket();
  const client = sdk();
  const [one, two] = [bodyOf(5 * MiB), bodyOf(70_000)];
  await client.send(new PutObjectCommand({ Bucket, Key: 'source', Body: two }));
  for (const [ChecksumAlgorithm, ChecksumType] of [
    ['CRC64NVME', 'FULL_OBJECT'],
    ['CRC32', 'FULL_OBJECT'],
    ['SHA256', 'COMPOSITE'],
    [undefined, undefined],
  ] as const) {
    const Key = `multi-${ChecksumAlgorithm}`;
    const { UploadId } = await client.send(
      new CreateMultipartUploadCommand({
        Bucket,
        Key,
        ChecksumAlgorithm,
        ChecksumType,
        Metadata: { m: '1' },
      }),
    );
    const upload = { Bucket, Key, UploadId };
    const first = await client.send(
      new UploadPartCommand({ ...upload, PartNumber: 1, Body: one, ChecksumAlgorithm }),
    );
    const second = await client.send(
      new UploadPartCopyCommand({
        ...upload,
        PartNumber: 3,
        CopySource: `${Bucket}/source`,
        CopySourceRange: 'bytes=0-65535',
      }),
    );
    const listed = await client.send(new ListPartsCommand(upload));
    t.deepEqual(
      listed.Parts?.map(({ PartNumber, Size }) => [PartNumber, Size]),
      [
        [1, one.length],
        [3, 65_536],
      ],
    );
    const uploads = await client.send(new ListMultipartUploadsCommand({ Bucket }));
    t.true(uploads.Uploads?.some((each) => each.UploadId === UploadId));
    const { ETag: etag1, $metadata: _ignored, ...sums } = first;
    const Parts = [
      { PartNumber: 1, ETag: etag1, ...sums },
      { PartNumber: 3, ...second.CopyPartResult },
    ];
    const done = await client.send(
      new CompleteMultipartUploadCommand({ ...upload, MultipartUpload: { Parts } }),
    );
    t.regex(done.ETag ?? '', /^"[0-9a-f]{32}-2"$/);
    const whole = Buffer.concat([one, two.subarray(0, 65_536)]);
    const got = await client.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }));
    t.true(
      Buffer.from(
        await (got.Body as { transformToByteArray(): Promise<Uint8Array> }).transformToByteArray(),
      ).equals(whole),
      Key,
    );
    if (ChecksumType === 'FULL_OBJECT')
      t.is(got[`Checksum${ChecksumAlgorithm}`], checksumOf(ChecksumAlgorithm, whole));
    const part = await client.send(new HeadObjectCommand({ Bucket, Key, PartNumber: 3 }));
    t.is(part.ContentLength, 65_536);
    t.is(part.PartsCount, 2);
    t.is(part.Metadata?.['m'], '1');
  }
  for (const [ChecksumAlgorithm, ChecksumType] of [
    ['SHA256', 'FULL_OBJECT'],
    ['CRC64NVME', 'COMPOSITE'],
  ] as const) {
    await t.throwsAsync(
      client.send(
        new CreateMultipartUploadCommand({ Bucket, Key: 'x', ChecksumAlgorithm, ChecksumType }),
      ),
      { name: 'InvalidRequest' },
    );
  }
});

test('copies, lifecycle and restore by the SDK', async (t) => {
  const Bucket = await newBucket();
  const client = sdk();
  const Key = "a b+c/ü'()*!.txt";
  await client.send(
    new PutObjectCommand({
      Bucket,
      Key,
      Body: 'text',
      ContentType: 'text/plain',
      StorageClass: 'STANDARD_IA',
    }),
  );
  const CopySource = encodePath(`${Bucket}/${Key}`);
  await client.send(new CopyObjectCommand({ Bucket, Key: 'copied', CopySource }));
  const head = await client.send(new HeadObjectCommand({ Bucket, Key: 'copied' }));
  t.is(head.ContentType, 'text/plain');
  t.is(head.StorageClass, undefined);
  // Also with the class that it has by then: S3 refuses only a copy that asks for nothing at all.
  for (let i = 0; i < 2; i++) {
    await client.send(new CopyObjectCommand({ Bucket, Key, CopySource, StorageClass: 'STANDARD' }));
    t.is((await client.send(new HeadObjectCommand({ Bucket, Key }))).StorageClass, undefined);
  }
  await t.throwsAsync(client.send(new CopyObjectCommand({ Bucket, Key, CopySource })), {
    name: 'InvalidRequest',
  });
  await client.send(
    new CopyObjectCommand({
      Bucket,
      Key,
      CopySource,
      MetadataDirective: 'REPLACE',
      Metadata: { a: '1' },
    }),
  );
  t.deepEqual((await client.send(new HeadObjectCommand({ Bucket, Key }))).Metadata, { a: '1' });
  await t.throwsAsync(
    client.send(new CopyObjectCommand({ Bucket, Key: 'y', CopySource, CopySourceIfMatch: '"x"' })),
    { name: 'PreconditionFailed' },
  );
  const LifecycleConfiguration = {
    Rules: [
      {
        ID: 'r',
        Status: 'Enabled',
        Filter: { Prefix: 'a' },
        Transitions: [{ Days: 1, StorageClass: 'GLACIER' }],
      },
    ],
  } as const;
  await client.send(
    new PutBucketLifecycleConfigurationCommand({
      Bucket,
      LifecycleConfiguration: LifecycleConfiguration as never,
    }),
  );
  const lifecycle = await client.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
  t.is(lifecycle.Rules?.[0]?.Transitions?.[0]?.StorageClass, 'GLACIER');
  t.is(lifecycle.TransitionDefaultMinimumObjectSize, 'all_storage_classes_128K');
  await client.send(
    new PutObjectCommand({ Bucket, Key: 'cold', Body: 'x', StorageClass: 'GLACIER' }),
  );
  await t.throwsAsync(client.send(new GetObjectCommand({ Bucket, Key: 'cold' })), {
    name: 'InvalidObjectState',
  });
  const restore = {
    Bucket,
    Key: 'cold',
    RestoreRequest: { Days: 2, GlacierJobParameters: { Tier: 'Bulk' } },
  } as const;
  t.is((await client.send(new RestoreObjectCommand(restore))).$metadata.httpStatusCode, 202);
  await t.throwsAsync(client.send(new RestoreObjectCommand(restore)), {
    name: 'RestoreAlreadyInProgress',
  });
  t.is(
    (await client.send(new HeadObjectCommand({ Bucket, Key: 'cold' }))).Restore,
    'ongoing-request="true"',
  );
  await t.throwsAsync(
    client.send(new RestoreObjectCommand({ Bucket, Key, RestoreRequest: { Days: 1 } })),
    { name: 'InvalidObjectState' },
  );
  await client.send(new DeleteObjectCommand({ Bucket, Key: 'cold' }));
});

test('who reads an object is told when a rule will delete it, in real days', async (t) => {
  const Bucket = await newBucket();
  const client = sdk();
  const Rules = [
    { ID: 'the rule/1', Status: 'Enabled', Filter: { Prefix: 'tmp/' }, Expiration: { Days: 3 } },
  ] as never;
  await client.send(
    new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules } }),
  );
  const put = await client.send(new PutObjectCommand({ Bucket, Key: 'tmp/a', Body: 'x' }));
  const midnight = (Math.floor(Date.now() / DAY_MS) + 4) * DAY_MS;
  const expected = `expiry-date="${new Date(midnight).toUTCString()}", rule-id="the%20rule%2F1"`;
  t.is(put.Expiration, expected);
  t.is((await client.send(new HeadObjectCommand({ Bucket, Key: 'tmp/a' }))).Expiration, expected);
  const other = await client.send(new PutObjectCommand({ Bucket, Key: 'kept', Body: 'x' }));
  t.is(other.Expiration, undefined);
});

test('a presigned GET works in any HTTP client', async (t) => {
  await putKey('shared file.txt', 'for all');
  const url = presignUrl({
    ...OWNER,
    method: 'GET',
    scheme: 'http',
    host: shared.host,
    path: '/bucket/shared%20file.txt',
    query: 'response-content-disposition=inline',
    expiresSeconds: 30,
    region: REGION,
    service: 's3',
    date: new Date(),
  });
  const answer = await fetch(url);
  t.is(await answer.text(), 'for all');
  t.is(answer.headers.get('content-disposition'), 'inline');
});
