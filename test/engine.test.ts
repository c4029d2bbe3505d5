// The engine against rules A1–A6, B1–B3, B6 and C1–C4, each named by what a user loses without it. The
// auditor (engine-harness.ts) holds every commit of every test to B1, B2, B3 and I1 besides.

import assert from 'node:assert/strict';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { Accounts } from '../appliance/engine/account/accounts.ts';
import { buildEngine } from '../appliance/engine/build.ts';
import { commitObject } from '../appliance/engine/document/commit.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { listGarbage } from '../appliance/engine/document/garbage.ts';
import { rollForward, settleUpload } from '../appliance/engine/upload/multipart-end.ts';
import { collectPage } from '../appliance/engine/upkeep/collect.ts';
import { compactPack, compactSegment } from '../appliance/engine/upkeep/compact.ts';
import { moveVersions, type MovingVersion } from '../appliance/engine/move/move.ts';
import { moveIntoPacks } from '../appliance/engine/move/pack-move.ts';
import { beginPending } from '../appliance/engine/move/restore-run.ts';
import { resumeMoves } from '../appliance/engine/move/resume.ts';
import { namesOf } from '../appliance/engine/document/named.ts';
import { uploadRowId } from '../appliance/engine/document/upload-rows.ts';
import { buildMetadata } from '../appliance/metadata/build.ts';
import type { Bucket } from '../appliance/model/bucket.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { FirnError, isFirnError, type ErrorCode } from '../appliance/model/errors.ts';
import { checksumOf } from '../appliance/model/checksum.ts';
import { compareUtf8, locationBirth, newLocationId, objectId } from '../appliance/model/ids.ts';
import { GRACE_MS } from '../appliance/model/limits.ts';
import type { Location, Pack } from '../appliance/model/location.ts';
import type {
  ObjectDocument,
  Part,
  Upload,
  UploadPart,
  Version,
} from '../appliance/model/object.ts';
import type { MetadataStore, RangeQuery } from '../appliance/model/metadata-store.ts';
import type { NodeGroupTier } from '../appliance/model/node-group.ts';
import type { Garbage, Heal, Move, RestoreRequest } from '../appliance/model/records.ts';
import type { ListVersionsQuery } from '../appliance/model/requests.ts';
import {
  NOON,
  TestClock,
  bigPart,
  buildTiers,
  bytesOf,
  codeOf,
  contextOf,
  crashAt,
  documentOf,
  eventsOf,
  garbageOf,
  cryptoRandom,
  house,
  makeBucket,
  put,
  revive,
  seeded,
  textOf,
  type House,
} from './engine-harness.ts';
import type { Turn } from '../workers/base/worker.ts';
import { UploadsWorker } from '../workers/uploads.ts';
import { Crash, MemoryMetadataStore } from './memory-store.ts';
import type { MemoryTier } from './memory-tier.ts';
import {
  auditBytes,
  collectAll,
  leaseOf,
  newRig,
  put as putOn,
  putParts,
  versionsOf,
  type Rig,
} from './move-rig.ts';
import { findMongod, startMongo } from './peers.ts';

// Tests are declared in one turn: what decides whether one is skipped is known before.
const mongod = await findMongod();
const isMissing = 'missing' in mongod;
const reason = isMissing ? ` (${mongod.missing})` : '';

const name = (key: string): { bucket: string; key: string } => ({ bucket: 'bucket', key });
const nameIn = (rig: Rig, key: string) => ({ bucket: rig.bucket.name, key });
const remove = (key: string, versionId?: string) =>
  versionId === undefined
    ? { ...name(key), owner: 'root' }
    : { ...name(key), owner: 'root', versionId };

/** ava compares buffers byte by byte, in seconds. */
function sameBytes(t: ExecutionContext, got: Uint8Array, wanted: Uint8Array): void {
  t.is(Buffer.compare(got, wanted), 0, `${got.length} bytes are the ${wanted.length} wanted`);
}

/** Runs `act` once, just before the first commit of `table` that asks for it. */
function interpose(h: House, table: string, act: () => Promise<unknown>): void {
  const outer = h.store.beforeCommit;
  let done = false;
  h.store.beforeCommit = async (change) => {
    if (!done && change.table === table) {
      done = true;
      await act();
    }
    return outer?.(change);
  };
}

// A. One document a key.

test('A1: a writer who was overtaken takes nothing from the one who overtook him', async (t) => {
  const h = house();
  await makeBucket(h, 'enabled');
  const other = h.process();
  interpose(h, 'objects', () => other.putObject(put('k', 'overtook')));
  const mine = await h.engine.putObject(put('k', 'overtaken'));
  const { entries } = await h.engine.listVersions(versionsQuery());
  t.is(entries.length, 2);
  t.is(await textOf(h.engine, 'k'), 'overtaken');
  t.is(await textOf(h.engine, 'k', entries[1]?.versionId), 'overtook');
  t.is(entries[0]?.versionId, mine.versionId);
  t.deepEqual(h.counts, ['commit-conflict']);
});

test('A1: twenty writers in four processes, and every acknowledged version stands', async (t) => {
  const h = house();
  await makeBucket(h, 'enabled');
  const processes = [h.engine, h.process(), h.process(), h.process()];
  const bodies = Array.from({ length: 20 }, (_, i) => `body ${i}`);
  const answers = await Promise.all(
    bodies.map((body, i) => (processes[i % 4] as Engine).putObject(put('k', body))),
  );
  const read = await Promise.all(answers.map(({ versionId }) => textOf(h.engine, 'k', versionId)));
  t.deepEqual(read, bodies);
  await h.auditor.everyBlobIsAccountedFor();
});

test('A2: a document read before a removal is not replaced after the key came back', async (t) => {
  const h = house();
  await makeBucket(h);
  await h.engine.putObject(put('k', 'old'));
  const core = h.engine.core;
  const object = objectId((await h.engine.getBucket('bucket')).id, 'k');
  let runs = 0;
  await commitObject(core, {
    object,
    reason: 'move',
    async change(draft) {
      runs += 1;
      if (runs > 1) return;
      const version = draft.current as Version;
      const other = h.process();
      await other.deleteObject(remove('k'));
      await other.putObject(put('k', 'new'));
      await draft.replace({ ...version, storageClass: 'WRONG' });
    },
  });
  t.is(runs, 2);
  t.is(await textOf(h.engine, 'k'), 'new');
  t.is((await h.engine.headObject(name('k'))).version.storageClass, 'STANDARD');
});

test('A3: no location and no version id is ever used twice', async (t) => {
  const h = house();
  await makeBucket(h);
  const ids = new Set<string>();
  for (let i = 0; i < 50; i++) {
    const { version } = await h.engine.putObject(put('k', 'same'));
    ids.add(version.id).add(version.parts[0]?.location.id ?? '');
    await h.engine.deleteObject(remove('k'));
  }
  t.is(ids.size, 100);
});

test('A3: ids are whole also where a sandbox has moved the clock by part of a millisecond', (t) => {
  const id = newLocationId({ wall: () => NOON, now: () => NOON + 1 / 7 }, cryptoRandom);
  t.regex(id, /^[0-9a-f]{32}$/);
  t.is(locationBirth(id), NOON);
});

test('A4: If-None-Match makes one winner of ten, and nine know that they lost', async (t) => {
  const h = house();
  await makeBucket(h);
  const processes = [h.engine, h.process(), h.process()];
  const codes = await Promise.all(
    Array.from({ length: 10 }, (_, i) => {
      const engine = processes[i % 3] as Engine;
      return codeOf(engine.putObject(put('k', `w${i}`, { conditions: { ifNoneMatch: '*' } })));
    }),
  );
  const winner = codes.indexOf('none');
  t.deepEqual(
    codes.toSorted(),
    [...Array.from({ length: 9 }, () => 'PreconditionFailed'), 'none'].toSorted(),
  );
  t.is(await textOf(h.engine, 'k'), `w${winner}`);
  await h.auditor.everyBlobIsAccountedFor();
});

test('A4: If-Match survives a move in between, which changes no etag', async (t) => {
  const h = house();
  await makeBucket(h);
  const { version } = await h.engine.putObject(put('k', 'one'));
  const object = objectId((await h.engine.getBucket('bucket')).id, 'k');
  interpose(h, 'objects', () =>
    commitObject(h.process().core, {
      object,
      reason: 'move',
      change: (draft) => draft.replace({ ...version, lastAccessDay: 7 }),
    }),
  );
  await h.engine.putObject(put('k', 'two', { conditions: { ifMatch: version.etag } }));
  t.is(await textOf(h.engine, 'k'), 'two');
});

test('A4: a conditional writer that never gets through answers 409, others SlowDown', async (t) => {
  const h = house();
  await makeBucket(h);
  h.store.beforeCommit = (change) => (change.table === 'objects' ? 'conflict' : undefined);
  const conditions = { ifNoneMatch: '*' };
  t.is(
    await codeOf(h.engine.putObject(put('k', 'x', { conditions }))),
    'ConditionalRequestConflict',
  );
  t.is(await codeOf(h.engine.putObject(put('k', 'x'))), 'SlowDown');
  await h.auditor.everyBlobIsAccountedFor();
});

test('A5: of a thousand versions of one key each is read, listed and deleted', async (t) => {
  const h = house();
  await makeBucket(h, 'enabled');
  // The auditor reads all versions at each look: one commit in twenty here.
  let commits = 0;
  h.store.beforeCommit = (change) => (commits++ % 20 === 0 ? h.auditor.check(change) : undefined);
  const ids: string[] = [];
  for (let i = 0; i < 1000; i++) {
    ids.push((await h.engine.putObject(put('k', `v${i}`))).versionId as string);
  }
  const document = (await documentOf(h, 'k')) as ObjectDocument;
  t.true(JSON.stringify(document).length < 20 * 1024, 'a listing decodes little');
  t.true(document.history.length <= 8, 'blocks are filled');
  t.true(document.history.every(({ count }) => count <= 256));
  for (const i of [0, 1, 255, 256, 500, 997, 998, 999]) {
    t.is(await textOf(h.engine, 'k', ids[i]), `v${i}`);
  }
  t.deepEqual(
    (await allVersions(h.engine, 77)).map(({ versionId }) => versionId),
    ids.toReversed(),
  );
  const gone = new Set<string>();
  for (let i = 0; i < 1000; i += 3) {
    await h.engine.deleteObject(remove('k', ids[i] as string));
    gone.add(ids[i] as string);
  }
  t.is(
    await codeOf(h.engine.getObject({ ...name('k'), versionId: ids[0] as string })),
    'NoSuchVersion',
  );
  t.deepEqual(
    (await allVersions(h.engine, 1000)).map(({ versionId }) => versionId),
    ids.filter((id) => !gone.has(id)).toReversed(),
  );
  // The newest go, and what lies in the blocks comes up.
  for (const id of ids.toReversed().slice(0, 400)) await h.engine.deleteObject(remove('k', id));
  const newest = ids.slice(0, 600).findLast((id) => !gone.has(id));
  t.is((await h.engine.headObject(name('k'))).versionId, newest);
  await h.auditor.everyBlobIsAccountedFor();
});

test('A5: versions with long lists of grants leave the document all the same', async (t) => {
  const h = house();
  await makeBucket(h, 'enabled');
  const grants = Array.from({ length: 100 }, (_, i) => ({
    grantee: { kind: 'account', id: String(i).padStart(32, 'a') } as const,
    permission: 'READ' as const,
  }));
  for (let i = 0; i < 40; i++) await h.engine.putObject(put('k', `${i}`, { acl: { grants } }));
  const document = await documentOf(h, 'k');
  t.true(JSON.stringify(document).length < 32 * 1024);
  t.is((await allVersions(h.engine, 100)).length, 40);
});

test('A5: the null version is found, replaced and deleted also in a block', async (t) => {
  const h = house();
  await makeBucket(h);
  await h.engine.putObject(put('k', 'before versioning'));
  await setVersioning(h, 'enabled');
  for (let i = 0; i < 100; i++) await h.engine.putObject(put('k', `v${i}`));
  t.false((await documentOf(h, 'k'))?.versions.some((version) => version.isNull));
  t.is(await textOf(h.engine, 'k', 'null'), 'before versioning');
  await setVersioning(h, 'suspended');
  await h.engine.putObject(put('k', 'suspended'));
  t.is(await textOf(h.engine, 'k', 'null'), 'suspended');
  t.is((await allVersions(h.engine, 1000)).filter((one) => one.versionId === 'null').length, 1);
  t.is((await allVersions(h.engine, 1000)).length, 101);
  await h.engine.deleteObject(remove('k', 'null'));
  t.is(await codeOf(h.engine.getObject({ ...name('k'), versionId: 'null' })), 'NoSuchVersion');
  t.is(await textOf(h.engine, 'k'), 'v99');
  await h.auditor.everyBlobIsAccountedFor();
});

test('A5: a reader whose block is rewritten under him reads the document again', async (t) => {
  const h = house();
  await makeBucket(h, 'enabled');
  const ids: string[] = [];
  for (let i = 0; i < 60; i++) {
    ids.push((await h.engine.putObject(put('k', `v${i}`))).versionId as string);
  }
  let rewritten = false;
  h.store.beforeRead = async (table, id) => {
    if (table !== 'blocks' || rewritten) return;
    rewritten = true;
    await h.process().deleteObject(remove('k', ids[1] as string));
    const block = await h.store.get('blocks', id as string);
    if (block !== undefined) await h.store.remove('blocks', block.id, block.revision);
  };
  t.is(await textOf(h.engine, 'k', ids[0]), 'v0');
  t.true(rewritten);
  // A block that a committed document names and that is not there is a loss, said as such.
  h.store.beforeRead = undefined;
  for (const { id, revision } of h.store.rowsOf('blocks'))
    await h.store.remove('blocks', id, revision);
  t.is(await codeOf(h.engine.getObject({ ...name('k'), versionId: ids[0] as string })), 'Corrupt');
});

test('A6: a PUT that comes to a deleted bucket is not acknowledged and leaves nothing', async (t) => {
  const h = house();
  await makeBucket(h);
  interpose(h, 'objects', () => h.process().deleteBucket('bucket'));
  t.is(await codeOf(h.engine.putObject(put('k', 'late'))), 'NoSuchBucket');
  t.deepEqual(h.store.rowsOf('objects'), []);
  t.deepEqual(h.counts, ['creation-undone']);
  await h.auditor.everyBlobIsAccountedFor();
});

test('A6: undoing an overwrite would lose the version beneath: the deletion goes back instead', async (t) => {
  const h = house();
  await makeBucket(h);
  const object = objectId((await h.engine.getBucket('bucket')).id, 'k');
  // The deletion has scanned an empty bucket; then one writer creates the key, another overwrites it.
  const deleting = h.store.get<Bucket>('buckets', 'bucket');
  const row = (await deleting) as NonNullable<Awaited<typeof deleting>>;
  let second: Promise<unknown> | undefined;
  const outer = h.store.beforeCommit;
  let step = 0;
  h.store.beforeCommit = async (change) => {
    if (change.table === 'objects' && step === 0) {
      step = 1;
      const value: Bucket = { ...row.value, state: 'deleting' };
      await h.store.replace({ table: 'buckets', id: 'bucket', expected: row.revision, value });
    }
    return outer?.(change);
  };
  const reads = h.store.beforeRead;
  h.store.beforeRead = async (table) => {
    // The first writer looks at its bucket again: meanwhile the second is on top of its key.
    if (table !== 'buckets' || step !== 1) return;
    step = 2;
    second = commitObject(h.process().core, {
      object,
      reason: 'overwrite',
      async change(draft) {
        const version = draft.current as Version;
        await draft.remove(version);
        draft.prepend({ ...version, id: draft.nextVersionId(), parts: [], sizeBytes: 0 });
      },
    });
    await second;
  };
  await h.engine.putObject(put('k', 'first'));
  h.store.beforeRead = reads;
  await second;
  t.is((await h.engine.getBucket('bucket')).state, 'live');
  t.deepEqual(h.counts, ['bucket-reverted']);
  t.is((await h.engine.headObject(name('k'))).version.sizeBytes, 0);
});

test('A6: a late overwrite is no creation: it takes the deletion back and stays', async (t) => {
  for (const versioning of ['off', 'enabled'] as const) {
    const h = house();
    await makeBucket(h, versioning);
    const first = await h.engine.putObject(put('k', 'acknowledged'));
    interpose(h, 'objects', async () => {
      const row = await h.store.get<Bucket>('buckets', 'bucket');
      assert(row !== undefined);
      const value: Bucket = { ...row.value, state: 'deleting' };
      await h.store.replace({ table: 'buckets', id: 'bucket', expected: row.revision, value });
    });
    await h.engine.putObject(put('k', 'late'));
    t.is((await h.engine.getBucket('bucket')).state, 'live');
    t.is(await textOf(h.engine, 'k'), 'late');
    if (versioning === 'enabled')
      t.is(await textOf(h.engine, 'k', first.versionId), 'acknowledged');
    t.deepEqual(h.counts, ['bucket-reverted']);
  }
});

test('A6: a body that outlives its bucket is not put into the next bucket of that name', async (t) => {
  // Compaction asks the key that bytes were stored for whether they live: it would free them.
  for (const copied of [false, true]) {
    const h = house();
    const id = await makeBucket(h);
    await h.engine.createBucket({ name: 'source', owner: 'root', region: 'local' });
    await h.engine.putObject(put('k', 'of the source', { bucket: 'source' }));
    const replaceBucket = async () => {
      await h.engine.deleteBucket('bucket');
      t.not(await makeBucket(h), id);
    };
    const body = async function* () {
      yield Buffer.from('ou');
      await replaceBucket();
      yield Buffer.from('tlived');
    };
    if (copied) h.hot.before = (action) => (action === 'put' ? replaceBucket() : undefined);
    const writing = copied
      ? h.engine.copyObject({
          ...name('k'),
          source: { bucket: 'source', key: 'k' },
          owner: 'root',
        })
      : h.engine.putObject(put('k', '', { body: body(), sizeBytes: 8 }));
    t.is(await codeOf(writing), 'NoSuchBucket');
    t.deepEqual((await h.engine.listObjects(listQuery())).entries, []);
  }
});

test('A6, C3: taking a late creation back leaves the refusal that a Complete has answered', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 1);
  const answered = Promise.withResolvers<void>();
  let looked = false;
  h.store.beforeRead = async (table) => {
    if (table !== 'buckets' || looked || (await documentRow(h)) === undefined) return;
    // The writer has made the key and looks at its bucket again: late, for a deletion has begun.
    looked = true;
    await answered.promise;
    const row = await h.store.get<Bucket>('buckets', 'bucket');
    assert(row !== undefined);
    const value: Bucket = { ...row.value, state: 'deleting' };
    await h.store.replace({ table: 'buckets', id: 'bucket', expected: row.revision, value });
  };
  let writing: Promise<ErrorCode | 'none'> | undefined;
  interpose(h, 'uploads', async () => {
    writing = codeOf(h.process().putObject(put('k', 'late')));
    while (!looked) await turn();
  });
  const refused = complete('k', begun, { conditions: { ifNoneMatch: '*' } });
  t.is(await codeOf(h.engine.completeUpload(refused)), 'PreconditionFailed');
  answered.resolve();
  t.is(await writing, 'NoSuchBucket');
  const document = (await documentRow(h))?.value;
  t.deepEqual(document?.versions, []);
  t.deepEqual(Object.values(document?.operations ?? {}), ['refused']);
});

test('A6: a bucket with a key, a version or a marker is not deleted, and stays usable', async (t) => {
  const h = house();
  await makeBucket(h, 'enabled');
  await h.engine.putObject(put('k', 'x'));
  t.is(await codeOf(h.engine.deleteBucket('bucket')), 'BucketNotEmpty');
  const { versionId } = await h.engine.headObject(name('k'));
  const marker = await h.engine.deleteObject(remove('k'));
  await h.engine.deleteObject(remove('k', versionId as string));
  t.is(await codeOf(h.engine.deleteBucket('bucket')), 'BucketNotEmpty');
  await h.engine.putObject(put('k', 'again'));
  const again = await h.engine.headObject(name('k'));
  for (const id of [marker.versionId, again.versionId]) {
    await h.engine.deleteObject(remove('k', id as string));
  }
  await h.engine.deleteBucket('bucket');
  t.is(await codeOf(h.engine.getBucket('bucket')), 'NoSuchBucket');
});

test('A6: a deletion that died half way is taken up, and a key found by then is kept', async (t) => {
  for (const holdsKey of [false, true]) {
    const h = house();
    await makeBucket(h);
    if (holdsKey) await h.engine.putObject(put('k', 'kept'));
    const row = await h.store.get<Bucket>('buckets', 'bucket');
    assert(row !== undefined);
    const value: Bucket = { ...row.value, state: 'deleting' };
    await h.store.replace({ table: 'buckets', id: 'bucket', expected: row.revision, value });
    t.is(await codeOf(h.engine.putObject(put('n', 'x'))), 'NoSuchBucket');
    t.is(await codeOf(h.engine.getBucket('bucket')), 'NoSuchBucket');
    const engine = h.process();
    const made = await engine.createBucket({ name: 'bucket', owner: 'root', region: 'local' });
    t.is(made.state, 'live');
    t.is(made.id === row.value.id, holdsKey);
    if (holdsKey) t.is(await textOf(engine, 'k'), 'kept');
  }
});

test('A6: keys and bucket deletions at random: what was acknowledged is in a live bucket', async (t) => {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const next = seeded(seed);
  for (let round = 0; round < 30; round++) {
    const h = house();
    await makeBucket(h);
    const wait = async (): Promise<void> => {
      for (let i = Math.floor(next() * 4); i > 0; i--) await turn();
    };
    h.store.beforeRead = wait;
    const outer = h.store.beforeCommit;
    h.store.beforeCommit = async (change) => {
      await wait();
      return outer?.(change);
    };
    const acknowledged: string[] = [];
    const work = Array.from({ length: 8 }, async (_, i) => {
      const engine = h.process();
      await wait();
      if (i < 3) {
        await codeOf(engine.deleteBucket('bucket'));
        return;
      }
      const key = `k${i % 2}`;
      const code = await codeOf(engine.putObject(put(key, `body ${i}`)));
      if (code === 'none') acknowledged.push(key);
      else t.is(code, 'NoSuchBucket');
    });
    await Promise.all(work);
    h.store.beforeRead = undefined;
    // A deletion is done or taken back by now.
    const row = await h.store.get<Bucket>('buckets', 'bucket');
    if (acknowledged.length > 0) t.is(row?.value.state, 'live');
    for (const key of acknowledged) t.regex(await textOf(h.engine, key), /^body/);
  }
});

// B. Bytes are freed late.

test('B1: what an overwrite, a delete and a marker stop naming is listed first, once', async (t) => {
  const h = house();
  await makeBucket(h);
  const first = await h.engine.putObject(put('k', 'one'));
  await h.engine.putObject(put('k', 'two'));
  const id = first.version.parts[0]?.location.id as string;
  const object = objectId(first.bucket.id, 'k');
  t.like(garbageOf(h).get(id), { object, notBefore: NOON + GRACE_MS, reason: 'overwrite' });
  t.true(h.hot.blobs.has(id), 'bytes are freed by the collector alone');
  const second = (await h.engine.headObject(name('k'))).version.parts[0]?.location.id as string;
  await h.engine.deleteObject(remove('k'));
  t.is(garbageOf(h).get(second)?.reason, 'delete');
  t.deepEqual(h.store.rowsOf('objects'), []);
  // The auditor saw each commit's listing; it must have seen all.
  t.is(h.auditor.checked, 3);
});

test('B1: listing again moves the instant away, never nearer, and leaves a condemned row', async (t) => {
  const h = house();
  await makeBucket(h);
  const { version, bucket } = await h.engine.putObject(put('k', 'x'));
  const location = version.parts[0]?.location as Location;
  const { context } = h.engine.core;
  const listing = { object: objectId(bucket.id, 'k'), reason: 'move' } as const;
  const released = { locations: [location], blocks: [] };
  await listGarbage(context, released, listing);
  h.clock.at += 1000;
  await listGarbage(context, released, listing);
  t.is(garbageOf(h).get(location.id)?.notBefore, NOON + 1000 + GRACE_MS);
  h.clock.at -= 500;
  await listGarbage(context, released, listing);
  t.is(garbageOf(h).get(location.id)?.notBefore, NOON + 1000 + GRACE_MS);
  const row = await h.store.get<Garbage>('garbage', location.id);
  const value: Garbage = { ...(row?.value as Garbage), condemned: true };
  await h.store.replace({
    table: 'garbage',
    id: location.id,
    expected: row?.revision ?? '',
    value,
  });
  h.clock.at += 5000;
  await listGarbage(context, released, listing);
  t.is(garbageOf(h).get(location.id)?.notBefore, NOON + 1000 + GRACE_MS);
});

test('B2: a commit that slept for two hours after its listing lists again', async (t) => {
  const h = house();
  await makeBucket(h);
  const { version } = await h.engine.putObject(put('k', 'one'));
  let slept = false;
  const outer = h.store.beforeCommit;
  h.store.beforeCommit = (change) => {
    if (change.table === 'objects' && !slept) {
      slept = true;
      h.clock.at += 2 * 3_600_000;
      return undefined;
    }
    return outer?.(change);
  };
  await h.engine.putObject(put('k', 'two'));
  t.is(await textOf(h.engine, 'k'), 'two');
  t.is(
    garbageOf(h).get(version.parts[0]?.location.id ?? '')?.notBefore,
    NOON + 2 * 3_600_000 + GRACE_MS,
  );
  t.deepEqual(h.counts, ['commit-expired']);
});

test('B3: bytes that took half a day to arrive are not named, but listed', async (t) => {
  const h = house();
  await makeBucket(h);
  h.hot.before = (action) => {
    if (action === 'put') h.clock.at += GRACE_MS / 2 + 1;
  };
  t.is(await codeOf(h.engine.putObject(put('k', 'slow'))), 'ServiceUnavailable');
  t.is(await documentOf(h, 'k'), undefined);
  t.deepEqual(
    [...garbageOf(h).values()].map(({ reason }) => reason),
    ['lost'],
  );
  // The same where the time passes inside the commit.
  h.hot.before = undefined;
  h.store.beforeCommit = (change) => {
    if (change.table === 'objects') h.clock.at += GRACE_MS / 2 + 1;
    return undefined;
  };
  t.is(await codeOf(h.engine.putObject(put('k', 'slow'))), 'ServiceUnavailable');
  t.is(await documentOf(h, 'k'), undefined);
  await h.auditor.everyBlobIsAccountedFor();
});

test('B6: in doubt nothing is listed, nothing is repeated, and both outcomes are whole', async (t) => {
  for (const fault of ['doubt-done', 'doubt-lost'] as const) {
    const h = house();
    await makeBucket(h);
    const { version } = await h.engine.putObject(put('k', 'old'));
    let asked = 0;
    h.store.beforeCommit = (change) => {
      if (change.table !== 'objects') return undefined;
      asked += 1;
      return fault;
    };
    t.is(await codeOf(h.engine.putObject(put('k', 'new'))), 'MetadataUnavailable');
    t.is(asked, 1);
    h.store.beforeCommit = undefined;
    t.is(await textOf(h.engine, 'k'), fault === 'doubt-done' ? 'new' : 'old');
    // The old bytes were listed before (B1); the new ones never.
    t.deepEqual([...garbageOf(h).keys()], [version.parts[0]?.location.id]);
  }
});

test('a writer that loses for good lists its bytes, and a refused one too', async (t) => {
  const h = house();
  await makeBucket(h);
  await h.engine.putObject(put('k', 'there'));
  // Refused by the early look: no bytes were written at all.
  const conditions = { ifNoneMatch: '*' };
  t.is(await codeOf(h.engine.putObject(put('k', 'x', { conditions }))), 'PreconditionFailed');
  t.is(h.hot.blobs.size, 1);
  // Refused at the commit.
  interpose(h, 'objects', () => h.process().putObject(put('n', 'first')));
  t.is(await codeOf(h.engine.putObject(put('n', 'second', { conditions }))), 'PreconditionFailed');
  t.deepEqual(
    [...garbageOf(h).values()].map(({ reason }) => reason),
    ['lost'],
  );
  await h.auditor.everyBlobIsAccountedFor();
});

test('bytes short of full redundancy are on the heal list before they are acknowledged', async (t) => {
  const h = house();
  await makeBucket(h);
  h.hot.unconfirmed = 0b100;
  let listedBefore = false;
  const outer = h.store.beforeCommit;
  h.store.beforeCommit = (change) => {
    if (change.table === 'objects') listedBefore = h.store.rowsOf('heals').length === 1;
    return outer?.(change);
  };
  const { version } = await h.engine.putObject(put('k', 'x'));
  t.true(listedBefore);
  t.like(h.store.rowsOf<Heal>('heals')[0]?.value, {
    location: version.parts[0]?.location,
    attempts: 0,
  });
});

// Crashes.

test('a PUT that dies at any step leaves the old object or the new one, whole', async (t) => {
  for (const when of ['before', 'after'] as const) {
    for (let nth = 1; nth <= 4; nth++) {
      const h = house();
      await makeBucket(h);
      await h.engine.putObject(put('k', 'old'));
      crashAt(h.store, nth, when);
      const answered = await h.engine.putObject(put('k', 'new')).then(
        () => true,
        () => false,
      );
      revive(h);
      const engine = h.process();
      const text = await textOf(engine, 'k');
      t.true(text === 'new' || (text === 'old' && !answered), `${when} ${nth}: ${text}`);
      await engine.putObject(put('k', 'newer'));
      t.is(await textOf(engine, 'k'), 'newer');
    }
  }
});

test('a DELETE that dies at any step has happened or not, and a repeat ends it', async (t) => {
  for (const versioning of ['off', 'enabled'] as const) {
    for (const when of ['before', 'after'] as const) {
      for (let nth = 1; nth <= 3; nth++) {
        const h = house();
        await makeBucket(h, versioning);
        await h.engine.putObject(put('k', 'old'));
        crashAt(h.store, nth, when);
        await h.engine.deleteObject(remove('k')).catch(() => undefined);
        revive(h);
        const engine = h.process();
        const code = await codeOf(engine.getObject(name('k')));
        t.true(code === 'NoSuchKey' || code === 'none');
        await engine.deleteObject(remove('k'));
        t.is(await codeOf(engine.getObject(name('k'))), 'NoSuchKey');
      }
    }
  }
});

// C. Multipart.

interface Begun {
  uploadId: string;
  parts: { number: number; etag: string }[];
  bytes: Buffer;
}

/** An upload of `count` parts; all but the last of 5 MiB. */
async function begin(engine: Engine, key: string, count = 2): Promise<Begun> {
  const { uploadId } = await engine.createUpload({
    ...name(key),
    owner: 'root',
    storageClass: 'STANDARD',
    headers: { 'content-type': 'text/x' },
    metadata: { m: '1' },
  });
  const parts: Begun['parts'] = [];
  const bodies: Buffer[] = [];
  for (let number = 1; number <= count; number++) {
    const body = number < count ? bigPart(number) : Buffer.from(`end of ${key}`);
    bodies.push(body);
    const { etag } = await engine.putPart({ ...name(key), uploadId, number, body });
    parts.push({ number, etag });
  }
  return { uploadId, parts, bytes: Buffer.concat(bodies) };
}

const complete = (key: string, begun: Begun, more: object = {}) => ({
  ...name(key),
  uploadId: begun.uploadId,
  parts: begun.parts,
  owner: 'root',
  ...more,
});

const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

async function documentRow(h: House): Promise<{ value: ObjectDocument } | undefined> {
  return h.store.rowsOf<ObjectDocument>('objects')[0];
}

async function uploadRow(h: House): Promise<{ id: string; revision: string; value: Upload }> {
  const row = h.store.rowsOf<Upload>('uploads')[0];
  assert(row !== undefined);
  return row;
}

test('an upload becomes an object: bytes, etag, parts, and the rows are gone', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 3);
  const listed = await h.engine.listParts({
    ...name('k'),
    uploadId: begun.uploadId,
    after: 1,
    limit: 1,
  });
  t.deepEqual([listed.parts.map((part) => part.number), listed.next], [[2], 2]);
  const { version } = await h.engine.completeUpload(complete('k', begun));
  const sums = begun.parts.map(({ etag }) => etag).join('');
  t.is(version.etag, `${md5(Buffer.from(sums, 'hex'))}-3`);
  const got = await h.engine.getObject(name('k'));
  t.is(md5(await bytesOf(got.body)), md5(begun.bytes));
  t.deepEqual(
    [got.version.headers, got.version.metadata],
    [{ 'content-type': 'text/x' }, { m: '1' }],
  );
  const part = await h.engine.getObject({ ...name('k'), partNumber: 2 });
  t.deepEqual(part.range, { offset: 5 * 1024 * 1024, length: 5 * 1024 * 1024 });
  t.is(md5(await bytesOf(part.body)), begun.parts[1]?.etag ?? '');
  t.is(await codeOf(h.engine.getObject({ ...name('k'), partNumber: 4 })), 'InvalidPart');
  // A range over the seam of two parts.
  const range = { offset: 5 * 1024 * 1024 - 10, length: 20 };
  const seam = await h.engine.getObject({ ...name('k'), range });
  sameBytes(t, await bytesOf(seam.body), begun.bytes.subarray(range.offset, range.offset + 20));
  t.deepEqual(h.store.rowsOf('parts'), []);
  t.deepEqual([...garbageOf(h)], []);
  t.deepEqual(eventsOf(h), ['s3:ObjectCreated:CompleteMultipartUpload']);
});

test('C1: a part that arrives while its upload is aborted leaves no row and no bytes', async (t) => {
  const h = house();
  await makeBucket(h);
  const { uploadId } = await begin(h.engine, 'k', 1);
  interpose(h, 'parts', () => h.process().abortUpload({ ...name('k'), uploadId }));
  const late = h.engine.putPart({ ...name('k'), uploadId, number: 2, body: Buffer.from('late') });
  t.is(await codeOf(late), 'NoSuchUpload');
  t.deepEqual(h.store.rowsOf('parts'), []);
  t.is(garbageOf(h).size, 2, 'both parts are listed');
  t.is((await uploadRow(h)).value.state, 'aborted');
  const again = h.engine.putPart({ ...name('k'), uploadId, number: 2, body: Buffer.from('x') });
  t.is(await codeOf(again), 'NoSuchUpload');
  t.is(await codeOf(h.engine.abortUpload({ ...name('k'), uploadId })), 'NoSuchUpload');
  t.is(
    await codeOf(
      h.engine.completeUpload(
        complete('k', { uploadId, parts: [{ number: 1, etag: 'x' }], bytes: Buffer.alloc(0) }),
      ),
    ),
    'NoSuchUpload',
  );
  t.is(await documentOf(h, 'k'), undefined);
});

test('C1: a part replaced under a Complete: the object has the part that was chosen', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 1);
  const { uploadId } = begun;
  // The part's writer has seen the upload open; its row comes between `completing` and the commit.
  const completing = Promise.withResolvers<void>();
  const written = Promise.withResolvers<void>();
  interpose(h, 'objects', async () => {
    completing.resolve();
    await written.promise;
  });
  let completed: Promise<unknown> | undefined;
  h.hot.before = async () => {
    h.hot.before = undefined;
    completed = h.engine.completeUpload(complete('k', begun));
    await completing.promise;
  };
  await h
    .process()
    .putPart({ ...name('k'), uploadId, number: 1, body: Buffer.from('other') })
    .finally(written.resolve);
  await completed;
  sameBytes(t, await bytesOf((await h.engine.getObject(name('k'))).body), begun.bytes);
  t.deepEqual(h.store.rowsOf('parts'), []);
  t.is(garbageOf(h).size, 1, 'the part that came late');
  await h.auditor.everyBlobIsAccountedFor();
});

test('C1, C4: a replaced part stays named by its row until the upload ends', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 1);
  const { uploadId } = begun;
  const [before] = h.store.rowsOf<UploadPart>('parts');
  const old = before?.value.location.id as string;
  const { etag } = await h.engine.putPart({
    ...name('k'),
    uploadId,
    number: 1,
    body: Buffer.from('new'),
  });
  const object = objectId((await h.engine.getBucket('bucket')).id, 'k');
  const isNamed = async () => (await namesOf(h.store, object, [uploadId])).locations.has(old);
  t.true(await isNamed());
  t.deepEqual([...garbageOf(h)], []);
  t.is(await codeOf(h.engine.completeUpload(complete('k', begun))), 'InvalidPart');
  await h.engine.completeUpload(complete('k', { ...begun, parts: [{ number: 1, etag }] }));
  t.deepEqual([...garbageOf(h).keys()], [old]);
  t.false(await isNamed(), 'an ended upload names nothing');
  t.is(await textOf(h.engine, 'k'), 'new');
});

test('C2: a second roll-forward does not undo an acknowledged DELETE', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 1);
  const late = h.process();
  let slow: Upload | undefined;
  interpose(h, 'objects', async () => {
    slow = (await uploadRow(h)).value;
  });
  // The other process has read the completing upload and sleeps over Complete and DELETE.
  const outerRead = h.store.beforeRead;
  await h.engine.completeUpload(complete('k', begun));
  await h.engine.deleteObject(remove('k'));
  h.store.beforeRead = outerRead;
  t.is(slow?.state, 'completing');
  // Put back what it saw: its own read of the upload's row lies before both.
  const row = await uploadRow(h);
  const replaced = await h.store.replace({
    table: 'uploads',
    id: row.id,
    expected: row.revision,
    value: slow as Upload,
  });
  t.is(replaced.outcome, 'done');
  t.is((await rollForward(late.core, slow as Upload)).outcome, 'completed');
  t.is(await codeOf(h.engine.getObject(name('k'))), 'NoSuchKey');
  t.deepEqual((await h.engine.listObjects(listQuery())).entries, []);
  await h.engine.deleteBucket('bucket');
});

test('C2, A6: a Complete that was answered is not undone by its other roller when the bucket is to go', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 1);
  const other = h.process();
  let committed = false;
  h.store.beforeRead = async (table) => {
    if (table !== 'buckets' || committed || (await documentRow(h)) === undefined) return;
    // This roller has committed and is about to look at its bucket: the client has asked again
    // elsewhere and has got its answer, and now a deletion has begun.
    committed = true;
    await other.completeUpload(complete('k', begun));
    const row = await h.store.get<Bucket>('buckets', 'bucket');
    assert(row !== undefined);
    const value: Bucket = { ...row.value, state: 'deleting' };
    await h.store.replace({ table: 'buckets', id: 'bucket', expected: row.revision, value });
  };
  await h.engine.completeUpload(complete('k', begun)).catch(() => undefined);
  t.true(committed);
  h.store.beforeRead = undefined;
  // Whoever deletes goes on, and finds the key.
  t.is(await codeOf(h.process().deleteBucket('bucket')), 'BucketNotEmpty');
  t.is(await textOf(h.engine, 'k'), 'end of k');
});

test('C2: a repeated Complete answers the same for two days, and another list is refused', async (t) => {
  const h = house();
  await makeBucket(h, 'enabled');
  const begun = await begin(h.engine, 'k', 2);
  const first = await h.engine.completeUpload(complete('k', begun));
  await h.engine.putObject(put('k', 'newer'));
  const again = await h.process().completeUpload(complete('k', begun));
  t.is(again.versionId, first.versionId);
  t.is(again.version.etag, first.version.etag);
  t.is(await textOf(h.engine, 'k'), 'newer', 'and nothing was done again');
  const other = { ...begun, parts: begun.parts.slice(0, 1) };
  t.is(await codeOf(h.engine.completeUpload(complete('k', other))), 'NoSuchUpload');
  const row = await uploadRow(h);
  t.false(await settleUpload(h.engine.core, row));
  h.clock.at += 49 * 3_600_000;
  t.true(await settleUpload(h.engine.core, await uploadRow(h)));
  t.is(await codeOf(h.engine.completeUpload(complete('k', begun))), 'NoSuchUpload');
  t.is((await documentOf(h, 'k'))?.operations, undefined);
  t.is((await allVersions(h.engine, 10)).length, 2);
});

test('C2: a Complete that dies at any step is completed by its repeat, once', async (t) => {
  for (const count of [2, 66]) {
    for (const when of ['before', 'after'] as const) {
      for (let nth = 1; nth <= 5; nth++) {
        const h = house();
        await makeBucket(h, 'enabled');
        const begun = count === 2 ? await begin(h.engine, 'k', 2) : await beginMany(h, 'k', count);
        crashAt(h.store, nth, when);
        await h.engine.completeUpload(complete('k', begun)).catch(() => undefined);
        revive(h);
        const engine = h.process();
        const answer = await engine.completeUpload(complete('k', begun));
        t.is(answer.version.partCount, count, `${when} ${nth}`);
        if (count === 2)
          sameBytes(t, await bytesOf((await engine.getObject(name('k'))).body), begun.bytes);
        t.is((await allVersions(engine, 10)).length, 1, `${when} ${nth}: once`);
        await settleUpload(engine.core, await uploadRow(h));
        t.deepEqual(h.store.rowsOf('parts'), []);
      }
    }
  }
});

test('C2: a worker completes what a dead Complete began', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 2);
  crashAt(h.store, 1, 'after');
  await t.throwsAsync(h.engine.completeUpload(complete('k', begun)));
  revive(h);
  const engine = h.process();
  t.is((await uploadRow(h)).value.state, 'completing');
  t.deepEqual((await engine.listUploads(uploadsQuery())).uploads.length, 1);
  await settleUpload(engine.core, await uploadRow(h));
  t.is((await uploadRow(h)).value.state, 'completed');
  t.is((await engine.headObject(name('k'))).version.sizeBytes, begun.bytes.length);
});

test('a bucket whose end can not be made keeps no other, and no Complete, from theirs', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 2);
  crashAt(h.store, 1, 'after');
  await t.throwsAsync(h.engine.completeUpload(complete('k', begun)));
  revive(h);
  const engine = h.process();
  for (const id of ['a-damaged', 'b-ended']) {
    await engine.createBucket({ name: id, owner: 'root', region: 'local' });
    const row = await h.store.get<Bucket>('buckets', id);
    assert(row !== undefined);
    const value: Bucket = { ...row.value, state: 'deleting' };
    await h.store.replace({ table: 'buckets', id, expected: row.revision, value });
  }
  h.store.beforeCommit = ({ kind, id }) => {
    if (kind !== 'remove' || id !== 'a-damaged') return undefined;
    throw new FirnError('Corrupt', 'a metadata record fails its checksum');
  };
  h.clock.at += 3_600_000;
  const worker = new UploadsWorker(engine.core, () => undefined);
  const nothing = (): Promise<void> => Promise.resolve();
  const one = { lease: { check: nothing }, rest: nothing, report: nothing } as unknown as Turn;
  t.is(await codeOf(worker.run(one)), 'Corrupt', 'it is not kept quiet');
  const left = h.store.rowsOf<Bucket>('buckets').map(({ id }) => id);
  t.deepEqual(left, ['a-damaged', 'bucket']);
  t.is((await uploadRow(h)).value.state, 'completed');
});

test('C2: versioning enabled while a Complete lay dead: the null version of before is kept', async (t) => {
  const h = house();
  await makeBucket(h);
  await h.engine.putObject(put('k', 'precious'));
  const begun = await begin(h.engine, 'k', 1);
  // It dies behind the row that says what is to be committed.
  crashAt(h.store, 2, 'before');
  await h.engine.completeUpload(complete('k', begun)).catch(() => undefined);
  revive(h);
  t.is((await uploadRow(h)).value.state, 'completing');
  const engine = h.process();
  await engine.updateBucket('bucket', (old) => ({ ...old, versioning: 'enabled' }));
  await settleUpload(engine.core, await uploadRow(h));
  const { entries } = await engine.listVersions(versionsQuery());
  t.deepEqual(
    entries.map(({ version }) => version.isNull),
    [false, true],
  );
  t.is(await textOf(engine, 'k', 'null'), 'precious');
  const repeated = await engine.completeUpload(complete('k', begun));
  t.is(repeated.versionId, entries[0]?.versionId);
});

test('C3: 412 at a Complete is recorded: no late roll-forward commits the object after it', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 2);
  let slow: Upload | undefined;
  const conditions = { ifNoneMatch: '*' };
  // The condition held at the first look and is false at the commit.
  interpose(h, 'objects', async () => {
    slow = (await uploadRow(h)).value;
    await h.process().putObject(put('k', 'was first'));
  });
  t.is(
    await codeOf(h.engine.completeUpload(complete('k', begun, { conditions }))),
    'PreconditionFailed',
  );
  t.is((await uploadRow(h)).value.state, 'open');
  await h.engine.deleteObject(remove('k'));
  // The late one finds the upload open, or as it remembers it: neither makes an object.
  t.is((await rollForward(h.process().core, slow as Upload)).outcome, 'ended');
  const row = await uploadRow(h);
  const change = {
    table: 'uploads',
    id: row.id,
    expected: row.revision,
    value: slow as Upload,
  } as const;
  await h.store.replace(change);
  t.is((await rollForward(h.process().core, slow as Upload)).outcome, 'refused');
  t.is(await codeOf(h.engine.headObject(name('k'))), 'NoSuchKey');
  // And the client's next attempt is an operation of its own.
  await h.engine.completeUpload(complete('k', begun, { conditions }));
  t.is((await h.engine.headObject(name('k'))).version.partCount, 2);
});

test('C3: If-Match at a Complete on an absent key is NoSuchKey, and the upload stays open', async (t) => {
  const h = house();
  await makeBucket(h);
  const begun = await begin(h.engine, 'k', 1);
  const conditions = { ifMatch: '*' };
  t.is(await codeOf(h.engine.completeUpload(complete('k', begun, { conditions }))), 'NoSuchKey');
  await h.engine.completeUpload(complete('k', begun));
  t.is((await h.engine.headObject(name('k'))).version.partCount, 1);
});

test('C4: parts of an open upload are never listed, those of an ended one all are', async (t) => {
  const h = house();
  await makeBucket(h);
  const { uploadId } = await begin(h.engine, 'k', 3);
  await h.engine.putPart({ ...name('k'), uploadId, number: 2, body: Buffer.from('x') });
  t.is(garbageOf(h).size, 0);
  await h.engine.abortUpload({ ...name('k'), uploadId });
  t.is(garbageOf(h).size, 4);
  for (const row of garbageOf(h).values()) {
    t.is(row.uploadId, uploadId);
    t.is(row.notBefore, NOON + GRACE_MS);
  }
  await h.auditor.everyBlobIsAccountedFor();
});

test('C4: an abort that dies at any step is ended by a worker, and no part is left', async (t) => {
  for (const when of ['before', 'after'] as const) {
    for (let nth = 1; nth <= 6; nth++) {
      const h = house();
      await makeBucket(h);
      const begun = await begin(h.engine, 'k', 2);
      const upload = { ...name('k'), uploadId: begun.uploadId };
      crashAt(h.store, nth, when);
      await h.engine.abortUpload(upload).catch(() => undefined);
      revive(h);
      const engine = h.process();
      if ((await uploadRow(h)).value.state === 'open') await engine.abortUpload(upload);
      await settleUpload(engine.core, await uploadRow(h));
      t.is((await uploadRow(h)).value.state, 'aborted');
      t.deepEqual(h.store.rowsOf('parts'), []);
      await h.auditor.everyBlobIsAccountedFor();
    }
  }
});

/**
 * Rows of parts written beside the engine, said to be of 5 MiB: what matters here is their number. Such
 * an object is never read.
 */
async function beginMany(h: House, key: string, count: number): Promise<Begun> {
  const begun = await begin(h.engine, key, 1);
  const { uploadId } = begun;
  const model = h.store.rowsOf<UploadPart>('parts')[0];
  assert(model !== undefined);
  await h.store.remove('parts', model.id, model.revision);
  const parts: Begun['parts'] = [];
  for (let number = 1; number <= count; number++) {
    const body = Buffer.from(`part ${number};`);
    const digits = String(number).padStart(5, '0');
    const id = `${model.value.location.id.slice(0, 27)}${digits}`;
    const { location, checksum } = await h.hot.put({ id, body, owner: { bucketId: '', key } });
    const etag = md5(body);
    const sizeBytes = 5 * 1024 * 1024;
    const row = { ...model.value, number, location, checksum, etag, sizeBytes };
    await h.store.insert('parts', `${uploadId}/${digits}`, row);
    parts.push({ number, etag });
  }
  return { uploadId, parts, bytes: Buffer.alloc(0) };
}

// Reading.

test('ranges and parts: exactly the bytes asked for, 416 past the end and on nothing', async (t) => {
  const h = house();
  await makeBucket(h);
  await h.engine.putObject(put('k', '0123456789'));
  await h.engine.putObject(put('empty', ''));
  const read = async (offset: number, length: number): Promise<string> => {
    const answer = await h.engine.getObject({ ...name('k'), range: { offset, length } });
    return `${answer.range.offset}+${answer.range.length} ${(await bytesOf(answer.body)).toString()}`;
  };
  t.is(await read(0, 1), '0+1 0');
  t.is(await read(3, 1000), '3+7 3456789');
  t.is(await read(-3, 3), '7+3 789');
  t.is(await read(-30, 30), '0+10 0123456789');
  t.is(await codeOf(read(10, 1)), 'InvalidRange');
  t.is(
    await codeOf(h.engine.getObject({ ...name('empty'), range: { offset: 0, length: 1 } })),
    'InvalidRange',
  );
  t.is(
    await codeOf(h.engine.getObject({ ...name('empty'), range: { offset: -5, length: 5 } })),
    'InvalidRange',
  );
  t.is(await textOf(h.engine, 'empty'), '');
  t.is((await h.engine.headObject(name('empty'))).version.parts.length, 0);
  const part = await h.engine.headObject({ ...name('k'), partNumber: 1 });
  t.deepEqual([part.range, part.partial], [{ offset: 0, length: 10 }, true]);
  t.is(await codeOf(h.engine.headObject({ ...name('k'), partNumber: 2 })), 'InvalidPart');
});

test('conditions on reading follow RFC 9110, to the second', async (t) => {
  const h = house();
  await makeBucket(h);
  const { version } = await h.engine.putObject(put('k', 'x'));
  const { etag } = version;
  h.clock.at += 400;
  const at = NOON;
  const table: [object, ErrorCode | 'none'][] = [
    [{ ifMatch: etag }, 'none'],
    [{ ifMatch: `"${etag}"` }, 'none'],
    [{ ifMatch: `"a", "${etag}"` }, 'none'],
    [{ ifMatch: '*' }, 'none'],
    [{ ifMatch: 'other' }, 'PreconditionFailed'],
    [{ ifMatch: etag, ifUnmodifiedSince: at - 5000 }, 'none'],
    [{ ifUnmodifiedSince: at - 5000 }, 'PreconditionFailed'],
    [{ ifUnmodifiedSince: at }, 'none'],
    [{ ifNoneMatch: etag }, 'NotModified'],
    [{ ifNoneMatch: 'other' }, 'none'],
    [{ ifNoneMatch: 'other', ifModifiedSince: at + 5000 }, 'none'],
    [{ ifModifiedSince: at }, 'NotModified'],
    [{ ifModifiedSince: at - 5000 }, 'none'],
    [{ ifMatch: 'other', ifNoneMatch: etag }, 'PreconditionFailed'],
  ];
  for (const [conditions, code] of table) {
    t.is(
      await codeOf(h.engine.headObject({ ...name('k'), conditions })),
      code,
      JSON.stringify(conditions),
    );
  }
});

test('conditions on writing and deleting: absent keys, markers, sizes and dates', async (t) => {
  const h = house();
  await makeBucket(h, 'enabled');
  const write = (key: string, conditions: object) =>
    codeOf(h.engine.putObject(put(key, 'x', { conditions })));
  const drop = (key: string, conditions: object) =>
    codeOf(h.engine.deleteObject({ ...remove(key), conditions }));
  const { version } = await h.engine.putObject(put('k', 'x'));
  const { etag } = version;
  t.is(await write('k', { ifNoneMatch: '*' }), 'PreconditionFailed');
  t.is(await write('k', { ifNoneMatch: etag }), 'PreconditionFailed');
  t.is(await write('k', { ifNoneMatch: 'other' }), 'none');
  t.is(await write('k', { ifMatch: 'other' }), 'PreconditionFailed');
  t.is(await write('k', { ifMatch: etag }), 'none');
  t.is(await write('absent', { ifMatch: '*' }), 'NoSuchKey');
  t.is(await drop('absent', { ifMatch: 'other' }), 'none', 'an absent key is no error');
  t.is(await drop('k', { ifMatch: 'other' }), 'PreconditionFailed');
  t.is(await drop('k', { ifMatchSize: 2 }), 'PreconditionFailed');
  t.is(await drop('k', { ifMatchLastModified: NOON - 2000 }), 'PreconditionFailed');
  t.is(await drop('k', { ifMatch: etag, ifMatchSize: 1, ifMatchLastModified: NOON }), 'none');
  // A marker is current now.
  t.is(await write('k', { ifMatch: etag }), 'NoSuchKey');
  t.is(await drop('k', { ifMatch: etag }), 'PreconditionFailed');
  t.is(await drop('k', { ifMatchSize: 0 }), 'PreconditionFailed');
  t.is(await drop('k', { ifMatch: '*' }), 'none');
  t.is(await write('k', { ifNoneMatch: '*' }), 'none');
  const byId = { ...remove('k', version.id), conditions: { ifMatch: 'other' } };
  t.is(await codeOf(h.engine.deleteObject(byId)), 'PreconditionFailed');
});

test('versions, markers and null versions answer as S3 has it', async (t) => {
  const h = house();
  await makeBucket(h);
  t.is((await h.engine.putObject(put('k', 'null'))).versionId, undefined);
  t.is(await textOf(h.engine, 'k', 'null'), 'null');
  await setVersioning(h, 'enabled');
  const one = await h.engine.putObject(put('k', 'one'));
  t.regex(one.versionId ?? '', /^[0-9a-f]{28}$/);
  const marker = await h.engine.deleteObject(remove('k'));
  t.true(marker.deleteMarker);
  const current = await t.throwsAsync<FirnError>(h.engine.getObject(name('k')));
  t.is(current?.code, 'NoSuchKey');
  t.deepEqual(
    [current?.details?.['DeleteMarker'], current?.details?.['VersionId']],
    ['true', marker.versionId],
  );
  t.is(
    await codeOf(h.engine.headObject({ ...name('k'), versionId: marker.versionId as string })),
    'MethodNotAllowed',
  );
  t.is(await textOf(h.engine, 'k', one.versionId), 'one');
  t.is(await textOf(h.engine, 'k', 'null'), 'null');
  t.is(
    await codeOf(h.engine.headObject({ ...name('k'), versionId: 'nonsense' })),
    'InvalidArgument',
  );
  t.is(
    await codeOf(h.engine.headObject({ ...name('k'), versionId: '0'.repeat(28) })),
    'NoSuchVersion',
  );
  // The null version's own id is no name for it.
  const own = (await h.engine.headObject({ ...name('k'), versionId: 'null' })).version.id;
  t.is(await codeOf(h.engine.headObject({ ...name('k'), versionId: own })), 'NoSuchVersion');
  t.deepEqual(await h.engine.deleteObject(remove('k', marker.versionId as string)), {
    versionId: marker.versionId,
    deleteMarker: true,
  });
  t.is(await textOf(h.engine, 'k'), 'one');
  await setVersioning(h, 'suspended');
  t.is((await h.engine.deleteObject(remove('k'))).versionId, 'null');
  t.is(await codeOf(h.engine.headObject({ ...name('k'), versionId: 'null' })), 'MethodNotAllowed');
  t.is((await h.engine.putObject(put('k', 'again'))).versionId, 'null');
  t.deepEqual(
    (await allVersions(h.engine, 10)).map(({ versionId, isLatest }) => [versionId, isLatest]),
    [
      ['null', true],
      [one.versionId, false],
    ],
  );
  await h.auditor.everyBlobIsAccountedFor();
});

test('versioning enabled while a body streams: the null version of before is kept', async (t) => {
  const h = house();
  await makeBucket(h);
  await h.engine.putObject(put('k', 'before'));
  async function* slow(): AsyncGenerator<Uint8Array> {
    yield randomBytes(300_000);
    await setVersioning(h, 'enabled');
  }
  await h.engine.putObject(put('k', '', { body: slow() }));
  t.is(await textOf(h.engine, 'k', 'null'), 'before');
});

test('a body that is not what was announced is refused, and nothing of it is kept', async (t) => {
  const h = house();
  await makeBucket(h);
  async function* stream(bytes: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes; at += 100_000) yield new Uint8Array(Math.min(100_000, bytes - at));
  }
  const wrong = md5(Buffer.from('another'));
  t.is(await codeOf(h.engine.putObject(put('k', 'abc', { contentMd5: wrong }))), 'BadDigest');
  t.is(await codeOf(h.engine.putObject(put('k', 'abc', { sizeBytes: 4 }))), 'IncompleteBody');
  for (const sizeBytes of [1000, 199_999, 200_001, 300_001]) {
    const body = stream(sizeBytes < 300_000 ? 200_000 : 300_000);
    t.is(await codeOf(h.engine.putObject(put('k', '', { body, sizeBytes }))), 'IncompleteBody');
  }
  const body = stream(400_000);
  t.is(
    await codeOf(h.engine.putObject(put('k', '', { body, sizeBytes: 400_000, contentMd5: wrong }))),
    'BadDigest',
  );
  t.is(
    await codeOf(h.engine.putObject(put('k', 'x', { storageClass: 'NONE' }))),
    'InvalidStorageClass',
  );
  t.is(await codeOf(h.engine.putObject(put('k'.repeat(1025), 'x'))), 'KeyTooLongError');
  t.is(await codeOf(h.engine.putObject(put('ü'.repeat(513), 'x'))), 'KeyTooLongError');
  t.is(await codeOf(h.engine.putObject(put('a\0b', 'x'))), 'InvalidArgument');
  t.is(
    await codeOf(h.engine.putObject(put('k', 'x', { metadata: { m: 'y'.repeat(2048) } }))),
    'MetadataTooLarge',
  );
  t.deepEqual(h.store.rowsOf('objects'), []);
  t.is(h.hot.blobs.size, 0);
  // And what is right, in every form.
  for (const [size, known] of [
    [0, false],
    [0, true],
    [200_000, true],
    [300_000, true],
    [300_000, false],
  ] as const) {
    const given = put('k', '', { body: stream(size), contentMd5: md5(new Uint8Array(size)) });
    const { version } = await h.engine.putObject(known ? { ...given, sizeBytes: size } : given);
    t.deepEqual([version.sizeBytes, version.etag], [size, md5(new Uint8Array(size))]);
    t.is(version.parts.length, size === 0 ? 0 : 1);
    t.is((await bytesOf((await h.engine.getObject(name('k'))).body)).length, size);
  }
});

/** Swaps the current version's bytes to another tier, as a move does. */
async function moveTo(h: House, key: string, tier: string): Promise<void> {
  const { bucket, version } = await h.engine.headObject(name(key));
  const target = h.tiers.get(tier) as MemoryTier;
  const parts: Part[] = [];
  for (const part of version.parts) {
    const body = await h.engine.core.locations.read(part.location);
    const id = `${part.location.id.slice(0, 12)}${randomBytes(10).toString('hex')}`;
    const { location } = await target.put({ id, body, owner: { bucketId: bucket.id, key } });
    parts.push({ ...part, location });
  }
  await commitObject(h.process().core, {
    object: objectId(bucket.id, key),
    reason: 'move',
    change: (draft) => draft.replace({ ...version, parts }),
  });
}

test('a reader whose bytes are moved and freed under him reads on in the new place', async (t) => {
  const h = house();
  await makeBucket(h);
  const body = randomBytes(200_000);
  await h.engine.putObject(put('k', body));
  const old = (await h.engine.headObject(name('k'))).version.parts[0]?.location.id as string;
  // Moved and freed between the look at the document and the read.
  let moved = false;
  h.hot.before = async (action) => {
    if (action !== 'read' || moved) return;
    moved = true;
    await moveTo(h, 'k', 'warm');
    h.hot.blobs.delete(old);
  };
  sameBytes(t, await bytesOf((await h.engine.getObject(name('k'))).body), body);
  t.deepEqual(h.counts, ['read-relocated']);
  // Bytes that are gone while the document still names them are a loss, never NoSuchKey.
  h.tiers.get('warm')?.blobs.clear();
  t.is(await codeOf(h.engine.getObject(name('k'))), 'TierMissing');
});

test('a reader in the middle of a stream goes on at the same byte in the new place', async (t) => {
  const h = house();
  await makeBucket(h);
  const body = randomBytes(300_000);
  await h.engine.putObject(put('k', body));
  const read = h.hot.read.bind(h.hot);
  h.hot.read = async (location, options) => {
    const all = await bytesOf(await read(location, options));
    async function* cut(): AsyncGenerator<Uint8Array> {
      yield all.subarray(0, 100_001);
      h.hot.read = read;
      await moveTo(h, 'k', 'warm');
      throw new FirnError('TierMissing', 'freed under the reader');
    }
    return cut();
  };
  sameBytes(t, await bytesOf((await h.engine.getObject(name('k'))).body), body);
  t.deepEqual(h.counts, ['read-relocated']);
});

test('bytes read whole out of a remote pack are the bytes that were packed, or Corrupt', async (t) => {
  const h = house();
  await makeBucket(h);
  const body = randomBytes(150_000);
  const { version, bucket } = await h.engine.putObject(put('k', body));
  const cold = h.tiers.get('cold') as MemoryTier;
  const packId = `${version.parts[0]?.location.id.slice(0, 12)}${'ab'.repeat(10)}`;
  const packed = Buffer.concat([Buffer.alloc(1000, 1), body, Buffer.alloc(1000, 2)]);
  const { location: blob } = await cold.put({
    id: packId,
    body: packed,
    owner: { bucketId: '', key: '' },
  });
  const pack: Pack = {
    format: 1,
    id: packId,
    tier: 'cold',
    layout: 'zip',
    blob,
    sizeBytes: packed.length,
    entries: 1,
    entryBytes: body.length,
    deadBytes: 0,
    createdAt: NOON,
  };
  await h.store.insert('packs', packId, pack);
  const part = version.parts[0] as Part;
  const location: Location = {
    kind: 'pack',
    id: `${packId.slice(0, 12)}${'cd'.repeat(10)}`,
    tier: 'cold',
    pack: packId,
    offset: 1000,
    length: body.length,
  };
  await commitObject(h.engine.core, {
    object: objectId(bucket.id, 'k'),
    reason: 'move',
    change: (draft) => draft.replace({ ...version, parts: [{ ...part, location }] }),
  });
  sameBytes(t, await bytesOf((await h.engine.getObject(name('k'))).body), body);
  const range = { offset: 100, length: 50 };
  const some = await h.engine.getObject({ ...name('k'), range });
  sameBytes(t, await bytesOf(some.body), body.subarray(100, 150));
  (cold.blobs.get(packId) as { bytes: Uint8Array }).bytes[1500] = (body[500] as number) ^ 1;
  const damaged = await h.engine.getObject(name('k'));
  let read = 0;
  const outcome = (async () => {
    assert(!(damaged.body instanceof Uint8Array));
    for await (const chunk of damaged.body) read += chunk.length;
  })();
  t.is(await codeOf(outcome), 'Corrupt');
  t.true(read < body.length, 'a client never gets the whole length of wrong bytes');
});

// Copies.

test('CopyObject carries what S3 carries, shares no bytes, and refuses to do nothing', async (t) => {
  const h = house();
  await makeBucket(h);
  const metadata = { a: '1' };
  const { version } = await h.engine.putObject(
    put('k', 'body', { metadata, tags: { t: '1' }, headers: { 'content-type': 'x/y' } }),
  );
  const copy = (key: string, more: object = {}) =>
    h.engine.copyObject({ ...name(key), source: name('k'), owner: 'root', ...more });
  const made = await copy('c');
  t.like(made.version, {
    metadata,
    tags: { t: '1' },
    headers: { 'content-type': 'x/y' },
    etag: version.etag,
  });
  t.not(made.version.parts[0]?.location.id, version.parts[0]?.location.id);
  t.is(await codeOf(copy('k')), 'InvalidRequest');
  t.is((await copy('k', { storageClass: 'STANDARD_IA' })).version.storageClass, 'STANDARD_IA');
  t.is((await copy('k', { storageClass: 'STANDARD' })).version.storageClass, 'STANDARD');
  const replaced = await copy('k', { replaceMetadata: { headers: {}, metadata: { b: '2' } } });
  t.deepEqual([replaced.version.metadata, replaced.version.headers], [{ b: '2' }, {}]);
  t.is(await textOf(h.engine, 'k'), 'body');
  const summed = await copy('s', { checksumAlgorithm: 'CRC32' });
  t.deepEqual(summed.version.checksum, {
    algorithm: 'CRC32',
    type: 'FULL_OBJECT',
    value: checksumOf('CRC32', Buffer.from('body')),
  });
  t.is(
    await codeOf(copy('x', { sourceConditions: { ifNoneMatch: version.etag } })),
    'PreconditionFailed',
  );
  t.is(await codeOf(copy('x', { conditions: { ifMatch: '*' } })), 'NoSuchKey');
  t.is(
    await codeOf(h.engine.copyObject({ ...name('x'), source: name('absent'), owner: 'root' })),
    'NoSuchKey',
  );
  await h.auditor.everyBlobIsAccountedFor();
});

test('UploadPartCopy takes exactly the range, and a range past the source is InvalidRange', async (t) => {
  const h = house();
  await makeBucket(h);
  await h.engine.putObject(put('src', '0123456789'));
  const { uploadId } = await begin(h.engine, 'k', 1);
  const range = { offset: 2, length: 5 };
  const part = await h.engine.copyPart({
    ...name('k'),
    uploadId,
    number: 1,
    source: name('src'),
    range,
  });
  t.is(part.etag, md5(Buffer.from('23456')));
  const past = { offset: 6, length: 5 };
  const late = h.engine.copyPart({
    ...name('k'),
    uploadId,
    number: 1,
    source: name('src'),
    range: past,
  });
  t.is(await codeOf(late), 'InvalidRange');
  await h.engine.completeUpload(
    complete('k', { uploadId, parts: [{ number: 1, etag: part.etag }], bytes: Buffer.alloc(0) }),
  );
  t.is(await textOf(h.engine, 'k'), '23456');
});

// Archived objects.

test('archived: shown by class at once, served only from a live restored copy', async (t) => {
  const h = house();
  await makeBucket(h);
  for (const storageClass of ['STANDARD_IA', 'GLACIER_IR', 'GLACIER']) {
    const { version } = await h.engine.putObject(put(storageClass, 'body', { storageClass }));
    t.is(version.parts[0]?.location.tier, 'hot', 'new bytes of every class land hot');
    t.is((await h.engine.headObject(name(storageClass))).version.storageClass, storageClass);
  }
  t.is(await textOf(h.engine, 'STANDARD_IA'), 'body');
  t.is(await textOf(h.engine, 'GLACIER_IR'), 'body');
  const refused = await t.throwsAsync<FirnError>(h.engine.getObject(name('GLACIER')));
  t.deepEqual(
    [refused?.code, refused?.details?.['StorageClass']],
    ['InvalidObjectState', 'GLACIER'],
  );
  const copied = h.engine.copyObject({ ...name('c'), source: name('GLACIER'), owner: 'root' });
  t.is(await codeOf(copied), 'InvalidObjectState');
  t.is((await h.engine.headObject(name('GLACIER'))).version.sizeBytes, 4);
});

/** What the worker does when a restore is ready. */
async function makeReady(h: House, key: string, expiry: number): Promise<Location> {
  const { bucket, version } = await h.engine.headObject(name(key));
  const { context } = h.engine.core;
  const id = `${context.clock.now().toString(16).padStart(12, '0')}${randomBytes(10).toString('hex')}`;
  const { location } = await h.hot.put({
    id,
    body: Buffer.from('body'),
    owner: { bucketId: bucket.id, key },
  });
  await commitObject(h.engine.core, {
    object: objectId(bucket.id, key),
    reason: 'restore-expiry',
    change: (draft) =>
      draft.replace({
        ...version,
        restore: {
          ...(version.restore as NonNullable<Version['restore']>),
          state: 'ready',
          expiry,
          copy: [location],
        },
      }),
  });
  return location;
}

test("RestoreObject: S3's table of states", async (t) => {
  const h = house();
  await makeBucket(h);
  const restore = (key: string, days: number, tier: 'Expedited' | 'Standard' | 'Bulk') =>
    h.engine.restoreObject({ ...name(key), days, tier, owner: 'root' });
  const requests = () => h.store.rowsOf<RestoreRequest>('restores').map(({ value }) => value);
  await h.engine.putObject(put('k', 'body', { storageClass: 'GLACIER' }));
  await h.engine.putObject(put('deep', 'body', { storageClass: 'DEEP_ARCHIVE' }));
  await h.engine.putObject(put('ia', 'body', { storageClass: 'STANDARD_IA' }));
  t.is(await codeOf(restore('absent', 1, 'Bulk')), 'NoSuchKey');
  t.is(await codeOf(restore('ia', 1, 'Bulk')), 'InvalidObjectState');
  t.is(await codeOf(restore('k', 0, 'Bulk')), 'InvalidArgument');
  t.is(await codeOf(restore('deep', 1, 'Expedited')), 'InvalidTier');
  t.deepEqual(requests(), []);
  t.is(await restore('k', 3, 'Bulk'), 'started');
  const pending = await h.engine.headObject(name('k'));
  t.like(pending.restore, {
    state: 'pending',
    tier: 'Bulk',
    days: 3,
    requestId: requests()[0]?.id,
  });
  t.is(await codeOf(h.engine.getObject(name('k'))), 'InvalidObjectState', 'also while restoring');
  t.is(await codeOf(restore('k', 9, 'Bulk')), 'RestoreAlreadyInProgress');
  t.is(await restore('k', 9, 'Expedited'), 'upgraded');
  t.like((await h.engine.headObject(name('k'))).restore, { tier: 'Expedited', days: 3 });
  t.is(await codeOf(restore('k', 9, 'Standard')), 'RestoreAlreadyInProgress');
  t.deepEqual(
    requests().map(({ tier, days }) => [tier, days]),
    [['Expedited', 3]],
  );
  t.deepEqual(eventsOf(h).slice(3), ['s3:ObjectRestore:Post', 's3:ObjectRestore:Post']);
  // Ready: readable, the class stays, and a repeat counts its days from now, also fewer.
  const copy = await makeReady(h, 'k', Date.UTC(2026, 0, 19));
  t.is(await textOf(h.engine, 'k'), 'body');
  t.is((await h.engine.headObject(name('k'))).version.storageClass, 'GLACIER');
  h.clock.at = Date.UTC(2026, 0, 16, 11);
  t.is(await restore('k', 1, 'Bulk'), 'extended');
  t.is((await h.engine.headObject(name('k'))).restore?.expiry, Date.UTC(2026, 0, 18));
  t.is(requests().length, 1);
  // Lapsed: gone for clients, also before a worker has looked; a new request may be made.
  h.clock.at = Date.UTC(2026, 0, 18);
  t.is(await codeOf(h.engine.getObject(name('k'))), 'InvalidObjectState');
  t.is((await h.engine.headObject(name('k'))).restore, undefined);
  t.is(garbageOf(h).get(copy.id), undefined);
  t.is(await restore('k', 1, 'Bulk'), 'started');
  t.is(garbageOf(h).get(copy.id)?.reason, 'restore-expiry');
  t.true(
    (await h.engine.headObject(name('k'))).version.parts.length > 0,
    'the archived bytes stay',
  );
});

test('ten RestoreObjects at once: one retrieval is asked for, nine are told so', async (t) => {
  const h = house();
  await makeBucket(h);
  await h.engine.putObject(put('k', 'body', { storageClass: 'GLACIER' }));
  const processes = [h.engine, h.process(), h.process()];
  const codes = await Promise.all(
    Array.from({ length: 10 }, (_, i) =>
      codeOf(
        (processes[i % 3] as Engine).restoreObject({
          ...name('k'),
          days: 1,
          tier: 'Bulk',
          owner: 'root',
        }),
      ),
    ),
  );
  t.is(codes.filter((code) => code === 'none').length, 1);
  t.is(codes.filter((code) => code === 'RestoreAlreadyInProgress').length, 9);
  t.is(h.store.rowsOf('restores').length, 1);
});

test('a RestoreObject that dies half way never leaves a version waiting for nobody', async (t) => {
  for (const when of ['before', 'after'] as const) {
    for (let nth = 1; nth <= 2; nth++) {
      const h = house();
      await makeBucket(h);
      await h.engine.putObject(put('k', 'body', { storageClass: 'GLACIER' }));
      crashAt(h.store, nth, when);
      const request = { ...name('k'), days: 1, tier: 'Bulk', owner: 'root' } as const;
      await h.engine.restoreObject(request).catch(() => undefined);
      revive(h);
      const engine = h.process();
      await engine.restoreObject(request).catch(() => undefined);
      const { restore } = await engine.headObject(name('k'));
      t.is(restore?.state, 'pending');
      t.true(h.store.rowsOf('restores').some(({ id }) => id === restore?.requestId));
    }
  }
});

// Buckets and accounts.

test('a version that waits for a restore which is over can be restored all the same', async (t) => {
  const h = house();
  await makeBucket(h);
  const core = h.engine.core;
  const { version } = await h.engine.putObject(put('k', 'body', { storageClass: 'GLACIER' }));
  const object = objectId((await h.engine.getBucket('bucket')).id, 'k');
  const restore = (tier: 'Standard' | 'Bulk') =>
    h.engine.restoreObject({ ...name('k'), days: 1, tier, owner: 'root' });
  const wait = (id: string) =>
    beginPending(core, { bucket: 'bucket', object, version }, { id, tier: 'Bulk', days: 1 });
  // A batch marks it, serves whatever is current, and ends; this one was overwritten just then.
  const requestId = newLocationId(h.clock, cryptoRandom);
  const row = { format: 1, id: requestId, scope: { prefix: '' }, tier: 'Bulk', days: 1 };
  const made = await h.store.insert('restores', requestId, row);
  assert(made.outcome === 'done');
  t.true(await wait(requestId));
  t.is(await codeOf(restore('Bulk')), 'RestoreAlreadyInProgress');
  const settled = { ...row, settledAt: NOON };
  const expected = made.revision;
  await h.store.replace({ table: 'restores', id: requestId, expected, value: settled });
  t.is(await restore('Bulk'), 'started');
  const pending = (await h.engine.headObject(name('k'))).restore;
  t.not(pending?.requestId, requestId);
  t.true(h.store.rowsOf('restores').some(({ id }) => id === pending?.requestId));
  t.is(await codeOf(restore('Bulk')), 'RestoreAlreadyInProgress');
  t.is(await restore('Standard'), 'upgraded');
  // The same for a batch: it takes over what waits in vain, and nothing else.
  const waiting = (await h.engine.headObject(name('k'))).version;
  const batch = { id: newLocationId(h.clock, cryptoRandom), tier: 'Bulk', days: 1 } as const;
  const begin = () => beginPending(core, { bucket: 'bucket', object, version: waiting }, batch);
  t.false(await begin());
  for (const { id, revision } of h.store.rowsOf('restores')) {
    await h.store.remove('restores', id, revision);
  }
  t.true(await begin());
});

test('a move taken up half a day after its crash is given up, and keeps no other from it', async (t) => {
  const rig = await newRig();
  await putOn(rig, 'early', 100);
  await putOn(rig, 'late', 100);
  const moving = new Map((await versionsOf(rig)).map((one) => [one.key, one]));
  const intents = () => rig.store.rowsOf<Move>('moves').map(({ value }) => value.phase);
  for (const key of ['early', 'late']) {
    const lease = await leaseOf(rig, `move ${key}`);
    const options = { kind: 'compact', tier: 'hot', lease } as const;
    const outer = rig.store.beforeCommit;
    rig.store.beforeCommit = (change) => {
      if (change.table === 'objects') throw new Crash();
      return outer?.(change);
    };
    await t.throwsAsync(moveVersions(rig.core, [moving.get(key) as MovingVersion], options));
    rig.store.beforeCommit = outer;
    if (key === 'early') rig.clock.pass(GRACE_MS / 2);
  }
  t.deepEqual(intents(), ['copied', 'copied']);
  rig.clock.pass(120_000);
  const { moved } = await resumeMoves(rig.core, { lease: await leaseOf(rig, 'resume') });
  t.is(moved, 1);
  t.deepEqual(intents(), []);
  await auditBytes(t, rig, 'resumed');
  rig.clock.pass(GRACE_MS + 60_000);
  await collectAll(rig, 2);
  await auditBytes(t, rig, 'collected');
  t.is(rig.hot.blobs.size, 2, 'the copy that came too late is freed');
  rig.close();
});

test('a damaged document keeps its candidates, and no other bytes from being freed', async (t) => {
  const rig = await newRig();
  await putOn(rig, 'gone', 100);
  await putParts(rig, 'damaged', 70);
  const part = (await versionsOf(rig)).find(({ key }) => key === 'damaged')?.parts[0];
  const candidates = { locations: [part?.location as Location], blocks: [] };
  const object = objectId(rig.bucket.id, 'damaged');
  await listGarbage(rig.context, candidates, { object, reason: 'lost' });
  await rig.engine.deleteObject({ ...nameIn(rig, 'gone'), owner: 'root' });
  const [block] = rig.store.rowsOf('blocks');
  await rig.store.remove('blocks', block?.id ?? '', block?.revision ?? '');
  rig.clock.pass(GRACE_MS + 60_000);
  const { counts } = await collectPage(rig.core, undefined, { lease: await leaseOf(rig) });
  t.like(counts, { freed: 1, unreadable: 1 });
  t.is(rig.hot.blobs.size, 70);
  t.deepEqual(
    rig.store.rowsOf('garbage').map(({ id }) => id),
    [part?.location.id],
  );
  rig.close();
});

test('B1: a pack stays for the readers of what was deleted from it last', async (t) => {
  const rig = await newRig();
  for (const key of ['first', 'last']) await putOn(rig, key, 100);
  const lease = await leaseOf(rig);
  await moveIntoPacks(rig.core, await versionsOf(rig), { kind: 'transition', tier: 'cold', lease });
  const deleteKey = (key: string) =>
    rig.engine.deleteObject({ ...nameIn(rig, key), owner: 'root' });
  await deleteKey('first');
  rig.clock.pass(GRACE_MS + 60_000);
  await collectAll(rig, 2);
  const { body } = await rig.engine.getObject(nameIn(rig, 'last'));
  await deleteKey('last');
  const [row] = rig.store.rowsOf<Pack>('packs');
  const options = { lease: await leaseOf(rig), names: new Map<string, string>() };
  t.is((await compactPack(rig.core, row?.value as Pack, options)).outcome, 'freed');
  await collectAll(rig, 2);
  t.is(rig.cold.blobs.size, 1, 'it may still be read');
  t.is((await bytesOf(body)).length, 100);
  rig.clock.pass(GRACE_MS + 60_000);
  await collectAll(rig, 3);
  t.is(rig.cold.blobs.size, 0);
  t.deepEqual(rig.store.rowsOf('packs'), []);
  rig.close();
});

test('B3: a pack that is looked at before its members are committed is not freed under them', async (t) => {
  const rig = await newRig();
  await putOn(rig, 'k', 100);
  const outer = rig.store.beforeCommit;
  let looked = false;
  rig.store.beforeCommit = async (change) => {
    const [row] = rig.store.rowsOf<Pack>('packs');
    if (row !== undefined && !looked) {
      looked = true;
      const options = { lease: await leaseOf(rig, 'compact'), names: new Map<string, string>() };
      await compactPack(rig.core, row.value, options);
      await collectAll(rig, 2);
    }
    return outer?.(change);
  };
  const lease = await leaseOf(rig);
  await moveIntoPacks(rig.core, await versionsOf(rig), { kind: 'transition', tier: 'cold', lease });
  t.true(looked);
  await auditBytes(t, rig, 'moved');
  rig.clock.pass(GRACE_MS + 60_000);
  await collectAll(rig, 3);
  await auditBytes(t, rig, 'collected');
  rig.close();
});

test('a segment is kept for a part of an old upload, however many uploads its key has had', async (t) => {
  const h = house();
  const id = await makeBucket(h);
  const { uploadId } = await begin(h.engine, 'k', 1);
  const object = objectId(id, 'k');
  const { value: upload } = await uploadRow(h);
  for (let i = 0; i < 1000; i++) {
    const ended = { ...upload, uploadId: String(i).padStart(32, '0'), state: 'aborted' };
    await h.store.insert('uploads', uploadRowId(object, ended.uploadId), ended);
  }
  const part = h.store.rowsOf<UploadPart>('parts')[0]?.value;
  assert(part?.uploadId === uploadId);
  h.clock.at += 2 * GRACE_MS;
  let freed = false;
  const tier = {
    name: 'hot',
    async *records() {
      const { location, sizeBytes: length } = part;
      yield { bucketId: id, key: 'k', location, length };
    },
    drives: () => Promise.resolve([]),
    freeSegment: () => Promise.resolve(void (freed = true)),
  } as unknown as NodeGroupTier;
  const segment = {
    group: 0,
    segment: 's',
    extentBytes: 0,
    deadBytes: 0,
    deadRecords: 0,
    openedAt: NOON,
  };
  const lease = { name: 'compact', epoch: 1, check: () => Promise.resolve() };
  const info = { ...segment, settled: true };
  await compactSegment(h.engine.core, { tier, info }, { lease, names: new Map() });
  t.false(freed);
});

test('buckets: names, owners, repeats, pages', async (t) => {
  const h = house();
  const create = (bucket: string, owner = 'root') =>
    h.engine.createBucket({ name: bucket, owner, region: 'local' });
  for (const wrong of [
    'ab',
    'A-bucket',
    'a..b',
    '-ab',
    'ab-',
    '192.168.0.1',
    'xn--a',
    'a_b',
    'x'.repeat(64),
    'a\0bc',
    '',
  ]) {
    t.is(await codeOf(create(wrong)), 'InvalidBucketName', wrong);
    t.is(await codeOf(h.engine.getBucket(wrong)), 'NoSuchBucket', wrong);
  }
  const made = await create('one');
  t.is((await create('one')).id, made.id, 'again by its owner: the same');
  t.is(await codeOf(create('one', 'other')), 'BucketAlreadyExists');
  for (const bucket of ['three', 'two', 'four'])
    await create(bucket, bucket === 'two' ? 'other' : 'root');
  const page = await h.engine.listBuckets({ owner: 'root', limit: 2 });
  t.deepEqual([page.buckets.map((bucket) => bucket.name), page.next], [['four', 'one'], 'one']);
  const rest = await h.engine.listBuckets({ owner: 'root', limit: 2, after: 'one' });
  t.deepEqual([rest.buckets.map((bucket) => bucket.name), rest.next], [['three'], undefined]);
  const prefixed = await h.engine.listBuckets({ owner: 'other', prefix: 't', limit: 9 });
  t.deepEqual(
    prefixed.buckets.map((bucket) => bucket.name),
    ['two'],
  );
  t.is(await codeOf(h.engine.putObject(put('k', 'x', { bucket: 'absent' }))), 'NoSuchBucket');
  await h.engine.deleteBucket('two');
  t.is(await codeOf(h.engine.deleteBucket('two')), 'NoSuchBucket');
});

test('a bucket with open uploads is deleted, and their parts are listed', async (t) => {
  const h = house();
  await makeBucket(h);
  await begin(h.engine, 'k', 2);
  await h.engine.deleteBucket('bucket');
  t.is((await uploadRow(h)).value.state, 'aborted');
  t.is(garbageOf(h).size, 2);
  t.deepEqual(h.store.rowsOf('parts'), []);
  await h.auditor.everyBlobIsAccountedFor();
});

test('MongoDB: a bucket row may be a second old, an absence never is, changes wait that out', async (t) => {
  const h = house({ staleMs: 20 });
  await makeBucket(h);
  const other = h.process();
  await other.getBucket('bucket');
  const began = performance.now();
  await setVersioning(h, 'enabled');
  t.true(performance.now() - began >= 39, 'acknowledged when no cache holds the old row');
  t.is((await other.getBucket('bucket')).versioning, 'enabled');
  t.is(await codeOf(other.getBucket('new')), 'NoSuchBucket');
  await h.engine.createBucket({ name: 'new', owner: 'root', region: 'local' });
  t.is((await other.getBucket('new')).name, 'new');
});

test('MongoDB: a change that was made already is acknowledged no sooner than the first', async (t) => {
  const h = house({ staleMs: 20 });
  await makeBucket(h);
  const other = h.process();
  await other.getBucket('bucket');
  const first = setVersioning(h, 'enabled');
  while ((await h.engine.core.buckets.fresh('bucket'))?.value.versioning !== 'enabled')
    await turn();
  const third = h.process();
  await third.updateBucket('bucket', (bucket) => bucket);
  t.is((await other.getBucket('bucket')).versioning, 'enabled');
  await first;
  const { context } = h.engine.core;
  const accounts = new Accounts(context);
  await accounts.createAccount({ id: 'team', displayName: 'Team' });
  await accounts.createKey({ account: 'team', accessKey: 'TEAMKEY' });
  const serving = new Accounts(context);
  t.not(await serving.secretOf('TEAMKEY'), undefined);
  const revoking = accounts.revokeKey('TEAMKEY');
  while ((await new Accounts(context).secretOf('TEAMKEY')) !== undefined) await turn();
  await new Accounts(context).revokeKey('TEAMKEY');
  t.is(await serving.secretOf('TEAMKEY'), undefined);
  await revoking;
});

test('MongoDB: a bucket row that was long on its way is not kept longer for that', async (t) => {
  const h = house({ staleMs: 20 });
  await makeBucket(h);
  const acknowledged = Promise.withResolvers<void>();
  const slow = new MemoryMetadataStore(h.clock);
  slow.get = async (table, id) => {
    const row = await h.store.get<never>(table, id);
    await acknowledged.promise;
    return row;
  };
  const other = h.process({ store: slow });
  const reading = other.getBucket('bucket');
  await turn();
  await setVersioning(h, 'enabled');
  acknowledged.resolve();
  t.is((await reading).versioning, 'off');
  t.is((await other.getBucket('bucket')).versioning, 'enabled', 'acknowledged: no old row serves');
});

test('a revoked key is refused also by a host whose clock is behind', async (t) => {
  const h = house();
  const { context } = h.engine.core;
  const accounts = new Accounts(context);
  await accounts.createAccount({ id: 'team', displayName: 'Team' });
  await accounts.createKey({ account: 'team', accessKey: 'TEAMKEY' });
  await accounts.revokeKey('TEAMKEY');
  const behind = { now: () => h.clock.at, wall: () => h.clock.at - 60_000 };
  t.is(await new Accounts({ ...context, clock: behind }).secretOf('TEAMKEY'), undefined);
});

test('accounts: secrets are sealed, told once, refused when revoked, and never under another key', async (t) => {
  const h = house();
  const { context } = h.engine.core;
  const accounts = new Accounts(context);
  await accounts.open();
  const root = await accounts.ensureRoot({});
  t.true(root.won);
  t.is((await accounts.getAccount('root'))?.admin, true);
  const again = await new Accounts(context).ensureRoot({});
  t.deepEqual(again, { won: false, key: undefined }, 'only the host that won may write the file');
  const { accessKey, secretKey } = root.key as { accessKey: string; secretKey: string };
  t.is((await new Accounts(context).secretOf(accessKey))?.secretKey, secretKey);
  t.false(JSON.stringify(h.store.rowsOf('accounts')).includes(secretKey));
  await accounts.createAccount({ id: 'team', displayName: 'Team', email: 't@example.org' });
  t.is(
    await codeOf(accounts.createAccount({ id: 'team', displayName: 'Again' })),
    'InvalidArgument',
  );
  t.is(await codeOf(accounts.createKey({ account: 'nobody' })), 'InvalidArgument');
  const key = await accounts.createKey({
    account: 'team',
    accessKey: 'TEAMKEY',
    secretKey: 'team-secret',
  });
  t.like(await accounts.secretOf('TEAMKEY'), { account: 'team', secretKey: 'team-secret' });
  t.is(
    await codeOf(accounts.createKey({ account: 'team', accessKey: 'TEAMKEY' })),
    'InvalidArgument',
  );
  t.deepEqual(await accounts.listKeys('team'), [
    { accessKey: 'TEAMKEY', account: 'team', createdAt: key.createdAt },
  ]);
  // Revoked by another process, refused at once: on LMDB the row is read each time.
  await new Accounts(context).revokeKey('TEAMKEY');
  t.is(await accounts.secretOf('TEAMKEY'), undefined);
  t.is(await accounts.secretOf('absent'), undefined);
  t.is(await accounts.secretOf('no key\0'), undefined);
  // A sealed secret moved into another row opens for nobody.
  const stolen = await h.store.get<{ sealedSecret: string }>('accounts', `key/${accessKey}`);
  const mine = await accounts.createKey({ account: 'team' });
  const row = await h.store.get<{ sealedSecret: string }>('accounts', `key/${mine.accessKey}`);
  const value = { ...(row?.value as object), sealedSecret: stolen?.value.sealedSecret };
  await h.store.replace({
    table: 'accounts',
    id: `key/${mine.accessKey}`,
    expected: row?.revision ?? '',
    value,
  });
  t.is(await codeOf(accounts.secretOf(mine.accessKey)), 'SettingsInvalid');
  const foreign = new Accounts({ ...context, masterKey: new Uint8Array(32).fill(8) });
  t.is(await codeOf(foreign.open()), 'SettingsInvalid');
  await new Accounts(context).open();
});

test('two hosts that start together make one root key, and a dead one leaves it to the next', async (t) => {
  const h = house();
  const { context } = h.engine.core;
  const started = Array.from({ length: 6 }, () => new Accounts(context).ensureRoot({}));
  const answers = await Promise.all(started);
  t.is(answers.filter(({ won }) => won).length, 1);
  t.is((await new Accounts(context).listKeys('root')).length, 1);
  for (let nth = 1; nth <= 3; nth++) {
    const dead = house();
    crashAt(dead.store, nth, nth === 3 ? 'before' : 'after');
    await t.throwsAsync(new Accounts(dead.engine.core.context).ensureRoot({}));
    revive(dead);
    t.true((await new Accounts(dead.engine.core.context).ensureRoot({})).won);
  }
});

test('configured root keys are made, kept, and refused when their secret has changed', async (t) => {
  const h = house();
  const accounts = new Accounts(h.engine.core.context);
  const given = { accessKey: 'ROOTKEY', secretKey: 'root-secret' };
  t.true((await accounts.ensureRoot(given)).won);
  t.false((await accounts.ensureRoot(given)).won);
  t.is(
    await codeOf(accounts.ensureRoot({ ...given, secretKey: 'other-secret' })),
    'SettingsInvalid',
  );
});

test('the last day of access is kept where it is asked for, once a day, behind the answer', async (t) => {
  const h = house({ accessDays: true });
  await makeBucket(h);
  await h.engine.putObject(put('k', 'x'));
  const before = h.store.commits;
  await textOf(h.engine, 'k');
  await textOf(h.engine, 'k');
  t.is(h.store.commits, before, 'no GET waits for a commit');
  await h.engine.core.accessDays?.flush();
  const day = Math.floor(NOON / DAY_MS);
  t.is((await h.engine.headObject(name('k'))).version.lastAccessDay, day);
  await textOf(h.engine, 'k');
  await h.engine.close();
  t.is(h.store.commits, before + 1);
});

// Lists.

function listQuery(more: object = {}) {
  return { bucket: 'bucket', prefix: '', delimiter: '', after: '', limit: 1000, ...more };
}

function versionsQuery(more: Partial<ListVersionsQuery> = {}): ListVersionsQuery {
  return { bucket: 'bucket', prefix: '', delimiter: '', after: '', limit: 1000, ...more };
}

function uploadsQuery(more: object = {}) {
  return { bucket: 'bucket', prefix: '', delimiter: '', after: '', limit: 1000, ...more };
}

async function setVersioning(
  h: { engine: Engine },
  versioning: Bucket['versioning'],
): Promise<void> {
  await h.engine.updateBucket('bucket', (bucket) => ({ ...bucket, versioning }));
}

interface Shown {
  key: string;
  versionId: string;
  isLatest: boolean;
}

async function allVersions(engine: Engine, limit: number, more: object = {}): Promise<Shown[]> {
  const shown: Shown[] = [];
  let query = versionsQuery({ limit, ...more });
  for (;;) {
    const page = await engine.listVersions(query);
    assert(page.entries.length + page.prefixes.length <= limit);
    for (const { key, versionId, isLatest } of page.entries)
      shown.push({ key, versionId, isLatest });
    if (page.next === undefined) return shown;
    query = { ...query, after: page.next };
    if (page.nextVersionId === undefined) delete query.afterVersionId;
    else query.afterVersionId = page.nextVersionId;
  }
}

const ALPHABET = ['a', 'b', '/', '/', '-', 'ü', '\u0001', '\u{1f600}', '\uffee', '~'];

function randomKey(next: () => number): string {
  let key = '';
  for (let i = 1 + Math.floor(next() * 6); i > 0; i--) {
    key += ALPHABET[Math.floor(next() * ALPHABET.length)] ?? '';
  }
  return key;
}

/** What S3 lists, in the simplest words: keys and common prefixes above `after`, in order of bytes. */
function listModel(keys: string[], query: ReturnType<typeof listQuery>): string[] {
  const shown = new Set<string>();
  for (const key of keys.toSorted(compareUtf8)) {
    if (!key.startsWith(query.prefix)) continue;
    const at = query.delimiter === '' ? -1 : key.indexOf(query.delimiter, query.prefix.length);
    const item = at < 0 ? key : `${key.slice(0, at + query.delimiter.length)}*`;
    const plain = item.endsWith('*') && at >= 0 ? item.slice(0, -1) : item;
    if (query.after === '' || compareUtf8(plain, query.after) > 0) shown.add(item);
  }
  return [...shown];
}

test('lists: random keys, prefixes, delimiters and pages, against a model', async (t) => {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const next = seeded(seed);
  const h = house();
  await makeBucket(h, 'enabled');
  const keys = new Set<string>();
  const marked = new Set<string>();
  for (let i = 0; i < 400; i++) keys.add(randomKey(next));
  for (const key of keys) {
    await h.engine.putObject(put(key, key));
    if (next() < 0.2) marked.add(key);
  }
  for (const key of marked) await h.engine.deleteObject(remove(key));
  const visible = [...keys].filter((key) => !marked.has(key));
  for (let i = 0; i < 300; i++) {
    const some = randomKey(next);
    const query = listQuery({
      prefix: next() < 0.5 ? '' : some.slice(0, 2).toWellFormed(),
      delimiter: ['', '/', '/', '-', 'ab', '\u{1f600}'][Math.floor(next() * 6)],
      after: next() < 0.5 ? '' : randomKey(next),
      limit: 1 + Math.floor(next() * 30),
    });
    // As the model has it, a start inside a common prefix is behind that prefix.
    const expected = listModel(visible, query);
    const got: string[] = [];
    let page = await h.engine.listObjects(query);
    for (;;) {
      const entries = page.entries.map(({ key }) => key);
      const prefixes = page.prefixes.map((prefix) => `${prefix}*`);
      t.deepEqual(entries, entries.toSorted(compareUtf8));
      got.push(
        ...[...entries, ...prefixes].toSorted((a, b) =>
          compareUtf8(a.replace(/\*$/, ''), b.replace(/\*$/, '')),
        ),
      );
      if (page.next === undefined) break;
      t.is(entries.length + prefixes.length, query.limit);
      page = await h.engine.listObjects({ ...query, after: page.next });
    }
    t.deepEqual(got, expected, JSON.stringify(query));
    const all = await allVersions(h.engine, query.limit, { prefix: query.prefix });
    t.is(
      all.length,
      [...keys].filter((key) => key.startsWith(query.prefix)).length +
        [...marked].filter((key) => key.startsWith(query.prefix)).length,
    );
  }
  t.deepEqual((await h.engine.listObjects(listQuery({ limit: 0 }))).next, undefined);
  t.deepEqual((await h.engine.listObjects(listQuery({ prefix: 'a\0' }))).entries, []);
  t.deepEqual(
    (await h.engine.listObjects(listQuery({ after: 'x'.repeat(3000) }))).entries.length,
    visible.filter((key) => compareUtf8(key, 'x'.repeat(3000)) > 0).length,
  );
});

test('lists: a common prefix of 5,000 keys costs a page or two, not 5,000 rows', async (t) => {
  const h = house();
  const bucketId = await makeBucket(h);
  const { version } = await h.engine.putObject(put('zzz', 'x'));
  // The very first key behind each hidden stretch.
  for (const key of ['a0', 'c0']) await h.engine.putObject(put(key, 'x'));
  for (const folder of ['a', 'b', 'c']) {
    for (let i = 0; i < 5000; i++) {
      const document: ObjectDocument = {
        format: 1,
        sequence: 1,
        versions: [{ ...version, parts: [] }],
        history: [],
      };
      await h.store.insert('objects', objectId(bucketId, `${folder}/${i}`), document);
    }
  }
  const before = h.store.reads;
  const page = await h.engine.listObjects(listQuery({ delimiter: '/' }));
  t.deepEqual(page.prefixes, ['a/', 'b/', 'c/']);
  t.deepEqual(
    page.entries.map(({ key }) => key),
    ['a0', 'c0', 'zzz'],
  );
  t.true(h.store.reads - before <= 6);
  const plain = h.store.reads;
  t.is((await h.engine.listObjects(listQuery())).entries.length, 1000);
  t.true(h.store.reads - plain <= 2);
});

test('lists: uploads in order of keys, by page, prefix and delimiter', async (t) => {
  const h = house();
  await makeBucket(h);
  const made: { key: string; uploadId: string }[] = [];
  for (const key of ['a/1', 'a/2', 'b', 'b', 'b', 'c/x', 'ü']) {
    const { uploadId } = await begin(h.engine, key, 1);
    made.push({ key, uploadId });
  }
  const ended = await begin(h.engine, 'b', 1);
  await h.engine.abortUpload({ ...name('b'), uploadId: ended.uploadId });
  const all: { key: string; uploadId: string }[] = [];
  let page = await h.engine.listUploads(uploadsQuery({ limit: 2 }));
  for (;;) {
    for (const { key, uploadId } of page.uploads) all.push({ key, uploadId });
    if (page.next === undefined) break;
    page = await h.engine.listUploads(
      uploadsQuery({ limit: 2, after: page.next.key, afterUploadId: page.next.uploadId }),
    );
  }
  t.is(all.length, 7);
  const ids = (list: typeof all) => list.map(({ uploadId }) => uploadId).toSorted();
  t.deepEqual(ids(all), ids(made));
  t.deepEqual(
    all.map(({ key }) => key),
    ['a/1', 'a/2', 'b', 'b', 'b', 'c/x', 'ü'],
  );
  const rolled = await h.engine.listUploads(uploadsQuery({ delimiter: '/' }));
  t.deepEqual(
    [rolled.prefixes, rolled.uploads.map(({ key }) => key)],
    [
      ['a/', 'c/'],
      ['b', 'b', 'b', 'ü'],
    ],
  );
  const behind = await h.engine.listUploads(uploadsQuery({ after: 'b', delimiter: '/' }));
  t.deepEqual([behind.prefixes, behind.uploads.map(({ key }) => key)], [['c/'], ['ü']]);
  // Rows are named by key, \u0001 and id: a prefix may look like the beginning of that.
  t.deepEqual((await h.engine.listUploads(uploadsQuery({ prefix: 'b\u0001' }))).uploads, []);
});

// The main sequence, against a model of S3's versions, on every store.

interface ModelVersion {
  versionId: string;
  marker: boolean;
  body: string;
}

class Model {
  versioning: Bucket['versioning'] = 'off';
  readonly keys = new Map<string, ModelVersion[]>();

  of(key: string): ModelVersion[] {
    return this.keys.get(key) ?? [];
  }

  /** Puts a version on top as the bucket's state has it. */
  top(key: string, version: ModelVersion): void {
    const isNull = this.versioning !== 'enabled';
    const rest = this.of(key).filter((old) => !isNull || old.versionId !== 'null');
    this.keys.set(key, [{ ...version, versionId: isNull ? 'null' : version.versionId }, ...rest]);
  }

  drop(key: string, versionId: string): void {
    this.keys.set(
      key,
      this.of(key).filter((version) => version.versionId !== versionId),
    );
  }

  shown(key: string): ModelVersion | undefined {
    const current = this.of(key)[0];
    return current?.marker === true ? undefined : current;
  }
}

interface Run {
  engine: Engine;
  restart(): Engine;
  next: () => number;
  model: Model;
}

const PROPERTY_KEYS = ['a', 'a/b', 'a/c', 'ü', 'z'];

async function randomStep(t: ExecutionContext, run: Run, step: number): Promise<void> {
  const { engine, next, model } = run;
  const key = PROPERTY_KEYS[Math.floor(next() * PROPERTY_KEYS.length)] as string;
  const body = `${step} ${'x'.repeat(Math.floor(next() * 200))}`;
  const dice = Math.floor(next() * 20);
  const existing = model.of(key);
  const some = existing[Math.floor(next() * existing.length)];
  if (dice < 7) {
    const { versionId } = await engine.putObject(put(key, body));
    model.top(key, { versionId: versionId ?? 'null', marker: false, body });
  } else if (dice < 9) {
    const current = model.shown(key);
    const conditions = next() < 0.5 ? { ifNoneMatch: '*' } : { ifMatch: md5(Buffer.from(body)) };
    const code = await codeOf(engine.putObject(put(key, body, { conditions })));
    if ('ifMatch' in conditions)
      t.is(code, current === undefined ? 'NoSuchKey' : 'PreconditionFailed');
    else t.is(code, current === undefined ? 'none' : 'PreconditionFailed');
    if (code === 'none') {
      const { versionId } = await engine.headObject(name(key));
      model.top(key, { versionId: versionId ?? 'null', marker: false, body });
    }
  } else if (dice < 12) {
    const { versionId } = await engine.deleteObject(remove(key));
    if (model.versioning === 'off') model.drop(key, 'null');
    else model.top(key, { versionId: versionId ?? 'null', marker: true, body: '' });
  } else if (dice < 15) {
    const versionId = some?.versionId ?? (next() < 0.5 ? 'null' : '0'.repeat(28));
    const answer = await engine.deleteObject(remove(key, versionId));
    t.is(answer.deleteMarker, some?.marker ?? false);
    model.drop(key, versionId);
  } else if (dice === 15) {
    const to = PROPERTY_KEYS[Math.floor(next() * PROPERTY_KEYS.length)] as string;
    if (to === key) return;
    const source = model.shown(key);
    const copied = engine.copyObject({ ...name(to), source: name(key), owner: 'root' });
    if (source === undefined) {
      t.is(await codeOf(copied), 'NoSuchKey');
      return;
    }
    model.top(to, {
      versionId: (await copied).versionId ?? 'null',
      marker: false,
      body: source.body,
    });
  } else if (dice === 16) {
    const begun = await begin(engine, key, 1);
    if (next() < 0.3) {
      await engine.abortUpload({ ...name(key), uploadId: begun.uploadId });
      return;
    }
    const { versionId } = await engine.completeUpload(complete(key, begun));
    model.top(key, { versionId: versionId ?? 'null', marker: false, body: begun.bytes.toString() });
  } else if (dice === 17) {
    model.versioning = next() < 0.6 ? 'enabled' : 'suspended';
    await setVersioning(run, model.versioning);
  } else if (dice === 18) {
    run.engine = run.restart();
  } else if (some !== undefined && !some.marker) {
    t.is(await textOf(engine, key, some.versionId), some.body);
  }
}

async function checkAgainst(t: ExecutionContext, run: Run): Promise<void> {
  const { engine, model } = run;
  const expected: Shown[] = [];
  for (const key of PROPERTY_KEYS.toSorted(compareUtf8)) {
    const versions = model.of(key);
    for (const [i, { versionId }] of versions.entries()) {
      expected.push({ key, versionId, isLatest: i === 0 });
    }
    const current = model.shown(key);
    if (current === undefined) t.is(await codeOf(engine.getObject(name(key))), 'NoSuchKey');
    else t.is(await textOf(engine, key), current.body);
  }
  t.deepEqual(await allVersions(engine, 7), expected);
  const { entries } = await engine.listObjects(listQuery());
  const shown = PROPERTY_KEYS.filter((key) => model.shown(key) !== undefined);
  t.deepEqual(
    entries.map(({ key }) => key),
    shown.toSorted(compareUtf8),
  );
}

async function mainSequence(t: ExecutionContext, make: () => Engine, steps: number): Promise<void> {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const run: Run = { engine: make(), restart: make, next: seeded(seed), model: new Model() };
  await makeBucket(run);
  for (let step = 0; step < steps; step++) {
    await randomStep(t, run, step);
    if (step % 40 === 39) await checkAgainst(t, run);
  }
  await checkAgainst(t, run);
  for (const key of PROPERTY_KEYS) {
    for (const { versionId } of run.model.of(key))
      await run.engine.deleteObject(remove(key, versionId));
  }
  await run.engine.deleteBucket('bucket');
}

test('random operations against a model of S3, in memory', async (t) => {
  const h = house();
  await mainSequence(t, () => h.process(), 1500);
  await h.auditor.everyBlobIsAccountedFor();
});

test('random operations against a model of S3, on LMDB', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'firn-engine-'));
  const clock = new TestClock();
  const store = buildMetadata({
    dataDirectory: directory,
    clock,
    random: cryptoRandom,
    processName: 'test',
  });
  try {
    await store.open();
    const tiers = buildTiers(clock);
    await mainSequence(t, () => buildEngine(contextOf({ store, clock, tiers })), 300);
  } finally {
    await store.close();
    await rm(directory, { recursive: true });
  }
});

(isMissing ? test.skip : test)(`random operations, on MongoDB${reason}`, async (t) => {
  const mongo = await startMongo();
  const clock = new TestClock();
  const store = buildMetadata({
    url: mongo.url,
    dataDirectory: '',
    clock,
    random: cryptoRandom,
    processName: 'test',
  });
  try {
    await store.open();
    const tiers = buildTiers(clock);
    const make = () => buildEngine(contextOf({ store, clock, tiers }, { staleMs: 1 }));
    await mainSequence(t, make, 200);
  } finally {
    await store.close();
    await mongo.stop();
  }
});

test('random writers in four processes, random conflicts and doubts: nothing acknowledged is lost', async (t) => {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const next = seeded(seed);
  for (let round = 0; round < 25; round++) {
    const versioning = next() < 0.5 ? 'enabled' : 'off';
    const h = house();
    await makeBucket(h, versioning);
    h.store.beforeRead = async () => {
      for (let i = Math.floor(next() * 3); i > 0; i--) await turn();
    };
    h.store.beforeCommit = async (change) => {
      for (let i = Math.floor(next() * 3); i > 0; i--) await turn();
      await h.auditor.check(change);
      if (change.table !== 'objects') return undefined;
      const dice = next();
      if (dice < 0.1) return 'conflict';
      if (dice < 0.15) return 'doubt-done';
      return dice < 0.2 ? 'doubt-lost' : undefined;
    };
    /** Bodies by key: acknowledged, or of unknown outcome. */
    const sent = { done: [] as [string, string, string | undefined][], doubt: 0 };
    const deleted: string[] = [];
    await Promise.all(
      Array.from({ length: 24 }, async (_, i) => {
        const engine = h.process();
        const key = `k${Math.floor(next() * 3)}`;
        if (next() < 0.2) {
          const code = await codeOf(engine.deleteObject(remove(key)));
          t.true(code === 'none' || code === 'MetadataUnavailable');
          deleted.push(key);
          return;
        }
        try {
          const { versionId } = await engine.putObject(put(key, `body ${i}`));
          sent.done.push([key, `body ${i}`, versionId]);
        } catch (error) {
          t.true(isFirnError(error, 'MetadataUnavailable'));
          sent.doubt += 1;
        }
      }),
    );
    h.store.beforeRead = undefined;
    h.store.beforeCommit = (change) => h.auditor.check(change);
    for (const [key, body, versionId] of sent.done) {
      if (versionId !== undefined) t.is(await textOf(h.engine, key, versionId), body);
    }
    for (const key of ['k0', 'k1', 'k2']) {
      const code = await codeOf(h.engine.getObject(name(key)));
      const written = sent.done.some(([other]) => other === key);
      if (written && !deleted.includes(key)) t.is(code, 'none');
    }
    await codeOf(h.engine.putObject(put('k0', 'last')));
    t.is(await textOf(h.engine, 'k0'), 'last');
  }
});

test('the store in memory, on which all this rests, answers as LMDB does', async (t) => {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const next = seeded(seed);
  const directory = await mkdtemp(join(tmpdir(), 'firn-double-'));
  const clock = new TestClock();
  const real = buildMetadata({
    dataDirectory: directory,
    clock,
    random: cryptoRandom,
    processName: 'test',
  });
  const double = new MemoryMetadataStore(clock);
  const ids = ['a', 'a/', 'a\u0001', 'ab', 'ü', '\uffee', '\u{1f600}', 'b'];
  const pick = (): string => ids[Math.floor(next() * ids.length)] as string;
  /** Revisions differ between stores: those of the same commit go together. */
  const revisions = new Map<string, [string, string]>([['none', ['x', 'x']]]);
  try {
    await real.open();
    for (let step = 0; step < 400; step++) {
      const id = pick();
      const table = next() < 0.5 ? 'objects' : 'leases';
      const value = { format: 1, step, list: [{ id }] };
      const pairs = [...revisions.values()];
      const [one, two] = pairs[Math.floor(next() * pairs.length)] as [string, string];
      const options = next() < 0.1 ? { notAfter: NOON - 1 } : { notAfter: NOON };
      const dice = next();
      const act = (store: MetadataStore, expected: string) => {
        if (dice < 0.35) return store.insert(table, id, value, options);
        if (dice < 0.7) return store.replace({ table, id, expected, value }, options);
        return store.remove(table, id, expected, options);
      };
      const current = [await real.get(table, id), await double.get(table, id)];
      t.deepEqual(current[0]?.value, current[1]?.value);
      const useCurrent = next() < 0.6 && current[0] !== undefined;
      const a = await act(real, useCurrent ? (current[0]?.revision ?? '') : one);
      const b = await act(double, useCurrent ? (current[1]?.revision ?? '') : two);
      t.is(a.outcome, b.outcome, `step ${step}`);
      if (a.outcome === 'done' && b.outcome === 'done' && dice < 0.7) {
        revisions.set(String(step), [a.revision, b.revision]);
      }
      const query: RangeQuery = { table, limit: 1 + Math.floor(next() * 5), reverse: next() < 0.5 };
      const lower = next();
      if (lower < 0.4) query.from = pick();
      else if (lower < 0.8) query.after = pick();
      if (next() < 0.5) query.to = pick();
      const rows = await Promise.all([real.range(query), double.range(query)]);
      const seen = rows.map((page) => page.map((row) => [row.id, row.value]));
      t.deepEqual(seen[0], seen[1], JSON.stringify(query));
    }
  } finally {
    await real.close();
    await rm(directory, { recursive: true });
  }
});
