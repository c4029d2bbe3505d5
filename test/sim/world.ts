// A world that is recorded: one life that clients and workers act in, under a seeded scheduler, with a
// model of what they were told. `replayOf` then makes of it whatever a crash at any position
// leaves.

import type { Engine } from '../../appliance/engine/engine.ts';
import type { NodeGroupTierSettings } from '../../tiers/node-group/settings.ts';
import type { CodeName } from '../../tiers/node-group/codec/field.ts';
import { codeOf } from '../../tiers/node-group/codec/field.ts';
import { CloudReplay, type SimCloud } from './cloud.ts';
import { emptyImage, snapshotOf, type DriveLies, type DriveSnapshot } from './drive.ts';
import { LmdbReplay } from './lmdb.ts';
import { BUCKET, Life, type LifeOptions, type Remains } from './life.ts';
import { contentOf, Model } from './model.ts';
import { sample, type Seeded } from './random.ts';
import { DriveReplay, type CrashKind } from './replay.ts';
import { Scheduler } from './scheduler.ts';
import { SimStore, StoreReplay, type StoreLies, type Tables } from './store.ts';
import { NOON, SimClock, type SimTime } from './time.ts';

export interface WorldOptions {
  code?: CodeName;
  settings?: Partial<NodeGroupTierSettings>;
  driveLies?: DriveLies;
  storeLies?: StoreLies;
  cloudLies?: SimCloud['lies'];
  graceMs?: number;
  /** Media are damaged as far as the code allows: one more loss is not promised until a scrub. */
  isHurt?: boolean;
  /** Metadata in LMDB, with its journal on the drives. */
  embedded?: boolean;
  /** What moves into the cold tier is compressed. */
  compresses?: boolean;
}

export interface PutMore {
  storageClass?: string;
  /** If-None-Match: *. */
  isNew?: boolean;
  /** By another process. */
  by?: Engine;
  /** Bytes that other objects may have too. */
  body?: Uint8Array;
}

export class World {
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly time: SimTime;
  readonly model: Model;
  readonly life: Life;
  readonly options: WorldOptions;
  #start: { drives: DriveSnapshot[]; tables: Tables; cold: Blobs; archive: Blobs } | undefined;
  /** Position at which the record began. */
  from = 0;
  #bodies = 0;

  constructor(seed: number, time: SimTime, options: WorldOptions = {}) {
    this.seed = seed;
    this.time = time;
    this.options = options;
    this.scheduler = new Scheduler(seed, time);
    this.scheduler.recording = false;
    this.model = new Model(this.scheduler);
    const code = options.code ?? '4+2';
    const remains: Remains = {
      images: Array.from({ length: codeOf(code).n }, emptyImage),
      tables: new SimStore(new SimClock()).tables,
      cold: new Map(),
      archive: new Map(),
      at: NOON,
    };
    const { scheduler } = this;
    const { settings = {}, graceMs, embedded = false, compresses = false } = options;
    this.life = new Life(remains, {
      code,
      seed,
      scheduler,
      settings,
      embedded,
      compresses,
      ...(graceMs === undefined ? {} : { graceMs }),
    });
    scheduler.clock = () => this.life.clock.at;
    Object.assign(this.life.simStore.lies, options.storeLies);
    Object.assign(this.life.cold.lies, options.cloudLies);
  }

  get draw(): Seeded {
    return this.scheduler.draw;
  }

  /** A founded group, a bucket and a running process: nothing of it is recorded. */
  async found(): Promise<void> {
    await this.life.found();
    await this.life.start('worker');
    await this.life.engine.createBucket({ name: BUCKET, owner: 'root', region: 'local' });
  }

  /** From here on each change is a step. */
  record(): void {
    const { drives, simStore: store, cold, archive, embedded } = this.life;
    for (const drive of drives) Object.assign(drive.lies, this.options.driveLies);
    this.#start = {
      drives: drives.map((drive) => snapshotOf(drive.image)),
      tables: store.tables,
      cold: new Map(cold.blobs),
      archive: new Map([...archive.blobs].map(([id, blob]) => [id, { ...blob }])),
    };
    this.from = this.scheduler.position;
    embedded?.file.record();
    this.scheduler.recording = true;
  }

  /** Names what comes next, runs it to its end. */
  async phase<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.scheduler.phase = name;
    return this.scheduler.run(work());
  }

  /** Bytes that no other object has. */
  body(length: number): Uint8Array {
    this.#bodies += 1;
    return sample(length, this.seed * 1000 + this.#bodies);
  }

  put(key: string, length: number, more: PutMore = {}) {
    const body = more.body ?? this.body(length);
    const request = (): Promise<unknown> =>
      (more.by ?? this.life.engine).putObject({
        bucket: BUCKET,
        key,
        body,
        sizeBytes: body.length,
        owner: 'root',
        storageClass: more.storageClass ?? 'STANDARD',
        headers: {},
        metadata: {},
        ...(more.isNew === true ? { conditions: { ifNoneMatch: '*' } } : {}),
      });
    return this.model.did(key, contentOf(body), request, more.isNew);
  }

  remove(key: string, by = this.life.engine) {
    return this.model.did(key, 'absent', () =>
      by.deleteObject({ bucket: BUCKET, key, owner: 'root' }),
    );
  }

  copy(from: string, key: string) {
    const [content] = this.model.allowed(from, this.scheduler.position);
    return this.model.did(key, content ?? 'absent', () =>
      this.life.engine.copyObject({
        bucket: BUCKET,
        key,
        source: { bucket: BUCKET, key: from },
        owner: 'root',
      }),
    );
  }

  createUpload(key: string) {
    return this.life.engine.createUpload({
      bucket: BUCKET,
      key,
      owner: 'root',
      storageClass: 'STANDARD',
      headers: {},
      metadata: {},
    });
  }

  replay(): WorldReplay {
    if (this.#start === undefined) throw new Error('nothing was recorded');
    const { drives, tables, cold, archive } = this.#start;
    const { life } = this;
    return new WorldReplay(this, [
      ...drives.map((start, i) => new DriveReplay(start, life.drives[i]?.record ?? [])),
      new StoreReplay(tables, life.simStore.record),
      new CloudReplay(cold, life.cold.record),
      new CloudReplay(archive, life.archive.record),
      ...(life.embedded === undefined ? [] : [new LmdbReplay(life.embedded.file)]),
    ]);
  }
}

type Blobs = SimCloud['blobs'];
type Replay = DriveReplay | StoreReplay | CloudReplay | LmdbReplay;

/** Goes through a record and makes states of it. */
export class WorldReplay {
  readonly #world: World;
  readonly #parts: Replay[];

  constructor(world: World, parts: Replay[]) {
    this.#world = world;
    this.#parts = parts;
  }

  advance(p: number): void {
    for (const part of this.#parts) part.advance(p);
  }

  get settled(): boolean {
    return this.#parts.every((part) => part.settled);
  }

  /** One state: what a new life begins from, and a number that tells it from others. */
  state(kind: CrashKind, draw: Seeded, p: number): { remains: Remains; print: number } {
    let print = 7;
    const note = (choice: number): void => {
      print = (Math.imul(print, 31) + choice + 1) >>> 0;
    };
    const { options } = this.#world.life;
    const n = codeOf(options.code).n;
    const drives = this.#parts.slice(0, n) as DriveReplay[];
    const [store, cold, archive, lmdb] = this.#parts.slice(n) as [
      StoreReplay,
      CloudReplay,
      CloudReplay,
      LmdbReplay | undefined,
    ];
    const remains: Remains = {
      images: drives.map((drive) => drive.image(kind, draw, note)),
      tables: store.tables(draw, note),
      cold: cold.blobs(draw, note),
      archive: archive.blobs(draw, note),
      lmdb: lmdb?.state(kind, draw, note),
      at: (this.#world.scheduler.events[p - 1]?.clock ?? NOON) + 1000,
    };
    return { remains, print };
  }

  lifeOf(remains: Remains): Life {
    const { scheduler: _, ...options } = this.#world.life.options;
    return new Life(remains, options satisfies LifeOptions);
  }
}
