// Workers: the job backends, leases, and the jobs that move, restore, expire and free bytes.

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import test, { type ExecutionContext } from 'ava';

import { buildEngine } from '../appliance/engine/build.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { inventory } from '../appliance/engine/inventory.ts';
import { buildMetadata } from '../appliance/metadata/build.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import type { ObjectEvent } from '../appliance/model/event-sink.ts';
import { newRequestId } from '../appliance/model/ids.ts';
import { GRACE_MS } from '../appliance/model/limits.ts';
import type { MetadataStore } from '../appliance/model/metadata-store.ts';
import type { RestoreRequest, Run, UsageRow } from '../appliance/model/records.ts';
import type { Tier } from '../appliance/model/tier.ts';
import { revisionOf } from '../policies/rule-sets.ts';
import { buildColdTier } from '../tiers/cold/build.ts';
import { buildNodeGroupTier } from '../tiers/hot/hot-tier.ts';
import { buildPacker } from '../tiers/pack/packer.ts';
import { MongoJobBackend } from '../workers/agenda-mongo/mongo-job-backend.ts';
import { buildWorkers, type Workers } from '../workers/build.ts';
import { LmdbJobBackend } from '../workers/agenda-lmdb/lmdb-job-backend.ts';
import { jobBackendContract } from './contract/job-backend.ts';
import { findMongod, startMongo, type Peer } from './peers.ts';

// One MongoDB for this file, started when first needed; each rig has a database of its own.
const mongod = await findMongod();
let mongo: Promise<Peer> | undefined;

test.after.always(async () => {
  await (await mongo)?.stop();
});

async function mongoUrl(): Promise<string> {
  mongo ??= startMongo();
  const { url } = await mongo;
  const name = `firn${randomBytes(6).toString('hex')}`;
  return url.replace(/\/(\?|$)/, `/${name}$1`);
}

jobBackendContract(
  test,
  'jobs on LMDB',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'firn-jobs-'));
    return {
      connect: () => Promise.resolve(new LmdbJobBackend(directory)),
      cleanup: () => rm(directory, { recursive: true }),
    };
  },
  { fenced: true },
);

if ('missing' in mongod) {
  test.skip(`jobs on MongoDB, the whole suite: ${mongod.missing}`, (t) => t.pass());
} else {
  jobBackendContract(
    test,
    'jobs on MongoDB',
    async () => {
      const url = await mongoUrl();
      return {
        connect: () => Promise.resolve(new MongoJobBackend(url)),
        cleanup: () => Promise.resolve(),
      };
    },
    { fenced: false },
  );
  test('400 days later one run moves all that is due, and it comes back (MongoDB)', async (t) => {
    await story(t, { mongo: await mongoUrl() });
  });
}

// ── The whole thing, on real stores ───────────────────────────────────────────────────────────────

class WallClock {
  offsetMs = 0;
  wall(): number {
    return Date.now();
  }
  now(): number {
    return Date.now() + this.offsetMs;
  }
}

const random = { bytes: (count: number): Uint8Array => new Uint8Array(randomBytes(count)) };

interface Appliance {
  clock: WallClock;
  store: MetadataStore;
  tiers: Map<string, Tier>;
  engine: Engine;
  workers: Workers;
  events: ObjectEvent[];
  log: string[];
  stop(): Promise<void>;
}

const DAYS = (count: number): number => count * DAY_MS;

interface ApplianceOptions {
  graceMs?: number;
  restoreDayMs?: number;
  stageSeconds?: number;
  mongo?: string;
}

async function newAppliance(options: ApplianceOptions = {}): Promise<Appliance> {
  const directory = await mkdtemp(join(tmpdir(), 'firn-workers-'));
  const clock = new WallClock();
  const store = buildMetadata({
    ...(options.mongo === undefined ? {} : { url: options.mongo }),
    dataDirectory: directory,
    clock,
    random,
    processName: 'test',
  });
  await store.open();
  const storeId = '0'.repeat(32);
  const drives = [0, 1, 2, 3, 4, 5].map((i) => join(directory, `drive-${i}`));
  const warm = [0, 1, 2, 3, 4, 5].map((i) => join(directory, `warm-${i}`));
  const group = (name: string, paths: string[]): Tier =>
    buildNodeGroupTier(
      { name, code: '4+2', drives: [paths], arenaBytes: 32 * 1024 * 1024 },
      { clock, random, storeId, role: 'api', processName: 'test' },
    );
  const cold = (name: string, retrieval: 'immediate' | 'staged'): Promise<Tier> =>
    buildColdTier(
      {
        kind: 'directory',
        name,
        directory: join(directory, name),
        retrieval,
        stageSeconds: options.stageSeconds ?? 1,
      },
      { clock, random },
    );
  const built = [
    group('hot', drives),
    group('warm', warm),
    await cold('cold', 'immediate'),
    await cold('archive', 'staged'),
  ];
  for (const tier of built) await tier.open();
  const tiers = new Map(built.map((tier) => [tier.name, tier]));
  const events: ObjectEvent[] = [];
  const log: string[] = [];
  const engine = buildEngine({
    store,
    tiers,
    packer: buildPacker({ spoolDirectory: join(directory, 'spool'), random }),
    clock,
    random,
    events: { emit: (event) => events.push(event) },
    classes: new Map([
      ['STANDARD', 'hot'],
      ['STANDARD_IA', 'warm'],
      ['GLACIER_IR', 'cold'],
      ['GLACIER', 'archive'],
      ['DEEP_ARCHIVE', 'archive'],
    ]),
    masterKey: new Uint8Array(32),
    graceMs: options.graceMs ?? GRACE_MS,
    restoreDayMs: options.restoreDayMs ?? DAY_MS,
    staleMs: options.mongo === undefined ? 0 : 1000,
  });
  const workers = await buildWorkers({
    engine,
    backend:
      options.mongo === undefined
        ? { kind: 'lmdb', directory: join(directory, 'jobs') }
        : { kind: 'mongo', url: options.mongo },
    processName: 'worker',
    sandboxClock: true,
    leaseMs: 3000,
    log: (level, message, fields) => {
      if (level !== 'debug') log.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
    },
  });
  await workers.start();
  return {
    clock,
    store,
    tiers,
    engine,
    workers,
    events,
    log,
    async stop() {
      await workers.stop();
      await engine.close();
      for (const tier of built) await tier.close();
      await store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function until(what: string, done: () => Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await sleep(20);
  }
}

async function runLifecycle(appliance: Appliance): Promise<Run> {
  const { store, clock } = appliance;
  const id = newRequestId(clock, random);
  await store.insert('runs', `lifecycle/${id}`, {
    format: 1,
    id,
    kind: 'lifecycle',
    state: 'requested',
    requestedAt: clock.now(),
    counts: {},
  } satisfies Run);
  let run: Run | undefined;
  await until('a lifecycle run', async () => {
    run = (await store.get<Run>('runs', `lifecycle/${id}`))?.value;
    return run?.state === 'done' || run?.state === 'failed';
  });
  return run as Run;
}

async function applyPolicy(appliance: Appliance, text: string): Promise<void> {
  const files = [{ name: 'test.yaml', text }];
  const row = await appliance.store.get('policy-sets', 'active');
  const value = {
    format: 1,
    revision: revisionOf(files),
    files,
    appliedAt: appliance.clock.now(),
    appliedBy: 'root',
    planHash: '',
  };
  if (row === undefined) await appliance.store.insert('policy-sets', 'active', value);
  else {
    const change = { table: 'policy-sets', id: 'active', expected: row.revision, value } as const;
    await appliance.store.replace(change);
  }
}

async function fill(appliance: Appliance, keys: string[], size: (i: number) => number) {
  const bytes = new Map<string, Uint8Array>();
  const { engine } = appliance;
  await engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
  await Promise.all(
    keys.map(async (key, i) => {
      const body = random.bytes(size(i));
      bytes.set(key, body);
      await engine.putObject({
        bucket: 'data',
        key,
        body,
        sizeBytes: body.length,
        owner: 'root',
        storageClass: 'STANDARD',
        headers: {},
        metadata: {},
      });
    }),
  );
  return bytes;
}

async function read(appliance: Appliance, key: string): Promise<Uint8Array> {
  const { body } = await appliance.engine.getObject({ bucket: 'data', key });
  if (body instanceof Uint8Array) return body;
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return new Uint8Array(Buffer.concat(chunks));
}

const POLICY = `version: 1
rules:
  - id: logs-go
    filter: { prefixes: [logs/] }
    trigger: { ageDays: 300 }
    action: expire
  - id: cool
    filter: { prefixes: [docs/] }
    trigger: { ageDays: 30 }
    action: { transition: GLACIER_IR }
  - id: archive
    filter: { prefixes: [films/] }
    trigger: { ageDays: 90 }
    action: { transition: GLACIER }
  - id: ia
    filter: { prefixes: [pics/] }
    trigger: { ageDays: 30 }
    action: { transition: STANDARD_IA }
`;

async function story(t: ExecutionContext, options: ApplianceOptions): Promise<void> {
  const appliance = await newAppliance(options);
  const { engine, clock, store } = appliance;
  try {
    const keys = ['docs', 'films', 'pics', 'logs'].flatMap((prefix) =>
      Array.from({ length: 75 }, (_, i) => `${prefix}/${i}`),
    );
    const bytes = await fill(appliance, keys, (i) => 1 + ((i * 7919) % 9000));
    await applyPolicy(appliance, POLICY);
    clock.offsetMs += DAYS(400);
    const began = performance.now();
    const run = await runLifecycle(appliance);
    t.log(`300 objects in ${Math.round(performance.now() - began)} ms`, run.counts);
    t.is(run.state, 'done', run.error);
    t.like(run.counts, { moved: 225, deleted: 75, disagreements: 0, failed: 0, lost: 0 });
    for (const key of keys) {
      if (key.startsWith('logs/')) {
        await t.throwsAsync(engine.headObject({ bucket: 'data', key }), { code: 'NoSuchKey' });
      } else if (key.startsWith('films/')) {
        const error = await t.throwsAsync(read(appliance, key), { code: 'InvalidObjectState' });
        t.truthy(error);
      } else
        t.deepEqual(Buffer.from(await read(appliance, key)), Buffer.from(bytes.get(key) ?? []));
    }
    const tiers = new Map<string, number>();
    for await (const row of inventory(store, (await engine.getBucket('data')).id)) {
      const tier = row.document.versions[0]?.parts[0]?.location.tier ?? '';
      tiers.set(tier, (tiers.get(tier) ?? 0) + 1);
    }
    t.deepEqual(Object.fromEntries(tiers), { cold: 75, archive: 75, warm: 75 });
    t.is((await store.range({ table: 'moves', limit: 10 })).length, 0);

    // Restore under a prefix: one stage a pack, however many objects ask.
    const bucket = await engine.getBucket('data');
    const id = newRequestId(clock, random);
    await store.insert('restores', id, {
      format: 1,
      id,
      scope: { bucket: 'data', bucketId: bucket.id, prefix: 'films/' },
      tier: 'Standard',
      days: 2,
      requestedAt: clock.now(),
      requestedBy: 'root',
      state: 'requested',
      counts: { objects: 0, bytes: 0, ready: 0, failed: 0 },
    } satisfies RestoreRequest);
    let request: RestoreRequest | undefined;
    await until('a restore', async () => {
      request = (await store.get<RestoreRequest>('restores', id))?.value;
      return request?.state === 'done' || request?.state === 'failed';
    });
    t.like(request, { state: 'done', counts: { objects: 75, ready: 75, failed: 0 } });
    for (const key of keys.filter((one) => one.startsWith('films/'))) {
      t.deepEqual(Buffer.from(await read(appliance, key)), Buffer.from(bytes.get(key) ?? []));
    }
    const retrieved = (await store.range<UsageRow>({ table: 'usage', limit: 5000 }))
      .map((row) => row.value)
      .filter(({ kind }) => kind === 'retrieved');
    t.is(
      retrieved.reduce((sum, { count }) => sum + count, 0),
      1,
    );

    // One by S3's own request, hurried.
    clock.offsetMs += DAYS(4);
    await until('restored copies end', async () => {
      const { restore } = await engine.headObject({ bucket: 'data', key: 'films/1' });
      return restore === undefined;
    });
    await runLifecycle(appliance);
    const { version } = await engine.headObject({ bucket: 'data', key: 'films/1' });
    t.is(version.restore, undefined);
    await t.throwsAsync(read(appliance, 'films/1'), { code: 'InvalidObjectState' });
    const answer = await engine.restoreObject({
      bucket: 'data',
      key: 'films/1',
      days: 1,
      tier: 'Expedited',
      owner: 'root',
    });
    t.is(answer, 'started');
    await until('one restore', async () => {
      const { restore } = await engine.headObject({ bucket: 'data', key: 'films/1' });
      return restore?.state === 'ready';
    });
    t.deepEqual(
      Buffer.from(await read(appliance, 'films/1')),
      Buffer.from(bytes.get('films/1') ?? []),
    );

    // Meters: byte-hours of every day since.
    const stored = (await store.range<UsageRow>({ table: 'usage', limit: 10_000 }))
      .map((row) => row.value)
      .filter(({ kind }) => kind === 'stored');
    t.true(stored.length > 400);
    t.true(stored.every((row) => row.bytes > 0 && row.count > 0));
    t.deepEqual(
      appliance.log.filter((line) => line.startsWith('error')),
      [],
    );
  } finally {
    await appliance.stop();
  }
}

test('400 days later one run moves all that is due, and it comes back (LMDB)', async (t) => {
  await story(t, {});
});
