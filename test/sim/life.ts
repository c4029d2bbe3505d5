// One life of the appliance on simulated ports: a hot tier of real node groups over simulated drives,
// a cold and an archive tier in memory, a store, an engine. A life begins from whatever a crash
// has left, and knows nothing of the one before.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { settleDeletions } from '../../appliance/engine/account/buckets.ts';
import { buildEngine } from '../../appliance/engine/build.ts';
import type { Clock } from '../../appliance/model/clock.ts';
import type { MetadataStore, Row, Table } from '../../appliance/model/metadata-store.ts';
import type { EngineContext } from '../../appliance/engine/document/context.ts';
import type { Engine } from '../../appliance/engine/engine.ts';
import { loadParts } from '../../appliance/engine/document/history.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import { GRACE_MS } from '../../appliance/model/limits.ts';
import { objectId } from '../../appliance/model/ids.ts';
import type { ObjectDocument } from '../../appliance/model/object.ts';
import type { Packer } from '../../appliance/model/packer.ts';
import type { Body } from '../../appliance/model/tier.ts';
import { Arena } from '../../tiers/node-group/codec/arena.ts';
import { Codec } from '../../tiers/node-group/codec/codec.ts';
import { codeOf, type CodeName } from '../../tiers/node-group/codec/field.ts';
import type { NodeGroupRole, NodeGroupTierSettings } from '../../tiers/node-group/settings.ts';
import { DriveTier } from '../../tiers/node-group/tier/node-group-tier.ts';
import { buildPacker } from '../../tiers/pack/packer.ts';
import { contextOf } from '../engine-harness.ts';
import { SimCloud } from './cloud.ts';
import { SimDrive, type Image } from './drive.ts';
import { EmbeddedMetadata } from './embedded.ts';
import type { LmdbState } from './lmdb.ts';
import type { Effect } from './model.ts';
import { Seeded } from './random.ts';
import type { Scheduler } from './scheduler.ts';
import { SimStore, type Tables } from './store.ts';
import { SimClock } from './time.ts';

export const BUCKET = 'bucket';
const KiB = 1024;

export const CLASSES: ReadonlyMap<string, string> = new Map([
  ['STANDARD', 'hot'],
  ['GLACIER_IR', 'cold'],
  ['GLACIER', 'archive'],
]);

/** What a life begins from. */
export interface Remains {
  images: Image[];
  tables: Tables;
  /** Of an embedded store; undefined: lost. */
  lmdb?: LmdbState | undefined;
  cold: SimCloud['blobs'];
  archive: SimCloud['blobs'];
  at: number;
}

export interface LifeOptions {
  code: CodeName;
  settings: Partial<NodeGroupTierSettings>;
  seed: number;
  scheduler?: Scheduler;
  graceMs?: number;
  /** Metadata in LMDB with its journal on the drives, in place of one simulated store. */
  embedded?: boolean;
  /** What moves into the cold tier is compressed. */
  compresses?: boolean;
}

const codecs = new Map<string, Codec>();

/** One arena for all lives: each would reserve gigabytes of addresses. */
function codecFor(name: CodeName): Codec {
  let codec = codecs.get(name);
  if (codec === undefined) {
    const code = codeOf(name);
    const laneBytes = Math.ceil((1024 * KiB) / code.k / 64) * 64 + 2 * KiB;
    codec = new Codec(code, new Arena({ lanes: code.n, laneBytes, arenaBytes: 32 * KiB * KiB }));
    codecs.set(name, codec);
  }
  return codec;
}

let spool: string | undefined;

/** Packs are built in a real directory; nothing of them outlives a step. */
function spoolDirectory(): string {
  spool ??= mkdtempSync(join(tmpdir(), 'firn-sim-'));
  return spool;
}

export function removeSpool(): void {
  if (spool !== undefined) rmSync(spool, { recursive: true, force: true });
  spool = undefined;
}

export class Life {
  readonly clock: SimClock;
  readonly simStore: SimStore;
  readonly embedded: EmbeddedMetadata | undefined;
  readonly drives: SimDrive[];
  readonly cold: SimCloud;
  readonly archive: SimCloud;
  readonly random: Seeded;
  readonly options: LifeOptions;
  storeId = 'store-1';
  hot!: DriveTier;
  engine!: Engine;

  constructor(remains: Remains, options: LifeOptions) {
    this.options = options;
    this.clock = new SimClock(remains.at);
    // No life draws the ids of another.
    this.random = new Seeded(options.seed ^ 0x5eed ^ remains.at);
    this.simStore = new SimStore(this.clock, remains.tables, 1_000_000 + (remains.at % 1e9));
    const lanes = codeOf(options.code).n;
    this.drives = remains.images.map(
      (image, position) =>
        new SimDrive(`sim-${position}`, image, { position, lanes, now: () => this.clock.at }),
    );
    const { clock } = this;
    this.cold = new SimCloud({ name: 'cold', clock, kind: 'remote' }, remains.cold);
    const staged = { name: 'archive', clock, kind: 'remote', retrieval: 'staged' } as const;
    this.archive = new SimCloud(staged, remains.archive);
    const { scheduler } = options;
    const { drives, random } = this;
    const copies = codeOf(options.code).m + 1;
    const parts = { drives, clock, random, copies, scheduler };
    this.embedded =
      options.embedded === true ? new EmbeddedMetadata(parts, remains.lmdb) : undefined;
    if (scheduler !== undefined) {
      for (const port of [...this.drives, this.simStore, this.cold, this.archive]) {
        port.scheduler = scheduler;
      }
    }
  }

  /** As this life's own calls see it. */
  get store(): MetadataStore {
    return this.embedded?.main ?? this.simStore;
  }

  rowsOf<T>(table: Table): Row<T>[] {
    return (this.embedded ?? this.simStore).rowsOf<T>(table);
  }

  /** A process of its own on the same drives and store. */
  async process(
    name: string,
    role: NodeGroupRole = 'api',
    skewMs = 0,
  ): Promise<{ hot: DriveTier; engine: Engine }> {
    const now = (): number => this.clock.now() + skewMs;
    const clock: Clock = { now, wall: now };
    const hot = this.#hotTier(name, role, clock);
    const tiers = new Map([hot, this.cold, this.archive].map((tier) => [tier.name, tier]));
    const packer: Packer = buildPacker({ spoolDirectory: spoolDirectory(), random: this.random });
    const { random } = this;
    const store = (await this.embedded?.process(name, clock)) ?? this.simStore;
    const context: EngineContext = contextOf(
      { store, clock, tiers },
      {
        random,
        classes: CLASSES,
        packer,
        graceMs: this.options.graceMs ?? GRACE_MS,
        compressedTiers: new Set(this.options.compresses === true ? ['cold'] : []),
      },
    );
    return { hot, engine: buildEngine(context) };
  }

  #hotTier(name: string, role: NodeGroupRole, clock: Clock): DriveTier {
    const { code, settings } = this.options;
    const byPath = new Map(this.drives.map((drive) => [drive.path, drive]));
    return new DriveTier(
      {
        name: 'hot',
        code,
        drives: [[...byPath.keys()]],
        arenaBytes: 4 * KiB * KiB,
        segmentBytes: 32 * KiB,
        smallBytesMax: 4 * KiB,
        segmentOpenMs: 60_000,
        ...settings,
      },
      {
        clock,
        random: this.random,
        storeId: this.storeId,
        role,
        processName: name,
        openDrive: (path) => byPath.get(path) as SimDrive,
        codec: codecFor(code),
      },
    );
  }

  /** Before the first start of an embedded store: drives in use, and the journal on them. */
  async found(): Promise<void> {
    if (this.embedded === undefined) return;
    const hot = this.#hotTier('primary', 'api', this.clock);
    await hot.open();
    await hot.close();
    await this.embedded.found();
  }

  /** Starts the process that this life's own calls go through. Throws as DriveTier.open. */
  async start(role: NodeGroupRole = 'worker'): Promise<void> {
    await this.embedded?.start();
    const made = await this.process(`${role}-1`, role);
    this.hot = made.hot;
    this.engine = made.engine;
    await this.hot.open();
    // As the worker does at its first look: a deletion that nobody goes on with hides keys.
    if (this.options.scheduler === undefined) await settleDeletions(this.engine.core);
  }

  /** What a client finds under a key; bytes in an archive are looked at where they lie. */
  async read(key: string): Promise<Effect> {
    try {
      const answer = await this.engine.getObject({ bucket: BUCKET, key });
      return { bytes: await bytesOf(answer.body), etag: answer.version.etag };
    } catch (error) {
      if (isFirnError(error, 'NoSuchKey') || isFirnError(error, 'NoSuchBucket')) return 'absent';
      if (isFirnError(error, 'InvalidObjectState')) return this.#archived(key);
      throw error;
    }
  }

  async #archived(key: string): Promise<Effect> {
    const { core } = this.engine;
    const bucket = await this.engine.getBucket(BUCKET);
    const row = await this.store.get<ObjectDocument>('objects', objectId(bucket.id, key));
    const version = row?.value.versions[0];
    if (version === undefined) return 'absent';
    const chunks: Uint8Array[] = [];
    for (const part of await loadParts(this.store, version)) {
      const { location } = part;
      const { tier, blob, offset } = await core.locations.place(location);
      if (tier instanceof SimCloud) {
        const bytes = tier.blobs.get(blob.id)?.bytes;
        if (bytes === undefined) throw new Error(`${key}: its blob in ${tier.name} is gone`);
        chunks.push(bytes.subarray(offset, offset + location.length));
      } else chunks.push(await bytesOf(await core.locations.read(location)));
    }
    return { bytes: Buffer.concat(chunks), etag: version.etag };
  }

  async keys(): Promise<string[]> {
    const all = { bucket: BUCKET, prefix: '', delimiter: '', after: '', limit: 1000 };
    try {
      return (await this.engine.listObjects(all)).entries.map((entry) => entry.key);
    } catch (error) {
      if (isFirnError(error, 'NoSuchBucket')) return [];
      throw error;
    }
  }
}

export async function bytesOf(body: Body): Promise<Buffer> {
  if (body instanceof Uint8Array) return Buffer.from(body);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}
