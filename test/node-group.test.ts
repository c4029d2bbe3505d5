// Hot and warm: nothing that was acknowledged may be lost or come back wrong, whatever drives,
// power, processes and bits do. Real directories where the system matters, simulated drives where a
// fault must strike at a chosen instant. Seeds are printed.

import { spawn } from 'node:child_process';
import fs, {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type ExecutionContext } from 'ava';
import type { Clock, Random } from '../appliance/model/clock.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import { locationBirth, newLocationId } from '../appliance/model/ids.ts';
import type { BlobLocation, SegmentLocation, ShardLocation } from '../appliance/model/location.ts';
import {
  isNodeGroupTier,
  needsHeal,
  type StepJob,
  type StepProgress,
} from '../appliance/model/node-group.ts';
import type { Stored } from '../appliance/model/tier.ts';
import { checksumOf } from '../tiers/checksum.ts';
import { buildNodeGroupTier } from '../tiers/hot/hot-tier.ts';
import { Arena } from '../tiers/node-group/codec/arena.ts';
import { Codec } from '../tiers/node-group/codec/codec.ts';
import {
  bitRow,
  codeOf,
  CODES,
  inverse,
  lanesOf,
  multiply,
  parityOf,
  recovery,
} from '../tiers/node-group/codec/field.ts';
import { combinePlainly } from '../tiers/node-group/codec/plain.ts';
import { LocalDrive } from '../tiers/node-group/drive/local-drive.ts';
import { bits } from '../tiers/node-group/group/context.ts';
import { LaneOrders } from '../tiers/node-group/group/lane-order.ts';
import type { NodeGroupDependencies, NodeGroupTierSettings } from '../tiers/node-group/settings.ts';
import { DriveTier } from '../tiers/node-group/tier/node-group-tier.ts';
import { placeIn } from '../tiers/node-group/tier/placement.ts';
import { buildNodeGroupTier as buildWarm } from '../tiers/warm/warm-tier.ts';
import { driveContract, Medium, Seeded, SimulatedDrive } from './contract/drive.ts';
import { bytesOf, failsWith, reusedChunks, sampleBytes, tierContract } from './contract/tier.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const seed = Number(process.env['FIRN_TEST_SEED'] ?? Math.floor(Math.random() * 1e6));
console.log(`FIRN_TEST_SEED=${seed}`);

const realClock: Clock = { wall: () => Date.now(), now: () => Date.now() };
const realRandom: Random = { bytes: (count) => crypto.getRandomValues(new Uint8Array(count)) };
const OWNER = { bucketId: '00112233445566ff', key: 'dir/ünïcode key' };
const STORE = 'store-1';

interface Options {
  settings?: Partial<NodeGroupTierSettings>;
  deps?: Partial<NodeGroupDependencies>;
}

function tierOn(paths: readonly string[], { settings, deps }: Options = {}): DriveTier {
  return new DriveTier(
    {
      name: 'hot',
      code: '4+2',
      drives: [paths],
      arenaBytes: 16 * MiB,
      probeMs: 60_000,
      ...settings,
    },
    {
      clock: realClock,
      random: realRandom,
      storeId: STORE,
      role: 'api',
      processName: 'api-1',
      ...deps,
    },
  );
}

interface Scratch {
  root: string;
  drives: string[];
  [Symbol.dispose](): void;
}

function scratch(count = 6): Scratch {
  const root = mkdtempSync(join(tmpdir(), 'firn-drives-'));
  const drives = Array.from({ length: count }, (_, i) => join(root, `drive-${i}`));
  return { root, drives, [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }) };
}

async function opened(paths: readonly string[], options?: Options): Promise<DriveTier> {
  const tier = tierOn(paths, options);
  await tier.open();
  return tier;
}

const put = (tier: DriveTier, bytes: Uint8Array, id?: string): Promise<Stored> =>
  tier.put({
    id: id ?? newLocationId(realClock, realRandom),
    body: bytes,
    sizeBytes: bytes.length,
    owner: OWNER,
  });

async function same(
  t: ExecutionContext,
  tier: DriveTier,
  stored: { location: BlobLocation },
  wanted: Uint8Array,
): Promise<void> {
  const got = await bytesOf(await tier.read(stored.location));
  t.true(Buffer.compare(got, wanted) === 0, `${stored.location.kind} of ${wanted.length} bytes`);
}

async function finished(job: StepJob): Promise<StepProgress> {
  for (;;) {
    const progress = await job.step();
    if (progress.done) return progress;
  }
}

/** Every file of a drive but identity and roster. */
function filesOf(drive: string): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (const name of readdirSync(drive, { recursive: true, encoding: 'utf8' })) {
    if (name.startsWith('firn-') || !statSync(join(drive, name)).isFile()) continue;
    files.set(name, readFileSync(join(drive, name)));
  }
  return files;
}

/** Name to length and checksum: comparing megabytes by value takes a minute. */
function printsOf(drive: string): string[] {
  return [...filesOf(drive)]
    .map(([name, bytes]) => `${name} ${bytes.length} ${checksumOf(bytes)}`)
    .toSorted((a, b) => (a < b ? -1 : 1));
}

const shardFile = (drive: string, id: string): string => join(drive, 'shards', id.slice(-2), id);
const segmentFile = (drive: string, id: string): string => join(drive, 'segments', id);

function flip(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset] = (bytes[offset] as number) ^ 0x40;
  writeFileSync(path, bytes);
}

/** Position of the drive that holds a lane. */
function driveOf(location: SegmentLocation | ShardLocation, lane: number, code = '4+2'): number {
  const id = location.kind === 'segment' ? location.segment : location.id;
  return new LaneOrders(codeOf(code)).of(id, location.away ?? 0).positions[lane] as number;
}

/** Damages one lane of a stored object on its drive. */
function rot(drives: readonly string[], location: BlobLocation, lane: number): void {
  if (location.kind === 'segment') {
    const file = segmentFile(drives[driveOf(location, lane)] as string, location.segment);
    flip(file, location.batch + 128 + Math.min(location.offset + 40, 40));
  } else if (location.kind === 'shards') {
    flip(shardFile(drives[driveOf(location, lane)] as string, location.id), 4096 + 100);
  }
}

// ----------------------------------------------------------------------------------------------
// codec

/** XXH3-64 of all parity of 4 KiB lanes of sampleBytes(4096, lane): old parity rests on these. */
const GOLDEN_PARITY: Record<string, string> = {
  '1+1': 'bd10d07b95f7b862',
  '1+2': 'b173a3b3231aa795',
  '2+2': '668bbd67803e2fd6',
  '4+2': 'a72abb2fa15465b3',
  '8+4': '18bdabe4ef20a05a',
  '12+4': '5747186359eb00d5',
};

function codecOf(name: string, laneBytes = 8 * KiB): Codec {
  const code = codeOf(name);
  return new Codec(code, new Arena({ lanes: code.n, laneBytes, arenaBytes: 4 * MiB }));
}

test('the field is a field, and multiplying by bit rows is multiplying', (t) => {
  for (let a = 1; a < 16; a += 1) {
    t.is(multiply(a, inverse(a)), 1);
    for (let b = 0; b < 16; b += 1) {
      t.is(multiply(a, b), multiply(b, a));
      let product = 0;
      for (let q = 0; q < 4; q += 1) product |= (bits(bitRow(a, q) & b) & 1) << q;
      t.is(product, multiply(a, b));
    }
  }
});

test('parity written today is the parity that was written ever since format 1', (t) => {
  for (const name of CODES) {
    const codec = codecOf(name);
    const slot = codec.arena.tryAcquire(1);
    t.assert(slot);
    if (slot === undefined) return;
    const lanes = slot.lanes.map((lane) => lane.subarray(0, 4096));
    for (let i = 0; i < codec.code.k; i += 1) lanes[i]?.set(sampleBytes(4096, i + 1));
    codec.encode(slot, 4096);
    const parity = Buffer.concat(lanes.slice(codec.code.k));
    t.is(checksumOf(parity), GOLDEN_PARITY[name] as string, name);
    const oracle = combinePlainly(parityOf(codec.code), lanes);
    t.is(Buffer.compare(parity, Buffer.concat(oracle)), 0, `${name} against the oracle`);
  }
});

test('any m lanes lost come back byte for byte, in every pattern and every code', (t) => {
  for (const name of CODES) {
    const codec = codecOf(name, 256);
    const { n, m, k } = codec.code;
    const slot = codec.arena.tryAcquire(1);
    if (slot === undefined) return t.fail();
    const lanes = slot.lanes.map((lane) => lane.subarray(0, 128));
    for (let i = 0; i < k; i += 1) lanes[i]?.set(sampleBytes(128, i + 1));
    codec.encode(slot, 128);
    const right = lanes.map((lane) => Buffer.from(lane));
    const all = (1 << n) - 1;
    let wrong = 0;
    let patterns = 0;
    for (let lost = 1; lost <= all; lost += 1) {
      if (bits(lost) > m) continue;
      patterns += 1;
      for (const lane of lanesOf(lost)) lanes[lane]?.fill(0xaa);
      const done = codec.rebuild(
        slot,
        { have: all & ~lost, empty: 0, want: lost },
        { from: 0, bytes: 128 },
      );
      if (!done || lanes.some((lane, i) => Buffer.compare(lane, right[i] as Buffer) !== 0)) {
        wrong += 1;
        for (const [i, lane] of lanes.entries()) lane.set(right[i] as Buffer);
      }
    }
    t.is(wrong, 0, `${name}: ${patterns} patterns`);
  }
});

test('lanes known to be empty count as zeros, whatever memory holds there', (t) => {
  const codec = codecOf('4+2', 256);
  const slot = codec.arena.tryAcquire(1);
  if (slot === undefined) return t.fail();
  for (let empty = 0; empty < 15; empty += 1) {
    for (let lane = 0; lane < 4; lane += 1) {
      const lane0 = slot.lanes[lane]?.subarray(0, 64);
      if ((empty >> lane) & 1) lane0?.fill(0);
      else lane0?.set(sampleBytes(64, lane + 1));
    }
    codec.encode(slot, 64);
    const right = slot.lanes.map((lane) => Buffer.from(lane.subarray(0, 64)));
    for (let lost = 1; lost < 64; lost += 1) {
      if (bits(lost) > 2 || (lost & empty) !== 0) continue;
      for (const lane of lanesOf(empty | lost)) slot.lanes[lane]?.fill(0x5a, 0, 64);
      const have = 63 & ~lost & ~empty;
      t.true(codec.rebuild(slot, { have, empty, want: lost }, { from: 0, bytes: 64 }));
      for (const lane of lanesOf(lost)) {
        t.is(Buffer.compare(slot.lanes[lane]?.subarray(0, 64) as Buffer, right[lane] as Buffer), 0);
      }
      for (const lane of lanesOf(empty | lost)) slot.lanes[lane]?.set(right[lane] as Buffer);
    }
  }
  t.is(recovery(codec.code, { have: 0b000111, empty: 0, want: 8 }), undefined, 'three of four');
});

test('who finds no buffer waits, is served in order, and is told to slow down past a bound', async (t) => {
  const arena = new Arena({
    lanes: 2,
    laneBytes: 1000,
    arenaBytes: 1,
    waitersMax: 2,
    waitMsMax: 50,
  });
  const all = Array.from({ length: 8 }, () => arena.tryAcquire(1));
  t.true(all.every((slot) => slot !== undefined));
  t.is(arena.tryAcquire(1), undefined);
  const large = arena.acquire(4);
  const small = arena.acquire(1);
  t.throws(() => arena.acquire(1), { code: 'SlowDown' } as never);
  for (const slot of all.slice(0, 3)) if (slot !== undefined) arena.release(slot);
  await failsWith(t, 'SlowDown', async () => large);
  t.is((await small).units, 1, 'served as soon as the one before it gave up');
});

// ---------------------------------------------------------------------------------------- lane
// order

test('drives that are away cost data lanes first, so redundancy stays whole', (t) => {
  for (const name of CODES) {
    const code = codeOf(name);
    const orders = new LaneOrders(code);
    for (let away = 0; away < 1 << code.n; away += code.n > 6 ? 37 : 1) {
      const up = code.n - bits(away);
      if (up < 2) continue;
      for (const id of ['0'.repeat(32), `${'0'.repeat(24)}deadbeef`]) {
        const order = orders.of(id, away);
        t.deepEqual(
          order.positions.toSorted((a, b) => a - b),
          [...Array(code.n).keys()],
        );
        t.is(bits(order.inUse), up);
        const used = lanesOf(order.inUse).map((lane) => order.positions[lane] as number);
        t.true(used.every((position) => ((away >> position) & 1) === 0));
        const parity = up - order.data.length;
        t.is(parity, Math.min(code.m, up - 1), `${name}, ${up} up`);
        t.true(order.data.every((lane) => lane < code.k && ((order.empty >> lane) & 1) === 0));
      }
    }
  }
});

test('groups get shares like their room, and only a new group moves names', (t) => {
  const names = Array.from({ length: 4000 }, (_, i) => `bucket/key-${i}`);
  const before = names.map((name) => placeIn(name, [1, 3]));
  const share = before.filter((group) => group === 1).length / names.length;
  t.true(Math.abs(share - 0.75) < 0.04, `share ${share}`);
  const after = names.map((name) => placeIn(name, [1, 3, 4]));
  t.true(after.every((group, i) => group === 2 || group === before[i]));
  t.is(placeIn('x', [0, 0]), undefined);
});

// ------------------------------------------------------------------------------------------
// contracts

driveContract(test, 'local drive', async () => {
  const root = mkdtempSync(join(tmpdir(), 'firn-drive-'));
  return {
    drive: new LocalDrive(root),
    cleanup: async () => rmSync(root, { recursive: true, force: true }),
  };
});

test.serial('short writes and reads of the system are not taken for whole ones', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'firn-drive-'));
  const { write, writev, read } = fs;
  const short = <T extends (...args: never[]) => void>(call: T, at: number): T =>
    ((...args: unknown[]) => {
      if (typeof args[at] === 'number') args[at] = Math.min(args[at], 1000);
      (call as unknown as (...all: unknown[]) => void)(...args);
    }) as unknown as T;
  Object.assign(fs, {
    write: short(write, 3),
    read: short(read, 3),
    writev: (fd: number, parts: readonly Uint8Array[], position: number, done: () => void) =>
      writev(fd, [(parts[0] as Uint8Array).subarray(0, 7)], position, done),
  });
  try {
    const drive = new LocalDrive(root);
    const file = await drive.open('file', { mode: 'create' });
    await file.write(sampleBytes(100_000, 1), 0);
    await file.write([sampleBytes(10, 2), sampleBytes(5000, 3)], 100_000);
    const target = Buffer.alloc(105_010);
    t.is(await file.read(target, 0), 105_010);
    const wanted = Buffer.concat([
      sampleBytes(100_000, 1),
      sampleBytes(10, 2),
      sampleBytes(5000, 3),
    ]);
    t.is(Buffer.compare(target, wanted), 0);
    await file.close();
  } finally {
    Object.assign(fs, { write, writev, read });
    rmSync(root, { recursive: true });
  }
});

driveContract(test, 'simulated drive', async () => ({
  drive: new SimulatedDrive('simulated', new Medium()),
  cleanup: async () => undefined,
}));

let founded: string | undefined;

async function foundOnce(): Promise<string> {
  const area = scratch();
  await (await opened(area.drives)).close();
  return area.root;
}

test.after.always(() => {
  if (founded !== undefined) rmSync(founded, { recursive: true, force: true });
});

for (const [label, build, smallBytesMax, directWrites] of [
  ['hot tier', buildNodeGroupTier, 256 * KiB, false],
  ['warm tier, all in shard files', buildWarm, 0, false],
  ['hot tier, all in shard files, direct writes', buildNodeGroupTier, 0, true],
] as const) {
  tierContract(
    test,
    label,
    async () => {
      const area = scratch();
      // Founded once: thirty syncs a test would be most of its time.
      founded ??= await foundOnce();
      for (const drive of area.drives) {
        cpSync(join(founded, basename(drive)), drive, { recursive: true });
      }
      const settings = {
        name: 'hot',
        code: '4+2',
        drives: [area.drives],
        directWrites,
        smallBytesMax,
        segmentBytes: 4 * MiB,
      } as const;
      const deps = {
        clock: realClock,
        random: realRandom,
        storeId: STORE,
        role: 'api',
        processName: 'api-1',
      } as const;
      const tier = build(settings, deps);
      t0(isNodeGroupTier(tier));
      await tier.open();
      return {
        tier,
        cleanup: async () => {
          await tier.close();
          area[Symbol.dispose]();
        },
        corrupt: async (location) => {
          // Seen by readers that have the file open already: rewritten in place.
          for (const lane of [0, 1, 2, 3, 4, 5]) {
            try {
              rot(area.drives, location, lane);
            } catch (error) {
              if ((error as NodeJS.ErrnoException).code !== 'ERR_OUT_OF_RANGE') throw error;
            }
          }
        },
        unopenable: () => {
          const taken = join(area.root, 'taken');
          mkdirSync(taken, { recursive: true });
          writeFileSync(join(taken, 'holiday.jpg'), 'x');
          return build({ ...settings, drives: [[taken, ...area.drives.slice(1)]] }, deps);
        },
      };
    },
    smallBytesMax === 0 ? {} : { deleteIsImmediate: false, listsEveryBlob: false },
  );
}

function t0(condition: boolean): void {
  if (!condition) throw new Error('a node group tier says that it is one');
}

// ---------------------------------------------------------------------------------- losing drives

const SIZES = [0, 1, 4096, 100_000, 256 * KiB, 256 * KiB + 1, MiB, MiB + 1, 3 * MiB + 77];

test.serial('any m drives may be gone: every object is read, whole and in ranges', async (t) => {
  using area = scratch();
  const tier = await opened(area.drives);
  const objects = await Promise.all(
    SIZES.map(async (size, i) => {
      const bytes = sampleBytes(size, i + 1);
      return { bytes, stored: await put(tier, bytes) };
    }),
  );
  await tier.close();
  const draw = new Seeded(seed);
  for (let gone = 1; gone < 64; gone += 1) {
    if (bits(gone) > 2) continue;
    const away = (i: number): boolean => ((gone >> i) & 1) === 1;
    for (const [i, drive] of area.drives.entries()) if (away(i)) renameSync(drive, `${drive}-away`);
    const degraded = await opened(area.drives, { deps: { role: 'primary' } });
    for (const { bytes, stored } of objects) {
      await same(t, degraded, stored, bytes);
      const offset = draw.below(bytes.length + 1);
      const range = { offset, length: draw.below(bytes.length - offset + 1) };
      const got = await bytesOf(await degraded.read(stored.location, { range }));
      t.is(Buffer.compare(got, bytes.subarray(offset, offset + range.length)), 0);
    }
    await degraded.close();
    for (const [i, drive] of area.drives.entries()) if (away(i)) renameSync(`${drive}-away`, drive);
  }
});

test.serial('with m+1 drives away a read says try later, not that bytes are gone', async (t) => {
  using area = scratch();
  const tier = await opened(area.drives);
  const small = await put(tier, sampleBytes(5000, 1));
  const large = await put(tier, sampleBytes(MiB, 2));
  await tier.close();
  // The small object lies on three drives: its data lane and parity.
  const { location } = small;
  t.is(location.kind, 'segment');
  if (location.kind !== 'segment') return;
  for (const lane of [location.lane, 4, 5]) {
    const drive = area.drives[driveOf(location, lane)] as string;
    renameSync(drive, `${drive}-away`);
  }
  const degraded = await opened(area.drives, { deps: { role: 'primary' } });
  await failsWith(t, 'DriveUnavailable', () => degraded.read(location));
  await failsWith(t, 'DriveUnavailable', () => degraded.read(large.location));
  await degraded.close();
});

test.serial(
  'drives away at a write: full redundancy on the rest, down to one copy beside',
  async (t) => {
    using area = scratch();
    await (await opened(area.drives)).close();
    for (const gone of [0b1, 0b10_0010, 0b111, 0b01_1110]) {
      const away = (i: number): boolean => ((gone >> i) & 1) === 1;
      for (const [i, drive] of area.drives.entries()) {
        if (!away(i)) continue;
        renameSync(drive, `${drive}-away`);
        // A file at its place: not made anew at the next start.
        writeFileSync(drive, 'no directory');
      }
      const tier = await opened(area.drives);
      const objects = await Promise.all(
        [10, 50_000, 300_000, 2 * MiB + 5].map(async (size) => {
          const bytes = sampleBytes(size, gone);
          return { bytes, stored: await put(tier, bytes) };
        }),
      );
      for (const { bytes, stored } of objects) {
        t.is((stored.location as ShardLocation).away, gone);
        t.is(needsHeal(stored.location), bits(gone) > 3, 'parity gave way only below m+1 drives');
        await same(t, tier, stored, bytes);
      }
      await tier.close();
      for (const [i, drive] of area.drives.entries()) {
        if (!away(i)) continue;
        rmSync(drive);
        renameSync(`${drive}-away`, drive);
      }
      // Those that were there lose one more (or two) now: still nothing is lost.
      const survivors = area.drives.filter((_, i) => !away(i));
      const losses = Math.min(2, survivors.length - 1);
      for (const drive of survivors.slice(0, losses)) renameSync(drive, `${drive}-lost`);
      const later = await opened(area.drives, { deps: { role: 'primary' } });
      for (const { bytes, stored } of objects) await same(t, later, stored, bytes);
      await later.close();
      for (const drive of survivors.slice(0, losses)) renameSync(`${drive}-lost`, drive);
      if (bits(gone) > 3) {
        const whole = await opened(area.drives, { deps: { role: 'worker' } });
        for (const { stored } of objects) {
          const location = stored.location as SegmentLocation | ShardLocation;
          t.is(await whole.healLocation(location), 'whole', 'the drives are back');
        }
        await whole.close();
      }
    }
  },
);

test.serial('every code keeps its word: any m of its drives may be lost', async (t) => {
  for (const name of CODES) {
    const { n, m } = codeOf(name);
    using area = scratch(n);
    const settings = { code: name, segmentBytes: MiB };
    const tier = await opened(area.drives, { settings });
    const sizes = [0, 77, 30_000, 256 * KiB, 300_000, 2 * MiB + 9];
    const objects = await Promise.all(
      sizes.map(async (size) => {
        const bytes = sampleBytes(size, n + size);
        return { bytes, stored: await put(tier, bytes) };
      }),
    );
    await tier.close();
    for (let first = 0; first < n; first += m > 2 ? 5 : 1) {
      const gone = Array.from({ length: m }, (_, i) => area.drives[(first + i * 2) % n] as string);
      const lost = [...new Set(gone)];
      for (const drive of lost) renameSync(drive, `${drive}-away`);
      const reader = await opened(area.drives, { settings, deps: { role: 'primary' } });
      for (const { bytes, stored } of objects) await same(t, reader, stored, bytes);
      await reader.close();
      for (const drive of lost) renameSync(`${drive}-away`, drive);
    }
  }
});

test.serial('one drive up: refused with DriveUnavailable, and nothing hangs', async (t) => {
  using area = scratch(2);
  const options = { settings: { code: '1+1' as const } };
  const tier = await opened(area.drives, options);
  const bytes = sampleBytes(1000, 1);
  const stored = await put(tier, bytes);
  await tier.close();
  rmSync(area.drives[0] as string, { recursive: true });
  writeFileSync(area.drives[0] as string, 'no directory');
  const lame = await opened(area.drives, options);
  await failsWith(t, 'DriveUnavailable', () => put(lame, bytes));
  await failsWith(t, 'DriveUnavailable', () => put(lame, sampleBytes(MiB, 2)));
  await same(t, lame, stored, bytes);
  await lame.close();
});

// ---------------------------------------------------------------------------------------- identity

test.serial(
  'wrong, swapped and old drives are refused at start, by path and with a remedy',
  async (t) => {
    using area = scratch();
    const tier = await opened(area.drives);
    const stored = await put(tier, sampleBytes(3000, 1));
    await tier.close();
    const refused = async (path: string, hint: RegExp, options?: Options): Promise<void> => {
      const error: unknown = await tierOn(area.drives, options)
        .open()
        .catch((reason: unknown) => reason);
      t.true(isFirnError(error, 'DriveForeign'), String(error));
      if (!isFirnError(error)) return;
      t.is(error.subject, path);
      t.regex(error.hint ?? '', hint);
    };
    const [first, second] = area.drives as [string, string];
    await refused(first, /own drives/, { deps: { storeId: 'another' } });
    await refused(first, /back into their order/, { settings: { name: 'warm' } });
    renameSync(first, `${first}-x`);
    renameSync(second, first);
    renameSync(`${first}-x`, second);
    await refused(first, /back into their order/);
    renameSync(second, `${first}-x`);
    renameSync(first, second);
    // An old drive, back at the place of the one that replaced it.
    mkdirSync(first);
    const healed = await opened(area.drives);
    await same(t, healed, stored, sampleBytes(3000, 1));
    await healed.close();
    rmSync(first, { recursive: true });
    renameSync(`${first}-x`, first);
    await refused(first, /empty this directory/);
    // Somebody's files.
    rmSync(first, { recursive: true });
    mkdirSync(first);
    writeFileSync(join(first, 'thesis.doc'), 'x');
    await refused(first, /empty directory/);
    t.is(readFileSync(join(first, 'thesis.doc'), 'latin1'), 'x', 'untouched');
  },
);

test.serial('many processes that open fresh drives at once found one group', async (t) => {
  for (let round = 0; round < 3; round += 1) {
    using area = scratch();
    const tiers = await Promise.all(
      Array.from({ length: 4 }, (_, i) =>
        opened(area.drives, {
          deps: { processName: `api-${i}`, role: i === 3 ? 'worker' : 'api' },
        }),
      ),
    );
    const identities = area.drives.map((drive) => readFileSync(join(drive, 'firn-drive.json')));
    const rosters = area.drives.map((drive) =>
      readFileSync(join(drive, 'firn-group.json'), 'utf8'),
    );
    t.is(new Set(rosters).size, 1, 'one roster');
    t.is(new Set(identities.map(String)).size, 6);
    const stored = await Promise.all(
      tiers.map((tier, i) => put(tier, sampleBytes(20_000, i + round))),
    );
    for (const tier of tiers) {
      for (const [i, one] of stored.entries()) {
        await same(t, tier, one, sampleBytes(20_000, i + round));
      }
    }
    await Promise.all(tiers.map((tier) => tier.close()));
  }
});

test.serial(
  'a drive that vanishes while we run is left out at once, back it is used again',
  async (t) => {
    using area = scratch();
    const tier = await opened(area.drives, { settings: { probeMs: 20 } });
    const before = await put(tier, sampleBytes(9000, 1));
    const [first] = area.drives as [string];
    renameSync(first, `${first}-away`);
    const until = async (state: string): Promise<void> => {
      for (let i = 0; i < 200; i += 1) {
        if ((await tier.drives())[0]?.state === state) return;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      t.fail(`never ${state}`);
    };
    await until('missing');
    const during = await put(tier, sampleBytes(9000, 2));
    t.is((during.location as SegmentLocation).away, 1);
    await same(t, tier, before, sampleBytes(9000, 1));
    await same(t, tier, during, sampleBytes(9000, 2));
    renameSync(`${first}-away`, first);
    await until('up');
    const after = await put(tier, sampleBytes(9000, 3));
    t.is((after.location as SegmentLocation).away, undefined);
    await tier.close();
  },
);

test.serial(
  'a drive emptied under running processes is refilled, and nothing rests on deleted files',
  async (t) => {
    using area = scratch();
    const settings = { probeMs: 20, segmentBytes: MiB };
    const api = await opened(area.drives, { settings });
    const worker = await opened(area.drives, {
      settings,
      deps: { role: 'worker', processName: 'worker' },
    });
    const objects: { bytes: Uint8Array; stored: Stored }[] = [];
    const write = async (size: number): Promise<void> => {
      const bytes = sampleBytes(size, objects.length + 1);
      objects.push({ bytes, stored: await put(api, bytes) });
    };
    for (const size of [100, 9000, 300_000]) await write(size);
    const [first] = area.drives as [string];
    rmSync(first, { recursive: true });
    mkdirSync(first);
    // Some before anybody has noticed, some after.
    for (let i = 0; i < 30; i += 1) await write(i % 7 === 0 ? 270_000 : 500 + i);
    for (let i = 0; i < 100; i += 1) {
      const { repaired, lost } = await finished(worker.heal());
      t.deepEqual(lost, []);
      if (repaired > 0) await write(700);
      if ((await api.drives())[0]?.state === 'up') break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    t.is((await api.drives())[0]?.state, 'up');
    t.is((await worker.drives())[0]?.state, 'up');
    for (const { bytes, stored } of objects) await same(t, api, stored, bytes);
    await api.close();
    await worker.close();
    for (const i of [2, 4]) renameSync(area.drives[i] as string, `${area.drives[i]}-away`);
    const reader = await opened(area.drives, { deps: { role: 'primary' } });
    for (const { bytes, stored } of objects) await same(t, reader, stored, bytes);
    await reader.close();
  },
);

// -------------------------------------------------------------------------------------------- rot

test.serial(
  'rot of 1 to m lanes: right bytes, and scrub makes them whole; one more: an error',
  async (t) => {
    using area = scratch();
    for (const size of [20_000, 300_000, 5 * MiB]) {
      for (const damaged of [1, 2, 3]) {
        const writer = await opened(area.drives);
        const bytes = sampleBytes(size, damaged);
        // Four at once, so that every data lane of a batch holds something.
        const [stored] = (await Promise.all(
          [0, 1, 2, 3].map((i) => put(writer, i === 0 ? bytes : sampleBytes(size, 10 + i))),
        )) as [Stored];
        await writer.close();
        const { location } = stored;
        const lane = location.kind === 'segment' ? location.lane : 0;
        const lanes = [lane, (lane + 1) % 4, 5].slice(0, damaged);
        const originals = area.drives.map(printsOf);
        for (const one of lanes) rot(area.drives, location, one);
        const tier = await opened(area.drives, { deps: { role: 'worker' } });
        if (damaged === 3) {
          await failsWith(t, 'Corrupt', async () => bytesOf(await tier.read(location)));
          const { lost } = await finished(tier.scrub());
          t.true(lost.length > 0, 'scrub tells what is beyond repair');
          await tier.close();
          for (const drive of area.drives) rmSync(drive, { recursive: true });
          continue;
        }
        await same(t, tier, stored, bytes);
        const { repaired, lost } = await finished(tier.scrub());
        t.deepEqual(lost, []);
        t.is(repaired, damaged);
        t.is((await finished(tier.scrub())).repaired, 0);
        await tier.close();
        for (const [i, files] of originals.entries()) {
          t.deepEqual(printsOf(area.drives[i] as string), files, 'byte for byte as before');
        }
      }
    }
  },
);

test.serial(
  'a file swapped, cut off, missing or of another object is found and rebuilt',
  async (t) => {
    using area = scratch();
    const writer = await opened(area.drives, { settings: { segmentBytes: MiB } });
    // Ids that end alike put the same lane on the same drive: only the id tells them apart.
    const alike = (): string => `${newLocationId(realClock, realRandom).slice(0, 24)}00000000`;
    const one = await put(writer, sampleBytes(400_000, 1), alike());
    const two = await put(writer, sampleBytes(400_000, 2), alike());
    const small = await Promise.all(
      Array.from({ length: 32 }, (_, i) => put(writer, sampleBytes(3000, i))),
    );
    await writer.close();
    const originals = area.drives.map(printsOf);
    const [a, b, c, d] = area.drives as [string, string, string, string];
    const swap = (x: string, y: string): void => {
      renameSync(x, `${y}-x`);
      renameSync(y, x);
      renameSync(`${y}-x`, y);
    };
    const { segment } = (small[0] as Stored).location as SegmentLocation;
    const laneFile = (lane: number): string =>
      area.drives[driveOf((small[0] as Stored).location as SegmentLocation, lane)] as string;
    // Lanes of equal length: only the lane in the head tells them apart.
    const [lane0, lane1] = [laneFile(0), laneFile(1)];
    const damages: [string, () => void][] = [
      ['lanes swapped', () => swap(shardFile(a, one.location.id), shardFile(b, one.location.id))],
      ['objects swapped', () => swap(shardFile(a, one.location.id), shardFile(a, two.location.id))],
      ['cut off', () => truncateSync(shardFile(c, one.location.id), 50_000)],
      ['emptied', () => truncateSync(shardFile(d, two.location.id), 0)],
      ['missing', () => rmSync(shardFile(b, two.location.id))],
      ['segments swapped', () => swap(segmentFile(lane0, segment), segmentFile(lane1, segment))],
      ['segment missing', () => rmSync(segmentFile(c, segment))],
      ['segment cut off', () => truncateSync(segmentFile(d, segment), 5000)],
    ];
    for (const [what, damage] of damages) {
      damage();
      const tier = await opened(area.drives, { deps: { role: 'worker' } });
      await same(t, tier, one, sampleBytes(400_000, 1));
      await same(t, tier, two, sampleBytes(400_000, 2));
      for (const [i, stored] of small.entries()) await same(t, tier, stored, sampleBytes(3000, i));
      const { repaired, lost } = await finished(tier.scrub());
      t.true(repaired > 0, what);
      t.deepEqual(lost, [], what);
      t.is((await finished(tier.scrub())).repaired, 0, `${what}: whole after one pass`);
      await tier.close();
      if (what === 'segments swapped') {
        // Between the pieces of a swapped segment other bytes stay, which nobody takes for data.
        const others = [laneFile(2), laneFile(4)];
        for (const drive of others) renameSync(drive, `${drive}-away`);
        const reader = await opened(area.drives, { deps: { role: 'primary' } });
        for (const [i, stored] of small.entries()) {
          await same(t, reader, stored, sampleBytes(3000, i));
        }
        await reader.close();
        for (const drive of others) renameSync(`${drive}-away`, drive);
        originals.splice(0, 6, ...area.drives.map(printsOf));
      }
      for (const [i, files] of originals.entries()) {
        t.deepEqual(printsOf(area.drives[i] as string), files, what);
      }
    }
  },
);

test.serial('an emptied drive is refilled byte for byte from the others alone', async (t) => {
  using area = scratch();
  const writer = await opened(area.drives, { settings: { segmentBytes: MiB } });
  const objects: { bytes: Uint8Array; stored: Stored }[] = [];
  for (const size of [100, 5000, 200_000, 300_000, 2 * MiB + 1]) {
    for (let i = 0; i < 4; i += 1) {
      const bytes = sampleBytes(size + i, i);
      objects.push({ bytes, stored: await put(writer, bytes) });
    }
  }
  await writer.close();
  const originals = area.drives.map(printsOf);
  for (const gone of [[0], [2, 5]]) {
    for (const i of gone) {
      rmSync(area.drives[i] as string, { recursive: true });
      mkdirSync(area.drives[i] as string);
    }
    // Stands still, then is turned: how long the heal took says nothing.
    let wall = Date.now();
    const clock = { wall: () => wall, now: () => wall };
    const tier = await opened(area.drives, { deps: { role: 'worker', clock } });
    const states = (await tier.drives()).map(({ state }) => state);
    for (const i of gone) t.is(states[i], 'healing');
    t.deepEqual((await finished(tier.heal())).lost, []);
    t.is((await tier.drives())[gone[0] as number]?.state, 'healing', 'others may not know yet');
    wall += 3_600_000;
    t.is((await finished(tier.heal())).repaired, 0);
    t.true((await tier.drives()).every(({ state }) => state === 'up'));
    await tier.close();
    for (const [i, files] of originals.entries()) {
      t.deepEqual(printsOf(area.drives[i] as string), files, `drive ${i}`);
    }
  }
  // And it counts: the two that never fell now fall.
  for (const i of [1, 3]) renameSync(area.drives[i] as string, `${area.drives[i]}-away`);
  const tier = await opened(area.drives, { deps: { role: 'primary' } });
  for (const { bytes, stored } of objects) await same(t, tier, stored, bytes);
  await tier.close();
});

// ------------------------------------------------------------------------------------- golden
// files

/** Ids and time by counting, so that files come out the same every time. */
function counted(): { clock: Clock; random: Random } {
  let count = 0;
  return {
    clock: { wall: () => 1_790_000_000_000, now: () => 1_790_000_000_000 },
    random: {
      bytes: (length) => Uint8Array.from({ length }, () => (count = (count * 5 + 3) & 0xff)),
    },
  };
}

const GOLDEN = join(import.meta.dirname, 'golden', 'node-group');

async function writeGolden(drives: readonly string[]): Promise<Stored[]> {
  const { clock, random } = counted();
  const settings = { segmentBytes: 256 * KiB, smallBytesMax: 16 * KiB };
  const tier = await opened(drives, { settings, deps: { clock, random } });
  const next = (): string => newLocationId(clock, random);
  const small = await Promise.all(
    [700, 0, 100].map((size, i) => put(tier, sampleBytes(size, i), next())),
  );
  const alone = await put(tier, sampleBytes(50, 7), next());
  const large = await put(tier, sampleBytes(16 * KiB + 100, 9), next());
  await tier.close();
  return [...small, alone, large];
}

test.serial('what is written today is what format 1 is, and format 1 is read', async (t) => {
  using area = scratch();
  const stored = await writeGolden(area.drives);
  const locations = join(GOLDEN, 'locations.golden.json');
  const pathOf = (i: number): string => join(GOLDEN, `drive-${i}.golden.bin`);
  if (process.env['FIRN_WRITE_GOLDEN'] !== undefined) {
    mkdirSync(GOLDEN, { recursive: true });
    writeFileSync(locations, `${JSON.stringify(stored, null, 1)}\n`);
    for (const [i, drive] of area.drives.entries()) {
      writeFileSync(pathOf(i), packed(filesOf(drive)));
    }
  }
  t.deepEqual(stored, JSON.parse(readFileSync(locations, 'utf8')));
  for (const [i, drive] of area.drives.entries()) {
    const golden = unpacked(readFileSync(pathOf(i)));
    const written = filesOf(drive);
    t.deepEqual(new Set(written.keys()), new Set(golden.keys()), `drive ${i}`);
    for (const [name, bytes] of golden) {
      t.is(Buffer.compare(written.get(name) ?? Buffer.alloc(0), bytes), 0, `${i}: ${name}`);
    }
    for (const [name, bytes] of golden) writeFileSync(join(drive, name), bytes);
  }
  const reader = await opened(area.drives, { deps: { role: 'primary' } });
  const wanted = [sampleBytes(700, 0), sampleBytes(0, 1), sampleBytes(100, 2)];
  wanted.push(sampleBytes(50, 7), sampleBytes(16 * KiB + 100, 9));
  for (const [i, one] of stored.entries()) await same(t, reader, one, wanted[i] as Uint8Array);
  await reader.close();
});

/** Files of one drive in one: name, newline, length, newline, bytes. */
function packed(files: Map<string, Buffer>): Buffer {
  const parts = [...files]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([name, bytes]) => [Buffer.from(`${name}\n${bytes.length}\n`), bytes]);
  return Buffer.concat(parts);
}

function unpacked(all: Buffer): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  for (let at = 0; at < all.length;) {
    const nameEnd = all.indexOf(10, at);
    const lengthEnd = all.indexOf(10, nameEnd + 1);
    const length = Number(all.toString('latin1', nameEnd + 1, lengthEnd));
    const end = lengthEnd + 1 + length;
    files.set(all.toString('utf8', at, nameEnd), all.subarray(lengthEnd + 1, end));
    at = end;
  }
  return files;
}

test.serial('files of a newer format are refused loudly, not taken for damage', async (t) => {
  using area = scratch();
  const writer = await opened(area.drives);
  await writer.close();
  for (const name of ['firn-drive.json', 'firn-group.json']) {
    const path = join(area.drives[0] as string, name);
    const original = readFileSync(path, 'utf8');
    const [text] = original.split('\n') as [string];
    const newer = text.replace('"format":1', '"format":2');
    writeFileSync(path, `${newer}\n${checksumOf(Buffer.from(newer))}\n`);
    await failsWith(t, 'FormatUnknown', () => tierOn(area.drives).open());
    writeFileSync(path, original);
  }
});

// ------------------------------------------------------------------------------- crashes of
// processes

const CHILD = `
import { DriveTier } from ${JSON.stringify(join(import.meta.dirname, '../tiers/node-group/tier/node-group-tier.ts'))};
import { newLocationId } from ${JSON.stringify(join(import.meta.dirname, '../appliance/model/ids.ts'))};
import { sampleBytes } from ${JSON.stringify(join(import.meta.dirname, 'contract/tier.ts'))};
const clock = { wall: () => Date.now(), now: () => Date.now() };
const random = { bytes: (n) => crypto.getRandomValues(new Uint8Array(n)) };
const tier = new DriveTier(
  { name: 'hot', code: '4+2', drives: [JSON.parse(process.argv[1])], arenaBytes: 16 << 20, segmentBytes: 2 << 20 },
  { clock, random, storeId: 'store-1', role: 'api', processName: process.argv[2] });
await tier.open();
let seed = 0;
const one = async (size) => {
  const mine = ++seed;
  const body = sampleBytes(size, mine);
  const { location } = await tier.put({ id: newLocationId(clock, random), body, owner: { bucketId: '00112233445566ff', key: 'k' + mine } });
  process.stdout.write(JSON.stringify({ mine, size, location }) + '\\n');
};
for (let i = 0; i < 16; i++) (async () => { for (;;) await one(500 + ((i * 977) % 9000)); })();
(async () => { for (;;) await one(700000); })();
`;

interface Acked {
  mine: number;
  size: number;
  location: BlobLocation;
}

test.serial('kill -9 of a writer loses nothing that it had acknowledged', async (t) => {
  using area = scratch();
  const acked: Acked[] = [];
  for (let round = 0; round < 3; round += 1) {
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', CHILD, JSON.stringify(area.drives), 'api-1'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let seen = 0;
    for await (const line of createInterface(child.stdout)) {
      try {
        acked.push(JSON.parse(line) as Acked);
      } catch {
        continue; // the last line was cut off by the kill: not acknowledged to anybody
      }
      seen += 1;
      if (seen === 300 + round * 200) child.kill('SIGKILL');
    }
    t.true(seen >= 300);
  }
  const tier = await opened(area.drives, { settings: { segmentBytes: 2 * MiB } });
  t.true(
    area.drives.every((drive) => readdirSync(join(drive, 'tmp')).length === 0),
    'swept',
  );
  // What the kill cut is no damage: the walk reads to the log's end, and scrub alarms of nothing.
  const walked = new Map<string, BlobLocation>();
  for await (const { group, segment } of tier.segments()) {
    for await (const record of tier.records(group, segment)) {
      walked.set(record.location.id, record.location);
      t.is(record.bucketId, '00112233445566ff');
    }
  }
  for (const { mine, size, location } of acked) {
    await same(t, tier, { location }, sampleBytes(size, mine));
    if (location.kind === 'segment') t.deepEqual(walked.get(location.id), location, 'replayed');
  }
  // Of a set that was cut between two renames only metadata could say that nobody was told of it.
  const told = new Set(acked.map(({ location }) => location.id));
  const { lost, suspects } = await finished(tier.scrub());
  t.deepEqual(lost, []);
  for (const { location, key } of suspects) {
    t.regex(key, /^k\d+$/);
    t.false(told.has(location.id), 'whoever was told of it can read it');
  }
  t.log(`left behind: ${suspects.map(({ what }) => what).join(', ') || 'nothing'}`);
  await tier.close();
  t.log(`${acked.length} acknowledged writes over 3 kills`);
});

// ---------------------------------------------------------------------------------- simulated
// drives

interface Simulated {
  media: Medium[];
  paths: string[];
  options: Options;
}

function simulated(more: Options = {}): Simulated {
  const media = Array.from({ length: 6 }, () => new Medium());
  const paths = media.map((_, i) => `sim-${i}`);
  const openDrive = (path: string): SimulatedDrive =>
    new SimulatedDrive(path, media[paths.indexOf(path)] as Medium);
  return {
    media,
    paths,
    options: {
      settings: {
        segmentBytes: 128 * KiB,
        smallBytesMax: 16 * KiB,
        stallMs: 200,
        breakerMs: 60_000,
        ...more.settings,
      },
      deps: { openDrive, ...more.deps },
    },
  };
}

/** Writes under a tier whose power fails at some instant; what was acknowledged until then. */
async function untilPowerFails(sim: Simulated, draw: Seeded): Promise<Acked[]> {
  const tier = await opened(sim.paths, sim.options);
  const acked: Acked[] = [];
  let on = true;
  const writer = async (index: number): Promise<void> => {
    for (let i = 0; on && i < 40; i += 1) {
      const size = draw.next() < 0.85 ? draw.below(4000) : 17_000 + draw.below(60_000);
      const mine = index * 1000 + i;
      const { location } = await put(tier, sampleBytes(size, mine));
      if (on) acked.push({ mine, size, location });
    }
  };
  const writers = Array.from({ length: 4 }, (_, i) => writer(i));
  const turns = 5 + draw.below(120);
  for (let i = 0; i < turns; i += 1) await new Promise((resolve) => setImmediate(resolve));
  on = false;
  for (const medium of sim.media) medium.powered = false;
  // The process is gone with the power: its promises never settle, and nobody waits for them.
  void Promise.allSettled(writers);
  return acked;
}

async function lossesAfterPowerFailure(sim: Simulated, draw: Seeded): Promise<string[]> {
  const acked = await untilPowerFails(sim, draw);
  const after: Simulated = { ...sim, media: sim.media.map((medium) => survivor(medium, draw)) };
  const openDrive = (path: string): SimulatedDrive =>
    new SimulatedDrive(path, after.media[sim.paths.indexOf(path)] as Medium);
  const tier = await opened(sim.paths, {
    settings: sim.options.settings ?? {},
    deps: { openDrive, role: 'worker' },
  });
  const losses: string[] = [];
  for (const { mine, size, location } of acked) {
    const got = await tier
      .read(location)
      .then(bytesOf)
      .catch((error: unknown) => String(error));
    if (typeof got === 'string') losses.push(got);
    else if (Buffer.compare(got, sampleBytes(size, mine)) !== 0) losses.push('wrong bytes');
  }
  // The sweep and rebuild find all of it without any metadata.
  const listed = new Set<string>();
  for await (const { location } of tier.list()) listed.add(location.id);
  for (const { location } of acked) {
    if (losses.length === 0 && !listed.has(location.id)) losses.push('not listed');
  }
  await tier.close();
  return losses;
}

/** What the medium holds after the crash, out of reach of the dead process. */
function survivor(medium: Medium, draw: Seeded): Medium {
  medium.crash(draw);
  const next = new Medium();
  for (const [path, node] of medium.names) {
    next.names.set(path, node);
    next.durableNames.set(path, node);
  }
  for (const directory of medium.directories) next.directories.add(directory);
  medium.names.clear();
  medium.powered = false;
  return next;
}

test.serial(
  'power failure at any instant: torn and lost writes, but no acknowledged one',
  async (t) => {
    for (let i = 0; i < 40; i += 1) {
      const losses = await lossesAfterPowerFailure(simulated(), new Seeded(seed + i));
      t.deepEqual(losses, [], `seed ${seed + i}`);
    }
  },
);

test.serial('the same test notices drives that lie about syncs (it can fail)', async (t) => {
  for (const lie of ['ignoresSync', 'ignoresDirectorySync'] as const) {
    let lost = 0;
    for (let i = 0; i < 15 && lost === 0; i += 1) {
      const sim = simulated();
      // Founded by an honest life of the drives, so that only data is at stake.
      await (await opened(sim.paths, sim.options)).close();
      for (const medium of sim.media) medium[lie] = true;
      lost += (await lossesAfterPowerFailure(sim, new Seeded(seed + i))).length;
    }
    t.true(lost > 0, lie);
  }
});

test.serial('waiting writes share syncs: 64 small PUTs are one or two batches', async (t) => {
  const sim = simulated({ settings: { segmentBytes: 2 * MiB } });
  const tier = await opened(sim.paths, sim.options);
  await put(tier, sampleBytes(10, 1));
  const before = sim.media.map(({ writes }) => writes);
  await Promise.all(Array.from({ length: 64 }, (_, i) => put(tier, sampleBytes(1000, i))));
  for (const [i, medium] of sim.media.entries()) t.true(medium.writes - (before[i] ?? 0) <= 2);
  await tier.close();
});

test.serial(
  'a drive that fails a write is named in the location, healed later, never synced twice',
  async (t) => {
    for (const [operation, path] of [
      ['write', 'segments'],
      ['write', 'tmp'],
      ['sync', 'tmp'],
    ] as const) {
      const sim = simulated();
      const tier = await opened(sim.paths, sim.options);
      await put(tier, sampleBytes(100, 1));
      await put(tier, sampleBytes(50_000, 1));
      const bad = sim.media[2] as Medium;
      bad.faults = [{ operation, code: 'EIO', path }];
      const size = path === 'tmp' ? 50_000 : 100;
      const stored = await Promise.all(
        Array.from({ length: 8 }, (_, i) => put(tier, sampleBytes(size + i, i))),
      );
      t.true(stored.some(({ location }) => needsHeal(location)));
      for (const [i, { location }] of stored.entries()) {
        await same(t, tier, { location }, sampleBytes(size + i, i));
        const { unconfirmed } = location as ShardLocation;
        if (unconfirmed === 0) continue;
        t.is(bits(unconfirmed), 1);
        const lane = Math.log2(unconfirmed);
        t.is(driveOf(location as ShardLocation, lane), 2, 'it names the lane of that drive');
      }
      t.is((await tier.drives())[2]?.state, 'failing');
      t.is(bad.syncsAfterError, 0, 'a sync is never repeated on the same file');
      await tier.close();
      bad.faults = [];
      const later = await opened(sim.paths, {
        ...sim.options,
        deps: { ...sim.options.deps, role: 'worker' },
      });
      for (const { location } of stored) {
        t.is(await later.healLocation(location as ShardLocation), 'whole');
      }
      // Whole again: the other five may now lose two.
      for (const i of [0, 4])
        (sim.media[i] as Medium).faults = [{ operation: 'read', code: 'EIO' }];
      for (const [i, { location }] of stored.entries()) {
        await same(t, later, { location }, sampleBytes(size + i, i));
      }
      await later.close();
    }
  },
);

test.serial('an acknowledgement always stands on one drive more than the bytes need', async (t) => {
  for (const size of [900, 50_000]) {
    const sim = simulated();
    const tier = await opened(sim.paths, sim.options);
    await put(tier, sampleBytes(100, 1));
    for (const i of [1, 3]) {
      (sim.media[i] as Medium).faults = [{ operation: 'write', code: 'EIO' }];
    }
    const stored = await Promise.all(
      Array.from({ length: 12 }, (_, i) => put(tier, sampleBytes(size + i, i))),
    );
    for (const [i, { location }] of stored.entries()) {
      if (location.kind === 'remote') return t.fail();
      const away = bits(location.away ?? 0);
      const data = 4 - bits(location.empty);
      const unused = location.kind === 'segment' ? bits(location.empty) : away;
      const durable = 6 - unused - bits(location.unconfirmed);
      t.true(durable >= data + 1, JSON.stringify(location));
      await same(t, tier, { location }, sampleBytes(size + i, i));
    }
    await tier.close();
  }
});

test.serial('a drive that hangs delays one write by the stall time, then none', async (t) => {
  const sim = simulated();
  const tier = await opened(sim.paths, sim.options);
  await put(tier, sampleBytes(100, 1));
  (sim.media[4] as Medium).faults = [{ operation: 'write', code: 'HANG' }];
  const stored: Stored[] = [];
  for (let i = 0; i < 12; i += 1) stored.push(await put(tier, sampleBytes(200 + i, i)));
  const large = await put(tier, sampleBytes(90_000, 3));
  t.is((await tier.drives())[4]?.state, 'failing');
  t.true(stored.filter(({ location }) => needsHeal(location)).length <= 1);
  t.false(needsHeal(large.location), 'written around it');
  for (const [i, one] of stored.entries()) await same(t, tier, one, sampleBytes(200 + i, i));
  await same(t, tier, large, sampleBytes(90_000, 3));
  await tier.close();
});

test.serial('a hanging read is overtaken by decoding from the others', async (t) => {
  const sim = simulated();
  const tier = await opened(sim.paths, sim.options);
  const stored = await put(tier, sampleBytes(15_000, 1));
  await tier.close();
  const reader = await opened(sim.paths, sim.options);
  const location = stored.location as SegmentLocation;
  const slow = sim.media[driveOf(location, location.lane)] as Medium;
  slow.faults = [{ operation: 'read', code: 'HANG', path: 'segments' }];
  await same(t, reader, stored, sampleBytes(15_000, 1));
  await reader.close();
});

test.serial('two drives that hang under reads of one small object hold nobody up', async (t) => {
  const sim = simulated();
  const tier = await opened(sim.paths, sim.options);
  const stored = await put(tier, sampleBytes(15_000, 1));
  await tier.close();
  const reader = await opened(sim.paths, sim.options);
  const location = stored.location as SegmentLocation;
  for (const lane of [location.lane, 4]) {
    const medium = sim.media[driveOf(location, lane)] as Medium;
    medium.faults = [{ operation: 'read', code: 'HANG', path: 'segments' }];
  }
  const begun = performance.now();
  for (let i = 0; i < 4; i += 1) await same(t, reader, stored, sampleBytes(15_000, 1));
  t.true(performance.now() - begun < 5000);
  await reader.close();
});

test.serial(
  'what hangs under a read that has no other way is an error, not for ever',
  async (t) => {
    const sim = simulated();
    const tier = await opened(sim.paths, sim.options);
    const stored = await put(tier, sampleBytes(15_000, 1));
    await tier.close();
    const reader = await opened(sim.paths, sim.options);
    for (const medium of sim.media) {
      medium.faults = [{ operation: 'read', code: 'HANG', path: 'segments' }];
    }
    await failsWith(t, 'DriveUnavailable', () => reader.read(stored.location));
    await reader.close();
  },
);

test.serial('a drive that hangs does not hold who gives an upload up, or deletes', async (t) => {
  const sim = simulated();
  const tier = await opened(sim.paths, sim.options);
  const stored = await put(tier, sampleBytes(60_000, 1));
  const hang = (): void => {
    (sim.media[2] as Medium).faults = [
      { operation: 'write', code: 'HANG' },
      { operation: 'open', code: 'HANG' },
    ];
  };
  async function* cut(): AsyncGenerator<Uint8Array> {
    yield sampleBytes(2 * MiB, 1);
    hang();
    yield sampleBytes(2 * MiB, 2);
    throw new Error('the client is gone');
  }
  const id = newLocationId(realClock, realRandom);
  await t.throwsAsync(tier.put({ id, body: cut(), owner: OWNER }), {
    message: 'the client is gone',
  });
  await failsWith(t, 'DriveUnavailable', () => tier.delete(stored.location));
  t.is((await tier.drives())[2]?.state, 'failing');
  await tier.close();
});

test.serial(
  'a drive that hangs or fails at the start stops neither it nor the others',
  async (t) => {
    for (const fault of [
      { operation: 'open', code: 'HANG' },
      { operation: 'read', code: 'EIO', path: 'firn-' },
    ] as const) {
      const sim = simulated({ settings: { probeMs: 100 } });
      const tier = await opened(sim.paths, sim.options);
      const stored = await put(tier, sampleBytes(60_000, 1));
      await tier.close();
      (sim.media[2] as Medium).faults = [fault];
      const again = await opened(sim.paths, sim.options);
      t.is((await again.drives())[2]?.state, 'missing', fault.code);
      await same(t, again, stored, sampleBytes(60_000, 1));
      await same(t, again, await put(again, sampleBytes(3000, 2)), sampleBytes(3000, 2));
      (sim.media[2] as Medium).faults = [];
      for (let i = 0; i < 100 && (await again.drives())[2]?.state !== 'up'; i += 1) {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      t.is((await again.drives())[2]?.state, 'up', 'back as soon as it answers');
      await again.close();
    }
  },
);

test.serial('one bad sector that is read again and again does not rest its drive', async (t) => {
  for (const size of [9000, 60_000]) {
    const sim = simulated();
    const tier = await opened(sim.paths, sim.options);
    const stored = await put(tier, sampleBytes(size, 1));
    await tier.close();
    const reader = await opened(sim.paths, sim.options);
    const location = stored.location as SegmentLocation | ShardLocation;
    const bad = driveOf(location, location.kind === 'segment' ? location.lane : 0);
    (sim.media[bad] as Medium).faults = ['segments', 'shards'].map((path) => ({
      operation: 'read',
      code: 'EIO',
      path,
    }));
    for (let i = 0; i < 6; i += 1) await same(t, reader, stored, sampleBytes(size, 1));
    const drive = (await reader.drives())[bad];
    t.is(drive?.state, 'up', drive?.note);
    t.true((drive?.errors ?? 0) > 0);
    await reader.close();
  }
});

test.serial(
  'a drive that hangs under a large read is decoded around, in this read and later ones',
  async (t) => {
    const sim = simulated();
    const tier = await opened(sim.paths, sim.options);
    const bytes = sampleBytes(900_000, 1);
    const stored = await put(tier, bytes);
    await tier.close();
    const reader = await opened(sim.paths, sim.options);
    const location = stored.location as ShardLocation;
    const slow = sim.media[driveOf(location, 1)] as Medium;
    slow.faults = [{ operation: 'read', code: 'HANG', path: 'shards' }];
    // Far below the 25 s after which a read is given up.
    const begun = performance.now();
    for (let i = 0; i < 4; i += 1) await same(t, reader, stored, bytes);
    t.true(performance.now() - begun < 5000);
    await reader.close();
  },
);

test.serial(
  'a full drive is written around; full drives refuse writes, but read and delete',
  async (t) => {
    const sim = simulated({ settings: { segmentBytes: 2 * MiB } });
    const tier = await opened(sim.paths, sim.options);
    const first = await put(tier, sampleBytes(60_000, 1));
    const small = await put(tier, sampleBytes(600, 1));
    const limit = (medium: Medium, free: number): void => {
      medium.capacityBytes = medium.usedBytes + free;
    };
    limit(sim.media[3] as Medium, 5000);
    const around = await put(tier, sampleBytes(60_000, 2));
    t.true(
      ((around.location as ShardLocation).unconfirmed & 63) !== 0 ||
        around.location.kind === 'shards',
    );
    await same(t, tier, around, sampleBytes(60_000, 2));
    await tier.look();
    t.is((await tier.drives())[3]?.state, 'full');
    const shortened = await put(tier, sampleBytes(60_000, 3));
    t.is((shortened.location as ShardLocation).away, 8);
    t.false(needsHeal(shortened.location));
    for (const medium of sim.media) limit(medium, 1000);
    await tier.look();
    await failsWith(t, 'InsufficientCapacity', () => put(tier, sampleBytes(60_000, 4)));
    await failsWith(t, 'InsufficientCapacity', () => put(tier, sampleBytes(600, 4)));
    await same(t, tier, first, sampleBytes(60_000, 1));
    await same(t, tier, small, sampleBytes(600, 1));
    await tier.delete(first.location);
    await tier.delete(small.location);
    await failsWith(t, 'TierMissing', () => tier.read(first.location));
    for (const medium of sim.media) limit(medium, 1e9);
    await tier.close();
  },
);

test.serial(
  'between 95 and 98 % only workers write, so that compaction can free room',
  async (t) => {
    const sim = simulated();
    for (const medium of sim.media) medium.capacityBytes = 100 * MiB;
    const api = await opened(sim.paths, sim.options);
    const deps = { ...sim.options.deps, role: 'worker', processName: 'worker' } as const;
    const worker = await opened(sim.paths, { ...sim.options, deps });
    for (const medium of sim.media) medium.capacityBytes = 100 * MiB;
    for (const medium of sim.media) {
      const file = await new SimulatedDrive('x', medium).open('filler', { mode: 'create' });
      await file.resize(96.5 * MiB);
    }
    await api.look();
    await worker.look();
    await failsWith(t, 'InsufficientCapacity', () => put(api, sampleBytes(600, 4)));
    const stored = await put(worker, sampleBytes(600, 4));
    await same(t, api, stored, sampleBytes(600, 4));
    await api.close();
    await worker.close();
  },
);

test.serial(
  'too many failing drives: the write fails, nothing is acknowledged, the next succeeds',
  async (t) => {
    const sim = simulated({ settings: { breakerMs: 1 } });
    const tier = await opened(sim.paths, sim.options);
    for (const medium of sim.media.slice(0, 5)) {
      medium.faults = [{ operation: 'write', code: 'EIO' }];
    }
    await failsWith(t, 'DriveUnavailable', () => put(tier, sampleBytes(600, 4)));
    await failsWith(t, 'DriveUnavailable', () => put(tier, sampleBytes(60_000, 4)));
    for (const medium of sim.media) medium.faults = [];
    await new Promise((resolve) => setTimeout(resolve, 5));
    await tier.look();
    const stored = await put(tier, sampleBytes(60_000, 4));
    await same(t, tier, stored, sampleBytes(60_000, 4));
    await tier.close();
  },
);

// ------------------------------------------------------------------------------- segments for
// compaction

test.serial(
  'a segment tells its records and its dead, and goes only as a whole and settled',
  async (t) => {
    using area = scratch();
    const tier = await opened(area.drives, { deps: { role: 'worker' } });
    const objects = new Map<string, Stored>();
    await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const stored = await tier.put({
          id: newLocationId(realClock, realRandom),
          body: sampleBytes(1000 + i, i),
          owner: { bucketId: OWNER.bucketId, key: `key/${i}` },
        });
        objects.set(`key/${i}`, stored);
      }),
    );
    const all = async () => {
      const list = [];
      for await (const one of tier.segments()) list.push(one);
      return list;
    };
    const [open] = await all();
    t.false(open?.settled);
    t.is(open?.openedAt, locationBirth(open?.segment ?? ''));
    await failsWith(t, 'InvalidRequest', () => tier.freeSegment(0, open?.segment ?? ''));
    await tier.close();
    const worker = await opened(area.drives, { deps: { role: 'worker' } });
    const again = async () => {
      const list = [];
      for await (const one of worker.segments()) list.push(one);
      return list;
    };
    const dead = [...objects.values()].slice(0, 10);
    for (const { location } of dead) await worker.delete(location);
    for (const { location } of dead) await worker.delete(location);
    const [sealed] = await again();
    t.true(sealed?.settled);
    t.is(
      sealed?.deadBytes,
      dead.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    );
    t.true((sealed?.extentBytes ?? 0) > 10_000 && (sealed?.extentBytes ?? 0) < MiB);
    const records = [];
    for await (const record of worker.records(0, sealed?.segment ?? '')) records.push(record);
    t.is(records.length, 40);
    for (const { key, location, length, bucketId } of records) {
      t.is(bucketId, OWNER.bucketId);
      t.deepEqual(location, objects.get(key)?.location as SegmentLocation);
      t.is(length, location.length);
    }
    await worker.freeSegment(0, sealed?.segment ?? '');
    t.deepEqual(await again(), []);
    await failsWith(t, 'TierMissing', () => worker.read(dead[0]?.location as BlobLocation));
    t.true(area.drives.every((drive) => readdirSync(join(drive, 'segments')).length === 0));
    await worker.close();
  },
);

test.serial('a segment freed while a drive was away is no loss when it is back', async (t) => {
  using area = scratch();
  const writer = await opened(area.drives);
  const { location } = await put(writer, sampleBytes(3000, 1));
  await writer.close();
  const worker = await opened(area.drives, { deps: { role: 'worker' } });
  const { segment, lane } = location as SegmentLocation;
  const drive = area.drives[driveOf(location as SegmentLocation, lane)] as string;
  renameSync(drive, `${drive}-away`);
  await worker.look();
  await worker.freeSegment(0, segment);
  renameSync(`${drive}-away`, drive);
  await worker.look();
  t.true((await worker.drives()).every(({ state }) => state === 'up'));
  t.true(existsSync(join(drive, 'segments', segment)));
  t.deepEqual((await finished(worker.scrub())).lost, []);
  for await (const one of worker.segments()) t.fail(one.segment);
  t.false(existsSync(join(drive, 'segments', segment)));
  await worker.close();
});

test.serial(
  'a process that slept past its segment acknowledges nothing in it any more',
  async (t) => {
    let now = 1_790_000_000_000;
    let sleeps = false;
    const sim = simulated();
    const clock = { wall: () => now, now: () => now };
    const medium = sim.media[0] as Medium;
    const written = medium.wrote;
    medium.wrote = (path) => {
      written(path);
      // Between the write and its acknowledgement the process sleeps for three hours.
      if (sleeps && path.startsWith('segments')) {
        sleeps = false;
        now += 3 * 3_600_000;
      }
    };
    const tier = await opened(sim.paths, { ...sim.options, deps: { ...sim.options.deps, clock } });
    const before = await Promise.all([0, 1, 2, 3].map((i) => put(tier, sampleBytes(500, i))));
    sleeps = true;
    const after = await Promise.all([0, 1, 2, 3].map((i) => put(tier, sampleBytes(500, i + 4))));
    const segmentOf = ({ location }: Stored): string => (location as SegmentLocation).segment;
    t.false(sleeps);
    t.not(segmentOf(after[0] as Stored), segmentOf(before[0] as Stored));
    for (const [i, one] of after.entries()) await same(t, tier, one, sampleBytes(500, i + 4));
    // And an idle one opens a new one after an hour.
    now += 3_600_000;
    const later = await put(tier, sampleBytes(500, 9));
    t.not(segmentOf(later), segmentOf(after[0] as Stored));
    await tier.close();
  },
);

test.serial('a drive replaced between two looks takes its open segment with it', async (t) => {
  using area = scratch();
  const api = await opened(area.drives);
  const worker = await opened(area.drives, { deps: { role: 'worker', processName: 'worker' } });
  const before = await put(api, sampleBytes(900, 1));
  const [first] = area.drives as [string];
  rmSync(first, { recursive: true });
  mkdirSync(first);
  await worker.look();
  await api.look();
  const after = await put(api, sampleBytes(900, 2));
  const segmentOf = ({ location }: Stored): string => (location as SegmentLocation).segment;
  t.not(segmentOf(after), segmentOf(before));
  t.true(readdirSync(join(first, 'segments')).includes(segmentOf(after)));
  await api.close();
  await worker.close();
});

test.serial(
  'records that cannot be read are told, so that nobody takes them for dead',
  async (t) => {
    using area = scratch();
    const tier = await opened(area.drives);
    const stored = await Promise.all(
      Array.from({ length: 8 }, (_, i) => put(tier, sampleBytes(900 + i, i))),
    );
    await tier.close();
    const { segment } = (stored[0] as Stored).location as SegmentLocation;
    for (const i of [0, 1, 2]) flip(segmentFile(area.drives[i] as string, segment), 200);
    const worker = await opened(area.drives, { deps: { role: 'worker' } });
    let seen = 0;
    await failsWith(t, 'Corrupt', async () => {
      for await (const _ of worker.records(0, segment)) seen += 1;
    });
    t.true(seen > 0 && seen < 8);
    await worker.close();
  },
);

test.serial('two groups: each object in one, all found, one full group gives way', async (t) => {
  using area = scratch(12);
  const groups = [area.drives.slice(0, 6), area.drives.slice(6)];
  const tier = await opened([], { settings: { drives: groups } });
  const stored = await Promise.all(
    Array.from({ length: 60 }, (_, i) =>
      tier.put({
        id: newLocationId(realClock, realRandom),
        body: sampleBytes(900, i),
        owner: { bucketId: OWNER.bucketId, key: `k${i}` },
      }),
    ),
  );
  const used = new Set(stored.map(({ location }) => (location as SegmentLocation).group));
  t.is(used.size, 2);
  for (const [i, one] of stored.entries()) await same(t, tier, one, sampleBytes(900, i));
  await tier.close();
  t.throws(() => tierOn(area.drives.slice(0, 5)), { message: /needs 6/ });
});

test.serial(
  'sizes and ranges at every edge of stripes and blocks, healthy and degraded',
  async (t) => {
    using area = scratch();
    const tier = await opened(area.drives, { settings: { smallBytesMax: 0 } });
    const draw = new Seeded(seed);
    const objects: { bytes: Uint8Array; stored: Stored }[] = [];
    for (const base of [64, 65_536, 262_144, MiB, 2 * MiB]) {
      for (const delta of [-1, 0, 1]) {
        const bytes = sampleBytes(base + delta, base + delta);
        const streamed = delta === 0;
        const stored = streamed
          ? await tier.put({
              id: newLocationId(realClock, realRandom),
              body: reusedChunks(bytes, 10_007),
              owner: OWNER,
            })
          : await put(tier, bytes);
        t.is(stored.checksum, checksumOf(bytes));
        objects.push({ bytes, stored });
      }
    }
    await tier.close();
    for (const gone of [[], [1, 4]]) {
      for (const i of gone) renameSync(area.drives[i] as string, `${area.drives[i]}-away`);
      const reader = await opened(area.drives, { deps: { role: 'primary' } });
      for (const { bytes, stored } of objects) {
        await same(t, reader, stored, bytes);
        for (let i = 0; i < 12; i += 1) {
          const offset = draw.below(bytes.length);
          const length = 1 + draw.below(draw.next() < 0.5 ? 300 : bytes.length - offset);
          const range = { offset, length };
          const got = await bytesOf(await reader.read(stored.location, { range }));
          const wanted = bytes.subarray(offset, offset + length);
          t.is(Buffer.compare(got, wanted), 0, `${bytes.length}: ${offset}+${length}`);
        }
      }
      await reader.close();
    }
  },
);

test.serial('64 MiB and more goes in stripes of 4 MiB and comes back, also degraded', async (t) => {
  using area = scratch();
  const tier = await opened(area.drives, { settings: { arenaBytes: 32 * MiB } });
  const bytes = sampleBytes(64 * MiB + 12_345, 5);
  const stored = await tier.put({
    id: newLocationId(realClock, realRandom),
    sizeBytes: bytes.length,
    body: reusedChunks(bytes, 65_536),
    owner: OWNER,
  });
  t.is((stored.location as ShardLocation).stripeBytes, 4 * MiB);
  await same(t, tier, stored, bytes);
  await tier.close();
  for (const i of [0, 3]) renameSync(area.drives[i] as string, `${area.drives[i]}-away`);
  const reader = await opened(area.drives, { deps: { role: 'primary' } });
  await same(t, reader, stored, bytes);
  await reader.close();
});
