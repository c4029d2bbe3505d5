// The one move protocol (protocol E) and the collector (B): at whatever step the process dies, nobody
// loses a byte, nothing is freed twice, and in the end nothing is left over.

import test, { type ExecutionContext } from 'ava';

import { GRACE_MS } from '../appliance/model/limits.ts';
import type { Garbage, Move } from '../appliance/model/records.ts';
import type { Pack } from '../appliance/model/location.ts';
import type { ObjectDocument } from '../appliance/model/object.ts';
import { IdSet } from '../appliance/engine/id-set.ts';
import { moveIntoPacks } from '../appliance/engine/pack-move.ts';
import { moveVersions } from '../appliance/engine/move.ts';
import { resumeMoves } from '../appliance/engine/resume.ts';
import { sweep } from '../appliance/engine/sweep.ts';
import { Crash } from './memory-store.ts';
import {
  auditBytes,
  blobsOf,
  collectAll,
  leaseOf,
  namedBlobs,
  newRig,
  put,
  putParts,
  random,
  versionsOf,
  type Rig,
} from './move-rig.ts';

/** Runs to the end, or to the crash that was ordered. True: it crashed. */
async function crashes(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return false;
  } catch (error) {
    if (error instanceof Crash) return true;
    throw error;
  }
}

async function resume(rig: Rig): Promise<void> {
  const lease = await leaseOf(rig, 'resume', 'resumer');
  await resumeMoves(rig.core, { lease });
  await lease.release();
}

/** Lets graces pass with collector and sweep at work, until nothing more can happen. */
async function settle(rig: Rig): Promise<void> {
  for (let i = 0; i < 4; i += 1) {
    rig.clock.pass(GRACE_MS + 60_000);
    const lease = await leaseOf(rig, 'sweep', 'sweeper');
    await sweep(rig.core, { lease });
    await lease.release();
    rig.clock.pass(GRACE_MS + 60_000);
    await collectAll(rig, 2);
  }
}

/** I1 and I3: all named bytes are right, and nothing else is left anywhere. */
async function auditSettled(t: ExecutionContext, rig: Rig, when: string): Promise<void> {
  await auditBytes(t, rig, when);
  const named = await namedBlobs(rig);
  for (const tier of [rig.hot, rig.cold, rig.archive]) {
    for (const id of tier.blobs.keys()) {
      t.true(named.has(id), `${when}: ${tier.name} still holds ${id}, which nobody names`);
    }
  }
  t.deepEqual(rig.store.rowsOf<Garbage>('garbage'), [], `${when}: candidates are left`);
  t.deepEqual(rig.store.rowsOf<Move>('moves'), [], `${when}: intents are left`);
  for (const { value } of rig.store.rowsOf<Pack>('packs')) {
    t.true(named.has(value.id), `${when}: the row of a dead pack is left`);
  }
}

/**
 * The same scenario, dying at its 1st, 2nd, 3rd … effect. After each death: all bytes are there; after
 * a restart and a repeat the work is done; after the graces nothing is left over.
 */
async function atEveryStep(
  t: ExecutionContext,
  scenario: {
    before(rig: Rig): Promise<void>;
    work(rig: Rig): Promise<unknown>;
    after(rig: Rig, when: string): Promise<void> | void;
  },
): Promise<void> {
  let steps = 0;
  for (let at = 1; ; at += 1) {
    const rig = await newRig();
    try {
      await scenario.before(rig);
      rig.crashAt(at);
      const died = await crashes(() => scenario.work(rig));
      const when = `died at effect ${at}`;
      rig.restart();
      await auditBytes(t, rig, when);
      // The dead worker's leases run out.
      rig.clock.pass(120_000);
      await resume(rig);
      await auditBytes(t, rig, `${when}, resumed`);
      if (died) await scenario.work(rig);
      await scenario.after(rig, when);
      await settle(rig);
      await scenario.after(rig, `${when}, settled`);
      await auditSettled(t, rig, when);
      if (!died) break;
      steps = at;
    } finally {
      rig.close();
    }
  }
  t.log(`${steps} crash points`);
  t.true(steps > 0, 'no crash point was met');
}

const tiersOf = async (rig: Rig): Promise<string[]> =>
  (await versionsOf(rig)).flatMap(({ parts }) => parts.map((part) => part.location.tier));

async function fill(rig: Rig): Promise<void> {
  await put(rig, 'a/1', 100);
  await put(rig, 'a/2', 3000);
  await put(rig, 'b/3', 1);
  await putParts(rig, 'b/many', 70);
}

async function packInto(rig: Rig, tier: 'cold' | 'archive'): Promise<unknown> {
  const storageClass = tier === 'cold' ? 'GLACIER_IR' : 'GLACIER';
  const lease = await leaseOf(rig, 'pack', `packer-${rig.clock.now()}`);
  const all = await versionsOf(rig);
  const due = all.filter(({ parts }) => parts[0]?.location.tier !== tier);
  const options = { kind: 'transition', tier, storageClass, lease } as const;
  return moveIntoPacks(rig.core, due, options);
}

for (const tier of ['cold', 'archive'] as const) {
  test(`packing into ${tier} loses nothing at any step`, async (t) => {
    await atEveryStep(t, {
      before: fill,
      work: (rig) => packInto(rig, tier),
      async after(rig, when) {
        t.deepEqual(new Set(await tiersOf(rig)), new Set([tier]), when);
        for (const { version } of await versionsOf(rig)) {
          t.is(version.storageClass, tier === 'cold' ? 'GLACIER_IR' : 'GLACIER', when);
        }
      },
    });
  });
}

test('coming back up from packs loses nothing at any step', async (t) => {
  await atEveryStep(t, {
    async before(rig) {
      await fill(rig);
      await packInto(rig, 'cold');
      rig.clock.pass(1000);
      await settle(rig);
    },
    async work(rig) {
      const lease = await leaseOf(rig, 'promote', `promoter-${rig.clock.now()}`);
      const all = await versionsOf(rig);
      const due = all.filter(({ parts }) => parts[0]?.location.tier !== 'hot');
      const options = { kind: 'promote', tier: 'hot', storageClass: 'STANDARD', lease } as const;
      await moveVersions(rig.core, due, options);
    },
    async after(rig, when) {
      t.deepEqual(new Set(await tiersOf(rig)), new Set(['hot']), when);
      t.is(rig.store.rowsOf<ObjectDocument>('objects').length, 4, when);
    },
  });
});

test('a move changes neither LastModified nor ETag, nor headers, tags and metadata', async (t) => {
  const rig = await newRig();
  const before = await put(rig, 'k', 500);
  await packInto(rig, 'cold');
  const [after] = await versionsOf(rig);
  const { parts: _p, storageClass: _c, last, ...rest } = after?.version ?? {};
  const { parts: _q, storageClass: _d, ...was } = before;
  t.deepEqual(rest, was);
  t.like(last, { action: 'transition', from: 'hot', to: 'cold' });
  t.is(rig.events.at(-1)?.name, 's3:LifecycleTransition');
  rig.close();
});

test('the old bytes are freed only after the grace, and exactly they', async (t) => {
  const rig = await newRig();
  await fill(rig);
  const other = await put(rig, 'stays', 10);
  const lease = await leaseOf(rig);
  const due = (await versionsOf(rig)).filter(({ key }) => key !== 'stays');
  const options = { kind: 'transition', tier: 'cold', storageClass: 'GLACIER_IR', lease } as const;
  await moveIntoPacks(rig.core, due, options);
  const { hot } = blobsOf(rig);
  rig.clock.pass(GRACE_MS - 60_000);
  t.is(await collectAll(rig), 0);
  t.is(blobsOf(rig).hot, hot);
  rig.clock.pass(120_000);
  t.true((await collectAll(rig)) > 0);
  t.deepEqual([...rig.hot.blobs.keys()], [other.parts[0]?.location.id]);
  await auditBytes(t, rig, 'collected');
  rig.close();
});

test('overwritten while it is packed: the new version stays, the copy is dead', async (t) => {
  const rig = await newRig();
  await put(rig, 'k', 200);
  await put(rig, 'other', 100);
  let overwritten = false;
  rig.cold.before = async (action) => {
    if (action !== 'put' || overwritten) return;
    overwritten = true;
    await put(rig, 'k', 50);
  };
  const counts = await packInto(rig, 'cold');
  t.like(counts, { moved: 1, lost: 1 });
  const k = (await versionsOf(rig)).find(({ key }) => key === 'k');
  t.is(k?.version.sizeBytes, 50);
  t.is(k?.parts[0]?.location.tier, 'hot');
  t.is(k?.version.storageClass, 'STANDARD');
  await settle(rig);
  await auditSettled(t, rig, 'overwritten');
  rig.close();
});

test('deleted while it is packed: it stays deleted, and its pack goes in the end', async (t) => {
  const rig = await newRig();
  await put(rig, 'k', 200);
  let deleted = false;
  rig.cold.before = async (action) => {
    if (action !== 'put' || deleted) return;
    deleted = true;
    await rig.engine.deleteObject({ bucket: 'data', key: 'k', owner: 'root' });
  };
  t.like(await packInto(rig, 'cold'), { moved: 0, lost: 1 });
  t.deepEqual(await versionsOf(rig), []);
  await settle(rig);
  t.is(rig.cold.blobs.size, 0);
  await auditSettled(t, rig, 'deleted');
  rig.close();
});

test('a mover that wakes up after half a grace can no longer commit its copies (B3)', async (t) => {
  const rig = await newRig();
  await put(rig, 'k', 200);
  const verify = rig.cold.verify.bind(rig.cold);
  rig.cold.verify = async (location) => {
    const found = await verify(location);
    rig.clock.pass(GRACE_MS / 2 + 60_000);
    return found;
  };
  await t.throwsAsync(packInto(rig, 'cold'));
  const [k] = await versionsOf(rig);
  t.is(k?.parts[0]?.location.tier, 'hot');
  await settle(rig);
  await resume(rig);
  await settle(rig);
  await auditSettled(t, rig, 'late');
  rig.close();
});

test('a set of ids never forgets one, whatever its salt (the sweep frees what it does not hold)', (t) => {
  for (let round = 0; round < 2; round += 1) {
    const salt = Buffer.from(random.bytes(4)).readUInt32LE(0);
    const set = new IdSet(salt);
    const newId = (): string => Buffer.from(random.bytes(16)).toString('hex');
    const ids = Array.from({ length: 70_000 }, newId);
    for (const id of ids) set.add(id);
    t.true(
      ids.every((id) => set.has(id)),
      `salt ${salt}`,
    );
    const wrong = Array.from({ length: 20_000 }, newId).filter((id) => set.has(id)).length;
    t.true(wrong < 200, `${wrong} of 20,000 strangers are taken for members, salt ${salt}`);
  }
});

test('a rotten object stays where it is, and does not keep its neighbours from moving', async (t) => {
  const rig = await newRig();
  const bad = await put(rig, 'bad', 200);
  await put(rig, 'good', 100);
  rig.hot.rotten.add(bad.parts[0]?.location.id ?? '');
  const counts = await packInto(rig, 'cold');
  t.like(counts, { moved: 1, failed: 1 });
  const where = new Map(
    (await versionsOf(rig)).map(({ key, parts }) => [key, parts[0]?.location.tier]),
  );
  t.is(where.get('bad'), 'hot');
  t.is(where.get('good'), 'cold');
  rig.close();
});

test('a tier that did not keep what it was sent is found out before anything rests on it', async (t) => {
  const rig = await newRig();
  await put(rig, 'k', 200);
  const put0 = rig.cold.put.bind(rig.cold);
  rig.cold.put = async (request) => {
    const stored = await put0(request);
    const blob = rig.cold.blobs.get(request.id);
    if (blob !== undefined) blob.bytes[3] = (blob.bytes[3] ?? 0) ^ 1;
    return stored;
  };
  await t.throwsAsync(packInto(rig, 'cold'), { message: /did not keep/ });
  t.deepEqual(await tiersOf(rig), ['hot']);
  t.is(rig.store.rowsOf('packs').length, 0);
  await settle(rig);
  await auditSettled(t, rig, 'corrupted by the tier');
  rig.close();
});
