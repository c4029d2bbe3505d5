// Upkeep of drives: what breaks is made whole, what is lost is told, and nothing is called lost that
// nobody was told of. Real directories, the real engine where metadata decides, simulated drives
// where one must fail at a chosen instant.

import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { buildEngine } from '../appliance/engine/build.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { sweep } from '../appliance/engine/upkeep/sweep.ts';
import { DAY_MS, type Clock, type Random } from '../appliance/model/clock.ts';
import { newLocationId } from '../appliance/model/ids.ts';
import { GRACE_MS, KiB, MiB } from '../appliance/model/limits.ts';
import type { BlobLocation, SegmentLocation, ShardLocation } from '../appliance/model/location.ts';
import {
  needsHeal,
  type NodeGroupTier,
  type StepJob,
  type StepProgress,
} from '../appliance/model/node-group.ts';
import type { Stored } from '../appliance/model/tier.ts';
import { codeOf } from '../tiers/node-group/codec/field.ts';
import { Seat } from '../tiers/node-group/drive/seat.ts';
import { LaneOrders } from '../tiers/node-group/group/lane-order.ts';
import type { NodeGroupDependencies, NodeGroupTierSettings } from '../tiers/node-group/settings.ts';
import { DriveTier } from '../tiers/node-group/tier/node-group-tier.ts';
import type { Turn } from '../workers/base/worker.ts';
import { HealWorker } from '../workers/heal.ts';
import { ScrubWorker } from '../workers/scrub.ts';
import { Medium, SimulatedDrive, type Fault } from './contract/drive.ts';
import { bytesOf, failsWith, sampleBytes } from './contract/tier.ts';
import { contextOf } from './engine-harness.ts';
import { MemoryMetadataStore } from './memory-store.ts';

class OffsetClock implements Clock {
  offsetMs = 0;
  wall(): number {
    return Date.now() + this.offsetMs;
  }
  now(): number {
    return this.wall();
  }
}

const random: Random = { bytes: (count) => crypto.getRandomValues(new Uint8Array(count)) };
const realClock = new OffsetClock();
const OWNER = { bucketId: '00112233445566ff', key: 'dir/key' };

interface Options {
  settings?: Partial<NodeGroupTierSettings>;
  deps?: Partial<NodeGroupDependencies>;
}

async function opened(paths: readonly string[], { settings, deps }: Options = {}) {
  const tier = new DriveTier(
    {
      name: 'hot',
      code: '4+2',
      drives: [paths],
      arenaBytes: 16 * MiB,
      probeMs: 60_000,
      segmentBytes: 4 * MiB,
      ...settings,
    },
    { clock: realClock, random, storeId: 's', role: 'worker', processName: 'w', ...deps },
  );
  await tier.open();
  return tier;
}

interface Area {
  drives: string[];
  /** The drives as they stand now, elsewhere: what a kill at this instant leaves. */
  copy(): Area;
  [Symbol.dispose](): void;
}

function area(root = mkdtempSync(join(tmpdir(), 'firn-upkeep-'))): Area {
  return {
    drives: Array.from({ length: 6 }, (_, i) => join(root, `drive-${i}`)),
    copy() {
      const to = mkdtempSync(join(tmpdir(), 'firn-upkeep-'));
      cpSync(root, to, { recursive: true, preserveTimestamps: true });
      return area(to);
    },
    [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }),
  };
}

const put = (tier: DriveTier, bytes: Uint8Array): Promise<Stored> =>
  tier.put({
    id: newLocationId(realClock, random),
    body: bytes,
    sizeBytes: bytes.length,
    owner: OWNER,
  });

/** Four small objects at once: one batch, each data lane holds one. */
async function fourOf(tier: DriveTier, size: number, seed: number): Promise<SegmentLocation[]> {
  const stored = await Promise.all([0, 1, 2, 3].map((i) => put(tier, sampleBytes(size, seed + i))));
  return stored.map(({ location }) => location as SegmentLocation);
}

async function isRight(
  t: ExecutionContext,
  tier: DriveTier,
  location: BlobLocation,
  wanted: Uint8Array,
): Promise<void> {
  const got = await bytesOf(await tier.read(location));
  t.is(Buffer.compare(got, wanted), 0, `${location.kind} of ${wanted.length} bytes`);
}

async function finished(job: StepJob): Promise<StepProgress> {
  for (;;) {
    const progress = await job.step();
    if (progress.done) return progress;
  }
}

function pathOf(drive: string, location: BlobLocation): string {
  if (location.kind === 'segment') return join(drive, 'segments', location.segment);
  return join(drive, 'shards', location.id.slice(-2), location.id);
}

/** Position of the drive that holds a lane. */
function driveOf(location: SegmentLocation | ShardLocation, lane: number): number {
  const id = location.kind === 'segment' ? location.segment : location.id;
  return new LaneOrders(codeOf('4+2')).of(id, location.away ?? 0).positions[lane] as number;
}

/** The piece of a batch as if its write had never come to the drive. */
function blank(drives: readonly string[], location: SegmentLocation, lane: number): void {
  const path = pathOf(drives[driveOf(location, lane)] as string, location);
  const bytes = readFileSync(path);
  bytes.fill(0, location.batch, location.batch + 128 + 960);
  writeFileSync(path, bytes);
}

function empty(drive: string): void {
  rmSync(drive, { recursive: true });
  mkdirSync(drive);
}

/** Late enough for a segment that nobody sealed to count as settled. */
const LATER: Options = { deps: { clock: Object.assign(new OffsetClock(), { offsetMs: DAY_MS }) } };

async function idsIn(tier: DriveTier, segment: string): Promise<string[]> {
  const ids: string[] = [];
  for await (const { location } of tier.records(0, segment)) ids.push(location.id);
  return ids;
}

// ------------------------------------------------------------------------------------ kill -9

test.serial(
  'a last batch that a kill cut ends the log; the same damage elsewhere is a loss',
  async (t) => {
    using drives = area();
    const writer = await opened(drives.drives, { deps: { role: 'api' } });
    const first = await fourOf(writer, 900, 1);
    using before = drives.copy();
    const last = await fourOf(writer, 900, 11);
    using killed = drives.copy();
    const open = drives.copy();
    await writer.close();
    const { segment } = first[0] as SegmentLocation;
    t.is(last[0]?.segment, segment);
    const [old] = first as [SegmentLocation];
    const [cut] = last as [SegmentLocation];
    // Three of six pieces never came: four were needed, five to tell anybody.
    for (const lane of [1, 4, 5]) blank(killed.drives, cut, lane);
    const torn = await opened(killed.drives, LATER);
    const ids = await idsIn(torn, segment);
    t.true(first.every(({ id }) => ids.includes(id)));
    t.deepEqual((await finished(torn.scrub())).lost, []);
    // A drive that is refilled does not wait for it either.
    await torn.close();
    empty(killed.drives[2] as string);
    const refilled = await opened(killed.drives, LATER);
    t.deepEqual((await finished(refilled.heal())).lost, []);
    t.is((await refilled.drives())[2]?.state, 'up');
    for (const [i, one] of first.entries())
      await isRight(t, refilled, one, sampleBytes(900, 1 + i));
    await refilled.close();

    const losses: [string, Area][] = [
      ['a whole batch stands behind it', open],
      ['the seal stands behind it', drives.copy()],
      ['three drives were emptied', before],
    ];
    const [behind, sealed, gone] = losses.map(([, one]) => one) as [Area, Area, Area];
    for (const lane of [0, 1, 2]) blank(behind.drives, old, lane);
    for (const lane of [0, 1, 2]) blank(sealed.drives, cut, lane);
    for (const lane of [0, 1, 2]) rmSync(pathOf(gone.drives[driveOf(old, lane)] as string, old));
    for (const [what, one] of losses) {
      const tier = await opened(one.drives, LATER);
      await failsWith(t, 'Corrupt', () => idsIn(tier, segment));
      const { lost } = await finished(tier.scrub());
      t.is(lost.length, 1, `${what}: ${lost.join()}`);
      await tier.close();
      one[Symbol.dispose]();
    }
  },
);

test.serial(
  'a scrub ends what a killed writer left open: then rot at its end is a loss',
  async (t) => {
    using drives = area();
    const writer = await opened(drives.drives, { deps: { role: 'api' } });
    await fourOf(writer, 900, 1);
    const last = await fourOf(writer, 900, 11);
    using killed = drives.copy();
    await writer.close();
    const first = await opened(killed.drives, LATER);
    t.deepEqual((await finished(first.scrub())).lost, []);
    await first.close();
    const [rotten] = last as [SegmentLocation];
    for (const [i, drive] of drives.drives.entries()) {
      const closed = readFileSync(pathOf(drive, rotten));
      const ended = readFileSync(pathOf(killed.drives[i] as string, rotten));
      t.is(Buffer.compare(closed, ended), 0, 'byte for byte as its writer would have');
    }
    for (const lane of [1, 2, 5]) blank(killed.drives, rotten, lane);
    const second = await opened(killed.drives, LATER);
    t.is((await finished(second.scrub())).lost.length, 1);
    await second.close();
  },
);

test.serial('while a drive is away nothing is called cut that it could make whole', async (t) => {
  using drives = area();
  const writer = await opened(drives.drives, { deps: { role: 'api' } });
  const last = await fourOf(writer, 900, 1);
  using killed = drives.copy();
  await writer.close();
  const [cut] = last as [SegmentLocation];
  for (const lane of [0, 1]) blank(killed.drives, cut, lane);
  const away = killed.drives[driveOf(cut, 2)] as string;
  renameSync(away, `${away}-away`);
  const tier = await opened(killed.drives, { ...LATER, deps: { ...LATER.deps, role: 'primary' } });
  await failsWith(t, 'DriveUnavailable', () => idsIn(tier, cut.segment));
  await tier.close();
});

// ---------------------------------------------------------------------------- with metadata

interface House {
  store: MemoryMetadataStore;
  engine: Engine;
  tier: DriveTier;
  log: string[];
  heal: HealWorker;
  scrub: (days?: number) => ScrubWorker;
  clock: OffsetClock;
}

async function house(drives: readonly string[], options: Options = {}): Promise<House> {
  const clock = new OffsetClock();
  const store = new MemoryMetadataStore(clock);
  const deps = { clock, processName: 'a', ...options.deps };
  const tier = await opened(drives, { ...options, deps });
  const engine = buildEngine(
    contextOf({ store, clock, tiers: new Map([['hot', tier]]) }, { random }),
  );
  const log: string[] = [];
  const say = (_: string, message: string): void => void log.push(message);
  const tiers: NodeGroupTier[] = [tier];
  await engine.createBucket({ name: 'bucket', owner: 'root', region: 'us-east-1' });
  return {
    store,
    engine,
    tier,
    log,
    clock,
    heal: new HealWorker(engine.core, tiers, say),
    scrub: (days = 14) => new ScrubWorker(engine.core, tiers, { log: say, days: () => days }),
  };
}

const turn = (): Turn => ({
  lease: { name: 'test', epoch: 1, check: () => Promise.resolve() },
  signal: new AbortController().signal,
  rest: () => Promise.resolve(),
  report: () => undefined,
});

async function putObject(h: House, key: string, body: Uint8Array): Promise<void> {
  await h.engine.putObject({
    bucket: 'bucket',
    key,
    body,
    sizeBytes: body.length,
    owner: 'root',
    storageClass: 'STANDARD',
    headers: {},
    metadata: {},
  });
}

const getObject = async (h: House, key: string): Promise<Uint8Array> =>
  bytesOf((await h.engine.getObject({ bucket: 'bucket', key })).body);

async function locationOf(h: House, key: string): Promise<BlobLocation> {
  const rows = await h.store.range<{ versions: { parts: { location: BlobLocation }[] }[] }>({
    table: 'objects',
    limit: 100,
  });
  const row = rows.find(({ id }) => id.endsWith(key));
  return row?.value.versions[0]?.parts[0]?.location as BlobLocation;
}

test.serial(
  'too few shard files are an alarm if an object names them, else a leftover',
  async (t) => {
    using drives = area();
    const h = await house(drives.drives);
    await putObject(h, 'told', sampleBytes(300 * KiB, 1));
    const told = await locationOf(h, 'told');
    // What a killed writer leaves: renamed on three of six drives, and no document.
    const { location: cut } = await put(h.tier, sampleBytes(300 * KiB, 2));
    for (const i of [0, 1, 2]) rmSync(pathOf(drives.drives[i] as string, cut));
    await h.scrub().run(turn(), 'run');
    t.deepEqual(h.log, []);
    for (const i of [0, 1, 2]) rmSync(pathOf(drives.drives[i] as string, told));
    await h.scrub().run(turn(), 'run');
    t.is(h.log.length, 1);
    t.true(h.log[0]?.includes(told.id), h.log[0]);
    // So does a drive that is refilled.
    h.log.length = 0;
    empty(drives.drives[0] as string);
    await h.tier.look();
    await h.heal.run(turn());
    t.is(h.log.length, 1);
    t.true(h.log[0]?.includes(told.id), h.log[0]);
    // And the leftover is the sweep's.
    h.clock.offsetMs += 3 * GRACE_MS;
    const { orphans } = await sweep(h.engine.core, { lease: turn().lease });
    t.is(orphans, 1);
    t.not(await h.store.get('garbage', cut.id), undefined);
    await h.tier.close();
  },
);

test.serial(
  'a write that lacked drives is completed when they are back, and its row goes',
  async (t) => {
    using drives = area();
    const h = await house(drives.drives, { settings: { smallBytesMax: 16 * KiB } });
    const away = [0, 2, 3, 5].map((i) => drives.drives[i] as string);
    for (const drive of away) renameSync(drive, `${drive}-away`);
    await h.tier.look();
    // Two of six are left: told of, taken, and two copies.
    for (const [i, size] of [900, 200 * KiB].entries()) {
      await putObject(h, `k${i}`, sampleBytes(size, i));
      const location = await locationOf(h, `k${i}`);
      t.true(needsHeal(location));
    }
    t.is(await h.store.count('heals'), 2);
    t.true(await h.heal.isNeeded());
    await h.heal.run(turn());
    t.is(await h.store.count('heals'), 2, 'they wait');
    t.false(await h.heal.isNeeded(), 'and are not tried again for nothing');
    for (const drive of away) renameSync(`${drive}-away`, drive);
    await h.tier.look();
    t.true(await h.heal.isNeeded());
    await h.heal.run(turn());
    t.is(await h.store.count('heals'), 0);
    // Full redundancy: any two of those that hold bytes may go now.
    for (let one = 0; one < 6; one += 1) {
      for (let two = one + 1; two < 6; two += 1) {
        const gone = [one, two].map((i) => drives.drives[i] as string);
        for (const drive of gone) renameSync(drive, `${drive}-away`);
        await h.tier.look();
        for (const [i, size] of [900, 200 * KiB].entries()) {
          const got = await getObject(h, `k${i}`);
          t.is(Buffer.compare(got, sampleBytes(size, i)), 0, `without ${one} and ${two}`);
        }
        for (const drive of gone) renameSync(`${drive}-away`, drive);
        await h.tier.look();
      }
    }
    await h.tier.close();
  },
);

test.serial('a scrub keeps its pace and its place: a restart goes on where it was', async (t) => {
  using drives = area();
  const h = await house(drives.drives, { settings: { smallBytesMax: 0 } });
  for (let i = 0; i < 40; i += 1) await putObject(h, `k${i}`, sampleBytes(400 * KiB, i));
  const row = async () =>
    (await h.store.get<{ cursor: string; counts: { bytes: number } }>('checkpoints', 'scrub/hot'))
      ?.value;
  const slice = () => h.scrub(10).run(turn(), 'scrub');
  await slice();
  t.is((await row())?.counts.bytes, 0, 'nothing is due yet');
  h.clock.offsetMs += 3 * DAY_MS;
  await slice();
  const third = await row();
  const total = (40 * 400 * KiB * 6) / 4;
  const share = (third?.counts.bytes ?? 0) / total;
  t.true(share > 0.25 && share < 0.6, `after 3 of 10 days: ${share}`);
  await slice();
  t.deepEqual((await row())?.counts, third?.counts, 'no faster when asked again');
  // Rot behind the cursor is found by another process that goes on there.
  const left = readdirSync(join(drives.drives[4] as string, 'shards'))
    .toSorted()
    .at(-1) as string;
  const directory = join(drives.drives[4] as string, 'shards', left);
  const victim = join(directory, readdirSync(directory).toSorted().at(-1) as string);
  truncateSync(victim, 9000);
  h.clock.offsetMs += 6.5 * DAY_MS;
  await slice();
  t.is((await row())?.cursor, 'done');
  t.true(readFileSync(victim).length > 100_000, 'whole again');
  const state = await h.store.get<{ data: { ended: { bytes: number }[] } }>(
    'checkpoints',
    'upkeep/scrub/hot',
  );
  t.true((state?.value.data.ended[0]?.bytes ?? 0) >= total, 'people see one pass');
  await slice();
  t.is((await row())?.cursor, 'done', 'not again within its days');
  h.clock.offsetMs += DAY_MS;
  await slice();
  t.is((await row())?.cursor, '', 'the next pass');
  await h.tier.close();
});

// ------------------------------------------------------------------------------- the ladder

type Damage = (paths: string[], other: string[]) => void;

const swap = (one: string, two: string): void => {
  renameSync(one, `${two}-x`);
  renameSync(two, one);
  renameSync(`${two}-x`, two);
};

/** Each is done to the files of some drives; `other`: those of another object there. */
const DAMAGES: Record<string, Damage> = {
  missing: (paths) => paths.forEach((path) => rmSync(path)),
  'cut off': (paths) => paths.forEach((path) => truncateSync(path, 700)),
  emptied: (paths) => paths.forEach((path) => truncateSync(path, 0)),
  rotten: (paths) =>
    paths.forEach((path) => {
      const bytes = readFileSync(path);
      for (let at = 40; at < bytes.length; at += 211) bytes[at] = (bytes[at] as number) ^ 0x10;
      writeFileSync(path, bytes);
    }),
  'of another object': (paths, other) =>
    paths.forEach((path, i) => cpSync(other[i] as string, path)),
  'of other drives': (paths) => {
    for (let i = 1; i < paths.length; i += 1) swap(paths[0] as string, paths[i] as string);
  },
};

for (const size of [3000, 300 * KiB]) {
  test.serial(
    `${size} bytes: up to m lanes wrong in any way are healed, one more is told`,
    async (t) => {
      using drives = area();
      const write = async (seed: number): Promise<BlobLocation[]> => {
        const writer = await opened(drives.drives, { deps: { role: 'api' } });
        const locations =
          size < MiB / 4
            ? await fourOf(writer, size, seed)
            : [(await put(writer, sampleBytes(size, seed))).location];
        await writer.close();
        return locations;
      };
      const locations = await write(1);
      const [another] = await write(20);
      const [victim] = locations as [SegmentLocation | ShardLocation];
      for (const [kind, damage] of Object.entries(DAMAGES)) {
        for (const count of kind === 'of other drives' ? [2, 3] : [1, 2, 3]) {
          using copy = drives.copy();
          const hit = [0, 3, 4]
            .slice(0, count)
            .map((lane) => copy.drives[driveOf(victim, lane)] as string);
          damage(
            hit.map((drive) => pathOf(drive, victim)),
            hit.map((drive) => pathOf(drive, another as BlobLocation)),
          );
          const tier = await opened(copy.drives);
          const what = `${kind}, ${count} of 6`;
          if (count <= 2) {
            for (const [i, one] of locations.entries())
              await isRight(t, tier, one, sampleBytes(size, 1 + i));
            const { repaired, lost, suspects } = await finished(tier.scrub());
            t.deepEqual([...lost, ...suspects], [], what);
            t.true(repaired > 0, what);
            t.is((await finished(tier.scrub())).repaired, 0, `${what}: whole after one pass`);
          } else {
            const got = await tier
              .read(victim)
              .then(bytesOf)
              .catch((error: unknown) => error as Error);
            const wrong =
              !(got instanceof Error) && Buffer.compare(got, sampleBytes(size, 1)) !== 0;
            t.false(wrong, `${what}: never wrong bytes`);
            const { lost, suspects } = await finished(tier.scrub());
            t.true(lost.length + suspects.length > 0, what);
          }
          await tier.close();
        }
      }
    },
  );
}

// ----------------------------------------------------------------------------------- spares

test.serial(
  'a drive that stays away is replaced by a spare, for good, in every process',
  async (t) => {
    using drives = area();
    const [spare, second] = [join(drives.drives[0] as string, '..', 'spare'), ''] as [
      string,
      string,
    ];
    mkdirSync(spare);
    const settings = { probeMs: 20, spares: [spare], spareAfterMs: 300 };
    const api = await opened(drives.drives, {
      settings,
      deps: { role: 'api', processName: 'api' },
    });
    const worker = await opened(drives.drives, { settings });
    const objects = await Promise.all(
      [900, 300 * KiB].map(async (size, i) => ({
        size,
        seed: i,
        location: (await put(api, sampleBytes(size, i))).location,
      })),
    );
    const lost = drives.drives[3] as string;
    renameSync(lost, `${lost}-away`);
    await sleep(150);
    t.is((await worker.drives())[3]?.state, 'missing', 'not at once: a cable may be put back');
    const until = async (tier: DriveTier, state: string): Promise<void> => {
      for (let i = 0; i < 300 && (await tier.drives())[3]?.state !== state; i += 1) await sleep(20);
    };
    t.deepEqual(await api.spares(), [{ tier: 'hot', path: spare, state: 'ready' }]);
    await until(worker, 'healing');
    await until(api, 'healing');
    t.is((await api.spares())[0]?.state, 'taken');
    t.is((await api.drives())[3]?.path, spare);
    t.regex((await api.drives())[3]?.note ?? '', /refilled.*spare in the place of .*drive-3/);
    for (let i = 0; i < 300 && (await worker.drives())[3]?.state !== 'up'; i += 1) {
      await finished(worker.heal());
      await sleep(20);
    }
    t.is((await worker.drives())[3]?.state, 'up');
    await api.close();
    await worker.close();
    // The old one comes back: too late, and nothing of it is read or written.
    renameSync(`${lost}-away`, lost);
    const before = readdirSync(lost, { recursive: true }).length;
    const again = await opened(drives.drives, { settings });
    t.is((await again.drives())[3]?.path, spare);
    t.is((await again.drives())[3]?.state, 'up');
    await put(again, sampleBytes(300 * KiB, 9));
    t.is(readdirSync(lost, { recursive: true }).length, before);
    await again.close();
    // And the spare counts: two others go.
    for (const i of [0, 5])
      renameSync(drives.drives[i] as string, `${drives.drives[i]}${second}-away`);
    const reader = await opened(drives.drives, { settings, deps: { role: 'primary' } });
    for (const { size, seed, location } of objects)
      await isRight(t, reader, location, sampleBytes(size, seed));
    await reader.close();
  },
);

test.serial('a spare is not given to a group that lost more than its code bears', async (t) => {
  using drives = area();
  const spare = join(drives.drives[0] as string, '..', 'spare');
  mkdirSync(spare);
  const settings = { probeMs: 20, spares: [spare], spareAfterMs: 10 };
  const worker = await opened(drives.drives, { settings });
  for (const i of [1, 2, 4]) renameSync(drives.drives[i] as string, `${drives.drives[i]}-away`);
  await sleep(300);
  t.deepEqual(readdirSync(spare), [], 'a shelf without power is no dead drive');
  await worker.close();
});

// ---------------------------------------------------------------------------- failing drives

function simulated(settings: Partial<NodeGroupTierSettings> = {}) {
  const media = Array.from({ length: 6 }, () => new Medium());
  const paths = media.map((_, i) => `sim-${i}`);
  const openDrive = (path: string): SimulatedDrive =>
    new SimulatedDrive(path, media[paths.indexOf(path)] as Medium);
  const options: Options = {
    settings: { segmentBytes: 128 * KiB, smallBytesMax: 16 * KiB, ...settings },
    deps: { openDrive, role: 'api' },
  };
  return { media, paths, options };
}

test.serial(
  'any errno of a write or sync: acknowledged elsewhere, never synced again',
  async (t) => {
    for (const [operation, code] of [
      ['write', 'EIO'],
      ['sync', 'EIO'],
      ['write', 'EROFS'],
      ['open', 'EROFS'],
      ['sync', 'ENOSPC'],
    ] as const) {
      const sim = simulated({ breakerMs: 5 });
      const tier = await opened(sim.paths, sim.options);
      const first = await put(tier, sampleBytes(900, 1));
      const medium = sim.media[2] as Medium;
      // Only what would be written anew fails: what stands there can be read.
      medium.faults = ['tmp', 'segments'].map((path) => ({ operation, code, path, times: 40 }));
      const stored: { size: number; seed: number; location: BlobLocation }[] = [];
      for (const [seed, size] of [900, 60_000, 901, 60_001].entries()) {
        stored.push({ size, seed, location: (await put(tier, sampleBytes(size, seed))).location });
      }
      for (const { size, seed, location } of stored)
        await isRight(t, tier, location, sampleBytes(size, seed));
      await isRight(t, tier, first.location, sampleBytes(900, 1));
      t.is(medium.syncsAfterError, 0, `${operation} ${code}`);
      const { state, errors } = (await tier.drives())[2] as { state: string; errors: number };
      t.true(errors > 0, `${operation} ${code}: counted`);
      t.true(['failing', 'full', 'up'].includes(state));
      medium.faults = [];
      await sleep(20);
      await tier.look();
      t.is((await tier.drives())[2]?.state, 'up', `${operation} ${code}: tried again`);
      await tier.close();
    }
  },
);

test.serial('a bad sector is read around, and cured by a scrub that writes it', async (t) => {
  for (const size of [900, 60_000]) {
    const sim = simulated({ breakerMs: 1 });
    const tier = await opened(sim.paths, sim.options);
    const { location } = await put(tier, sampleBytes(size, 1));
    await tier.close();
    if (location.kind === 'remote') return t.fail();
    const medium = sim.media[driveOf(location, location.kind === 'segment' ? location.lane : 0)];
    if (medium === undefined) return t.fail();
    const path = pathOf('', location);
    medium.faults = [{ operation: 'read', code: 'EIO', path }];
    medium.wrote = (written) => {
      // Written in place, or another file that takes its name.
      if (written === path || written.startsWith('tmp/')) medium.faults = [];
    };
    const deps = { ...sim.options.deps, role: 'worker' } as const;
    const worker = await opened(sim.paths, { ...sim.options, deps });
    await isRight(t, worker, location, sampleBytes(size, 1));
    const { repaired, lost } = await finished(worker.scrub());
    t.deepEqual(lost, []);
    t.is(repaired, 1);
    t.deepEqual(medium.faults, []);
    t.is((await finished(worker.scrub())).repaired, 0);
    await worker.close();
  }
});

test.serial(
  'a drive whose reads fail is read around, and what it holds is not called damaged',
  async (t) => {
    const sim = simulated();
    const tier = await opened(sim.paths, sim.options);
    const sizes = [900, 60_000];
    const stored = await Promise.all(sizes.map((size, i) => put(tier, sampleBytes(size, i))));
    await tier.close();
    const medium = sim.media[1] as Medium;
    const reader = await opened(sim.paths, {
      ...sim.options,
      deps: { ...sim.options.deps, role: 'worker' },
    });
    medium.faults = ['shards', 'segments'].map((path) => ({
      operation: 'read',
      code: 'EIO',
      path,
    }));
    for (const [i, { location }] of stored.entries()) {
      for (let n = 0; n < 3; n += 1)
        await isRight(t, reader, location, sampleBytes(sizes[i] as number, i));
    }
    const { lost, suspects } = await finished(reader.scrub());
    t.deepEqual([...lost, ...suspects], []);
    await reader.close();
  },
);

const DOZEN = Array.from({ length: 12 }, () => 60_000);

/** Objects on six drives, of which one was emptied since: a worker that is to refill it. */
async function refilling(sizes: readonly number[] = [...DOZEN, 900]) {
  const sim = simulated();
  const writer = await opened(sim.paths, sim.options);
  const stored = await Promise.all(sizes.map((size, i) => put(writer, sampleBytes(size, i))));
  await writer.close();
  const due = stored
    .map(({ location }) => pathOf('', location))
    .filter((path) => sim.media[2]?.names.has(path));
  sim.media[2] = new Medium();
  const deps = { ...sim.options.deps, ...LATER.deps, role: 'worker' } as const;
  const settings = { ...sim.options.settings, stallMs: 100, breakerMs: 20 };
  const tier = await opened(sim.paths, { settings, deps });
  const others = sim.media.filter((_, i) => i !== 2);
  return {
    media: sim.media,
    others,
    tier,
    locations: stored.map(({ location }) => location),
    state: async () => (await tier.drives())[2]?.state,
    /** Files that the emptied drive held and does not hold yet. */
    lacking: () => due.filter((path) => !sim.media[2]?.names.has(path)),
  };
}

test.serial('a drive that rests while it is refilled is not called whole', async (t) => {
  const { media, others, tier, state, lacking } = await refilling();
  // oxlint-disable-next-line typescript/unbound-method -- called with its own `this` below.
  const turn = SimulatedDrive.prototype.turn;
  let rested = false;
  // As the pass begins, somebody's write finds the drive failing for a moment.
  SimulatedDrive.prototype.turn = async function (operation, path) {
    await turn.call(this, operation, path);
    if (rested || this.medium !== others[0] || path !== 'shards') return;
    rested = true;
    media[2]?.faults.push({ operation: 'open', path: 'tmp', code: 'EIO', times: 1 });
    await put(tier, sampleBytes(60_000, 99));
  };
  try {
    t.true((await finished(tier.heal())).short);
    t.true(rested);
  } finally {
    SimulatedDrive.prototype.turn = turn;
  }
  await sleep(30);
  await tier.look();
  t.is(await state(), 'healing', 'it answers again, and lacks what it lacked');
  t.is(lacking().length, 13);
  await finished(tier.heal());
  t.is(await state(), 'up');
  t.deepEqual(lacking(), []);
  await tier.close();
});

for (const [what, path, times, sizes] of [
  ['a file of each drive', 'shards/*', 1, [60_000]],
  ['all that is opened, for a while', 'shards/', 30, DOZEN],
  ['the list of directories', 'shards', 1, DOZEN],
  ['the list of segments', 'segments', 2, [...DOZEN, 900]],
] as const) {
  test.serial(`no descriptor left for ${what}: not taken for what is not there`, async (t) => {
    const { others, tier, locations, state, lacking } = await refilling(sizes);
    const [first] = locations as [ShardLocation];
    const fail = (): void => {
      const at = path === 'shards/*' ? pathOf('', first) : path;
      for (const one of others)
        one.faults = [{ operation: 'open', path: at, code: 'EMFILE', times }];
    };
    fail();
    const { lost, suspects } = await finished(tier.heal());
    t.deepEqual([...lost, ...suspects], []);
    t.true(lacking().length === 0 || (await state()) !== 'up', `lacks ${lacking().join()}`);
    const over = async (): Promise<void> => {
      for (const one of others) one.faults = [];
      await sleep(30);
      await tier.look();
    };
    await over();
    await finished(tier.heal());
    t.is(await state(), 'up');
    t.deepEqual(lacking(), []);
    fail();
    const scrubbed = await finished(tier.scrub());
    t.deepEqual(scrubbed.lost, [], 'and not for a loss');
    await over();
    for (const { location } of scrubbed.suspects)
      t.is(await tier.healLocation(location), 'whole', 'which the worker asks for');
    await tier.close();
  });
}

test.serial('files that nobody could open just now are not done with', async (t) => {
  const { media, tier, locations } = await refilling();
  const [first] = locations as [ShardLocation];
  for (const one of media)
    one.faults = [{ operation: 'open', path: pathOf('', first), code: 'EMFILE', times: 1 }];
  await failsWith(t, 'DriveUnavailable', () => tier.healLocation(first));
  t.is(await tier.healLocation(first), 'whole');
  await tier.close();
});

for (const work of ['heal', 'scrub'] as const) {
  test.serial(`a drive that hangs in reads does not hold up a ${work} of the others`, async (t) => {
    const { media, tier, locations, state, lacking } = await refilling();
    (media[4] as Medium).faults = [{ operation: 'read', path: 'shards/', code: 'HANG' }];
    const { lost, suspects } = await finished(tier[work]());
    t.deepEqual([...lost, ...suspects], []);
    await finished(tier.heal());
    t.deepEqual(lacking(), []);
    t.is(await state(), 'up', 'with five that answer nothing can be hidden');
    for (const [i, one] of locations.entries())
      await isRight(t, tier, one, sampleBytes(i < 12 ? 60_000 : 900, i));
    await tier.close();
  });
}

test.serial('a drive that hangs in names is not asked again while it hangs', async (t) => {
  const { media, tier, state, lacking } = await refilling();
  const fault: Fault = { operation: 'open', path: 'shards/', code: 'HANG', times: 1000 };
  (media[4] as Medium).faults = [fault];
  await finished(tier.heal());
  t.deepEqual(lacking(), []);
  t.is(await state(), 'up');
  t.is(1000 - (fault.times as number), 1, 'each call that hangs keeps a thread of the pool');
  await tier.close();
});

test.serial('records that nobody could look for just now are not taken for none', async (t) => {
  const sim = simulated();
  // Killed: nobody ends its segment.
  const writer = await opened(sim.paths, sim.options);
  const [first] = (await fourOf(writer, 900, 1)) as [SegmentLocation];
  const deps = { ...sim.options.deps, ...LATER.deps, role: 'worker' } as const;
  const tier = await opened(sim.paths, { ...sim.options, deps });
  const fail = (): void => {
    for (const one of sim.media)
      one.faults = [{ operation: 'open', path: 'segments/', code: 'EMFILE', times: 1 }];
  };
  fail();
  // Compaction would free the segment.
  await failsWith(t, 'DriveUnavailable', () => idsIn(tier, first.segment));
  t.is((await idsIn(tier, first.segment)).length, 4);
  await tier.close();
  const again = await opened(sim.paths, { ...sim.options, deps });
  fail();
  t.is(await again.healLocation(first), 'partial');
  t.is(await again.healLocation(first), 'whole');
  await again.close();
  // And a drive is not refilled with a segment that seemed to hold nothing.
  const before = sim.media[2]?.names.get(pathOf('', first))?.now;
  sim.media[2] = new Medium();
  const refilled = await opened(sim.paths, { ...sim.options, deps });
  fail();
  await finished(refilled.heal());
  await finished(refilled.heal());
  t.is((await refilled.drives())[2]?.state, 'up');
  t.deepEqual(sim.media[2].names.get(pathOf('', first))?.now, before);
  await refilled.close();
  await writer.close();
});

test.serial('a drive says that it fills up before it is full', async (t) => {
  const sim = simulated();
  const tier = await opened(sim.paths, sim.options);
  const medium = sim.media[0] as Medium;
  medium.capacityBytes = 100 * MiB;
  const fill = async (share: number): Promise<{ state: string; note: string }> => {
    const drive = new SimulatedDrive('x', medium);
    await drive.remove('filler');
    await (await drive.open('filler', { mode: 'create' })).resize(share * 100 * MiB);
    await tier.look();
    return (await tier.drives())[0] as { state: string; note: string };
  };
  t.is((await fill(0.8)).note, '');
  const warned = await fill(0.87);
  t.is(warned.state, 'up');
  t.regex(warned.note, /87 % full/);
  t.is((await fill(0.96)).state, 'full');
  await tier.close();
});

test.serial(
  'a drive five times slower than its peers rests after a minute, and not for a moment',
  (t) => {
    const now = performance.now.bind(performance);
    let laterMs = 0;
    performance.now = () => now() + laterMs;
    try {
      const limits = { warnShare: 0.85, fullShare: 0.95, reserveShare: 0.98, breakerMs: 30_000 };
      const seat = new Seat(new SimulatedDrive('slow', new Medium()), 0, limits);
      seat.arrived({
        format: 1,
        drive: 'd',
        store: 's',
        tier: 'hot',
        group: 0,
        position: 0,
        code: '4+2',
      });
      const take = (ms: number): void => {
        for (let i = 0; i < 60; i += 1) seat.wrote(ms);
      };
      const judge = (forMs: number): void => {
        for (let past = 0; past < forMs; past += 2000) {
          seat.judgeSlowness(30);
          laterMs += 2000;
        }
      };
      take(300);
      judge(50_000);
      t.is(seat.state, 'up');
      // One fast while and the minute begins anew.
      take(40);
      judge(4000);
      take(300);
      judge(50_000);
      t.is(seat.state, 'up');
      judge(16_000);
      t.is(seat.state, 'failing');
      t.regex(seat.note, /writes take 300 ms, those of its peers 30/);
      laterMs += 31_000;
      t.true(seat.dueForTrial);
      // Slow beside fast peers is no fault as long as it is fast enough.
      seat.recovered();
      take(45);
      for (let i = 0; i < 100; i += 1) {
        seat.judgeSlowness(1);
        laterMs += 2000;
      }
      t.is(seat.state, 'up');
    } finally {
      performance.now = now;
    }
  },
);
