// A whole small appliance in memory for the tests of moves: store, three tiers, packer, engine, and
// a clock to turn. A crash is ordered by number: at that effect (commit, put, delete) the process
// dies, and every later effect of it dies too, as after a kill -9.

import { hash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { ExecutionContext } from 'ava';

import { buildEngine } from '../appliance/engine/build.ts';
import type { EngineContext } from '../appliance/engine/document/context.ts';
import type { Core } from '../appliance/engine/document/core.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { commitObject } from '../appliance/engine/document/commit.ts';
import { collectPage } from '../appliance/engine/upkeep/collect.ts';
import { loadParts } from '../appliance/engine/document/history.ts';
import { allVersions } from '../appliance/engine/document/inventory.ts';
import { takeLease, type HeldLease } from '../appliance/engine/document/lease.ts';
import type { MovingVersion } from '../appliance/engine/move/move.ts';
import { FileKeys } from '../appliance/engine/bytes/named-keys.ts';
import { sweep } from '../appliance/engine/upkeep/sweep.ts';
import type { MetadataStore, Row, Table } from '../appliance/model/metadata-store.ts';
import type { Bucket } from '../appliance/model/bucket.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import type { ObjectEvent } from '../appliance/model/event-sink.ts';
import { keyOfObjectId, newLocationId, objectId } from '../appliance/model/ids.ts';
import { GRACE_MS } from '../appliance/model/limits.ts';
import type { Location, Pack } from '../appliance/model/location.ts';
import type { ObjectDocument, Part, Version } from '../appliance/model/object.ts';
import type { Garbage, Move } from '../appliance/model/records.ts';
import type { Body } from '../appliance/model/tier.ts';
import { checksumOf, checksums } from '../tiers/checksum.ts';
import type { Turn } from '../workers/base/worker.ts';
import { buildPacker } from '../tiers/pack/packer.ts';
import { Crash, MemoryMetadataStore } from './memory-store.ts';
import { MemoryTier } from './memory-tier.ts';

export const random = { bytes: (count: number): Uint8Array => new Uint8Array(randomBytes(count)) };

const T0 = Date.UTC(2026, 0, 5, 10, 30);

export class TestClock {
  offsetMs = 0;
  #now = T0;

  wall(): number {
    return this.#now;
  }

  now(): number {
    // A little later at each look: nothing may rest on equal times.
    this.#now += 1;
    return this.#now + this.offsetMs;
  }

  pass(ms: number): void {
    this.#now += ms;
  }
}

/** A store with places for faults, in memory or on a real server. */
export interface RigStore extends MetadataStore {
  beforeCommit: MemoryMetadataStore['beforeCommit'];
  beforeRead: MemoryMetadataStore['beforeRead'];
  rowsOf<T>(table: Table): Row<T>[] | Promise<Row<T>[]>;
  close(): Promise<void>;
}

export interface Rig<Store extends RigStore = MemoryMetadataStore> {
  clock: TestClock;
  store: Store;
  hot: MemoryTier;
  cold: MemoryTier;
  archive: MemoryTier;
  context: EngineContext;
  engine: Engine;
  core: Core;
  events: ObjectEvent[];
  bucket: Bucket;
  /** Bytes of every version that was put, by version id. */
  bytes: Map<string, Uint8Array>;
  /** Process that dies at effect number `at` (1-based); undefined: lives. Counts from here on. */
  crashAt(at: number | undefined): void;
  effects(): number;
  /** A new process on the same store and tiers. */
  restart(): void;
  close(): void;
}

/** What tests that run on several stores take theirs from (sharing-mongo.test.ts sets another). */
export const rigStores = {
  open: async (clock: TestClock): Promise<RigStore> => new MemoryMetadataStore(clock),
  isReal: false,
};

export async function newRig(): Promise<Rig> {
  const clock = new TestClock();
  return await newRigOn(new MemoryMetadataStore(clock), clock);
}

/** `close` closes the store too. */
export async function newRigOn<Store extends RigStore>(
  store: Store,
  clock: TestClock,
): Promise<Rig<Store>> {
  const spoolDirectory = mkdtempSync(join(tmpdir(), 'firn-move-'));
  const hot = new MemoryTier({ name: 'hot', clock });
  const cold = new MemoryTier({ name: 'cold', clock, kind: 'remote' });
  const archive = new MemoryTier({
    name: 'archive',
    clock,
    kind: 'remote',
    retrieval: 'staged',
    stageMs: 60_000,
  });
  const events: ObjectEvent[] = [];
  const context: EngineContext = {
    store,
    tiers: new Map([hot, cold, archive].map((tier) => [tier.name, tier])),
    packer: buildPacker({ spoolDirectory, random }),
    clock,
    random,
    events: { asks: () => false, emit: (event) => void events.push(event) },
    classes: new Map([
      ['STANDARD', 'hot'],
      ['GLACIER_IR', 'cold'],
      ['GLACIER', 'archive'],
      ['DEEP_ARCHIVE', 'archive'],
    ]),
    masterKey: new Uint8Array(32),
    namedKeys: new FileKeys({ keys: new Map(), random }),
    checksums,
    graceMs: GRACE_MS,
    restoreDayMs: DAY_MS,
    staleMs: 0,
  };
  let count = 0;
  let dies: number | undefined;
  const effect = (): void => {
    count += 1;
    if (dies !== undefined && count >= dies) throw new Crash();
  };
  store.beforeCommit = () => {
    effect();
    return undefined;
  };
  for (const tier of [hot, cold, archive]) {
    tier.before = (action) => {
      if (action !== 'read') effect();
      else if (dies !== undefined && count >= dies) throw new Crash();
    };
  }
  const engine = buildEngine(context);
  const bucket = await engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
  const rig: Rig<Store> = {
    clock,
    store,
    hot,
    cold,
    archive,
    context,
    engine,
    core: engine.core,
    events,
    bucket,
    bytes: new Map(),
    crashAt(at) {
      count = 0;
      dies = at;
    },
    effects: () => count,
    restart() {
      dies = undefined;
      rig.engine = buildEngine(context);
      rig.core = rig.engine.core;
    },
    close: () => {
      rmSync(spoolDirectory, { recursive: true, force: true });
      void store.close();
    },
  };
  return rig;
}

export async function put(
  rig: Rig,
  key: string,
  size: number,
  storageClass = 'STANDARD',
): Promise<Version> {
  const body = random.bytes(size);
  const { version } = await rig.engine.putObject({
    bucket: rig.bucket.name,
    key,
    body,
    sizeBytes: size,
    owner: 'root',
    storageClass,
    headers: { 'content-type': 'text/plain' },
    metadata: { origin: key },
  });
  rig.bytes.set(version.id, body);
  return version;
}

/**
 * A version of many small parts, as a multipart upload of tiny parts could make it, on top of a
 * key.
 */
export async function putParts(rig: Rig, key: string, parts: number): Promise<void> {
  const object = objectId(rig.bucket.id, key);
  const whole: Uint8Array[] = [];
  const made: Part[] = [];
  for (let number = 1; number <= parts; number += 1) {
    const bytes = random.bytes(20 + number);
    const stored = await rig.hot.put({
      id: newLocationId(rig.clock, random),
      body: bytes,
      owner: { bucketId: rig.bucket.id, key },
    });
    whole.push(bytes);
    made.push({
      number,
      location: stored.location,
      sizeBytes: bytes.length,
      etag: hash('md5', bytes),
      checksum: stored.checksum,
    });
  }
  const bytes = new Uint8Array(Buffer.concat(whole));
  const { answer } = await commitObject(rig.core, {
    object,
    reason: 'overwrite',
    change(draft) {
      const id = draft.nextVersionId();
      draft.prepend({
        id,
        isNull: true,
        deleteMarker: false,
        lastModified: rig.clock.now(),
        sizeBytes: bytes.length,
        etag: `${'0'.repeat(32)}-${parts}`,
        storageClass: 'STANDARD',
        parts: made,
        partCount: parts,
        headers: {},
        metadata: {},
        owner: 'root',
        operation: id,
      });
      return id;
    },
  });
  rig.bytes.set(answer, bytes);
}

export async function leaseOf(
  rig: Rig<RigStore>,
  name = 'test',
  holder = 'worker',
): Promise<HeldLease> {
  const lease = await takeLease(rig.context, { name, holder, durationMs: 60_000 });
  if (lease === undefined) throw new Error(`${name} is leased`);
  return lease;
}

/** Every version of the bucket, as a scan would hand it to a move. */
export async function versionsOf(rig: Rig<RigStore>): Promise<MovingVersion[]> {
  const found: MovingVersion[] = [];
  for (const { id, revision, value } of await rig.store.rowsOf<ObjectDocument>('objects')) {
    const key = keyOfObjectId(id);
    const row = { object: id, key, revision, document: value };
    for (const version of await allVersions(rig.store, row)) {
      if (version.deleteMarker) continue;
      const parts = await loadParts(rig.store, version);
      found.push({
        bucket: rig.bucket.name,
        bucketId: rig.bucket.id,
        key,
        object: id,
        version,
        parts,
      });
    }
  }
  return found;
}

export async function wholeOf(body: Body): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body;
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return new Uint8Array(Buffer.concat(chunks));
}

/** The bytes at a location, whether staged or not: what is durably there. */
export async function bytesAt(
  rig: Rig<RigStore>,
  location: Location,
): Promise<Uint8Array | undefined> {
  const tierOf = (name: string): MemoryTier => rig.context.tiers.get(name) as MemoryTier;
  if (location.kind !== 'pack') return tierOf(location.tier).blobs.get(location.id)?.bytes;
  const packs = await rig.store.rowsOf<Pack>('packs');
  const pack = packs.find(({ id }) => id === location.pack)?.value;
  if (pack === undefined) return undefined;
  const blob = tierOf(pack.blob.tier).blobs.get(pack.blob.id);
  return blob?.bytes.subarray(location.offset, location.offset + location.length);
}

/** I1: every location that a committed document names holds the right bytes. */
export async function auditBytes(
  t: ExecutionContext,
  rig: Rig<RigStore>,
  when: string,
): Promise<void> {
  for (const { key, version, parts } of await versionsOf(rig)) {
    const subject = `${when}: ${key}`;
    for (const part of parts) {
      const bytes = await bytesAt(rig, part.location);
      if (bytes === undefined || checksumOf(bytes) !== part.checksum) {
        t.fail(`${subject}: part ${part.number} is not at ${JSON.stringify(part.location)}`);
        return;
      }
    }
    for (const [i, location] of (version.restore?.copy ?? []).entries()) {
      const bytes = await bytesAt(rig, location);
      if (bytes === undefined || checksumOf(bytes) !== parts[i]?.checksum) {
        t.fail(`${subject}: restored copy ${i} is not at ${JSON.stringify(location)}`);
        return;
      }
    }
    const put = rig.bytes.get(version.id);
    const pieces = await Promise.all(parts.map((part) => bytesAt(rig, part.location)));
    const whole = Buffer.concat(pieces as Uint8Array[]);
    if (put !== undefined && Buffer.compare(whole, put) !== 0) t.fail(`${subject}: other bytes`);
  }
  t.pass();
}

/** Blobs that the tiers hold, by tier. */
export function blobsOf(rig: Rig<RigStore>): Record<string, number> {
  return {
    hot: rig.hot.blobs.size,
    cold: rig.cold.blobs.size,
    archive: rig.archive.blobs.size,
  };
}

/** Blobs that documents and packs name. */
export async function namedBlobs(rig: Rig<RigStore>): Promise<Set<string>> {
  const named = new Set<string>();
  for (const { version, parts } of await versionsOf(rig)) {
    const locations = [...parts.map((part) => part.location), ...(version.restore?.copy ?? [])];
    for (const location of locations) {
      named.add(location.kind === 'pack' ? location.pack : location.id);
    }
  }
  return named;
}

export async function collectAll(rig: Rig<RigStore>, passes = 1): Promise<number> {
  let freed = 0;
  for (let pass = 0; pass < passes; pass += 1) {
    const lease = await leaseOf(rig, 'collect', 'collector');
    let after: string | undefined;
    do {
      const { next, counts } = await collectPage(rig.core, after, { lease });
      freed += counts.freed;
      after = next;
    } while (after !== undefined);
    await lease.release();
  }
  return freed;
}

/** Lets graces pass with collector and sweep at work, until nothing more happens. */
export async function settle(rig: Rig<RigStore>): Promise<void> {
  for (let quiet = 0; quiet < 2; quiet += 1) {
    rig.clock.pass(GRACE_MS + 60_000);
    const lease = await leaseOf(rig, 'sweep', 'sweeper');
    const { orphans, listed, references } = await sweep(rig.core, { lease });
    await lease.release();
    rig.clock.pass(GRACE_MS + 60_000);
    const freed = await collectAll(rig, 2);
    if (orphans + listed + references + freed > 0) quiet = -1;
  }
}

/** I1 and I3: all named bytes are right, and nothing else is left anywhere. */
export async function auditSettled(
  t: ExecutionContext,
  rig: Rig<RigStore>,
  when: string,
): Promise<void> {
  await auditBytes(t, rig, when);
  const named = await namedBlobs(rig);
  for (const tier of [rig.hot, rig.cold, rig.archive]) {
    for (const id of tier.blobs.keys()) {
      t.true(named.has(id), `${when}: ${tier.name} still holds ${id}, which nobody names`);
    }
  }
  t.deepEqual(await rig.store.rowsOf<Garbage>('garbage'), [], `${when}: candidates are left`);
  t.deepEqual(await rig.store.rowsOf<Move>('moves'), [], `${when}: intents are left`);
  for (const { value } of await rig.store.rowsOf<Pack>('packs')) {
    t.true(named.has(value.id), `${when}: the row of a dead pack is left`);
  }
}

/** A turn as the runner gives it, without throttle and beat. */
export async function turnOf(
  rig: Rig<RigStore>,
  name: string,
  holder = 'worker',
): Promise<TestTurn> {
  const lease = await leaseOf(rig, name, `${holder}-${rig.clock.now()}`);
  const turn: TestTurn = {
    lease,
    signal: new AbortController().signal,
    counts: {},
    async rest() {
      await lease.check();
    },
    report(counts) {
      turn.counts = { ...counts };
    },
  };
  return turn;
}

export interface TestTurn extends Turn {
  lease: HeldLease;
  counts: Record<string, number>;
}
