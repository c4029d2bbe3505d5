// Equal bytes kept once (dedupe, appliance/engine/DEDUPE.md). What a user would lose: the only copy of
// an object, because somebody else deleted another one that shared it; or, the other way round, bytes
// that nobody can reach and nothing ever frees. So each race is played by hand, then all of them by
// chance, and each ends with the same two questions: is every named byte there, and is nothing left?

import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';

import test, { type ExecutionContext } from 'ava';

import { buildEngine } from '../appliance/engine/build.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { collectPage } from '../appliance/engine/upkeep/collect.ts';
import { evacuatePage } from '../appliance/engine/upkeep/evacuate.ts';
import { listGarbage } from '../appliance/engine/document/garbage.ts';
import { takeLease } from '../appliance/engine/document/lease.ts';
import { moveVersions } from '../appliance/engine/move/move.ts';
import { moveIntoPacks } from '../appliance/engine/move/pack-move.ts';
import { resumeMoves } from '../appliance/engine/move/resume.ts';
import { sweep } from '../appliance/engine/upkeep/sweep.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import { objectId } from '../appliance/model/ids.ts';
import { DEDUPE_BYTES_MIN, GRACE_MS, KiB } from '../appliance/model/limits.ts';
import type { Change, RangeQuery, Table } from '../appliance/model/metadata-store.ts';
import type { Version } from '../appliance/model/object.ts';
import type { Content, Garbage } from '../appliance/model/records.ts';
import type { PutObject } from '../appliance/model/requests.ts';
import type { Body } from '../appliance/model/tier.ts';
import { sampleUsage } from '../workers/usage.ts';
import { Crash } from './memory-store.ts';
import {
  auditBytes,
  auditSettled,
  collectAll,
  leaseOf,
  newRigOn,
  random,
  rigStores,
  settle,
  TestClock,
  versionsOf,
  wholeOf,
  type Rig as RigOf,
  type RigStore,
} from './move-rig.ts';

type Rig = RigOf<RigStore>;

const SIZE = DEDUPE_BYTES_MIN;
const OVER = GRACE_MS + 60_000;

async function openRig(): Promise<Rig> {
  const clock = new TestClock();
  return await newRigOn(await rigStores.open(clock), clock);
}

async function newDedupeRig(versioning: 'off' | 'enabled' = 'off'): Promise<Rig> {
  const rig = await openRig();
  rig.bucket = await rig.engine.updateBucket('data', (old) => ({
    ...old,
    versioning,
    dedupe: true,
  }));
  return rig;
}

async function putBody(
  rig: Rig,
  key: string,
  bytes: Uint8Array,
  more: Partial<PutObject> & { engine?: Engine } = {},
): Promise<Version> {
  const { engine = rig.engine, ...request } = more;
  const { version } = await engine.putObject({
    bucket: 'data',
    key,
    body: bytes,
    owner: 'root',
    storageClass: 'STANDARD',
    headers: {},
    metadata: {},
    ...request,
  });
  rig.bytes.set(version.id, bytes);
  return version;
}

/** Chunks of a body whose length nobody was told. */
async function* streamOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 5000) yield bytes.subarray(at, at + 5000);
}

const remove = (rig: Rig, key: string, versionId?: string): Promise<unknown> =>
  rig.engine.deleteObject({
    bucket: 'data',
    key,
    owner: 'root',
    ...(versionId === undefined ? {} : { versionId }),
  });

async function read(rig: Rig, key: string): Promise<Uint8Array> {
  return wholeOf((await rig.engine.getObject({ bucket: 'data', key })).body);
}

const placeOf = (version: Version): string => version.parts[0]?.location.id ?? '';
const object = (rig: Rig, key: string): string => objectId(rig.bucket.id, key);
const rowOf = async (rig: Rig, id: string): Promise<Garbage | undefined> =>
  (await rig.store.rowsOf<Garbage>('garbage')).find((row) => row.id === id)?.value;

/** Nothing lives: no byte, and no row that dedupe made. */
async function auditEmpty(t: ExecutionContext, rig: Rig, when: string): Promise<void> {
  await settle(rig);
  await auditSettled(t, rig, when);
  t.is(rig.hot.blobs.size, 0, `${when}: bytes are left`);
  t.deepEqual(await rig.store.rowsOf('contents'), [], `${when}: hints are left`);
  t.deepEqual(await rig.store.rowsOf('references'), [], `${when}: references are left`);
}

// ── What is shared ────────────────────────────────────────────────────────────────────────────────

for (const kind of ['in hand', 'a stream of known length', 'a stream of unknown length'] as const) {
  const bodyOf = (bytes: Uint8Array): Pick<PutObject, 'body' | 'sizeBytes'> => {
    if (kind === 'in hand') return { body: bytes };
    if (kind === 'a stream of unknown length') return { body: streamOf(bytes) };
    return { body: streamOf(bytes), sizeBytes: bytes.length };
  };

  for (const size of [SIZE, 300 * KiB]) {
    test(`${kind}, ${size} bytes: put thrice they are kept once, until the last is deleted`, async (t) => {
      const rig = await newDedupeRig();
      const bytes = random.bytes(size);
      const first = await putBody(rig, 'a', bytes, bodyOf(bytes));
      const second = await putBody(rig, 'b', bytes, bodyOf(bytes));
      const third = await putBody(rig, 'c', bytes, bodyOf(bytes));
      t.is(placeOf(second), placeOf(first));
      t.is(placeOf(third), placeOf(first));
      t.is(second.etag, createHash('md5').update(bytes).digest('hex'));
      t.not(second.operation, third.operation, 'a write is known by its own operation');
      for (const key of ['a', 'b', 'c']) t.deepEqual(await read(rig, key), bytes);
      await settle(rig);
      t.is(rig.hot.blobs.size, 1);
      // The one whose record it is goes first.
      for (const key of ['a', 'c']) {
        await remove(rig, key);
        await settle(rig);
        await auditSettled(t, rig, `${key} deleted`);
        t.deepEqual(await read(rig, 'b'), bytes);
      }
      await remove(rig, 'b');
      await auditEmpty(t, rig, 'all deleted');
      rig.close();
    });
  }
}

test('a wrong Content-MD5 is refused though the bytes are there', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  await putBody(rig, 'a', bytes);
  const error = await t.throwsAsync(putBody(rig, 'b', bytes, { contentMd5: '0'.repeat(32) }));
  t.true(isFirnError(error, 'BadDigest'));
  const short = { body: streamOf(bytes), sizeBytes: SIZE + 1 };
  t.true(isFirnError(await t.throwsAsync(putBody(rig, 'b', bytes, short)), 'IncompleteBody'));
  rig.close();
});

test('versions of one key share, and each is deleted by itself', async (t) => {
  const rig = await newDedupeRig('enabled');
  const bytes = random.bytes(SIZE);
  const first = await putBody(rig, 'k', bytes);
  const second = await putBody(rig, 'k', bytes);
  t.is(placeOf(second), placeOf(first));
  await remove(rig, 'k', first.id);
  await settle(rig);
  await auditSettled(t, rig, 'the older is gone');
  t.deepEqual(await read(rig, 'k'), bytes);
  await remove(rig, 'k', second.id);
  await auditEmpty(t, rig, 'both are gone');
  rig.close();
});

test('overwritten by the same bytes a key keeps its place, and nothing waits to be freed', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const first = await putBody(rig, 'k', bytes);
  const second = await putBody(rig, 'k', bytes);
  t.is(placeOf(second), placeOf(first));
  t.is(await rowOf(rig, placeOf(first)), undefined);
  await settle(rig);
  t.deepEqual(await read(rig, 'k'), bytes);
  rig.close();
});

test('a copy within the bucket shares; the source may go', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  await putBody(rig, 'from', bytes);
  await rig.engine.copyObject({
    bucket: 'data',
    key: 'to',
    source: { bucket: 'data', key: 'from' },
    owner: 'root',
  });
  t.is(rig.hot.blobs.size, 1);
  await remove(rig, 'from');
  await settle(rig);
  t.deepEqual(await read(rig, 'to'), bytes);
  rig.close();
});

test('never shared: small, sealed, other buckets, other tiers’ bytes, a bucket that does not ask', async (t) => {
  const rig = await newDedupeRig();
  const blobs = async (
    bytes: Uint8Array,
    more: Partial<PutObject>,
    other: Partial<PutObject> = more,
  ): Promise<number> => {
    const before = rig.hot.blobs.size;
    await putBody(rig, `${before}`, bytes, more);
    await putBody(rig, `${before}-other`, bytes, other);
    return rig.hot.blobs.size - before;
  };
  t.is(await blobs(random.bytes(SIZE), {}), 1, 'shared is what could be');
  t.is(await blobs(random.bytes(SIZE - 1), {}), 2, 'small');
  const noted = (await rig.store.rowsOf('references')).length;
  t.is(await blobs(random.bytes(SIZE), { encryption: { kind: 'SSE-S3' } }), 2, 'sealed');
  t.is((await rig.store.rowsOf('references')).length, noted, 'and no hash of what is sealed');
  await rig.engine.createBucket({ name: 'other', owner: 'root', region: 'us-east-1' });
  await rig.engine.updateBucket('other', (old) => ({ ...old, dedupe: true }));
  t.is(await blobs(random.bytes(SIZE), {}, { bucket: 'other' }), 2, 'another bucket');
  const rows = (await rig.store.rowsOf('references')).length;
  await rig.engine.updateBucket('data', (old) => ({ ...old, dedupe: false }));
  t.is(await blobs(random.bytes(SIZE), {}), 2, 'turned off');
  t.is((await rig.store.rowsOf('references')).length, rows, 'and nothing is noted');
  rig.close();
});

test('a bucket without dedupe reads and writes not one row more', async (t) => {
  const rig = await openRig();
  const count = async (): Promise<string[]> => {
    const seen: string[] = [];
    const { beforeCommit } = rig.store;
    rig.store.beforeCommit = (change) => {
      seen.push(`${change.kind} ${change.table}`);
      return beforeCommit?.(change);
    };
    rig.store.beforeRead = (table) => void seen.push(`read ${table}`);
    await putBody(rig, 'k', random.bytes(SIZE));
    rig.store.beforeCommit = beforeCommit;
    rig.store.beforeRead = undefined;
    return seen;
  };
  const seen = await count();
  t.false(
    seen.some((one) => /contents|references/.test(one)),
    seen.join(),
  );
  rig.close();
});

// ── Old bytes are not trusted ─────────────────────────────────────────────────────────────────────

test('rotten, lost or other bytes are not given for fresh ones', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const first = await putBody(rig, 'a', bytes);
  rig.hot.rotten.add(placeOf(first));
  const second = await putBody(rig, 'b', bytes);
  t.not(placeOf(second), placeOf(first));
  t.deepEqual(await read(rig, 'b'), bytes);
  t.is(placeOf(await putBody(rig, 'c', bytes)), placeOf(second), 'the next finds the sound ones');
  rig.hot.blobs.delete(placeOf(second));
  const third = await putBody(rig, 'd', bytes);
  t.deepEqual(await read(rig, 'd'), bytes);
  // A hint that lies: the other content has the same length and a checksum of its own.
  const wrong = await putBody(rig, 'e', random.bytes(SIZE));
  const [right] = (await rig.store.rowsOf<Content>('contents')).filter(
    ({ value }) => value.location.id === placeOf(third),
  );
  const lie = (await rig.store.rowsOf<Content>('contents')).find(
    ({ value }) => value.location.id === placeOf(wrong),
  );
  if (right === undefined || lie === undefined) return t.fail('no hints');
  await rig.store.replace({
    table: 'contents',
    id: right.id,
    expected: right.revision,
    value: lie.value,
  });
  for (const body of [bytes, streamOf(bytes)]) {
    await putBody(rig, 'f', bytes, { body });
    t.deepEqual(await read(rig, 'f'), bytes);
  }
  rig.close();
});

test('who shares bytes that are a drive short is acknowledged with them on the heal list', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  rig.hot.unconfirmed = 1;
  // Their writer dies before its own commit.
  const { beforeCommit } = rig.store;
  let isOffered = false;
  rig.store.beforeCommit = (change) => {
    if (isOffered) throw new Crash();
    isOffered = change.table === 'contents';
    return beforeCommit?.(change);
  };
  t.true(await crashes(() => putBody(rig, 'a', bytes)));
  t.true(isOffered);
  rig.store.beforeCommit = beforeCommit;
  rig.restart();
  rig.hot.unconfirmed = 0;
  const place = placeOf(await putBody(rig, 'b', bytes));
  t.is(rig.hot.blobs.size, 1);
  t.deepEqual(
    (await rig.store.rowsOf('heals')).map(({ id }) => id),
    [place],
  );
  rig.close();
});

// ── Races by hand ─────────────────────────────────────────────────────────────────────────────────

/** Once, just before the first commit (or read) that fits, something else happens. */
function meanwhile(
  rig: Rig,
  fits: (table: Table, id: string | undefined, change: Change | undefined) => boolean,
  then: () => Promise<unknown>,
): { happened: boolean } {
  const state = { happened: false };
  const { beforeCommit, beforeRead } = rig.store;
  const once = async (): Promise<void> => {
    state.happened = true;
    rig.store.beforeCommit = beforeCommit;
    rig.store.beforeRead = beforeRead;
    await then();
  };
  rig.store.beforeCommit = async (change) => {
    if (!state.happened && fits(change.table, change.id, change)) await once();
    return beforeCommit?.(change);
  };
  rig.store.beforeRead = async (table, id) => {
    if (!state.happened && fits(table, id, undefined)) await once();
    return beforeRead?.(table, id);
  };
  return state;
}

const condemns = (change: Change | undefined): boolean =>
  change?.kind === 'replace' && change.table === 'garbage' && 'condemned' in change.value;

/** One object was put and deleted long ago: its bytes are due. */
async function dueRig(): Promise<{ rig: Rig; bytes: Uint8Array; place: string }> {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const place = placeOf(await putBody(rig, 'a', bytes));
  // Two heads would each speak for themselves.
  await remove(rig, 'a');
  rig.clock.pass(OVER);
  return { rig, bytes, place };
}

test('the collector comes between reference and commit: the reference keeps the bytes', async (t) => {
  const { rig, bytes, place } = await dueRig();
  const race = meanwhile(
    rig,
    (table, id, change) => change !== undefined && table === 'objects' && id === object(rig, 'b'),
    () => collectAll(rig, 3),
  );
  const version = await putBody(rig, 'b', bytes);
  t.true(race.happened);
  t.is(placeOf(version), place);
  await auditBytes(t, rig, 'committed');
  await settle(rig);
  await auditSettled(t, rig, 'settled');
  t.deepEqual(await read(rig, 'b'), bytes);
  await remove(rig, 'b');
  await auditEmpty(t, rig, 'deleted');
  rig.close();
});

test('the collector has asked already: who comes then writes anew', async (t) => {
  const { rig, bytes, place } = await dueRig();
  let version: Version | undefined;
  const race = meanwhile(
    rig,
    (_table, _id, change) => condemns(change),
    async () => (version = await putBody(rig, 'b', bytes)),
  );
  await collectAll(rig);
  t.true(race.happened);
  t.not(version === undefined ? place : placeOf(version), place);
  await auditBytes(t, rig, 'collected');
  await settle(rig);
  t.deepEqual(await read(rig, 'b'), bytes);
  t.is(rig.hot.blobs.size, 1);
  rig.close();
});

test('shared while the collector asks for the last time: the question is taken back', async (t) => {
  const { rig, bytes, place } = await dueRig();
  let version: Version | undefined;
  // The PUT looks at the row just before the question, and the collector sees its reference after.
  const race = meanwhile(
    rig,
    (_table, _id, change) => change?.kind === 'replace' && 'questioned' in change.value,
    async () => (version = await putBody(rig, 'b', bytes)),
  );
  await collectAll(rig);
  t.true(race.happened);
  t.is(version === undefined ? '' : placeOf(version), place);
  await auditBytes(t, rig, 'collected');
  t.not((await rowOf(rig, place))?.questioned, true);
  await settle(rig);
  t.deepEqual(await read(rig, 'b'), bytes);
  rig.close();
});

test('freed between the look at its row and the look at its head: the head is gone', async (t) => {
  const { rig, bytes, place } = await dueRig();
  let put: Promise<Version> | undefined;
  let released = (): void => undefined;
  const ended = new Promise<void>((resolve) => (released = resolve));
  // The PUT has written its reference after the collector's last look, and sleeps at its own first
  // one until the collector has ended.
  const race = meanwhile(
    rig,
    (_table, _id, change) => condemns(change),
    async () => {
      const seen: string[] = [];
      meanwhile(
        rig,
        (table, id, change) => {
          if (change === undefined) seen.push(`${table} ${id}`);
          return change === undefined && table === 'garbage' && id === place;
        },
        () => ended,
      );
      let isOver = false;
      put = putBody(rig, 'b', bytes).finally(() => (isOver = true));
      while (!isOver && !seen.includes(`garbage ${place}`)) await turn();
      t.false(isOver, 'it sleeps there');
    },
  );
  await collectAll(rig);
  t.true(race.happened);
  t.false(rig.hot.blobs.has(place), 'the collector has ended');
  released();
  const version = await put;
  t.not(version === undefined ? place : placeOf(version), place);
  await auditBytes(t, rig, 'committed');
  t.deepEqual(await read(rig, 'b'), bytes);
  await remove(rig, 'b');
  await auditEmpty(t, rig, 'deleted');
  rig.close();
});

test('freed between the reading back and the reference: the bytes are written anew', async (t) => {
  const { rig, bytes, place } = await dueRig();
  const race = meanwhile(
    rig,
    (table, id, change) => change?.kind === 'insert' && table === 'references' && id !== place,
    () => collectAll(rig),
  );
  const version = await putBody(rig, 'b', bytes);
  t.true(race.happened);
  t.false(rig.hot.blobs.has(place));
  t.not(placeOf(version), place);
  await auditBytes(t, rig, 'committed');
  await remove(rig, 'b');
  await auditEmpty(t, rig, 'deleted');
  rig.close();
});

test('two collectors: what one has taken back the other does not free', async (t) => {
  const { rig, bytes, place } = await dueRig();
  // The first sleeps before its verdict; the row is listed anew, a PUT shares, and it wakes up.
  const race = meanwhile(
    rig,
    (_table, _id, change) => condemns(change),
    async () => {
      const locations = (await rig.store.rowsOf<Garbage>('garbage')).flatMap(
        ({ value }) => value.location ?? [],
      );
      await listGarbage(
        rig.context,
        { locations, blocks: [] },
        { object: object(rig, 'a'), reason: 'lost' },
      );
      t.is(placeOf(await putBody(rig, 'b', bytes)), place);
    },
  );
  await collectAll(rig);
  t.true(race.happened);
  t.true(rig.hot.blobs.has(place));
  await auditBytes(t, rig, 'collected');
  await settle(rig);
  t.deepEqual(await read(rig, 'b'), bytes);
  rig.close();
});

test('the last sharer is deleted, its grace over, while another PUT hits', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const place = placeOf(await putBody(rig, 'a', bytes));
  await putBody(rig, 'b', bytes);
  await remove(rig, 'a');
  await settle(rig);
  const race = meanwhile(
    rig,
    (table, id, change) => change !== undefined && table === 'objects' && id === object(rig, 'c'),
    async () => {
      await remove(rig, 'b');
      // Behind the grace of the row, within that of the reference.
      const row = (await rig.store.rowsOf<Garbage>('garbage')).find(({ id }) => id === place);
      if (row === undefined) throw new Error('not listed');
      const { id, revision, value } = row;
      const due = { ...value, notBefore: 0 };
      await rig.store.replace({ table: 'garbage', id, expected: revision, value: due });
      await collectAll(rig, 2);
    },
  );
  const version = await putBody(rig, 'c', bytes);
  t.true(race.happened);
  t.is(placeOf(version), place);
  await auditBytes(t, rig, 'committed');
  t.deepEqual(await read(rig, 'c'), bytes);
  await remove(rig, 'c');
  await auditEmpty(t, rig, 'deleted');
  rig.close();
});

test('two PUTs of the same new bytes at once: both are kept, and each may go', async (t) => {
  const rig = await newDedupeRig();
  const other = buildEngine(rig.context);
  const bytes = random.bytes(SIZE);
  await Promise.all([
    putBody(rig, 'a', bytes),
    putBody(rig, 'b', bytes, { engine: other }),
    putBody(rig, 'c', bytes),
  ]);
  t.true(rig.hot.blobs.size > 1, 'none could find the others');
  const later = placeOf(await putBody(rig, 'd', bytes));
  t.is(placeOf(await putBody(rig, 'e', bytes)), later);
  for (const key of ['a', 'b', 'd', 'c']) {
    await remove(rig, key);
    await settle(rig);
    await auditSettled(t, rig, `${key} deleted`);
  }
  t.deepEqual(await read(rig, 'e'), bytes);
  await remove(rig, 'e');
  await auditEmpty(t, rig, 'all deleted');
  rig.close();
});

test('an object that had shared the bytes long ago comes again: its old reference is young again', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const place = placeOf(await putBody(rig, 'a', bytes));
  await putBody(rig, 'b', bytes);
  await remove(rig, 'b');
  rig.clock.pass(OVER);
  await remove(rig, 'a');
  rig.clock.pass(OVER);
  const race = meanwhile(
    rig,
    (table, id, change) => change !== undefined && table === 'objects' && id === object(rig, 'b'),
    () => collectAll(rig, 2),
  );
  t.is(placeOf(await putBody(rig, 'b', bytes)), place);
  t.true(race.happened);
  await auditBytes(t, rig, 'committed');
  await settle(rig);
  t.deepEqual(await read(rig, 'b'), bytes);
  rig.close();
});

test('an orphan of unknown owner that is being shared is not condemned by the second sweep', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const dies = meanwhile(
    rig,
    (table, id, change) => change !== undefined && table === 'objects' && id === object(rig, 'a'),
    () => Promise.resolve(rig.crashAt(1)),
  );
  t.true(await crashes(() => putBody(rig, 'a', bytes)));
  t.true(dies.happened);
  rig.restart();
  const [place = ''] = rig.hot.blobs.keys();
  const sweepOnce = async (): Promise<void> => {
    rig.clock.pass(OVER);
    const lease = await leaseOf(rig, 'sweep');
    await sweep(rig.core, { lease });
    await lease.release();
  };
  await sweepOnce();
  t.is((await rowOf(rig, place))?.object, '', 'nobody knows whose it was');
  rig.clock.pass(OVER);
  const race = meanwhile(
    rig,
    (table, id, change) => change !== undefined && table === 'objects' && id === object(rig, 'b'),
    async () => {
      const lease = await leaseOf(rig, 'sweep');
      await sweep(rig.core, { lease });
      await lease.release();
      await collectAll(rig, 2);
    },
  );
  t.is(placeOf(await putBody(rig, 'b', bytes)), place);
  t.true(race.happened);
  await auditBytes(t, rig, 'committed');
  await remove(rig, 'b');
  await auditEmpty(t, rig, 'deleted');
  rig.close();
});

for (const hours of [2, 26, 60]) {
  test(`a writer that sleeps ${hours} hours behind its look commits nothing`, async (t) => {
    const { rig, bytes } = await dueRig();
    await putBody(rig, 'b', bytes);
    rig.clock.pass(OVER);
    const race = meanwhile(
      rig,
      (table, id, change) => change !== undefined && table === 'objects' && id === object(rig, 'c'),
      async () => {
        rig.clock.pass(hours * 3_600_000);
        await remove(rig, 'b');
        rig.clock.pass(hours * 3_600_000);
        await collectAll(rig, 2);
      },
    );
    const error = await t.throwsAsync(putBody(rig, 'c', bytes));
    t.true(race.happened);
    t.true(isFirnError(error, 'ServiceUnavailable'));
    await auditBytes(t, rig, 'refused');
    await auditEmpty(t, rig, 'settled');
    rig.close();
  });
}

test('each look at all references begins with a read that only a true primary answers', async (t) => {
  const { rig, place } = await dueRig();
  const seen: string[] = [];
  const { store } = rig;
  const get = store.get.bind(store);
  const range = store.range.bind(store);
  const replace = store.replace.bind(store);
  store.get = <T>(table: Table, id: string, options?: { linearizable?: boolean }) => {
    if (id === place && options?.linearizable === true) seen.push(`${table}, surely`);
    return get<T>(table, id);
  };
  store.range = <T>(query: RangeQuery) => {
    if (query.from === place && query.limit > 1) seen.push(query.table);
    return range<T>(query);
  };
  store.replace = (change) => {
    if (change.id === place) seen.push('questioned' in change.value ? 'question' : 'verdict');
    return replace(change);
  };
  await collectAll(rig);
  const look = ['references, surely', 'references'];
  const end = seen.indexOf('verdict');
  t.deepEqual(seen.slice(0, end), [...look, 'question', ...look], seen.join());
  rig.close();
});

test('a head is not written for bytes that may be due', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const race = meanwhile(
    rig,
    (table, _id, change) => change?.kind === 'insert' && table === 'references',
    () => Promise.resolve(rig.clock.pass(GRACE_MS * 0.6)),
  );
  await t.throwsAsync(putBody(rig, 'a', bytes), undefined, 'too old to be named (B3)');
  t.true(race.happened);
  t.deepEqual(await rig.store.rowsOf('references'), []);
  t.deepEqual(await rig.store.rowsOf('contents'), []);
  rig.close();
});

test('listed and not yet asked about: the bytes are shared, and live on', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const place = placeOf(await putBody(rig, 'a', bytes));
  await remove(rig, 'a');
  t.is(placeOf(await putBody(rig, 'b', bytes)), place);
  await settle(rig);
  await auditSettled(t, rig, 'settled');
  t.deepEqual(await read(rig, 'b'), bytes);
  rig.close();
});

test('a stale reference goes with the sweep, a needed one does not', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  await putBody(rig, 'a', bytes);
  for (let i = 0; i < 5; i += 1) {
    await putBody(rig, `b${i}`, bytes);
    if (i > 0) await remove(rig, `b${i}`);
  }
  t.is((await rig.store.rowsOf('references')).length, 6);
  await settle(rig);
  t.is((await rig.store.rowsOf('references')).length, 2, 'head, and b0');
  await remove(rig, 'a');
  await settle(rig);
  t.deepEqual(await read(rig, 'b0'), bytes);
  rig.close();
});

// ── Moves ─────────────────────────────────────────────────────────────────────────────────────────

async function moveAll(rig: Rig, to: 'cold' | 'hot', keys?: readonly string[]): Promise<number> {
  const lease = await leaseOf(rig, `move-${rig.clock.now()}`);
  const all = await versionsOf(rig);
  const due = all.filter(({ key, parts }) => keys?.includes(key) !== false && parts.length > 0);
  const from = due.filter(({ parts }) => parts[0]?.location.tier === 'hot');
  const options = { tier: to, lease } as const;
  const counts =
    to === 'cold'
      ? await moveIntoPacks(rig.core, from, {
          ...options,
          kind: 'transition',
          storageClass: 'GLACIER_IR',
        })
      : await moveVersions(rig.core, from, { ...options, kind: 'rebalance' });
  await lease.release();
  return counts.moved;
}

test('one of three goes to the cold: the others keep their place until they go too', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  for (const key of ['a', 'b', 'c']) await putBody(rig, key, bytes);
  for (const key of ['a', 'c', 'b']) {
    t.is(await moveAll(rig, 'cold', [key]), 1);
    await settle(rig);
    await auditSettled(t, rig, `${key} moved`);
    t.is(rig.hot.blobs.size, key === 'b' ? 0 : 1);
  }
  for (const key of ['a', 'b', 'c']) t.deepEqual(await read(rig, key), bytes);
  t.deepEqual(await rig.store.rowsOf('references'), []);
  t.deepEqual(await rig.store.rowsOf('contents'), []);
  rig.close();
});

test('moved within the tier, at once or one by one, what is shared stays shared', async (t) => {
  const rig = await newDedupeRig('enabled');
  const bytes = random.bytes(SIZE);
  for (const key of ['a', 'b', 'b', 'c']) await putBody(rig, key, bytes);
  const before = new Set(rig.hot.blobs.keys());
  t.is(await moveAll(rig, 'hot'), 4);
  await settle(rig);
  await auditSettled(t, rig, 'at once');
  t.is(rig.hot.blobs.size, 1);
  t.false(
    [...rig.hot.blobs.keys()].some((id) => before.has(id)),
    'it was moved',
  );
  for (const key of ['a', 'b', 'c']) await moveAll(rig, 'hot', [key]);
  await settle(rig);
  await auditSettled(t, rig, 'one by one');
  t.is(rig.hot.blobs.size, 1);
  const next = await putBody(rig, 'd', bytes);
  t.true(rig.hot.blobs.has(placeOf(next)));
  t.is(rig.hot.blobs.size, 1, 'who comes later finds it there');
  rig.close();
});

test('a move that takes days keeps what is shared once, and who comes too late to share copies', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  const days = ['mon', 'tue', 'wed', 'thu', 'fri'];
  for (const day of days) await putBody(rig, day, bytes);
  for (const day of days) {
    t.is(await moveAll(rig, 'hot', [day]), 1);
    rig.clock.pass(7 * 3_600_000);
  }
  await settle(rig);
  await auditSettled(t, rig, 'moved');
  t.is(rig.hot.blobs.size, 1);
  for (const day of days) t.deepEqual(await read(rig, day), bytes);
  rig.close();
});

for (const step of ['question', 'reference'] as const) {
  test(`a move to a place that is being freed, seen at its ${step}, copies`, async (t) => {
    const rig = await newDedupeRig();
    const bytes = random.bytes(SIZE);
    for (const key of ['a', 'b']) await putBody(rig, key, bytes);
    // The copy of one of two, and its only name goes: it is due.
    await moveAll(rig, 'hot', ['a']);
    const { version } = await rig.engine.headObject({ bucket: 'data', key: 'a' });
    const copy = placeOf(version);
    await remove(rig, 'a');
    rig.clock.pass(OVER);
    let moved: number | undefined;
    const race =
      step === 'question'
        ? meanwhile(
            rig,
            (_table, id, change) => id === copy && condemns(change),
            async () => (moved = await moveAll(rig, 'hot', ['b'])),
          )
        : meanwhile(
            rig,
            (table, id, change) =>
              change !== undefined && table === 'references' && id?.startsWith(`${copy}/`) === true,
            () => collectAll(rig),
          );
    if (step === 'question') await collectAll(rig);
    else moved = await moveAll(rig, 'hot', ['b']);
    t.true(race.happened);
    t.is(moved, 1);
    t.false(rig.hot.blobs.has(copy), 'freed');
    await auditBytes(t, rig, 'moved');
    t.deepEqual(await read(rig, 'b'), bytes);
    await remove(rig, 'b');
    await auditEmpty(t, rig, 'deleted');
    rig.close();
  });
}

test('a version that is deleted while it moves to a shared place leaves the others theirs', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  for (const key of ['a', 'b']) await putBody(rig, key, bytes);
  await moveAll(rig, 'hot', ['a']);
  rig.clock.pass(7 * 3_600_000);
  const { version } = await rig.engine.headObject({ bucket: 'data', key: 'a' });
  const race = meanwhile(
    rig,
    (table, _id, change) => change?.kind === 'replace' && table === 'moves',
    () => remove(rig, 'b'),
  );
  t.is(await moveAll(rig, 'hot', ['b']), 0);
  t.true(race.happened);
  t.is(await rowOf(rig, placeOf(version)), undefined, 'it was never its own, so it is not listed');
  await settle(rig);
  await auditSettled(t, rig, 'settled');
  t.deepEqual(await read(rig, 'a'), bytes);
  rig.close();
});

test('a rebalance moves what is named once, and leaves what is shared', async (t) => {
  const rig = await newDedupeRig();
  const shared = random.bytes(SIZE);
  const small = random.bytes(SIZE - 1);
  for (const key of ['a', 'b']) await putBody(rig, key, shared);
  const alone = placeOf(await putBody(rig, 'c', small));
  const before = [...rig.hot.blobs.keys()].filter((id) => id !== alone);
  const { version } = await rig.engine.headObject({ bucket: 'data', key: 'c' });
  const location = version.parts[0]?.location;
  if (location?.kind !== 'shards') throw new Error('of another kind');
  const lease = await leaseOf(rig, 'rebalance');
  const sources = new Map([[location.group, 10 * SIZE]]);
  let cursor = '';
  let moved = 0;
  for (;;) {
    const names = new Map<string, string>();
    const page = await evacuatePage(rig.core, { tier: 'hot', sources }, cursor, { lease, names });
    moved += page.moved.get(location.group)?.bytes ?? 0;
    if (page.next === undefined) break;
    cursor = page.next;
  }
  await lease.release();
  t.is(moved, SIZE - 1);
  await settle(rig);
  t.is(rig.hot.blobs.size, 2);
  t.true(before.every((id) => rig.hot.blobs.has(id)));
  t.false(rig.hot.blobs.has(alone));
  rig.close();
});

// ── Crashes ───────────────────────────────────────────────────────────────────────────────────────

async function crashes(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return false;
  } catch (error) {
    if (error instanceof Crash) return true;
    throw error;
  }
}

test('whatever step the process dies at, all named bytes are there and nothing stays behind', async (t) => {
  let steps = 0;
  // A real store costs a second each; the one in memory dies at every step.
  for (let at = 1; ; at += rigStores.isReal ? 4 : 1) {
    const rig = await newDedupeRig();
    const bytes = random.bytes(SIZE);
    const when = `died at effect ${at}`;
    rig.crashAt(at);
    const died = await crashes(async () => {
      await putBody(rig, 'a', bytes);
      await putBody(rig, 'b', bytes);
      await putBody(rig, 'b2', bytes, { body: streamOf(bytes) });
      await moveAll(rig, 'hot');
      await remove(rig, 'a');
      rig.clock.pass(OVER);
      await collectAll(rig, 2);
      await remove(rig, 'b');
      await remove(rig, 'b2');
      rig.clock.pass(OVER);
      await collectAll(rig, 2);
    });
    rig.restart();
    await auditBytes(t, rig, when);
    // A PUT comes before anybody has tidied up.
    await putBody(rig, 'c', bytes);
    rig.clock.pass(120_000);
    const lease = await leaseOf(rig, 'resume');
    await resumeMoves(rig.core, { lease });
    await lease.release();
    await auditBytes(t, rig, `${when}, resumed`);
    await settle(rig);
    await auditSettled(t, rig, `${when}, settled`);
    t.deepEqual(await read(rig, 'c'), bytes, when);
    for (const key of ['a', 'b', 'b2', 'c']) await remove(rig, key);
    await auditEmpty(t, rig, `${when}, emptied`);
    rig.close();
    if (!died) break;
    steps = at;
  }
  t.log(`${steps} crash points`);
  t.true(steps > 40);
});

test('a question that a dead collector left is decided by the next, for or against', async (t) => {
  for (const isNamed of [true, false]) {
    const { rig, bytes, place } = await dueRig();
    const race = meanwhile(
      rig,
      (_table, _id, change) => condemns(change),
      () => Promise.reject(new Crash()),
    );
    t.true(await crashes(() => collectAll(rig)));
    t.true(race.happened);
    rig.restart();
    rig.clock.pass(120_000);
    t.true((await rowOf(rig, place))?.questioned);
    if (isNamed) {
      // As if the PUT had looked before the question and slept until now.
      const row = (await rig.store.rowsOf<Garbage>('garbage')).find(({ id }) => id === place);
      if (row === undefined) throw new Error('no row');
      const { questioned: _, ...value } = row.value;
      const { revision } = row;
      await rig.store.replace({ table: 'garbage', id: place, expected: revision, value });
      t.is(placeOf(await putBody(rig, 'b', bytes)), place);
      const now = (await rig.store.rowsOf<Garbage>('garbage')).find(({ id }) => id === place);
      await rig.store.replace({
        table: 'garbage',
        id: place,
        expected: now?.revision ?? '',
        value: { ...value, questioned: true },
      });
      rig.clock.pass(OVER);
    }
    await collectAll(rig);
    t.is(rig.hot.blobs.has(place), isNamed);
    await auditBytes(t, rig, 'decided');
    if (isNamed) t.deepEqual(await read(rig, 'b'), bytes);
    await remove(rig, 'b');
    await auditEmpty(t, rig, 'emptied');
    rig.close();
  }
});

// ── By chance ─────────────────────────────────────────────────────────────────────────────────────

function seeded(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SEED = Number(process.env['FIRN_SEED'] ?? Date.now() % 1_000_000);
const ROUNDS = Number(process.env['FIRN_ROUNDS'] ?? (rigStores.isReal ? 2 : 12));

/** Two processes, several workers of each kind, and a clock that jumps; then perhaps a crash. */
async function playRound(rig: Rig, chance: () => number): Promise<void> {
  const pick = <T>(all: readonly T[]): T => all[Math.floor(chance() * all.length)] as T;
  const contents = [0, 1, 2].map((i) => new Uint8Array(SIZE + i).fill(i + 1));
  const keys = ['a', 'b', 'c', 'd', 'e'];
  const lease = async (name: string) => {
    const one = `${name}-${rig.clock.now()}`;
    const taken = await takeLease(rig.context, { name: one, holder: one, durationMs: 1e12 });
    if (taken === undefined) throw new Error('leased');
    return taken;
  };
  const engines = [rig.engine, buildEngine(rig.context)];
  const actions: (() => Promise<unknown>)[] = [];
  const act = (weight: number, action: () => Promise<unknown>): void => {
    for (let i = 0; i < weight; i += 1) actions.push(action);
  };
  act(8, () => {
    const bytes = pick(contents);
    const body: Body = chance() < 0.3 ? streamOf(bytes) : bytes;
    return putBody(rig, pick(keys), bytes, { body, engine: pick(engines) });
  });
  act(4, () => remove(rig, pick(keys)));
  act(3, async () => {
    const all = await versionsOf(rig);
    if (all.length === 0) return;
    const { key, version } = pick(all);
    await remove(rig, key, version.isNull ? 'null' : version.id);
  });
  act(1, () =>
    rig.engine.copyObject({
      bucket: 'data',
      key: pick(keys),
      source: { bucket: 'data', key: pick(keys) },
      owner: 'root',
    }),
  );
  act(4, async () => {
    const options = { lease: await lease('collect') };
    await collectPage(pick(engines).core, undefined, options);
  });
  act(2, async () => sweep(pick(engines).core, { lease: await lease('sweep') }));
  act(2, () => moveAll(rig, 'hot', [pick(keys), pick(keys)]));
  act(1, () => moveAll(rig, 'cold', [pick(keys)]));
  act(3, () => Promise.resolve(rig.clock.pass(pick([1000, 1_800_000, GRACE_MS / 2, OVER]))));
  act(1, () =>
    rig.engine.updateBucket('data', (old) => ({
      ...old,
      dedupe: chance() < 0.8,
      versioning: chance() < 0.7 ? 'enabled' : 'suspended',
    })),
  );
  const lane = async (): Promise<void> => {
    for (let i = 0; i < 12; i += 1) {
      try {
        await pick(actions)();
      } catch (error) {
        // Refused, expired, nothing there: an answer.
        if (!isFirnError(error)) throw error;
      }
    }
  };
  const { beforeCommit, beforeRead } = rig.store;
  const sleepSome = async (): Promise<void> => {
    for (let i = chance() < 0.2 ? Math.floor(chance() * 30) : 0; i > 0; i -= 1) await turn();
  };
  rig.store.beforeCommit = async (change) => {
    await sleepSome();
    return beforeCommit?.(change);
  };
  rig.store.beforeRead = async (table, id) => {
    await sleepSome();
    return beforeRead?.(table, id);
  };
  rig.crashAt(chance() < 0.5 ? 20 + Math.floor(chance() * 200) : undefined);
  const ends = await Promise.allSettled([lane(), lane(), lane(), lane()]);
  rig.store.beforeCommit = beforeCommit;
  rig.store.beforeRead = beforeRead;
  rig.restart();
  for (const end of ends) {
    if (end.status === 'rejected' && !(end.reason instanceof Crash)) throw end.reason;
  }
}

test('by chance: PUTs, deletes, moves, collectors, sweeps and crashes of two processes', async (t) => {
  t.log(`FIRN_SEED=${SEED}`);
  let most = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    const chance = seeded(SEED + round);
    const rig = await newDedupeRig('enabled');
    rig.hot.tellsOwners = true;
    const when = `seed ${SEED}, round ${round}`;
    for (let life = 0; life < 4; life += 1) {
      await playRound(rig, chance);
      await auditBytes(t, rig, `${when}, life ${life}`);
      const places = (await versionsOf(rig)).map(({ version }) => placeOf(version));
      most = Math.max(most, places.length - new Set(places).size);
    }
    rig.clock.pass(2e12);
    const lease = await leaseOf(rig, 'resume');
    await resumeMoves(rig.core, { lease });
    await settle(rig);
    await auditSettled(t, rig, `${when}, settled`);
    for (const { key, version } of await versionsOf(rig)) {
      const bytes = rig.bytes.get(version.id);
      const versionId = version.isNull ? 'null' : version.id;
      const { body } = await rig.engine.getObject({ bucket: 'data', key, versionId });
      if (bytes !== undefined) t.deepEqual(await wholeOf(body), bytes, when);
      await remove(rig, key, versionId);
    }
    await auditEmpty(t, rig, `${when}, emptied`);
    rig.close();
  }
  t.true(most > 0, 'nothing was ever shared');
});

// ── What an operator sees ─────────────────────────────────────────────────────────────────────────

test('metered, shared bytes are kept once and put thrice', async (t) => {
  const rig = await newDedupeRig();
  const bytes = random.bytes(SIZE);
  for (const key of ['a', 'b', 'c']) await putBody(rig, key, bytes);
  rig.clock.pass(3_600_000);
  await sampleUsage(rig.core, () => Promise.resolve());
  const [row] = await rig.store.rowsOf<{ bytes: number; storedBytes: number }>('usage');
  t.is(Math.round((row?.value.bytes ?? 0) / (row?.value.storedBytes ?? 1)), 3);
  rig.close();
});
