// The real appliance, driven by the clients that people have: the AWS SDK always, and the aws CLI,
// rclone, s3cmd, restic and curl where they are on PATH (CI installs them). On both metadata stores for
// the SDK. Each client starts with an empty environment and its own keys. What a user would lose: files
// that go up and don't come back, a second sync that copies everything again, data gone after a restart.

import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketLocationCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  ListPartsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { presignUrl } from '../../appliance/model/signature.ts';
import { startFirn } from '../firn-process.ts';
import type { RunningFirn } from '../firn-process.ts';
import { findMongod, startMongo } from '../peers.ts';
import type { Peer } from '../peers.ts';
import { EVERYWHERE_SETTINGS, everywhereJourney } from './everywhere.ts';

const run = promisify(execFile);
const MiB = 1024 * 1024;
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const here = join(import.meta.dirname, '..', '..');

/** Registers the test, or skips it with the reason printed; with CI set nothing may be skipped. */
function needs(what: string, missing: string | undefined): typeof test.serial | typeof test.skip {
  if (missing === undefined) return test.serial;
  if (process.env['CI']) throw new Error(`${what}: ${missing}; CI must have it`);
  process.stderr.write(`skipped, ${what}: ${missing}\n`);
  return test.skip;
}

function program(name: string): { path: string; missing: string | undefined } {
  const folder = ['/usr/local/bin', '/usr/bin', '/bin'].find((one) => existsSync(join(one, name)));
  return {
    path: join(folder ?? '', name),
    missing: folder === undefined ? `${name} is not on PATH` : undefined,
  };
}

const mongod = await findMongod();
const missingMongo = 'missing' in mongod ? mongod.missing : undefined;

// One appliance a store for the whole file: tests use buckets of their own.
let firn: RunningFirn;
let onMongo: RunningFirn | undefined;
let mongo: Peer | undefined;
let tree: string;
let scratch: string;

test.before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'firn-clients-'));
  tree = join(scratch, 'tree');
  makeTree(tree);
  firn = await startFirn({ settings: EVERYWHERE_SETTINGS });
  if (missingMongo === undefined) {
    mongo = await startMongo({});
    onMongo = await startFirn({ metadata: mongo.url, settings: EVERYWHERE_SETTINGS });
  }
});

test.after.always(async () => {
  await firn?.dispose();
  await onMongo?.dispose();
  await mongo?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

/** 250 real files of the project's own packages, nested and of all small sizes, an empty one too. */
function makeTree(target: string): void {
  const from = join(here, 'node_modules');
  const picked: string[] = [];
  const walk = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).toSorted((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      if (picked.length >= 250) return;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile() && statSync(path).size <= 64 * 1024) picked.push(path);
    }
  };
  for (const name of ['koa', 'mongodb', 'msgpackr', 'lmdb']) walk(join(from, name));
  for (const path of picked) {
    const to = join(target, relative(from, path));
    mkdirSync(join(to, '..'), { recursive: true });
    cpSync(path, to);
  }
  writeFileSync(join(target, 'größe & plus+ (1).txt'), 'unicode and reserved characters');
  writeFileSync(join(target, 'empty'), '');
  writeFileSync(join(target, 'three-mebibytes.bin'), randomBytes(3 * MiB));
}

function filesOf(folder: string): Map<string, string> {
  const out = new Map<string, string>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    out.set(relative(folder, path), sha(readFileSync(path)));
  }
  return out;
}

const client = (to: RunningFirn): S3Client =>
  new S3Client({
    endpoint: to.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: to.accessKey, secretAccessKey: to.secretKey },
    maxAttempts: 1,
  });

const bytesOf = async (
  body: { transformToByteArray(): Promise<Uint8Array> } | undefined,
): Promise<Uint8Array> =>
  await (body as { transformToByteArray(): Promise<Uint8Array> }).transformToByteArray();

async function sdkJourney(t: ExecutionContext, to: RunningFirn): Promise<void> {
  const s3 = client(to);
  const Bucket = 'sdk-journey';
  await s3.send(new CreateBucketCommand({ Bucket }));
  const listed = await s3.send(new ListBucketsCommand({}));
  t.true(listed.Buckets?.some((one) => one.Name === Bucket));
  t.is((await s3.send(new GetBucketLocationCommand({ Bucket }))).LocationConstraint ?? '', '');

  const small = randomBytes(4096);
  const put = await s3.send(
    new PutObjectCommand({
      Bucket,
      Key: 'a/small file+ü.bin',
      Body: small,
      ContentType: 'x/y',
      Metadata: { who: 'me' },
      ChecksumAlgorithm: 'SHA256',
      CacheControl: 'max-age=1',
    }),
  );
  t.is(put.ETag, `"${createHash('md5').update(small).digest('hex')}"`);
  const got = await s3.send(
    new GetObjectCommand({ Bucket, Key: 'a/small file+ü.bin', ChecksumMode: 'ENABLED' }),
  );
  t.deepEqual(Buffer.from(await bytesOf(got.Body)), small);
  t.is(got.ContentType, 'x/y');
  t.is(got.CacheControl, 'max-age=1');
  t.deepEqual(got.Metadata, { who: 'me' });
  t.is(got.ChecksumSHA256, createHash('sha256').update(small).digest('base64'));
  const ranged = await s3.send(
    new GetObjectCommand({ Bucket, Key: 'a/small file+ü.bin', Range: 'bytes=100-199' }),
  );
  t.deepEqual(Buffer.from(await bytesOf(ranged.Body)), small.subarray(100, 200));
  t.is(ranged.ContentRange, 'bytes 100-199/4096');
  await t.throwsAsync(
    s3.send(new GetObjectCommand({ Bucket, Key: 'a/small file+ü.bin', IfNoneMatch: put.ETag })),
    { message: /304|NotModified|Unknown/ },
  );
  await t.throwsAsync(
    s3.send(
      new PutObjectCommand({ Bucket, Key: 'a/small file+ü.bin', Body: 'x', IfNoneMatch: '*' }),
    ),
    { name: 'PreconditionFailed' },
  );

  await s3.send(
    new CopyObjectCommand({
      Bucket,
      Key: 'b/copy',
      CopySource: `${Bucket}/${encodeURIComponent('a/small file+ü.bin')}`,
    }),
  );
  t.deepEqual(
    Buffer.from(
      await bytesOf((await s3.send(new GetObjectCommand({ Bucket, Key: 'b/copy' }))).Body),
    ),
    small,
  );
  for (const key of ['c/1', 'c/2', 'c/d/3', 'z'])
    await s3.send(new PutObjectCommand({ Bucket, Key: key, Body: key }));
  const page = await s3.send(new ListObjectsV2Command({ Bucket, Delimiter: '/' }));
  t.deepEqual(
    page.CommonPrefixes?.map((one) => one.Prefix),
    ['a/', 'b/', 'c/'],
  );
  t.deepEqual(
    page.Contents?.map((one) => one.Key),
    ['z'],
  );
  const first = await s3.send(new ListObjectsV2Command({ Bucket, MaxKeys: 4 }));
  t.true(first.IsTruncated);
  const second = await s3.send(
    new ListObjectsV2Command({
      Bucket,
      ...(first.NextContinuationToken ? { ContinuationToken: first.NextContinuationToken } : {}),
    }),
  );
  t.is((first.Contents?.length ?? 0) + (second.Contents?.length ?? 0), 6);

  await multipart(t, s3, Bucket);
  await versions(t, s3);
  const gone = await s3.send(
    new DeleteObjectsCommand({
      Bucket,
      Delete: { Objects: [{ Key: 'c/1' }, { Key: 'c/2' }, { Key: 'nothing' }] },
    }),
  );
  t.is(gone.Deleted?.length, 3);
  await t.throwsAsync(s3.send(new GetObjectCommand({ Bucket, Key: 'c/1' })), { name: 'NoSuchKey' });
  await t.throwsAsync(s3.send(new DeleteBucketCommand({ Bucket })), { name: 'BucketNotEmpty' });
}

async function multipart(t: ExecutionContext, s3: S3Client, Bucket: string): Promise<void> {
  const Key = 'large/hundred-mebibytes';
  const block = randomBytes(MiB);
  const part = (number: number): Buffer =>
    Buffer.concat(
      Array.from({ length: 20 }, (_, i) =>
        Buffer.concat([block.subarray(number * 20 + i), block.subarray(0, number * 20 + i)]),
      ),
    );
  const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
  t.truthy(UploadId);
  t.is(
    (await s3.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads?.[0]?.UploadId,
    UploadId,
  );
  const parts: { PartNumber: number; ETag: string }[] = [];
  for (let number = 1; number <= 5; number++) {
    const sent = await s3.send(
      new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: number, Body: part(number) }),
    );
    parts.push({ PartNumber: number, ETag: sent.ETag as string });
  }
  t.is((await s3.send(new ListPartsCommand({ Bucket, Key, UploadId }))).Parts?.length, 5);
  const done = await s3.send(
    new CompleteMultipartUploadCommand({
      Bucket,
      Key,
      UploadId,
      MultipartUpload: { Parts: parts },
    }),
  );
  t.regex(done.ETag ?? '', /-5"$/);
  const again = await s3.send(
    new CompleteMultipartUploadCommand({
      Bucket,
      Key,
      UploadId,
      MultipartUpload: { Parts: parts },
    }),
  );
  t.is(again.ETag, done.ETag, 'a repeated Complete says the same');
  const whole = createHash('sha256');
  for (let number = 1; number <= 5; number++) whole.update(part(number));
  const got = await s3.send(new GetObjectCommand({ Bucket, Key }));
  t.is(got.ContentLength, 100 * MiB);
  t.is(sha(await bytesOf(got.Body)), whole.digest('hex'));
  const over = await s3.send(
    new GetObjectCommand({ Bucket, Key, Range: `bytes=${20 * MiB - 10}-${20 * MiB + 9}` }),
  );
  t.deepEqual(
    Buffer.from(await bytesOf(over.Body)),
    Buffer.concat([part(1).subarray(-10), part(2).subarray(0, 10)]),
  );
  const third = await s3.send(new GetObjectCommand({ Bucket, Key, PartNumber: 3 }));
  t.is(sha(await bytesOf(third.Body)), sha(part(3)));
  const left = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: 'left' }));
  await s3.send(new AbortMultipartUploadCommand({ Bucket, Key: 'left', UploadId: left.UploadId }));
  await t.throwsAsync(
    s3.send(
      new UploadPartCommand({
        Bucket,
        Key: 'left',
        UploadId: left.UploadId,
        PartNumber: 1,
        Body: 'x',
      }),
    ),
    { name: 'NoSuchUpload' },
  );
}

async function versions(t: ExecutionContext, s3: S3Client): Promise<void> {
  const Bucket = 'versions-journey';
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(new PutObjectCommand({ Bucket, Key: 'k', Body: 'before' }));
  await s3.send(
    new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }),
  );
  t.is((await s3.send(new GetBucketVersioningCommand({ Bucket }))).Status, 'Enabled');
  const two = await s3.send(new PutObjectCommand({ Bucket, Key: 'k', Body: 'two' }));
  t.truthy(two.VersionId);
  const marker = await s3.send(new DeleteObjectCommand({ Bucket, Key: 'k' }));
  t.true(marker.DeleteMarker);
  await t.throwsAsync(s3.send(new GetObjectCommand({ Bucket, Key: 'k' })), { name: 'NoSuchKey' });
  const all = await s3.send(new ListObjectVersionsCommand({ Bucket }));
  t.deepEqual(
    all.Versions?.map((one) => one.VersionId),
    [two.VersionId, 'null'],
  );
  t.is(all.DeleteMarkers?.length, 1);
  t.is(
    Buffer.from(
      await bytesOf(
        (await s3.send(new GetObjectCommand({ Bucket, Key: 'k', VersionId: 'null' }))).Body,
      ),
    ).toString(),
    'before',
  );
  await s3.send(new DeleteObjectCommand({ Bucket, Key: 'k', VersionId: marker.VersionId }));
  t.is(
    Buffer.from(
      await bytesOf((await s3.send(new GetObjectCommand({ Bucket, Key: 'k' }))).Body),
    ).toString(),
    'two',
  );
}

test.serial('the AWS SDK finds every operation of the core right, on LMDB', async (t) => {
  await sdkJourney(t, firn);
});

needs('on MongoDB', missingMongo)(
  'the AWS SDK finds every operation of the core right, on MongoDB',
  async (t) => {
    await sdkJourney(t, onMongo as RunningFirn);
  },
);

test.serial('what is acknowledged holds in every process, on either store', async (t) => {
  // Both at once: most of it is waiting.
  await Promise.all(
    [firn, onMongo].map(async (one) => {
      if (one !== undefined) await everywhereJourney(t, one);
    }),
  );
});

const awsProgram = program('aws');
const rcloneProgram = program('rclone');
const s3cmdProgram = program('s3cmd');
const resticProgram = program('restic');

interface Cli {
  (...args: string[]): Promise<{ stdout: string; stderr: string }>;
}

function cli(path: string, env: Record<string, string>, cwd: string): Cli {
  return async (...args) =>
    await run(path, args, {
      cwd,
      maxBuffer: 64 * MiB,
      timeout: 120_000,
      env: { PATH: '/usr/bin:/bin', HOME: cwd, LC_ALL: 'C.UTF-8', ...env },
    });
}

needs('aws', awsProgram.missing)(
  'the aws CLI syncs a tree up and back, a second sync copies nothing, a presigned URL serves curl',
  async (t) => {
    const home = mkdtempSync(join(scratch, 'aws-'));
    const aws = cli(
      awsProgram.path,
      {
        AWS_ACCESS_KEY_ID: firn.accessKey,
        AWS_SECRET_ACCESS_KEY: firn.secretKey,
        AWS_DEFAULT_REGION: 'us-east-1',
        AWS_EC2_METADATA_DISABLED: 'true',
      },
      home,
    );
    const s3 = async (...args: string[]): Promise<string> =>
      (await aws('--endpoint-url', firn.endpoint, 's3', ...args)).stdout;
    await s3('mb', 's3://aws-cli');
    await s3('sync', '--only-show-errors', tree, 's3://aws-cli/tree');
    t.is((await s3('sync', tree, 's3://aws-cli/tree')).trim(), '', 'the second sync is a no-op');
    await s3('sync', '--only-show-errors', 's3://aws-cli/tree', join(home, 'back'));
    t.deepEqual(filesOf(join(home, 'back')), filesOf(tree));
    const big = join(home, 'big');
    writeFileSync(big, randomBytes(24 * MiB));
    await s3('cp', '--only-show-errors', big, 's3://aws-cli/big');
    const url = (await s3('presign', 's3://aws-cli/big', '--expires-in', '60')).trim();
    await run('curl', ['-sf', '-o', join(home, 'curled'), url]);
    t.is(sha(readFileSync(join(home, 'curled'))), sha(readFileSync(big)));
    const bad = await run('curl', [
      '-s',
      '-w',
      '%{http_code}',
      url.replace(/.$/, (c) => (c === '0' ? '1' : '0')),
    ]);
    t.regex(bad.stdout, /SignatureDoesNotMatch[\s\S]*403$/);
    const putUrl = presignUrl({
      scheme: 'http',
      method: 'PUT',
      host: `127.0.0.1:${firn.port}`,
      path: '/aws-cli/by-curl',
      region: 'us-east-1',
      service: 's3',
      date: new Date(),
      expiresSeconds: 60,
      accessKey: firn.accessKey,
      secretKey: firn.secretKey,
    });
    await run('curl', ['-sf', '-T', join(tree, 'three-mebibytes.bin'), putUrl]);
    t.regex(await s3('ls', 's3://aws-cli/by-curl'), /3145728 by-curl/);
    await s3('rm', '--recursive', '--only-show-errors', 's3://aws-cli');
    await s3('rb', 's3://aws-cli');
  },
);

needs('rclone', rcloneProgram.missing)(
  'rclone syncs a tree twice and checks it, the second time nothing to do',
  async (t) => {
    const home = mkdtempSync(join(scratch, 'rclone-'));
    const rclone = cli(
      rcloneProgram.path,
      {
        RCLONE_CONFIG: join(home, 'none.conf'),
        RCLONE_CONFIG_FIRN_TYPE: 's3',
        RCLONE_CONFIG_FIRN_PROVIDER: 'Other',
        RCLONE_CONFIG_FIRN_ENDPOINT: firn.endpoint,
        RCLONE_CONFIG_FIRN_REGION: 'us-east-1',
        RCLONE_CONFIG_FIRN_ACCESS_KEY_ID: firn.accessKey,
        RCLONE_CONFIG_FIRN_SECRET_ACCESS_KEY: firn.secretKey,
      },
      home,
    );
    writeFileSync(join(home, 'none.conf'), '');
    await rclone('mkdir', 'firn:rclone-bucket');
    await rclone('sync', tree, 'firn:rclone-bucket/tree');
    const second = await rclone('sync', '-v', '--stats-one-line', tree, 'firn:rclone-bucket/tree');
    t.regex(second.stderr, /There was nothing to transfer/);
    await rclone('check', tree, 'firn:rclone-bucket/tree');
    const ranged = await rclone(
      'cat',
      '--offset',
      '100',
      '--count',
      '50',
      'firn:rclone-bucket/tree/three-mebibytes.bin',
    );
    t.true(ranged.stdout.length > 0);
    await rclone('delete', 'firn:rclone-bucket/tree');
    t.is((await rclone('ls', 'firn:rclone-bucket')).stdout, '');
  },
);

needs('s3cmd', s3cmdProgram.missing)('s3cmd puts, lists, gets and deletes', async (t) => {
  const home = mkdtempSync(join(scratch, 's3cmd-'));
  const host = `127.0.0.1:${firn.port}`;
  const s3cmd = cli(s3cmdProgram.path, {}, home);
  const common = [
    `--access_key=${firn.accessKey}`,
    `--secret_key=${firn.secretKey}`,
    `--host=${host}`,
    `--host-bucket=${host}`,
    '--no-ssl',
    '--region=us-east-1',
    '--no-progress',
    '-c',
    '/dev/null',
  ];
  const call = async (...args: string[]): Promise<string> =>
    (await s3cmd(...common, ...args)).stdout;
  await call('mb', 's3://s3cmd-bucket');
  await call('sync', `${tree}/koa/`, 's3://s3cmd-bucket/koa/');
  const again = await call('sync', `${tree}/koa/`, 's3://s3cmd-bucket/koa/');
  t.notRegex(again, /upload:/, 'the second sync is a no-op');
  await call(
    'put',
    '--multipart-chunk-size-mb=5',
    join(tree, 'three-mebibytes.bin'),
    's3://s3cmd-bucket/three',
  );
  await call('get', 's3://s3cmd-bucket/three', join(home, 'three'));
  t.is(
    sha(readFileSync(join(home, 'three'))),
    sha(readFileSync(join(tree, 'three-mebibytes.bin'))),
  );
  t.regex(await call('ls', 's3://s3cmd-bucket/'), /DIR\s+s3:\/\/s3cmd-bucket\/koa\//);
  await call('del', '--recursive', '--force', 's3://s3cmd-bucket/');
  t.is((await call('ls', '--recursive', 's3://s3cmd-bucket/')).trim(), '');
});

needs('restic', resticProgram.missing)(
  'restic backs up, checks every byte and restores',
  async (t) => {
    const home = mkdtempSync(join(scratch, 'restic-'));
    const restic = cli(
      resticProgram.path,
      {
        AWS_ACCESS_KEY_ID: firn.accessKey,
        AWS_SECRET_ACCESS_KEY: firn.secretKey,
        AWS_DEFAULT_REGION: 'us-east-1',
        RESTIC_PASSWORD: 'firn',
        RESTIC_REPOSITORY: `s3:${firn.endpoint}/restic-bucket`,
        RESTIC_CACHE_DIR: join(home, 'cache'),
      },
      home,
    );
    await restic('init');
    await restic('backup', tree);
    await restic('check', '--read-data');
    await restic('restore', 'latest', '--target', join(home, 'back'));
    t.deepEqual(filesOf(join(home, 'back', tree)), filesOf(tree));
  },
);

test.serial('everything is still there after a restart of the server', async (t) => {
  for (const [name, one] of [
    ['LMDB', firn],
    ['MongoDB', onMongo],
  ] as const) {
    if (one === undefined) continue;
    const s3 = client(one);
    const Bucket = 'restart';
    const bytes = randomBytes(700_000);
    await s3.send(new CreateBucketCommand({ Bucket }));
    for (let i = 0; i < 20; i++)
      await s3.send(
        new PutObjectCommand({ Bucket, Key: `k${i}`, Body: bytes.subarray(0, i * 30_000) }),
      );
    await one.stop();
    const again = await one.restart();
    if (name === 'LMDB') firn = again;
    else onMongo = again;
    const after = client(again);
    t.is((await after.send(new ListObjectsV2Command({ Bucket }))).KeyCount, 20, name);
    for (let i = 0; i < 20; i++) {
      const got = await after.send(new GetObjectCommand({ Bucket, Key: `k${i}` }));
      t.is(sha(await bytesOf(got.Body)), sha(bytes.subarray(0, i * 30_000)), `${name} k${i}`);
    }
    t.is((await after.send(new HeadObjectCommand({ Bucket, Key: 'k7' }))).ContentLength, 210_000);
  }
});
