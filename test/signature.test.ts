// SigV4 and checksums against signers and sums that we did not write.
import { createHash, createHmac, randomBytes, randomInt, type Hash, type Hmac } from 'node:crypto';
import {
  CopyObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { SignatureV4 } from '@smithy/signature-v4';
import test, { type ExecutionContext } from 'ava';
import aws4 from 'aws4';
import {
  createCRC32,
  createCRC64,
  createXXHash128,
  createXXHash3,
  createXXHash64,
} from 'hash-wasm';
import { parseTarget } from '../api/s3/input/target.ts';
import { verifyRequest } from '../api/s3/signature/verify.ts';
import {
  CHECKSUM_ALGORITHMS,
  checksumOf,
  checksumOfParts,
  combineCrcs,
  isChecksumValue,
  newChecksum,
} from '../appliance/model/checksum.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { ChecksumAlgorithm, ObjectChecksum } from '../appliance/model/object.ts';
import {
  canonicalQuery,
  decodeComponent,
  decodeQuery,
  encodeComponent,
  encodePath,
  parseTimestamp,
  presignUrl,
  signRequest,
  UNSIGNED_PAYLOAD,
} from '../appliance/model/signature.ts';

const CREDENTIALS = {
  accessKey: 'AKIDEXAMPLE',
  secretKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
};

/** mulberry32: small, and the same on every machine for a printed seed. */
function seeded(t: ExecutionContext): () => number {
  let state = Number(process.env['SEED'] ?? randomInt(2 ** 31));
  t.log(`SEED=${state}`);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

const ALPHABET = [
  ...Array.from('abzAZ019-._~ +%&=?#@:;,$"<>[]{}|^`\\äß€漢😀/'),
  '//',
  '\u0001',
  '\t',
  '\n',
];
const AWKWARD = [...ALPHABET, ...Array.from("!'()*")];

function randomText(random: () => number, alphabet: readonly string[], length: number): string {
  let text = '';
  for (let i = 0; i < length; i++) text += alphabet[Math.floor(random() * alphabet.length)];
  return text;
}

test('a key that any other signer signs is signed the same here: aws4, random keys', (t) => {
  const random = seeded(t);
  for (let i = 0; i < 400; i++) {
    const key = randomText(random, ALPHABET, 1 + Math.floor(random() * 20));
    const path = `/bucket-1/${encodePath(key)}`;
    const query =
      random() < 0.5
        ? ''
        : `prefix=${encodeComponent(randomText(random, AWKWARD, 5))}&delimiter=%2F&uploads`;
    const date = new Date(1_600_000_000_000 + Math.floor(random() * 1e12));
    const headers = {
      'Content-Type': 'text/plain',
      'X-Amz-Meta-A': '  two   spaces  ',
    };
    const ours = signRequest({
      ...CREDENTIALS,
      method: 'PUT',
      host: '127.0.0.1:9000',
      path,
      query,
      headers,
      payloadHash: UNSIGNED_PAYLOAD,
      region: 'eu-test-1',
      service: 's3',
      date,
    });
    const request = {
      method: 'PUT',
      host: '127.0.0.1:9000',
      service: 's3',
      region: 'eu-test-1',
      path: query === '' ? path : `${path}?${query}`,
      headers: {
        'Content-Type': 'text/plain',
        'X-Amz-Meta-A': '  two   spaces  ',
        'X-Amz-Date': ours['x-amz-date'] as string,
        'X-Amz-Content-Sha256': UNSIGNED_PAYLOAD,
      },
    };
    const theirs = aws4.sign(request, {
      accessKeyId: CREDENTIALS.accessKey,
      secretAccessKey: CREDENTIALS.secretKey,
    });
    const expected = (theirs.headers as Record<string, string>)['Authorization'];
    t.is(ours['authorization'], expected, JSON.stringify({ key, query }));
  }
});

interface Captured {
  method: string;
  path: string;
  query: Record<string, string | string[] | null>;
  headers: Record<string, string>;
}

/** The SDK with a transport that keeps the signed request and sends nothing. */
function capturingClient(): { client: S3Client; taken: Captured[] } {
  const taken: Captured[] = [];
  const client = new S3Client({
    endpoint: 'http://127.0.0.1:9000',
    region: 'eu-test-1',
    forcePathStyle: true,
    credentials: { accessKeyId: CREDENTIALS.accessKey, secretAccessKey: CREDENTIALS.secretKey },
    requestChecksumCalculation: 'WHEN_REQUIRED',
    maxAttempts: 1,
    requestHandler: {
      handle: (request: Captured) => {
        taken.push(request);
        return Promise.reject(new Error('not sent'));
      },
    } as never,
  });
  return { client, taken };
}

test("the AWS SDK's own signature of a request is ours: random keys, with the bytes aws4 gets wrong", async (t) => {
  const random = seeded(t);
  const { client, taken } = capturingClient();
  for (let i = 0; i < 60; i++) {
    // The SDK sends a key's leading and trailing control characters as they are; '.' segments are
    // resolved by URL parsers on the way, and are refused as keys anyway.
    const key = `k${randomText(random, AWKWARD, 12)}z`;
    const commands = [
      new PutObjectCommand({ Bucket: 'bucket-1', Key: key, Body: 'x', Metadata: { a: 'b  c' } }),
      new GetObjectCommand({ Bucket: 'bucket-1', Key: key, Range: 'bytes=0-1', VersionId: 'v 1' }),
      new ListObjectsV2Command({ Bucket: 'bucket-1', Prefix: key, Delimiter: '/' }),
      new CopyObjectCommand({ Bucket: 'bucket-1', Key: key, CopySource: encodePath(`b/${key}`) }),
    ];
    for (const command of commands) {
      await t.throwsAsync(client.send(command as never), { message: /not sent/ });
      const request = taken.pop() as Captured;
      const theirs = request.headers['authorization'] as string;
      const names = (/SignedHeaders=([^,]+)/.exec(theirs) as RegExpExecArray)[1] as string;
      const headers: Record<string, string> = {};
      for (const name of names.split(';')) headers[name] = request.headers[name] as string;
      const pairs = Object.entries(request.query ?? {}).map(
        ([name, value]) => `${encodeComponent(name)}=${encodeComponent(String(value ?? ''))}`,
      );
      const ours = signRequest({
        ...CREDENTIALS,
        method: request.method,
        host: headers['host'] as string,
        path: encodePath(decodeComponent(request.path) as string),
        query: pairs.join('&'),
        headers,
        payloadHash: headers['x-amz-content-sha256'] as string,
        region: 'eu-test-1',
        service: 's3',
        date: new Date(parseTimestamp(headers['x-amz-date'] as string) as number),
      });
      t.is(ours['authorization'], theirs, JSON.stringify({ key, path: request.path }));
    }
  }
  client.destroy();
});

/** What @smithy/signature-v4 hashes with. */
class NodeSha256 {
  readonly #hash: Hash | Hmac;

  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    if (secret === undefined) this.#hash = createHash('sha256');
    else if (typeof secret === 'string') this.#hash = createHmac('sha256', secret);
    else if (ArrayBuffer.isView(secret)) {
      const bytes = new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength);
      this.#hash = createHmac('sha256', bytes);
    } else this.#hash = createHmac('sha256', new Uint8Array(secret));
  }

  update(data: Uint8Array | string): void {
    this.#hash.update(data);
  }

  digest(): Promise<Uint8Array> {
    return Promise.resolve(new Uint8Array(this.#hash.digest()));
  }

  reset(): void {
    throw new Error('not used');
  }
}

const smithy = new SignatureV4({
  service: 's3',
  region: 'eu-test-1',
  credentials: { accessKeyId: CREDENTIALS.accessKey, secretAccessKey: CREDENTIALS.secretKey },
  sha256: NodeSha256,
  uriEscapePath: false,
  applyChecksum: true,
});

interface Signed {
  method: string;
  url: string;
  headers: Record<string, string>;
}

interface ToSign {
  method: string;
  path: string;
  query: [string, string][];
  headers: Record<string, string>;
  date: Date;
}

const rawQuery = (pairs: readonly [string, string][]): string =>
  pairs.map(([name, value]) => `${encodeComponent(name)}=${encodeComponent(value)}`).join('&');

const lowerNames = (headers: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));

const SIGNERS: Record<string, (request: ToSign) => Promise<Signed>> = {
  aws4: ({ method, path, query, headers, date }) => {
    const url = query.length === 0 ? path : `${path}?${rawQuery(query)}`;
    const signed = aws4.sign(
      {
        method,
        host: '127.0.0.1:9000',
        service: 's3',
        region: 'eu-test-1',
        path: url,
        headers: {
          ...headers,
          'X-Amz-Date': date.toISOString().replace(/[-:]|\.\d{3}/g, ''),
          'X-Amz-Content-Sha256': UNSIGNED_PAYLOAD,
        },
      },
      { accessKeyId: CREDENTIALS.accessKey, secretAccessKey: CREDENTIALS.secretKey },
    );
    return Promise.resolve({ method, url, headers: lowerNames(signed.headers as never) });
  },
  '@smithy/signature-v4': async ({ method, path, query, headers, date }) => {
    const many: Record<string, string[]> = {};
    for (const [name, value] of query) (many[name] ??= []).push(value);
    const signed = await smithy.sign(
      {
        method,
        protocol: 'http:',
        hostname: '127.0.0.1',
        port: 9000,
        path,
        query: many,
        headers: {
          ...lowerNames(headers),
          host: '127.0.0.1:9000',
          'x-amz-content-sha256': UNSIGNED_PAYLOAD,
        },
      } as never,
      { signingDate: date },
    );
    const url = query.length === 0 ? path : `${path}?${rawQuery(query)}`;
    return { method, url, headers: (signed as unknown as Signed).headers };
  },
};

/** Whether our verifier knows who signed this. */
async function isVerified({ method, url, headers }: Signed, wall: number): Promise<boolean> {
  const target = parseTarget(url, headers['host'] as string, undefined);
  const rawHeaders = Object.entries(headers).flat();
  try {
    const identity = await verifyRequest(
      { method, target, headers, rawHeaders },
      {
        accounts: {
          secretOf: (accessKey) =>
            Promise.resolve(
              accessKey === CREDENTIALS.accessKey
                ? { account: 'owner', secretKey: CREDENTIALS.secretKey }
                : undefined,
            ),
        },
        clock: { wall: () => wall, now: () => wall },
        region: 'eu-test-1',
      },
    );
    return identity.account === 'owner';
  } catch (error) {
    if (isFirnError(error, 'SignatureDoesNotMatch')) return false;
    throw error;
  }
}

const CASES_PER_SIGNER = 1500;

for (const [name, sign] of Object.entries(SIGNERS)) {
  test(`what ${name} signs is verified, and nothing that was changed since: random keys, queries, headers`, async (t) => {
    const random = seeded(t);
    const pick = (limit: number): number => Math.floor(random() * limit);
    // aws4 has a form of its own for `!'()*`, which no other signer shares.
    const letters = name === 'aws4' ? ALPHABET : AWKWARD;
    let tried = 0;
    while (tried < CASES_PER_SIGNER) {
      const key = randomText(random, letters, 1 + pick(24));
      if (/(?:^|\/)\.\.?(?:\/|$)/.test(key)) continue;
      const query: [string, string][] = [];
      for (let i = pick(5); i > 0; i--) {
        const parameter = pick(4) === 0 ? 'prefix' : `p${randomText(random, letters, pick(6))}`;
        // aws4 sends the values of a repeated parameter in another order than it signs them.
        if (query.some(([other]) => other === parameter)) continue;
        query.push([parameter, randomText(random, letters, pick(8))]);
      }
      const headers: Record<string, string> = { 'Content-Type': 'text/plain' };
      for (let i = pick(4); i > 0; i--) {
        const value = randomText(random, Array.from('abc XYZ 019-._,;="  '), 1 + pick(20)).trim();
        headers[`X-Amz-Meta-${i}-${pick(100)}`] = value === '' ? 'x' : value;
      }
      const date = new Date(1_600_000_000_000 + pick(1e12));
      const method = ['GET', 'PUT', 'POST', 'DELETE', 'HEAD'][pick(5)] as string;
      const path = `/bucket-1/${encodePath(key)}`;
      const signed = await sign({ method, path, query, headers, date });
      const what = JSON.stringify(signed);
      t.true(await isVerified(signed, date.getTime()), what);
      const changed = changedSince(signed, pick);
      t.false(await isVerified(changed, date.getTime()), `${what} → ${JSON.stringify(changed)}`);
      tried++;
    }
  });
}

/** One thing of the request is another. */
function changedSince(signed: Signed, pick: (limit: number) => number): Signed {
  const headers = { ...signed.headers };
  const names = Object.keys(headers).filter((name) => name.startsWith('x-amz-meta-'));
  switch (pick(names.length === 0 ? 4 : 5)) {
    case 0:
      return { ...signed, method: signed.method === 'PUT' ? 'GET' : 'PUT' };
    case 1:
      return { ...signed, url: signed.url.replace('/bucket-1/', '/bucket-2/') };
    case 2:
      return { ...signed, url: `${signed.url}${signed.url.includes('?') ? '&' : '?'}added=1` };
    case 3: {
      const authorization = headers['authorization'] as string;
      const at = authorization.length - 1 - pick(64);
      const digit = authorization[at] === '0' ? '1' : '0';
      headers['authorization'] = authorization.slice(0, at) + digit + authorization.slice(at + 1);
      return { ...signed, headers };
    }
    default: {
      const name = names[pick(names.length)] as string;
      return { ...signed, headers: { ...headers, [name]: `${headers[name]}1` } };
    }
  }
}

test('a presigned URL is the one that aws4 makes', (t) => {
  const random = seeded(t);
  for (let i = 0; i < 100; i++) {
    const path = `/bucket-1/${encodePath(randomText(random, ALPHABET, 8))}`;
    const date = new Date(1_700_000_000_000 + Math.floor(random() * 1e11));
    const ours = new URL(
      presignUrl({
        ...CREDENTIALS,
        method: 'GET',
        scheme: 'http',
        host: 'localhost:9000',
        path,
        query: 'response-content-type=text%2Fplain',
        expiresSeconds: 3600,
        region: 'eu-test-1',
        service: 's3',
        date,
      }),
    );
    const theirs = aws4.sign(
      {
        method: 'GET',
        host: 'localhost:9000',
        service: 's3',
        region: 'eu-test-1',
        signQuery: true,
        path: `${path}?response-content-type=text%2Fplain&X-Amz-Expires=3600&X-Amz-Date=${ours.searchParams.get('X-Amz-Date')}`,
      },
      { accessKeyId: CREDENTIALS.accessKey, secretAccessKey: CREDENTIALS.secretKey },
    );
    const expected = new URL(`http://localhost:9000${theirs.path}`);
    t.is(ours.searchParams.get('X-Amz-Signature'), expected.searchParams.get('X-Amz-Signature'));
  }
});

test('what cannot be decoded strictly is refused, not guessed', (t) => {
  for (const bad of ['%', '%4', '%zz', '%c0%ae', '%ed%a0%80', '%ff', 'a%f4%90%80%80', '\u00ff']) {
    t.is(decodeComponent(bad), undefined, bad);
    t.is(decodeQuery(`prefix=${bad}`), undefined, bad);
  }
  t.is(decodeComponent('a%2Fb%25'), 'a/b%');
  t.is(decodeComponent('\u00c3\u00a4'), 'ä');
  t.deepEqual(decodeQuery('a=1+2&b&=c&&d=%2B'), [
    ['a', '1 2'],
    ['b', ''],
    ['', 'c'],
    ['d', '+'],
  ]);
  t.is(
    canonicalQuery([
      ['b', ''],
      ['a', 'ä'],
      ['a', "'"],
      ['a-', '1'],
    ]),
    'a=%27&a=%C3%A4&a-=1&b=',
  );
});

test('a timestamp that is no instant is refused', (t) => {
  t.is(parseTimestamp('20260229T000000Z'), undefined);
  t.is(parseTimestamp('20261301T000000Z'), undefined);
  t.is(parseTimestamp('20260101T000000'), undefined);
  t.is(parseTimestamp('20260101T000000Z'), Date.UTC(2026, 0, 1));
});

const VECTORS: Record<ChecksumAlgorithm, string> = {
  // Of "123456789": the check values of the CRC catalogue, FIPS 180 and RFC 1321 by OpenSSL's
  // command line, and what the reference implementation of xxHash says (as in its bindings).
  CRC32: 'y/Q5Jg==',
  CRC32C: '4waSgw==',
  CRC64NVME: 'rosUhgp5mIg=',
  MD5: 'JfnnlDI7RTiF9RgfG2JNCw==',
  SHA1: '98O8HYCOBHMq32eZZczDTKeuNEE=',
  SHA256: 'FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=',
  SHA512:
    '2eZ2LdHI6vbWGzxhkvxAjU1tXxF20MKRabwk5xw/J0rSf81YEbMT1oH35V7ALXPUmclUVba1u1A6z1dPuo/+hQ==',
  XXHASH64: 'jLhB20DmroM=',
  XXHASH3: 'ctyxi2ehff8=',
  XXHASH128: 'MxGUd+3l3NXpcWQnaB1YYA==',
};

const base64OfHex = (hex: string): string => Buffer.from(hex, 'hex').toString('base64');

test('checksums are the published ones', (t) => {
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    t.is(checksumOf(algorithm, Buffer.from('123456789')), VECTORS[algorithm], algorithm);
    t.true(isChecksumValue(algorithm, VECTORS[algorithm]));
    t.false(isChecksumValue(algorithm, `${VECTORS[algorithm]}=`));
    t.false(isChecksumValue(algorithm, VECTORS[algorithm].slice(4)));
  }
  t.is(checksumOf('CRC64NVME', new Uint8Array(0)), 'AAAAAAAAAAA=');
});

test('a checksum does not depend on how the bytes arrive, and is the one of an independent library', async (t) => {
  const random = seeded(t);
  const oracles: Partial<Record<ChecksumAlgorithm, (bytes: Uint8Array) => Promise<string>>> = {
    CRC32: (bytes) => crc32ByHashWasm(bytes, 0xedb88320),
    CRC32C: (bytes) => crc32ByHashWasm(bytes, 0x82f63b78),
    CRC64NVME: (bytes) => crc64ByHashWasm(bytes, '9a6c9329ac4bc9b5'),
  };
  // Every few bytes up to 260, where xxHash's rules change; lengths with whole strides of lanes.
  for (let round = 0; round < 140; round++) {
    const size = round < 90 ? round * 3 : Math.floor(random() * (round < 130 ? 3000 : 90_000));
    const bytes = randomBytes(size);
    for (const algorithm of CHECKSUM_ALGORITHMS) {
      const running = newChecksum(algorithm);
      for (let at = 0; at < bytes.length;) {
        const length = Math.floor(random() * (round < 130 ? 70 : 20_000));
        running.update(bytes.subarray(at, at + length));
        at += length;
      }
      const value = running.digest();
      t.is(value, checksumOf(algorithm, bytes), `${algorithm} of ${bytes.length} bytes`);
      const oracle = oracles[algorithm];
      if (oracle !== undefined) t.is(value, base64OfHex(await oracle(bytes)), algorithm);
    }
  }
});

test("the CRC combined from parts is the whole object's, for any cut", (t) => {
  const random = seeded(t);
  for (const algorithm of ['CRC32', 'CRC32C', 'CRC64NVME'] as const) {
    t.is(combineCrcs(algorithm, []), checksumOf(algorithm, new Uint8Array(0)));
    for (let round = 0; round < 40; round++) {
      const bytes = randomBytes(Math.floor(random() * 100_000));
      const parts: { value: string; sizeBytes: number; clientChecksum: ObjectChecksum }[] = [];
      for (let at = 0; at < bytes.length;) {
        const piece = bytes.subarray(at, at + Math.floor(random() * 40_000));
        const value = checksumOf(algorithm, piece);
        const clientChecksum = { algorithm, type: 'FULL_OBJECT', value } as const;
        parts.push({ value, sizeBytes: piece.length, clientChecksum });
        at += piece.length;
      }
      const whole = checksumOf(algorithm, bytes);
      t.is(combineCrcs(algorithm, parts), whole, `${algorithm} of ${parts.length} parts`);
      t.is(checksumOfParts(algorithm, 'FULL_OBJECT', parts)?.value, whole);
    }
    // Lengths beyond 32 bits, where no test holds the bytes: a cut may not matter there either.
    const value = checksumOf(algorithm, Buffer.from('any'));
    const half = { value, sizeBytes: 2 ** 32 + 3 };
    const both = { value: combineCrcs(algorithm, [half, half]), sizeBytes: 2 ** 33 + 6 };
    t.is(combineCrcs(algorithm, [half, half, half]), combineCrcs(algorithm, [half, both]));
  }
});

test('a checksum of checksums is of the raw digests, and is refused where a part has none', (t) => {
  const parts = ['a', 'b'].map((text) => ({
    sizeBytes: 1,
    clientChecksum: {
      algorithm: 'SHA256',
      type: 'FULL_OBJECT',
      value: checksumOf('SHA256', Buffer.from(text)),
    } as const,
  }));
  const raw = Buffer.concat(['a', 'b'].map((text) => createHash('sha256').update(text).digest()));
  const expected = `${createHash('sha256').update(raw).digest('base64')}-2`;
  t.is(checksumOfParts('SHA256', 'COMPOSITE', parts)?.value, expected);
  t.is(checksumOfParts('SHA256', 'FULL_OBJECT', parts), undefined);
  t.is(checksumOfParts('SHA1', 'COMPOSITE', parts), undefined);
  t.is(checksumOfParts('SHA256', 'COMPOSITE', [...parts, { sizeBytes: 1 }]), undefined);
});

test('XXH64, XXH3 and XXH128 are those of the reference implementation at every length', async (t) => {
  const oracles = {
    XXHASH64: await createXXHash64(),
    XXHASH3: await createXXHash3(),
    XXHASH128: await createXXHash128(),
  };
  for (let size = 0; size < 1100; size += size < 300 ? 1 : 7) {
    const bytes = randomBytes(size);
    for (const algorithm of ['XXHASH64', 'XXHASH3', 'XXHASH128'] as const) {
      const expected = oracles[algorithm].init().update(bytes).digest();
      if (checksumOf(algorithm, bytes) === base64OfHex(expected)) continue;
      t.fail(`${algorithm} of ${bytes.toString('hex')}`);
    }
  }
  t.pass();
});

async function crc32ByHashWasm(bytes: Uint8Array, polynomial: number): Promise<string> {
  return (await createCRC32(polynomial)).init().update(bytes).digest();
}

async function crc64ByHashWasm(bytes: Uint8Array, polynomial: string): Promise<string> {
  return (await createCRC64(polynomial)).init().update(bytes).digest();
}
