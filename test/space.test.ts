// Room: what comes back after deletes, groups that are added, emptied, taken away and evened out. What
// a user would lose: objects in a group that was called empty, a part of an upload that moved under its
// Complete, a group taken for another because a line of the settings moved, and room that never comes
// back.

import { hash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';

import {
  assignGroups,
  changeGroups,
  drainGroup,
  fillOf,
  followGroups,
  groupsRow,
  planRebalance,
  rebalanceGroups,
  setRebalance,
  undrainGroup,
} from '../appliance/engine/upkeep/groups.ts';
import { Audit } from '../appliance/engine/upkeep/audit.ts';
import { buildEngine } from '../appliance/engine/build.ts';
import { evacuatePage } from '../appliance/engine/upkeep/evacuate.ts';
import { moveUploadParts } from '../appliance/engine/move/move-parts.ts';
import { moveIntoPacks } from '../appliance/engine/move/pack-move.ts';
import type { GroupUsageAnswer, GroupsAnswer } from '../appliance/model/answers.ts';
import { FirnError } from '../appliance/model/errors.ts';
import { GRACE_MS } from '../appliance/model/limits.ts';
import type { Location, Pack, ShardLocation } from '../appliance/model/location.ts';
import { newLocationId, objectId } from '../appliance/model/ids.ts';
import type { Garbage } from '../appliance/model/records.ts';
import type {
  DriveInfo,
  DriveState,
  GroupRoom,
  NodeGroupTier,
} from '../appliance/model/node-group.ts';
import type {
  ObjectDocument,
  Part,
  Upload,
  UploadPart,
  Version,
} from '../appliance/model/object.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import { FilterEntries, OwnerFilter } from '../tiers/filter.ts';
import { chooseGroup } from '../tiers/node-group/tier/placement.ts';
import { adminCall } from './admin-fetch.ts';
import { Seeded } from './contract/drive.ts';
import { runFirn, startFirn } from './firn-process.ts';
import { Crash, MemoryMetadataStore } from './memory-store.ts';
import {
  auditBytes,
  collectAll,
  leaseOf,
  namedBlobs,
  newRig,
  put,
  putParts,
  wholeOf as wholeBytes,
} from './move-rig.ts';
import { s3Call } from './s3-fetch.ts';
import { bytesBelow, driveFolders, openHouse, openSegments, type House } from './space-house.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const seed = Number(process.env['FIRN_TEST_SEED'] ?? Math.floor(Math.random() * 1e6));
console.log(`FIRN_TEST_SEED=${seed}`);

// ── Placement ─────────────────────────────────────────────────────────────────────────────────────

interface FakeGroup {
  draining: boolean;
  upCount: number;
  writable: boolean;
  roomBytes: number;
  context: never;
}

const fakeGroup = (group: number, more: Partial<FakeGroup> = {}): FakeGroup => ({
  draining: false,
  upCount: 6,
  writable: true,
  roomBytes: 1e12,
  context: { group, code: { k: 4, m: 2, n: 6 }, seats: [] } as never,
  ...more,
});
const numberOf = (one: FakeGroup): number => (one.context as { group: number }).group;
const owners = Array.from({ length: 20_000 }, (_, i) => `00112233445566ff/photos/${i}.jpg`);

test.serial(
  'names spread over groups by their free room, and a new group takes its share alone',
  (t) => {
    const three = [fakeGroup(0), fakeGroup(1, { roomBytes: 2e12 }), fakeGroup(7)];
    const before = owners.map((owner) => numberOf(chooseGroup(three, owner)));
    const share = (of: number[], group: number): number =>
      of.filter((one) => one === group).length / of.length;
    t.true(Math.abs(share(before, 0) - 0.25) < 0.015, `${share(before, 0)}`);
    t.true(Math.abs(share(before, 1) - 0.5) < 0.015, `${share(before, 1)}`);
    const shuffled = [three[2], three[0], three[1]] as FakeGroup[];
    const again = owners.map((owner) => numberOf(chooseGroup(shuffled, owner)));
    t.deepEqual(again, before, 'the order in the settings decides nothing');
    const four = [...three, fakeGroup(9)];
    const after = owners.map((owner) => numberOf(chooseGroup(four, owner)));
    t.true(Math.abs(share(after, 9) - 0.2) < 0.015, `${share(after, 9)}`);
    t.true(after.every((group, i) => group === 9 || group === before[i]));
  },
);

test.serial(
  'a group that drains, is full, is avoided or could bear no failure gets nothing',
  (t) => {
    const chosen = (groups: FakeGroup[], avoid?: Set<number>): Set<number> =>
      new Set(
        owners
          .slice(0, 500)
          .map((owner) => numberOf(chooseGroup(groups, owner, avoid)))
          .toSorted((a, b) => a - b),
      );
    const good = [fakeGroup(1), fakeGroup(2)];
    t.deepEqual(chosen([fakeGroup(0, { draining: true }), ...good]), new Set([1, 2]));
    t.deepEqual(chosen([fakeGroup(0, { writable: false, upCount: 0 }), ...good]), new Set([1, 2]));
    t.deepEqual(chosen([fakeGroup(0, { upCount: 2 }), ...good]), new Set([1, 2]), 'below m+1');
    t.deepEqual(chosen([fakeGroup(0, { upCount: 3 }), ...good]), new Set([0, 1, 2]), 'm+1 are up');
    t.deepEqual(chosen([fakeGroup(0), ...good], new Set([0])), new Set([1, 2]));
    const only = [fakeGroup(0, { draining: true }), fakeGroup(1, { upCount: 2 })];
    t.deepEqual(
      chosen(only),
      new Set([1]),
      'better two drives than none, but never a draining one',
    );
    const none = [fakeGroup(0, { draining: true }), fakeGroup(1)];
    t.throws(() => chooseGroup(none, 'x', new Set([1])), { code: 'InsufficientCapacity' });
  },
);

// ── Groups are known by their drives ──────────────────────────────────────────────────────────────

const clock = { wall: () => Date.now(), now: () => Date.now() };
const random = { bytes: (count: number): Uint8Array => new Uint8Array(randomBytes(count)) };

test.serial(
  'a group keeps its number wherever it is listed, and leaves only when it is empty',
  async (t) => {
    const store = new MemoryMetadataStore(clock);
    const listed = (name: string, group?: number) => ({
      drives: [`/${name}/0`, `/${name}/1`],
      group,
    });
    const assign = (...groups: ReturnType<typeof listed>[]) => assignGroups(store, 'hot', groups);
    const founded = () =>
      changeGroups(store, 'hot', (row) => ({
        ...row,
        groups: row.groups.map((one) => ({ ...one, founded: true })),
      }));
    const isNew = (group: number) => ({ group, founded: false });
    const known = (group: number) => ({ group, founded: true });
    t.deepEqual(await assign(listed('a'), listed('b')), [isNew(0), isNew(1)]);
    t.deepEqual(
      await assign(listed('c')),
      [isNew(2)],
      'what was never taken into use is forgotten',
    );
    await founded();
    t.deepEqual(
      await assign(listed('d'), listed('c')),
      [isNew(3), known(2)],
      'empty drives, by path',
    );
    await founded();
    t.deepEqual(
      await assign(listed('x', 2), listed('y', 3)),
      [known(2), known(3)],
      'mounted elsewhere',
    );
    await t.throwsAsync(assign(listed('x', 2), listed('y', 2)), { message: /group 2 twice/ });
    await t.throwsAsync(assign(listed('x', 2)), { message: /lacks group 3/ });
    await t.throwsAsync(assign(listed('x', 2), listed('z')), { message: /lacks group 3/ });
    const change = (more: object) =>
      changeGroups(store, 'hot', (row) => ({
        ...row,
        groups: row.groups.map((one) => (one.group === 3 ? { ...one, ...more } : one)),
      }));
    await change({ state: 'draining', drainingSince: 1 });
    await t.throwsAsync(assign(listed('x', 2)), { message: /lacks group 3/ }, 'not empty yet');
    await change({ emptyAt: 2 });
    t.deepEqual(await assign(listed('x', 2)), [known(2)]);
    t.deepEqual(
      await assign(listed('x', 2), listed('y')),
      [known(2), isNew(4)],
      'never used again',
    );
    t.deepEqual(await assign(listed('x', 2), listed('w', 3), listed('y')), [
      known(2),
      known(3),
      isNew(4),
    ]);
    const { groups } = await groupsRow(store, 'hot');
    t.is(groups.find(({ group }) => group === 3)?.state, 'draining', 'back, it is as it was');
  },
);

test.serial(
  'a group whose drives are all empty at once is a missing mount, not a new group',
  async (t) => {
    const house = await openHouse({ groups: ['g0', 'g1'] });
    try {
      await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
      for (let i = 0; i < 16; i += 1) await house.put(`k${i}`, randomBytes(1000));
      await house.close();
      const { directory } = house;
      for (const folder of driveFolders(directory, 'g1')) {
        rmSync(folder, { recursive: true });
        mkdirSync(folder);
      }
      const again = await openHouse({ directory, groups: ['g1', 'g0'] });
      const states = (await again.tier.drives()).map(({ group, state }) => `${group} ${state}`);
      t.deepEqual(new Set(states), new Set(['1 missing', '0 up']));
      await again.put('new', randomBytes(1000));
      t.is((await again.read('new')).length, 1000);
      for (const folder of driveFolders(directory, 'g1')) {
        t.false(existsSync(join(folder, 'firn-drive.json')));
      }
      const errors: unknown[] = [];
      for (let i = 0; i < 16; i += 1) {
        await again
          .read(`k${i}`)
          .catch((error: unknown) => errors.push((error as { code: string }).code));
      }
      t.true(
        errors.length > 0 && errors.every((code) => code === 'DriveUnavailable'),
        `${errors.join()}`,
      );
      await again.close();
    } finally {
      await house.dispose();
    }
  },
);

// ── Drain ─────────────────────────────────────────────────────────────────────────────────────────

const common = { owner: 'root', storageClass: 'STANDARD', headers: {}, metadata: {} };

/** Locations that documents and parts of uploads name in a group. */
async function namedIn(house: House, group: number): Promise<string[]> {
  const found: string[] = [];
  const look = (location: Location): void => {
    if (location.kind !== 'pack' && location.kind !== 'remote' && location.group === group) {
      found.push(location.id);
    }
  };
  for (const { value } of await house.store.range<ObjectDocument>({
    table: 'objects',
    limit: 5000,
  })) {
    for (const version of value.versions) for (const part of version.parts) look(part.location);
  }
  for (const { value } of await house.store.range<UploadPart>({ table: 'parts', limit: 5000 })) {
    for (const location of [value.location, ...value.replaced]) look(location);
  }
  return found;
}

test.serial(
  'a group is emptied under writes, overwrites and an upload, and then it may leave',
  async (t) => {
    const house = await openHouse({ groups: ['g0', 'g1'], segmentOpenMs: 100 });
    try {
      const { engine, tier, store } = house;
      await engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
      const sizes = [0, 100, 4096, 20_000, 300_000, MiB + 3];
      const stored = new Map<string, Buffer>();
      const put = async (key: string, size: number): Promise<void> => {
        const body = randomBytes(size);
        await house.put(key, body);
        stored.set(key, body);
      };
      await Promise.all(
        Array.from({ length: 120 }, (_, i) => put(`k${i}`, sizes[i % 6] as number)),
      );
      const begin = { bucket: 'data', key: 'film' };
      const { uploadId } = await engine.createUpload({ ...common, ...begin });
      const parts = [randomBytes(5 * MiB), randomBytes(5 * MiB), randomBytes(70_000)];
      const sent = async (number: number): Promise<{ number: number; etag: string }> => {
        const body = parts[number - 1] as Buffer;
        const { etag } = await engine.putPart({ ...begin, uploadId, number, body });
        return { number, etag };
      };
      await sent(1);
      const chosen = [await sent(1), await sent(2)];
      const from = (await namedIn(house, 0)).length > (await namedIn(house, 1)).length ? 0 : 1;
      const uploadIn = (await store.range<UploadPart>({ table: 'parts', limit: 1 }))[0];
      const home = uploadIn?.value.location as Location & { group: number };
      const source = home.kind === 'shards' ? home.group : from;
      const context = { store, clock: house.clock, random, tiers: engine.core.context.tiers };
      await drainGroup(context, 'hot', source);
      await t.throwsAsync(drainGroup(context, 'hot', 1 - source), { message: /last that takes/ });
      await followGroups({ store }, tier);

      // Beside the work: new keys, overwrites, deletes, and reads that must be right.
      let isEnded = false;
      const wrong: string[] = [];
      const beside = (async () => {
        for (let i = 0; !isEnded; i += 1) {
          await put(`k${i % 120}`, sizes[(i * 5) % 6] as number);
          await put(`new${i % 40}`, 3000);
          if (i % 7 === 0) {
            await house.remove(`k${(i + 60) % 120}`);
            stored.delete(`k${(i + 60) % 120}`);
          }
          const [key, body] = [...stored][(i * 13) % stored.size] as [string, Buffer];
          if (!(await house.read(key)).equals(body)) wrong.push(key);
          await sleep(2);
        }
      })();
      house.clock.offsetMs += 6000;
      await house.run('groups');
      isEnded = true;
      await beside;
      t.deepEqual(wrong, []);
      house.clock.offsetMs += 10_000;
      await house.run('groups');
      t.deepEqual(await namedIn(house, source), [], 'nothing names it, the upload either');
      const entry = async () =>
        (await groupsRow(store, 'hot')).groups.find(({ group }) => group === source);
      t.is((await entry())?.emptyAt, undefined, 'but readers have their grace');
      chosen.push(await sent(3));
      await engine.completeUpload({ ...common, ...begin, uploadId, parts: chosen });
      stored.set('film', Buffer.concat(parts));

      for (let i = 0; i < 6 && (await entry())?.emptyAt === undefined; i += 1) {
        house.clock.offsetMs += GRACE_MS + 3_600_000;
        await house.run('collect');
        await sleep(500);
        await house.run('groups');
      }
      t.truthy((await entry())?.emptyAt, house.log.join('\n'));
      t.deepEqual(await tier.contentsOf(source), {
        segments: 0,
        shards: 0,
        temporary: 0,
        journal: 0,
      });
      t.false(await house.groupsWorker().isNeeded());
      await house.close();

      // Without it, everything is there; and it may come back.
      const { directory } = house;
      const without = await openHouse({ directory, groups: [`g${1 - source}`] });
      for (const [key, body] of stored) t.true((await without.read(key)).equals(body), key);
      await without.close();
      const back = await openHouse({ directory, groups: ['g0', 'g1'] });
      const again = { store: back.store, clock, random, tiers: back.engine.core.context.tiers };
      await undrainGroup(again, 'hot', source);
      await followGroups({ store: back.store }, back.tier);
      for (let i = 0; i < 40; i += 1) await back.put(`back${i}`, randomBytes(500));
      t.true((await namedIn(back, source)).length > 3, 'it takes writes again');
      await back.close();
    } finally {
      await house.dispose();
    }
  },
);

test.serial(
  'a part that moves under its upload is whole at any step, and Complete never names what is freed',
  async (t) => {
    for (let at = 1; ; at += 1) {
      const rig = await newRig();
      try {
        const name = { bucket: 'data', key: 'film' };
        const { uploadId } = await rig.engine.createUpload({ ...common, ...name });
        const bodies = [randomBytes(5 * MiB), randomBytes(700)];
        const parts: { number: number; etag: string }[] = [];
        for (const [i, body] of bodies.entries()) {
          const { etag } = await rig.engine.putPart({ ...name, uploadId, number: i + 1, body });
          parts.push({ number: i + 1, etag });
        }
        const old = new Set(rig.hot.blobs.keys());
        const move = async (): Promise<void> => {
          const [row] = rig.store.rowsOf<Upload>('uploads') as Row<Upload>[];
          const lease = await leaseOf(rig, 'groups', `mover-${rig.clock.now()}`);
          await moveUploadParts(rig.core, row as Row<Upload>, {
            kind: 'rebalance',
            tier: 'hot',
            leaves: ({ id }) => old.has(id),
            lease,
          });
        };
        rig.crashAt(at);
        const isDead = await move().then(
          () => false,
          (error: unknown) => error instanceof Crash || true,
        );
        rig.restart();
        rig.clock.pass(120_000);
        if (at % 2 === 0) await move();
        rig.clock.pass(2 * GRACE_MS);
        await collectAll(rig, 2);
        await rig.engine.completeUpload({ ...common, ...name, uploadId, parts });
        rig.clock.pass(2 * GRACE_MS);
        await collectAll(rig, 2);
        const { body } = await rig.engine.getObject(name);
        t.is(Buffer.compare(await wholeBytes(body), Buffer.concat(bodies)), 0, `crash at ${at}`);
        if (!isDead) {
          t.log(`${at - 1} crash points`);
          t.true(at > 8);
          t.true(
            [...old].every((id) => !rig.hot.blobs.has(id)),
            'the old bytes are freed',
          );
          return;
        }
      } finally {
        rig.close();
      }
    }
  },
);

test.serial(
  'a Complete that read its parts before they moved loses, reads again, and names the copies',
  async (t) => {
    const rig = await newRig();
    try {
      const name = { bucket: 'data', key: 'film' };
      const { uploadId } = await rig.engine.createUpload({ ...common, ...name });
      const body = randomBytes(3000);
      const { etag } = await rig.engine.putPart({ ...name, uploadId, number: 1, body });
      const old = new Set(rig.hot.blobs.keys());
      const [row] = rig.store.rowsOf<Upload>('uploads') as [Row<Upload>];
      const lease = await leaseOf(rig, 'groups');
      const options = { kind: 'rebalance', tier: 'hot', lease } as const;
      const leaves = ({ id }: Location): boolean => old.has(id);
      // The Complete has chosen, and is about to write down what it chose.
      let isMoved = false;
      const { beforeCommit } = rig.store;
      rig.store.beforeCommit = async (change) => {
        const isChoice = change.table === 'uploads' && !isMoved;
        if (isChoice) {
          isMoved = true;
          const moved = await moveUploadParts(rig.core, row, { ...options, leaves });
          t.is(moved.length, 1);
          rig.clock.pass(2 * GRACE_MS);
          await collectAll(rig, 1);
          t.true(
            [...old].every((id) => !rig.hot.blobs.has(id)),
            'freed while it waits',
          );
        }
        return beforeCommit?.(change);
      };
      const parts = [{ number: 1, etag }];
      await rig.engine.completeUpload({ ...common, ...name, uploadId, parts });
      t.true(isMoved);
      const answer = await rig.engine.getObject(name);
      t.is(Buffer.compare(await wholeBytes(answer.body), body), 0);
    } finally {
      rig.close();
    }
  },
);

test.serial(
  'out of a group that is dying comes what can be read, and the rest keeps it from being called empty',
  async (t) => {
    const house = await openHouse({ groups: ['g0', 'g1'], segmentOpenMs: 100 });
    try {
      const { store, tier, engine, directory } = house;
      await engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
      const stored = new Map<string, Buffer>();
      // Side by side: a batch then fills all data lanes, so with half the drives gone some of it can
      // be read, and the rest can't be decoded. Of one object alone there would be three copies.
      for (let i = 0; i < 80; i += 20) {
        await Promise.all(
          Array.from({ length: 20 }, async (_, j) => {
            const body = randomBytes(1000);
            await house.put(`k${i + j}`, body);
            stored.set(`k${i + j}`, body);
          }),
        );
      }
      await tier.look();
      const before = await namedIn(house, 0);
      const gone = driveFolders(directory, 'g0').slice(0, 3);
      for (const folder of gone) renameSync(folder, `${folder}.gone`);
      await tier.look();
      const context = { store, clock: house.clock, random, tiers: engine.core.context.tiers };
      await drainGroup(context, 'hot', 0);
      await followGroups({ store }, tier);
      house.clock.offsetMs += 10_000;
      await house.run('groups');
      const left = await namedIn(house, 0);
      t.true(left.length > 0 && left.length < before.length, `${left.length} of ${before.length}`);
      const { groups } = await groupsRow(store, 'hot');
      t.is(groups[0]?.emptyAt, undefined);
      for (const folder of gone) renameSync(`${folder}.gone`, folder);
      await tier.look();
      house.clock.offsetMs += GRACE_MS;
      await house.run('groups');
      t.deepEqual(await namedIn(house, 0), []);
      for (const [key, body] of stored) t.true((await house.read(key)).equals(body), key);
    } finally {
      await house.dispose();
    }
  },
);

test.serial('packs that lie in a group are packed anew elsewhere', async (t) => {
  const house = await openHouse({ groups: ['g0', 'g1'], segmentOpenMs: 100 });
  try {
    const { engine, store, tier } = house;
    const { id } = await engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
    const stored = new Map<string, Buffer>();
    for (let i = 0; i < 60; i += 1) {
      const body = randomBytes(i % 10 === 0 ? 90_000 : 900);
      await house.put(`k${i}`, body);
      stored.set(`k${i}`, body);
    }
    const leaseHere = { name: 'test', epoch: 1, check: () => Promise.resolve() };
    const rows = await store.range<ObjectDocument>({ table: 'objects', limit: 100 });
    const versions = rows.map(({ id: object, value }) => {
      const version = value.versions[0] as Version;
      const key = object.slice(object.indexOf('/') + 1);
      return { bucket: 'data', bucketId: id, key, object, version, parts: version.parts };
    });
    for (let at = 0; at < versions.length; at += 12) {
      const some = versions.slice(at, at + 12);
      const options = { kind: 'transition', tier: 'hot', lease: leaseHere } as const;
      t.is((await moveIntoPacks(engine.core, some, options)).moved, some.length);
    }
    const packsIn = async (): Promise<number[]> => {
      const packs = await store.range<Pack>({ table: 'packs', limit: 100 });
      return packs.map(({ value: { blob } }) => ('group' in blob ? blob.group : -1));
    };
    const source = (await packsIn())[0] as number;
    const context = { store, clock: house.clock, random, tiers: engine.core.context.tiers };
    await drainGroup(context, 'hot', source);
    await followGroups({ store }, tier);
    const isEmpty = async () => {
      const { groups } = await groupsRow(store, 'hot');
      return groups.find(({ group }) => group === source)?.emptyAt !== undefined;
    };
    for (let i = 0; i < 8 && !(await isEmpty()); i += 1) {
      house.clock.offsetMs += GRACE_MS + 3_600_000;
      await house.run('groups');
      await house.run('collect');
      await sleep(450);
    }
    t.true(await isEmpty(), house.log.join());
    t.false((await packsIn()).includes(source));
    for (const [key, body] of stored) t.true((await house.read(key)).equals(body), key);
  } finally {
    await house.dispose();
  }
});

test.serial(
  'a version of many parts leaves its group whole at any step, and a repeat finishes',
  async (t) => {
    for (let at = 1; ; at += 3) {
      const rig = await newRig();
      try {
        await putParts(rig, 'long', 70);
        await putParts(rig, 'short', 3);
        await put(rig, 'small', 100);
        const old = new Set(rig.hot.blobs.keys());
        const pass = async (): Promise<number> => {
          const lease = await leaseOf(rig, 'groups', `mover-${rig.clock.now()}`);
          // The tier in memory has one group only: what is there already is what is to move.
          const task = { tier: 'hot', sources: new Map([[0, Infinity]]) };
          let found = 0;
          for (let cursor: string | undefined = ''; cursor !== undefined;) {
            const page = await evacuatePage(rig.core, task, cursor, { lease, names: new Map() });
            found += page.found.get(0)?.objects ?? 0;
            cursor = page.next;
          }
          return found;
        };
        rig.crashAt(at);
        const found = await pass().catch(() => undefined);
        rig.restart();
        await auditBytes(t, rig, `crash at ${at}`);
        if (found !== undefined) {
          t.is(found, 74);
          t.true(at > 100, `${at} steps`);
          const named = await namedBlobs(rig);
          t.true([...old].every((id) => !named.has(id)));
          rig.clock.pass(2 * GRACE_MS);
          await collectAll(rig, 2);
          t.is(rig.hot.blobs.size, 74);
          await auditBytes(t, rig, 'collected');
          return;
        }
      } finally {
        rig.close();
      }
    }
  },
);

// ── Rebalance ─────────────────────────────────────────────────────────────────────────────────────

const roomOf = (group: number, capacityBytes: number, fill: number): GroupRoom => ({
  group,
  dataShare: 4 / 6,
  writable: true,
  draining: false,
  capacityBytes,
  freeBytes: Math.round(capacityBytes * (1 - fill)),
  heldBytes: Math.round(capacityBytes * fill),
  segmentBytes: Math.round(capacityBytes * fill * 0.3),
  shardBytes: Math.round(capacityBytes * fill * 0.7),
  journalBytes: 0,
  otherBytes: 0,
  deadBytes: 0,
  blobs: 0,
  drives: [],
});

test.serial(
  'a rebalance plans the least that brings the fullest and the emptiest that close',
  (t) => {
    const chance = new Seeded(seed);
    for (let round = 0; round < 300; round += 1) {
      const count = 2 + Math.floor(chance.next() * 6);
      const until = 1 + chance.next() * 30;
      const rooms = Array.from({ length: count }, (_, i) =>
        roomOf(i, (1 + Math.floor(chance.next() * 8)) * 1e12, chance.next() * 0.95),
      );
      const plan = planRebalance(rooms, until);
      const given = plan.give.reduce((sum, { bytes }) => sum + bytes, 0) / (4 / 6);
      const lacking = rooms.filter(({ group }) => plan.take.includes(group));
      const takers = lacking.toSorted((a, b) => fillOf(a) - fillOf(b));
      const fills = new Map(rooms.map((room) => [room.group, fillOf(room)]));
      for (const { group, bytes } of plan.give) {
        const room = rooms[group] as GroupRoom;
        fills.set(group, fillOf(room) - bytes / (4 / 6) / room.capacityBytes);
      }
      // Poured into the emptiest first, they stand at one level.
      let left = given;
      for (let i = 0; i < takers.length && left > 1; i += 1) {
        const next = takers[i + 1];
        const some = takers.slice(0, i + 1);
        const capacity = some.reduce((sum, { capacityBytes }) => sum + capacityBytes, 0);
        const now = fills.get((takers[0] as GroupRoom).group) ?? 0;
        const up = next === undefined ? Infinity : (fillOf(next) - now) * capacity;
        const poured = Math.min(left, up);
        for (const { group } of some) fills.set(group, now + poured / capacity);
        left -= poured;
      }
      const spread = Math.max(...fills.values()) - Math.min(...fills.values());
      const name = `seed ${seed} round ${round}: ${plan.spreadPercent} to ${spread * 100}, ${until}`;
      t.true(spread * 100 <= until + 0.01, name);
      if (plan.spreadPercent <= until) t.is(plan.give.length, 0, name);
      else t.true(spread * 100 > until - 0.01, `no more than that: ${name}`);
    }
    t.deepEqual(planRebalance([roomOf(0, 1e12, 0.9)], 5).give, [], 'alone');
    const draining = { ...roomOf(1, 1e12, 0), draining: true };
    t.deepEqual(planRebalance([roomOf(0, 1e12, 0.9), draining], 5).give, [], 'nobody takes');
  },
);

test.serial(
  'a new group is filled from the full one, resting and going on, until they are that close',
  async (t) => {
    const driveBytes = 24 * MiB;
    const house = await openHouse({ groups: ['g0'], driveBytes, segmentOpenMs: 100 });
    try {
      await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
      const stored = new Map<string, Buffer>();
      for (let i = 0; i < 90; i += 1) {
        const body = randomBytes(i % 2 === 0 ? 700_000 : 60_000);
        await house.put(`k${i}`, body);
        stored.set(`k${i}`, body);
      }
      await house.close();
      const { directory } = house;
      const two = await openHouse({
        directory,
        groups: ['g0', 'g1'],
        driveBytes,
        segmentOpenMs: 100,
      });
      const { store, tier } = two;
      const context = { store, clock: two.clock, random, tiers: two.engine.core.context.tiers };
      t.deepEqual(await namedIn(two, 1), [], 'nothing moves by itself');
      await tier.look();
      const wanted = { untilPercent: 8, start: false };
      const dry = await rebalanceGroups(context, 'hot', wanted);
      t.is(dry.rebalance, undefined);
      t.is((await groupsRow(store, 'hot')).rebalance, undefined, 'a plan changes nothing');
      t.like(dry.plan, { take: [1] });
      t.is(dry.plan.give[0]?.group, 0);
      await rebalanceGroups(context, 'hot', { ...wanted, start: true });
      await t.throwsAsync(rebalanceGroups(context, 'hot', { ...wanted, start: true }));
      await setRebalance(context, 'hot', 'stopped');
      t.false(await two.groupsWorker().isNeeded());
      await two.run('groups');
      t.deepEqual(await namedIn(two, 1), [], 'stopped it rests');
      await setRebalance(context, 'hot', 'running');
      await two.run('groups');
      t.is((await groupsRow(store, 'hot')).rebalance?.state, 'done');
      t.true((await namedIn(two, 0)).length > 10 && (await namedIn(two, 1)).length > 10);
      for (let i = 0; i < 2; i += 1) {
        two.clock.offsetMs += GRACE_MS + 3_600_000;
        await two.run('collect');
        await sleep(500);
        await two.run('compact');
      }
      await tier.look();
      t.is((await tier.fill()).length, 2);
      const rooms = await tier.rooms();
      const fills = rooms.map(fillOf);
      const spread = Math.abs((fills[0] ?? 0) - (fills[1] ?? 0)) * 100;
      t.true(spread < 8 + 4, `${spread} %, ${fills.join()}`);
      for (const [key, body] of stored) t.true((await two.read(key)).equals(body), key);
      await two.close();
    } finally {
      await house.dispose();
    }
  },
);

// ── Room that comes back ──────────────────────────────────────────────────────────────────────────

test.serial(
  'of 20,000 small objects four in five are deleted, and the room comes back under load',
  async (t) => {
    const house = await openHouse({ segmentBytes: 16 * MiB, segmentOpenMs: 250 });
    try {
      await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
      const size = 3072;
      const noise = randomBytes(2 * size);
      const bodyOf = (i: number, round = 0): Buffer => {
        const body = Buffer.from(noise.subarray(i % size, (i % size) + size));
        body.writeUInt32LE(i, 0);
        body.writeUInt32LE(round, 4);
        return body;
      };
      const count = 20_000;
      const each = async (work: (i: number) => Promise<void>): Promise<void> => {
        let next = 0;
        const lane = async (): Promise<void> => {
          while (next < count) await work(next++);
        };
        await Promise.all(Array.from({ length: 128 }, lane));
      };
      await each((i) => house.put(`k/${i}`, bodyOf(i)));
      const full = house.heldIn('g0');
      await each(async (i) => {
        if (i % 5 !== 0) await house.remove(`k/${i}`);
      });
      const live = (count / 5) * size * 1.5;
      const bound = live * 1.3;
      t.true(full > 3 * bound, `${full} of ${bound}`);

      const rounds = new Map<number, number>();
      let isEnded = false;
      const wrong: number[] = [];
      const beside = (async () => {
        for (let turn = 1; !isEnded; turn += 1) {
          const i = ((turn * 37) % (count / 5)) * 5;
          // Each may be a segment of its own here, as those end after a quarter of a second.
          if (turn % 4 === 0 && rounds.size < 40) {
            await house.put(`k/${i}`, bodyOf(i, turn));
            rounds.set(i, turn);
          }
          const body = await house.read(`k/${i}`);
          if (!body.equals(bodyOf(i, rounds.get(i)))) wrong.push(i);
          await sleep(1);
        }
      })();
      for (let pass = 0; pass < 5; pass += 1) {
        house.clock.offsetMs += GRACE_MS + 3_600_000;
        await house.run('collect');
        // Notes are written behind, and a segment is settled four times its age after the last write.
        await sleep(1200);
        await house.run('compact');
        if (house.heldIn('g0') < bound) break;
      }
      isEnded = true;
      await beside;
      t.deepEqual(wrong, []);
      const held = house.heldIn('g0');
      t.log(`${full} raw bytes before, ${held} after, ${live} live with their parity`);
      t.true(held < bound, `${held} of at most ${bound}`);
      t.deepEqual(house.log, []);
      for (let i = 0; i < count; i += 5) {
        if (!(await house.read(`k/${i}`)).equals(bodyOf(i, rounds.get(i)))) wrong.push(i);
      }
      t.deepEqual(wrong, []);
    } finally {
      await house.dispose();
    }
  },
);

test.serial(
  'notes of the dead that are lost are made up for by the sweep, and nothing is read for that',
  async (t) => {
    const house = await openHouse({ segmentBytes: 2 * MiB, segmentOpenMs: 100 });
    try {
      await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
      const body = randomBytes(20_000);
      const keys = Array.from({ length: 120 }, (_, i) => `k${i}`);
      await Promise.all(keys.map((key) => house.put(key, body)));
      await Promise.all(keys.filter((_, i) => i % 6 !== 0).map((key) => house.remove(key)));
      const before = house.heldIn('g0');
      let looked = 0;
      const records = house.tier.records.bind(house.tier);
      house.tier.records = (...of) => {
        looked += 1;
        return records(...of);
      };
      const loseNotes = (): void => {
        for (const folder of driveFolders(house.directory, 'g0')) {
          rmSync(join(folder, 'dead'), { recursive: true, force: true });
        }
      };
      house.clock.offsetMs += GRACE_MS + 3_600_000;
      await house.run('collect');
      // Notes are written a moment later; on a busy machine, later still.
      for (let i = 0; i < 4; i += 1) {
        await sleep(500);
        loseNotes();
      }
      await house.run('compact');
      t.is(looked, 0, 'nobody knows of the dead');
      await house.run('sweep');
      t.is(looked, 0, 'the sweep reads no segment');
      for (let i = 0; i < 3; i += 1) {
        await house.run('compact');
        house.clock.offsetMs += GRACE_MS + 3_600_000;
        await house.run('collect');
        await sleep(500);
        loseNotes();
        await house.run('sweep');
      }
      const after = house.heldIn('g0');
      t.true(after < before * 0.5, `${before} before, ${after} after`);
      const read = looked;
      await house.run('compact');
      t.is(looked, read, 'what lives is left alone');
      for (const [i, key] of keys.entries()) {
        if (i % 6 === 0) t.true((await house.read(key)).equals(body), key);
      }
    } finally {
      await house.dispose();
    }
  },
);

test.serial(
  'a sweep opens no file of what is named, and still finds what nobody names',
  async (t) => {
    const house = await openHouse({ driveBytes: 200 * MiB });
    try {
      const { id } = await house.engine.createBucket({
        name: 'data',
        owner: 'root',
        region: 'us-east-1',
      });
      for (let i = 0; i < 12; i += 1) await house.put(`k${i}`, randomBytes(400_000));
      house.clock.offsetMs += GRACE_MS + 3_600_000;
      house.faults.shardOpens = 0;
      await house.run('sweep');
      t.is(house.faults.shardOpens, 0);
      const orphan = newLocationId(clock, random);
      await house.tier.put({
        id: orphan,
        body: randomBytes(400_000),
        owner: { bucketId: id, key: 'gone' },
      });
      house.faults.shardOpens = 0;
      await house.run('sweep');
      t.true(house.faults.shardOpens > 0 && house.faults.shardOpens <= 6);
      const [row] = await house.store.range<Garbage>({ table: 'garbage', limit: 2 });
      t.is(row?.id, orphan);
      house.clock.offsetMs += GRACE_MS + 3_600_000;
      await house.run('collect');
      t.is((await house.tier.contentsOf(0)).shards, 12);
    } finally {
      await house.dispose();
    }
  },
);

// ── What a segment cannot hold ────────────────────────────────────────────────────────────────────

const idOf = (i: number): string =>
  hash('sha256', `id ${i}`)
    .slice(0, 32)
    .replace(/^.{12}/, '0198a0b1c2d3');
const ownerOf = (i: number): string => `${i % 3}0112233445566ff/photos/${i}/ä.jpg`;

function entriesOf(count: number): FilterEntries {
  const entries = new FilterEntries();
  for (let i = 0; i < count; i += 1) entries.add(idOf(i), ownerOf(i));
  return entries;
}

test.serial(
  'a filter denies nothing that is there, and little more than one in a hundred slips through',
  (t) => {
    const segment = idOf(-1);
    const count = 20_000;
    const filter = OwnerFilter.read(entriesOf(count).file(segment), segment);
    if (filter === undefined) return t.fail();
    const owned = (i: number) => {
      const owner = ownerOf(i);
      return { bucketId: owner.slice(0, 16), key: owner.slice(17) };
    };
    let [ids, owners] = [0, 0];
    for (let i = 0; i < count; i += 1) {
      if (!filter.mayHoldId(idOf(i)) || !filter.mayHoldOwner(owned(i))) return t.fail(`${i}`);
      if (filter.mayHoldId(idOf(i + count))) ids += 1;
      if (filter.mayHoldOwner(owned(i + count))) owners += 1;
    }
    t.log(`${(ids / count) * 100} % of ids, ${(owners / count) * 100} % of owners`);
    t.true(ids < count * 0.01 && owners < count * 0.01);
    t.true(filter.mayHoldOwner({ bucketId: '10112233445566ff' }));
    t.false(filter.mayHoldOwner({ bucketId: '90112233445566ff' }));
  },
);

test.serial(
  'a filter that is torn, rotten or of another segment is none, and the format stays',
  (t) => {
    const segment = idOf(-1);
    const file = entriesOf(100).file(segment);
    const golden = join(import.meta.dirname, 'golden', 'node-group', 'filter.golden.bin');
    if (process.env['FIRN_WRITE_GOLDEN'] !== undefined) writeFileSync(golden, file);
    t.is(Buffer.compare(readFileSync(golden), file), 0, 'what today writes is what was written');
    t.true(OwnerFilter.read(readFileSync(golden), segment)?.mayHoldId(idOf(7)));
    t.is(OwnerFilter.read(file, idOf(-2)), undefined);
    for (let at = 0; at < file.length; at += 1) {
      const rotten = Buffer.from(file);
      rotten[at] = (rotten[at] as number) ^ (1 << (at % 8));
      if (OwnerFilter.read(rotten, segment) !== undefined) return t.fail(`byte ${at}`);
      if (OwnerFilter.read(file.subarray(0, at), segment) !== undefined)
        return t.fail(`cut at ${at}`);
    }
  },
);

test.serial(
  'who looks for one key reads only the segments that may hold it, those without a filter too',
  async (t) => {
    const options = { driveBytes: 500 * MiB, segmentBytes: MiB };
    const house = await openHouse(options);
    try {
      const { id } = await house.engine.createBucket({
        name: 'data',
        owner: 'root',
        region: 'us-east-1',
      });
      const keys = Array.from({ length: 2400 }, (_, i) => `k${i}`);
      for (let at = 0; at < keys.length; at += 100) {
        await Promise.all(keys.slice(at, at + 100).map((key) => house.put(key, randomBytes(8000))));
      }
      await house.close();
      const again = await openHouse({ ...options, directory: house.directory });
      const segments = await again.tier.contentsOf(0);
      t.true(segments.segments >= 5, `${segments.segments}`);
      const found = async (owner: { bucketId: string; key?: string }) => {
        again.faults.segmentsOpened.clear();
        let count = 0;
        for await (const blob of again.tier.list({ owner })) {
          t.is(blob.owner?.bucketId, owner.bucketId);
          count += 1;
        }
        return { count, opened: again.faults.segmentsOpened.size };
      };
      const one = await found({ bucketId: id, key: 'k1234' });
      t.is(one.count, 1);
      t.true(one.opened <= 2, `${one.opened} of ${segments.segments}`);
      // One in 200 segments is a wrong "perhaps".
      t.true((await found({ bucketId: 'f'.repeat(16) })).opened <= 1);
      t.is((await found({ bucketId: id })).count, 2400);

      // As an older Firn left it, and after a crash: it is looked for in the segment, which then
      // gets its filter when all of it is read for another reason.
      for (const folder of driveFolders(house.directory, 'g0')) {
        rmSync(join(folder, 'filters'), { recursive: true, force: true });
      }
      t.is((await found({ bucketId: id, key: 'k1234' })).count, 1);
      for await (const { group, segment } of again.tier.segments()) {
        for await (const _ of again.tier.records(group, segment));
        t.truthy(await again.tier.filterOf(group, segment));
      }
      t.true((await found({ bucketId: id, key: 'k1234' })).opened <= 2);

      // What a document names and no drive has is told by the sweep.
      again.log.length = 0;
      again.clock.offsetMs += GRACE_MS + 3_600_000;
      await again.run('sweep');
      t.deepEqual(again.log, []);
      const [row] = await again.store.range<ObjectDocument>({ table: 'objects', limit: 1 });
      if (row === undefined) return t.fail();
      const value = structuredClone(row.value);
      const location = value.versions[0]?.parts[0]?.location as Location;
      location.id = `${location.id.slice(0, 16)}${'5'.repeat(16)}`;
      const { id: object, revision: expected } = row;
      await again.store.replace({ table: 'objects', id: object, expected, value });
      await again.run('sweep');
      t.regex(again.log.join(), /durability alarm: 1 objects name bytes that are not there/);

      // Nor does a scrub meet what is gone from all drives, or from more than may be lost.
      await again.put('large', randomBytes(400_000));
      await again.put('short', randomBytes(400_000));
      await again.put('kept', randomBytes(400_000));
      const idOf = async (key: string): Promise<string> => {
        const document = await again.store.get<ObjectDocument>('objects', `${id}/${key}`);
        return document?.value.versions[0]?.parts[0]?.location.id ?? '';
      };
      const gone = { [await idOf('large')]: 6, [await idOf('short')]: 3, [await idOf('kept')]: 2 };
      for (const [location, count] of Object.entries(gone)) {
        for (const folder of driveFolders(house.directory, 'g0').slice(0, count)) {
          rmSync(join(folder, 'shards', location.slice(-2), location));
        }
      }
      again.log.length = 0;
      again.clock.offsetMs += 1000;
      await again.run('sweep');
      t.regex(again.log.join(), /durability alarm: 3 objects name bytes that are not there/);

      // What ends the sweep, so many orphans that it looks like a defect, keeps none of that quiet.
      const [blob] = Object.keys(gone);
      again.tier.list = async function* () {
        const place = { kind: 'shards', id: `${blob?.slice(0, 16)}${'6'.repeat(16)}` } as const;
        const other = { ...(location as ShardLocation), ...place };
        yield { location: other, sizeBytes: 2 ** 50 };
      };
      again.log.length = 0;
      again.clock.offsetMs += GRACE_MS + 3_600_000;
      await again.run('sweep');
      t.regex(again.log.join(), /seem to be named by nothing/);
      t.regex(again.log.join(), /durability alarm: 3 objects name bytes that are not there/);
      await again.close();
    } finally {
      await house.dispose();
    }
  },
);

test('a group that is away hides nothing that another has lost, and the audit rests and stops', async (t) => {
  const rig = await newRig();
  const asked: string[] = [];
  const drive = (group: number, state: DriveState): DriveInfo =>
    ({ tier: 'drives', group, state }) as DriveInfo;
  const tier = {
    name: 'drives',
    drives: () => Promise.resolve([drive(0, 'missing'), drive(0, 'healing'), drive(1, 'up')]),
    // oxlint-disable-next-line require-yield
    async *wholeShards() {},
    // oxlint-disable-next-line require-yield
    async *segments() {},
    verify({ id }: Location) {
      asked.push(id);
      return Promise.reject(new FirnError('TierMissing', 'gone'));
    },
  } as unknown as NodeGroupTier;
  rig.context.tiers = new Map([...rig.context.tiers, ['drives', tier]]);
  const core = buildEngine(rig.context).core;
  const location = (group: number): Location =>
    ({ kind: 'shards', id: newLocationId(rig.clock, random), tier: 'drives', group }) as Location;
  const away = Array.from({ length: 1100 }, () => location(0));
  const lost: [string, Location][] = [];
  for (const key of ['a', 'b']) {
    const { id } = await put(rig, key, 5);
    const object = objectId(rig.bucket.id, key);
    const row = await rig.store.get<ObjectDocument>('objects', object);
    if (row === undefined) return t.fail(id);
    const value = structuredClone(row.value);
    const named = location(1);
    Object.assign(value.versions[0]?.parts[0] as Part, { location: named });
    await rig.store.replace({ table: 'objects', id: object, expected: row.revision, value });
    lost.push([object, named]);
  }
  const audit = new Audit(core);
  await audit.begin([tier]);
  for (const one of away) audit.see(one, 'elsewhere/k');
  for (const [object, one] of lost) audit.see(one, object);
  let rests = 0;
  const rest = (): Promise<void> => Promise.resolve(void (rests += 1));
  const { signal } = new AbortController();
  const told = lost.map(([object, { id }]) => `${object} (drives/${id})`);
  t.deepEqual(await audit.end({ rest, signal }), told);
  t.is(rests, 2, 'each is read whole');
  asked.length = 0;
  await t.throwsAsync(audit.end({ rest, signal: AbortSignal.abort() }));
  t.deepEqual(asked, []);
  rig.close();
});

test.serial(
  'full drives are compacted from the reserve, and one that refuses meanwhile costs nothing',
  async (t) => {
    const driveBytes = 20 * MiB;
    const options = { driveBytes, segmentBytes: 2 * MiB, segmentOpenMs: 150 };
    const house = await openHouse({ ...options, role: 'api' });
    try {
      await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
      const stored = new Map<string, Buffer>();
      let refused: unknown;
      const fill = async (key: string): Promise<void> => {
        const body = randomBytes(60_000);
        await house.put(key, body).then(
          () => stored.set(key, body),
          (error: unknown) => (refused = error),
        );
      };
      for (let i = 0; refused === undefined && i < 2000; i += 10) {
        await Promise.all(Array.from({ length: 10 }, (_, j) => fill(`k${i + j}`)));
        await house.tier.look();
      }
      t.like(refused, { code: 'InsufficientCapacity' });
      for (const key of stored.keys()) {
        if (Number(key.slice(1)) % 10 < 3) continue;
        await house.remove(key);
        stored.delete(key);
      }
      await house.close();

      const worker = await openHouse({ ...options, directory: house.directory });
      const full = (await worker.tier.drives()).filter(({ state }) => state === 'full').length;
      t.true(full > 4, `${full} drives are full`);
      const pass = async (): Promise<void> => {
        worker.clock.offsetMs += GRACE_MS + 3_600_000;
        await worker.run('collect');
        await sleep(700);
        await worker.tier.look();
        await worker.run('compact');
      };
      worker.faults.writeError = 'ENOSPC';
      await pass();
      t.true(
        worker.log.some((line) => line.includes('is not compacted')),
        worker.log.join('\n'),
      );
      worker.faults.writeError = undefined;
      await sleep(400);
      let filled = 1;
      for (let i = 0; i < 20 && filled >= 0.55; i += 1) {
        await pass();
        await worker.tier.look();
        filled = fillOf((await worker.tier.rooms())[0] as GroupRoom);
      }
      t.true(filled < 0.55, `${filled}`);
      for (const [key, body] of stored) t.true((await worker.read(key)).equals(body), key);
      await worker.put('new', randomBytes(100_000));
      await worker.close();
    } finally {
      await house.dispose();
    }
  },
);

// ── As a person does it ───────────────────────────────────────────────────────────────────────────

test.serial(
  'drain, take the group out of the settings, add another; usage adds up to what du says',
  async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'firn-groups-'));
    const settings = (...groups: string[]) => ({
      processes: 1,
      tiers: {
        hot: {
          kind: 'node-group',
          code: '4+2',
          groups: groups.map((name) => driveFolders(directory, name)),
        },
      },
      storageClasses: { STANDARD: 'hot' },
      debug: { graceSeconds: 3 },
    });
    let firn = await startFirn({ directory, settings: settings('a', 'b') });
    const cli = (...args: string[]) => runFirn([...args, '--config', join(directory, 'firn.yaml')]);
    const list = () => adminCall<GroupsAnswer>(firn, 'GET', '/groups');
    try {
      await s3Call(firn, { method: 'PUT', path: '/data' });
      const stored = new Map<string, Buffer>();
      const sizes = [100, 4096, 50_000, 400_000, 1_200_000];
      const puts = Array.from({ length: 100 }, async (_, i) => {
        const body = randomBytes(sizes[i % 5] as number);
        const put = () => s3Call(firn, { method: 'PUT', path: `/data/k${i}`, body });
        let answer = await put();
        // With a grace of 3 s a busy machine is too late for some; a client asks again.
        while (answer.status === 503) answer = await put();
        if (answer.status === 200) stored.set(`k${i}`, body);
      });
      await Promise.all(puts);
      t.is(stored.size, 100);
      const held = (): number[] => ['a', 'b'].map((name) => bytesBelow(join(directory, name)));
      let groups: GroupUsageAnswer[] = [];
      // Until nothing was written or freed under it.
      for (let isQuiet = false; !isQuiet;) {
        const before = held();
        const usage = await cli('usage', '--json');
        const { tiers } = JSON.parse(usage.stdout) as { tiers: { groups: GroupUsageAnswer[] }[] };
        groups = tiers[0]?.groups ?? [];
        isQuiet = held().join() === before.join();
      }
      t.is(groups.length, 2);
      let live = 0;
      for (const [i, one] of groups.entries()) {
        const du = held()[i] as number;
        t.true(Math.abs(one.heldBytes - du) < du * 0.02, `group ${i}: ${one.heldBytes}, du ${du}`);
        const { liveBytes, deadBytes, redundancyBytes, journalBytes, otherBytes } = one;
        const sum = (liveBytes ?? 0) + deadBytes + redundancyBytes + journalBytes + otherBytes;
        t.is(sum, one.heldBytes);
        t.is(
          one.drives.reduce((all, drive) => all + drive.heldBytes, 0),
          one.heldBytes,
        );
        live += liveBytes ?? 0;
      }
      t.is(
        live,
        [...stored.values()].reduce((sum, body) => sum + body.length, 0),
      );

      t.is((await cli('group', 'drain', 'hot', '0')).code, 0);
      // In the middle of it, wherever it is.
      for (let i = 0; i < 2; i += 1) {
        // One that a kill leaves open is settled only hours later.
        while (openSegments(driveFolders(directory, 'a')) > 0) await sleep(50);
        await sleep(Math.random() * 1500);
        await firn.kill();
        firn = await firn.restart();
      }
      const last = await cli('group', 'drain', 'hot', '1');
      t.is(last.code, 1);
      t.regex(last.stderr, /last that takes writes/);
      const even = await cli('group', 'rebalance', 'hot', '--until', '50');
      t.regex(even.stdout, /nothing is to be moved/);
      while ((await list()).groups[0]?.state !== 'empty') await sleep(250);
      t.regex((await cli('group', 'list')).stdout, /empty: may leave the settings/);
      await firn.stop();

      firn = await startFirn({ directory, settings: settings('c', 'b') });
      const now = (await list()).groups.map((one) => `${one.group} ${one.state}`);
      const groupsThen = ['0 removed', '1 active', '2 active'];
      t.deepEqual(now, groupsThen);
      const readAll = async (): Promise<void> => {
        for (const [key, body] of stored) {
          const answer = await s3Call(firn, { method: 'GET', path: `/data/${key}` });
          t.true(answer.body.equals(body), key);
        }
      };
      await readAll();
      await firn.stop();

      // The metadata's journal has left the group too, whole: without LMDB all is known again.
      rmSync(join(directory, 'data', 'metadata'), { recursive: true });
      const rebuilt = await cli('rebuild');
      t.is(rebuilt.code, 0, rebuilt.stderr);
      firn = await startFirn({ directory, settings: settings('c', 'b') });
      t.deepEqual(
        (await list()).groups.map((one) => `${one.group} ${one.state}`),
        groupsThen,
      );
      await readAll();
      await firn.stop();
      // By the row of groups, or even before that because the journal is not there.
      await t.throwsAsync(startFirn({ directory, settings: settings('c') }), {
        message: /lacks group 1, and objects may be in it|no drive at hand has the journal/,
      });
    } finally {
      await firn.dispose();
    }
  },
);
