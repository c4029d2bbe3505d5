// A whole hot tier of some groups in one process, for test/space.test.ts: LMDB, real files, drives
// whose size is set, a clock to turn, and workers that are called by hand.

import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { buildEngine } from '../appliance/engine/build.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { assignGroups, followGroups, noteFounded } from '../appliance/engine/upkeep/groups.ts';
import { takeLease } from '../appliance/engine/document/lease.ts';
import { FileKeys } from '../appliance/engine/bytes/named-keys.ts';
import { buildMetadata } from '../appliance/metadata/build.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import type { DriveFile, DriveOpenMode, DriveUsage } from '../appliance/model/drive.ts';
import { silentEvents } from '../appliance/model/event-sink.ts';
import { GRACE_MS } from '../appliance/model/limits.ts';
import type { MetadataStore } from '../appliance/model/metadata-store.ts';
import type { NodeGroupTier } from '../appliance/model/node-group.ts';
import type { Body } from '../appliance/model/tier.ts';
import { checksums } from '../tiers/checksum.ts';
import { LocalDrive } from '../tiers/node-group/drive/local-drive.ts';
import { listedGroups } from '../tiers/node-group/drive/recognise.ts';
import type { NodeGroupRole } from '../tiers/node-group/settings.ts';
import { DriveTier } from '../tiers/node-group/tier/node-group-tier.ts';
import { buildPacker } from '../tiers/pack/packer.ts';
import { ClockGuard } from '../workers/base/clock-guard.ts';
import type { Turn, Worker } from '../workers/base/worker.ts';
import { CollectWorker } from '../workers/collect.ts';
import { CompactWorker } from '../workers/compact.ts';
import { GroupsWorker } from '../workers/groups.ts';
import { SweepWorker } from '../workers/sweep.ts';

const MiB = 1024 * 1024;
/** Default of a node group (settings.ts). */
const SEGMENT_BYTES = 64 * MiB;
const STORE_ID = '0'.repeat(32);
const random = { bytes: (count: number): Uint8Array => new Uint8Array(randomBytes(count)) };

/** Bytes that files below take up on their device. */
export function bytesBelow(folder: string): number {
  let bytes = 0;
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    try {
      bytes += statSync(join(entry.parentPath, entry.name)).blocks * 512;
    } catch {
      // Removed meanwhile.
    }
  }
  return bytes;
}

/** Files of segments that still have their full length: a sealed one has not. */
export function openSegments(drives: readonly string[]): number {
  const lengths = drives.flatMap((drive) => {
    const folder = join(drive, 'segments');
    if (!existsSync(folder)) return [];
    return readdirSync(folder).map((name) => statSync(join(folder, name)).size);
  });
  return lengths.filter((length) => length >= SEGMENT_BYTES).length;
}

export interface DriveFaults {
  /** Writes into segments fail so. */
  writeError: string | undefined;
  /** How often a file of a large object was opened. */
  shardOpens: number;
  /** Files of segments that were opened. */
  segmentsOpened: Set<string>;
}

/** A folder that counts as a drive of this size. */
class SizedDrive extends LocalDrive {
  readonly #bytes: number;
  readonly #faults: DriveFaults;

  constructor(path: string, bytes: number, faults: DriveFaults) {
    super(path);
    this.#bytes = bytes;
    this.#faults = faults;
  }

  override usage(): Promise<DriveUsage> {
    const freeBytes = Math.max(0, this.#bytes - bytesBelow(this.path));
    const capacityBytes = this.#bytes;
    return Promise.resolve({ capacityBytes, freeBytes, device: this.path, mounted: true });
  }

  override async open(
    path: string,
    options: { mode: DriveOpenMode; durable?: boolean },
  ): Promise<DriveFile> {
    if (path.startsWith('shards/')) this.#faults.shardOpens += 1;
    if (path.startsWith('segments/')) this.#faults.segmentsOpened.add(path);
    const file = await super.open(path, options);
    const write = file.write.bind(file);
    file.write = async (bytes, position) => {
      const code = this.#faults.writeError;
      if (code !== undefined && path.startsWith('segments/'))
        throw Object.assign(new Error(code), { code });
      return write(bytes, position);
    };
    return file;
  }
}

export type WorkerName = 'collect' | 'compact' | 'groups' | 'sweep';

export interface HouseOptions {
  /** Groups by the names of their folders. */
  groups?: string[];
  /** Of each drive; by default that of the machine. */
  driveBytes?: number;
  segmentBytes?: number;
  segmentOpenMs?: number;
  smallBytesMax?: number;
  role?: NodeGroupRole;
  directory?: string;
}

export interface House {
  directory: string;
  store: MetadataStore;
  tier: DriveTier;
  engine: Engine;
  faults: DriveFaults;
  log: string[];
  clock: { offsetMs: number; wall(): number; now(): number };
  /** Runs a worker once, under a lease, without rests. */
  run(worker: WorkerName): Promise<void>;
  groupsWorker(): GroupsWorker;
  put(key: string, body: Uint8Array): Promise<void>;
  read(key: string): Promise<Buffer>;
  remove(key: string): Promise<void>;
  /** Raw bytes in the folders of a group. */
  heldIn(group: string): number;
  close(): Promise<void>;
  dispose(): Promise<void>;
}

export const driveFolders = (directory: string, group: string): string[] =>
  [0, 1, 2, 3, 4, 5].map((i) => join(directory, group, `drive-${i}`));

export async function openHouse(options: HouseOptions = {}): Promise<House> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'firn-space-'));
  const names = options.groups ?? ['g0'];
  const clock = {
    offsetMs: 0,
    wall: () => Date.now(),
    now: () => Date.now() + clock.offsetMs,
  };
  const store = buildMetadata({ dataDirectory: directory, clock, random, processName: 'test' });
  await store.open();
  const faults: DriveFaults = {
    writeError: undefined,
    shardOpens: 0,
    segmentsOpened: new Set(),
  };
  const lists = names.map((name) => driveFolders(directory, name));
  const of = { store: STORE_ID, tier: 'hot' };
  const listed = await listedGroups(lists, of);
  const { driveBytes, role = 'worker', ...sizes } = options;
  const { segmentBytes = 4 * MiB, segmentOpenMs = 3_600_000, smallBytesMax = 256 * 1024 } = sizes;
  const tier = new DriveTier(
    {
      name: 'hot',
      code: '4+2',
      drives: lists,
      groups: await assignGroups(store, 'hot', listed),
      arenaBytes: 32 * MiB,
      segmentBytes,
      segmentOpenMs,
      smallBytesMax,
      probeMs: 200,
      breakerMs: 300,
    },
    {
      clock,
      random,
      storeId: STORE_ID,
      role,
      processName: 'test',
      ...(driveBytes === undefined
        ? {}
        : { openDrive: (path: string) => new SizedDrive(path, driveBytes, faults) }),
    },
  );
  await tier.open();
  await noteFounded(store, tier);
  await followGroups({ store }, tier);
  const engine = buildEngine({
    store,
    tiers: new Map([['hot', tier]]),
    packer: buildPacker({ spoolDirectory: join(directory, 'spool'), random }),
    clock,
    random,
    events: silentEvents,
    classes: new Map([['STANDARD', 'hot']]),
    masterKey: new Uint8Array(32),
    namedKeys: new FileKeys({ keys: new Map(), random }),
    checksums,
    graceMs: GRACE_MS,
    restoreDayMs: DAY_MS,
    staleMs: 0,
  });
  return new OpenHouse({ directory, store, tier, engine, faults, clock });
}

type Opened = Pick<House, 'directory' | 'store' | 'tier' | 'engine' | 'faults' | 'clock'>;

class OpenHouse implements House {
  readonly directory: string;
  readonly store: MetadataStore;
  readonly tier: DriveTier;
  readonly engine: Engine;
  readonly faults: DriveFaults;
  readonly clock: House['clock'];
  readonly log: string[] = [];
  #isOpen = true;

  constructor(opened: Opened) {
    this.directory = opened.directory;
    this.store = opened.store;
    this.tier = opened.tier;
    this.engine = opened.engine;
    this.faults = opened.faults;
    this.clock = opened.clock;
  }

  groupsWorker(): GroupsWorker {
    return new GroupsWorker(this.engine.core, [this.tier], this.#note);
  }

  #note = (level: string, message: string): void => void this.log.push(`${level} ${message}`);

  async run(name: WorkerName): Promise<void> {
    const { store, engine } = this;
    const { core } = engine;
    const guard = new ClockGuard({ store, wall: () => 0, sandbox: true });
    const tiers: NodeGroupTier[] = [this.tier];
    const settings = { guard, log: this.#note, minimumDays: () => 0 };
    const workers: Record<typeof name, () => Worker> = {
      collect: () => new CollectWorker(core, guard),
      compact: () => new CompactWorker(core, tiers, settings),
      groups: () => this.groupsWorker(),
      sweep: () => new SweepWorker(core, tiers, settings),
    };
    const holder = `test-${Date.now()}-${Math.random()}`;
    const lease = await takeLease(core.context, { name, holder, durationMs: 60_000 });
    if (lease === undefined) throw new Error(`${name} is leased`);
    const { signal } = new AbortController();
    const turn: Turn = { lease, signal, rest: () => lease.check(), report: () => undefined };
    try {
      await workers[name]().run(turn, name);
    } finally {
      await lease.release();
    }
  }

  async put(key: string, body: Uint8Array): Promise<void> {
    const common = { owner: 'root', storageClass: 'STANDARD', headers: {}, metadata: {} };
    await this.engine.putObject({ ...common, bucket: 'data', key, body, sizeBytes: body.length });
  }

  async read(key: string): Promise<Buffer> {
    return wholeOf((await this.engine.getObject({ bucket: 'data', key })).body);
  }

  async remove(key: string): Promise<void> {
    await this.engine.deleteObject({ bucket: 'data', key, owner: 'root' });
  }

  heldIn(group: string): number {
    return bytesBelow(join(this.directory, group));
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.engine.close();
    await this.tier.close();
    await this.store.close();
  }

  async dispose(): Promise<void> {
    await this.close();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

export async function wholeOf(body: Body): Promise<Buffer> {
  if (body instanceof Uint8Array) return Buffer.from(body);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
