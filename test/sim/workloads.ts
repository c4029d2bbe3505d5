// What is crashed: small worlds, each doing one thing that may go wrong in many ways.

import { createHash } from 'node:crypto';
import { GRACE_MS, PART_BYTES_MIN } from '../../appliance/model/limits.ts';
import { DAY_MS } from '../../appliance/model/clock.ts';
import { newLocationId } from '../../appliance/model/ids.ts';
import type { Engine } from '../../appliance/engine/engine.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import { moveVersions } from '../../appliance/engine/move/move.ts';
import type { CodeName } from '../../tiers/node-group/codec/field.ts';
import { emptyImage, type DriveFault, type SimDrive } from './drive.ts';
import type { ExploreOptions } from './explore.ts';
import { BUCKET, type Life } from './life.ts';
import { contentOf, type Content } from './model.ts';
import {
  collectAll,
  compactAll,
  expireRestores,
  finished,
  healRows,
  leaseOf,
  movingOf,
  restoreAll,
  sweepAll,
  transition,
} from './recovery.ts';
import type { World, WorldOptions } from './world.ts';

export interface Workload {
  name: string;
  /** States a position at which something is pending. */
  choices: number;
  /** One of so many states is also recovered. */
  recoverEvery: number;
  options?: WorldOptions;
  run(world: World): Promise<void>;
  afterwards?: ExploreOptions['afterwards'];
  watch?: ExploreOptions['watch'];
}

const KiB = 1024;
const SMALL = { choices: 52, recoverEvery: 70 };

/** Keys of one life, put and acknowledged before the record begins. */
async function filled(world: World, sizes: Record<string, number>): Promise<void> {
  await world.found();
  for (const [key, size] of Object.entries(sizes)) await world.put(key, size);
}

/** The process ends well and another one starts: segments are sealed. */
async function restarted(world: World): Promise<void> {
  await world.life.hot.close();
  await world.life.start('worker');
}

const putSmall: Workload = {
  name: 'put-small',
  ...SMALL,
  async run(world) {
    await world.found();
    world.record();
    await world.phase('put-small', async () => {
      await world.put('a', 700);
      await Promise.all([world.put('b', 0), world.put('c', 3000), world.put('d', 120)]);
      await world.put('e', 4000);
    });
    await world.phase('overwrite', async () => {
      await Promise.all([world.put('a', 900), world.put('c', 10)]);
    });
    await world.phase('copy', async () => {
      await world.copy('a', 'f');
    });
    await world.phase('delete', async () => {
      await world.remove('b');
      await world.remove('a');
      await world.put('a', 33);
    });
    // Ends the segment: the seal is a step too.
    await world.phase('seal', () => world.life.hot.close());
  },
};

const putLarge: Workload = {
  name: 'put-large',
  ...SMALL,
  async run(world) {
    await world.found();
    world.record();
    await world.phase('put-large', async () => {
      await world.put('a', 9 * KiB);
      await Promise.all([world.put('b', 20 * KiB), world.put('c', 5 * KiB)]);
    });
    await world.phase('overwrite-large', async () => {
      await world.put('a', 6 * KiB);
      await world.remove('b');
    });
  },
};

/** Other codes: fewer drives with more parity, more drives. */
const otherCode = (code: CodeName, name: string): Workload => ({
  name,
  choices: 16,
  recoverEvery: 70,
  options: { code },
  async run(world) {
    await world.found();
    world.record();
    await world.phase(name, async () => {
      await Promise.all([world.put('a', 700), world.put('b', 9 * KiB)]);
      await Promise.all([world.put('a', 7 * KiB), world.put('b', 900)]);
    });
  },
});

const founding: Workload = {
  name: 'founding',
  choices: 40,
  recoverEvery: 100,
  async run(world) {
    world.record();
    await world.phase('founding', async () => {
      const [one, two] = [await world.life.process('api-1'), await world.life.process('api-2')];
      await Promise.all([one.hot.open(), two.hot.open()]);
      await world.life.start('worker');
      await world.life.engine.createBucket({ name: BUCKET, owner: 'root', region: 'local' });
      await Promise.all([
        world.put('a', 100, { by: one.engine }),
        world.put('b', 100, { by: two.engine }),
      ]);
    });
  },
};

/** Three processes on the same keys, their clocks apart, with commits whose answer is lost. */
const twoWriters: Workload = {
  name: 'two-writers',
  ...SMALL,
  async run(world) {
    await world.found();
    const others = [
      await world.life.process('api-2', 'api', 5 * 60_000),
      await world.life.process('api-3', 'api', -5 * 60_000),
    ];
    for (const { hot } of others) await hot.open();
    world.record();
    const { draw } = world;
    world.life.simStore.doubt = () => {
      const luck = draw.below(80);
      return luck === 0 ? 'done' : luck === 1 ? 'lost' : undefined;
    };
    const tag = (key: string, by: Engine): Promise<unknown> =>
      by
        .updateVersion({
          bucket: BUCKET,
          key,
          change: (version) => ({ ...version, tags: { seen: `${draw.below(100)}` } }),
        })
        .catch((error: unknown) => {
          if (!isFirnError(error)) throw error;
        });
    const client = async (by: Engine): Promise<void> => {
      for (let i = 0; i < 8; i += 1) {
        const key = ['a', 'a', 'a', 'b'][draw.below(4)] as string;
        const luck = draw.below(8);
        if (luck < 2) await world.remove(key, by);
        else if (luck < 4) await tag(key, by);
        else await world.put(key, draw.below(900), { by, isNew: luck < 7 });
      }
    };
    const all = [world.life, ...others].map(({ engine }) => engine);
    await world.phase('first-writers', async () => {
      for (const key of ['c', 'd']) {
        await Promise.all(all.map((by) => world.put(key, 40, { by, isNew: true })));
      }
    });
    await world.phase('tag-writers', async () => {
      for (const key of ['e', 'f', 'g']) {
        await world.put(key, 30);
        await Promise.all([world.put(key, 50), ...all.map((by) => tag(key, by))]);
      }
    });
    await world.phase('two-writers', async () => {
      await Promise.all(all.map(client));
    });
  },
};

/** Equal bytes kept once: put, deleted, moved and collected while others begin to share them. */
const sharing: Workload = {
  name: 'sharing',
  ...SMALL,
  options: { settings: { smallBytesMax: 20 * KiB, segmentBytes: 128 * KiB } },
  async run(world) {
    await world.found();
    const { life } = world;
    await life.engine.updateBucket(BUCKET, (old) => ({ ...old, dedupe: true }));
    const inSegments = world.body(17 * KiB);
    const inShards = world.body(24 * KiB);
    const both = (keys: readonly [string, string]): Promise<unknown> =>
      Promise.all([
        world.put(keys[0], 0, { body: inSegments }),
        world.put(keys[1], 0, { body: inShards }),
      ]);
    await both(['a', 'b']);
    world.record();
    await world.phase('share', () => Promise.all([both(['c', 'd']), both(['e', 'f'])]));
    await world.phase('unshare', () =>
      Promise.all(['a', 'b', 'e'].map((key) => world.remove(key))),
    );
    life.clock.pass(2 * GRACE_MS);
    await world.phase('collect-shared', () => Promise.all([collectAll(life), both(['g', 'h'])]));
    await world.phase('before-compaction', () => restarted(world));
    life.clock.pass(2 * GRACE_MS);
    await world.phase('compact-shared', () => compactAll(life));
    await world.phase('unshare-all', () =>
      Promise.all(['c', 'd', 'f', 'g', 'h'].map((key) => world.remove(key))),
    );
    life.clock.pass(2 * GRACE_MS);
    await world.phase('collect-last', () => Promise.all([collectAll(life), both(['i', 'j'])]));
  },
};

const etagOfParts = (parts: readonly Uint8Array[]): string => {
  const all = createHash('md5');
  for (const part of parts) all.update(createHash('md5').update(part).digest());
  return `${all.digest('hex')}-${parts.length}`;
};

export interface Uploading {
  key: string;
  uploadId: string;
  parts: { number: number; etag: string }[];
  bodies: Uint8Array[];
  /** Position at which its last part was acknowledged. */
  since: number;
}

/** Uploads that a client completes again after a crash. */
export const uploads = new WeakMap<World, Uploading[]>();

export async function uploadOf(
  world: World,
  key: string,
  sizes: readonly number[],
): Promise<Uploading> {
  const { engine } = world.life;
  const name = { bucket: BUCKET, key };
  const { uploadId } = await world.phase('multipart-create', () => world.createUpload(key));
  const bodies = sizes.map((size) => world.body(size));
  const parts = await world.phase('multipart-part', () =>
    Promise.all(
      bodies.map(async (body, i) => {
        const part = { ...name, uploadId, number: i + 1, body, sizeBytes: body.length };
        return { number: i + 1, etag: (await engine.putPart(part)).etag };
      }),
    ),
  );
  const since = world.scheduler.mark(`multipart-part/answered/${key}`);
  const upload = { key, uploadId, parts, bodies, since };
  uploads.set(world, [...(uploads.get(world) ?? []), upload]);
  return upload;
}

/** What it becomes of some of its parts. */
export function completed(of: Uploading, numbers: readonly number[]): Content {
  const bodies = numbers.map((number) => of.bodies[number - 1] as Uint8Array);
  return contentOf(Buffer.concat(bodies), etagOfParts(bodies));
}

/** Completes with some of its parts. */
export function complete(
  world: World,
  of: Uploading,
  more: { numbers: readonly number[]; by?: Engine; isNew?: boolean },
) {
  const { numbers, by = world.life.engine, isNew = false } = more;
  const parts = numbers.map((number) => of.parts[number - 1] as Uploading['parts'][number]);
  const content = completed(of, numbers);
  const request = {
    bucket: BUCKET,
    key: of.key,
    uploadId: of.uploadId,
    owner: 'root',
    parts,
    ...(isNew ? { conditions: { ifNoneMatch: '*' } } : {}),
  };
  return world.model.did(of.key, content, () => by.completeUpload(request), isNew);
}

/** The client asks again: a Complete has no other answer than its first one. */
export async function completedAgain(life: Life, world: World, p: number): Promise<void> {
  for (const { key, uploadId, parts, bodies, since } of uploads.get(world) ?? []) {
    if (since >= p) continue;
    const request = { bucket: BUCKET, key, uploadId, owner: 'root', parts };
    const { version } = await life.engine.completeUpload(request);
    if (version.etag !== etagOfParts(bodies)) throw new Error(`${key} became ${version.etag}`);
    const again = await life.engine.completeUpload(request);
    if (again.version.id !== version.id) throw new Error(`${key} was completed twice`);
  }
}

/** Completed twice at once, with one list and with two; deleted after it; aborted; replaced. */
const multipart: Workload = {
  name: 'multipart',
  ...SMALL,
  async run(world) {
    await filled(world, { 'upload-2': 50 });
    world.record();
    const { engine } = world.life;
    const one = await uploadOf(world, 'upload-1', [700]);
    await world.phase('multipart-complete', async () => {
      await complete(world, one, { numbers: [1] });
      await complete(world, one, { numbers: [1] });
    });
    const two = await uploadOf(world, 'upload-2', [900, 9 * KiB]);
    await world.phase('multipart-complete-lists', async () => {
      await Promise.all([
        complete(world, two, { numbers: [1] }),
        complete(world, two, { numbers: [2] }),
      ]);
      await world.remove('upload-2');
    });
    // The same Complete by another process, still on its way when the object is deleted again.
    const { engine: other } = await world.life.process('api-2');
    for (const key of ['upload-4', 'upload-5', 'upload-6', 'upload-7']) {
      const upload = await uploadOf(world, key, [60]);
      await world.phase('multipart-complete-late', async () => {
        const { uploadId, parts } = upload;
        const late = other.completeUpload({ bucket: BUCKET, key, uploadId, owner: 'root', parts });
        const done = late.catch((error: unknown) => {
          if (!isFirnError(error)) throw error;
        });
        await complete(world, upload, { numbers: [1] });
        await world.remove(key);
        await done;
      });
    }
    const three = await uploadOf(world, 'upload-3', [300]);
    await world.phase('multipart-abort', () =>
      engine.abortUpload({ bucket: BUCKET, key: three.key, uploadId: three.uploadId }),
    );
    uploads.set(world, [one]);
  },
  afterwards: completedAgain,
};

/** Two parts in one object: the first of the least size that S3 allows, so few states. */
const multipartLarge: Workload = {
  name: 'multipart-large',
  choices: 2,
  recoverEvery: 30,
  async run(world) {
    await world.found();
    world.record();
    const one = await uploadOf(world, 'upload-1', [PART_BYTES_MIN, 700]);
    await world.phase('multipart-complete-large', async () => {
      await Promise.all([
        complete(world, one, { numbers: [1, 2] }),
        complete(world, one, { numbers: [1, 2] }),
      ]);
    });
  },
  afterwards: completedAgain,
};

const moves: Workload = {
  name: 'transition',
  ...SMALL,
  async run(world) {
    await filled(world, { a: 700, b: 9 * KiB, c: 30, d: 2000 });
    world.record();
    world.scheduler.real = true;
    const { life } = world;
    await world.phase('transition', async () => {
      const cold = { tier: 'cold', storageClass: 'GLACIER_IR', packed: false };
      await transition(life, ['a', 'b'], cold);
    });
    await world.phase('pack-build', async () => {
      const cold = { tier: 'cold', storageClass: 'GLACIER_IR', packed: true };
      // Overwritten and deleted under the move.
      await Promise.all([
        transition(life, ['c', 'd'], cold),
        world.put('d', 40),
        world.remove('c'),
      ]);
    });
  },
};

/** Bytes are compressed on their way, by themselves and into packs, and read back through that. */
const compressedMoves: Workload = {
  name: 'transition-compressed',
  choices: 8,
  recoverEvery: 40,
  options: { compresses: true },
  async run(world) {
    await filled(world, { a: 9 * KiB, b: 30 * KiB, c: 12 * KiB, d: 700 });
    world.record();
    world.scheduler.real = true;
    const { life } = world;
    const cold = { tier: 'cold', storageClass: 'GLACIER_IR' };
    await world.phase('compress', () => transition(life, ['a'], { ...cold, packed: false }));
    await world.phase('compress-pack', async () => {
      const packing = transition(life, ['b', 'c', 'd'], { ...cold, packed: true });
      await Promise.all([packing, world.put('c', 40)]);
    });
    const held = [...life.cold.blobs.values()].reduce((sum, { bytes }) => sum + bytes.length, 0);
    if (held > 25 * KiB) throw new Error(`51 KiB became ${held} B`);
    life.clock.pass(2 * GRACE_MS);
    await world.phase('collect-plain', () => collectAll(life));
    const hot = { tier: 'hot', storageClass: 'STANDARD', packed: false };
    await world.phase('open-again', () => transition(life, ['a', 'b'], hot));
  },
};

const restores: Workload = {
  name: 'restore',
  ...SMALL,
  async run(world) {
    await filled(world, { a: 700, b: 5 * KiB, c: 30 });
    world.record();
    world.scheduler.real = true;
    const { life } = world;
    await world.phase('archive', async () => {
      const archive = { tier: 'archive', storageClass: 'GLACIER', packed: true };
      await transition(life, ['a', 'b', 'c'], archive);
    });
    await world.phase('restore-request', async () => {
      for (const key of ['a', 'b']) {
        await life.engine.restoreObject({
          bucket: BUCKET,
          key,
          days: 1,
          tier: 'Standard',
          owner: 'root',
        });
      }
    });
    life.clock.pass(120_000);
    await world.phase('restore', () => restoreAll(life));
    life.clock.pass(4 * DAY_MS);
    await world.phase('restore-expiry', () => expireRestores(life));
    life.clock.pass(2 * GRACE_MS);
    await world.phase('restore-collect', () => collectAll(life));
  },
};

const compaction: Workload = {
  name: 'compaction',
  ...SMALL,
  async run(world) {
    const keys = 'abcdefgh'.split('');
    await filled(world, Object.fromEntries(keys.map((key, i) => [key, 200 + i * 150])));
    const { life } = world;
    const cold = { tier: 'cold', storageClass: 'GLACIER_IR', packed: true };
    world.scheduler.real = true;
    await world.phase('before', () => transition(life, ['f', 'g', 'h'], cold));
    for (const key of ['a', 'b', 'c', 'd', 'f', 'g']) await world.remove(key);
    await restarted(world);
    life.clock.pass(2 * GRACE_MS);
    world.record();
    await world.phase('collect', () => collectAll(life));
    await world.phase('compaction', () => compactAll(life));
    life.clock.pass(2 * GRACE_MS);
    await world.phase('collect-compacted', () => collectAll(life));
    await world.phase('free-segment', () => compactAll(life));
  },
};

function emptied(drive: SimDrive): void {
  drive.image = emptyImage();
}

const healing: Workload = {
  name: 'heal-drive',
  ...SMALL,
  async run(world) {
    await filled(world, { a: 700, b: 9 * KiB, c: 30, d: 2000 });
    await restarted(world);
    await world.put('e', 300);
    const { life } = world;
    emptied(life.drives[2] as SimDrive);
    world.record();
    await world.phase('replace-drive', () => life.start('worker'));
    life.clock.pass(60_000);
    await world.phase('heal-drive', async () => {
      await Promise.all([finished(life.hot.heal()), world.put('f', 900)]);
      await finished(life.hot.heal());
    });
  },
};

/** Bytes rot on two drives of each object; a third file is cut, a fourth swapped with another. */
const scrubbing: Workload = {
  name: 'scrub-repair',
  ...SMALL,
  options: { isHurt: true },
  async run(world) {
    await filled(world, { a: 700, b: 9 * KiB, c: 3000, d: 12 * KiB });
    await restarted(world);
    const { life } = world;
    for (const drive of life.drives.slice(1, 3)) {
      for (const [path, { data }] of drive.image.names) {
        if (path.startsWith('firn-') || data.length < 300) continue;
        for (const at of [140, data.length >> 1]) data[at] = (data[at] as number) ^ 0x10;
      }
    }
    world.record();
    await world.phase('scrub-repair', async () => {
      const { lost } = await finished(life.hot.scrub());
      if (lost.length > 0) throw new Error(`scrub calls lost: ${lost.join()}`);
    });
  },
};

/** What crashed PUTs left: bytes that nothing names. */
const sweeping: Workload = {
  name: 'sweep',
  ...SMALL,
  async run(world) {
    await filled(world, { a: 700, b: 9 * KiB });
    const { life } = world;
    const owner = { bucketId: (await life.engine.getBucket(BUCKET)).id, key: 'x' };
    for (const tier of [life.hot, life.cold]) {
      const body = world.body(6 * KiB);
      const id = newLocationId(life.clock, life.random);
      await tier.put({ id, body, sizeBytes: body.length, owner });
    }
    await world.put('b', 7 * KiB);
    world.record();
    life.clock.pass(2 * GRACE_MS);
    await world.phase('sweep', () => sweepAll(life));
    life.clock.pass(2 * GRACE_MS);
    await world.phase('collect', () => collectAll(life));
    await world.phase('sweep-again', () => sweepAll(life));
    life.clock.pass(2 * GRACE_MS);
    await world.phase('collect-again', () => collectAll(life));
  },
};

/** Drives fail one after another, each in its own way, until two of six are left. */
const drivesFail: Workload = {
  name: 'drives-fail',
  ...SMALL,
  async run(world) {
    await filled(world, { a: 700, b: 9 * KiB });
    const { drives } = world.life;
    const fail = (position: number, fault: DriveFault): void => {
      (drives[position] as SimDrive).faults = [fault];
    };
    world.record();
    await world.phase('write-fails', async () => {
      fail(1, { operation: 'write', code: 'EIO', path: 'segments', times: 1 });
      await Promise.all([world.put('c', 800), world.put('d', 900)]);
    });
    await world.phase('sync-fails', async () => {
      fail(3, { operation: 'sync', code: 'EIO', path: 'tmp', times: 1 });
      await world.put('e', 7 * KiB);
      await world.put('b', 100);
    });
    await world.phase('drive-full', async () => {
      fail(4, { operation: 'write', code: 'ENOSPC' });
      await Promise.all([world.put('f', 600), world.put('a', 8 * KiB)]);
    });
    await world.phase('drive-hangs', async () => {
      fail(5, { operation: 'write', code: 'HANG' });
      await world.put('g', 500);
      await world.put('h', 6 * KiB);
    });
  },
};

/** Five of six fail at once: what one drive keeps is no acknowledgement. */
const drivesFailAtOnce: Workload = {
  name: 'drives-fail-at-once',
  ...SMALL,
  async run(world) {
    await filled(world, { a: 700 });
    world.record();
    const { drives } = world.life;
    for (const path of ['segments', 'tmp']) {
      await world.phase(`all-but-one-fail-${path}`, async () => {
        for (const drive of drives.slice(1)) {
          drive.faults = [{ operation: 'write', code: 'EIO', path, times: 1 }];
        }
        await world.put('a', path === 'tmp' ? 6 * KiB : 300);
      });
      for (const drive of drives) drive.faults = [];
      await world.phase('restart', () => world.life.start('worker'));
      await world.phase('after-all-failed', () => world.put('b', 400));
    }
  },
};

/** A drive goes, is missed by writes and deletes, and comes back as it was. */
const driveReturns: Workload = {
  name: 'drive-returns',
  ...SMALL,
  async run(world) {
    await filled(world, { a: 700, b: 9 * KiB, c: 5 * KiB });
    const { life } = world;
    const drive = life.drives[4] as SimDrive;
    world.record();
    drive.gone = true;
    await world.phase('drive-away', async () => {
      await life.hot.look();
      await world.put('d', 800);
      await world.put('a', 7 * KiB);
      await world.remove('b');
    });
    life.clock.pass(2 * GRACE_MS);
    await world.phase('collect-without', () => collectAll(life));
    drive.gone = false;
    await world.phase('drive-back', async () => {
      await life.hot.look();
      await world.put('e', 900);
      await healRows(life);
    });
  },
};

/** A worker that lost its lease goes on: what it still does must harm nobody. */
const lateWorker: Workload = {
  name: 'late-worker',
  ...SMALL,
  async run(world) {
    await filled(world, { a: 700, b: 900, c: 5 * KiB });
    world.record();
    const { life } = world;
    const keys = ['a', 'b', 'c'];
    const cold = { tier: 'cold', storageClass: 'GLACIER_IR', packed: false };
    await world.phase('late-worker', async () => {
      const late = await leaseOf(life, 'move', 'late');
      const moving = await movingOf(life, keys);
      life.clock.pass(3 * 3_600_000);
      await transition(life, ['a'], cold);
      await world.put('b', 50);
      const options = { kind: 'transition', ...cold, lease: late } as const;
      const outcome = await moveVersions(life.engine.core, moving, options).catch(
        (error: unknown) => error,
      );
      if (!isFirnError(outcome, 'LeaseLost')) throw new Error('a lost lease let a move begin');
    });
  },
};

/** Reads an object and, in the middle of it, lets something happen; its bytes must be the old ones. */
export async function slowly(
  world: World,
  key: string,
  happens: () => Promise<unknown>,
): Promise<void> {
  const { life } = world;
  const [content] = world.model.allowed(key, world.scheduler.position);
  const { body } = await life.engine.getObject({ bucket: BUCKET, key });
  const chunks: Uint8Array[] = [];
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    chunks.push(Uint8Array.from(chunk));
    if (chunks.length > 1) continue;
    await happens();
    // What was open is closed after a minute; so is this process's.
    await life.hot.close();
    await life.start('worker');
  }
  const bytes = Buffer.concat(chunks);
  if (content === 'absent' || Buffer.compare(bytes, content?.bytes ?? bytes) !== 0) {
    throw new Error('a reader was given other bytes');
  }
}

/** An object is overwritten and collected under its reader. */
const slowReader: Workload = {
  name: 'slow-reader',
  choices: 1,
  recoverEvery: 1000,
  async run(world) {
    await world.found();
    await world.put('a', 3 * KiB * KiB);
    const { life } = world;
    world.record();
    await world.phase('slow-reader', () =>
      slowly(world, 'a', async () => {
        await world.put('a', 10);
        life.clock.pass(3_600_000);
        await collectAll(life);
      }),
    );
  },
};

export const WORKLOADS: readonly Workload[] = [
  putSmall,
  putLarge,
  otherCode('1+1', 'put-1+1'),
  otherCode('1+2', 'put-1+2'),
  otherCode('2+2', 'put-2+2'),
  otherCode('8+4', 'put-8+4'),
  founding,
  twoWriters,
  sharing,
  multipart,
  multipartLarge,
  moves,
  compressedMoves,
  restores,
  compaction,
  healing,
  scrubbing,
  sweeping,
  drivesFail,
  drivesFailAtOnce,
  driveReturns,
  lateWorker,
];

export { slowReader };
