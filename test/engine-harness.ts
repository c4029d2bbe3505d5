// An engine over stores and tiers in memory, and the auditor: independent code that looks at every
// commit of an object's document and holds it to the protocol. It shares nothing with the engine's own
// bookkeeping, so each test of the engine is a test of rules A1, A5, B1, B2 and B3, whatever else it is.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { buildEngine } from '../appliance/engine/build.ts';
import type { EngineContext, EngineCount } from '../appliance/engine/document/context.ts';
import type { Engine } from '../appliance/engine/engine.ts';
import { FileKeys } from '../appliance/engine/bytes/named-keys.ts';
import type { Clock, Random } from '../appliance/model/clock.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { isFirnError, type ErrorCode } from '../appliance/model/errors.ts';
import { silentEvents, type EventName, type ObjectEvent } from '../appliance/model/event-sink.ts';
import { locationBirth, objectId } from '../appliance/model/ids.ts';
import { GRACE_MS } from '../appliance/model/limits.ts';
import type { Location } from '../appliance/model/location.ts';
import type { Change, MetadataStore } from '../appliance/model/metadata-store.ts';
import type { Block, ObjectDocument, Upload, Version } from '../appliance/model/object.ts';
import type { Packer } from '../appliance/model/packer.ts';
import type { Garbage } from '../appliance/model/records.ts';
import type { PutObject } from '../appliance/model/requests.ts';
import type { Body, Tier } from '../appliance/model/tier.ts';
import { checksums } from '../tiers/checksum.ts';
import { Crash, MemoryMetadataStore } from './memory-store.ts';
import { MemoryTier } from './memory-tier.ts';

/** 2026-01-15 10:30 UTC. */
export const NOON = Date.UTC(2026, 0, 15, 10, 30);

export class TestClock implements Clock {
  at = NOON;

  wall(): number {
    return this.at;
  }

  now(): number {
    return this.at;
  }
}

export const cryptoRandom: Random = { bytes: (count) => randomBytes(count) };

/** Reproducible numbers in [0, 1). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const CLASSES: ReadonlyMap<string, string> = new Map([
  ['STANDARD', 'hot'],
  ['STANDARD_IA', 'warm'],
  ['GLACIER_IR', 'cold'],
  ['GLACIER', 'archive'],
  ['DEEP_ARCHIVE', 'archive'],
]);

const noPacker: Packer = {
  build: () => Promise.reject(new Error('no packs here')),
  // oxlint-disable-next-line require-yield
  async *readIndex() {
    throw new Error('no packs here');
  },
};

export interface House {
  clock: TestClock;
  store: MemoryMetadataStore;
  tiers: Map<string, MemoryTier>;
  hot: MemoryTier;
  events: ObjectEvent[];
  counts: EngineCount[];
  engine: Engine;
  /** Another process: the same store and tiers, nothing else shared. */
  process(options?: Partial<EngineContext>): Engine;
  auditor: Auditor;
}

export function buildTiers(clock: Clock): Map<string, MemoryTier> {
  const tiers = [
    new MemoryTier({ name: 'hot', clock }),
    new MemoryTier({ name: 'warm', clock }),
    new MemoryTier({ name: 'cold', clock, kind: 'remote' }),
    new MemoryTier({ name: 'archive', clock, kind: 'remote', retrieval: 'staged' }),
  ];
  return new Map(tiers.map((tier) => [tier.name, tier]));
}

export function contextOf(
  parts: Pick<EngineContext, 'store' | 'clock'> & { tiers: ReadonlyMap<string, Tier> },
  more: Partial<EngineContext> = {},
): EngineContext {
  return {
    packer: noPacker,
    random: cryptoRandom,
    events: silentEvents,
    classes: CLASSES,
    masterKey: new Uint8Array(32).fill(7),
    namedKeys: new FileKeys({ keys: new Map(), random: cryptoRandom }),
    checksums,
    graceMs: GRACE_MS,
    restoreDayMs: DAY_MS,
    staleMs: 0,
    ...parts,
    ...more,
  };
}

/** A house of its own for each test. */
export function house(more: Partial<EngineContext> = {}): House {
  const clock = new TestClock();
  const store = new MemoryMetadataStore(clock);
  const tiers = buildTiers(clock);
  const events: ObjectEvent[] = [];
  const counts: EngineCount[] = [];
  const auditor = new Auditor(store, tiers, clock);
  store.beforeCommit = (change) => auditor.check(change);
  const base: Partial<EngineContext> = {
    events: { asks: () => false, emit: (event) => void events.push(event) },
    count: (what) => void counts.push(what),
    ...more,
  };
  const start = (options: Partial<EngineContext> = {}): Engine =>
    buildEngine(contextOf({ store, clock, tiers }, { ...base, ...options }));
  return {
    clock,
    store,
    tiers,
    hot: tiers.get('hot') as MemoryTier,
    events,
    counts,
    engine: start(),
    process: start,
    auditor,
  };
}

/** Everything a document names, through its blocks: id → location, or undefined for a block. */
export async function namesOf(
  store: MetadataStore,
  document: ObjectDocument | undefined,
): Promise<Map<string, Location | undefined>> {
  const names = new Map<string, Location | undefined>();
  const versions: Version[] = [...(document?.versions ?? [])];
  for (const ref of document?.history ?? []) {
    names.set(ref.block, undefined);
    const row = await store.get<Block>('blocks', ref.block);
    assert(row?.value.kind === 'versions', `history block ${ref.block} is there (I1)`);
    assert.equal(row.value.versions.length, ref.count);
    versions.push(...row.value.versions);
  }
  for (const version of versions) {
    const parts = [...version.parts];
    if (version.partsBlock !== undefined) {
      names.set(version.partsBlock, undefined);
      const row = await store.get<Block>('blocks', version.partsBlock);
      assert(row?.value.kind === 'parts', `parts block ${version.partsBlock} is there (I1)`);
      parts.push(...row.value.parts);
    }
    for (const part of parts) names.set(part.location.id, part.location);
    for (const location of version.restore?.copy ?? []) names.set(location.id, location);
  }
  return names;
}

/** What an upload's document names while it completes. */
async function namesOfUpload(
  store: MetadataStore,
  upload: Upload | undefined,
): Promise<Set<string>> {
  const names = new Set<string>();
  if (upload?.state !== 'completing' || upload.completing === undefined) return names;
  const { parts, partsBlock } = upload.completing;
  for (const part of parts) names.add(part.location.id);
  if (partsBlock === undefined) return names;
  names.add(partsBlock);
  const block = await store.get<Block>('blocks', partsBlock);
  if (block?.value.kind !== 'parts') return names;
  for (const part of block.value.parts) names.add(part.location.id);
  return names;
}

/** Holds every commit of a document to B1, B2, B3 and I1. */
export class Auditor {
  readonly #store: MemoryMetadataStore;
  readonly #tiers: ReadonlyMap<string, MemoryTier>;
  readonly #clock: Clock;
  /** Documents looked at. */
  checked = 0;

  constructor(store: MemoryMetadataStore, tiers: ReadonlyMap<string, MemoryTier>, clock: Clock) {
    this.#store = store;
    this.#tiers = tiers;
    this.#clock = clock;
  }

  async check(change: Change): Promise<undefined> {
    if (change.table !== 'objects') return;
    // The audit's own reads are no part of the test.
    const { beforeRead } = this.#store;
    this.#store.beforeRead = undefined;
    try {
      await this.#audit(change);
    } finally {
      this.#store.beforeRead = beforeRead;
    }
  }

  async #audit(change: Change): Promise<void> {
    const row = await this.#store.get<ObjectDocument>('objects', change.id);
    const expected = change.kind === 'insert' ? undefined : change.expected;
    // It will conflict: nothing is committed.
    if (row?.revision !== expected) return;
    this.checked += 1;
    const before = await namesOf(this.#store, row?.value);
    const next = change.kind === 'remove' ? undefined : (change.value as ObjectDocument);
    const after = await namesOf(this.#store, next);
    const now = this.#clock.now();
    for (const [id, location] of before) {
      if (after.has(id)) continue;
      const garbage = await this.#store.get<Garbage>(
        'garbage',
        location === undefined ? `block/${id}` : id,
      );
      assert(garbage !== undefined, `B1: ${id} is listed before it is no longer named`);
      const listedAt = garbage.value.notBefore - GRACE_MS;
      assert(now - listedAt <= 3_600_000, 'B2: listed less than an hour ago');
      assert.equal(garbage.value.object, change.id);
    }
    const held = await this.#heldByUploads(change.id);
    for (const [id, location] of after) {
      if (before.has(id)) continue;
      const isYoung = now - locationBirth(id) <= GRACE_MS / 2;
      assert(isYoung || held.has(id), `B3: ${id} is young or held by its own upload`);
      if (location === undefined) continue;
      const blob = this.#tiers.get(location.tier)?.blobs.get(location.id);
      assert(location.kind === 'pack' || blob !== undefined, `I1: the bytes of ${id} are there`);
    }
    if (next === undefined) return;
    const inline = JSON.stringify(next.versions).length;
    assert(
      next.versions.length < 2 || inline <= 24 * 1024,
      `A5: ${inline} bytes of versions inline`,
    );
    assert(
      next.history.length === 0 || next.versions.length > 0,
      'A5: a current version is inline',
    );
  }

  async #heldByUploads(object: string): Promise<Set<string>> {
    const held = new Set<string>();
    for (const { id, value } of this.#store.rowsOf<Upload>('uploads')) {
      if (!id.startsWith(`${object}\u0001`)) continue;
      for (const name of await namesOfUpload(this.#store, value)) held.add(name);
    }
    return held;
  }

  /**
   * I3: every blob is named by a document, an upload's part or a completing upload, or is listed. Not
   * after a crash: those are the sweep's.
   */
  async everyBlobIsAccountedFor(): Promise<void> {
    const known = new Set<string>();
    for (const { value } of this.#store.rowsOf<ObjectDocument>('objects')) {
      for (const id of (await namesOf(this.#store, value)).keys()) known.add(id);
    }
    for (const { value } of this.#store.rowsOf<Upload>('uploads')) {
      for (const id of await namesOfUpload(this.#store, value)) known.add(id);
    }
    for (const { value } of this.#store.rowsOf<{ location: Location; replaced: Location[] }>(
      'parts',
    )) {
      for (const { id } of [value.location, ...value.replaced]) known.add(id);
    }
    for (const { id } of this.#store.rowsOf<Garbage>('garbage')) {
      known.add(id.startsWith('block/') ? id.slice('block/'.length) : id);
    }
    for (const tier of this.#tiers.values()) {
      for (const id of tier.blobs.keys()) assert(known.has(id), `I3: blob ${id} is accounted for`);
    }
    for (const { id } of this.#store.rowsOf('blocks')) {
      assert(known.has(id), `I3: block ${id} is accounted for`);
    }
  }
}

/** Ends the process at its n-th change from now, before or after it is committed. */
export function crashAt(store: MemoryMetadataStore, nth: number, when: 'before' | 'after'): void {
  const outer = store.beforeCommit;
  let seen = 0;
  let dead = false;
  store.beforeRead = () => {
    if (dead) throw new Crash();
  };
  store.beforeCommit = async (change) => {
    if (dead) throw new Crash();
    seen += 1;
    if (seen < nth) return outer?.(change);
    dead = true;
    if (when === 'before') throw new Crash();
    await outer?.(change);
    // The store answers an unknown outcome; nobody is left to hear it.
    return 'doubt-done';
  };
}

/** The machine is up again: the next process finds what the dead one left. */
export function revive(h: House): void {
  h.store.beforeRead = undefined;
  h.store.beforeCommit = (change) => h.auditor.check(change);
}

export const put = (
  key: string,
  body: string | Uint8Array,
  more: Partial<PutObject> = {},
): PutObject => ({
  bucket: 'bucket',
  key,
  owner: 'root',
  storageClass: 'STANDARD',
  headers: {},
  metadata: {},
  body: typeof body === 'string' ? Buffer.from(body) : body,
  ...more,
});

export async function bytesOf(body: Body): Promise<Buffer> {
  if (body instanceof Uint8Array) return Buffer.from(body);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

export async function textOf(engine: Engine, key: string, versionId?: string): Promise<string> {
  const name = { bucket: 'bucket', key };
  const answer = await engine.getObject(versionId === undefined ? name : { ...name, versionId });
  return (await bytesOf(answer.body)).toString();
}

/** The code of the refusal, or 'none'. Anything but a FirnError is thrown on. */
export async function codeOf(action: Promise<unknown>): Promise<ErrorCode | 'none'> {
  try {
    await action;
    return 'none';
  } catch (error) {
    if (isFirnError(error)) return error.code;
    throw error;
  }
}

export async function makeBucket(
  h: { engine: Engine },
  versioning: 'off' | 'enabled' | 'suspended' = 'off',
): Promise<string> {
  const bucket = await h.engine.createBucket({ name: 'bucket', owner: 'root', region: 'local' });
  if (versioning !== 'off') {
    await h.engine.updateBucket('bucket', (old) => ({ ...old, versioning }));
  }
  return bucket.id;
}

export async function documentOf(h: House, key: string): Promise<ObjectDocument | undefined> {
  const bucket = await h.engine.getBucket('bucket');
  const row = await h.store.get<ObjectDocument>('objects', objectId(bucket.id, key));
  return row?.value;
}

export const garbageOf = (h: House): Map<string, Garbage> =>
  new Map(h.store.rowsOf<Garbage>('garbage').map(({ id, value }) => [id, value]));

export const eventsOf = (h: House): EventName[] => h.events.map(({ name }) => name);

/** Bytes of one part that may stand before another: 5 MiB. */
export const bigPart = (seed: number): Buffer => Buffer.alloc(5 * 1024 * 1024, seed);
