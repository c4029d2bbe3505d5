// Workers: the job backends, leases, and the jobs that move, restore, expire and free bytes.

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import test, { type ExecutionContext } from 'ava';

import { buildEngine } from '../appliance/engine/build.ts';
import { expireVersion } from '../appliance/engine/object/expire.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { inventory } from '../appliance/engine/document/inventory.ts';
import { takeLease } from '../appliance/engine/document/lease.ts';
import { FileKeys } from '../appliance/engine/bytes/named-keys.ts';
import { checksums } from '../tiers/checksum.ts';
import { resumeMoves } from '../appliance/engine/move/resume.ts';
import { buildMetadata } from '../appliance/metadata/build.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { FirnError } from '../appliance/model/errors.ts';
import type { ObjectEvent } from '../appliance/model/event-sink.ts';
import { newRequestId } from '../appliance/model/ids.ts';
import { GRACE_MS } from '../appliance/model/limits.ts';
import type { MetadataStore } from '../appliance/model/metadata-store.ts';
import type { NodeGroupTier } from '../appliance/model/node-group.ts';
import type { ObjectDocument, Upload } from '../appliance/model/object.ts';
import type { RestoreRequest, Run, UsageRow } from '../appliance/model/records.ts';
import type { Tier } from '../appliance/model/tier.ts';
import type { Decision, Evaluator } from '../policies/evaluator.ts';
import { factsOfKey, type VersionFacts } from '../policies/facts.ts';
import { revisionOf } from '../policies/rule-sets.ts';
import { buildColdTier } from '../tiers/cold/build.ts';
import { buildNodeGroupTier } from '../tiers/hot/hot-tier.ts';
import { buildPacker } from '../tiers/pack/packer.ts';
import { MongoJobBackend } from '../workers/agenda-mongo/mongo-job-backend.ts';
import { buildWorkers, type Workers } from '../workers/build.ts';
import { LmdbJobBackend } from '../workers/agenda-lmdb/lmdb-job-backend.ts';
import { ClockGuard } from '../workers/base/clock-guard.ts';
import { CollectWorker } from '../workers/collect.ts';
import { CompactWorker } from '../workers/compact.ts';
import { HealWorker } from '../workers/heal.ts';
import { DeleteBatches } from '../workers/lifecycle/deletes.ts';
import { LifecyclePass } from '../workers/lifecycle/pass.ts';
import { BucketRules, storedPolicies } from '../workers/lifecycle/rules.ts';
import { LifecycleShard } from '../workers/lifecycle/shard.ts';
import { RestoreWorker } from '../workers/restore.ts';
import { Throttle } from '../workers/base/throttle.ts';
import { sampleUsage } from '../workers/usage.ts';
import type { Turn, WorkerLog } from '../workers/base/worker.ts';
import { jobBackendContract } from './contract/job-backend.ts';
import { Crash } from './memory-store.ts';
import {
  auditBytes,
  leaseOf,
  newRig,
  put,
  random,
  turnOf,
  versionsOf,
  type Rig,
} from './move-rig.ts';
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

const SEGMENT_OPEN_MS = 3_600_000;

class WallClock {
  offsetMs = 0;
  wallOffsetMs = 0;
  wall(): number {
    return Date.now() + this.wallOffsetMs;
  }
  now(): number {
    return Date.now() + this.offsetMs;
  }
}

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
  /** A segment takes writes for this long. */
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
      {
        name,
        code: '4+2',
        drives: [paths],
        arenaBytes: 32 * 1024 * 1024,
        segmentOpenMs: SEGMENT_OPEN_MS,
      },
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
    events: { asks: () => false, emit: (event) => void events.push(event) },
    classes: new Map([
      ['STANDARD', 'hot'],
      ['STANDARD_IA', 'warm'],
      ['GLACIER_IR', 'cold'],
      ['GLACIER', 'archive'],
      ['DEEP_ARCHIVE', 'archive'],
    ]),
    masterKey: new Uint8Array(32),
    namedKeys: new FileKeys({ keys: new Map(), random }),
    checksums,
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

async function realTurn(appliance: Appliance, name: string): Promise<Turn> {
  const { context } = appliance.engine.core;
  const request = { name, holder: 'test', durationMs: 60_000 };
  const lease = await takeLease(context, request);
  if (lease === undefined) throw new Error(`${name} is leased`);
  const { signal } = new AbortController();
  return { lease, signal, rest: () => lease.check(), report: () => undefined };
}

test('a segment of mostly dead objects is emptied and freed, and the living ones stay', async (t) => {
  const appliance = await newAppliance();
  const { engine, clock, store, tiers } = appliance;
  const { core } = engine;
  const hot = tiers.get('hot') as NodeGroupTier;
  const segments = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const { segment } of hot.segments()) found.push(segment);
    return found;
  };
  try {
    const keys = Array.from({ length: 24 }, (_, i) => `k/${i}`);
    const bytes = await fill(appliance, keys, (i) => 500 + i * 100);
    const before = await segments();
    t.is(before.length, 1);
    for (const key of keys.slice(4)) {
      await engine.deleteObject({ bucket: 'data', key, owner: 'root' });
    }
    // Nobody appends to it any more.
    clock.wallOffsetMs = 5 * SEGMENT_OPEN_MS;
    const guard = new ClockGuard({ store, wall: () => 0, sandbox: true });
    const settings = { guard, log: () => undefined, minimumDays: () => 0 };
    const pass = async (): Promise<void> => {
      clock.offsetMs += GRACE_MS + 60_000;
      await new CollectWorker(core, guard).run(await realTurn(appliance, 'test-collect'));
      const turn = await realTurn(appliance, 'test-compact');
      await new CompactWorker(core, [hot], settings).run(turn);
    };
    await pass();
    const [row] = await store.range<ObjectDocument>({ table: 'objects', limit: 1 });
    const location = row?.value.versions[0]?.parts[0]?.location;
    t.false(location?.kind === 'segment' && before.includes(location.segment), 'moved out');
    t.true(
      (await segments()).some((one) => before.includes(one)),
      'but not freed: readers',
    );
    await pass();
    t.false(
      (await segments()).some((one) => before.includes(one)),
      'freed',
    );
    for (const key of keys.slice(0, 4)) {
      t.deepEqual(Buffer.from(await read(appliance, key)), Buffer.from(bytes.get(key) ?? []));
    }

    // A location on the heal list that is whole leaves it.
    const heal = { format: 1, location, since: clock.now(), attempts: 0 };
    await store.insert('heals', location?.id ?? '', heal);
    const healer = new HealWorker(core, [hot], () => undefined);
    t.true(await healer.isNeeded());
    await healer.run(await realTurn(appliance, 'test-heal'));
    t.is((await store.range({ table: 'heals', limit: 1 })).length, 0);
  } finally {
    await appliance.stop();
  }
});

// ── Lifecycle passes, in memory ───────────────────────────────────────────────────────────────────

interface PassRig extends Rig {
  apply(text: string): Promise<void>;
  /** One pass over everything, its shards run one after another; returns the run. */
  pass(hooks?: { beforeShard?: () => Promise<void> }): Promise<Run>;
}

async function newPassRig(): Promise<PassRig> {
  const rig = await newRig();
  const log: WorkerLog = () => undefined;
  const rules = {
    source: storedPolicies(rig.core),
    evaluation: { classes: rig.context.classes },
    log,
  };
  const guard = new ClockGuard({ store: rig.store, wall: () => 0, sandbox: true });
  let runs = 0;
  return Object.assign(rig, {
    async apply(text: string): Promise<void> {
      const files = [{ name: 'test.yaml', text }];
      const value = { format: 1, revision: revisionOf(files), files, appliedAt: 0 };
      const row = await rig.store.get('policy-sets', 'active');
      const common = { table: 'policy-sets', id: 'active' } as const;
      if (row === undefined) await rig.store.insert('policy-sets', 'active', value);
      else await rig.store.replace({ ...common, expected: row.revision, value });
    },
    async pass(hooks: { beforeShard?: () => Promise<void> } = {}): Promise<Run> {
      const id = newRequestId(rig.clock, random);
      runs += 1;
      const row = { format: 1, id, kind: 'lifecycle', state: 'requested', counts: {} };
      await rig.store.insert('runs', `lifecycle/${id}`, { ...row, requestedAt: rig.clock.now() });
      const shard = new LifecycleShard(rig.core, { rules, guard, log });
      const pass = new LifecyclePass(rig.core, {
        rules,
        sampleUsage: () => Promise.resolve(),
        async enqueue(runId, index) {
          await hooks.beforeShard?.();
          const turn = await turnOf(rig, `shard-${index}`);
          await shard.run(turn, `${runId}/${index}`);
          await turn.lease.release();
        },
      });
      const turn = await turnOf(rig, `pass-${runs}`);
      await pass.run(turn, id);
      const run = await rig.store.get<Run>('runs', `lifecycle/${id}`);
      return run?.value as Run;
    },
  });
}

const keysIn = async (rig: Rig, tier: string): Promise<string[]> =>
  (await versionsOf(rig))
    .filter(({ parts }) => parts[0]?.location.tier === tier)
    .map(({ key }) => key);

test('a cloud that is down keeps no other tier’s moves, and no deletion, from being done', async (t) => {
  const rig = await newPassRig();
  await rig.apply(`version: 1
rules:
  - { id: a, filter: { prefixes: [a/] }, trigger: { ageDays: 1 }, action: { transition: GLACIER } }
  - { id: b, filter: { prefixes: [b/] }, trigger: { ageDays: 1 }, action: { transition: GLACIER_IR } }
  - { id: c, filter: { prefixes: [c/] }, trigger: { ageDays: 1 }, action: expire }
`);
  for (const key of ['a/1', 'b/1', 'c/1']) await put(rig, key, 100);
  rig.clock.pass(5 * DAY_MS);
  rig.archive.before = (action) => {
    if (action === 'put') throw new FirnError('TierUnavailable', 'the cloud is down');
  };
  const run = await rig.pass();
  t.is(run.state, 'done', run.error);
  t.like(run.counts, { moved: 1, deleted: 1, postponed: 1 });
  rig.archive.before = undefined;
  t.like((await rig.pass()).counts, { moved: 1, postponed: 0 });
  t.deepEqual(await keysIn(rig, 'archive'), ['a/1']);
  rig.close();
});

test('a pass jumps straight to the coldest class that is due, and a second one does nothing', async (t) => {
  const rig = await newPassRig();
  await rig.apply(`version: 1
rules:
  - { id: cool, trigger: { ageDays: 30 }, action: { transition: GLACIER_IR } }
  - { id: freeze, trigger: { ageDays: 90 }, action: { transition: GLACIER } }
`);
  await put(rig, 'old', 100);
  rig.clock.pass(100 * DAY_MS);
  await put(rig, 'new', 100);
  const run = await rig.pass();
  t.is(run.state, 'done', run.error);
  t.like(run.counts, { moved: 1, due: 1, scanned: 2 });
  t.deepEqual(await keysIn(rig, 'archive'), ['old']);
  const [old] = (await versionsOf(rig)).filter(({ key }) => key === 'old');
  t.like(old?.version.last, { action: 'transition', rule: 'freeze', from: 'hot', to: 'archive' });
  t.is(old?.version.last?.runId, run.id);
  t.like((await rig.pass()).counts, { moved: 0, due: 0 });
  rig.close();
});

test('put straight to an archive class: moved there by the next pass, whatever the rules', async (t) => {
  const rig = await newPassRig();
  await put(rig, 'k', 100, 'GLACIER');
  await put(rig, 'empty', 0, 'GLACIER');
  t.deepEqual(await keysIn(rig, 'hot'), ['k']);
  const run = await rig.pass();
  t.like(run.counts, { moved: 1, failed: 0 });
  t.deepEqual(await keysIn(rig, 'archive'), ['k']);
  await auditBytes(t, rig, 'moved');
  rig.close();
});

test('between two classes of one tier only the class changes: no byte is copied', async (t) => {
  const rig = await newPassRig();
  await put(rig, 'k', 100, 'GLACIER');
  await rig.pass();
  const blobs = [...rig.archive.blobs.keys()];
  await rig.apply(`version: 1
rules:
  - { id: deep, trigger: { ageDays: 1 }, action: { transition: DEEP_ARCHIVE } }
`);
  rig.clock.pass(5 * DAY_MS);
  t.like((await rig.pass()).counts, { moved: 1, packs: 0 });
  t.deepEqual([...rig.archive.blobs.keys()], blobs);
  t.is((await versionsOf(rig))[0]?.version.storageClass, 'DEEP_ARCHIVE');
  rig.close();
});

test('versioned: expiry adds a marker, old versions go, and the lone marker in the end', async (t) => {
  const rig = await newPassRig();
  await rig.engine.updateBucket('data', (bucket) => ({ ...bucket, versioning: 'enabled' }));
  await rig.apply(`version: 1
rules:
  - { id: gone, trigger: { ageDays: 10 }, action: expire }
  - { id: old, trigger: { noncurrentDays: 10 }, action: expire-noncurrent }
  - { id: marker, action: expire-marker }
`);
  await put(rig, 'k', 100);
  rig.clock.pass(12 * DAY_MS);
  t.like((await rig.pass()).counts, { markers: 1, deleted: 0 });
  t.is((await versionsOf(rig)).length, 1);
  await t.throwsAsync(rig.engine.getObject({ bucket: 'data', key: 'k' }), { code: 'NoSuchKey' });
  rig.clock.pass(12 * DAY_MS);
  t.like((await rig.pass()).counts, { deleted: 1 });
  t.like((await rig.pass()).counts, { deleted: 1 });
  t.deepEqual(rig.store.rowsOf('objects'), []);
  const names = rig.events.map(({ name }) => name).filter((name) => name.includes('Expiration'));
  t.deepEqual(names, [
    's3:LifecycleExpiration:DeleteMarkerCreated',
    's3:LifecycleExpiration:Delete',
    's3:LifecycleExpiration:Delete',
  ]);
  rig.close();
});

test('uploads that nobody finished are aborted, younger ones are not', async (t) => {
  const rig = await newPassRig();
  const create = (key: string) =>
    rig.engine.createUpload({
      bucket: 'data',
      key,
      owner: 'root',
      storageClass: 'STANDARD',
      headers: {},
      metadata: {},
    });
  await create('old');
  rig.clock.pass(9 * DAY_MS);
  await create('young');
  await rig.apply(`version: 1
rules:
  - { id: stale, trigger: { ageDays: 7 }, action: abort-upload }
`);
  t.like((await rig.pass()).counts, { aborted: 1 });
  const uploads = rig.store.rowsOf<Upload>('uploads').map(({ value }) => [value.key, value.state]);
  t.deepEqual(uploads, [
    ['old', 'aborted'],
    ['young', 'open'],
  ]);
  rig.close();
});

const EXPIRE_ALL = `version: 1
rules:
  - { id: gone, trigger: { ageDays: 10 }, action: expire }
`;

test('a policy taken back during a pass deletes nothing more', async (t) => {
  const rig = await newPassRig();
  await rig.apply(EXPIRE_ALL);
  await put(rig, 'k', 100);
  rig.clock.pass(20 * DAY_MS);
  const harmless = `version: 1
rules:
  - { id: gone, trigger: { ageDays: 9000 }, action: expire }
`;
  const run = await rig.pass({ beforeShard: () => rig.apply(harmless) });
  t.is(run.state, 'failed');
  t.regex(run.error ?? '', /policy was changed/);
  t.is((await versionsOf(rig)).length, 1);
  rig.close();
});

const lifecycleOf = (inner: string): string =>
  '<LifecycleConfiguration><Rule><ID>r</ID><Filter/><Status>Enabled</Status>' +
  `${inner}</Rule></LifecycleConfiguration>`;

test('a bucket lifecycle taken back before its bucket is scanned deletes nothing', async (t) => {
  const rig = await newPassRig();
  const expiring = lifecycleOf('<Expiration><Days>10</Days></Expiration>');
  const set = (name: string, lifecycleXml: string): Promise<unknown> =>
    rig.engine.updateBucket(name, (bucket) => ({ ...bucket, lifecycleXml }));
  const other = await rig.engine.createBucket({
    name: 'other',
    owner: 'root',
    region: 'us-east-1',
  });
  for (const { name } of [rig.bucket, other]) await set(name, expiring);
  await put(rig, 'k', 100);
  const fields = { owner: 'root', storageClass: 'STANDARD', headers: {}, metadata: {} };
  await rig.engine.putObject({ bucket: 'other', key: 'o', body: Buffer.from('o'), ...fields });
  rig.clock.pass(20 * DAY_MS);
  const later = lifecycleOf('<Expiration><Days>9000</Days></Expiration>');
  const run = await rig.pass({
    beforeShard: () => set(rig.bucket.name, later).then(() => undefined),
  });
  t.is(run.state, 'done', 'what one tenant changes holds up nobody');
  t.is(run.counts['deleted'], 1);
  t.deepEqual(
    (await versionsOf(rig)).map(({ key }) => key),
    ['k'],
    'by the rules that stand now, not by those of the beginning',
  );
  rig.close();
});

test('overwritten between look and act: the new version is not deleted', async (t) => {
  const rig = await newPassRig();
  const old = await put(rig, 'k', 100);
  const fresh = await put(rig, 'k', 50);
  const outcome = await expireVersion(rig.core, {
    bucket: rig.bucket,
    key: 'k',
    versionId: old.id,
    effect: 'remove-version',
    place: 'current',
  });
  t.is(outcome, 'lost');
  t.is((await versionsOf(rig))[0]?.version.id, fresh.id);
  rig.close();
});

test('where the two evaluators differ nothing is deleted, and the rule is stopped', async (t) => {
  const rig = await newPassRig();
  await rig.apply(EXPIRE_ALL);
  await put(rig, 'k', 100);
  rig.clock.pass(20 * DAY_MS);
  const alarms: string[] = [];
  const rules = {
    source: storedPolicies(rig.core),
    evaluation: { classes: rig.context.classes },
    log: () => undefined,
  };
  const { evaluator, revision } = await new BucketRules(rules).of(rig.bucket);
  const deletes = new DeleteBatches(rig.core, {
    rules,
    revision,
    bucket: rig.bucket,
    guard: new ClockGuard({ store: rig.store, wall: () => 0, sandbox: true }),
    turn: await turnOf(rig, 'shard'),
    now: rig.clock.now(),
    log: (level, message) => alarms.push(`${level}: ${message}`),
  });
  const [row] = rig.store.rowsOf<ObjectDocument>('objects');
  const subject = { bucket: rig.bucket, key: 'k', document: row?.value as ObjectDocument };
  const [facts] = factsOfKey(subject, { classes: rig.context.classes });
  const decision = evaluator.decide(facts as VersionFacts, rig.clock.now());
  t.is(decision?.effect, 'remove-version');
  const differing = Object.create(evaluator, {
    confirm: {
      value: () =>
        Promise.resolve({
          agrees: false,
          rules: ['gone'],
          compiled: decision,
          reference: undefined,
        }),
    },
  }) as Evaluator;
  const deletion = { facts: facts as VersionFacts, decision: decision as Decision };
  await deletes.add(deletion, differing);
  await deletes.flush(differing);
  t.like(deletes.counts, { deleted: 0, disagreements: 1 });
  t.deepEqual([...deletes.stopped], ['gone']);
  t.regex(alarms[0] ?? '', /^error: the two evaluators differ/);
  t.is((await versionsOf(rig)).length, 1);
  rig.close();
});

test('a restored copy is pinned: no rule moves or archives it before its date', async (t) => {
  const rig = await newPassRig();
  await put(rig, 'k', 100, 'GLACIER');
  await rig.pass();
  const request = { bucket: 'data', key: 'k', days: 30, tier: 'Standard', owner: 'root' } as const;
  await rig.engine.restoreObject(request);
  for (let i = 0; i < 2; i += 1) {
    await new RestoreWorker(rig.core, () => undefined).run(await turnOf(rig, 'restore'));
    rig.clock.pass(61_000);
  }
  await rig.apply(`version: 1
rules:
  - { id: deep, trigger: { ageDays: 1 }, action: { transition: DEEP_ARCHIVE } }
`);
  rig.clock.pass(10 * DAY_MS);
  t.like((await rig.pass()).counts, { moved: 0, lapsed: 0 });
  t.is((await versionsOf(rig))[0]?.version.restore?.state, 'ready');
  rig.clock.pass(30 * DAY_MS);
  t.like((await rig.pass()).counts, { lapsed: 1, moved: 1 });
  rig.close();
});

test('a shard that died goes on behind its checkpoint, and nothing is moved twice', async (t) => {
  const rig = await newPassRig();
  await rig.apply(`version: 1
rules:
  - { id: cool, trigger: { ageDays: 1 }, action: { transition: GLACIER_IR } }
`);
  for (let i = 0; i < 6; i += 1) await put(rig, `k/${i}`, 100);
  rig.clock.pass(5 * DAY_MS);
  let died = 0;
  const run = rig.pass({
    beforeShard: () => {
      // The first attempt dies in the middle of its pack.
      if (died === 0) rig.crashAt(12);
      died += 1;
      return Promise.resolve();
    },
  });
  await t.throwsAsync(run, { instanceOf: Crash });
  rig.restart();
  rig.clock.pass(120_000);
  const lease = await leaseOf(rig, 'moves', 'resumer');
  await resumeMoves(rig.core, { lease });
  const again = await newCountingPass(rig);
  t.is(again.state, 'done', again.error);
  t.deepEqual(await keysIn(rig, 'cold'), ['k/0', 'k/1', 'k/2', 'k/3', 'k/4', 'k/5']);
  await auditBytes(t, rig, 'gone on');
  rig.close();
});

/** The run that was left running is taken up by another conductor. */
async function newCountingPass(rig: PassRig): Promise<Run> {
  const [open] = rig.store.rowsOf<Run>('runs');
  const rules = {
    source: storedPolicies(rig.core),
    evaluation: { classes: rig.context.classes },
    log: () => undefined,
  };
  const guard = new ClockGuard({ store: rig.store, wall: () => 0, sandbox: true });
  const shard = new LifecycleShard(rig.core, { rules, guard, log: () => undefined });
  const pass = new LifecyclePass(rig.core, {
    rules,
    sampleUsage: () => Promise.resolve(),
    async enqueue(runId, index) {
      await shard.run(await turnOf(rig, `again-${index}`), `${runId}/${index}`);
    },
  });
  await pass.run(await turnOf(rig, 'again'), open?.value.id ?? '');
  return rig.store.rowsOf<Run>('runs')[0]?.value as Run;
}

// ── Meters, throttle, clock ───────────────────────────────────────────────────────────────────────

test('byte-hours follow the bytes over a move, and a repeated sample adds nothing', async (t) => {
  const rig = await newPassRig();
  const start = Date.UTC(2026, 0, 6);
  rig.clock.pass(start - rig.clock.now());
  await put(rig, 'k', 1000);
  await sampleUsage(rig.core, () => Promise.resolve());
  await rig.apply(`version: 1
rules:
  - { id: cool, trigger: { ageDays: 1 }, action: { transition: GLACIER_IR } }
`);
  rig.clock.pass(4 * DAY_MS);
  await rig.pass();
  rig.clock.pass(2 * DAY_MS);
  await sampleUsage(rig.core, () => Promise.resolve());
  const sums = (): Record<string, number> => {
    const found: Record<string, number> = {};
    for (const { value } of rig.store.rowsOf<UsageRow>('usage')) {
      if (value.kind !== 'stored') continue;
      const name = `${value.tier}/${value.storageClass}`;
      found[name] = (found[name] ?? 0) + value.bytes / 24_000;
    }
    return Object.fromEntries(
      Object.entries(found).map(([k, v]) => [k, Math.round(v * 100) / 100]),
    );
  };
  t.deepEqual(sums(), { 'hot/STANDARD': 4, 'cold/GLACIER_IR': 2 });
  await sampleUsage(rig.core, () => Promise.resolve());
  t.deepEqual(sums(), { 'hot/STANDARD': 4, 'cold/GLACIER_IR': 2 });
  rig.close();
});

test('a throttled worker rests in proportion to its work, and never for ever', (t) => {
  const throttle = new Throttle(2);
  t.is(throttle.restMs(100), 200);
  t.true(throttle.restMs(1000) > 200);
  t.is(throttle.restMs(1e9), 5000);
  t.is(new Throttle(0).restMs(1000), 0);
});

test('a clock that jumps rests deletions and moves for an hour, also over a restart', async (t) => {
  const rig = await newRig();
  let wall = 1e12;
  let steady = 0;
  const pass = (ms: number): void => {
    wall += ms;
    steady += ms;
  };
  const newGuard = () =>
    new ClockGuard({ store: rig.store, wall: () => wall, steady: () => steady, sandbox: false });
  const guard = newGuard();
  t.is(await guard.paused(), undefined);
  pass(600_000);
  t.is(await guard.paused(), undefined);
  wall += 3 * DAY_MS;
  await t.throwsAsync(guard.check(), { code: 'GuardRail' });
  pass(1_800_000);
  t.truthy(await guard.paused());
  pass(1_900_000);
  t.is(await guard.paused(), undefined);
  wall -= 2 * 3_600_000;
  steady += 61_000;
  t.truthy(await newGuard().paused(), 'behind the highest time ever seen');
  rig.close();
});

test('killed in the middle of a pass and started again, the process goes on at once', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'firn-restart-'));
  const rig = await newPassRig();
  await rig.apply(`version: 1
rules:
  - { id: cool, trigger: { ageDays: 1 }, action: { transition: GLACIER_IR } }
`);
  for (let i = 0; i < 5; i += 1) await put(rig, `k/${i}`, 100);
  rig.clock.pass(5 * DAY_MS);
  const start = async (): Promise<Workers> => {
    const workers = await buildWorkers({
      engine: rig.engine,
      backend: { kind: 'lmdb', directory },
      processName: 'worker',
      sandboxClock: true,
      // Far longer than this test may take: nothing is waited out.
      leaseMs: 3_000,
    });
    await workers.start();
    return workers;
  };
  const id = newRequestId(rig.clock, random);
  await rig.store.insert('runs', `lifecycle/${id}`, {
    format: 1,
    id,
    kind: 'lifecycle',
    state: 'requested',
    requestedAt: rig.clock.now(),
    counts: {},
  } satisfies Run);
  // It stands still while its pack is put: as dead as a process can be inside one's own.
  let puts = 0;
  let wake: (error: Error) => void = () => undefined;
  const asleep = new Promise<void>((_resolve, reject) => {
    wake = reject;
  });
  rig.cold.before = (action) => {
    if (action !== 'put') return undefined;
    puts += 1;
    return puts === 1 ? asleep : undefined;
  };
  const dead = await start();
  await until('the first pack', () => Promise.resolve(puts === 1));
  const alive = await start();
  let run: Run | undefined;
  const began = Date.now();
  await until('the run', async () => {
    run = (await rig.store.get<Run>('runs', `lifecycle/${id}`))?.value;
    return run?.state === 'done' || run?.state === 'failed';
  });
  t.is(run?.state, 'done', run?.error);
  t.log(`${Date.now() - began} ms`);
  t.deepEqual(new Set(await keysIn(rig, 'cold')).size, 5);
  wake(new Crash());
  await dead.stop();
  await alive.stop();
  await auditBytes(t, rig, 'the dead one woke up');
  rig.close();
  await rm(directory, { recursive: true, force: true });
});
