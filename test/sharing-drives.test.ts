// Dedupe on real segments, shard files and LMDB: what a user would lose is an object whose shared record
// was compacted, drained or deleted under somebody else's name (appliance/engine/DEDUPE.md).

import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';

import test from 'ava';

import { compactSegment } from '../appliance/engine/upkeep/compact.ts';
import { drainGroup, groupsRow } from '../appliance/engine/upkeep/groups.ts';
import { bucketNames } from '../appliance/engine/document/inventory.ts';
import { takeLease } from '../appliance/engine/document/lease.ts';
import { objectId } from '../appliance/model/ids.ts';
import { GRACE_MS, KiB } from '../appliance/model/limits.ts';
import type { Change, Table } from '../appliance/model/metadata-store.ts';
import type { Version } from '../appliance/model/object.ts';
import { random } from './move-rig.ts';
import { openHouse } from './space-house.ts';

const OVER = GRACE_MS + 60_000;

const placeOf = (version: Version): string => version.parts[0]?.location.id ?? '';

test('on segments and LMDB: compaction keeps what is shared once, and frees the segment', async (t) => {
  const house = await openHouse({ segmentBytes: 1024 * KiB, segmentOpenMs: 50 });
  try {
    await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
    await house.engine.updateBucket('data', (old) => ({ ...old, dedupe: true }));
    const shared = random.bytes(64 * KiB);
    const keys = ['s/1', 's/2', 's/3'];
    await house.put('first', shared);
    for (const key of keys) await house.put(key, shared);
    for (let i = 0; i < 24; i += 1) await house.put(`other/${i}`, random.bytes(64 * KiB));
    // The owner of the record goes, and with it nearly all of its segment.
    await house.remove('first');
    for (let i = 0; i < 24; i += 1) await house.remove(`other/${i}`);
    const segments = async (): Promise<Set<string>> => {
      const found = new Set<string>();
      for await (const { segment } of house.tier.segments()) found.add(segment);
      return found;
    };
    const before = await segments();
    const placesOf = async (): Promise<Set<string>> => {
      const places = new Set<string>();
      for (const key of keys) {
        const { version } = await house.engine.headObject({ bucket: 'data', key });
        places.add(placeOf(version));
      }
      return places;
    };
    const [place] = await placesOf();
    const compactAll = async (): Promise<void> => {
      const { core } = house.engine;
      const name = `compact-${house.clock.now()}`;
      const lease = await takeLease(core.context, { name, holder: name, durationMs: 60_000 });
      if (lease === undefined) throw new Error('leased');
      for await (const info of house.tier.segments()) {
        if (!before.has(info.segment)) continue;
        // However many puts a busy machine got into one segment.
        const options = { lease, names: await bucketNames(house.store), liveShareMin: 2 };
        await compactSegment(core, { tier: house.tier, info }, options);
      }
    };
    const isSettled = async (): Promise<boolean> => {
      for await (const { settled } of house.tier.segments()) if (!settled) return false;
      return true;
    };
    // In its own time, not in ours.
    while (!(await isSettled())) await sleep(50);
    for (let pass = 0; pass < 5; pass += 1) {
      house.clock.offsetMs += OVER;
      await house.run('collect');
      await compactAll();
      for (const key of keys) t.deepEqual(await house.read(key), Buffer.from(shared));
    }
    const after = await placesOf();
    t.is(after.size, 1, 'one copy for all of them');
    t.false(after.has(place ?? ''), 'moved out');
    const left = await segments();
    t.true(
      [...before].every((segment) => !left.has(segment)),
      'and the old segments are freed',
    );
    for (const key of keys) await house.remove(key);
    for (let pass = 0; pass < 5; pass += 1) {
      house.clock.offsetMs += OVER;
      await house.run('sweep');
      await house.run('collect');
    }
    t.is(await house.store.count('references', { from: '0' }), 0);
    t.is(await house.store.count('contents', { from: '0' }), 0);
  } finally {
    await house.dispose();
  }
});

test('a drained group gives up what is shared, once, and is called empty', async (t) => {
  const house = await openHouse({ groups: ['g0', 'g1'], segmentBytes: 1024 * KiB });
  try {
    await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
    await house.engine.updateBucket('data', (old) => ({ ...old, dedupe: true }));
    const small = random.bytes(64 * KiB);
    const large = random.bytes(600 * KiB);
    for (const key of ['s1', 's2', 's3']) await house.put(key, small);
    for (const key of ['l1', 'l2', 'l3']) await house.put(key, large);
    const groupOf = async (key: string): Promise<number> => {
      const { version } = await house.engine.headObject({ bucket: 'data', key });
      const location = version.parts[0]?.location;
      return location?.kind === 'segment' || location?.kind === 'shards' ? location.group : -1;
    };
    const group = await groupOf('l1');
    const context = { ...house.engine.core.context };
    await drainGroup(context, 'hot', group);
    for (let pass = 0; pass < 8; pass += 1) {
      house.clock.offsetMs += OVER;
      await house.run('groups');
      await house.run('sweep');
      await house.run('collect');
    }
    for (const key of ['s1', 's2', 's3']) t.deepEqual(await house.read(key), Buffer.from(small));
    for (const key of ['l1', 'l2', 'l3']) {
      t.deepEqual(await house.read(key), Buffer.from(large));
      t.not(await groupOf(key), group);
    }
    const row = await groupsRow(house.store, 'hot');
    t.not(row.groups.find((one) => one.group === group)?.emptyAt, undefined, 'empty');
    const { version: l1 } = await house.engine.headObject({ bucket: 'data', key: 'l1' });
    const { version: l3 } = await house.engine.headObject({ bucket: 'data', key: 'l3' });
    t.is(placeOf(l1), placeOf(l3), 'still one copy');
  } finally {
    await house.dispose();
  }
});

test('compaction finds who shares a record behind 10,000 stale references, and looks at many at once', async (t) => {
  const house = await openHouse({ segmentBytes: 1024 * KiB, segmentOpenMs: 50 });
  try {
    const create = { name: 'data', owner: 'root', region: 'us-east-1' };
    const { id: bucketId } = await house.engine.createBucket(create);
    await house.engine.updateBucket('data', (old) => ({ ...old, dedupe: true }));
    const shared = random.bytes(64 * KiB);
    await house.put('first', shared);
    await house.put('zzz', shared);
    const others = Array.from({ length: 12 }, (_, i) => `other/${i}`);
    for (const key of others) await house.put(key, random.bytes(32 * KiB));
    for (const key of ['first', ...others]) await house.remove(key);
    const { version } = await house.engine.headObject({ bucket: 'data', key: 'zzz' });
    const location = version.parts[0]?.location;
    if (location?.kind !== 'segment') throw new Error('not in a segment');
    for (let at = 0; at < 10_001; at += 1000) {
      const stale = Array.from({ length: 1000 }, (_, i): Change => {
        const gone = objectId(bucketId, `gone/${at + i}`);
        const value = { format: 1, object: gone, at: 0 };
        return { kind: 'insert', table: 'references', id: `${location.id}/${gone}`, value };
      });
      await house.store.bulk(stale);
    }
    const isSettled = async (): Promise<boolean> => {
      for await (const { settled } of house.tier.segments()) if (!settled) return false;
      return true;
    };
    while (!(await isSettled())) await sleep(50);
    house.clock.offsetMs += OVER;
    await house.run('collect');
    const { core } = house.engine;
    const { store } = core.context;
    const get = store.get.bind(store);
    let looks = 0;
    let most = 0;
    store.get = async <T>(table: Table, id: string, options?: { linearizable?: boolean }) => {
      if (table !== 'packs') return get<T>(table, id, options);
      looks += 1;
      most = Math.max(most, looks);
      for (let i = 0; i < 20; i += 1) await turn();
      looks -= 1;
      return get<T>(table, id, options);
    };
    const name = 'compact';
    const lease = await takeLease(core.context, { name, holder: name, durationMs: 60_000 });
    if (lease === undefined) throw new Error('leased');
    const names = await bucketNames(house.store);
    for await (const info of house.tier.segments()) {
      // However many puts a busy machine got into one segment.
      const options = { lease, names, liveShareMin: 2 };
      await compactSegment(core, { tier: house.tier, info }, options);
    }
    const { version: moved } = await house.engine.headObject({ bucket: 'data', key: 'zzz' });
    t.not(placeOf(moved), location.id);
    t.deepEqual(await house.read('zzz'), Buffer.from(shared));
    t.true(most > 1, 'one after another');
  } finally {
    await house.dispose();
  }
});

test('deleted bytes in a draining group that are put again are written elsewhere, and it is emptied', async (t) => {
  for (const hasHeard of [true, false]) {
    const house = await openHouse({ groups: ['g0', 'g1'], segmentBytes: 1024 * KiB });
    try {
      await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
      await house.engine.updateBucket('data', (old) => ({ ...old, dedupe: true }));
      const large = random.bytes(600 * KiB);
      const groupOf = async (key: string): Promise<number> => {
        const { version } = await house.engine.headObject({ bucket: 'data', key });
        const location = version.parts[0]?.location;
        return location?.kind === 'shards' ? location.group : -1;
      };
      await house.put('first', large);
      const group = await groupOf('first');
      await house.remove('first');
      await drainGroup({ ...house.engine.core.context }, 'hot', group);
      house.clock.offsetMs += 3_600_000;
      await house.run('groups');
      // Another process that has not heard of the drain yet.
      if (!hasHeard) house.tier.setDraining(new Set());
      await house.put('second', large);
      t.is((await groupOf('second')) === group, !hasHeard);
      for (let pass = 0; pass < 10; pass += 1) {
        house.clock.offsetMs += OVER;
        await house.run('groups');
        await house.run('sweep');
        await house.run('collect');
      }
      t.deepEqual(await house.read('second'), Buffer.from(large));
      t.not(await groupOf('second'), group);
      const row = await groupsRow(house.store, 'hot');
      t.not(row.groups.find((one) => one.group === group)?.emptyAt, undefined, 'empty');
    } finally {
      await house.dispose();
    }
  }
});
