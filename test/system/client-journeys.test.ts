// One appliance with a cold tier and an archive, and every client that people have on it: each puts, lists,
// gets, sends in parts and deletes; then objects sink, one comes back, the server is restarted, and each
// client finds what it had put and reads what lies in a pack and what was restored. What a user would lose:
// a program that worked until its data went cold.

import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  CreateMultipartUploadCommand,
  CompleteMultipartUploadCommand,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import * as minio from 'minio';
import { adminCall } from '../admin-fetch.ts';
import { startFirn } from '../firn-process.ts';
import type { RunningFirn } from '../firn-process.ts';
import { findBoto3 } from '../peers.ts';
import { errorCode, s3Call } from '../s3-fetch.ts';

const run = promisify(execFile);
const KiB = 1024;
const MiB = 1024 * KiB;
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Of the engine's clock. */
const STAGE_SECONDS = 3600;
const SETTINGS = {
  debug: { sandboxClock: true },
  processes: 1,
  tiers: {
    hot: { kind: 'node-group', groups: [Array.from({ length: 6 }, (_, i) => `data/hot/${i}`)] },
    warm: { kind: 'node-group', groups: [Array.from({ length: 6 }, (_, i) => `data/warm/${i}`)] },
    cold: { kind: 'directory', directory: 'data/cold' },
    archive: {
      kind: 'directory',
      directory: 'data/archive',
      retrieval: 'staged',
      stageSeconds: STAGE_SECONDS,
    },
  },
};

const python = await findBoto3();

let firn: RunningFirn;
let scratch: string;
const packed = randomBytes(700 * KiB);
const archived = randomBytes(300 * KiB);

async function s3(
  method: string,
  path: string,
  more: { query?: string; body?: Uint8Array | string } = {},
) {
  const answer = await s3Call(firn, { method, path, ...more });
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
  return answer;
}

test.before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'firn-journeys-'));
  firn = await startFirn({ settings: SETTINGS });
  await s3('PUT', '/tiered');
  await s3('PUT', '/tiered/packed/file', { body: packed });
  await s3('PUT', '/tiered/archived/restored', { body: archived });
  await s3('PUT', '/tiered/archived/kept', { body: archived });
});

test.after.always(async () => {
  for (const mount of mounts) await mount.end().catch(() => undefined);
  await firn?.dispose();
  rmSync(scratch, { recursive: true, force: true });
});

// ── A client's journey, in two halves ───────────────

interface Journey {
  client: string;
  /** Why it can't run here; undefined where it can. */
  missing: string | undefined;
  before(t: ExecutionContext): Promise<void>;
  /** Behind the restart; `packed` and `archived` lie in cold tiers by now. */
  after(t: ExecutionContext): Promise<void>;
}

function program(name: string): string | undefined {
  const folders = ['/usr/local/bin', '/usr/bin', '/bin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

const missing = (name: string): string | undefined =>
  program(name) === undefined ? `${name} is not on PATH` : undefined;

interface Cli {
  (...args: string[]): Promise<{ stdout: string; stderr: string }>;
}

function cli(name: string, env: () => Record<string, string>): Cli {
  return async (...args) =>
    await run(program(name) ?? name, args, {
      cwd: scratch,
      maxBuffer: 64 * MiB,
      timeout: 60_000,
      env: { PATH: '/usr/bin:/bin', HOME: scratch, LC_ALL: 'C.UTF-8', ...env() },
    });
}

const awsKeys = (): Record<string, string> => ({
  AWS_ACCESS_KEY_ID: firn.accessKey,
  AWS_SECRET_ACCESS_KEY: firn.secretKey,
  AWS_DEFAULT_REGION: 'us-east-1',
  AWS_EC2_METADATA_DISABLED: 'true',
});

const file = (name: string, bytes?: Uint8Array): string => {
  const path = join(scratch, name);
  if (bytes !== undefined) writeFileSync(path, bytes);
  return path;
};

const shaOfFile = (path: string): string => sha(readFileSync(path));

const small = randomBytes(9 * KiB);
const large = randomBytes(12 * MiB);

const sdkClient = (): S3Client =>
  new S3Client({
    endpoint: firn.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: firn.accessKey, secretAccessKey: firn.secretKey },
    maxAttempts: 1,
  });

const sdk: Journey = {
  client: 'the AWS SDK for JavaScript with lib-storage and s3-request-presigner',
  missing: undefined,
  async before(t) {
    const client = sdkClient();
    const Bucket = 'sdk-journey';
    await client.send(new CreateBucketCommand({ Bucket }));
    await client.send(new PutObjectCommand({ Bucket, Key: 'small', Body: small }));
    // A stream of unknown length: parts, each with a trailing checksum.
    const pieces = Array.from({ length: 48 }, (_, i) =>
      large.subarray(i * 256 * KiB, (i + 1) * 256 * KiB),
    );
    const upload = new Upload({
      client,
      params: { Bucket, Key: 'streamed', Body: Readable.from(pieces), Metadata: { a: 'b' } },
      queueSize: 3,
      partSize: 5 * MiB,
    });
    let progressed = 0;
    upload.on('httpUploadProgress', () => progressed++);
    const done = await upload.done();
    t.regex(done.ETag ?? '', /-3"$/);
    t.true(progressed >= 3);
    t.is(sha(await read(client, Bucket, 'streamed')), sha(large));
    const given = new Upload({
      client,
      params: { Bucket, Key: 'aborted', Body: Readable.from(pieces) },
      partSize: 5 * MiB,
    });
    const ended = given.done();
    await given.abort();
    await t.throwsAsync(ended, { name: 'AbortError' });
    await sdkPresigned(t, client, Bucket);
  },
  async after(t) {
    const client = sdkClient();
    const Bucket = 'sdk-journey';
    t.is(sha(await read(client, Bucket, 'streamed')), sha(large));
    const head = await client.send(new HeadObjectCommand({ Bucket: 'tiered', Key: 'packed/file' }));
    t.is(head.StorageClass, 'GLACIER_IR');
    t.deepEqual(await read(client, 'tiered', 'packed/file'), packed);
    t.deepEqual(await read(client, 'tiered', 'archived/restored'), archived);
    await t.throwsAsync(read(client, 'tiered', 'archived/kept'), { name: 'InvalidObjectState' });
    const url = await getSignedUrl(
      client,
      new GetObjectCommand({ Bucket: 'tiered', Key: 'packed/file' }),
    );
    t.is(sha(new Uint8Array(await (await fetch(url)).arrayBuffer())), sha(packed));
    const listed = await client.send(new ListObjectsV2Command({ Bucket }));
    const Objects = (listed.Contents ?? []).map(({ Key }) => ({ Key }));
    await client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    await client.send(new DeleteBucketCommand({ Bucket }));
  },
};

async function read(client: S3Client, Bucket: string, Key: string): Promise<Buffer> {
  const { Body } = await client.send(new GetObjectCommand({ Bucket, Key }));
  return Buffer.from((await Body?.transformToByteArray()) ?? []);
}

/** URLs for programs that have no keys: reading, writing, and the parts of an upload. */
async function sdkPresigned(t: ExecutionContext, client: S3Client, Bucket: string): Promise<void> {
  const Key = 'by url/ü +&.bin';
  // By its defaults the SDK signs the checksum of no bytes into the URL: nobody knows yet what will be sent.
  const put = await getSignedUrl(
    client,
    new PutObjectCommand({ Bucket, Key, ContentType: 'a/b', Metadata: { m: '1' } }),
    { expiresIn: 60, signableHeaders: new Set(['content-type']) },
  );
  const headers = { 'content-type': 'a/b' };
  const sent = await fetch(put, { method: 'PUT', body: small, headers });
  t.is(sent.status, 200, await sent.text());
  const head = await client.send(new HeadObjectCommand({ Bucket, Key }));
  t.like(head, { ContentType: 'a/b', Metadata: { m: '1' } });
  const url = await getSignedUrl(
    client,
    new GetObjectCommand({ Bucket, Key, ResponseContentType: 'x/y', Range: 'bytes=0-9' }),
  );
  const got = await fetch(url, { headers: { range: 'bytes=0-9' } });
  t.is(got.headers.get('content-type'), 'x/y');
  t.deepEqual(Buffer.from(await got.arrayBuffer()), small.subarray(0, 10));
  t.is((await fetch(`${url}0`)).status, 403);
  const { UploadId } = await client.send(
    new CreateMultipartUploadCommand({ Bucket, Key: 'parts' }),
  );
  const part = await getSignedUrl(
    client,
    new UploadPartCommand({ Bucket, Key: 'parts', UploadId, PartNumber: 1 }),
  );
  const answer = await fetch(part, { method: 'PUT', body: small });
  t.is(answer.status, 200, await answer.text());
  const Parts = [{ PartNumber: 1, ETag: answer.headers.get('etag') as string }];
  await client.send(
    new CompleteMultipartUploadCommand({
      Bucket,
      Key: 'parts',
      UploadId,
      MultipartUpload: { Parts },
    }),
  );
  t.deepEqual(await read(client, Bucket, 'parts'), small);
}

const minioClient = (): minio.Client =>
  new minio.Client({
    endPoint: '127.0.0.1',
    port: firn.port,
    useSSL: false,
    accessKey: firn.accessKey,
    secretKey: firn.secretKey,
    region: 'us-east-1',
    pathStyle: true,
  });

const bytesOf = async (stream: Readable): Promise<Buffer> => {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
};

const minioNpm: Journey = {
  client: 'minio (npm)',
  missing: undefined,
  async before(t) {
    const client = minioClient();
    const bucket = 'minio-journey';
    await client.makeBucket(bucket, 'us-east-1');
    t.true(await client.bucketExists(bucket));
    await client.putObject(bucket, 'a/small ü+.bin', small, small.length, {
      'x-amz-meta-who': 'me',
    });
    const stat = await client.statObject(bucket, 'a/small ü+.bin');
    t.is(stat.size, small.length);
    t.is((stat.metaData as Record<string, string>)['who'], 'me');
    const streaming = minioClient();
    streaming.partSize = 5 * MiB;
    await streaming.putObject(bucket, 'large', Readable.from([large]), large.length);
    t.regex((await client.statObject(bucket, 'large')).etag, /-\d+$/);
    t.is(sha(await bytesOf(await client.getObject(bucket, 'large'))), sha(large));
    const part = await client.getPartialObject(bucket, 'large', 5 * MiB - 5, 10);
    t.deepEqual(await bytesOf(part), large.subarray(5 * MiB - 5, 5 * MiB + 5));
    await client.copyObject(bucket, 'copied', `/${bucket}/large`);
    for (let i = 0; i < 12; i++) await client.putObject(bucket, `many/${i}`, 'x');
    const names: string[] = [];
    for await (const one of client.listObjectsV2(bucket, 'many/', true)) {
      names.push((one as { name: string }).name);
    }
    t.is(names.length, 12);
    t.is((await fetch(await client.presignedGetObject(bucket, 'large', 60))).status, 200);
    const url = await client.presignedPutObject(bucket, 'by-url', 60);
    t.is((await fetch(url, { method: 'PUT', body: 'by url' })).status, 200);
    await minioForm(t, client, bucket);
  },
  async after(t) {
    const client = minioClient();
    const bucket = 'minio-journey';
    t.deepEqual(await bytesOf(await client.getObject(bucket, 'a/small ü+.bin')), small);
    t.is(sha(await bytesOf(await client.getObject(bucket, 'copied'))), sha(large));
    t.deepEqual(await bytesOf(await client.getObject('tiered', 'packed/file')), packed);
    t.deepEqual(await bytesOf(await client.getObject('tiered', 'archived/restored')), archived);
    await t.throwsAsync(client.getObject('tiered', 'archived/kept'), {
      code: 'InvalidObjectState',
    });
    const names: string[] = [];
    for await (const one of client.listObjectsV2(bucket, '', true)) {
      names.push((one as { name: string }).name);
    }
    await client.removeObjects(bucket, names);
    await client.removeBucket(bucket);
    t.false(await client.bucketExists(bucket));
  },
};

async function minioForm(t: ExecutionContext, client: minio.Client, bucket: string): Promise<void> {
  const policy = client.newPostPolicy();
  policy.setBucket(bucket);
  policy.setKey('by-form');
  policy.setExpires(new Date(Date.now() + 60_000));
  policy.setContentLengthRange(1, 100);
  const { postURL, formData } = await client.presignedPostPolicy(policy);
  for (const [body, status] of [
    ['by form', 204],
    ['x'.repeat(101), 400],
  ] as const) {
    const form = new FormData();
    for (const [name, value] of Object.entries(formData)) form.append(name, String(value));
    form.append('file', new Blob([body]), 'f');
    t.is((await fetch(postURL, { method: 'POST', body: form })).status, status);
  }
  t.is(String(await bytesOf(await client.getObject(bucket, 'by-form'))), 'by form');
}

async function boto3(half: 'before' | 'after'): Promise<void> {
  const script = join(import.meta.dirname, 'boto3-journey.py');
  const args = [script, firn.endpoint, half, sha(packed), sha(archived)];
  await run('path' in python ? python.path : '', args, {
    timeout: 60_000,
    env: { PATH: '/usr/bin:/bin', HOME: scratch, PYTHONDONTWRITEBYTECODE: '1', ...awsKeys() },
  });
}

const boto3Python: Journey = {
  client: 'boto3',
  missing: 'missing' in python ? python.missing : undefined,
  async before(t) {
    await t.notThrowsAsync(boto3('before'));
  },
  async after(t) {
    await t.notThrowsAsync(boto3('after'));
  },
};

interface Mount {
  path: string;
  end(): Promise<void>;
}
const mounts: Mount[] = [];

/** The bucket as a folder; in the foreground, so that it ends with us. */
async function mountBucket(bucket: string): Promise<Mount> {
  const path = mkdtempSync(join(scratch, 'mount-'));
  const keys = join(scratch, 's3fs-keys');
  writeFileSync(keys, `${firn.accessKey}:${firn.secretKey}`, { mode: 0o600 });
  const options = [
    `passwd_file=${keys}`,
    `url=${firn.endpoint}`,
    'use_path_request_style',
    'endpoint=us-east-1',
    'sigv4',
    'multipart_size=5',
    'singlepart_copy_limit=5',
  ];
  const child: ChildProcess = spawn(
    program('s3fs') as string,
    [bucket, path, '-f', ...options.flatMap((option) => ['-o', option])],
    { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: '/usr/bin:/bin', HOME: scratch } },
  );
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const mount: Mount = {
    path,
    async end() {
      if (child.exitCode !== null) return;
      await run(program('fusermount') ?? 'fusermount3', ['-u', path]).catch(() => child.kill());
      await Promise.race([exited, sleep(5000).then(() => child.kill('SIGKILL'))]);
    },
  };
  mounts.push(mount);
  for (let tries = 0; tries < 200; tries++) {
    const isMounted = readFileSync('/proc/self/mounts', 'utf8').includes(` ${path} `);
    if (isMounted) return mount;
    if (child.exitCode !== null) break;
    await sleep(50);
  }
  throw new Error(`s3fs does not mount: ${output}`);
}

/** CAP_SYS_ADMIN. */
const SYS_ADMIN = 21n;

function withoutFuse(): string | undefined {
  const noClient = missing('s3fs');
  if (noClient !== undefined) return noClient;
  if (!existsSync('/dev/fuse')) return 'this machine has no FUSE (/dev/fuse)';
  try {
    closeSync(openSync('/dev/fuse', 'r+'));
  } catch {
    return 'this machine lets nobody use FUSE (/dev/fuse)';
  }
  // Root of a container may hold the file and still not be allowed to mount.
  const rights = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  const mayMount = (BigInt(`0x${rights ?? '0'}`) >> SYS_ADMIN) & 1n;
  const isRoot = process.getuid?.() === 0;
  return isRoot && mayMount === 0n ? 'this machine lets nobody mount (/dev/fuse)' : undefined;
}

const s3fs: Journey = {
  client: 's3fs',
  missing: withoutFuse(),
  async before(t) {
    await s3('PUT', '/s3fs-journey');
    const mount = await mountBucket('s3fs-journey');
    const at = (name: string): string => join(mount.path, name);
    mkdirSync(at('folder'));
    writeFileSync(at('folder/small.bin'), small);
    writeFileSync(at('large.bin'), large);
    writeFileSync(at('old name'), 'renamed');
    renameSync(at('old name'), at('new näme'));
    writeFileSync(at('gone'), 'x');
    unlinkSync(at('gone'));
    t.deepEqual(readdirSync(mount.path).toSorted(), ['folder', 'large.bin', 'new näme']);
    await mount.end();
    const answer = await s3('GET', '/s3fs-journey/folder/small.bin');
    t.deepEqual(answer.body, small);
    t.regex((await s3('HEAD', '/s3fs-journey/large.bin')).headers.get('etag') ?? '', /-\d"$/);
  },
  async after(t) {
    const mount = await mountBucket('s3fs-journey');
    t.is(shaOfFile(join(mount.path, 'large.bin')), sha(large));
    t.is(readFileSync(join(mount.path, 'new näme'), 'utf8'), 'renamed');
    rmSync(join(mount.path, 'folder'), { recursive: true });
    t.deepEqual(readdirSync(mount.path).toSorted(), ['large.bin', 'new näme']);
    await mount.end();
    const tiered = await mountBucket('tiered');
    t.is(shaOfFile(join(tiered.path, 'packed/file')), sha(packed));
    t.is(shaOfFile(join(tiered.path, 'archived/restored')), sha(archived));
    t.throws(() => readFileSync(join(tiered.path, 'archived/kept')));
    await tiered.end();
  },
};

const aws = cli('aws', awsKeys);
const awsCli: Journey = {
  client: 'the aws CLI',
  missing: missing('aws'),
  async before(t) {
    const s3cli = (...args: string[]) => aws('--endpoint-url', firn.endpoint, 's3', ...args);
    await s3cli('mb', 's3://aws-journey');
    await s3cli('cp', '--only-show-errors', file('aws-large', large), 's3://aws-journey/large');
    t.regex((await s3cli('ls', 's3://aws-journey/')).stdout, /12582912 large/);
  },
  async after(t) {
    const s3cli = (...args: string[]) =>
      aws('--endpoint-url', firn.endpoint, 's3', ...args, '--only-show-errors');
    for (const [from, bytes] of [
      ['aws-journey/large', large],
      ['tiered/packed/file', packed],
    ] as const) {
      await s3cli('cp', `s3://${from}`, file('aws-back'));
      t.is(shaOfFile(file('aws-back')), sha(bytes), from);
    }
    // For a GLACIER class the CLI looks for a restore first, and reads on where there is one.
    await s3cli('cp', 's3://tiered/archived/restored', file('aws-back'));
    t.is(shaOfFile(file('aws-back')), sha(archived));
    await aws('--endpoint-url', firn.endpoint, 's3', 'rb', '--force', 's3://aws-journey');
    t.is((await s3Call(firn, { method: 'HEAD', path: '/aws-journey' })).status, 404);
  },
};

const rclone = cli('rclone', () => ({
  RCLONE_CONFIG: file('rclone.conf', Buffer.alloc(0)),
  RCLONE_CONFIG_FIRN_TYPE: 's3',
  RCLONE_CONFIG_FIRN_PROVIDER: 'Other',
  RCLONE_CONFIG_FIRN_ENDPOINT: firn.endpoint,
  RCLONE_CONFIG_FIRN_REGION: 'us-east-1',
  RCLONE_CONFIG_FIRN_ACCESS_KEY_ID: firn.accessKey,
  RCLONE_CONFIG_FIRN_SECRET_ACCESS_KEY: firn.secretKey,
}));
const rcloneJourney: Journey = {
  client: 'rclone',
  missing: missing('rclone'),
  async before(t) {
    await rclone('mkdir', 'firn:rclone-journey');
    const cutoff = ['--s3-upload-cutoff', '5M', '--s3-chunk-size', '5M'];
    await rclone('copyto', ...cutoff, file('rclone-large', large), 'firn:rclone-journey/large');
    t.regex((await rclone('ls', 'firn:rclone-journey')).stdout, /12582912 large/);
  },
  async after(t) {
    for (const [from, bytes] of [
      ['rclone-journey/large', large],
      ['tiered/packed/file', packed],
      ['tiered/archived/restored', archived],
    ] as const) {
      await rclone('copyto', `firn:${from}`, file('rclone-back'));
      t.is(shaOfFile(file('rclone-back')), sha(bytes), from);
    }
    await rclone('purge', 'firn:rclone-journey');
  },
};

const s3cmdTool = cli('s3cmd', () => ({}));
const s3cmd: Cli = (...args) =>
  s3cmdTool(
    `--access_key=${firn.accessKey}`,
    `--secret_key=${firn.secretKey}`,
    `--host=127.0.0.1:${firn.port}`,
    `--host-bucket=127.0.0.1:${firn.port}`,
    '--no-ssl',
    '--region=us-east-1',
    '--no-progress',
    '-c',
    '/dev/null',
    ...args,
  );
const s3cmdJourney: Journey = {
  client: 's3cmd',
  missing: missing('s3cmd'),
  async before(t) {
    await s3cmd('mb', 's3://s3cmd-journey');
    await s3cmd(
      'put',
      '--multipart-chunk-size-mb=5',
      file('s3cmd-large', large),
      's3://s3cmd-journey/large',
    );
    t.regex(
      (await s3cmd('ls', 's3://s3cmd-journey/')).stdout,
      /12582912\s+s3:\/\/s3cmd-journey\/large/,
    );
  },
  async after(t) {
    for (const [from, bytes] of [
      ['s3cmd-journey/large', large],
      ['tiered/packed/file', packed],
      ['tiered/archived/restored', archived],
    ] as const) {
      await s3cmd('get', '--force', `s3://${from}`, file('s3cmd-back'));
      t.is(shaOfFile(file('s3cmd-back')), sha(bytes), from);
    }
    await s3cmd('del', 's3://s3cmd-journey/large');
    await s3cmd('rb', 's3://s3cmd-journey');
  },
};

const restic = cli('restic', () => ({
  ...awsKeys(),
  RESTIC_PASSWORD: 'firn',
  RESTIC_REPOSITORY: `s3:${firn.endpoint}/restic-journey`,
  RESTIC_CACHE_DIR: join(scratch, 'restic-cache'),
}));
/** Its packs of data are among what sinks: backups are what an archive is for. */
const resticJourney: Journey = {
  client: 'restic',
  missing: missing('restic'),
  async before(t) {
    await restic('init');
    mkdirSync(join(scratch, 'backed-up'));
    file('backed-up/large', large);
    await restic('backup', join(scratch, 'backed-up'));
    t.true((await restic('snapshots', '--json')).stdout.includes('backed-up'));
  },
  async after(t) {
    const listed = await s3('GET', '/restic-journey', { query: 'list-type=2&prefix=data%2F' });
    t.regex(listed.text, /GLACIER_IR/);
    await restic('check', '--read-data');
    await restic('restore', 'latest', '--target', join(scratch, 'restored'));
    t.is(shaOfFile(join(scratch, 'restored', scratch, 'backed-up/large')), sha(large));
    await restic('forget', '--prune', '--keep-last', '1');
  },
};

const curl: Journey = {
  client: 'curl',
  missing: missing('curl'),
  async before(t) {
    await s3('PUT', '/curl-journey');
    const Bucket = 'curl-journey';
    const url = await getSignedUrl(sdkClient(), new PutObjectCommand({ Bucket, Key: 'k' }));
    await run('curl', ['-sf', '-T', file('curl-large', large), url]);
    t.is((await s3('HEAD', '/curl-journey/k')).headers.get('content-length'), String(large.length));
  },
  async after(t) {
    for (const [Bucket, Key, bytes] of [
      ['curl-journey', 'k', large],
      ['tiered', 'packed/file', packed],
      ['tiered', 'archived/restored', archived],
    ] as const) {
      const url = await getSignedUrl(sdkClient(), new GetObjectCommand({ Bucket, Key }));
      await run('curl', ['-sf', '-o', file('curl-back'), url]);
      t.is(shaOfFile(file('curl-back')), sha(bytes), Key);
    }
  },
};

const journeys: readonly Journey[] = [
  sdk,
  minioNpm,
  boto3Python,
  s3fs,
  awsCli,
  rcloneJourney,
  s3cmdJourney,
  resticJourney,
  curl,
];

/** Registers the test, or skips it with the reason printed; with CI set only FUSE may be missing. */
function register({ client, missing: reason }: Journey): typeof test.serial | typeof test.skip {
  if (reason === undefined) return test.serial;
  const isForgiven = reason.includes('/dev/fuse');
  if (process.env['CI'] && !isForgiven) throw new Error(`${client}: ${reason}; CI must have it`);
  process.stderr.write(`skipped, ${client}: ${reason}\n`);
  return test.skip;
}

for (const journey of journeys) {
  register(journey)(`${journey.client}: puts, lists, gets and sends in parts`, (t) =>
    journey.before(t),
  );
}

const rule = (prefix: string, storageClass: string): string =>
  `<Rule><ID>${prefix}</ID><Status>Enabled</Status><Filter><Prefix>${prefix}</Prefix></Filter>` +
  `<Transition><Days>1</Days><StorageClass>${storageClass}</StorageClass></Transition></Rule>`;

async function setRules(bucket: string, ...rules: string[]): Promise<void> {
  const body = `<LifecycleConfiguration>${rules.join('')}</LifecycleConfiguration>`;
  await s3('PUT', `/${bucket}`, { query: 'lifecycle=', body });
}

async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000;
  while (!(await look())) {
    if (Date.now() > end) throw new Error(`${what}: not within a minute`);
    await sleep(50);
  }
}

const advance = async (days: number): Promise<unknown> =>
  await adminCall(firn, 'POST', '/clock/advance', { days });

async function sink(bucket: string): Promise<void> {
  const { runId } = await adminCall<{ runId: string }>(firn, 'POST', '/lifecycle/run', { bucket });
  await until(`the lifecycle of ${bucket}`, async () => {
    const one = await adminCall<{ state: string; finishedAt: string | null }>(
      firn,
      'GET',
      `/runs/${runId}`,
    );
    if (one.finishedAt !== null && one.state !== 'done') throw new Error(`${bucket}: ${one.state}`);
    return one.finishedAt !== null;
  });
}

test.serial('objects sink, one comes back, and the server is started again', async (t) => {
  await setRules('tiered', rule('packed/', 'GLACIER_IR'), rule('archived/', 'GLACIER'));
  const hasRestic = resticJourney.missing === undefined;
  if (hasRestic) await setRules('restic-journey', rule('data/', 'GLACIER_IR'));
  await advance(3);
  await sink('tiered');
  if (hasRestic) await sink('restic-journey');
  const refused = await s3Call(firn, { method: 'GET', path: '/tiered/archived/restored' });
  t.is(errorCode(refused), 'InvalidObjectState');
  await s3('POST', '/tiered/archived/restored', {
    query: 'restore=',
    body: '<RestoreRequest><Days>9</Days><GlacierJobParameters><Tier>Standard</Tier></GlacierJobParameters></RestoreRequest>',
  });
  await until('the restore', async () => {
    await advance(0.05);
    const head = await s3Call(firn, { method: 'HEAD', path: '/tiered/archived/restored' });
    await sleep(300);
    return /ongoing-request="false"/.test(head.headers.get('x-amz-restore') ?? '');
  });
  await firn.stop();
  firn = await firn.restart();
  t.is((await s3('HEAD', '/tiered/packed/file')).headers.get('x-amz-storage-class'), 'GLACIER_IR');
});

for (const journey of journeys) {
  register(journey)(
    `${journey.client}: finds everything after a restart, packed and restored objects too`,
    (t) => journey.after(t),
  );
}
