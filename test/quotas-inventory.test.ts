// Quotas: nobody passes one, however many write at once and whoever dies; what is full still
// serves reads and deletes; what went makes room. Inventories: what they say is what is there.

import { hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';

import test, { type ExecutionContext } from 'ava';

import { inventoriedUsage } from '../api/admin/queries/usage.ts';
import { buildEngine } from '../appliance/engine/build.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { setQuota, takenOf } from '../appliance/engine/account/quotas.ts';
import type { Bucket } from '../appliance/model/bucket.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { newRequestId } from '../appliance/model/ids.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { ObjectDocument, UploadPart } from '../appliance/model/object.ts';
import type { Amount, QuotaUsage } from '../appliance/model/quota.ts';
import { QuotaWorker } from '../workers/quotas.ts';
import { INVENTORY_FIELDS } from '../policies/inventory-xml.ts';
import { InventoryWorker } from '../workers/inventory/inventory.ts';
import { storedPolicies } from '../workers/lifecycle/rules.ts';
import { bigPart, bytesOf, codeOf, seeded } from './engine-harness.ts';
import { Crash } from './memory-store.ts';
import { checkRefusal, send, startEndpoint } from './s3-caller.ts';
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
  rig.store.beforeCommit = async (change) => {
    if (change.table !== 'quotas' || change.kind === 'remove') return undefined;
    const taken = takenOf(change.value as QuotaUsage);
    if (taken.bytes > 500_000 || taken.objects > 300) t.fail(`promised: ${JSON.stringify(taken)}`);
    // As over a network: others go on meanwhile.
    await sleep(seed() * 5);
    return undefined;
  };
  let refused = 0;
  const writer = async (engine: Engine, name: string): Promise<void> => {
    for (let n = 0; n < 60; n++) {
      try {
        await write(engine, `${name}/${n}`, Math.floor(seed() * 6000));
        if (seed() < 0.2) {
          await engine.deleteObject({ bucket: 'data', key: `${name}/${n}`, owner: 'root' });
        }
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

test('a bucket that holds more than it may still takes what needs no more', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 3 * PART_BYTES });
  const { engine } = rig;
  await write(engine, 'a', 600);
  const { uploadId } = await engine.createUpload({ bucket: 'data', key: 'b', ...FIELDS });
  const name = { bucket: 'data', key: 'b', uploadId };
  const body = bigPart(1);
  const { number, etag } = await engine.putPart({ ...name, number: 1, body });
  await setQuota(rig.context, { kind: 'bucket', name: 'data' }, { bytesMax: 1000 });
  // What was noted and is held ahead is told, so that the row says how full it is.
  await engine.close();
  rig.restart();
  const later = rig.engine;
  t.is(await codeOf(write(later, 'a', 601)), 'QuotaExceeded');
  t.is(await codeOf(write(later, 'a', 600)), 'none', 'as long as what it replaces');
  t.is(await codeOf(write(later, 'a', 10)), 'none', 'less than what it replaces');
  t.is(await codeOf(write(later, 'c', 1)), 'QuotaExceeded');
  // Its bytes are there already: refused, they could not even become an object.
  t.is(
    await codeOf(later.completeUpload({ ...name, owner: 'root', parts: [{ number, etag }] })),
    'none',
  );
  await later.deleteObject({ bucket: 'data', key: 'b', owner: 'root' });
  t.is(await codeOf(write(later, 'c', 1)), 'none');
  rig.close();
});

test('what one process wrote and another deleted takes no room, whoever tells first', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 1000 });
  await count(rig);
  const [one, other] = [buildEngine(rig.context), buildEngine(rig.context)];
  for (let n = 0; n < 5; n++) {
    await write(one, 'draft', 600);
    await other.deleteObject({ bucket: 'data', key: 'draft', owner: 'root' });
    // What went is told before what came.
    await other.core.quotas.close();
    await one.core.quotas.close();
  }
  const usage = await usageOf(rig, `bucket/${rig.bucket.id}`);
  t.deepEqual(usage?.used, { bytes: 0, objects: 0 });
  t.is(await codeOf(write(one, 'whole', 1000)), 'none');
  await Promise.all([one.close(), other.close()]);
  rig.close();
});

test('a write in doubt counts as made until it is counted again, and that is soon', async (t) => {
  for (const fault of ['doubt-done', 'doubt-lost'] as const) {
    const rig = await newQuotaRig({ bytesMax: 2 * PART_BYTES, objectsMax: 9 });
    const { engine } = rig;
    const id = `bucket/${rig.bucket.id}`;
    const upload = await engine.createUpload({ bucket: 'data', key: 'parts', ...FIELDS });
    await count(rig);
    rig.store.beforeCommit = (change) =>
      ['objects', 'parts'].includes(change.table) ? fault : undefined;
    const part = { bucket: 'data', key: 'parts', uploadId: upload.uploadId, number: 1 };
    t.is(await codeOf(write(engine, 'whole', 400)), 'MetadataUnavailable');
    const sizeBytes = PART_BYTES;
    t.is(
      await codeOf(engine.putPart({ ...part, body: bigPart(1), sizeBytes })),
      'MetadataUnavailable',
    );
    rig.store.beforeCommit = undefined;
    t.is(await codeOf(write(engine, 'more', 2 * PART_BYTES - 400)), 'QuotaExceeded', fault);
    await engine.close();
    const usage = await usageOf(rig, id);
    t.deepEqual(usage?.used, { bytes: PART_BYTES + 400, objects: 1 });
    t.false(usage?.isExact);
    rig.clock.pass(61_000);
    await count(rig);
    const after = await usageOf(rig, id);
    t.deepEqual(after?.used, heldIn(rig, [rig.bucket]));
    t.is(after?.used.objects, fault === 'doubt-done' ? 1 : 0);
    t.true(after?.isExact);
    rig.close();
  }
});

test('a part that a Complete took before its UploadPart was answered counts in the object', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 10_000 });
  const { engine, store } = rig;
  const { uploadId } = await engine.createUpload({ bucket: 'data', key: 'k', ...FIELDS });
  const name = { bucket: 'data', key: 'k', uploadId };
  const slow = Promise.withResolvers<void>();
  const get = store.get.bind(store);
  let isHeld = false;
  store.get = async (table, id) => {
    // UploadPart looks at its upload again behind its row (C1).
    if (table === 'uploads' && !isHeld && store.rowsOf('parts').length > 0) {
      isHeld = true;
      await slow.promise;
    }
    return get(table, id);
  };
  const bulk = store.bulk.bind(store);
  const body = random.bytes(500);
  const sending = engine.putPart({ ...name, number: 1, body });
  while (!isHeld) await sleep(1);
  // Complete ends the upload; the row is still there when the part's writer looks.
  store.bulk = async (changes) => {
    if (changes.some(({ table, kind }) => table === 'parts' && kind === 'remove')) {
      slow.resolve();
      await sending.catch(() => undefined);
    }
    return bulk(changes);
  };
  const parts = [{ number: 1, etag: hash('md5', body) }];
  await engine.completeUpload({ ...name, owner: 'root', parts });
  t.is(await codeOf(sending), 'NoSuchUpload');
  await engine.close();
  const usage = await usageOf(rig, `bucket/${rig.bucket.id}`);
  t.deepEqual(usage?.used, heldIn(rig, [rig.bucket]));
  rig.close();
});

test('a quota that is taken away while a writer tells leaves no count for the next one', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 1000 });
  const id = `bucket/${rig.bucket.id}`;
  await count(rig);
  let told = false;
  rig.store.beforeCommit = async (change) => {
    if (told || change.table !== 'quotas' || change.kind !== 'remove') return undefined;
    told = true;
    const row = await rig.store.get<QuotaUsage>('quotas', id);
    if (row === undefined) return undefined;
    const { value, revision } = row;
    await rig.store.replace({ table: 'quotas', id, expected: revision, value: { ...value } });
    return undefined;
  };
  await setQuota(rig.context, { kind: 'bucket', name: 'data' }, { bytesMax: null });
  t.true(told);
  t.is(await usageOf(rig, id), undefined);
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

test('a body of unknown length is refused once it is too long, and leaves nothing claimed', async (t) => {
  const rig = await newQuotaRig({ bytesMax: 1000 });
  await setQuota(rig.context, { kind: 'account', name: 'root' }, { bytesMax: 800 });
  async function* body(size: number): AsyncGenerator<Uint8Array> {
    for (let sent = 0; sent < size; sent += 100) yield random.bytes(100);
  }
  const stream = (key: string, size: number): Promise<unknown> =>
    rig.engine.putObject({ bucket: 'data', key, body: body(size), ...FIELDS });
  t.is(await codeOf(stream('a', 900)), 'QuotaExceeded', 'fits the bucket, not the account');
  let sent = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (; sent < 1e6; sent += 100) yield random.bytes(100);
  }
  const put = { bucket: 'data', key: 'a', body: endless(), ...FIELDS };
  t.is(await codeOf(rig.engine.putObject(put)), 'QuotaExceeded');
  t.true(sent <= 800, `${sent} bytes were taken`);
  t.is(await codeOf(rig.engine.headObject({ bucket: 'data', key: 'a' })), 'NoSuchKey');
  t.is(await codeOf(stream('a', 800)), 'none', 'all the room is there again');
  await rig.engine.close();
  for (const id of [`bucket/${rig.bucket.id}`, 'account/root']) {
    t.deepEqual(takenOf(await usageOf(rig, id)), { bytes: 800, objects: 1 }, id);
  }
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

test('parts that are sent again while their uploads end count once, by three processes', async (t) => {
  const seed = seeded(seedOf(t));
  const pick = (max: number): number => Math.floor(seed() * max);
  const rig = await newQuotaRig({ bytesMax: 50_000, objectsMax: 100 });
  await count(rig);
  const engines = Array.from({ length: 3 }, () => buildEngine(rig.context));
  rig.store.beforeCommit = async () => {
    if (seed() < 0.3) await sleep(seed() * 3);
    return undefined;
  };
  const uploads: { bucket: string; key: string; uploadId: string }[] = [];
  const step = async (engine: Engine): Promise<unknown> => {
    const name = uploads.at(-1 - pick(3));
    const key = `k${pick(4)}`;
    const what = pick(6);
    if (what === 0 || name === undefined) {
      const { uploadId } = await engine.createUpload({ bucket: 'data', key, ...FIELDS });
      return uploads.push({ bucket: 'data', key, uploadId });
    }
    if (what < 3) return engine.putPart({ ...name, number: 1, body: random.bytes(1 + pick(400)) });
    if (what === 3) return engine.abortUpload(name);
    if (what === 4) return engine.deleteObject({ bucket: 'data', key, owner: 'root' });
    const { parts } = await engine.listParts({ ...name, after: 0, limit: 1 });
    const list = parts.map(({ number, etag }) => ({ number, etag }));
    return engine.completeUpload({ ...name, owner: 'root', parts: list });
  };
  const client = async (engine: Engine): Promise<void> => {
    for (let n = 0; n < 300; n++) await codeOf(step(engine));
  };
  await Promise.all(engines.flatMap((engine) => [client(engine), client(engine)]));
  await Promise.all(engines.map((engine) => engine.close()));
  const usage = await usageOf(rig, `bucket/${rig.bucket.id}`);
  t.deepEqual(usage?.used, heldIn(rig, [rig.bucket]));
  rig.close();
});

// ── Inventories ───────────────────────────────────────────────────────────────────────────────────

const INVENTORY = (
  more: Partial<Record<'format' | 'versions' | 'frequency' | 'to' | 'id', string>>,
): string =>
  '<InventoryConfiguration><Destination><S3BucketDestination>' +
  `<Bucket>arn:aws:s3:::${more.to ?? 'reports'}</Bucket><Format>${more.format ?? 'CSV'}</Format>` +
  '<Prefix>inv</Prefix></S3BucketDestination></Destination><IsEnabled>true</IsEnabled>' +
  `<Id>${more.id ?? 'all'}</Id>` +
  `<IncludedObjectVersions>${more.versions ?? 'All'}</IncludedObjectVersions>` +
  `<OptionalFields>${INVENTORY_FIELDS.map((field) => `<Field>${field}</Field>`).join('')}</OptionalFields>` +
  `<Schedule><Frequency>${more.frequency ?? 'Daily'}</Frequency></Schedule></InventoryConfiguration>`;

async function newInventoryRig(configurations: Record<string, string>): Promise<Rig> {
  const rig = await newRig();
  await rig.engine.createBucket({ name: 'reports', owner: 'root', region: 'us-east-1' });
  await rig.engine.updateBucket('data', (bucket) => ({ ...bucket, configurations }));
  return rig;
}

async function runInventory(rig: Rig, key = 'inventory'): Promise<Record<string, number>> {
  const rules = {
    source: storedPolicies(rig.core),
    evaluation: { classes: rig.context.classes },
    log: () => undefined,
  };
  const turn = await turnOf(rig, 'inventory');
  await new InventoryWorker(rig.core, rules, () => undefined).run(turn, key);
  await turn.lease.release();
  return turn.counts;
}

async function readReport(rig: Rig, key: string): Promise<Buffer> {
  const { body } = await rig.engine.getObject({ bucket: 'reports', key });
  return bytesOf(body);
}

const reportKeys = async (rig: Rig): Promise<string[]> => {
  const query = { bucket: 'reports', prefix: '', delimiter: '', after: '', limit: 100 };
  return (await rig.engine.listObjects(query)).entries.map(({ key }) => key);
};

interface Manifest {
  sourceBucket: string;
  destinationBucket: string;
  fileFormat: string;
  fileSchema: string;
  files: { key: string; size: number; MD5checksum: string }[];
}

test('an inventory lists every version once, in files that its manifest names and sums', async (t) => {
  const rig = await newInventoryRig({
    'inventory/all': INVENTORY({}),
    'inventory/now': INVENTORY({ id: 'now', format: 'NDJSON', versions: 'Current' }),
  });
  const { engine } = rig;
  await engine.updateBucket('data', (bucket) => ({ ...bucket, versioning: 'enabled' }));
  const odd = 'a folder/ü "quoted", with\ncomma';
  await write(engine, odd, 10);
  await write(engine, odd, 20);
  await write(engine, 'gone', 5);
  await engine.deleteObject({ bucket: 'data', key: 'gone', owner: 'root' });
  t.like(await runInventory(rig), { reports: 2, failed: 0, objects: 4, files: 2 });
  const folder = 'inv/data/all/2026-01-05T00-00Z';
  const text = await readReport(rig, `${folder}/manifest.json`);
  t.is(String(await readReport(rig, `${folder}/manifest.checksum`)), hash('md5', text));
  const manifest = JSON.parse(String(text)) as Manifest;
  t.like(manifest, {
    sourceBucket: 'data',
    destinationBucket: 'arn:aws:s3:::reports',
    fileFormat: 'CSV',
  });
  const [file] = manifest.files as [Manifest['files'][number]];
  const packed = await readReport(rig, file.key);
  t.is(packed.length, file.size);
  t.is(hash('md5', packed), file.MD5checksum);
  const lines = String(gunzipSync(packed)).trimEnd().split('\n');
  t.is(lines.length, 4, 'two versions, one hidden version, one marker');
  const columns = manifest.fileSchema.split(', ');
  t.deepEqual(columns.slice(0, 6), [
    'Bucket',
    'Key',
    'VersionId',
    'IsLatest',
    'IsDeleteMarker',
    'Size',
  ]);
  const [newest] = lines.map((line) => line.slice(1, -1).split('","'));
  t.is(decodeURIComponent(newest?.[1] ?? ''), odd);
  t.deepEqual(newest?.slice(3, 6), ['true', 'false', '20']);
  const json = (await reportKeys(rig)).find((key) => key.endsWith('.ndjson.gz')) ?? '';
  const records = String(gunzipSync(await readReport(rig, json)))
    .trimEnd()
    .split('\n');
  t.deepEqual(
    records.map((line) => (JSON.parse(line) as { Key: string; Size: number }).Key),
    [odd],
    'current objects alone',
  );
  rig.close();
});

test('a day’s inventory is written once, a weekly one a week later, one asked for at once', async (t) => {
  const rig = await newInventoryRig({
    'inventory/daily': INVENTORY({ id: 'daily' }),
    'inventory/weekly': INVENTORY({ id: 'weekly', frequency: 'Weekly' }),
  });
  await write(rig.engine, 'a', 1);
  t.is((await runInventory(rig))['reports'], 2);
  t.is((await runInventory(rig))['reports'], 0, 'done for today');
  rig.clock.pass(DAY_MS);
  t.is((await runInventory(rig))['reports'], 1, 'Tuesday: the daily one');
  rig.clock.pass(5 * DAY_MS);
  t.is((await runInventory(rig))['reports'], 2, 'Sunday: both');
  const id = newRequestId(rig.clock, random);
  const run = { format: 1, id, kind: 'inventory', bucket: 'data', state: 'running', counts: {} };
  await rig.store.insert('runs', `inventory/${id}`, { ...run, requestedAt: rig.clock.now() });
  t.is((await runInventory(rig, `inventory/${id}`))['reports'], 2, 'whatever was done before');
  const keys = await reportKeys(rig);
  t.deepEqual(
    keys.filter((key) => key.startsWith('inv/data/daily/') && key.endsWith('manifest.json')),
    ['05T00-00', '06T00-00', '11T00-00', '11T10-30'].map(
      (at) => `inv/data/daily/2026-01-${at}Z/manifest.json`,
    ),
  );
  rig.close();
});

test('usage and cost may stand on the last inventory, as long as it is of the whole bucket', async (t) => {
  const rig = await newInventoryRig({
    'inventory/all': INVENTORY({}),
    'inventory/now': INVENTORY({ id: 'now', versions: 'Current' }),
  });
  await write(rig.engine, 'a', 100);
  await runInventory(rig);
  await write(rig.engine, 'b', 100);
  const { store, classes } = rig.context;
  const counted = {
    bucket: 'data',
    tier: 'hot',
    storageClass: 'STANDARD',
    objects: 1,
    bytes: 100,
    // An inventory does not say what of it is coded.
    storedBytes: null,
  };
  t.deepEqual(await inventoriedUsage({ store, classes }), [counted]);
  const part = { 'inventory/now': INVENTORY({ id: 'now', versions: 'Current' }) };
  await rig.engine.updateBucket('data', (bucket) => ({ ...bucket, configurations: part }));
  t.deepEqual(await inventoriedUsage({ store, classes }), []);
  rig.close();
});

test('killed anywhere, an inventory is whole in the end, and its destination is the owner’s', async (t) => {
  for (let at = 1; at < 40; at++) {
    const rig = await newInventoryRig({ 'inventory/all': INVENTORY({}) });
    for (let n = 0; n < 5; n++) await write(rig.engine, `k${n}`, n);
    rig.crashAt(at);
    let died = false;
    try {
      await runInventory(rig);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      died = true;
    }
    rig.restart();
    rig.clock.pass(60_000);
    await runInventory(rig);
    const manifest = (await reportKeys(rig)).filter((key) => key.endsWith('manifest.json'));
    t.is(manifest.length, 1, `at ${at}`);
    const { files } = JSON.parse(String(await readReport(rig, manifest[0] ?? ''))) as Manifest;
    const lines = String(gunzipSync(await readReport(rig, files[0]?.key ?? '')));
    t.is(lines.trimEnd().split('\n').length, 5);
    rig.close();
    if (!died) break;
  }
  const rig = await newInventoryRig({ 'inventory/all': INVENTORY({ to: 'theirs' }) });
  await rig.engine.createBucket({ name: 'theirs', owner: 'ana', region: 'us-east-1' });
  t.is((await runInventory(rig))['failed'], 1);
  t.is(
    (
      await rig.engine.listObjects({
        bucket: 'theirs',
        prefix: '',
        delimiter: '',
        after: '',
        limit: 9,
      })
    ).entries.length,
    0,
  );
  rig.close();
});

test('a report that nobody came to end leaves no row for ever', async (t) => {
  const rig = await newInventoryRig({ 'inventory/all': INVENTORY({}) });
  await write(rig.engine, 'k', 1);
  const begun = (): string[] =>
    rig.store.rowsOf('checkpoints').flatMap(({ id }) => (id.includes('-report/') ? [id] : []));
  for (let at = 1; begun().length === 0 && at < 40; at++) {
    rig.crashAt(at);
    await runInventory(rig).catch(() => undefined);
    rig.restart();
    rig.clock.pass(60_000);
  }
  t.is(begun().length, 1);
  rig.clock.pass(DAY_MS);
  await runInventory(rig);
  t.is(begun().length, 1);
  rig.clock.pass(7 * DAY_MS);
  await runInventory(rig);
  t.is(begun().length, 0);
  rig.close();
});

test('over S3: inventories are kept strictly, a quota warns from 80 % and refuses with 403', async (t) => {
  const endpoint = await startEndpoint();
  t.teardown(() => endpoint.close());
  const put = (body: string, id = 'all'): ReturnType<typeof send> =>
    send(endpoint, { method: 'PUT', path: '/bucket', query: `inventory=&id=${id}`, body });
  const good = INVENTORY({ to: 'bucket' });
  t.is((await put(good)).status, 200);
  t.is((await put(INVENTORY({ to: 'bucket', id: 'two', format: 'NDJSON' }), 'two')).status, 200);
  checkRefusal(await put(good, 'other'), 400, 'InvalidArgument', 'another id');
  checkRefusal(await put(INVENTORY({ to: 'foreign' })), 400, 'InvalidArgument', 'another’s bucket');
  checkRefusal(await put(INVENTORY({ to: 'nowhere' })), 400, 'InvalidArgument', 'no bucket');
  checkRefusal(await put(INVENTORY({ to: 'bucket', format: 'ORC' })), 501, 'NotImplemented');
  checkRefusal(await put(INVENTORY({ to: 'bucket', frequency: 'Hourly' })), 400, 'MalformedXML');
  checkRefusal(
    await put(good.replace('<Id>', '<Odd/><Id>')),
    400,
    'MalformedXML',
    'unknown element',
  );
  const got = await send(endpoint, { path: '/bucket', query: 'inventory=&id=all' });
  t.regex(got.text, /<Bucket>arn:aws:s3:::bucket<\/Bucket>/);
  const list = await send(endpoint, { path: '/bucket', query: 'inventory=' });
  t.deepEqual(list.text.match(/<Id>[a-z]+<\/Id>/g), ['<Id>all</Id>', '<Id>two</Id>']);
  const gone = { method: 'DELETE', path: '/bucket', query: 'inventory=&id=all' };
  t.is((await send(endpoint, gone)).status, 204);
  checkRefusal(await send(endpoint, gone), 404, 'NoSuchConfiguration');

  await setQuota(endpoint, { kind: 'bucket', name: 'bucket' }, { bytesMax: 1000 });
  const object = (key: string, size: number): ReturnType<typeof send> =>
    send(endpoint, { method: 'PUT', path: `/bucket/${key}`, body: Buffer.alloc(size) });
  const first = await object('a', 700);
  t.is(first.headers['x-firn-quota-warning'], undefined);
  const second = await object('b', 150);
  t.is(second.headers['x-firn-quota-warning'], 'bucket bytes 85 %');
  checkRefusal(await object('c', 151), 403, 'QuotaExceeded');
  t.is((await send(endpoint, { path: '/bucket/a' })).bytes.length, 700);
  t.is((await send(endpoint, { method: 'DELETE', path: '/bucket/a' })).status, 204);
  t.is((await object('c', 151)).status, 200);
});
