// Worlds whose metadata is the embedded store whole: engine, LMDB, journal and drives crash together.
// Several processes see each other's commits before the journal has them; what any of them answers
// must not rest on one that a power failure takes back (D3). So each second client here waits until
// it sees the first one's commit, and asks at that instant.

import type { Engine } from '../../appliance/engine/engine.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { SimDrive } from './drive.ts';
import type { Life } from './life.ts';
import { BUCKET } from './life.ts';
import { collectAll, transition } from './recovery.ts';
import { complete, completedAgain, uploadOf, uploads, type Workload } from './workloads.ts';
import type { World } from './world.ts';

const KiB = 1024;
const EMBEDDED_WORLD = { choices: 4, recoverEvery: 60, options: { embedded: true } };
const LOOKS_MAX = 400;
/** Hosts of one installation are that far apart at most. */
const SKEW_MS = 5 * 60_000;

/** Another process, whose clock is as wrong as the rules allow (B3). */
async function another(world: World): Promise<Engine> {
  const { hot, engine } = await world.life.process('api-2', 'api', SKEW_MS);
  await hot.open();
  return engine;
}

/** Looks until it is so. */
async function seen(world: World, look: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < LOOKS_MAX; i += 1) {
    if (await look()) return;
    await world.scheduler.pause(1);
  }
}

async function isThere(by: Engine, key: string): Promise<boolean> {
  try {
    await by.headObject({ bucket: BUCKET, key });
    return true;
  } catch (error) {
    if (isFirnError(error, 'NoSuchKey')) return false;
    throw error;
  }
}

const embeddedPut: Workload = {
  name: 'embedded-put',
  ...EMBEDDED_WORLD,
  async run(world) {
    await world.found();
    const two = await another(world);
    for (const key of ['a', 'b']) await world.put(key, 300);
    world.record();
    await world.phase('embedded-put', async () => {
      await Promise.all([world.put('a', 700), world.put('b', 9 * KiB, { by: two })]);
    });
    await world.phase('embedded-delete', async () => {
      const again = async (): Promise<void> => {
        await seen(world, async () => !(await isThere(two, 'a')));
        await world.remove('a', two);
      };
      await Promise.all([world.remove('a'), again()]);
    });
    await world.phase('embedded-new', async () => {
      const again = async (): Promise<void> => {
        await seen(world, () => isThere(two, 'c'));
        await world.put('c', 40, { isNew: true, by: two });
      };
      await Promise.all([world.put('c', 30, { isNew: true }), again()]);
    });
  },
};

const aborted = new WeakMap<World, { key: string; uploadId: string; since: number }>();

async function stateOf(life: Life, uploadId: string): Promise<string> {
  const rows = life.rowsOf<{ uploadId: string; state: string }>('uploads');
  return rows.find(({ value }) => value.uploadId === uploadId)?.value.state ?? 'gone';
}

/** Completed by two processes at once, aborted by two. */
const embeddedUpload: Workload = {
  name: 'embedded-upload',
  ...EMBEDDED_WORLD,
  async run(world) {
    await world.found();
    const two = await another(world);
    const { life } = world;
    const one = await uploadOf(world, 'upload-1', [700]);
    const other = await uploadOf(world, 'upload-2', [300]);
    world.record();
    await world.phase('embedded-complete', async () => {
      const again = async (): Promise<void> => {
        await seen(world, () => isThere(two, 'upload-1'));
        await complete(world, one, { numbers: [1], by: two });
      };
      await Promise.all([complete(world, one, { numbers: [1] }), again()]);
    });
    await world.phase('embedded-abort', async () => {
      const { key, uploadId } = other;
      const name = { bucket: BUCKET, key, uploadId };
      const again = async (): Promise<void> => {
        await seen(world, async () => (await stateOf(life, uploadId)) !== 'open');
        const told = await two.abortUpload(name).then(
          () => true,
          (error: unknown) => isFirnError(error, 'NoSuchUpload'),
        );
        const since = world.scheduler.mark('embedded-abort/answered/upload-2');
        if (told) aborted.set(world, { key, uploadId, since });
      };
      await Promise.all([life.engine.abortUpload(name), again()]);
    });
    uploads.set(world, [one]);
  },
  watch: async (life, world, p) => {
    const { uploadId, since } = aborted.get(world) ?? { uploadId: '', since: Infinity };
    if (since < p && (await stateOf(life, uploadId)) === 'open') {
      throw new Error('an upload is open whose abort was answered');
    }
  },
  afterwards: completedAgain,
};

/** A drive leaves the journal and comes back, a snapshot is made, under changes. */
const embeddedJournal: Workload = {
  name: 'embedded-journal',
  ...EMBEDDED_WORLD,
  async run(world) {
    await world.found();
    await world.put('a', 300);
    const { life } = world;
    const { journal } = life.embedded as NonNullable<Life['embedded']>;
    if (journal === undefined) throw new Error('no journal');
    world.record();
    const drive = life.drives[1] as SimDrive;
    drive.faults = [{ operation: 'write', code: 'EIO', path: 'journal', times: 1 }];
    await world.phase('embedded-epoch', async () => {
      await Promise.all([world.put('a', 200), world.put('b', 100)]);
    });
    await world.phase('embedded-join', async () => {
      await Promise.all([journal.repair(), world.remove('a'), world.put('c', 10)]);
    });
    await world.phase('embedded-snapshot', async () => {
      await Promise.all([journal.snapshot(), world.put('a', 900), world.remove('b')]);
    });
  },
};

/** Bytes leave for a cloud, and are freed here. */
const embeddedMove: Workload = {
  name: 'embedded-move',
  ...EMBEDDED_WORLD,
  choices: 2,
  async run(world) {
    await world.found();
    const two = await another(world);
    for (const key of ['a', 'b']) await world.put(key, 700);
    const { life } = world;
    world.record();
    await world.phase('embedded-move', async () => {
      const cold = { tier: 'cold', storageClass: 'GLACIER_IR', packed: false };
      await Promise.all([transition(life, ['a', 'b'], cold), world.put('b', 50, { by: two })]);
    });
    life.clock.pass(3 * 86_400_000);
    await world.phase('embedded-collect', async () => {
      await Promise.all([collectAll(life), world.put('c', 50, { by: two })]);
    });
  },
};

export const EMBEDDED: readonly Workload[] = [
  embeddedPut,
  embeddedUpload,
  embeddedJournal,
  embeddedMove,
];
