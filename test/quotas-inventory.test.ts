// Quotas: nobody passes one, however many write at once and whoever dies; what is full still
// serves reads and deletes; what went makes room. Inventories: what they say is what is there.

import test, { type ExecutionContext } from 'ava';

import { buildEngine } from '../appliance/engine/build.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { setQuota, takenOf } from '../appliance/engine/quotas.ts';
import type { Bucket } from '../appliance/model/bucket.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { ObjectDocument, UploadPart } from '../appliance/model/object.ts';
import type { Amount, QuotaUsage } from '../appliance/model/quota.ts';
import { QuotaWorker } from '../workers/quotas.ts';
import { bigPart, codeOf, seeded } from './engine-harness.ts';
import { newRig, random, turnOf, type Rig } from './move-rig.ts';

const FIELDS = { owner: 'root', storageClass: 'STANDARD', headers: {}, metadata: {} };
const PART_BYTES = 5 * 1024 * 1024;

const write = (
  engine: Engine,
  key: string,
  size: number,
  bucket = 'data',
): Promise<{ versionId: string | undefined }> =>
  engine.putObject({ bucket, key, body: random.bytes(size), sizeBytes: size, ...FIELDS });

/** What is there, by looking at every row: the truth that a quota is about. */
function heldIn(rig: Rig, buckets: readonly Bucket[]): Amount {
  const ids = new Set(buckets.map(({ id }) => id));
  const held = { bytes: 0, objects: 0 };
  for (const { id, value } of rig.store.rowsOf<ObjectDocument>('objects')) {
    if (!ids.has(id.slice(0, id.indexOf('/')))) continue;
    for (const version of value.versions) {
      held.bytes += version.sizeBytes;
      if (!version.deleteMarker) held.objects += 1;
    }
  }
  for (const { value } of rig.store.rowsOf<UploadPart>('parts')) held.bytes += value.sizeBytes;
  return held;
}

async function count(rig: Rig): Promise<void> {
  const worker = new QuotaWorker(rig.core, () => undefined, { settleMs: 0 });
  await worker.run(await turnOf(rig, 'quotas'));
}

const usageOf = async (rig: Rig, id: string): Promise<QuotaUsage | undefined> =>
  (await rig.store.get<QuotaUsage>('quotas', id))?.value;

async function newQuotaRig(
  bounds: { bytesMax?: number; objectsMax?: number },
  of: 'bucket' | 'account' = 'bucket',
): Promise<Rig> {
  const rig = await newRig();
  const account = { format: 1, id: 'root', displayName: 'root', createdAt: 0, admin: true };
  await rig.store.insert('accounts', 'account/root', account);
  await setQuota(rig.context, { kind: of, name: of === 'bucket' ? 'data' : 'root' }, bounds);
  return rig;
}

const seedOf = (t: ExecutionContext): number => {
  const seed = Number(process.env['FIRN_TEST_SEED'] ?? Math.floor(Math.random() * 1e9));
  t.log(`seed ${seed} (FIRN_TEST_SEED)`);
  return seed;
};

test('four processes that write at once never pass a quota, and come close to it', async (t) => {
  const seed = seeded(seedOf(t));
  const rig = await newQuotaRig({ bytesMax: 500_000, objectsMax: 300 });
  const engines = Array.from({ length: 4 }, () => buildEngine(rig.context));
  let refused = 0;
  const writer = async (engine: Engine, name: string): Promise<void> => {
    for (let n = 0; n < 60; n++) {
      try {
        await write(engine, `${name}/${n}`, Math.floor(seed() * 6000));
      } catch (error) {
        if (!isFirnError(error, 'QuotaExceeded')) throw error;
        refused += 1;
      }
      const held = heldIn(rig, [rig.bucket]);
      if (held.bytes > 500_000 || held.objects > 300) t.fail(`passed: ${JSON.stringify(held)}`);
    }
  };
  await Promise.all(
    engines.flatMap((engine, e) => [0, 1, 2].map((w) => writer(engine, `${e}-${w}`))),
  );
  t.true(refused > 0);
  const held = heldIn(rig, [rig.bucket]);
  t.true(held.bytes > 450_000 || held.objects > 270, JSON.stringify(held));
  await Promise.all(engines.map((engine) => engine.close()));
  t.deepEqual((await usageOf(rig, `bucket/${rig.bucket.id}`))?.used, held, 'told to the byte');
  rig.close();
});

test('a full bucket serves reads and deletes, an overwrite in place, and what went makes room', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 1000, objectsMax: 4 });
  const { engine } = rig;
  await write(engine, 'a', 600);
  await write(engine, 'b', 400);
  t.is(await codeOf(write(engine, 'c', 1)), 'QuotaExceeded');
  t.is(await codeOf(write(engine, 'c', 0)), 'none', 'an object without bytes needs none');
  const { body } = await engine.getObject({ bucket: 'data', key: 'a' });
  t.is((body as Uint8Array).length, 600);
  t.is(
    (await engine.listObjects({ bucket: 'data', prefix: '', delimiter: '', after: '', limit: 9 }))
      .entries.length,
    3,
  );
  t.is(await codeOf(write(engine, 'a', 600)), 'none', 'as long as what it replaces');
  t.is(await codeOf(write(engine, 'a', 601)), 'QuotaExceeded');
  const copy = { bucket: 'data', source: { bucket: 'data', key: 'b' }, owner: 'root' };
  t.is(await codeOf(engine.copyObject({ ...copy, key: 'd' })), 'QuotaExceeded');
  await engine.deleteObject({ bucket: 'data', key: 'b', owner: 'root' });
  t.is(
    await codeOf(engine.copyObject({ ...copy, source: { bucket: 'data', key: 'c' }, key: 'd' })),
    'none',
  );
  t.is(await codeOf(write(engine, 'e', 400)), 'none');
  t.is(await codeOf(write(engine, 'f', 0)), 'QuotaExceeded', 'four objects are four');
  t.is(engine.quotaWarning(rig.bucket), undefined, 'the row as it was before the quota');
  const bucket = await engine.getBucket('data');
  t.is(engine.quotaWarning(bucket), 'bucket bytes 100 %, bucket objects 100 %');
  rig.close();
});

test('parts count as they come, a completed upload counts once, an aborted one no more', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 3 * PART_BYTES, objectsMax: 1 });
  const { engine } = rig;
  const id = `bucket/${rig.bucket.id}`;
  const begin = (key: string) => engine.createUpload({ bucket: 'data', key, ...FIELDS });
  const part = (name: { key: string; uploadId: string }, number: number) =>
    engine.putPart({
      bucket: 'data',
      ...name,
      number,
      body: bigPart(number),
      sizeBytes: PART_BYTES,
    });
  const one = await begin('one');
  const other = await begin('other');
  const parts = [await part(one, 1), await part(one, 2)];
  await part(other, 1);
  t.is(await codeOf(part(one, 3)), 'QuotaExceeded');
  await part(one, 2);
  await engine.abortUpload({ bucket: 'data', ...other });
  parts.push(await part(one, 3));
  const list = parts.map(({ number, etag }) => ({ number, etag }));
  await engine.completeUpload({
    bucket: 'data',
    key: 'one',
    uploadId: one.uploadId,
    owner: 'root',
    parts: list,
  });
  t.is(await codeOf(write(engine, 'two', 0)), 'QuotaExceeded');
  await engine.close();
  t.deepEqual((await usageOf(rig, id))?.used, { bytes: 3 * PART_BYTES, objects: 1 });
  rig.close();
});

test('a quota is set, changed and taken away by its bounds, one at a time', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 100 });
  const of = { kind: 'bucket', name: 'data' } as const;
  t.is(await codeOf(write(rig.engine, 'a', 101)), 'QuotaExceeded');
  const both = await setQuota(rig.context, of, { objectsMax: 1 });
  t.deepEqual(both.quota, { bytesMax: 100, objectsMax: 1 });
  await setQuota(rig.context, of, { bytesMax: null });
  t.is(await codeOf(write(rig.engine, 'a', 101)), 'none');
  t.is(await codeOf(write(rig.engine, 'b', 1)), 'QuotaExceeded');
  const none = await setQuota(rig.context, of, { objectsMax: null });
  t.deepEqual(none.quota, {});
  t.is((await rig.engine.getBucket('data')).quota, undefined);
  t.is(await codeOf(write(rig.engine, 'b', 1)), 'none');
  t.is(
    await codeOf(setQuota(rig.context, { ...of, name: 'gone' }, { bytesMax: 1 })),
    'NoSuchBucket',
  );
  const nobody = { kind: 'account', name: 'nobody' } as const;
  t.is(await codeOf(setQuota(rig.context, nobody, { bytesMax: 1 })), 'InvalidArgument');
  rig.close();
});

test('an account’s quota is of all its buckets together, and other accounts do not notice', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 1000 }, 'account');
  const { engine } = rig;
  await engine.createBucket({ name: 'more', owner: 'root', region: 'us-east-1' });
  await engine.createBucket({ name: 'theirs', owner: 'ana', region: 'us-east-1' });
  await write(engine, 'a', 500);
  await write(engine, 'a', 400, 'more');
  t.is(await codeOf(write(engine, 'b', 200)), 'QuotaExceeded');
  t.is(await codeOf(write(engine, 'b', 200, 'theirs')), 'none');
  t.is(engine.quotaWarning(await engine.getBucket('more')), 'account bytes 90 %');
  rig.close();
});

test('what was there before the quota counts once it was counted, also while others write', async (t) => {
  const seed = seeded(seedOf(t));
  const rig = await newRig();
  const id = `bucket/${rig.bucket.id}`;
  for (let n = 0; n < 40; n++) await write(rig.engine, `old/${n}`, 100);
  await setQuota(rig.context, { kind: 'bucket', name: 'data' }, { bytesMax: 100_000 });
  const other = buildEngine(rig.context);
  let reads = 0;
  let isWriting = false;
  rig.store.beforeRead = async (table) => {
    // Writes and deletes on both sides of where the count is.
    if (!['objects', 'uploads'].includes(table) || isWriting) return;
    isWriting = true;
    for (let end = reads + 15; reads < end && reads < 30; reads++) {
      const n = Math.floor(seed() * 80);
      if (seed() < 0.6) await write(other, `old/${n}`, 150);
      else await other.deleteObject({ bucket: 'data', key: `old/${n}`, owner: 'root' });
    }
    isWriting = false;
  };
  const worker = new QuotaWorker(rig.core, () => undefined, { settleMs: 700 });
  await worker.run(await turnOf(rig, 'quotas'));
  rig.store.beforeRead = undefined;
  await other.close();
  await rig.engine.close();
  const held = heldIn(rig, [rig.bucket]);
  const usage = await usageOf(rig, id);
  const { used } = usage as QuotaUsage;
  t.true(used.bytes >= held.bytes && used.objects >= held.objects, 'never too low');
  t.true(used.bytes <= held.bytes + 30 * 150, 'and not by more than what came and went meanwhile');
  rig.clock.pass(16 * 60_000);
  await count(rig);
  t.deepEqual((await usageOf(rig, id))?.used, held, 'in peace it is exact');
  t.true((await usageOf(rig, id))?.isExact);
  rig.close();
});

test('a process that died with room set aside takes it from nobody for long', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 100_000 });
  const id = `bucket/${rig.bucket.id}`;
  let isDead = false;
  const store = new Proxy(rig.store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown =>
        isDead ? new Promise(() => undefined) : (value.apply(target, args) as unknown);
    },
  });
  await write(buildEngine({ ...rig.context, store }), 'a', 1000);
  isDead = true;
  t.true(takenOf(await usageOf(rig, id)).bytes > 1000, 'it holds more than it wrote');
  // It never told: killed. What it wrote is within what it held.
  rig.clock.pass(61_000);
  await count(rig);
  t.deepEqual(takenOf(await usageOf(rig, id)), { bytes: 1000, objects: 1 });
  t.is(await codeOf(write(rig.engine, 'b', 99_000)), 'none');
  t.is(await codeOf(write(rig.engine, 'c', 1)), 'QuotaExceeded');
  rig.close();
});

test('whatever is done, what is told is what is there', async (t) => {
  const seed = seeded(seedOf(t));
  const pick = (max: number): number => Math.floor(seed() * max);
  const rig = await newQuotaRig({ bytesMax: 4000, objectsMax: 30 });
  const { engine } = rig;
  let refused = 0;
  const attempt = async (work: () => Promise<unknown>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!isFirnError(error)) throw error;
      refused += error.code === 'QuotaExceeded' ? 1 : 0;
    }
  };
  const uploads: { key: string; uploadId: string }[] = [];
  const steps = [
    () => write(engine, `k${pick(12)}`, pick(400)),
    () => write(engine, `k${pick(12)}`, pick(400)),
    () => engine.deleteObject({ bucket: 'data', key: `k${pick(12)}`, owner: 'root' }),
    async () => {
      const answer = await engine.listVersions({
        bucket: 'data',
        prefix: '',
        delimiter: '',
        after: '',
        limit: 100,
      });
      const one = answer.entries[pick(answer.entries.length)];
      if (one === undefined) return;
      const { key, versionId } = one;
      await engine.deleteObject({ bucket: 'data', key, versionId, owner: 'root' });
    },
    () =>
      engine.copyObject({
        bucket: 'data',
        key: `k${pick(12)}`,
        source: { bucket: 'data', key: `k${pick(12)}` },
        owner: 'root',
        storageClass: 'STANDARD',
      }),
    async () => {
      const key = `k${pick(12)}`;
      const { uploadId } = await engine.createUpload({ bucket: 'data', key, ...FIELDS });
      uploads.push({ key, uploadId });
    },
    async () => {
      const name = uploads[pick(uploads.length)];
      if (name === undefined) return;
      const body = random.bytes(pick(300));
      await engine.putPart({ bucket: 'data', ...name, number: 1 + pick(2), body });
    },
    async () => {
      const [name] = uploads.splice(pick(uploads.length), 1);
      if (name === undefined) return;
      if (pick(3) === 0) return engine.abortUpload({ bucket: 'data', ...name });
      const { parts } = await engine.listParts({ bucket: 'data', ...name, after: 0, limit: 1 });
      const list = parts.map(({ number, etag }) => ({ number, etag }));
      await engine.completeUpload({ bucket: 'data', ...name, owner: 'root', parts: list });
      return undefined;
    },
    () =>
      engine.updateBucket('data', (bucket) => ({
        ...bucket,
        versioning: pick(2) === 0 ? 'enabled' : 'suspended',
      })),
  ];
  for (let n = 0; n < 600; n++) {
    const step = steps[pick(n < 200 ? steps.length - 1 : steps.length)];
    await attempt(() => step?.() ?? Promise.resolve());
    const held = heldIn(rig, [rig.bucket]);
    t.true(held.bytes <= 4000 && held.objects <= 30, `step ${n}: ${JSON.stringify(held)}`);
  }
  t.true(refused > 0, 'the quota was met');
  await engine.close();
  const usage = await usageOf(rig, `bucket/${rig.bucket.id}`);
  t.deepEqual(usage?.used, heldIn(rig, [rig.bucket]));
  rig.close();
});
