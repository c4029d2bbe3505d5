// The one move protocol (protocol E) and the collector (B): at whatever step the process dies,
// nobody loses a byte, nothing is freed twice, and in the end nothing is left over.

import test, { type ExecutionContext } from 'ava';

import { DAY_MS } from '../appliance/model/clock.ts';
import { settleAnnounced } from '../appliance/engine/event/announce.ts';
import { FirnError, isFirnError } from '../appliance/model/errors.ts';
import type { EventName, EventRow } from '../appliance/model/event-sink.ts';
import type { Bucket } from '../appliance/model/bucket.ts';
import { keyOfObjectId, newLocationId, newRequestId, objectId } from '../appliance/model/ids.ts';
import { GRACE_MS } from '../appliance/model/limits.ts';
import type { Garbage, RestoreRequest } from '../appliance/model/records.ts';
import type { Pack } from '../appliance/model/location.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import { JournalLink } from '../appliance/process/journal-link.ts';
import type { ObjectDocument } from '../appliance/model/object.ts';
import { listPack } from '../appliance/engine/upkeep/collect.ts';
import { compactPack } from '../appliance/engine/upkeep/compact.ts';
import { expireVersion } from '../appliance/engine/object/expire.ts';
import { Notifications } from '../appliance/engine/event/notifications.ts';
import { beginPending } from '../appliance/engine/move/restore-run.ts';
import { listGarbage } from '../appliance/engine/document/garbage.ts';
import { IdSet } from '../appliance/engine/document/id-set.ts';
import { moveIntoPacks } from '../appliance/engine/move/pack-move.ts';
import { bucketNames } from '../appliance/engine/document/inventory.ts';
import { takeLease } from '../appliance/engine/document/lease.ts';
import { moveVersions, type MovingVersion } from '../appliance/engine/move/move.ts';
import { resumeMoves } from '../appliance/engine/move/resume.ts';
import { sweep } from '../appliance/engine/upkeep/sweep.ts';
import { ClockGuard } from '../workers/base/clock-guard.ts';
import { NotifyWorker } from '../workers/notify.ts';
import { RestoreExpiry } from '../workers/restore-expiry.ts';
import { RestoreWorker } from '../workers/restore.ts';
import { Crash } from './memory-store.ts';
import {
  auditBytes,
  auditSettled,
  blobsOf,
  collectAll,
  leaseOf,
  newRig,
  put,
  putParts,
  random,
  settle,
  turnOf,
  versionsOf,
  wholeOf,
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

/**
 * The same scenario, dying at its 1st, 2nd, 3rd … effect. After each death: all bytes are there;
 * after a restart and a repeat the work is done; after the graces nothing is left over.
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
  await putParts(rig, 'b/many', 66);
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

// ── Restore, its end, compaction, collection: the same, at every step ─────────────────────────────

async function archiveAll(rig: Rig): Promise<void> {
  await fill(rig);
  await packInto(rig, 'archive');
  await settle(rig);
}

async function askForAll(rig: Rig, days: number): Promise<void> {
  for (const key of new Set((await versionsOf(rig)).map((one) => one.key))) {
    const request = { bucket: 'data', key, days, tier: 'Standard', owner: 'root' } as const;
    try {
      await rig.engine.restoreObject(request);
    } catch (error) {
      if (!isFirnError(error, 'RestoreAlreadyInProgress')) throw error;
    }
  }
}

/** Looks until nothing waits, letting the provider's time pass. */
async function restoreAll(rig: Rig): Promise<void> {
  for (let i = 0; i < 6; i += 1) {
    let waiting = 0;
    const worker = new RestoreWorker(rig.core, (look) => {
      waiting = look.waiting;
    });
    const turn = await turnOf(rig, 'restore');
    await worker.run(turn);
    await turn.lease.release();
    const open = rig.store.rowsOf<RestoreRequest>('restores').some(({ value }) => !value.settledAt);
    if (waiting === 0 && !open) return;
    rig.clock.pass(61_000);
  }
}

test('a restore loses nothing at any step, and is never in progress for ever', async (t) => {
  await atEveryStep(t, {
    before: archiveAll,
    async work(rig) {
      await askForAll(rig, 60);
      await restoreAll(rig);
    },
    async after(rig, when) {
      for (const { key, version, parts } of await versionsOf(rig)) {
        t.is(version.restore?.state, 'ready', `${when}: ${key}`);
        t.true(
          parts.every((part) => part.location.tier === 'archive'),
          `${when}: ${key} is still archived`,
        );
        t.true(
          version.restore?.copy?.every((location) => location.tier === 'hot'),
          when,
        );
      }
    },
  });
});

async function expireRestores(rig: Rig): Promise<void> {
  const guard = new ClockGuard({ store: rig.store, wall: () => 0, sandbox: true });
  const turn = await turnOf(rig, 'restore-expiry');
  await new RestoreExpiry(rig.core, guard).run(turn);
  await turn.lease.release();
}

test('the end of a restore removes the copy and nothing else, at any step', async (t) => {
  await atEveryStep(t, {
    async before(rig) {
      await archiveAll(rig);
      await askForAll(rig, 1);
      await restoreAll(rig);
      rig.clock.pass(3 * DAY_MS);
    },
    work: expireRestores,
    async after(rig, when) {
      for (const { key, version, parts } of await versionsOf(rig)) {
        t.is(version.restore, undefined, `${when}: ${key}`);
        t.true(
          parts.every((part) => part.location.tier === 'archive'),
          when,
        );
      }
    },
  });
});

for (const incident of ['MinIO #14278', 'RustFS #4950']) {
  test(`${incident}: restore, expire, and the archived bytes are still there`, async (t) => {
    const rig = await newRig();
    await rig.engine.updateBucket('data', (bucket) => ({ ...bucket, versioning: 'enabled' }));
    const old = await put(rig, 'k', 300);
    const current = await put(rig, 'k', 400);
    await packInto(rig, 'archive');
    for (const versionId of [old.id, current.id]) {
      const request = { bucket: 'data', key: 'k', versionId, days: 1, tier: 'Bulk' } as const;
      await rig.engine.restoreObject({ ...request, owner: 'root' });
    }
    await restoreAll(rig);
    for (const { id } of [old, current]) {
      const { body } = await rig.engine.getObject({ bucket: 'data', key: 'k', versionId: id });
      t.deepEqual(await wholeOf(body), rig.bytes.get(id));
    }
    rig.clock.pass(3 * DAY_MS);
    await expireRestores(rig);
    await settle(rig);
    t.is(rig.hot.blobs.size, 0, 'the copies are freed');
    for (const { id } of [old, current]) {
      const name = { bucket: 'data', key: 'k', versionId: id };
      t.is((await rig.engine.headObject(name)).version.id, id);
      await t.throwsAsync(rig.engine.getObject(name), { code: 'InvalidObjectState' });
      const request = { ...name, days: 2, tier: 'Standard', owner: 'root' } as const;
      t.is(await rig.engine.restoreObject(request), 'started');
    }
    await restoreAll(rig);
    for (const { id } of [old, current]) {
      const { body } = await rig.engine.getObject({ bucket: 'data', key: 'k', versionId: id });
      t.deepEqual(await wholeOf(body), rig.bytes.get(id));
    }
    rig.close();
  });
}

test('a thousand objects of one pack are staged by one retrieval', async (t) => {
  const rig = await newRig();
  for (let i = 0; i < 30; i += 1) await put(rig, `k/${i}`, 50);
  await packInto(rig, 'archive');
  let stages = 0;
  const stage = rig.archive.stage.bind(rig.archive);
  rig.archive.stage = (location, options) => {
    stages += 1;
    return stage(location, options);
  };
  await askForAll(rig, 2);
  await restoreAll(rig);
  t.is(stages, 1);
  t.true((await versionsOf(rig)).every(({ version }) => version.restore?.state === 'ready'));
  rig.close();
});

test('overwritten while it is restored: the new version wins at once, the copy is dead', async (t) => {
  const rig = await newRig();
  await put(rig, 'k', 300);
  await packInto(rig, 'archive');
  await askForAll(rig, 2);
  let overwritten = false;
  const before = rig.hot.before;
  rig.hot.before = async (action, id) => {
    await before?.(action, id);
    if (action !== 'put' || overwritten) return;
    overwritten = true;
    await put(rig, 'k', 20);
  };
  await restoreAll(rig);
  const [k] = await versionsOf(rig);
  t.is(k?.version.sizeBytes, 20);
  t.is(k?.version.restore, undefined);
  const [request] = rig.store.rowsOf<RestoreRequest>('restores');
  t.is(request?.value.state, 'failed');
  await settle(rig);
  await auditSettled(t, rig, 'overwritten');
  rig.close();
});

test('a cancelled batch leaves nothing pending, and what is readable stays so', async (t) => {
  const rig = await newRig();
  for (let i = 0; i < 5; i += 1) await put(rig, `k/${i}`, 50);
  await packInto(rig, 'archive');
  const id = newRequestId(rig.clock, random);
  await rig.store.insert('restores', id, {
    format: 1,
    id,
    scope: { bucket: 'data', bucketId: rig.bucket.id, prefix: 'k/' },
    tier: 'Bulk',
    days: 3,
    requestedAt: rig.clock.now(),
    requestedBy: 'root',
    state: 'requested',
    counts: { objects: 0, bytes: 0, ready: 0, failed: 0 },
  } satisfies RestoreRequest);
  const look = async (): Promise<void> => {
    const turn = await turnOf(rig, 'restore');
    await new RestoreWorker(rig.core, () => undefined).run(turn);
    await turn.lease.release();
  };
  await look();
  t.true((await versionsOf(rig)).every(({ version }) => version.restore?.state === 'pending'));
  const row = await rig.store.get<RestoreRequest>('restores', id);
  await rig.store.replace({
    table: 'restores',
    id,
    expected: row?.revision ?? '',
    value: { ...(row?.value as RestoreRequest), state: 'cancelled' },
  });
  await look();
  t.true((await versionsOf(rig)).every(({ version }) => version.restore === undefined));
  const settled = await rig.store.get<RestoreRequest>('restores', id);
  t.is(settled?.value.state, 'cancelled');
  t.truthy(settled?.value.settledAt);
  rig.close();
});

test('compaction of a pack loses nothing at any step, and the old pack goes', async (t) => {
  let before: string[] = [];
  await atEveryStep(t, {
    async before(rig) {
      await put(rig, 'dead/1', 4000);
      await put(rig, 'dead/2', 4000);
      await put(rig, 'stays/1', 500);
      await put(rig, 'stays/2', 600);
      await packInto(rig, 'cold');
      for (const key of ['dead/1', 'dead/2']) {
        await rig.engine.deleteObject({ bucket: 'data', key, owner: 'root' });
      }
      rig.clock.pass(GRACE_MS + 60_000);
      await collectAll(rig);
      before = rig.store.rowsOf<Pack>('packs').map(({ id }) => id);
      t.is(rig.store.rowsOf<Pack>('packs')[0]?.value.deadBytes, 8000);
    },
    async work(rig) {
      const lease = await leaseOf(rig, 'compact', `compactor-${rig.clock.now()}`);
      const names = await bucketNames(rig.store);
      for (const { value } of rig.store.rowsOf<Pack>('packs')) {
        if (value.deadBytes * 2 < value.entryBytes) continue;
        await compactPack(rig.core, value, { lease, names });
      }
    },
    async after(rig, when) {
      const found = await versionsOf(rig);
      t.deepEqual(
        found.map(({ key }) => key),
        ['stays/1', 'stays/2'],
        when,
      );
      for (const { parts, version } of found) {
        const [part] = parts;
        t.is(version.storageClass, 'GLACIER_IR', when);
        if (part?.location.kind !== 'pack') t.fail(`${when}: not in a pack`);
        else if (when.endsWith('settled')) t.false(before.includes(part.location.pack), when);
      }
    },
  });
});

test('collecting loses nothing at any step, and frees nothing twice', async (t) => {
  await atEveryStep(t, {
    async before(rig) {
      for (const key of ['a/1', 'a/2', 'b/3']) await put(rig, key, 100);
      await putParts(rig, 'b/many', 12);
      await packInto(rig, 'cold');
      await put(rig, 'a/1', 10);
      await rig.engine.deleteObject({ bucket: 'data', key: 'b/3', owner: 'root' });
      rig.clock.pass(GRACE_MS + 60_000);
    },
    work: (rig) => collectAll(rig),
    after: () => undefined,
  });
});

test('a worker that wakes up after its lease has run out commits nothing a second time', async (t) => {
  const seed = Number(process.env['FIRN_TEST_SEED'] ?? Math.floor(Math.random() * 1e9));
  t.log(`seed ${seed}`);
  let state = seed;
  const next = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state % below;
  };
  let takenOver = 0;
  for (let round = 0; round < 40; round += 1) {
    const rig = await newRig();
    for (let i = 0; i < 4; i += 1) await put(rig, `k/${i}`, 100 + i);
    const stopAt = 1 + next(24);
    let effects = 0;
    let wake: () => void = () => undefined;
    const asleep = new Promise<void>((resolve) => {
      wake = resolve;
    });
    let stopped: () => void = () => undefined;
    const isStopped = new Promise<void>((resolve) => {
      stopped = resolve;
    });
    let sleeping = false;
    // SIGSTOP: the first worker stands still at some effect, the second one does not.
    const pause = async (): Promise<void> => {
      effects += 1;
      if (effects !== stopAt || sleeping) return;
      sleeping = true;
      stopped();
      await asleep;
    };
    rig.store.beforeCommit = async () => {
      await pause();
      return undefined;
    };
    rig.cold.before = (action) => (action === 'put' ? pause() : undefined);
    const work = async (holder: string): Promise<number> => {
      const lease = await takeLease(rig.context, { name: 'pack', holder, durationMs: 30_000 });
      if (lease === undefined) return 0;
      const due = (await versionsOf(rig)).filter(({ parts }) => parts[0]?.location.tier === 'hot');
      const options = { kind: 'transition', tier: 'cold', storageClass: 'GLACIER_IR' } as const;
      const counts = await moveIntoPacks(rig.core, due, { ...options, lease });
      return counts.moved;
    };
    const first = work('first').catch((error: unknown) => {
      if (isFirnError(error, 'LeaseLost')) return 0;
      throw error;
    });
    await Promise.race([isStopped, first]);
    // Ended before it came to that effect: nobody stands still in this round.
    sleeping = true;
    rig.clock.pass(60_000);
    // Writers of one key queue inside a process: the second worker is another one.
    const firstCore = rig.core;
    rig.restart();
    const second = await work('second');
    if (second > 0) takenOver += 1;
    wake();
    await first;
    t.not(rig.core, firstCore);
    await auditBytes(t, rig, `round ${round}`);
    const found = await versionsOf(rig);
    t.is(found.length, 4);
    t.true(found.every(({ parts }) => parts[0]?.location.tier === 'cold'));
    const moves = rig.events.filter(({ name }) => name === 's3:LifecycleTransition').length;
    t.is(moves, 4, `round ${round}: each version was moved exactly once`);
    rig.clock.pass(120_000);
    await resume(rig);
    await settle(rig);
    await auditSettled(t, rig, `round ${round}, stopped at ${stopAt}`);
    rig.close();
  }
  t.true(takenOver > 5, 'the second worker took over now and then');
});

// ── The collector's look ──────────────────────────────────────────────────────────────────────────

const listed = (rig: Rig): Garbage[] =>
  rig.store.rowsOf<Garbage>('garbage').map(({ value }) => value);

test('listed for a commit that never came: the document still names it, so it is kept (B4)', async (t) => {
  const rig = await newRig();
  const { parts } = await put(rig, 'k', 100);
  const object = objectId(rig.bucket.id, 'k');
  const locations = parts.map((part) => part.location);
  await listGarbage(rig.context, { locations, blocks: [] }, { object, reason: 'overwrite' });
  rig.clock.pass(GRACE_MS + 60_000);
  t.is(await collectAll(rig), 0);
  t.deepEqual(listed(rig), [], 'and its row is dropped');
  await auditBytes(t, rig, 'kept');
  rig.close();
});

test('a candidate that changed under the collector is left alone: only a condemned one is freed', async (t) => {
  const rig = await newRig();
  await put(rig, 'k', 100);
  await put(rig, 'k', 50);
  rig.clock.pass(GRACE_MS + 60_000);
  const before = rig.store.beforeCommit;
  rig.store.beforeCommit = (change) => {
    const condemns = change.kind === 'replace' && 'condemned' in change.value;
    return condemns ? 'conflict' : before?.(change);
  };
  t.is(await collectAll(rig), 0);
  t.is(rig.hot.blobs.size, 2);
  rig.store.beforeCommit = before;
  t.is(await collectAll(rig), 1);
  t.is(rig.hot.blobs.size, 1);
  rig.close();
});

test('a pack whose count of dead bytes is wrong is looked into, and lives', async (t) => {
  const rig = await newRig();
  await put(rig, 'dead', 1000);
  await put(rig, 'alive', 100);
  await packInto(rig, 'cold');
  await rig.engine.deleteObject({ bucket: 'data', key: 'dead', owner: 'root' });
  const [row] = rig.store.rowsOf<Pack>('packs');
  const { id, revision, value } = row as Row<Pack>;
  // As a collector leaves it that counted a member, died, and counted it again.
  const counted = { ...value, deadBytes: value.entryBytes };
  await rig.store.replace({ table: 'packs', id, expected: revision, value: counted });
  for (let i = 0; i < 3; i += 1) {
    await listPack(rig.core, counted);
    rig.clock.pass(GRACE_MS + 60_000);
    await collectAll(rig);
  }
  t.is(rig.cold.blobs.size, 1);
  t.is(rig.store.rowsOf<Pack>('packs')[0]?.value.deadBytes, 1000, 'and counted right again');
  await auditBytes(t, rig, 'alive');
  rig.close();
});

// ── Leases ────────────────────────────────────────────────────────────────────────────────────────

test('a lease is one worker’s, and its epoch never repeats', async (t) => {
  const rig = await newRig();
  const take = (holder: string) =>
    takeLease(rig.context, { name: 'n', holder, durationMs: 10_000 });
  const a = await take('a');
  t.is(await take('b'), undefined);
  await a?.check();
  rig.clock.pass(11_000);
  // Expired, but nobody took it: still ours.
  await a?.check();
  rig.clock.pass(11_000);
  const b = await take('b');
  t.is(b?.epoch, 2);
  await t.throwsAsync(a?.check() ?? Promise.resolve(), { code: 'LeaseLost' });
  await a?.release();
  await b?.check();
  await b?.release();
  t.is((await take('a'))?.epoch, 3);
  // A process that was restarted need not wait for what it held before.
  const again = { name: 'n', holder: 'a2', durationMs: 10_000 };
  t.is(await takeLease(rig.context, again), undefined);
  t.is((await takeLease(rig.context, { ...again, predecessors: 'a' }))?.epoch, 4);
  rig.close();
});

// ── The sweep ─────────────────────────────────────────────────────────────────────────────────────

const sweepOnce = async (rig: Rig): ReturnType<typeof sweep> => {
  const lease = await leaseOf(rig, 'sweep', 'sweeper');
  const counts = await sweep(rig.core, { lease });
  await lease.release();
  return counts;
};

test('bytes of a PUT that crashed are found by the sweep, after a grace, and only they', async (t) => {
  const rig = await newRig();
  await put(rig, 'kept', 100);
  rig.crashAt(2);
  await t.throwsAsync(put(rig, 'lost', 100), { instanceOf: Crash });
  rig.restart();
  t.is(rig.hot.blobs.size, 2);
  t.like(await sweepOnce(rig), { orphans: 0 }, 'too young to be judged');
  await settle(rig);
  t.is(rig.hot.blobs.size, 1);
  await auditSettled(t, rig, 'swept');
  rig.close();
});

test('more than a hundredth of a tier unnamed looks like our own fault: nothing is listed', async (t) => {
  const rig = await newRig();
  await put(rig, 'kept', 100);
  const bytes = new Uint8Array(33 * 1024 * 1024);
  for (let i = 0; i < 2; i += 1) {
    const owner = { bucketId: rig.bucket.id, key: 'gone' };
    await rig.hot.put({ id: newLocationId(rig.clock, random), body: bytes, owner });
  }
  rig.clock.pass(2 * GRACE_MS);
  await t.throwsAsync(sweepOnce(rig), { code: 'GuardRail' });
  t.is(rig.store.rowsOf('garbage').length, 0);
  rig.close();
});

test('after metadata was restored the sweep stays off until an operator confirms', async (t) => {
  const rig = await newRig();
  await put(rig, 'k', 100);
  const held = { format: 1, held: true, reason: 'metadata came from a snapshot' };
  await rig.store.insert('settings', 'sweep', held);
  rig.clock.pass(2 * GRACE_MS);
  await t.throwsAsync(sweepOnce(rig), { code: 'GuardRail', message: /came from a snapshot/ });
  rig.close();
});

test('parts of an upload that takes a month are neither swept nor collected (B3, C4)', async (t) => {
  const rig = await newRig();
  const { engine } = rig;
  const upload = await engine.createUpload({
    bucket: 'data',
    key: 'big',
    owner: 'root',
    storageClass: 'STANDARD',
    headers: {},
    metadata: {},
  });
  const name = { bucket: 'data', key: 'big', uploadId: upload.uploadId };
  const body = random.bytes(1000);
  const part = await engine.putPart({ ...name, number: 1, body, sizeBytes: body.length });
  await engine.putPart({ ...name, number: 2, body, sizeBytes: body.length });
  rig.clock.pass(30 * DAY_MS);
  await settle(rig);
  t.is(rig.hot.blobs.size, 2);
  const parts = [{ number: 1, etag: part.etag }];
  const { version } = await engine.completeUpload({ ...name, owner: 'root', parts });
  rig.bytes.set(version.id, body);
  await auditBytes(t, rig, 'completed');
  await settle(rig);
  await auditBytes(t, rig, 'settled');
  t.is(rig.hot.blobs.size, 1, 'the part that was left out is freed');
  rig.close();
});

// ── Events of workers: nobody repeats a commit that stands ───────────────────────────────────────

interface Told {
  name: EventName;
  before: (rig: Rig) => Promise<void>;
  work: (rig: Rig) => Promise<unknown>;
  /** Keys that were changed, by what their documents say. */
  changed: (rig: Rig) => Promise<Set<string>>;
}

const keysOf = async (rig: Rig, isOne: (moving: MovingVersion) => boolean): Promise<Set<string>> =>
  new Set((await versionsOf(rig)).filter(isOne).map(({ key }) => key));

async function expireAll(
  rig: Rig,
  effect: 'remove-version' | 'add-delete-marker',
): Promise<unknown> {
  const bucket = (await rig.store.get<Bucket>('buckets', 'data'))?.value as Bucket;
  const place = 'current';
  for (const { key, version } of await versionsOf(rig)) {
    await expireVersion(rig.core, { bucket, key, versionId: version.id, effect, place });
  }
  return undefined;
}

const KEYS = ['a/1', 'a/2', 'b/3', 'b/many'];

const missingKeys = async (rig: Rig): Promise<Set<string>> => {
  const current = new Set<string>();
  for (const { id, value } of rig.store.rowsOf<ObjectDocument>('objects')) {
    if (value.versions[0]?.deleteMarker === false) current.add(keyOfObjectId(id));
  }
  return new Set(KEYS.filter((key) => !current.has(key)));
};

const TOLD: readonly Told[] = [
  {
    name: 's3:LifecycleExpiration:Delete',
    before: fill,
    work: (rig) => expireAll(rig, 'remove-version'),
    changed: missingKeys,
  },
  {
    name: 's3:LifecycleExpiration:DeleteMarkerCreated',
    async before(rig) {
      await fill(rig);
      await rig.engine.updateBucket('data', (old) => ({ ...old, versioning: 'enabled' }));
    },
    work: (rig) => expireAll(rig, 'add-delete-marker'),
    changed: missingKeys,
  },
  {
    name: 's3:LifecycleTransition',
    before: fill,
    work: (rig) => packInto(rig, 'cold'),
    changed: (rig) => keysOf(rig, ({ parts }) => parts[0]?.location.tier === 'cold'),
  },
  {
    name: 's3:ObjectRestore:Completed',
    async before(rig) {
      await archiveAll(rig);
      await askForAll(rig, 1);
    },
    work: restoreAll,
    changed: (rig) => keysOf(rig, ({ version }) => version.restore?.state === 'ready'),
  },
  {
    name: 's3:ObjectRestore:Delete',
    async before(rig) {
      await archiveAll(rig);
      await askForAll(rig, 1);
      await restoreAll(rig);
      rig.clock.pass(3 * DAY_MS);
    },
    work: expireRestores,
    changed: (rig) => keysOf(rig, ({ version }) => version.restore === undefined),
  },
  {
    name: 's3:ObjectRestore:Post',
    before: archiveAll,
    async work(rig) {
      const request = { id: 'f'.repeat(32), tier: 'Bulk', days: 1 } as const;
      for (const { bucket, object, version } of await versionsOf(rig)) {
        await beginPending(rig.core, { bucket, object, version }, request);
      }
    },
    changed: (rig) => keysOf(rig, ({ version }) => version.restore?.state === 'pending'),
  },
];

async function tellOf(rig: Rig, kind: 'queue' | 'webhook' = 'queue'): Promise<void> {
  rig.context.events = new Notifications({ store: rig.store, clock: rig.clock, random });
  const target = { kind, name: 'line' } as const;
  const all = { id: 'all', element: 'Queue', arn: 'arn', target } as const;
  const notifications = [{ ...all, events: ['s3:*'] }];
  await rig.engine.updateBucket('data', (old) => ({ ...old, notifications }));
}

const toldOf = (rig: Rig, name: EventName): string[] =>
  rig.store
    .rowsOf<EventRow>('events')
    .filter(({ id, value }) => !id.startsWith('announced/') && value.event?.name === name)
    .map(({ value }) => value.event?.key ?? '');

for (const { name, before, work, changed } of TOLD) {
  test(`wherever a worker dies, each ${name} that happened is told, and no other`, async (t) => {
    let steps = 0;
    for (let at = 1; ; at += 1) {
      const rig = await newRig();
      await before(rig);
      await tellOf(rig);
      rig.crashAt(at);
      const died = await crashes(() => work(rig));
      rig.restart();
      const when = `died at effect ${at}`;
      rig.clock.pass(120_000);
      await settleAnnounced(rig.context);
      const told = (): string[] => toldOf(rig, name);
      t.deepEqual([...new Set(told())].toSorted(), [...(await changed(rig))].toSorted(), when);
      // What its death kept from being done is given up in the end, and not told.
      const count = told().length;
      rig.clock.pass(3_700_000);
      await settleAnnounced(rig.context);
      t.is(told().length, count, `${when}: told again, or of what was not done`);
      const left = rig.store.rowsOf('events').filter(({ id }) => !id.startsWith('queue/'));
      t.deepEqual(left, [], `${when}: announcements are left`);
      rig.close();
      if (!died) break;
      steps = at;
    }
    t.true(steps > 8, 'crash points were met');
  });
}

test('a change that stands while the journal’s drives are away is told, and loses nothing', async (t) => {
  const rig = await newRig();
  await put(rig, 'old', 5);
  await tellOf(rig);
  // As of a child whose primary's drives are away: LMDB has the commit, the journal doesn't yet.
  const { store } = rig;
  const change = { replace: store.replace.bind(store), remove: store.remove.bind(store) };
  const insert = store.insert.bind(store);
  const link = new JournalLink(() => undefined);
  const settled = async <A>(table: string, committed: Promise<A>): Promise<A> => {
    const answer = await committed;
    if (table === 'objects') {
      const waits = link.settled(1);
      link.failed('away');
      await waits;
    }
    return answer;
  };
  store.replace = (of, options) => settled(of.table, change.replace(of, options));
  store.remove = (table, ...rest) => settled(table, change.remove(table, ...rest));
  store.insert = (table, ...rest) => settled(table, insert(table, ...rest));
  await t.throwsAsync(expireAll(rig, 'remove-version'));
  await t.throwsAsync(put(rig, 'new', 5));
  Object.assign(store, change, { insert });
  rig.clock.pass(120_000);
  await settleAnnounced(rig.context);
  t.deepEqual(toldOf(rig, 's3:LifecycleExpiration:Delete'), ['old']);
  const lost = rig.store.rowsOf<Garbage>('garbage').filter(({ value }) => value.reason === 'lost');
  t.deepEqual(lost, [], 'bytes that are named are not listed as lost');
  rig.close();
});

test('a damaged document holds back no other object’s event, and is given up in the end', async (t) => {
  const rig = await newRig();
  for (const key of ['bad', 'good']) await put(rig, key, 5);
  await tellOf(rig, 'webhook');
  rig.store.beforeCommit = ({ table }) => (table === 'objects' ? 'doubt-done' : undefined);
  const bucket = rig.bucket;
  for (const { key, version } of await versionsOf(rig)) {
    const expiry = { bucket, key, versionId: version.id, effect: 'remove-version' } as const;
    await t.throwsAsync(expireVersion(rig.core, { ...expiry, place: 'current' }));
  }
  rig.store.beforeCommit = undefined;
  rig.store.beforeRead = (table, id) => {
    if (table === 'objects' && id?.endsWith('/bad') === true) {
      throw new FirnError('Corrupt', 'a metadata record fails its checksum');
    }
  };
  rig.clock.pass(120_000);
  const log: string[] = [];
  const hook = { url: 'http://127.0.0.1:1/', timeoutMs: 1000 };
  const settings = { webhooks: new Map([['line', hook]]), region: '', keptMs: DAY_MS };
  const worker = new NotifyWorker(rig.core, settings, (_, line) => void log.push(line));
  const fault = await t.throwsAsync(worker.run(await turnOf(rig, 'notify')));
  t.true(isFirnError(fault, 'Corrupt'), 'it is not kept quiet');
  t.regex(log.join(), /takes no events/, 'the webhook was asked all the same');
  t.deepEqual(toldOf(rig, 's3:LifecycleExpiration:Delete'), ['good']);
  rig.clock.pass(3_700_000);
  await t.throwsAsync(settleAnnounced(rig.context));
  await t.notThrowsAsync(settleAnnounced(rig.context), 'nobody looks for ever');
  rig.close();
});
