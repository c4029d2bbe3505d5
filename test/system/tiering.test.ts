// The appliance's main promise, on both metadata stores and through its real doors: objects sink by S3
// lifecycle XML and by policy files, what is archived refuses to be read until it is restored, and comes
// back byte for byte; whatever is killed meanwhile, and wherever the cold bytes are. A day passes when the
// sandbox's clock says so. The story of each store is a chain of tests on one appliance; the chains run
// side by side.

import { createHash, randomBytes, randomInt } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import type { ContainerClient } from '@azure/storage-blob';
import test from 'ava';
import type { ExecutionContext } from 'ava';
import { fromBufferPromise } from 'yauzl';
import { adminCall } from '../admin-fetch.ts';
import { runFirn, startFirn } from '../firn-process.ts';
import type { Ended, RunningFirn } from '../firn-process.ts';
import { findMongod, startAzurite, startMongo } from '../peers.ts';
import { errorCode, s3Call } from '../s3-fetch.ts';
import type { S3Answer } from '../s3-fetch.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const DAY_MS = 86_400_000;
/** Of the engine's clock: staging ends when the clock is advanced, not before. */
const STAGE_SECONDS = 3600;
const STAGED_DAYS = 0.05;

const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

// ── One appliance ─────────────────────────────────────────────────────────────────────────────────

interface Run {
  runId: string;
  state: string;
  finishedAt: string | null;
  counts: Record<string, number>;
  error: string | null;
}

interface Restoring {
  requestId: string;
  state: string;
  objects: number;
  ready: number;
  failed: number;
  finishedAt: string | null;
}

class Appliance {
  readonly name: string;
  firn: RunningFirn;
  /** What is stored, by bucket/key. */
  readonly stored = new Map<string, Buffer>();

  constructor(name: string, firn: RunningFirn) {
    this.name = name;
    this.firn = firn;
  }

  s3(
    method: string,
    path: string,
    more: { query?: string; body?: Uint8Array | string; headers?: Record<string, string> } = {},
  ): Promise<S3Answer> {
    return s3Call(this.firn, { method, path, ...more });
  }

  async put(place: string, body: Buffer): Promise<S3Answer> {
    const answer = await this.s3('PUT', `/${place}`, { body });
    if (answer.status !== 200) throw new Error(`PUT ${place}: ${answer.status} ${answer.text}`);
    this.stored.set(place, body);
    return answer;
  }

  head(place: string): Promise<S3Answer> {
    return this.s3('HEAD', `/${place}`);
  }

  /** Null where GET is 200 with the bytes that were put; else what came instead. */
  async difference(place: string): Promise<string | null> {
    const answer = await this.s3('GET', `/${place}`);
    if (answer.status !== 200) return `${place}: ${answer.status} ${errorCode(answer)}`;
    return answer.body.equals(this.stored.get(place) as Buffer) ? null : `${place}: other bytes`;
  }

  /** Every object under the prefix that does not come back as it was put. */
  async differences(prefix: string): Promise<string[]> {
    const found: string[] = [];
    const places = [...this.stored.keys()].filter((place) => place.startsWith(prefix));
    for (let at = 0; at < places.length; at += 8) {
      const some = await Promise.all(places.slice(at, at + 8).map((one) => this.difference(one)));
      found.push(...some.filter((one) => one !== null));
    }
    return found;
  }

  /** How many of the objects under the prefix show which class; by status where there is none. */
  async classes(prefix: string): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    const places = [...this.stored.keys()].filter((place) => place.startsWith(prefix));
    for (let at = 0; at < places.length; at += 8) {
      const some = await Promise.all(places.slice(at, at + 8).map((one) => this.head(one)));
      for (const { status, headers } of some) {
        const shown = headers.get('x-amz-storage-class') ?? 'STANDARD';
        const found = status === 200 ? shown : String(status);
        counts[found] = (counts[found] ?? 0) + 1;
      }
    }
    return counts;
  }

  cli(...args: string[]): Promise<Ended> {
    return runFirn([...args, '--config', join(this.firn.directory, 'firn.yaml')]);
  }

  /** What `--json` prints; throws where the command fails. */
  async json<Answer>(...args: string[]): Promise<Answer> {
    const ended = await this.cli(...args, '--json');
    if (ended.code !== 0) throw new Error(`${args.join(' ')}: ${ended.code}\n${ended.stderr}`);
    return JSON.parse(ended.stdout) as Answer;
  }

  admin<Answer>(method: string, path: string, given?: unknown): Promise<Answer> {
    return adminCall<Answer>(this.firn, method, path, given);
  }

  /** Returns the engine's time since then, ms. */
  async advance(days: number): Promise<number> {
    const { now } = await this.admin<{ now: string }>('POST', '/clock/advance', { days });
    return Date.parse(now);
  }

  /** Lets staging end: it begins when a worker has seen the request, so more than once if need be. */
  async stage(isDone: () => Promise<boolean>): Promise<void> {
    for (let tries = 0; tries < 30; tries++) {
      await sleep(700);
      await this.advance(STAGED_DAYS);
      const end = Date.now() + 2500;
      while (Date.now() < end) {
        if (await isDone()) return;
        await sleep(60);
      }
    }
    throw new Error(`a restore on ${this.name} does not end`);
  }

  async runUntilDone(path: string, body: object = {}): Promise<Run> {
    let run = await this.admin<Run>('POST', path, body);
    await until(`${path} on ${this.name}`, async () => {
      run = await this.admin<Run>('GET', `/runs/${run.runId}`);
      return run.finishedAt !== null;
    });
    if (run.state !== 'done') throw new Error(`${path}: ${run.state} ${run.error ?? ''}`);
    return run;
  }

  /** Makes this policy the active one, by the hash of its plan. */
  async apply(name: string, text: string): Promise<void> {
    const file = join(scratch, `${this.name}-${name}.yaml`);
    writeFileSync(file, text);
    const plan = await this.json<{ hash: string }>('plan', file);
    const applied = await this.cli('apply', file, '--plan', plan.hash);
    if (applied.code !== 0) throw new Error(applied.stderr);
  }

  async crash(): Promise<void> {
    await this.firn.kill();
    this.firn = await this.firn.restart();
  }
}

async function until(
  what: string,
  look: () => Promise<boolean>,
  timeoutMs = 90_000,
): Promise<void> {
  const end = Date.now() + timeoutMs;
  while (!(await look())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${timeoutMs / 1000} s`);
    await sleep(60);
  }
}

/** An asked-for object is readable again. */
const isRestored = async (one: Appliance, place: string): Promise<boolean> =>
  /ongoing-request="false"/.test((await one.head(place)).headers.get('x-amz-restore') ?? '');

const restoreXml = (days: number, tier = 'Standard'): string =>
  `<RestoreRequest><Days>${days}</Days><GlacierJobParameters><Tier>${tier}</Tier></GlacierJobParameters></RestoreRequest>`;

const restore = (one: Appliance, place: string, days: number, tier?: string): Promise<S3Answer> =>
  one.s3('POST', `/${place}`, { query: 'restore=', body: restoreXml(days, tier) });

// ── The appliances, and their chains ──────────────────────────────────────────────────────────────

const scratch = mkdtempSync(join(tmpdir(), 'firn-sinking-'));
const pool = (name: string): object => ({
  kind: 'node-group',
  groups: [Array.from({ length: 6 }, (_, index) => `data/${name}/drive-${index}`)],
});
const tiers = {
  hot: pool('hot'),
  warm: pool('warm'),
  cold: { kind: 'directory', directory: 'data/cold' },
  archive: {
    kind: 'directory',
    directory: 'data/archive',
    retrieval: 'staged',
    stageSeconds: STAGE_SECONDS,
  },
};
const debug = { sandboxClock: true };

const mongod = await findMongod();
if ('missing' in mongod) process.stderr.write(`skipped, MongoDB: ${mongod.missing}\n`);

const disposals: (() => Promise<void>)[] = [];
test.after.always(async () => {
  await Promise.allSettled(disposals.map((dispose) => dispose()));
  rmSync(scratch, { recursive: true, force: true });
});

async function startOne(name: string): Promise<Appliance> {
  const firn = name === 'MongoDB' ? await startOnMongo() : await startWithClouds();
  const one = new Appliance(name, firn);
  disposals.push(() => one.firn.dispose());
  return one;
}

async function startOnMongo(): Promise<RunningFirn> {
  const mongo = await startMongo({});
  disposals.push(() => mongo.stop());
  return await startFirn({ settings: { debug, tiers, processes: 1 }, metadata: mongo.url });
}

const CLOUD_BUCKET = 'cold-store';
const clouds: { second?: RunningFirn; container?: ContainerClient } = {};

/** With two tiers more, as settings files name them: S3 on a second Firn, and Azure. */
async function startWithClouds(): Promise<RunningFirn> {
  const second = await startFirn({ settings: { processes: 1 } });
  clouds.second = second;
  disposals.push(() => clouds.second?.dispose() ?? Promise.resolve());
  await s3Call(second, { method: 'PUT', path: `/${CLOUD_BUCKET}` });
  const azurite = await startAzurite();
  disposals.push(() => azurite.stop());
  const { account, accountKey } = azurite;
  const service = new BlobServiceClient(
    azurite.url,
    new StorageSharedKeyCredential(account, accountKey),
  );
  clouds.container = service.getContainerClient(CLOUD_BUCKET);
  await clouds.container.create();
  const [secretKeyFile, accountKeyFile] = [join(scratch, 's3.key'), join(scratch, 'azure.key')];
  writeFileSync(secretKeyFile, `${second.secretKey}\n`, { mode: 0o600 });
  writeFileSync(accountKeyFile, `${accountKey}\n`, { mode: 0o600 });
  const { endpoint, accessKey } = second;
  const more = {
    second: { kind: 's3', endpoint, bucket: CLOUD_BUCKET, prefix: 'a/', accessKey, secretKeyFile },
    azure: {
      kind: 'azure',
      account,
      accountKeyFile,
      container: CLOUD_BUCKET,
      endpoint: azurite.url,
    },
  };
  const storageClasses = {
    STANDARD: 'hot',
    STANDARD_IA: 'warm',
    GLACIER_IR: 'cold',
    GLACIER: 'archive',
    DEEP_ARCHIVE: 'archive',
    SECOND_FIRN: 'second',
    AZURE_COLD: 'azure',
  };
  return await startFirn({ settings: { debug, storageClasses, tiers: { ...tiers, ...more } } });
}

/** Registers a chapter: it begins when the one before it on this appliance has ended. */
type Chapter = (
  title: string,
  tell: (t: ExecutionContext, one: Appliance) => Promise<void>,
) => void;

function chain(name: string): Chapter {
  const register = name === 'MongoDB' && 'missing' in mongod ? test.skip : test;
  let starting: Promise<Appliance> | undefined;
  let last: Promise<void> = Promise.resolve();
  let failed = false;
  return (title, tell) => {
    const before = last;
    let end: () => void = () => undefined;
    last = new Promise((resolve) => {
      end = resolve;
    });
    register(`${title} (${name})`, async (t) => {
      await before;
      try {
        if (failed) throw new Error('the chapter before this one failed');
        failed = true;
        starting ??= startOne(name);
        await tell(t, await starting);
        failed = !t.passed;
      } finally {
        end();
      }
    });
  };
}

for (const name of ['LMDB', 'MongoDB']) {
  const chapter = chain(name);
  chapter('S3 lifecycle XML moves and deletes exactly what it says, and reads go on', byXml);
  chapter(
    'a policy file does nothing before its plan was seen, and nothing but that plan',
    byPolicy,
  );
  if (name === 'LMDB') {
    chapter('objects sink to a second Firn over S3 and to Azure, in zips, and read on', byCloud);
  }
  chapter(
    'archived objects come back byte for byte, for as long as was asked, and again',
    restored,
  );
  chapter('kill -9 in the middle of moves and of a restore loses no byte', crashes);
}

// ── By S3 XML ─────────────────────────────────────────────────────────────────────────────────────

const LIFECYCLE = `<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Rule><ID>sink</ID><Status>Enabled</Status><Filter><Prefix>a/</Prefix></Filter>
<Transition><Days>30</Days><StorageClass>GLACIER_IR</StorageClass></Transition>
<Transition><Days>200</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition></Rule>
<Rule><ID>clean up</ID><Status>Enabled</Status><Filter><Prefix>tmp/</Prefix></Filter>
<Expiration><Days>20</Days></Expiration></Rule>
<Rule><ID>off</ID><Status>Disabled</Status><Filter><Prefix>keep/</Prefix></Filter>
<Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>uploads</ID><Status>Enabled</Status><Filter></Filter>
<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
</LifecycleConfiguration>`;

const VERSIONS_LIFECYCLE = `<LifecycleConfiguration>
<Rule><ID>old</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>
<NoncurrentVersionExpiration><NoncurrentDays>10</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration></Rule>
</LifecycleConfiguration>`;

async function byXml(t: ExecutionContext, one: Appliance): Promise<void> {
  await one.s3('PUT', '/xml');
  const sizes = [128 * KiB, 200 * KiB, 256 * KiB + 1, 300_000, 5 * MiB];
  for (const [index, size] of sizes.entries()) await one.put(`xml/a/${index}`, randomBytes(size));
  await one.put('xml/a/small', randomBytes(1000));
  for (const key of ['tmp/1', 'tmp/2', 'tmp/3', 'keep/1', 'other']) {
    await one.put(`xml/${key}`, randomBytes(150 * KiB));
  }
  const before = await one.head('xml/a/4');
  const upload = await one.s3('POST', '/xml/half', { query: 'uploads=' });
  const uploadId = /<UploadId>([^<]+)</.exec(upload.text)?.[1] ?? '';
  const query = `partNumber=1&uploadId=${encodeURIComponent(uploadId)}`;
  t.is((await one.s3('PUT', '/xml/half', { query, body: randomBytes(100_000) })).status, 200);

  await one.s3('PUT', '/versions');
  const enabled = '<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>';
  await one.s3('PUT', '/versions', { query: 'versioning=', body: enabled });
  const versions: string[] = [];
  for (let index = 0; index < 4; index++) {
    const answer = await one.put('versions/k', Buffer.from(`version ${index}`));
    versions.push(answer.headers.get('x-amz-version-id') ?? '');
  }

  const put = await one.s3('PUT', '/xml', { query: 'lifecycle=', body: LIFECYCLE });
  t.is(put.status, 200, put.text);
  const wrong = LIFECYCLE.replace('<Days>20</Days>', '<Days>0</Days>');
  const refused = await one.s3('PUT', '/xml', { query: 'lifecycle=', body: wrong });
  t.is(refused.status, 400, 'a rule that would delete at once is refused');
  const read = await one.s3('GET', '/xml', { query: 'lifecycle=' });
  for (const id of ['sink', 'clean up', 'off', 'uploads'])
    t.true(read.text.includes(`<ID>${id}</ID>`));
  t.true(read.text.includes('<Days>20</Days>'), 'the refused one has changed nothing');
  const old = await one.s3('PUT', '/versions', { query: 'lifecycle=', body: VERSIONS_LIFECYCLE });
  t.is(old.status, 200, old.text);
  const expiration = (await one.head('xml/tmp/1')).headers.get('x-amz-expiration') ?? '';
  t.regex(expiration, /^expiry-date="\w{3}, \d\d \w{3} \d{4} 00:00:00 GMT", rule-id="clean%20up"$/);
  t.is((await one.head('xml/keep/1')).headers.get('x-amz-expiration'), null, 'its rule is off');

  t.is((await one.cli('clock', 'advance', '40')).code, 0);
  const run = await one.json<Run>('run', 'lifecycle', '--wait');
  t.is(run.state, 'done', run.error ?? '');
  t.like(run.counts, { moved: 5, deleted: 5, aborted: 1, failed: 0 });
  for (const key of ['tmp/1', 'tmp/2', 'tmp/3']) {
    t.is((await one.head(`xml/${key}`)).status, 404);
    one.stored.delete(`xml/${key}`);
  }
  t.deepEqual(
    await one.classes('xml/'),
    { GLACIER_IR: 5, STANDARD: 3 },
    'small ones stay, as in S3',
  );
  t.deepEqual(await one.differences('xml/'), [], 'GLACIER_IR is served at once');
  const after = await one.head('xml/a/4');
  for (const name of ['etag', 'last-modified', 'content-length']) {
    t.is(after.headers.get(name), before.headers.get(name), `${name} is as before the move`);
  }
  const range = await one.s3('GET', '/xml/a/4', { headers: { range: 'bytes=1048570-1048585' } });
  t.is(range.status, 206);
  t.deepEqual(range.body, one.stored.get('xml/a/4')?.subarray(1_048_570, 1_048_586));
  const list = await one.s3('GET', '/xml', { query: 'list-type=2&prefix=a%2F' });
  t.is(list.text.match(/<StorageClass>GLACIER_IR</g)?.length, 5);
  const uploads = await one.s3('GET', '/xml', { query: 'uploads=' });
  t.false(uploads.text.includes('<UploadId>'), 'the unfinished upload is gone');
  const statuses = [];
  for (const id of versions) {
    const version = await one.s3('GET', '/versions/k', { query: `versionId=${id}` });
    statuses.push(version.status);
  }
  t.deepEqual(statuses, [404, 404, 200, 200], 'the current and the newest old version stay');

  await one.advance(170);
  t.is((await one.runUntilDone('/lifecycle/run', { bucket: 'xml' })).counts['moved'], 5);
  t.deepEqual(await one.classes('xml/'), { DEEP_ARCHIVE: 5, STANDARD: 3 });
  const archived = await one.s3('GET', '/xml/a/1');
  t.is(archived.status, 403);
  t.is(errorCode(archived), 'InvalidObjectState');
  t.true(archived.text.includes('<StorageClass>DEEP_ARCHIVE</StorageClass>'), archived.text);
  const copy = await one.s3('PUT', '/xml/copy', { headers: { 'x-amz-copy-source': '/xml/a/1' } });
  t.is(`${copy.status} ${errorCode(copy)}`, '403 InvalidObjectState');
  const head = await one.head('xml/a/1');
  t.is(head.headers.get('content-length'), String(200 * KiB));
  t.is(head.headers.get('x-amz-restore'), null);
}

// ── By policy file ────────────────────────────────────────────────────────────────────────────────

const POLICY = `version: 1
rules:
  - id: to-warm
    filter: { buckets: [plans, crash], prefixes: [p/] }
    trigger: { ageDays: 10 }
    action: { transition: STANDARD_IA }
  - id: to-archive
    filter: { buckets: [plans, crash], prefixes: [p/] }
    trigger: { ageDays: 100 }
    action: { transition: DEEP_ARCHIVE }
  - id: drop
    filter: { buckets: [plans], prefixes: [q/] }
    trigger: { ageDays: 10 }
    action: expire
`;

async function byPolicy(t: ExecutionContext, one: Appliance): Promise<void> {
  await one.s3('PUT', '/plans');
  for (let index = 0; index < 6; index++) await one.put(`plans/p/${index}`, randomBytes(30_000));
  await one.put('plans/p/large', randomBytes(3 * MiB));
  for (const key of ['q/1', 'other']) await one.put(`plans/${key}`, randomBytes(9000));

  const file = join(scratch, `${one.name}-policy.yaml`);
  const broken: [string, RegExp][] = [
    [POLICY.replace('prefixes: [q/]', 'prefixs: [q/]'), /policy\.yaml:12:\d+[\s\S]*prefixs/],
    [
      POLICY.replace('action: expire', 'when: { all: [] }\n    action: expire'),
      /policy\.yaml:14:\d+/,
    ],
    [POLICY.replace('action: expire', 'when: {}\n    action: expire'), /policy\.yaml:14:\d+/],
    [POLICY.replace('ageDays: 100', 'ageDays: "100"'), /policy\.yaml:9:\d+/],
  ];
  // Read before any store is asked: one store is enough.
  for (const [text, place] of one.name === 'LMDB' ? broken : []) {
    writeFileSync(file, text);
    const plan = await one.cli('plan', file);
    t.is(plan.code, 1, plan.stdout);
    t.regex(plan.stderr, place);
    t.notRegex(plan.stderr, /\n\s+at /, 'no stack trace');
  }

  writeFileSync(file, POLICY);
  interface Plan {
    hash: string;
    activeRevision: string | null;
    rules: {
      id: string;
      action: string;
      objects: number;
      bytes: number;
      deletes: number;
      examples: string[];
    }[];
  }
  const plan = await one.json<Plan>('plan', file);
  t.regex(plan.hash, /^\w{8,}$/);
  t.is(plan.activeRevision, null);
  const planned = plan.rules.filter(({ id }) => ['to-warm', 'to-archive', 'drop'].includes(id));
  t.deepEqual(
    planned.map(({ id, action, objects, deletes }) => ({ id, action, objects, deletes })),
    [
      { id: 'to-warm', action: 'transition to STANDARD_IA', objects: 0, deletes: 0 },
      { id: 'to-archive', action: 'transition to DEEP_ARCHIVE', objects: 0, deletes: 0 },
      { id: 'drop', action: 'expire', objects: 0, deletes: 0 },
    ],
  );
  const wrong = await one.cli('apply', file, '--plan', `${plan.hash.slice(0, -4)}0000`);
  t.is(wrong.code, 1, 'a wrong hash');
  writeFileSync(file, POLICY.replace('ageDays: 10 }', 'ageDays: 11 }'));
  t.is((await one.cli('apply', file, '--plan', plan.hash)).code, 1, 'another file under this hash');
  t.is(
    (await one.json<{ revision: null }>('policy', 'show')).revision,
    null,
    'nothing is in force',
  );
  writeFileSync(file, POLICY);
  const applied = await one.cli('apply', file, '--plan', plan.hash);
  t.is(applied.code, 0, applied.stderr);

  await one.advance(11);
  const due = await one.json<Plan>('plan');
  t.like(
    due.rules.find(({ id }) => id === 'to-warm'),
    { objects: 7, bytes: 6 * 30_000 + 3 * MiB, deletes: 0 },
  );
  const drop = due.rules.find(({ id }) => id === 'drop');
  t.like(drop, { objects: 1, deletes: 1 });
  t.deepEqual(drop?.examples, ['plans/q/1']);
  await one.runUntilDone('/lifecycle/run', { bucket: 'plans' });
  one.stored.delete('plans/q/1');
  t.is((await one.head('plans/q/1')).status, 404);
  t.deepEqual(await one.classes('plans/'), { STANDARD_IA: 7, STANDARD: 1 });
  t.deepEqual(await one.differences('plans/'), []);

  const explained = await one.json<Record<string, unknown>>('explain', 's3://plans/p/3');
  t.like(explained, {
    rule: null,
    storageClass: 'STANDARD_IA',
    last: { action: 'transition', from: 'hot', to: 'warm', rule: 'to-warm' },
    next: { rule: 'to-archive' },
    location: { tier: 'warm', retrieval: 'immediate' },
    confirmed: true,
  });
  t.true(Array.isArray(explained['lost']));
  t.is(typeof explained['costPerMonth'], 'number');
  const { at } = explained['next'] as { at: string };
  t.regex(at, /T00:00:00(\.000)?Z$/, 'the next action has its UTC midnight');

  const usage = await one.json<{ buckets: Record<string, unknown>[] }>('usage');
  t.deepEqual(
    usage.buckets.filter(({ bucket }) => bucket === 'plans'),
    [
      {
        bucket: 'plans',
        tier: 'hot',
        storageClass: 'STANDARD',
        objects: 1,
        bytes: 9000,
        storedBytes: 9000,
      },
      {
        bucket: 'plans',
        tier: 'warm',
        storageClass: 'STANDARD_IA',
        objects: 7,
        bytes: 6 * 30_000 + 3 * MiB,
        // They are random: compression leaves them as they are.
        storedBytes: 6 * 30_000 + 3 * MiB,
      },
    ],
  );
  const report = await one.json<Record<string, unknown>>('cost', 'report', '--by', 'bucket');
  t.like(report, { by: 'bucket' });
  t.regex(String(report['month']), /^\d{4}-\d\d$/);
  const rows = report['rows'] as { name: string; total: number; costs: { storage: number } }[];
  const priced = rows.find((row) => row.name === 'plans');
  t.true((priced?.costs.storage ?? 0) > 0, 'metered, and priced');
  const csv = await one.cli('cost', 'report', '--csv');
  t.regex(csv.stdout, /^\w+(,\w+){8,}\r?\n/);

  await one.advance(95);
  await one.runUntilDone('/lifecycle/run', { bucket: 'plans' });
  t.deepEqual(await one.classes('plans/'), { DEEP_ARCHIVE: 7, STANDARD: 1 });
}

// ── Cold tiers over the network ───────────────────────────────────────────────────────────────────

const CLOUD_RULES = `  - id: to-second
    filter: { buckets: [clouds], prefixes: [s/] }
    trigger: { ageDays: 10 }
    action: { transition: SECOND_FIRN }
  - id: to-azure
    filter: { buckets: [clouds], prefixes: [z/] }
    trigger: { ageDays: 10 }
    action: { transition: AZURE_COLD }
`;

/** Names of a zip's entries, as a foreign reader sees them. */
async function entriesOf(zip: Buffer): Promise<string[]> {
  const file = await fromBufferPromise(zip, { lazyEntries: true });
  const names: string[] = [];
  await new Promise<void>((resolve, reject) => {
    file.on('entry', (entry: { fileName: string }) => {
      names.push(entry.fileName);
      file.readEntry();
    });
    file.once('end', resolve);
    file.once('error', reject);
    file.readEntry();
  });
  return names;
}

async function byCloud(t: ExecutionContext, one: Appliance): Promise<void> {
  const { second, container } = clouds;
  if (second === undefined || container === undefined) throw new Error('no clouds');
  await one.s3('PUT', '/clouds');
  for (const prefix of ['s', 'z']) {
    for (const [index, size] of [0, 1, 5000, 100_000, 400_000, 17 * MiB].entries()) {
      await one.put(`clouds/${prefix}/${index}`, randomBytes(size));
    }
  }
  await one.apply('clouds', POLICY + CLOUD_RULES);
  await one.advance(11);
  await one.runUntilDone('/lifecycle/run', { bucket: 'clouds' });
  t.deepEqual(await one.classes('clouds/'), { SECOND_FIRN: 6, AZURE_COLD: 6 });
  t.deepEqual(await one.differences('clouds/'), []);
  for (const prefix of ['s', 'z']) {
    const place = `clouds/${prefix}/5`;
    const range = await one.s3('GET', `/${place}`, { headers: { range: 'bytes=9000000-9000099' } });
    t.is(range.status, 206);
    t.deepEqual(range.body, one.stored.get(place)?.subarray(9_000_000, 9_000_100));
  }

  const list = await s3Call(second, {
    method: 'GET',
    path: `/${CLOUD_BUCKET}`,
    query: 'list-type=2',
  });
  const names = [...list.text.matchAll(/<Key>([^<]+)</g)].map((match) => match[1] as string);
  t.true(
    names.every((name) => name.startsWith('a/')),
    'all below the prefix of the settings',
  );
  const zips: Buffer[] = [];
  for (const name of names.filter((one_) => one_.endsWith('.zip'))) {
    zips.push((await s3Call(second, { method: 'GET', path: `/${CLOUD_BUCKET}/${name}` })).body);
  }
  t.true(zips.length > 0, 'packs on the second Firn');
  const blobs: Buffer[] = [];
  for await (const { name } of container.listBlobsFlat()) {
    if (name.endsWith('.zip')) blobs.push(await container.getBlobClient(name).downloadToBuffer());
  }
  t.true(blobs.length > 0, 'packs on Azure');
  for (const zip of [...zips, ...blobs]) {
    const entries = await entriesOf(zip);
    t.is(entries[0], 'FIRN-PACK.json');
    t.is(entries.at(-1), 'index.jsonl');
  }

  // Put straight into a class: it lands hot, and the next pass brings it where it belongs.
  const straight = { 'x-amz-storage-class': 'GLACIER_IR' };
  const body = randomBytes(50_000);
  t.is((await one.s3('PUT', '/clouds/straight', { body, headers: straight })).status, 200);
  one.stored.set('clouds/straight', body);
  await one.runUntilDone('/lifecycle/run', { bucket: 'clouds' });
  t.like(await one.admin('GET', '/explain?bucket=clouds&key=straight'), {
    location: { tier: 'cold' },
  });
  t.is(await one.difference('clouds/straight'), null);

  // Away for a while: bytes that cannot be reached now are not said to be gone.
  await second.stop();
  const away = await one.s3('GET', '/clouds/s/3');
  t.is(away.status, 503, `${errorCode(away)} while the second Firn is away`);
  t.truthy(away.headers.get('retry-after'));
  t.is((await one.head('clouds/s/3')).status, 200);
  t.is(await one.difference('clouds/z/3'), null, 'another tier is not hurt');
  // Also over a restart, and with an empty mount point beside it: hot data is served all the same.
  const cold = join(one.firn.directory, 'data', 'cold');
  await one.firn.stop();
  renameSync(cold, `${cold}.unmounted`);
  mkdirSync(cold);
  one.firn = await one.firn.restart();
  t.is(await one.difference('xml/other'), null);
  for (const place of ['clouds/s/3', 'clouds/straight']) {
    t.is((await one.s3('GET', `/${place}`)).status, 503, place);
  }
  t.deepEqual(readdirSync(cold), [], 'a missing mount is not taken for a new tier');
  rmSync(cold, { recursive: true });
  renameSync(`${cold}.unmounted`, cold);
  clouds.second = await second.restart();
  // Every process finds out by itself.
  await until('all is served again', async () => (await one.differences('clouds/')).length === 0);
}

// ── Restores ──────────────────────────────────────────────────────────────────────────────────────

/** Checksums of every pack in the archive, by name. */
function archive(one: Appliance): Map<string, string> {
  const folder = join(one.firn.directory, 'data', 'archive', 'packs');
  const names = (readdirSync(folder, { recursive: true }) as string[]).filter((n) =>
    n.endsWith('.zip'),
  );
  return new Map(names.map((name) => [name, sha(readFileSync(join(folder, name)))]));
}

async function restored(t: ExecutionContext, one: Appliance): Promise<void> {
  const packs = archive(one);
  t.true(packs.size > 0);
  const key = 'plans/p/1';
  const before = await one.advance(0.0001);
  t.is((await restore(one, 'plans/other', 2)).status, 403, 'it is not archived');
  t.is((await restore(one, 'plans/none', 2)).status, 404);
  t.is((await restore(one, key, 0)).status, 400);
  t.is(errorCode(await restore(one, key, 2, 'Expedited')), 'InvalidTier');
  t.is((await restore(one, key, 2)).status, 202);
  const again = await restore(one, key, 3);
  t.is(`${again.status} ${errorCode(again)}`, '409 RestoreAlreadyInProgress');
  const during = await one.head(key);
  t.is(during.headers.get('x-amz-restore'), 'ongoing-request="true"');
  t.is(errorCode(await one.s3('GET', `/${key}`)), 'InvalidObjectState', 'not readable yet');
  for (const other of ['plans/p/2', 'plans/p/3', 'plans/p/large']) {
    t.is((await restore(one, other, 2)).status, 202);
  }
  // What is put or deleted while the restore runs wins.
  await one.put('plans/p/2', Buffer.from('put during the restore'));
  t.is((await one.s3('DELETE', '/plans/p/3')).status, 204);
  t.is(await one.difference('plans/p/2'), null);

  await one.stage(
    async () => (await isRestored(one, key)) && (await isRestored(one, 'plans/p/large')),
  );
  const after = await one.advance(0.0001);
  const ready = await one.head(key);
  const expiry = /expiry-date="([^"]+)"/.exec(ready.headers.get('x-amz-restore') ?? '')?.[1] ?? '';
  // Two days from when it was readable, rounded up to the next midnight UTC.
  const midnights = [before, after].map((at) => Math.floor(at / DAY_MS) * DAY_MS + 3 * DAY_MS);
  t.true(midnights.includes(Date.parse(expiry)), expiry);
  t.is(ready.headers.get('x-amz-storage-class'), 'DEEP_ARCHIVE', 'its class stays');
  t.is(await one.difference(key), null);
  t.is(await one.difference('plans/p/large'), null);
  const range = await one.s3('GET', '/plans/p/large', { headers: { range: 'bytes=-10' } });
  t.deepEqual(range.body, one.stored.get('plans/p/large')?.subarray(-10));
  t.is(await one.difference('plans/p/2'), null, 'the newer bytes stay');
  t.is((await one.head('plans/p/2')).headers.get('x-amz-storage-class'), null);
  t.is((await one.s3('GET', '/plans/p/3')).status, 404, 'deleted stays deleted');
  one.stored.delete('plans/p/3');

  t.is((await restore(one, key, 5)).status, 200, 'a live copy is extended');
  const extended = (await one.head(key)).headers.get('x-amz-restore') ?? '';
  const longer = Date.parse(/expiry-date="([^"]+)"/.exec(extended)?.[1] ?? '');
  t.true(longer >= Date.parse(expiry) + 3 * DAY_MS, extended);
  await one.runUntilDone('/lifecycle/run', { bucket: 'plans' });
  t.is(await one.difference(key), null, 'a policy does not take the copy away');

  await one.advance(7);
  t.is(errorCode(await one.s3('GET', `/${key}`)), 'InvalidObjectState', 'its days are over');
  await one.runUntilDone('/lifecycle/run', { bucket: 'plans' });
  await one.advance(2);
  await one.runUntilDone('/runs/collect');
  const lapsed = await one.head(key);
  t.is(lapsed.status, 200);
  t.is(lapsed.headers.get('x-amz-restore'), null);
  t.is(errorCode(await one.s3('GET', `/${key}`)), 'InvalidObjectState');
  const untouched = archive(one);
  for (const [name, sum] of packs) t.is(untouched.get(name), sum, `pack ${name} is untouched`);

  // The whole prefix, by quote: once more, after everything that was brought back has gone again.
  const quote = await one.json<{ quoteId: string } & Record<string, unknown>>(
    'restore',
    'quote',
    's3://plans/p/',
    '--days',
    '30',
    '--tier',
    'Bulk',
  );
  const objects = [...one.stored.keys()].filter((place) => /^plans\/p\/[^2]/.test(place)).length;
  t.like(quote, { objects, tier: 'Bulk', days: 30 });
  t.true((quote['packs'] as number) >= 1 && (quote['bytes'] as number) > 3 * MiB);
  const { currency } = quote['money'] as { currency: string };
  t.regex(currency, /^[A-Z]{3}$/);
  t.regex((quote['readyBetween'] as { from: string }).from, /Z$/);
  const started = await one.json<Restoring>('restore', 'start', '--quote', quote.quoteId);
  await one.stage(async () => {
    const { finishedAt } = await one.admin<Restoring>('GET', `/restores/${started.requestId}`);
    return finishedAt !== null;
  });
  const status = await one.json<Restoring>('restore', 'status', started.requestId);
  t.like(status, { state: 'done', ready: objects, failed: 0 });
  t.deepEqual(await one.differences('plans/'), []);
}

// ── Crashes ───────────────────────────────────────────────────────────────────────────────────────

/** Kills everything at a random moment of a run that has begun; returns how far it was. */
async function crashDuring(one: Appliance, run: Run): Promise<Run> {
  let seen = run;
  await until(`the run on ${one.name} begins`, async () => {
    seen = await one.admin<Run>('GET', `/runs/${run.runId}`);
    return seen.state !== 'requested';
  });
  await sleep(randomInt(1000));
  await one.crash();
  return seen;
}

async function crashes(t: ExecutionContext, one: Appliance): Promise<void> {
  await one.s3('PUT', '/crash');
  const sizes = [0, 1, 4096, 20_000, 100_000, 262_144, 262_145, 700_000];
  for (let at = 0; at < 240; at += 8) {
    await Promise.all(
      sizes.map((size, index) => one.put(`crash/p/${at + index}`, randomBytes(size))),
    );
  }
  await one.put('crash/p/large', randomBytes(9 * MiB));
  const count = 241;
  for (const [days, storageClass] of [
    [11, 'STANDARD_IA'],
    [95, 'DEEP_ARCHIVE'],
  ] as const) {
    await one.advance(days);
    const run = await one.admin<Run>('POST', '/lifecycle/run', { bucket: 'crash' });
    const seen = await crashDuring(one, run);
    const left = await one.classes('crash/');
    t.log(`killed while ${seen.state}: ${JSON.stringify(left)}`);
    if (storageClass === 'STANDARD_IA') t.deepEqual(await one.differences('crash/'), []);
    await one.runUntilDone('/lifecycle/run', { bucket: 'crash' });
    t.deepEqual(await one.classes('crash/'), { [storageClass]: count });
  }
  const asked = { bucket: 'crash', prefix: '', days: 30, tier: 'Standard' };
  const started = await one.admin<Restoring>('POST', '/restores', asked);
  const status = (): Promise<Restoring> =>
    one.admin<Restoring>('GET', `/restores/${started.requestId}`);
  await until(`restore on ${one.name} begins`, async () => (await status()).state !== 'requested');
  // The empty objects are ready at once: the others are what is killed over.
  await one.stage(async () => (await status()).state !== 'staging');
  await sleep(randomInt(400));
  const seen = await status();
  await one.crash();
  t.log(`killed with ${seen.ready} of ${seen.objects} ready`);
  const from = Date.now();
  await until(
    `restore on ${one.name} after the crash`,
    async () => (await status()).finishedAt !== null,
  );
  t.log(`went on after ${Date.now() - from} ms`);
  t.like(await status(), { state: 'done', failed: 0 });
  t.deepEqual(await one.differences('crash/'), []);
  // Past the grace, with everything that the crashes left lying collected.
  await one.advance(2);
  await one.runUntilDone('/runs/collect');
  t.deepEqual(await one.differences('crash/'), [], 'nothing needed was collected');
}
