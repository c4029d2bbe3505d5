// Faults of media and people, without a crash: bits that rot, files at the wrong place, drives that
// were swapped, belong to others, or come back after they were replaced. Bytes may be refused, and
// are never wrong; what m lanes allow is read and repaired.

import { isFirnError } from '../../appliance/model/errors.ts';
import { GRACE_MS } from '../../appliance/model/limits.ts';
import { bearsLoss } from './checks.ts';
import { bytesOfFile, emptyImage, thawed, type Image, type Inode } from './drive.ts';
import { BUCKET, Life, type Remains } from './life.ts';
import { isSame, type Effect } from './model.ts';
import { collectAll, finished } from './recovery.ts';
import type { Workload } from './workloads.ts';
import { World } from './world.ts';

const KiB = 1024;
const WATCHED = { choices: 1, recoverEvery: 1_000_000 };
const isData = (path: string): boolean => /^(segments|shards)\//.test(path);

async function filled(world: World): Promise<Map<string, Effect>> {
  await world.found();
  const sizes = { a: 700, b: 9 * KiB, c: 3000, d: 12 * KiB, e: 0, f: 5000 };
  for (const [key, size] of Object.entries(sizes)) await world.put(key, size);
  await world.life.hot.close();
  const found = new Map<string, Effect>();
  for (const key of world.model.keys) {
    found.set(key, world.model.allowed(key, world.scheduler.position)[0] as Effect);
  }
  return found;
}

function remainsOf(world: World, images: Image[]): Remains {
  const { life } = world;
  const { cold, archive } = life;
  life.clock.pass(600_000);
  const at = life.clock.at;
  return { images, tables: life.simStore.tables, cold: cold.blobs, archive: archive.blobs, at };
}

const lifeFrom = (world: World, remains: Remains): Life => {
  const { scheduler: _, ...options } = world.life.options;
  return new Life(remains, options);
};

/** Reads everything; with at most m drives hurt all is right, scrubbed whole, and bears m losses. */
async function bears(
  world: World,
  expected: ReadonlyMap<string, Effect>,
  hurt: { images: Image[]; drives: number },
): Promise<void> {
  const life = lifeFrom(world, remainsOf(world, hurt.images));
  await life.start('worker');
  const within = hurt.drives <= 2;
  for (const [key, effect] of expected) {
    const found = await life.read(key).catch((error: unknown) => error);
    if (isFirnError(found)) {
      if (within) throw new Error(`${key} is unreadable, ${hurt.drives} drives are hurt`);
    } else if (found instanceof Error) throw found;
    else if (!isSame(found as Effect, effect)) throw new Error(`${key} was read wrong`);
  }
  const { lost, repaired } = await finished(life.hot.scrub());
  if (!within) return;
  if (lost.length > 0) throw new Error(`scrub calls lost: ${lost.join('; ')}`);
  const again = await finished(life.hot.scrub());
  if (again.repaired > 0) throw new Error(`a second scrub repairs, the first did ${repaired}`);
  const { draw } = world;
  const gone = new Set<number>();
  while (gone.size < 2) gone.add(draw.below(hurt.images.length));
  const images = life.drives.map((drive) => drive.image);
  await bearsLoss(lifeFrom(world, remainsOf(world, images)), expected, [...gone]);
}

const imagesOf = (world: World): Image[] => world.life.drives.map(({ image }) => thawed(image));

/** Any of the images, other ones than before. */
function some(world: World, images: Image[], count: number): Image[] {
  const chosen = new Set<Image>();
  while (chosen.size < count) chosen.add(images[world.draw.below(images.length)] as Image);
  return [...chosen];
}

const rot: Workload = {
  name: 'rot',
  ...WATCHED,
  async run(world) {
    const expected = await filled(world);
    const { draw } = world;
    for (let round = 0; round < 60; round += 1) {
      const images = imagesOf(world);
      const drives = 1 + (round % 3);
      for (const image of some(world, images, drives)) {
        for (const [path, inode] of image.names) {
          if (!isData(path) || inode.data.length === 0) continue;
          const data = bytesOfFile(inode);
          const flips = 1 + draw.below(4);
          for (let i = 0; i < flips; i += 1) {
            const at = draw.below(data.length);
            data[at] = (data[at] as number) ^ (1 << draw.below(8));
          }
        }
      }
      await bears(world, expected, { images, drives });
    }
    world.record();
  },
};

/** Whole files and pieces, with their checksums, where others belong. */
const misdirected: Workload = {
  name: 'misdirected',
  ...WATCHED,
  async run(world) {
    const expected = await filled(world);
    for (let round = 0; round < 40; round += 1) {
      const images = imagesOf(world);
      const drives = 1 + (round % 2);
      const hurt = some(world, images, 2);
      const [one, two] = hurt as [Image, Image];
      if (drives === 1) {
        const shards = [...one.names.keys()].filter((path) => path.startsWith('shards/'));
        swap(one, one, [shards[0] ?? '', shards[1 + world.draw.below(shards.length - 1)] ?? '']);
        const pieces = [...one.names].filter(([path]) => path.startsWith('segments/'));
        for (const [, inode] of pieces) bytesOfFile(inode).copyWithin(512, 0, 512);
      } else {
        const shared = [...one.names.keys()].filter((path) => isData(path) && two.names.has(path));
        for (const path of shared) swap(one, two, [path, path]);
      }
      await bears(world, expected, { images, drives });
    }
    world.record();
  },
};

function swap(one: Image, two: Image, [a, b]: [string, string]): void {
  const [first, second] = [one.names.get(a), two.names.get(b)] as [Inode, Inode];
  one.names.set(a, second);
  two.names.set(b, first);
}

async function isRefused(life: Life): Promise<void> {
  const error = await life.start('worker').then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!isFirnError(error, 'DriveForeign')) throw new Error('a foreign drive was taken into use');
}

const strangers: Workload = {
  name: 'strangers',
  ...WATCHED,
  async run(world) {
    const expected = await filled(world);
    const swapped = imagesOf(world);
    [swapped[1], swapped[4]] = [swapped[4] as Image, swapped[1] as Image];
    await isRefused(lifeFrom(world, remainsOf(world, swapped)));
    const other = new World(world.seed + 1, world.time);
    other.life.storeId = 'store-2';
    await other.found();
    const foreign = imagesOf(world);
    foreign[3] = thawed((other.life.drives[3] as { image: Image }).image);
    await isRefused(lifeFrom(world, remainsOf(world, foreign)));
    // A drive is replaced, the group goes on and forgets an object; then the old drive is back.
    const images = imagesOf(world);
    const old = images[2] as Image;
    images[2] = emptyImage();
    const life = lifeFrom(world, remainsOf(world, images));
    await life.start('worker');
    life.clock.pass(600_000);
    await finished(life.hot.heal());
    await life.engine.deleteObject({ bucket: BUCKET, key: 'b', owner: 'root' });
    life.clock.pass(2 * GRACE_MS);
    await collectAll(life);
    const after = life.drives.map((drive) => drive.image);
    const remains = { ...remainsOf(world, after), tables: life.simStore.tables, at: life.clock.at };
    const kept = new Map([...expected].filter(([key]) => key !== 'b'));
    await bearsLoss(lifeFrom(world, remains), kept, [0, 5]);
    const back = after.map((image, i) => (i === 2 ? thawed(old) : image));
    await isRefused(lifeFrom(world, { ...remains, images: back }));
    world.record();
  },
};

export const DAMAGE: readonly Workload[] = [rot, misdirected, strangers];
