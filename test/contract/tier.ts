// What every tier owes its callers, run against each adapter on its real medium. Each test makes
// its own tier: a harness that gives isolation (own directory, container, prefix) and says what it
// can do beside.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { ExecutionContext } from 'ava';
import { newLocationId } from '../../appliance/model/ids.ts';
import type { Clock, Random } from '../../appliance/model/clock.ts';
import { isFirnError, type ErrorCode } from '../../appliance/model/errors.ts';
import type { BlobLocation } from '../../appliance/model/location.ts';
import type { Body, ListedBlob, PutRequest, Stored, Tier } from '../../appliance/model/tier.ts';
import { checksumOf } from '../../tiers/checksum.ts';

export interface TierHarness {
  /** Opened. */
  tier: Tier;
  cleanup(): Promise<void>;
  /**
   * Damages the stored bytes beneath the tier, beyond what it can repair, without changing the
   * length.
   */
  corrupt?(location: BlobLocation): Promise<void>;
  /** Staged tiers: lets that much time pass (engine clock and the provider's double). */
  advance?(ms: number): Promise<void>;
  /** A tier of the same kind whose open() must fail. */
  unopenable?(): Tier;
  /** A second tier object on the same medium, as another process has it. Opened. */
  twin?(): Promise<Tier>;
}

export interface TierTraits {
  /** False: a deleted blob may stay readable until space is reclaimed (segments). Default true. */
  deleteIsImmediate?: boolean;
  /** False: list() does not show small blobs one by one. Default true. */
  listsEveryBlob?: boolean;
  /** False: ranges are not verified, only whole reads are. Default true. */
  verifiesRanges?: boolean;
  /** A put with another checksum than its body's is refused. Default false. */
  refusesWrongChecksum?: boolean;
  /** Bytes of the large stream. Default 6 MiB + 5. */
  largeBytes?: number;
  /** Staged: longest time that Standard staging takes in the double, ms. */
  stageMs?: number;
}

/** ava's test, or what registers the same as skipped. */
export interface TierRegistrar {
  serial(title: string, run: (t: ExecutionContext) => Promise<void>): void;
}

type Make = () => Promise<TierHarness>;
type Use = (t: ExecutionContext, h: TierHarness) => Promise<void>;

const OWNER = { bucketId: '00112233445566ff', key: 'a/../b c/ü%2F\u0007.bin' };

/** Reproducible bytes that do not compress and differ by seed. */
export function sampleBytes(length: number, seed = 1): Uint8Array {
  const out = new Uint8Array(length);
  let state = (seed * 2654435761) >>> 0 || 1;
  const words = new Uint32Array(out.buffer, 0, length >>> 2);
  for (let i = 0; i < words.length; i += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    words[i] = state;
  }
  for (let i = words.length * 4; i < length; i += 1) out[i] = (state >>> (8 * (i & 3))) & 0xff;
  return out;
}

/**
 * A body read once whose buffer is overwritten as soon as the next chunk is asked for, as the port
 * allows.
 */
export async function* reusedChunks(
  bytes: Uint8Array,
  chunkBytes = 64 * 1024,
): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(chunkBytes);
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const chunk = bytes.subarray(at, at + chunkBytes);
    buffer.set(chunk);
    yield buffer.subarray(0, chunk.length);
    buffer.fill(0xee);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export async function bytesOf(body: Body): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return body;
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function same(t: ExecutionContext, got: Uint8Array, wanted: Uint8Array, what: string): void {
  t.is(got.length, wanted.length, `${what}: length`);
  t.is(sha256(got), sha256(wanted), `${what}: bytes`);
}

export async function failsWith(
  t: ExecutionContext,
  code: ErrorCode,
  action: () => Promise<unknown>,
): Promise<void> {
  const error: unknown = await action().then(
    () => undefined,
    (reason: unknown) => reason ?? new Error('rejected with nothing'),
  );
  t.true(isFirnError(error, code), `wanted ${code}, got ${String(error)}`);
}

/** Ids are drawn at real time: the contract needs freshness, not a date. */
const wallClock: Clock = { wall: () => Date.now(), now: () => Date.now() };
const random: Random = { bytes: (count) => crypto.getRandomValues(new Uint8Array(count)) };
export const freshId = (): string => newLocationId(wallClock, random);

function request(body: Body, more: Partial<PutRequest> = {}): PutRequest {
  return { id: freshId(), body, owner: OWNER, ...more };
}

async function put(tier: Tier, bytes: Uint8Array, more: Partial<PutRequest> = {}): Promise<Stored> {
  return tier.put(request(bytes, { sizeBytes: bytes.length, ...more }));
}

async function listed(tier: Tier): Promise<ListedBlob[]> {
  const all: ListedBlob[] = [];
  for await (const blob of tier.list()) all.push(blob);
  return all;
}

/** Staged tiers: brings the blob online, so that the byte tests read alike on both kinds. */
async function bringOnline(h: TierHarness, location: BlobLocation, stageMs: number): Promise<void> {
  if (h.tier.retrieval === 'immediate') return;
  await h.tier.stage(location, { priority: 'Standard', days: 1 });
  await h.advance?.(stageMs);
  const status = await h.tier.stageStatus(location);
  assert.equal(status.state, 'ready', 'staging did not end in stageMs');
}

/** Registers the suite; names start with the adapter's. Runs serially: one medium, two cores. */
export function tierContract(
  test: TierRegistrar,
  name: string,
  make: Make,
  traits: TierTraits = {},
): void {
  const stageMs = traits.stageMs ?? 0;
  const check = (title: string, use: Use): void => {
    test.serial(`${name}: ${title}`, async (t) => {
      const h = await make();
      try {
        await use(t, h);
      } finally {
        await h.cleanup();
      }
    });
  };
  const online = (h: TierHarness, location: BlobLocation) => bringOnline(h, location, stageMs);
  writing(check, traits, online);
  reading(check, traits, online);
  keeping(check, traits, online);
  staging(check, stageMs);
}

type Check = (title: string, use: Use) => void;
type Online = (h: TierHarness, location: BlobLocation) => Promise<void>;

function writing(check: Check, traits: TierTraits, online: Online): void {
  check('bytes put are the bytes read, and their checksum is XXH3-64', async (t, h) => {
    const bytes = sampleBytes(70_001);
    const stored = await put(h.tier, bytes);
    t.is(stored.sizeBytes, bytes.length);
    t.is(stored.checksum, checksumOf(bytes));
    t.is(stored.location.tier, h.tier.name);
    t.is(stored.location.length, bytes.length);
    await online(h, stored.location);
    same(t, await bytesOf(await h.tier.read(stored.location)), bytes, 'read');
    t.deepEqual(await h.tier.verify(stored.location), {
      checksum: checksumOf(bytes),
      sizeBytes: bytes.length,
    });
  });

  check('an empty blob is a blob', async (t, h) => {
    const stored = await put(h.tier, new Uint8Array(0));
    t.is(stored.sizeBytes, 0);
    t.is(stored.checksum, checksumOf(new Uint8Array(0)));
    await online(h, stored.location);
    same(t, await bytesOf(await h.tier.read(stored.location)), new Uint8Array(0), 'read');
    t.deepEqual(await h.tier.verify(stored.location), {
      checksum: stored.checksum,
      sizeBytes: 0,
    });
  });

  for (const known of [true, false]) {
    const size = known ? 'known' : 'unknown';
    check(`a large stream of ${size} size whose chunks are reused arrives whole`, async (t, h) => {
      const bytes = sampleBytes(traits.largeBytes ?? 6 * 1024 * 1024 + 5, 7);
      const stored = await h.tier.put(
        request(reusedChunks(bytes, 100_003), known ? { sizeBytes: bytes.length } : {}),
      );
      t.is(stored.sizeBytes, bytes.length);
      t.is(stored.checksum, checksumOf(bytes));
      await online(h, stored.location);
      same(t, await bytesOf(await h.tier.read(stored.location)), bytes, 'read');
      const range = { offset: bytes.length - 1_500_001, length: 1_500_000 };
      same(
        t,
        await bytesOf(await h.tier.read(stored.location, { range })),
        bytes.subarray(range.offset, range.offset + range.length),
        'range near the end',
      );
    });
  }

  check('the same id and bytes again succeed, so that a retry is harmless', async (t, h) => {
    const bytes = sampleBytes(10_000, 3);
    const id = freshId();
    const first = await put(h.tier, bytes, { id });
    const again = await put(h.tier, bytes, { id });
    const streamed = await h.tier.put(request(reusedChunks(bytes, 4096), { id }));
    for (const stored of [first, again, streamed]) {
      t.is(stored.checksum, checksumOf(bytes));
      await online(h, stored.location);
      same(t, await bytesOf(await h.tier.read(stored.location)), bytes, 'read');
    }
  });

  check('other bytes under a name that is taken are refused, the first stay', async (t, h) => {
    if (!h.tier.capabilities.createOnly) {
      t.pass('this tier never writes a name twice by construction');
      return;
    }
    const bytes = sampleBytes(10_000, 4);
    const id = freshId();
    const { location } = await put(h.tier, bytes, { id });
    const other = sampleBytes(10_000, 5);
    await failsWith(t, 'TierConflict', () => put(h.tier, other, { id }));
    await failsWith(t, 'TierConflict', () => put(h.tier, other.subarray(1), { id }));
    await failsWith(t, 'TierConflict', () =>
      h.tier.put(request(reusedChunks(sampleBytes(9_500_000, 6)), { id })),
    );
    await online(h, location);
    same(t, await bytesOf(await h.tier.read(location)), bytes, 'read');
  });

  check('a body that throws leaves nothing readable and nothing listed', async (t, h) => {
    for (const count of [0, 3, 150]) {
      const broken = async function* broken(): AsyncGenerator<Uint8Array> {
        for (let i = 0; i < count; i += 1) yield sampleBytes(64 * 1024, i + 1);
        await Promise.resolve();
        throw new Error('the client went away');
      };
      await t.throwsAsync(h.tier.put(request(broken())), { message: /the client went away/ });
    }
    if (traits.listsEveryBlob !== false) t.deepEqual(await listed(h.tier), []);
    t.is((await h.tier.usage()).blobs, 0);
  });

  check('a body of another length than announced is refused', async (t, h) => {
    for (const sizeBytes of [99_999, 100_001]) {
      const body = sampleBytes(100_000, 9);
      await t.throwsAsync(h.tier.put(request(reusedChunks(body), { sizeBytes })));
      await t.throwsAsync(h.tier.put(request(body, { sizeBytes })));
    }
    if (traits.listsEveryBlob !== false) t.deepEqual(await listed(h.tier), []);
  });

  check('a body that does not match the checksum announced is refused', async (t, h) => {
    if (traits.refusesWrongChecksum !== true) {
      t.pass('this tier leaves the comparison to its caller');
      return;
    }
    for (const size of [1000, traits.largeBytes ?? 6 * 1024 * 1024 + 5]) {
      const body = sampleBytes(size, 15);
      const checksum = checksumOf(sampleBytes(size, 16));
      await t.throwsAsync(h.tier.put(request(reusedChunks(body, 70_000), { checksum })));
      const right = await h.tier.put(request(body, { checksum: checksumOf(body) }));
      t.is(right.checksum, checksumOf(body));
      await h.tier.delete(right.location);
    }
    if (traits.listsEveryBlob !== false) t.deepEqual(await listed(h.tier), []);
  });

  check('an aborted signal ends a put and nothing is kept', async (t, h) => {
    const control = new AbortController();
    const endless = async function* endless(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 100_000; i += 1) {
        if (i === 20) control.abort();
        yield sampleBytes(64 * 1024, 2);
      }
    };
    await t.throwsAsync(h.tier.put(request(endless(), { signal: control.signal })));
    if (traits.listsEveryBlob !== false) t.deepEqual(await listed(h.tier), []);
  });
}

function reading(check: Check, traits: TierTraits, online: Online): void {
  check('ranges at every edge are exact', async (t, h) => {
    const bytes = sampleBytes(200_000, 11);
    const { location } = await put(h.tier, bytes);
    await online(h, location);
    const piece = 65_536;
    const ranges: [number, number][] = [
      [0, 1],
      [0, 200_000],
      [199_999, 1],
      [piece - 1, 2],
      [piece, piece],
      [piece + 1, 2 * piece],
      [131_071, 68_929],
      [12_345, 0],
      [200_000, 0],
    ];
    for (const [offset, length] of ranges) {
      const range = { offset, length };
      const got = await bytesOf(await h.tier.read(location, { range }));
      same(t, got, bytes.subarray(offset, offset + length), `${offset}+${length}`);
    }
  });

  check('a range past the end never brings bytes that do not exist', async (t, h) => {
    const bytes = sampleBytes(1000, 12);
    const { location } = await put(h.tier, bytes);
    await online(h, location);
    for (const range of [
      { offset: 990, length: 11 },
      { offset: 1000, length: 1 },
      { offset: 5000, length: 10 },
    ]) {
      const got = await h.tier
        .read(location, { range })
        .then(bytesOf)
        .catch((error: unknown) => {
          t.true(isFirnError(error), String(error));
          return bytes.subarray(range.offset);
        });
      same(t, got, bytes.subarray(range.offset, range.offset + range.length), 'clamped');
    }
  });

  check('a reader that stops early frees what it held', async (t, h) => {
    const bytes = sampleBytes(5_000_000, 13);
    const { location } = await put(h.tier, bytes);
    await online(h, location);
    for (let i = 0; i < 8; i += 1) {
      const body = await h.tier.read(location);
      if (body instanceof Uint8Array) continue;
      for await (const chunk of body) {
        t.true(chunk.length > 0);
        break;
      }
    }
    same(t, await bytesOf(await h.tier.read(location)), bytes, 'afterwards');
  });

  check('damaged bytes are an error, never wrong bytes', async (t, h) => {
    if (h.corrupt === undefined) {
      t.pass('this medium cannot be damaged from the test');
      return;
    }
    for (const length of [5000, 3_000_000]) {
      const bytes = sampleBytes(length, 14);
      const { location } = await put(h.tier, bytes);
      await h.corrupt(location);
      await online(h, location);
      await failsWith(t, 'Corrupt', async () => bytesOf(await h.tier.read(location)));
      await t.throwsAsync(async () => {
        const found = await h.tier.verify(location);
        if (found.checksum !== checksumOf(bytes)) throw new Error('found by verify');
      });
      if (traits.verifiesRanges === false) continue;
      await t.throwsAsync(async () => {
        const step = length / 100;
        for (let at = 0; at < length; at += step) {
          const range = { offset: at, length: step };
          const got = await bytesOf(await h.tier.read(location, { range }));
          same(t, got, bytes.subarray(at, at + range.length), 'a range that was served');
        }
      });
    }
  });
}

function keeping(check: Check, traits: TierTraits, online: Online): void {
  check('delete frees exactly one blob, and again is no error', async (t, h) => {
    const keep = await put(h.tier, sampleBytes(3000, 21));
    const gone = await put(h.tier, sampleBytes(3000, 22));
    await h.tier.delete(gone.location);
    await h.tier.delete(gone.location);
    await online(h, keep.location);
    same(t, await bytesOf(await h.tier.read(keep.location)), sampleBytes(3000, 21), 'the other');
    if (traits.deleteIsImmediate === false) return;
    await failsWith(t, 'TierMissing', async () => bytesOf(await h.tier.read(gone.location)));
    await failsWith(t, 'TierMissing', async () =>
      bytesOf(await h.tier.read(gone.location, { range: { offset: 1, length: 2 } })),
    );
    await failsWith(t, 'TierMissing', () => h.tier.verify(gone.location));
  });

  check('list shows exactly what is there, usage adds it up', async (t, h) => {
    if (traits.listsEveryBlob === false) {
      t.pass('small blobs are not listed one by one here');
      return;
    }
    const before = await h.tier.usage();
    const sizes = [0, 1, 5000, 2_000_000];
    const stored: Stored[] = [];
    for (const [i, size] of sizes.entries()) stored.push(await put(h.tier, sampleBytes(size, i)));
    stored.push(await put(h.tier, sampleBytes(77), { name: '../../etc/pass wd/ü\u0000~label' }));
    const dropped = stored.splice(2, 1)[0] as Stored;
    await h.tier.delete(dropped.location);
    const byId = (a: ListedBlob, b: ListedBlob): number => (a.location.id < b.location.id ? -1 : 1);
    const shown = await listed(h.tier);
    for (const { owner } of shown) if (owner !== undefined) t.deepEqual(owner, OWNER);
    t.deepEqual(
      shown.map(({ location, sizeBytes }) => ({ location, sizeBytes })).toSorted(byId),
      stored.map(({ location, sizeBytes }) => ({ location, sizeBytes })).toSorted(byId),
    );
    const usage = await h.tier.usage();
    t.is(usage.blobs - before.blobs, stored.length);
    const held = stored.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    t.true(usage.usedBytes - before.usedBytes >= held);
    for await (const { location } of h.tier.list()) await h.tier.delete(location);
    t.deepEqual(await listed(h.tier), []);
  });

  check('what one process put another reads, with its own name and location', async (t, h) => {
    if (h.twin === undefined) {
      t.pass('one process owns this medium');
      return;
    }
    const bytes = sampleBytes(4000, 31);
    const id = freshId();
    const twin = await h.twin();
    try {
      const puts = await Promise.all([put(h.tier, bytes, { id }), put(twin, bytes, { id })]);
      t.deepEqual(puts[0], puts[1], 'both at once agree');
      const copy = structuredClone(puts[0].location);
      await online(h, copy);
      same(t, await bytesOf(await twin.read(copy)), bytes, 'by the other');
    } finally {
      await twin.close();
    }
  });

  check('close works twice and after a failed open', async (t, h) => {
    await h.tier.close();
    await h.tier.close();
    const broken = h.unopenable?.();
    if (broken !== undefined) {
      await t.throwsAsync(broken.open());
      await broken.close();
      await broken.close();
    }
    t.pass();
  });
}

function staging(check: Check, stageMs: number): void {
  check('stage and its status tell the truth about when bytes can be read', async (t, h) => {
    const bytes = sampleBytes(6000, 41);
    const { location } = await put(h.tier, bytes);
    if (h.tier.retrieval === 'immediate') {
      t.deepEqual(await h.tier.stageStatus(location), { state: 'ready' });
      await h.tier.stage(location, { priority: 'Standard', days: 1 });
      same(t, await bytesOf(await h.tier.read(location)), bytes, 'read');
      return;
    }
    assert.ok(h.advance !== undefined, 'a staged tier is tested with a clock');
    const advance = (ms: number): Promise<void> => h.advance?.(ms) ?? Promise.resolve();
    t.is((await h.tier.stageStatus(location)).state, 'offline');
    await failsWith(t, 'TierOffline', async () => bytesOf(await h.tier.read(location)));
    const [slowest] = h.tier.capabilities.priorities.toReversed();
    assert.ok(slowest !== undefined);
    await h.tier.stage(location, { priority: slowest, days: 2 });
    await h.tier.stage(location, { priority: slowest, days: 2 });
    t.is((await h.tier.stageStatus(location)).state, 'staging');
    await failsWith(t, 'TierOffline', async () => bytesOf(await h.tier.read(location)));
    await h.tier.stage(location, { priority: 'Standard', days: 2 });
    t.is((await h.tier.stageStatus(location)).state, 'staging');
    await advance(stageMs);
    const ready = await h.tier.stageStatus(location);
    t.is(ready.state, 'ready');
    same(t, await bytesOf(await h.tier.read(location)), bytes, 'read while ready');
    await h.tier.stage(location, { priority: 'Standard', days: 2 });
    t.is((await h.tier.stageStatus(location)).state, 'ready', 'a repeat does not take it offline');
    await advance(3 * 86_400_000);
    t.is((await h.tier.stageStatus(location)).state, 'offline', 'days are over');
    await failsWith(t, 'TierOffline', async () => bytesOf(await h.tier.read(location)));
    await h.tier.stage(location, { priority: 'Standard', days: 1 });
    await advance(stageMs);
    same(t, await bytesOf(await h.tier.read(location)), bytes, 'staged a second time');
  });

  check('what is absent can be neither staged nor called ready', async (t, h) => {
    if (h.tier.retrieval === 'immediate') {
      t.pass('nothing to stage');
      return;
    }
    const { location } = await put(h.tier, sampleBytes(10));
    await h.tier.delete(location);
    await failsWith(t, 'TierMissing', () =>
      h.tier.stage(location, { priority: 'Standard', days: 1 }),
    );
    await failsWith(t, 'TierMissing', () => h.tier.stageStatus(location));
  });
}
