// Multipart uploads at their limits: 10,000 parts, 5 TiB, paging, copies of ranges, and the lists of
// parts as they are stored. What is at stake: an object that nobody can complete any more after
// days of uploading, or one whose parts come back in another order.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  type ChecksumAlgorithm as SdkAlgorithm,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import test from 'ava';
import {
  createSHA512,
  createXXHash128,
  createXXHash3,
  createXXHash64,
  type IHasher,
} from 'hash-wasm';
import { decodeRecord, encodeRecord, stampRevision } from '../appliance/metadata/lmdb/record.ts';
import { CHECKSUM_ALGORITHMS, CHECKSUM_HEADERS, checksumOf } from '../appliance/model/checksum.ts';
import { FirnError } from '../appliance/model/errors.ts';
import { compareUtf8 } from '../appliance/model/ids.ts';
import { GiB, MiB, OBJECT_BYTES_MAX, PARTS_MAX } from '../appliance/model/limits.ts';
import type { Location } from '../appliance/model/location.ts';
import type { Block, Part, UploadPart } from '../appliance/model/object.ts';
import { encodePath } from '../appliance/model/signature.ts';
import type { Body } from '../appliance/model/tier.ts';
import { partsBlock } from './contract/metadata-store.ts';
import { codeOf, elementOf, OWNER, REGION, send, startEndpoint } from './s3-caller.ts';
import type { Answer, Call, Endpoint } from './s3-caller.ts';

const md5 = (bytes: string | Uint8Array): string => createHash('md5').update(bytes).digest('hex');

let shared: Endpoint;
test.before(async () => {
  shared = await startEndpoint();
});
test.after.always(() => shared.close());

async function begin(path: string, headers: Record<string, string> = {}): Promise<string> {
  const answer = await send(shared, { method: 'POST', path, query: 'uploads', headers });
  assert.equal(answer.status, 200, answer.text);
  return elementOf(answer, 'UploadId') as string;
}

const listOf = (parts: { number: number; etag: string; more?: string }[]): string =>
  `<CompleteMultipartUpload>${parts
    .map(
      ({ number, etag, more = '' }) =>
        `<Part><PartNumber>${number}</PartNumber><ETag>${etag}</ETag>${more}</Part>`,
    )
    .join('')}</CompleteMultipartUpload>`;

/** Uploads these parts, numbered from 1, and completes them. */
async function upload(
  path: string,
  bodies: readonly Uint8Array[],
  options: { create?: Record<string, string>; complete?: Record<string, string> } = {},
): Promise<Answer> {
  const uploadId = await begin(path, options.create);
  const parts: { number: number; etag: string }[] = [];
  for (const [index, body] of bodies.entries()) {
    const number = index + 1;
    const query = `partNumber=${number}&uploadId=${uploadId}`;
    const answer = await send(shared, { method: 'PUT', path, query, body });
    assert.equal(answer.status, 200, answer.text);
    parts.push({ number, etag: answer.headers.etag as string });
  }
  const { complete: headers = {} } = options;
  const query = `uploadId=${uploadId}`;
  return send(shared, { method: 'POST', path, query, body: listOf(parts), headers });
}

/**
 * Rows of parts written beside the engine, said to be of these sizes: what matters is their number
 * and their sums, not their bytes. What completes them.
 */
async function claimParts(
  path: string,
  count: number,
  sizeOf: (number: number) => number,
): Promise<{ uploadId: string; parts: { number: number; etag: string; more: string }[] }> {
  const uploadId = await begin(path, { 'x-amz-checksum-algorithm': 'SHA256' });
  const query = `partNumber=1&uploadId=${uploadId}`;
  await send(shared, { method: 'PUT', path, query, body: 'x' });
  const model = shared.store
    .rowsOf<UploadPart>('parts')
    .find(({ value }) => value.uploadId === uploadId);
  assert(model !== undefined);
  await shared.store.remove('parts', model.id, model.revision);
  const parts: { number: number; etag: string; more: string }[] = [];
  for (let number = 1; number <= count; number++) {
    const digits = String(number).padStart(5, '0');
    const etag = md5(digits);
    const value = checksumOf('SHA256', Buffer.from(digits));
    const sizeBytes = sizeOf(number);
    const id = `${model.value.location.id.slice(0, 12)}${uploadId.slice(0, 15)}${digits}`;
    const row: UploadPart = {
      ...model.value,
      number,
      location: { ...model.value.location, id, length: sizeBytes },
      etag,
      sizeBytes,
      clientChecksum: { algorithm: 'SHA256', type: 'FULL_OBJECT', value },
    };
    await shared.store.insert('parts', `${uploadId}/${digits}`, row);
    parts.push({ number, etag, more: `<ChecksumSHA256>${value}</ChecksumSHA256>` });
  }
  return { uploadId, parts };
}

// Alone: the reads of others would be counted.
test.serial(
  '10,000 parts are completed, read by number, and no list reads their names',
  async (t) => {
    const path = '/bucket/ten-thousand';
    const { uploadId, parts } = await claimParts(path, PARTS_MAX, () => 5 * MiB);
    const query = `uploadId=${uploadId}`;
    const body = listOf(parts);
    const done = await send(shared, { method: 'POST', path, query, body });
    t.is(done.status, 200, done.text);
    t.regex(elementOf(done, 'ChecksumSHA256') ?? '', /-10000$/);
    const get = shared.store.get.bind(shared.store);
    let blocksRead = 0;
    shared.store.get = ((...args: Parameters<typeof get>) => {
      if (args[0] === 'blocks') blocksRead++;
      return get.apply(shared.store, args);
    }) as typeof get;
    for (const listing of ['list-type=2', 'versions', 'delimiter=%2F', 'uploads']) {
      const listed = await send(shared, { path: '/bucket', query: `${listing}&prefix=ten-` });
      t.is(listed.status, 200);
      if (listing !== 'uploads')
        t.true(listed.text.includes(`<Size>${PARTS_MAX * 5 * MiB}</Size>`));
    }
    t.is((await send(shared, { method: 'HEAD', path })).status, 200);
    t.is(blocksRead, 0, 'neither a list nor a HEAD needs the parts');
    const last = await send(shared, {
      method: 'HEAD',
      path,
      query: 'partNumber=10000',
      headers: { 'x-amz-checksum-mode': 'ENABLED' },
    });
    shared.store.get = get;
    t.is(blocksRead, 1);
    t.is(last.status, 206);
    t.is(last.headers['x-amz-mp-parts-count'], '10000');
    t.is(last.headers['x-amz-checksum-sha256'], checksumOf('SHA256', Buffer.from('10000')));
    t.is(last.headers['x-amz-checksum-type'], 'COMPOSITE');
    const beyond = await send(shared, { path, query: 'partNumber=10001' });
    t.is(codeOf(beyond), 'InvalidArgument');
    const again = await send(shared, { method: 'POST', path, query, body });
    t.is(elementOf(again, 'ETag'), elementOf(done, 'ETag'), 'a repeat answers the same');
  },
);

test('an object of 5 TiB can be made, its last byte read, and not a byte more', async (t) => {
  const path = '/bucket/largest';
  const usual = Math.floor(OBJECT_BYTES_MAX / PARTS_MAX);
  const lastSize = OBJECT_BYTES_MAX - usual * (PARTS_MAX - 1);
  const sizeOf = (number: number): number => (number === PARTS_MAX ? lastSize : usual);
  const { uploadId, parts } = await claimParts(path, PARTS_MAX, sizeOf);
  const complete = (body: string): Call => ({
    method: 'POST',
    path,
    query: `uploadId=${uploadId}`,
    body,
    headers: { 'x-amz-mp-object-size': String(OBJECT_BYTES_MAX) },
  });
  t.is((await send(shared, complete(listOf(parts)))).status, 200);
  const head = await send(shared, { method: 'HEAD', path });
  t.is(head.headers['content-length'], '5497558138880');
  // A tier that has every byte: each tells the number of its part.
  const hot = shared.tiers.get('hot');
  assert(hot !== undefined);
  const read = hot.read.bind(hot);
  hot.read = ((location, options): Promise<Body> => {
    const range = options?.range;
    if (location.length < 100 * MiB) return read(location, options);
    const number = Number(location.id.slice(-5));
    return Promise.resolve(new Uint8Array(range?.length ?? 0).fill(number % 251));
  }) as typeof read;
  try {
    const edge = usual * 7;
    for (const [range, expected] of [
      ['bytes=5497558138879-', [PARTS_MAX % 251]],
      ['bytes=-2', [PARTS_MAX % 251, PARTS_MAX % 251]],
      [`bytes=${edge - 1}-${edge}`, [7, 8]],
      ['bytes=4294967295-4294967296', [8, 8]],
    ] as const) {
      const got = await send(shared, { path, headers: { range } });
      t.is(got.status, 206, range);
      t.deepEqual([...got.bytes], [...expected], range);
      t.regex(got.headers['content-range'] ?? '', /\/5497558138880$/);
    }
    t.is((await send(shared, { path, headers: { range: 'bytes=5497558138880-' } })).status, 416);
  } finally {
    hot.read = read;
  }
  const more = await claimParts(
    path,
    PARTS_MAX,
    (number) => sizeOf(number) + (number === 1 ? 1 : 0),
  );
  const query = `uploadId=${more.uploadId}`;
  const refused = await send(shared, { method: 'POST', path, query, body: listOf(more.parts) });
  t.is(codeOf(refused), 'EntityTooLarge');
});

test('sizes: a part but the last of under 5 MiB, a part and a copy of over 5 GiB are refused', async (t) => {
  const path = '/bucket/sizes';
  const small = await claimParts(path, 2, () => 5 * MiB - 1);
  const query = `uploadId=${small.uploadId}`;
  const done = await send(shared, { method: 'POST', path, query, body: listOf(small.parts) });
  t.is(codeOf(done), 'EntityTooSmall');
  const large = await claimParts('/bucket/over-5-gib', 2, () => 3 * GiB);
  const made = await send(shared, {
    method: 'POST',
    path: '/bucket/over-5-gib',
    query: `uploadId=${large.uploadId}`,
    body: listOf(large.parts),
  });
  t.is(made.status, 200, made.text);
  const headers = { 'x-amz-copy-source': 'bucket/over-5-gib' };
  t.is(codeOf(await send(shared, { method: 'PUT', path, headers })), 'InvalidRequest');
  const uploadId = await begin(path);
  const part = { method: 'PUT', path, query: `partNumber=1&uploadId=${uploadId}` };
  t.is(codeOf(await send(shared, { ...part, headers })), 'InvalidRequest');
  const past = { ...headers, 'x-amz-copy-source-range': `bytes=0-${6 * GiB}` };
  t.is(codeOf(await send(shared, { ...part, headers: past })), 'InvalidRange');
});

test('a part that was sent twice: the one stored last is in the object, however often it is listed', async (t) => {
  const path = '/bucket/sent-twice';
  const uploadId = await begin(path);
  const query = `partNumber=1&uploadId=${uploadId}`;
  const one = await send(shared, { method: 'PUT', path, query, body: 'one' });
  const two = await send(shared, { method: 'PUT', path, query, body: 'two' });
  const [first, second] = [one, two].map(({ headers }) => ({
    number: 1,
    etag: headers.etag as string,
  })) as [{ number: number; etag: string }, { number: number; etag: string }];
  const complete = (parts: (typeof first)[]): Call => ({
    method: 'POST',
    path,
    query: `uploadId=${uploadId}`,
    body: listOf(parts),
  });
  t.is(codeOf(await send(shared, complete([second, first]))), 'InvalidPart');
  t.is((await send(shared, complete([first, second]))).status, 200);
  t.is((await send(shared, { path })).text, 'two');
});

test('a last part without bytes is a part: counted, read by its number, and nothing beside it', async (t) => {
  const path = '/bucket/empty-last';
  t.is((await upload(path, [Buffer.alloc(5 * MiB, 1), Buffer.alloc(0)])).status, 200);
  const second = await send(shared, { path, query: 'partNumber=2' });
  t.is(second.status, 200);
  t.is(second.headers['content-length'], '0');
  t.is(second.headers['x-amz-mp-parts-count'], '2');
  t.is(codeOf(await send(shared, { path, query: 'partNumber=3' })), 'InvalidPart');
  t.is((await upload('/bucket/empty-only', [Buffer.alloc(0)])).status, 200);
  const only = await send(shared, { path: '/bucket/empty-only', query: 'partNumber=1' });
  t.is(only.status, 200);
  t.is(only.text, '');
});

test('checksums of the whole: combined for CRCs, of the digests for others, by default CRC64NVME', async (t) => {
  const bodies = [Buffer.alloc(5 * MiB, 3), Buffer.from('the end')];
  const whole = Buffer.concat(bodies);
  const read = async (path: string, query = ''): Promise<Answer> =>
    send(shared, { method: 'HEAD', path, query, headers: { 'x-amz-checksum-mode': 'ENABLED' } });
  const plain = await upload('/bucket/sum-default', bodies);
  t.is(elementOf(plain, 'ChecksumCRC64NVME'), checksumOf('CRC64NVME', whole));
  t.is(elementOf(plain, 'ChecksumType'), 'FULL_OBJECT');
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const header = CHECKSUM_HEADERS[algorithm];
    for (const type of ['FULL_OBJECT', 'COMPOSITE'] as const) {
      const path = `/bucket/sum-${algorithm}-${type}`;
      const create = { 'x-amz-checksum-algorithm': algorithm, 'x-amz-checksum-type': type };
      const isCrc = algorithm.startsWith('CRC');
      const isPossible = type === 'FULL_OBJECT' ? isCrc : algorithm !== 'CRC64NVME';
      if (!isPossible) {
        const refused = { method: 'POST', path, query: 'uploads', headers: create };
        t.is(codeOf(await send(shared, refused)), 'InvalidRequest', path);
        continue;
      }
      const digests = bodies.map((body) => Buffer.from(checksumOf(algorithm, body), 'base64'));
      const expected =
        type === 'FULL_OBJECT'
          ? checksumOf(algorithm, whole)
          : `${checksumOf(algorithm, Buffer.concat(digests))}-2`;
      const wrong = checksumOf(algorithm, Buffer.from('other'));
      const refused = await upload(path, bodies, { create, complete: { [header]: wrong } });
      t.is(codeOf(refused), 'BadDigest', path);
      const done = await upload(path, bodies, { create, complete: { [header]: expected } });
      t.is(elementOf(done, `Checksum${algorithm}`), expected, path);
      const { headers } = await read(path);
      t.is(headers[header], expected);
      t.is(headers['x-amz-checksum-type'], type);
      const part = await read(path, 'partNumber=2');
      t.is(part.headers[header], checksumOf(algorithm, bodies[1] as Buffer));
      t.is((await send(shared, { method: 'HEAD', path })).headers[header], undefined);
    }
  }
});

test('the checksum of one PUT: of each of the ten, as header and as trailer; ours where there is none', async (t) => {
  const body = Buffer.from('summed');
  const path = '/bucket/summed';
  const put = { method: 'PUT', path, body };
  const none = await send(shared, put);
  t.is(none.headers['x-amz-checksum-crc64nvme'], checksumOf('CRC64NVME', body));
  t.is(none.headers['x-amz-checksum-type'], 'FULL_OBJECT');
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const name = CHECKSUM_HEADERS[algorithm];
    const value = checksumOf(algorithm, body);
    const wrong = checksumOf(algorithm, Buffer.from('other'));
    const trailer = (text: string): Call => ({
      ...put,
      bodyKind: 'streaming-signed-trailer',
      trailers: [[name, text]],
    });
    t.is((await send(shared, { ...put, headers: { [name]: value } })).headers[name], value);
    t.is((await send(shared, trailer(value))).headers[name], value);
    t.is(codeOf(await send(shared, { ...put, headers: { [name]: wrong } })), 'BadDigest');
    t.is(codeOf(await send(shared, trailer(wrong))), 'BadDigest');
    t.is(codeOf(await send(shared, { ...put, headers: { [name]: '!' } })), 'InvalidRequest');
    const asked = { 'x-amz-sdk-checksum-algorithm': algorithm };
    t.is((await send(shared, { ...put, headers: asked })).headers[name], value, 'announced only');
    const copy = { 'x-amz-copy-source': 'bucket/summed', 'x-amz-checksum-algorithm': algorithm };
    const copied = await send(shared, { method: 'PUT', path: '/bucket/copy', headers: copy });
    t.is(elementOf(copied, `Checksum${algorithm}`), value);
  }
  const two = { 'x-amz-checksum-crc32': 'AAAAAA==', 'x-amz-checksum-crc32c': 'AAAAAA==' };
  t.is(codeOf(await send(shared, { ...put, headers: two })), 'InvalidRequest');
  for (const value of ['', 'x', '!', 'AAAA', `${md5('x')}==`]) {
    const headers = { 'content-md5': value };
    t.is(codeOf(await send(shared, { ...put, headers })), 'InvalidDigest', value);
  }
  const other = createHash('md5').update('other').digest('base64');
  t.is(codeOf(await send(shared, { ...put, headers: { 'content-md5': other } })), 'BadDigest');
});

/** A hasher of another library as the SDK wants its checksums. */
function sdkSum(hasher: IHasher): new () => object {
  return class {
    readonly #hasher = hasher.init();

    update(bytes: Uint8Array): void {
      this.#hasher.update(bytes);
    }

    digest(): Promise<Uint8Array> {
      return Promise.resolve(this.#hasher.digest('binary'));
    }

    reset(): void {
      this.#hasher.init();
    }
  };
}

test('the AWS SDK makes and verifies each of the ten as we do, of objects and of parts', async (t) => {
  const client = new S3Client({
    endpoint: `http://${shared.host}`,
    region: REGION,
    credentials: { accessKeyId: OWNER.accessKey, secretAccessKey: OWNER.secretKey },
    forcePathStyle: true,
    maxAttempts: 1,
    // These the SDK leaves to its users.
    checksumAlgorithms: {
      SHA512: sdkSum(await createSHA512()),
      XXHASH64: sdkSum(await createXXHash64()),
      XXHASH3: sdkSum(await createXXHash3()),
      XXHASH128: sdkSum(await createXXHash128()),
    },
  } as S3ClientConfig);
  const Bucket = 'bucket';
  const Body = Buffer.from('by the SDK');
  for (const algorithm of CHECKSUM_ALGORITHMS) {
    const ChecksumAlgorithm = algorithm as SdkAlgorithm;
    const Key = `sdk-${algorithm}`;
    await client.send(new PutObjectCommand({ Bucket, Key, Body, ChecksumAlgorithm }));
    const got = await client.send(new GetObjectCommand({ Bucket, Key, ChecksumMode: 'ENABLED' }));
    // The SDK compares the sum with the bytes while they are read.
    t.is(await got.Body?.transformToString(), 'by the SDK', algorithm);
    const sums = got as unknown as Record<string, unknown>;
    t.is(sums[`Checksum${algorithm}`], checksumOf(algorithm, Body), algorithm);
    const uploading = { Bucket, Key, ChecksumAlgorithm };
    const { UploadId } = await client.send(new CreateMultipartUploadCommand(uploading));
    const part = await client.send(
      new UploadPartCommand({ ...uploading, UploadId, PartNumber: 1, Body }),
    );
    const field = `Checksum${algorithm}`;
    const own = { [field]: (part as unknown as Record<string, string>)[field] as string };
    t.is(own[field], checksumOf(algorithm, Body), algorithm);
    const Parts = [{ PartNumber: 1, ETag: part.ETag, ...own }];
    const done = await client.send(
      new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts } }),
    );
    t.truthy((done as unknown as Record<string, string>)[field], algorithm);
  }
  client.destroy();
});

test('an answer that is long in coming begins, and ends as what it is: a result or an error', async (t) => {
  const endpoint = await startEndpoint({ patienceMs: 40 });
  try {
    const { engine } = endpoint;
    const common = { owner: 'owner', storageClass: 'STANDARD', headers: {}, metadata: {} };
    await engine.putObject({ ...common, bucket: 'bucket', key: 'k', body: Buffer.from('slow') });
    const hot = endpoint.tiers.get('hot');
    assert(hot !== undefined);
    const copy: Call = {
      method: 'PUT',
      path: '/bucket/copy',
      headers: { 'x-amz-copy-source': 'bucket/k' },
    };
    const quick = await send(endpoint, copy);
    t.is(quick.headers['transfer-encoding'], undefined, 'a quick one is answered whole');
    let fails = false;
    hot.before = async (action) => {
      if (action !== 'read') return;
      await sleep(200);
      if (fails) throw new FirnError('TierUnavailable', 'gone meanwhile');
    };
    const slow = await send(endpoint, copy);
    t.is(slow.status, 200);
    t.regex(slow.text, /^<\?xml version="1.0" encoding="UTF-8"\?>\n +<CopyObjectResult/);
    t.is(elementOf(slow, 'ETag'), '"' + md5('slow') + '"');
    t.is((await send(endpoint, { path: '/bucket/copy' })).text, 'slow');
    fails = true;
    const failed = await send(endpoint, { ...copy, path: '/bucket/never' });
    t.is(failed.status, 200, 'that was said before it was known');
    t.regex(failed.text, /^<\?xml [^>]*\?>\n +<Error><Code>ServiceUnavailable</);
    t.is(elementOf(failed, 'RequestId'), String(failed.headers['x-amz-request-id']));
    t.deepEqual(
      endpoint.records.slice(-1).map(({ code, status }) => [code, status]),
      [['ServiceUnavailable', 503]],
      'and on record as what it was',
    );
    hot.before = undefined;
    t.is((await send(endpoint, { path: '/bucket/never' })).status, 404);
  } finally {
    await endpoint.close();
  }
});

test('the four conditions on the source of a copy, alone and in pairs, for objects and parts', async (t) => {
  const put = await send(shared, { method: 'PUT', path: '/bucket/source', body: 'source' });
  const etag = put.headers.etag as string;
  const later = new Date(Date.now() + 60_000).toUTCString();
  const earlier = new Date(Date.now() - 60_000).toUTCString();
  const uploadId = await begin('/bucket/of-parts');
  const part = { path: '/bucket/of-parts', query: `partNumber=1&uploadId=${uploadId}` };
  for (const [conditions, status] of [
    [{ 'if-match': etag }, 200],
    [{ 'if-match': etag.replaceAll('"', '') }, 200],
    [{ 'if-match': '"other"' }, 412],
    [{ 'if-none-match': etag }, 412],
    [{ 'if-none-match': '"other"' }, 200],
    [{ 'if-modified-since': earlier }, 200],
    [{ 'if-modified-since': later }, 412],
    [{ 'if-unmodified-since': later }, 200],
    [{ 'if-unmodified-since': earlier }, 412],
    // S3's pairs: the etag decides.
    [{ 'if-match': etag, 'if-unmodified-since': earlier }, 200],
    [{ 'if-none-match': etag, 'if-modified-since': earlier }, 412],
    [{ 'if-match': etag, 'if-none-match': etag }, 412],
  ] as const) {
    const headers: Record<string, string> = { 'x-amz-copy-source': '/bucket/source' };
    for (const [name, value] of Object.entries(conditions)) {
      headers[`x-amz-copy-source-${name}`] = value;
    }
    const what = JSON.stringify(conditions);
    for (const place of [{ path: '/bucket/copied' }, part]) {
      const answer = await send(shared, { method: 'PUT', ...place, headers });
      t.is(answer.status, status, `${what} ${place.path} ${answer.text}`);
      if (status === 412) t.is(codeOf(answer), 'PreconditionFailed');
    }
  }
});

test('a copy finds its source by any spelling of its key, in any version, and takes what S3 takes', async (t) => {
  await shared.engine.createBucket({ name: 'versioned', owner: 'owner', region: REGION });
  await shared.engine.updateBucket('versioned', (row) => ({ ...row, versioning: 'enabled' }));
  const key = 'a b+c%20/ä?&=#.txt';
  const path = `/versioned/${encodePath(key)}`;
  const described = {
    'content-type': 'text/x',
    'x-amz-meta-one': '1',
    'x-amz-tagging': 'a=1',
    'x-amz-website-redirect-location': '/elsewhere',
  };
  const old = await send(shared, { method: 'PUT', path, body: 'old', headers: described });
  const oldId = old.headers['x-amz-version-id'] as string;
  await send(shared, { method: 'PUT', path, body: 'new' });
  const copyOf = (source: string, more: Record<string, string> = {}): Promise<Answer> =>
    send(shared, {
      method: 'PUT',
      path: '/bucket/taken',
      headers: { 'x-amz-copy-source': source, ...more },
    });
  for (const source of [path, path.slice(1), path.replaceAll('/', '%2F').slice(3)]) {
    t.is((await copyOf(source)).status, 200, source);
    t.is((await send(shared, { path: '/bucket/taken' })).text, 'new');
  }
  const copied = await copyOf(`${path}?versionId=${oldId}`);
  t.is(copied.headers['x-amz-copy-source-version-id'], oldId);
  const head = await send(shared, { path: '/bucket/taken' });
  t.is(head.text, 'old');
  t.is(head.headers['x-amz-meta-one'], '1');
  t.is(head.headers['content-type'], 'text/x');
  t.is(head.headers['x-amz-tagging-count'], '1');
  t.is(head.headers['x-amz-website-redirect-location'], undefined, 'never copied');
  const replaced = {
    'x-amz-metadata-directive': 'REPLACE',
    'x-amz-tagging-directive': 'REPLACE',
    'x-amz-meta-two': '2',
    'x-amz-website-redirect-location': '/there',
    'x-amz-storage-class': 'STANDARD_IA',
  };
  t.is((await copyOf(`${path}?versionId=${oldId}`, replaced)).status, 200);
  const other = (await send(shared, { path: '/bucket/taken' })).headers;
  t.is(other['x-amz-meta-one'], undefined);
  t.is(other['x-amz-meta-two'], '2');
  t.is(other['x-amz-tagging-count'], undefined);
  t.is(other['x-amz-website-redirect-location'], '/there');
  t.is(other['x-amz-storage-class'], 'STANDARD_IA');
  const uploadId = await begin('/bucket/taken');
  const part = await send(shared, {
    method: 'PUT',
    path: '/bucket/taken',
    query: `partNumber=1&uploadId=${uploadId}`,
    headers: { 'x-amz-copy-source': path, 'x-amz-copy-source-range': 'bytes=1-2' },
  });
  t.is(elementOf(part, 'ETag'), '"' + md5('ew') + '"');
  t.truthy(part.headers['x-amz-copy-source-version-id'], 'also where none was named');
  const itself = { 'x-amz-copy-source': '/bucket/taken' };
  t.is(codeOf(await copyOf('/bucket/taken')), 'InvalidRequest');
  t.is(
    (await copyOf('/bucket/taken', { ...itself, 'x-amz-metadata-directive': 'REPLACE' })).status,
    200,
  );
});

test('a condition about an object that never was: nothing is deleted, and nothing is marked as deleted', async (t) => {
  await shared.engine.createBucket({ name: 'conditions', owner: 'owner', region: REGION });
  await shared.engine.updateBucket('conditions', (row) => ({ ...row, versioning: 'enabled' }));
  const path = '/conditions/never';
  for (const value of ['*', '"some"']) {
    const gone = await send(shared, { method: 'DELETE', path, headers: { 'if-match': value } });
    t.is(gone.status, 204);
    t.is(gone.headers['x-amz-delete-marker'], undefined);
  }
  const { text } = await send(shared, { path: '/conditions', query: 'versions' });
  t.false(text.includes('<DeleteMarker>'), text);
  t.is((await send(shared, { method: 'DELETE', path })).headers['x-amz-delete-marker'], 'true');
});

test('uploads and parts are listed in pages, by prefix and delimiter, with the names that XML can not hold', async (t) => {
  await shared.engine.createBucket({ name: 'uploads', owner: 'owner', region: REGION });
  const ids: string[] = [];
  for (const key of ['a/1', 'a/2', 'a/2', 'b', 'c%01']) ids.push(await begin(`/uploads/${key}`));
  const list = (query: string): Promise<Answer> =>
    send(shared, { path: '/uploads', query: `uploads&encoding-type=url&${query}` });
  const rolled = await list('delimiter=%2F&max-uploads=2');
  t.is(elementOf(rolled, 'IsTruncated'), 'true');
  t.deepEqual(rolled.text.match(/<Key>[^<]*|<Prefix>a\/[^<]*/g), ['<Key>b', '<Prefix>a/']);
  t.is(elementOf(rolled, 'NextKeyMarker'), 'b');
  const rest = await list('delimiter=%2F&key-marker=b');
  t.deepEqual(rest.text.match(/<Key>[^<]*/g), ['<Key>c%01']);
  const twins = await list('prefix=a%2F2&max-uploads=1');
  const id = elementOf(twins, 'NextUploadIdMarker') as string;
  const second = await list(`prefix=a%2F2&key-marker=a%2F2&upload-id-marker=${id}`);
  t.is(elementOf(second, 'IsTruncated'), 'false');
  const both = [elementOf(twins, 'UploadId'), elementOf(second, 'UploadId')].map(String);
  t.deepEqual(both.toSorted(compareUtf8), ids.slice(1, 3).toSorted(compareUtf8));
  const path = '/uploads/b';
  for (const number of [1, 2, 7]) {
    const query = `partNumber=${number}&uploadId=${ids[3]}`;
    await send(shared, { method: 'PUT', path, query, body: `part ${number}` });
  }
  const parts = await send(shared, { path, query: `uploadId=${ids[3]}&max-parts=2` });
  t.is(elementOf(parts, 'NextPartNumberMarker'), '2');
  t.is(elementOf(parts, 'ChecksumCRC64NVME'), checksumOf('CRC64NVME', Buffer.from('part 1')));
  const last = await send(shared, { path, query: `uploadId=${ids[3]}&part-number-marker=2` });
  t.deepEqual(last.text.match(/<PartNumber>\d+/g), ['<PartNumber>7']);
  t.is((await send(shared, { method: 'DELETE', path, query: `uploadId=${ids[3]}` })).status, 204);
  t.is(codeOf(await send(shared, { path, query: `uploadId=${ids[3]}` })), 'NoSuchUpload');
});

test('the list of 10,000 parts with their checksums is at most 1 MiB, and comes back as it was', (t) => {
  const sizes: string[] = [];
  for (const algorithm of [undefined, 'CRC64NVME', 'SHA256', 'SHA512'] as const) {
    const value = partsBlock(10_000, algorithm);
    const record = encodeRecord('blocks', value);
    stampRevision(record, 1, 1);
    // 64 bytes of SHA-512 and a nonce for each: that alone is 0.8 MB of randomness.
    t.true(record.length <= (algorithm === 'SHA512' ? 1.2 : 1) * 2 ** 20, algorithm);
    sizes.push(`${algorithm ?? 'none'} ${record.length}`);
    t.true(isDeepStrictEqual(decodeRecord('blocks', 'b', record).value, value));
  }
  t.log(sizes.join(', '));
});

test('a list of parts of any shape comes back exactly, compact or not', (t) => {
  const { parts, ...block } = partsBlock(70, 'CRC32') as Extract<Block, { kind: 'parts' }>;
  const change = (index: number, fields: object): Part[] =>
    parts.map((part, at) => (at === index ? ({ ...part, ...fields } as Part) : part));
  const { location } = parts[5] as Part;
  const { nonce: _, ...bare } = parts[0] as Part;
  const remote = (part: Part): Location => ({
    kind: 'remote',
    id: part.location.id,
    tier: 'cold',
    name: `blobs/${part.location.id.slice(0, 2)}/${part.location.id}`,
    length: part.sizeBytes,
  });
  const shapes: Part[][] = [
    parts,
    parts.slice(0, 1),
    [],
    parts.filter(({ number }) => number % 3 !== 0),
    parts.map((part) => ({ ...part, location: remote(part) })),
    parts.map((part, at) => ({
      ...part,
      location: { ...remote(part), kind: 'pack', pack: 'p', offset: at * 7 } as unknown as Location,
    })),
    [bare, ...parts.slice(1)],
    change(5, { etag: 'UPPER' }),
    change(5, { etag: 'A'.repeat(32) }),
    change(5, { checksum: '' }),
    change(5, { later: { added: 1 } }),
    change(5, { location: { ...location, length: 12 } }),
    change(5, { location: { ...location, tier: 'a\0b' } }),
    change(5, { location: { ...location, id: 'short' } }),
    change(5, { clientChecksum: { algorithm: 'SHA1', type: 'FULL_OBJECT', value: 'x' } }),
    change(5, { clientChecksum: undefined }).map(({ clientChecksum, ...part }) =>
      clientChecksum === undefined ? part : { ...part, clientChecksum },
    ),
  ];
  for (const [index, shape] of shapes.entries()) {
    const value = { ...block, parts: shape };
    const record = encodeRecord('blocks', value);
    stampRevision(record, 1, 1);
    t.deepEqual(decodeRecord('blocks', 'b', record).value, value, `shape ${index}`);
  }
});

test('a part copy that is refused lets go of its source', async (t) => {
  const endpoint = await startEndpoint();
  try {
    const { engine } = endpoint;
    const common = { owner: 'owner', storageClass: 'STANDARD', headers: {}, metadata: {} };
    await engine.putObject({ ...common, bucket: 'bucket', key: 'k', body: Buffer.alloc(MiB) });
    const { uploadId } = await engine.createUpload({ ...common, bucket: 'bucket', key: 'to' });
    const hot = endpoint.tiers.get('hot');
    assert(hot !== undefined);
    const read = hot.read.bind(hot);
    let open = 0;
    hot.read = async (location, options) => {
      const body = (await read(location, options)) as AsyncIterable<Uint8Array>;
      open++;
      return (async function* held() {
        try {
          yield* body;
        } finally {
          open--;
        }
      })();
    };
    hot.before = (action) => {
      if (action === 'put') throw new FirnError('TierUnavailable', 'no room');
    };
    const copy = { bucket: 'bucket', key: 'to', uploadId, number: 1 };
    await t.throwsAsync(engine.copyPart({ ...copy, source: { bucket: 'bucket', key: 'k' } }));
    t.is(open, 0);
  } finally {
    await endpoint.close();
  }
});
