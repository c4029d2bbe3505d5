// A process that stands still at the worst instant and then goes on as if no time had passed: between
// what it read and what it commits, others complete, delete, sweep, collect, take the bucket away.
// What it still does must harm nobody (A6, B2, B3, C2, C3).

import { GRACE_MS } from '../../appliance/model/limits.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { Change, Row } from '../../appliance/model/metadata-store.ts';
import type { Upload } from '../../appliance/model/object.ts';
import type { Engine } from '../../appliance/engine/engine.ts';
import { settleUpload } from '../../appliance/engine/upload/multipart-end.ts';
import { BUCKET, type Life } from './life.ts';
import { collectAll, sweepAll } from './recovery.ts';
import {
  complete,
  completed,
  slowly,
  uploadOf,
  type Uploading,
  type Workload,
} from './workloads.ts';
import type { World } from './world.ts';

const KiB = 1024;
const HOUR_MS = 3_600_000;

/** Stops whoever comes to the documents of keys, until it is let go. */
class Door {
  readonly #world: World;
  readonly #waiting: (() => void)[] = [];

  constructor(world: World, call: 'get' | Change['kind']) {
    this.#world = world;
    world.life.simStore.door = (came, table) => {
      if (came !== call || table !== 'objects') return undefined;
      return new Promise((resolve) => this.#waiting.push(resolve));
    };
  }

  /** So many stand here; nobody else is stopped any more. */
  async closes(count: number): Promise<void> {
    await this.came(count);
    this.#world.life.simStore.door = undefined;
  }

  async came(count: number): Promise<void> {
    while (this.#waiting.length < count) await this.#world.scheduler.pause(1);
  }

  /** The first that came goes on. */
  letGo(): void {
    this.#waiting.shift()?.();
  }
}

const refused = (error: unknown): undefined => {
  if (!isFirnError(error)) throw error;
};

const anotherOf = async (
  world: World,
  name = 'api-2',
): Promise<Awaited<ReturnType<Life['process']>>> => {
  const other = await world.life.process(name);
  await other.hot.open();
  return other;
};

/** A workload with another process, `engine`, that comes too late; what `filled` made stands before. */
const comesLate = <Made>(
  name: string,
  filled: (world: World) => Promise<Made>,
  play: (world: World, engine: Engine, made: Made) => Promise<void>,
  settings = { choices: 6, recoverEvery: 12 },
): Workload => ({
  name,
  ...settings,
  async run(world) {
    await world.found();
    const made = await filled(world);
    const { engine } = await anotherOf(world);
    world.record();
    await world.phase(name, () => play(world, engine, made));
  },
});

const nothing = (): Promise<void> => Promise.resolve();
const anUpload = (world: World): Promise<Uploading> => uploadOf(world, 'upload-1', [60]);

/** Rolls a Complete forward that was decided, and its object deleted, long ago. */
const lateRoller = comesLate('late-roller', anUpload, async (world, engine, one) => {
  const door = new Door(world, 'get');
  const { uploadId, parts } = one;
  const request = { bucket: BUCKET, key: one.key, uploadId, owner: 'root', parts };
  // To the client both are one Complete, decided when the other one answers.
  const decided = Promise.withResolvers<void>();
  const asked = world.model.did(one.key, completed(one, [1]), () => decided.promise);
  const late = engine.completeUpload(request).catch(refused);
  await completing(world, door);
  await door.closes(1);
  await complete(world, one, { numbers: [1] });
  decided.resolve();
  await asked;
  await world.remove(one.key);
  door.letGo();
  await late;
});

/** Lets go of whoever comes until a Complete is under way, and stands at the document. */
async function completing(world: World, door: Door): Promise<Row<Upload>> {
  for (;;) {
    await door.came(1);
    const row = world.life.rowsOf<Upload>('uploads').at(-1);
    if (row?.value.state === 'completing') return row;
    door.letGo();
  }
}

/** Rolls a Complete forward whose condition was false, and the client told so. */
const lateRefusal = comesLate('late-refusal', anUpload, async (world, other, one) => {
  const { engine: worker } = await anotherOf(world, 'worker-2');
  const door = new Door(world, 'get');
  const told = complete(world, one, { numbers: [1], isNew: true });
  const row = await completing(world, door);
  const late = settleUpload(worker.core, row).catch(refused);
  await door.closes(2);
  await world.put('upload-1', 20, { by: other });
  door.letGo();
  await told;
  await world.remove('upload-1', other);
  door.letGo();
  await late;
});

/** Commits bytes that were swept and freed meanwhile. */
const lateWriter = comesLate(
  'late-writer',
  (world) => world.put('a', 6 * KiB),
  async (world, engine) => {
    const { life } = world;
    const door = new Door(world, 'insert');
    const late = world.put('b', 7 * KiB, { by: engine });
    await door.closes(1);
    for (let round = 0; round < 4; round += 1) {
      life.clock.pass(GRACE_MS + 2 * HOUR_MS);
      await sweepAll(life);
      await collectAll(life);
    }
    door.letGo();
    await late;
  },
);

/** The bucket is deleted between a PUT's look at it and its commit. */
const lateInBucket = comesLate('late-in-bucket', nothing, async (world, engine) => {
  const door = new Door(world, 'insert');
  const late = world.put('a', 700, { by: engine });
  await door.closes(1);
  await world.life.engine.deleteBucket(BUCKET).catch(refused);
  door.letGo();
  await late;
});

/** A key is there, unseen by the deletion's first look; it is overwritten while the bucket goes. */
const lateOverwrite = comesLate('late-overwrite', nothing, async (world, engine) => {
  const { life } = world;
  // The deletion stands before it marks the bucket; a first version is acknowledged meanwhile.
  let mark: () => void = () => undefined;
  const marking = new Promise<void>((resolve) => (mark = resolve));
  let isMarking = false;
  life.simStore.door = (call, table) => {
    if (call !== 'replace' || table !== 'buckets' || isMarking) return undefined;
    isMarking = true;
    return marking;
  };
  let isOver = false;
  const deletion = life.engine
    .deleteBucket(BUCKET)
    .catch(refused)
    .finally(() => (isOver = true));
  while (!isMarking) await world.scheduler.pause(1);
  await world.put('a', 700, { by: engine });
  const door = new Door(world, 'replace');
  const late = world.put('a', 300, { by: engine });
  await door.closes(1);
  mark();
  // The mark stands, and the deletion waits out the caches of others; under some seeds it has
  // found the first version already, and is over.
  while (!isOver && (await isLive(life))) await world.scheduler.pause(1);
  door.letGo();
  await Promise.all([late, deletion]);
});

const isLive = async (life: Life): Promise<boolean> =>
  (await life.store.get<{ state: string }>('buckets', BUCKET))?.value.state === 'live';

/** A DELETE listed what it lets go of nearly a grace ago: a reader has just begun. */
const lateRelease = comesLate(
  'late-release',
  (world) => world.put('a', 3 * KiB * KiB),
  async (world, engine) => {
    const { life } = world;
    const door = new Door(world, 'remove');
    const late = world.remove('a', engine);
    await door.closes(1);
    life.clock.pass(GRACE_MS - HOUR_MS / 2);
    await slowly(world, 'a', async () => {
      door.letGo();
      await late;
      life.clock.pass(HOUR_MS);
      await collectAll(life);
    });
  },
  { choices: 1, recoverEvery: 1000 },
);

export const LATE_WORKLOADS: readonly Workload[] = [
  lateRoller,
  lateRefusal,
  lateWriter,
  lateInBucket,
  lateOverwrite,
];

export { lateRelease };
