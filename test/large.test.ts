// Large objects and too many requests: what a read touches, that a drive which hangs costs
// milliseconds, that direct writes are the same bytes, and who is let in.

import { randomBytes } from 'node:crypto';
import test from 'ava';
import { GatheredBytes } from '../api/s3/body/gathered-bytes.ts';
import { Admission, bytesHeld } from '../api/s3/input/admission.ts';
import type { Drive, DriveFile } from '../appliance/model/drive.ts';
import { KiB, MiB } from '../appliance/model/limits.ts';
import type { ShardLocation } from '../appliance/model/location.ts';
import type { Body, Stored } from '../appliance/model/tier.ts';
import { newLocationId } from '../appliance/model/ids.ts';
import { LocalDrive } from '../tiers/node-group/drive/local-drive.ts';
import { buildNodeGroupTier } from '../tiers/hot/hot-tier.ts';
import type { NodeGroupTier } from '../appliance/model/node-group.ts';
import type { NodeGroupTierSettings } from '../tiers/node-group/settings.ts';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const clock = { wall: () => Date.now(), now: () => Date.now() };
const random = { bytes: (count: number) => randomBytes(count), int: (below: number) => below - 1 };

/** What was read of shard files, by drive; and drives whose reads never end. */
class Watched implements Drive {
  readonly path: string;
  readonly #drive: LocalDrive;
  readBytes = 0;
  /** Of files opened for direct writes, what a device can take directly: whole sectors, in place. */
  directBytes = 0;
  hangs = false;
  /** Syncs of the files opened to be written, one after another; the one that shall fail. */
  syncs = 0;
  failingSync = 0;

  constructor(path: string) {
    this.path = path;
    this.#drive = new LocalDrive(path);
  }

  async open(path: string, options: Parameters<Drive['open']>[1]): Promise<DriveFile> {
    const file = await this.#drive.open(path, options);
    if (options.direct === true) this.#watchWrites(file);
    if (options.mode === 'create') this.#watchSyncs(file);
    if (!path.startsWith('shards')) return file;
    const count = <T>(bytes: number, read: () => T): T => {
      this.readBytes += bytes;
      return read();
    };
    const never = new Promise<never>(() => undefined);
    return {
      read: (target, at) =>
        this.hangs ? never : count(target.length, () => file.read(target, at)),
      readNow: (target, at) => count(target.length, () => file.readNow(target, at)),
      write: (bytes, at) => file.write(bytes, at),
      sync: () => file.sync(),
      resize: (size) => file.resize(size),
      stat: () => file.stat(),
      close: () => file.close(),
    };
  }

  #watchSyncs(file: DriveFile): void {
    const sync = file.sync.bind(file);
    file.sync = () => {
      this.syncs += 1;
      return this.syncs === this.failingSync ? Promise.reject(new Error('EIO')) : sync();
    };
  }

  #watchWrites(file: DriveFile): void {
    const write = file.write.bind(file);
    file.write = (bytes, position) => {
      let at = position;
      for (const part of bytes instanceof Uint8Array ? [bytes] : bytes) {
        if ((part.byteOffset | part.length | at) % 512 === 0) this.directBytes += part.length;
        at += part.length;
      }
      return write(bytes, position);
    };
  }

  list = (directory: string): Promise<string[]> => this.#drive.list(directory);
  stat = (path: string): ReturnType<Drive['stat']> => this.#drive.stat(path);
  rename = (from: string, to: string): Promise<void> => this.#drive.rename(from, to);
  link = (from: string, to: string): Promise<boolean> => this.#drive.link(from, to);
  remove = (path: string): Promise<void> => this.#drive.remove(path);
  makeDirectory = (directory: string): Promise<void> => this.#drive.makeDirectory(directory);
  syncDirectory = (directory: string): Promise<void> => this.#drive.syncDirectory(directory);
  usage = (): ReturnType<Drive['usage']> => this.#drive.usage();
}

interface Opened {
  tier: NodeGroupTier;
  drives: Map<string, Watched>;
  directory: string;
  paths: string[];
  [Symbol.asyncDispose](): Promise<void>;
}

async function opened(settings: Partial<NodeGroupTierSettings> = {}): Promise<Opened> {
  const directory = mkdtempSync(join(tmpdir(), 'firn-large-'));
  const paths = [0, 1, 2, 3, 4, 5].map((i) => join(directory, String(i)));
  const drives = new Map<string, Watched>();
  const tier = buildNodeGroupTier(
    { name: 'hot', code: '4+2', drives: [paths], ...settings },
    {
      clock,
      random,
      storeId: 'ab'.repeat(16),
      role: 'worker',
      processName: 'test',
      openDrive(path) {
        const drive = new Watched(path);
        drives.set(path, drive);
        return drive;
      },
    },
  );
  await tier.open();
  return {
    tier,
    drives,
    directory,
    paths,
    async [Symbol.asyncDispose]() {
      await tier.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

const put = (tier: NodeGroupTier, body: Buffer): Promise<Stored> =>
  tier.put({
    id: newLocationId(clock, random),
    body,
    owner: { bucketId: 'cd'.repeat(16), key: 'film' },
  });

async function bytesOf(body: Body): Promise<Buffer> {
  if (body instanceof Uint8Array) return Buffer.from(body);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

const total = (drives: Map<string, Watched>): number =>
  [...drives.values()].reduce((sum, { readBytes }) => sum + readBytes, 0);

test.serial('a range reads the blocks it needs and nothing more', async (t) => {
  await using at = await opened();
  const bytes = randomBytes(12 * MiB + 777);
  const { location } = await put(at.tier, bytes);
  const ranges: [number, number, number][] = [
    // Within one block: one block.
    [5 * MiB + 70_000, 4 * KiB, 64 * KiB],
    // Over the edge of two blocks of one lane.
    [5 * MiB + 64 * KiB - 10, 20, 128 * KiB],
    // Over the edge of two stripes: the last block of one, the first of the next.
    [6 * MiB - 5, 10, 128 * KiB],
    // Two whole stripes.
    [2 * MiB, 2 * MiB, 2 * MiB],
    // From inside a block to inside another, three stripes on.
    [MiB + 100, 3 * MiB, 3 * MiB + 64 * KiB],
  ];
  // Footers are read once and kept as long as the files are open.
  t.true(bytes.equals(await bytesOf(await at.tier.read(location))));
  for (const [offset, length, most] of ranges) {
    for (const again of [false, true]) {
      // The least of some: on a busy machine a lane may be late and decoded around.
      let cost = Infinity;
      for (let i = 0; i < 5 && cost > most; i += 1) {
        const before = total(at.drives);
        const read = await bytesOf(await at.tier.read(location, { range: { offset, length } }));
        t.true(bytes.subarray(offset, offset + length).equals(read), `${offset}+${length}`);
        cost = total(at.drives) - before;
      }
      t.true(cost > 0 && cost <= most, `${offset}+${length}: ${cost} of ${most}, again ${again}`);
    }
  }
});

test.serial(
  'a drive that begins to hang inside a large read costs it no more than a moment',
  async (t) => {
    await using at = await opened();
    const bytes = randomBytes(20 * MiB + 3);
    for (const position of [0, 1, 2, 3, 4, 5]) {
      // Fresh each time: what was just read would be read from memory.
      const { location } = await put(at.tier, bytes);
      const drive = at.drives.get(at.paths[position] as string) as Watched;
      const chunks: Buffer[] = [];
      let longest = 0;
      let last = performance.now();
      for await (const chunk of (await at.tier.read(location)) as AsyncIterable<Uint8Array>) {
        longest = Math.max(longest, performance.now() - last);
        chunks.push(Buffer.from(chunk));
        // From the second piece on; what was asked for already never comes.
        drive.hangs = true;
        last = performance.now();
      }
      drive.hangs = false;
      t.true(bytes.equals(Buffer.concat(chunks)), `drive ${position}`);
      // A read is given up after five stall times, 25 s.
      t.true(longest < 5000, `${Math.round(longest)} ms`);
    }
  },
);

test.serial('direct writes leave the same files, with and without an even end', async (t) => {
  await using direct = await opened();
  await using cached = await opened({ directWrites: false });
  const shardsOf = ({ paths }: Opened, { id }: ShardLocation): string[] =>
    paths.map((path) => readFileSync(join(path, 'shards', id.slice(-2), id)).toString('base64'));
  for (const size of [4 * MiB, 9 * MiB + 12_345, 70 * MiB + 1]) {
    const body = randomBytes(size);
    const owner = { bucketId: 'cd'.repeat(16), key: 'film' };
    const id = newLocationId(clock, random);
    const beside = put(direct.tier, randomBytes(8 * MiB));
    const one = await direct.tier.put({ id, body, owner, sizeBytes: size });
    await beside;
    const two = await cached.tier.put({ id, body, owner, sizeBytes: size });
    t.deepEqual(one, two);
    const files = shardsOf(direct, one.location as ShardLocation);
    t.deepEqual(files, shardsOf(cached, two.location as ShardLocation), `${size} bytes`);
    t.true(body.equals(await bytesOf(await direct.tier.read(one.location))));
  }
  t.deepEqual(readdirSync(join(direct.paths[0] as string, 'tmp')), []);
});

test.serial(
  'large objects beside others reach drives as they can be written directly, lesser ones never',
  async (t) => {
    await using house = await opened();
    const written = (): number =>
      [...house.drives.values()].reduce((sum, { directBytes }) => sum + directBytes, 0);
    await put(house.tier, randomBytes(3 * MiB));
    t.is(written(), 0);
    await put(house.tier, randomBytes(16 * MiB));
    t.is(written(), 0, 'alone');
    await Promise.all([1, 2].map(() => put(house.tier, randomBytes(16 * MiB + 1000))));
    // Data and parity of all stripes but the last.
    t.true(written() >= 24 * MiB, `${written()} bytes`);
  },
);

test.serial(
  'a sync that fails while the body still comes is not forgotten by one that succeeds later',
  async (t) => {
    await using house = await opened();
    const body = randomBytes(32 * MiB);
    const drives = [...house.drives.values()];
    for (const drive of drives) drive.syncs = 0;
    const bad = drives[2] as Watched;
    bad.failingSync = 1;
    const { location } = await put(house.tier, body);
    t.true(
      drives.every((drive) => drive === bad || drive.syncs > 2),
      'synced as it came',
    );
    t.is(bad.syncs, 1, 'never again after an error');
    const { unconfirmed, id } = location as ShardLocation;
    t.is(unconfirmed.toString(2).replaceAll('0', ''), '1');
    const holders = house.paths.filter((path) => {
      const directory = join(path, 'shards', id.slice(-2));
      return existsSync(directory) && readdirSync(directory).includes(id);
    });
    t.is(holders.length, 5);
    t.false(holders.includes(bad.path));
    t.true(body.equals(await bytesOf(await house.tier.read(location))));
  },
);

test('normal load is let in, of one bucket too: 128 in flight, whatever they carry', (t) => {
  for (const [method, length] of [
    ['GET', undefined],
    ['PUT', 4 * KiB],
    ['PUT', 256 * KiB],
    ['PUT', 5 * 1024 * MiB],
  ] as const) {
    const admission = new Admission();
    const held = bytesHeld(method, length === undefined ? undefined : String(length));
    const all = Array.from({ length: 128 }, () => admission.enter('one', held));
    t.true(
      all.every((one) => one !== undefined),
      `${method} ${length}`,
    );
    for (const one of all) one?.leave();
    t.like(admission.state, { inFlight: 0, bytes: 0 });
    admission.close();
  }
});

test('a hot bucket is throttled before it hurts others, and let in again as it goes', (t) => {
  const admission = new Admission({ requestsMax: 100, requestsMin: 100, bucketMin: 10 });
  const hot = Array.from({ length: 200 }, () => admission.enter('hot', 0)).filter(
    (one) => one !== undefined,
  );
  t.is(hot.length, 75);
  const other = Array.from({ length: 200 }, () => admission.enter('other', 0));
  t.is(other.filter((one) => one !== undefined).length, 25);
  hot[0]?.leave();
  hot[0]?.leave();
  t.is(admission.state.inFlight, 99, 'leaving twice counts once');
  t.truthy(admission.enter('hot', 0));
  admission.close();
});

test('bounds of the settings hold, alone too, and each refusal is counted by what it met', (t) => {
  // Below what is always let in by default: the one that is given counts.
  const few = new Admission({ requestsMax: 20 });
  const all = Array.from({ length: 30 }, (_, i) => few.enter(`bucket ${i % 10}`, 0));
  t.is(all.filter((one) => one !== undefined).length, 20);
  t.like(few.state, { inFlight: 20, limit: 20, refused: { process: 10, bucket: 0, bytes: 0 } });
  few.close();
  const many = new Admission({ requestsMin: 1000 });
  t.is(many.state.limit, 1000, 'more than the default may be always let in');
  const mixed = new Admission({ requestsMax: 16, bucketMin: 4, bytesMax: MiB });
  for (let i = 0; i < 13; i++) mixed.enter('hot', 0);
  mixed.enter('large', 2 * MiB);
  t.deepEqual(mixed.state.refused, { process: 0, bucket: 1, bytes: 1 });
  t.is(mixed.state.bytesMax, MiB);
  mixed.close();
});

test('bodies hold a bounded number of bytes', (t) => {
  const admission = new Admission({ bytesMax: MiB });
  t.truthy(admission.enter('one', MiB - 1));
  t.is(admission.enter('two', 2), undefined);
  t.truthy(admission.enter('two', 1));
  admission.close();
});

test('a small body is held once while it is gathered, and is what came', (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e6);
  t.log(`SEED=${seed}`);
  let state = seed;
  const below = (bound: number): number => {
    state = (state * 48_271 + 11) % 2_147_483_647;
    return state % bound;
  };
  for (let run = 0; run < 200; run += 1) {
    const whole = randomBytes(1 + below(20_000));
    const known = run % 4 !== 0;
    const gathered = new GatheredBytes(known ? whole.length : undefined);
    const pieces: Buffer[] = [];
    for (let at = 0; at < whole.length;) {
      const length = run % 5 === 0 ? whole.length : Math.min(whole.length - at, 1 + below(6000));
      const piece = Buffer.allocUnsafeSlow(length);
      whole.copy(piece, 0, at, at + length);
      gathered.add(piece);
      gathered.letGo(piece);
      pieces.push(piece);
      at += length;
    }
    t.true(gathered.bytes().equals(whole), `run ${run}`);
    const kept = pieces.filter((piece) => piece.length > 0).length;
    t.is(kept, known && pieces.length > 1 ? 0 : pieces.length, `run ${run}`);
  }
  const short = new GatheredBytes(10);
  short.add(Buffer.alloc(4));
  t.is(short.bytes().length, 4, 'what did not come is not made up');
});
