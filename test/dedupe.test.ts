// Bytes that take less room, and packs that need not be read: compression by moves, filters of packs.
// What a user would lose: bytes that come back other
// than they went, or not at all; a range that is another's; memory, by bytes that swell; and an ETag,
// size or date that changes because somebody saved room.

import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';

import test, { type ExecutionContext } from 'ava';

import { compressedTiers } from '../settings.ts';
import { mayCompress } from '../appliance/engine/bytes/compression.ts';
import { compactPack } from '../appliance/engine/upkeep/compact.ts';
import { allVersions, bucketNames } from '../appliance/engine/document/inventory.ts';
import { takeLease } from '../appliance/engine/document/lease.ts';
import { moveVersions, type MovingVersion } from '../appliance/engine/move/move.ts';
import { moveIntoPacks } from '../appliance/engine/move/pack-move.ts';
import { resumeMoves } from '../appliance/engine/move/resume.ts';
import { sweep } from '../appliance/engine/upkeep/sweep.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import { keyOfObjectId, newLocationId } from '../appliance/model/ids.ts';
import { GRACE_MS, KiB, MiB } from '../appliance/model/limits.ts';
import type { Location, Pack } from '../appliance/model/location.ts';
import type { ObjectDocument, Part, Version } from '../appliance/model/object.ts';
import type { PackEntry } from '../appliance/model/packer.ts';
import type { Garbage, UsageRow } from '../appliance/model/records.ts';
import type { Body, ByteRange, Tier } from '../appliance/model/tier.ts';
import { decodeFrames, encodeFrames, FRAME_BYTES } from '../appliance/model/zstd-frames.ts';
import { CostModel } from '../policies/cost/cost-model.ts';
import { loadPriceBooks } from '../policies/cost/price-book.ts';
import { costReport } from '../policies/cost/report.ts';
import { RestoreWorker } from '../workers/restore.ts';
import { sampleUsage } from '../workers/usage.ts';
import { checksumOf } from '../tiers/checksum.ts';
import { buildColdTier } from '../tiers/cold/build.ts';
import { packMayHold } from '../tiers/pack/pack-filter.ts';
import { buildPacker } from '../tiers/pack/packer.ts';
import { describePack, readPack, versionInPack } from '../tiers/pack/rebuild.ts';
import { Crash } from './memory-store.ts';
import {
  bytesAt,
  collectAll,
  leaseOf,
  namedBlobs,
  newRig,
  random,
  turnOf,
  versionsOf,
  wholeOf,
  type Rig,
} from './move-rig.ts';

import { openHouse } from './space-house.ts';

const SEED = Number(process.env['FIRN_SEED'] ?? Date.now() % 1_000_000);

function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Lines as a log has them: a fifth is left of them. */
function lines(size: number, seed = 1): Uint8Array {
  const next = seeded(seed);
  const text: string[] = [];
  for (let bytes = 0; bytes < size;) {
    const line = `2026-01-05 GET /reports/${Math.floor(next() * 1e6)} 200 ${Math.floor(next() * 1e4)} ms\n`;
    text.push(line);
    bytes += line.length;
  }
  return new Uint8Array(Buffer.from(text.join('')).subarray(0, size));
}

async function encoded(plain: Uint8Array | AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of encodeFrames(plain)) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

/** A reader of stored bytes, and what was read of them. */
function readerOf(stored: Uint8Array): {
  read: (range: ByteRange) => Promise<Body>;
  asked: ByteRange[];
} {
  const asked: ByteRange[] = [];
  return {
    asked,
    read(range) {
      asked.push(range);
      const bytes = stored.slice(range.offset, range.offset + range.length);
      return Promise.resolve(bytes.length > 64 * KiB ? inChunks(bytes, 10_007) : bytes);
    },
  };
}

async function decoded(
  stored: Uint8Array,
  plainBytes: number,
  range: ByteRange,
): Promise<Uint8Array> {
  const { read } = readerOf(stored);
  return wholeOf(await decodeFrames({ storedBytes: stored.length, plainBytes, read }, range));
}

const isCorrupt = (error: unknown): boolean => isFirnError(error, 'Corrupt');

test('frames give back every range of bytes of any size, dense or not, in one piece or in chunks', async (t) => {
  t.log(`seed ${SEED}`);
  const next = seeded(SEED);
  const edges = [0, 1, 100, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES];
  const sizes = [...edges, Math.floor(next() * 4 * MiB)];
  for (const [i, size] of sizes.entries()) {
    const plain = i % 2 === 0 ? lines(size, SEED + i) : new Uint8Array(randomBytes(size));
    const stored = await encoded(plain);
    t.deepEqual(await encoded(inChunks(plain, 77_777)), stored, 'the same however it comes');
    const whole = await decoded(stored, size, { offset: 0, length: size });
    t.is(Buffer.compare(whole, plain), 0, `${size} bytes, whole`);
    for (let tries = 0; tries < 8 && size > 0; tries++) {
      const offset = Math.floor(next() * size);
      const length = 1 + Math.floor(next() * (size - offset));
      const got = await decoded(stored, size, { offset, length });
      const same = Buffer.compare(got, plain.subarray(offset, offset + length)) === 0;
      t.true(same, `${size} bytes, ${offset}+${length}`);
    }
  }
});

test('a range reads the table and the frames it touches, and nothing else', async (t) => {
  const plain = lines(5 * MiB + 10);
  const stored = await encoded(plain);
  const { read, asked } = readerOf(stored);
  const frames = { storedBytes: stored.length, plainBytes: plain.length, read };
  const range = { offset: 2 * MiB + 5, length: 100 };
  const got = await wholeOf(await decodeFrames(frames, range));
  t.deepEqual(Buffer.from(got), Buffer.from(plain.subarray(2 * MiB + 5, 2 * MiB + 105)));
  t.is(asked.length, 2);
  t.is(asked[0]?.offset, stored.length - (8 + 6 * 8 + 9));
  t.true((asked[1]?.length ?? 0) < stored.length / 4);
});

test("what is stored is opened by zstd's own tools, table and all", async (t) => {
  const plain = lines(3 * MiB + 5);
  const stored = await encoded(plain);
  t.is(Buffer.compare(zstdDecompressSync(stored.subarray(0, stored.length)), plain), 0);
  // The last bytes as the seekable format has them: 4 frames, no checksums, its magic number.
  t.is(stored.subarray(-9).toString('hex'), '0400000000b1ea928f');
  try {
    execFileSync('zstd', ['--version'], { stdio: 'ignore' });
  } catch {
    t.log('skipped the rest: no zstd on this machine');
    return;
  }
  const out = execFileSync('zstd', ['-dc'], { input: stored, maxBuffer: 8 * MiB });
  t.is(Buffer.compare(out, plain), 0);
});

test('damaged frames are Corrupt, never other bytes: every place of the table, any bit, cut or grown', async (t) => {
  t.log(`seed ${SEED}`);
  const next = seeded(SEED);
  const plain = lines(2 * MiB + 999, SEED);
  const stored = await encoded(plain);
  const all = { offset: 0, length: plain.length };
  const table = stored.length - (8 + 3 * 8 + 9);
  const places = Array.from({ length: 41 }, (_, i) => table + i);
  for (let i = 0; i < 60; i++) places.push(Math.floor(next() * stored.length));
  for (const at of places) {
    const bad = Buffer.from(stored);
    bad[at] = (bad[at] as number) ^ (1 << Math.floor(next() * 8));
    const error = await decoded(bad, plain.length, all).then(
      (got) => (Buffer.compare(got, plain) === 0 ? 'the same bytes' : 'other bytes'),
      (thrown: unknown) => thrown,
    );
    t.true(isCorrupt(error) || error === 'the same bytes', `byte ${at}: ${String(error)}`);
  }
  for (const bad of [
    stored.subarray(0, -1),
    stored.subarray(0, 100),
    Buffer.concat([stored, stored]),
  ]) {
    await t.throwsAsync(decoded(bad, plain.length, all), { code: 'Corrupt' });
  }
});

test.serial(
  'bytes that swell beyond what was recorded are refused, whatever their table says',
  async (t) => {
    const bomb = zstdCompressSync(Buffer.alloc(64 * MiB));
    const before = process.memoryUsage().rss;
    await t.throwsAsync(decoded(bomb, 1000, { offset: 0, length: 1000 }), { code: 'Corrupt' });
    await t.throwsAsync(decoded(bomb, MiB, { offset: 0, length: MiB }), { code: 'Corrupt' });
    t.true(process.memoryUsage().rss - before < 32 * MiB, 'nobody unpacked it');
  },
);

interface PutOptions {
  type?: string;
  storageClass?: string;
  sealed?: boolean;
}

async function put(
  rig: Rig,
  key: string,
  body: Uint8Array,
  options: PutOptions = {},
): Promise<Version> {
  const { version } = await rig.engine.putObject({
    bucket: rig.bucket.name,
    key,
    body,
    sizeBytes: body.length,
    owner: 'root',
    storageClass: options.storageClass ?? 'STANDARD',
    headers: { 'content-type': options.type ?? 'text/plain' },
    metadata: {},
    ...(options.sealed === true ? { encryption: { kind: 'SSE-S3' } } : {}),
  });
  rig.bytes.set(version.id, body);
  return version;
}

/** A rig whose moves into cold and archive compress. */
async function compressing(t: ExecutionContext, more: string[] = []): Promise<Rig> {
  const rig = await newRig();
  t.teardown(() => rig.close());
  rig.context.compressedTiers = new Set(['cold', 'archive', ...more]);
  return rig;
}

async function pack(rig: Rig, storageClass = 'GLACIER_IR'): Promise<void> {
  const tier = rig.context.classes.get(storageClass) ?? '';
  const lease = await leaseOf(rig, 'pack', `packer-${rig.clock.now()}`);
  const all = (await versionsOf(rig)).filter(({ parts }) => parts[0]?.location.tier !== tier);
  await moveIntoPacks(rig.core, all, { kind: 'transition', tier, storageClass, lease });
  await lease.release();
}

async function back(rig: Rig, tier = 'hot'): Promise<void> {
  const lease = await leaseOf(rig, 'back', `mover-${rig.clock.now()}`);
  const all = (await versionsOf(rig)).filter(({ parts }) => parts[0]?.location.tier !== tier);
  await moveVersions(rig.core, all, { kind: 'promote', tier, storageClass: 'STANDARD', lease });
  await lease.release();
}

/** The plain bytes of a location, opened by zlib alone. */
async function plainAt(rig: Rig, location: Location): Promise<Uint8Array | undefined> {
  const stored = await bytesAt(rig, location);
  if (stored === undefined || location.codec === undefined) return stored;
  return stored.length === 0 ? stored : zstdDecompressSync(stored);
}

/** I1: whatever a document names opens to the bytes that were put. */
async function audit(t: ExecutionContext, rig: Rig, when: string): Promise<void> {
  for (const { key, version, parts } of await versionsOf(rig)) {
    const copy = version.restore?.copy;
    for (const places of [
      parts.map((part) => part.location),
      ...(copy === undefined ? [] : [copy]),
    ]) {
      const plain = await Promise.all(places.map((location) => plainAt(rig, location)));
      for (const [i, part] of parts.entries()) {
        const bytes = plain[i];
        const isRight = bytes !== undefined && checksumOf(bytes) === part.checksum;
        if (!isRight) return t.fail(`${when}: ${key} is not at ${JSON.stringify(places[i])}`);
      }
      const whole = Buffer.concat(plain as Uint8Array[]);
      const wanted = rig.bytes.get(version.id) as Uint8Array;
      if (Buffer.compare(whole, wanted) !== 0) return t.fail(`${when}: ${key} has other bytes`);
    }
  }
  t.pass();
}

const locationsOf = async (rig: Rig): Promise<Map<string, readonly Location[]>> =>
  new Map(
    (await versionsOf(rig)).map(({ key, parts }) => [key, parts.map((part) => part.location)]),
  );

async function get(rig: Rig, key: string, range?: ByteRange): Promise<Uint8Array> {
  const { bucket } = rig;
  const answer = await rig.engine.getObject({
    bucket: bucket.name,
    key,
    ...(range === undefined ? {} : { range }),
  });
  return wholeOf(answer.body);
}

const SIZES: [string, number][] = [
  ['tiny', 100],
  ['small', 5000],
  ['middle', 300 * KiB],
  ['frames', 2 * MiB + 77],
  ['alone', 17 * MiB + 5],
];

test('moved into a tier that compresses, objects take less room, read the same whole and by range, and show the same', async (t) => {
  const rig = await compressing(t);
  const shown = new Map<string, Version>();
  for (const [key, size] of SIZES) shown.set(key, await put(rig, key, lines(size, size)));
  await pack(rig);
  await audit(t, rig, 'packed');
  const places = await locationsOf(rig);
  for (const [key, size] of SIZES) {
    const [location] = places.get(key) as [Location];
    const bytes = lines(size, size);
    t.is(location.codec, size < 4096 ? undefined : 'zstd', key);
    if (location.codec !== undefined) {
      t.is(location.plainBytes, size);
      t.true(location.length < size / 2, `${key}: ${location.length} of ${size}`);
    }
    t.is(Buffer.compare(await get(rig, key), bytes), 0, key);
    for (const [offset, length] of [
      [0, 1],
      [size - 1, 1],
      [size >> 1, 50],
      [10, size - 20],
    ] as const) {
      const got = await get(rig, key, { offset, length });
      const want = bytes.subarray(offset, offset + length);
      t.is(Buffer.compare(got, want), 0, `${key} ${offset}+${length}`);
    }
    const head = await rig.engine.headObject({ bucket: rig.bucket.name, key });
    const before = shown.get(key) as Version;
    const { etag, sizeBytes, lastModified, checksum } = head.version;
    t.deepEqual(
      { etag, sizeBytes, lastModified, checksum },
      {
        etag: before.etag,
        sizeBytes: size,
        lastModified: before.lastModified,
        checksum: before.checksum,
      },
    );
    t.is(etag, createHash('md5').update(bytes).digest('hex'));
  }
  // And back: plain again, in a tier that does not.
  await back(rig);
  await audit(t, rig, 'moved back');
  for (const [key, [location]] of await locationsOf(rig)) {
    t.is(location?.codec, undefined, key);
    t.is(location?.length, shown.get(key)?.sizeBytes);
  }
});

test('what does not shrink, is compressed already by its type or name, or is sealed, lies as it came', async (t) => {
  const rig = await compressing(t);
  await put(rig, 'noise', new Uint8Array(randomBytes(50_000)));
  await put(rig, 'noise-alone', new Uint8Array(randomBytes(17 * MiB)));
  await put(rig, 'film', lines(50_000), { type: 'video/mp4' });
  await put(rig, 'archive.tar.gz', lines(50_000));
  await put(rig, 'office', lines(50_000), {
    type: 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
  });
  await put(rig, 'sealed', lines(50_000), { sealed: true });
  await put(rig, 'drawing.svg', lines(50_000), { type: 'image/svg+xml' });
  await pack(rig);
  for (const [key, [location]] of await locationsOf(rig)) {
    t.is(location?.tier, 'cold');
    t.is(location?.codec, key === 'drawing.svg' ? 'zstd' : undefined, key);
  }
  t.is(Buffer.compare(await get(rig, 'sealed'), lines(50_000)), 0);
  t.is(Buffer.compare(await get(rig, 'film'), lines(50_000)), 0);
  const [one] = await versionsOf(rig);
  const version = {
    ...(one?.version as Version),
    headers: { 'content-encoding': 'gzip' },
  } as Version;
  t.false(mayCompress(rig.core, 'cold', { key: 'a.txt', version }));
  t.false(mayCompress(rig.core, 'hot', { key: 'a.txt', version: { ...version, headers: {} } }));
});

test('without a setting, the tier of STANDARD does not compress and all others do', (t) => {
  const storageClasses = { STANDARD: 'hot', STANDARD_IA: 'warm', GLACIER: 'archive' };
  const named = (tiers: Parameters<typeof compressedTiers>[0]['tiers']): string[] => [
    ...compressedTiers({ tiers, storageClasses }),
  ];
  t.deepEqual(named({ hot: {}, warm: {}, archive: {} }), ['warm', 'archive']);
  t.deepEqual(named({ hot: { compression: 'auto' }, warm: { compression: 'off' }, archive: {} }), [
    'hot',
    'archive',
  ]);
});

/** An object of parts, each with bytes of its own. */
async function putUpload(rig: Rig, key: string, bodies: readonly Uint8Array[]): Promise<void> {
  const { uploadId } = await rig.engine.createUpload({
    bucket: rig.bucket.name,
    key,
    owner: 'root',
    storageClass: 'STANDARD',
    headers: {},
    metadata: {},
  });
  const parts: { number: number; etag: string }[] = [];
  for (const [i, body] of bodies.entries()) {
    const name = { bucket: rig.bucket.name, key, uploadId, number: i + 1 };
    const { etag } = await rig.engine.putPart({ ...name, body, sizeBytes: body.length });
    parts.push({ number: i + 1, etag });
  }
  const { bucket } = rig;
  const owner = 'root';
  await rig.engine.completeUpload({ bucket: bucket.name, key, uploadId, parts, owner });
  const { version } = await rig.engine.headObject({ bucket: bucket.name, key });
  rig.bytes.set(version.id, new Uint8Array(Buffer.concat(bodies)));
}

test('parts are compressed each by itself: part numbers and ranges across them stay', async (t) => {
  const rig = await compressing(t);
  const small = [lines(5 * MiB, 1), new Uint8Array(randomBytes(1000))];
  const large = [lines(6 * MiB, 2), lines(7 * MiB + 3, 3), lines(8 * MiB, 4)];
  await putUpload(rig, 'small', small);
  await putUpload(rig, 'large', large);
  await pack(rig);
  await audit(t, rig, 'packed');
  for (const [key, bodies] of [
    ['small', small],
    ['large', large],
  ] as const) {
    const bytes = Buffer.concat(bodies);
    const places = (await locationsOf(rig)).get(key) as Location[];
    t.deepEqual(
      places.map(({ codec }) => codec),
      bodies.map(() => 'zstd'),
    );
    const edge = (bodies[0] as Uint8Array).length;
    const range = { offset: edge - 10, length: 500 };
    t.is(Buffer.compare(await get(rig, key, range), bytes.subarray(edge - 10, edge + 490)), 0);
    t.is(Buffer.compare(await get(rig, key), bytes), 0);
    const part = await rig.engine.getObject({ bucket: rig.bucket.name, key, partNumber: 2 });
    t.is(Buffer.compare(await wholeOf(part.body), bodies[1] as Uint8Array), 0);
  }
});

test('meters count what was put and what is kept of it, and cost prices what is kept', async (t) => {
  const rig = await compressing(t);
  await put(rig, 'log', lines(200_000, 1));
  await put(rig, 'noise', new Uint8Array(randomBytes(50_000)));
  await pack(rig);
  await sampleUsage(rig.core, () => Promise.resolve());
  rig.clock.pass(10 * 3_600_000);
  await sampleUsage(rig.core, () => Promise.resolve());
  const rows = rig.store.rowsOf<UsageRow>('usage').map(({ value }) => value);
  const cold = rows.find(({ tier }) => tier === 'cold') as UsageRow;
  t.true(Math.abs(cold.bytes / 10 - 250_000) < 1000, 'as put');
  const places = [...(await locationsOf(rig)).values()].flat();
  const kept = places.reduce((sum, { length }) => sum + length, 0);
  t.true(kept < 130_000);
  t.true(Math.abs((cold.storedBytes ?? 0) / 10 - kept) < 1000, 'as it lies');
  const books = await loadPriceBooks();
  const model = new CostModel(books);
  const month = '2026-01';
  const priced = await costReport([cold], { month, by: 'tier', model, now: rig.clock.now() });
  const old = { ...cold, bytes: cold.storedBytes ?? 0, storedBytes: cold.storedBytes ?? 0 };
  const same = await costReport([old], { month, by: 'tier', model, now: rig.clock.now() });
  t.is(priced.total, same.total, 'the provider bills what is kept');
  t.true((priced.rows[0]?.meanBytes ?? 0) > (priced.rows[0]?.meanStoredBytes ?? 0) * 1.9);
  // A row of an earlier build says only how much was put.
  const { storedBytes: _, ...before } = cold;
  const [row] = (await costReport([before], { month, by: 'tier', model, now: 0 })).rows;
  t.is(row?.meanStoredBytes, row?.meanBytes);
});

async function settle(rig: Rig): Promise<void> {
  for (let quiet = 0; quiet < 2; quiet += 1) {
    rig.clock.pass(GRACE_MS + 60_000);
    const lease = await leaseOf(rig, 'sweep', 'sweeper');
    const { orphans } = await sweep(rig.core, { lease });
    await lease.release();
    rig.clock.pass(GRACE_MS + 60_000);
    const freed = await collectAll(rig, 2);
    if (orphans > 0 || freed > 0) quiet = -1;
  }
}

/** Dies at each effect in turn; every named byte is there each time, and nothing is left over. */
async function atEveryStep(
  t: ExecutionContext,
  before: (rig: Rig) => Promise<void>,
  work: (rig: Rig) => Promise<void>,
): Promise<void> {
  for (let at = 1; ; at += 1) {
    const rig = await newRig();
    try {
      rig.context.compressedTiers = new Set(['cold', 'archive']);
      await before(rig);
      rig.crashAt(at);
      let died = false;
      try {
        await work(rig);
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        died = true;
      }
      rig.restart();
      await audit(t, rig, `died at ${at}`);
      rig.clock.pass(120_000);
      const lease = await leaseOf(rig, 'resume', 'resumer');
      await resumeMoves(rig.core, { lease });
      await lease.release();
      await audit(t, rig, `died at ${at}, resumed`);
      if (died) await work(rig);
      await settle(rig);
      await audit(t, rig, `died at ${at}, settled`);
      const named = await namedBlobs(rig);
      for (const tier of [rig.hot, rig.cold, rig.archive]) {
        for (const id of tier.blobs.keys()) t.true(named.has(id), `died at ${at}: ${id} is left`);
      }
      t.deepEqual(rig.store.rowsOf<Garbage>('garbage'), []);
      if (!died) return t.log(`${at - 1} crash points`);
    } finally {
      rig.close();
    }
  }
}

const few = async (rig: Rig): Promise<void> => {
  await put(rig, 'a', lines(6000, 1));
  await put(rig, 'b', lines(90_000, 2));
  await put(rig, 'c', new Uint8Array(randomBytes(9000)));
};

test('a crash at any step of a compressing move loses nothing, and what resumes it knows the codec', (t) =>
  atEveryStep(t, few, (rig) => pack(rig)));

test('a crash at any step of the way back loses nothing', (t) =>
  atEveryStep(
    t,
    async (rig) => {
      await few(rig);
      await pack(rig);
    },
    (rig) => back(rig),
  ));

test('resumed by the list of members alone, coded members are named as they lie', async (t) => {
  const rig = await compressing(t);
  await few(rig);
  // Dies at the first commit of a member: everything before it stands.
  let commits = 0;
  rig.store.beforeCommit = (change) => {
    if (change.table !== 'objects') return undefined;
    commits += 1;
    throw new Crash();
  };
  await t.throwsAsync(pack(rig), { instanceOf: Crash });
  t.true(commits > 0);
  rig.store.beforeCommit = () => undefined;
  rig.restart();
  rig.clock.pass(120_000);
  await resumeMoves(rig.core, { lease: await leaseOf(rig, 'resume', 'resumer') });
  await audit(t, rig, 'resumed');
  const places = await locationsOf(rig);
  t.deepEqual(
    ['a', 'b', 'c'].map((key) => places.get(key)?.[0]?.codec),
    ['zstd', 'zstd', undefined],
  );
  for (const key of ['a', 'b', 'c']) t.is(places.get(key)?.[0]?.tier, 'cold');
  t.is(Buffer.compare(await get(rig, 'b'), lines(90_000, 2)), 0);
});

test('packed anew and packed further, compressed objects stay whole and compressed', async (t) => {
  const rig = await compressing(t);
  for (let i = 0; i < 12; i++) await put(rig, `k${i}`, lines(20_000 + i, i));
  await pack(rig);
  for (let i = 0; i < 8; i++)
    await rig.engine.deleteObject({ bucket: rig.bucket.name, key: `k${i}`, owner: 'root' });
  rig.clock.pass(GRACE_MS + 60_000);
  await collectAll(rig, 2);
  const [row] = rig.store.rowsOf<Pack>('packs');
  const before = row?.value as Pack;
  t.true(before.deadBytes > 0 && before.deadBytes < before.entryBytes, 'counted as they lie');
  t.true(before.entryBytes < 12 * 20_000 * 0.6);
  const lease = await leaseOf(rig, 'compact');
  const names = await bucketNames(rig.store);
  const { outcome, liveBytes } = await compactPack(rig.core, before, { lease, names });
  t.is(outcome, 'emptied');
  t.is(liveBytes, before.entryBytes - before.deadBytes);
  await lease.release();
  await audit(t, rig, 'compacted');
  await pack(rig, 'GLACIER');
  await audit(t, rig, 'archived');
  for (const [, [location]] of await locationsOf(rig)) t.is(location?.codec, 'zstd');
});

test('a restore of compressed bytes gives plain ones, and its end keeps the compressed', async (t) => {
  const rig = await compressing(t);
  const body = lines(2 * MiB + 5, 9);
  await put(rig, 'old', body);
  await pack(rig, 'GLACIER');
  const name = { bucket: rig.bucket.name, key: 'old' };
  await rig.engine.restoreObject({ ...name, days: 1, tier: 'Expedited', owner: 'root' });
  for (let i = 0; i < 4; i++) {
    const turn = await turnOf(rig, `restore-${i}`);
    await new RestoreWorker(rig.core, () => undefined).run(turn);
    await turn.lease.release();
    rig.clock.pass(61_000);
  }
  const head = await rig.engine.headObject({ bucket: rig.bucket.name, key: 'old' });
  t.is(head.restore?.state, 'ready');
  t.is(head.version.restore?.copy?.[0]?.codec, undefined);
  t.is(head.version.parts[0]?.location.codec, 'zstd');
  t.is(Buffer.compare(await get(rig, 'old'), body), 0);
  await audit(t, rig, 'restored');
});

test('where the landing tier compresses too, bytes that are moved into it do', async (t) => {
  const rig = await compressing(t, ['hot']);
  await put(rig, 'a', lines(40_000, 5));
  await put(rig, 'b', lines(3 * MiB, 6));
  for (const [, [location]] of await locationsOf(rig))
    t.is(location?.codec, undefined, 'a PUT never');
  await pack(rig);
  await back(rig);
  await audit(t, rig, 'moved back');
  for (const [key, [location]] of await locationsOf(rig)) {
    t.is(location?.codec, 'zstd', key);
    t.is(location?.kind, 'shards');
  }
  t.is(
    Buffer.compare(
      await get(rig, 'b', { offset: MiB - 5, length: 10 }),
      lines(3 * MiB, 6).subarray(MiB - 5, MiB + 5),
    ),
    0,
  );
});

test('on real drives and LMDB: coded records and shard files are read, by range too, after a restart', async (t) => {
  let house = await openHouse();
  t.teardown(() => house.dispose());
  const bodies = new Map<string, Uint8Array>([
    ['small', lines(20_000, 1)],
    ['middle', lines(900_000, 2)],
    ['large', lines(3 * MiB + 9, 3)],
    ['noise', new Uint8Array(randomBytes(30_000))],
  ]);
  await house.engine.createBucket({ name: 'data', owner: 'root', region: 'us-east-1' });
  for (const [key, body] of bodies) await house.put(key, body);
  const { core } = house.engine;
  core.context.compressedTiers = new Set(['hot']);
  const moving: MovingVersion[] = [];
  for (const { id, revision, value } of await house.store.range<ObjectDocument>({
    table: 'objects',
    limit: 100,
  })) {
    const key = keyOfObjectId(id);
    const bucketId = id.slice(0, id.indexOf('/'));
    const row = { object: id, key, revision, document: value };
    for (const version of await allVersions(house.store, row)) {
      const { parts } = version;
      moving.push({ bucket: '', bucketId, key, object: id, version, parts });
    }
  }
  const options = { name: 'move', holder: 'test', durationMs: 60_000 };
  const lease = await takeLease(core.context, options);
  if (lease === undefined) return t.fail('leased');
  const counts = await moveVersions(core, moving, { kind: 'compact', tier: 'hot', lease });
  t.is(counts.moved, bodies.size);
  await lease.release();
  const { directory } = house;
  await house.close();
  house = await openHouse({ directory });
  const kinds: string[] = [];
  for (const { id, value } of await house.store.range<ObjectDocument>({
    table: 'objects',
    limit: 100,
  })) {
    const key = keyOfObjectId(id);
    const body = bodies.get(key) as Uint8Array;
    const [part] = (value.versions[0] as Version).parts;
    const { location, sizeBytes } = part as Part;
    t.is(sizeBytes, body.length);
    t.is(location.codec, key === 'noise' ? undefined : 'zstd', key);
    kinds.push(location.kind);
    t.is(Buffer.compare(await house.read(key), body), 0, key);
    const range = { offset: body.length - 5000, length: 4000 };
    const got = await wholeOf(await house.engine.core.locations.read(location, { range }));
    t.is(Buffer.compare(got, body.subarray(range.offset, range.offset + 4000)), 0, key);
  }
  t.deepEqual(kinds.toSorted(), ['segment', 'segment', 'segment', 'shards']);
});

test('in a folder as cold tier, a large object lies alone and compressed, of a length nobody knew, and zstd opens it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'firn-alone-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const rig = await compressing(t);
  const tier = await buildColdTier(
    { kind: 'directory', name: 'cold', directory },
    { clock: rig.clock, random },
  );
  await tier.open();
  t.teardown(() => tier.close());
  (rig.context.tiers as Map<string, Tier>).set('cold', tier);
  const body = lines(17 * MiB + 1, 4);
  await put(rig, 'dumps/monday.sql', body);
  await put(rig, 'small', lines(30_000, 5));
  await pack(rig);
  t.is(Buffer.compare(await get(rig, 'dumps/monday.sql'), body), 0);
  const range = { offset: 9 * MiB - 7, length: 3 * MiB };
  const cut = body.subarray(range.offset, range.offset + range.length);
  t.is(Buffer.compare(await get(rig, 'dumps/monday.sql', range), cut), 0);
  t.is(Buffer.compare(await get(rig, 'small'), lines(30_000, 5)), 0);
  const rows = rig.store.rowsOf<Pack>('packs').map(({ value }) => value);
  const alone = rows.find(({ layout }) => layout === 'plain') as Pack;
  t.regex((alone.blob as { name: string }).name, /-monday\.sql\.zst$/);
  t.true(alone.sizeBytes < body.length / 2);
  t.is(alone.entryBytes, alone.sizeBytes);
  await back(rig);
  await settle(rig);
  for await (const { location } of tier.list()) t.fail(`${location.id} is left`);
  await audit(t, rig, 'moved back');
});

test('a rotten source is not hidden by compression: it stays where it is, and is counted', async (t) => {
  const rig = await compressing(t);
  await put(rig, 'good', lines(50_000, 1));
  await put(rig, 'large', lines(17 * MiB, 2));
  for (const { parts, version } of await versionsOf(rig)) {
    if (version.sizeBytes < MiB) continue;
    const blob = rig.hot.blobs.get((parts[0] as Part).location.id);
    if (blob !== undefined) blob.bytes[MiB] = (blob.bytes[MiB] as number) ^ 1;
  }
  const lease = await leaseOf(rig, 'pack');
  const counts = await moveIntoPacks(rig.core, await versionsOf(rig), {
    kind: 'transition',
    tier: 'cold',
    storageClass: 'GLACIER_IR',
    lease,
  });
  t.is(counts.moved, 1);
  t.is(counts.failed, 1);
  t.is((await locationsOf(rig)).get('large')?.[0]?.tier, 'hot');
});

test('compressed bytes that rot in a cloud are Corrupt, by range too', async (t) => {
  const rig = await compressing(t);
  await put(rig, 'a', lines(2 * MiB, 1));
  await pack(rig);
  for (const { bytes } of rig.cold.blobs.values()) {
    const at = bytes.length >> 1;
    bytes[at] = (bytes[at] as number) ^ 4;
  }
  await t.throwsAsync(get(rig, 'a'), { code: 'Corrupt' });
  let refused = 0;
  for (const offset of [0, MiB]) {
    await get(rig, 'a', { offset, length: 100 }).catch((error: unknown) => {
      if (isCorrupt(error)) refused += 1;
    });
  }
  t.is(refused, 1, 'the frame that is damaged, and no other');
});

test('a codec of a newer Firn is refused, never handed out as it lies', async (t) => {
  const rig = await compressing(t);
  await put(rig, 'a', lines(50_000, 1));
  const location = (await locationsOf(rig)).get('a')?.[0] as Location;
  const strange = { ...location, codec: 'zstd-9', plainBytes: 50_000 } as unknown as Location;
  await t.throwsAsync(rig.core.locations.read(strange), { code: 'FormatUnknown' });
  const unsized = { ...location, codec: 'zstd' } as Location;
  await t.throwsAsync(rig.core.locations.read(unsized), { code: 'FormatUnknown' });
});

function entryOf(key: string, bytes: Uint8Array, compresses: boolean): PackEntry {
  const part: Part = {
    number: 1,
    location: {
      kind: 'remote',
      id: newLocationId({ now: () => 0, wall: () => 0 }, random),
      tier: 'hot',
      name: 'x',
      length: bytes.length,
    },
    sizeBytes: bytes.length,
    etag: createHash('md5').update(bytes).digest('hex'),
    checksum: checksumOf(bytes),
  };
  const version: Version = {
    id: '0000000000000001-0000000000000000',
    isNull: true,
    deleteMarker: false,
    lastModified: 1,
    sizeBytes: bytes.length,
    etag: part.etag,
    storageClass: 'GLACIER_IR',
    parts: [part],
    headers: {},
    metadata: {},
    owner: 'root',
    operation: 'x',
  };
  const open = (): Promise<Body> => Promise.resolve(bytes);
  return { bucket: 'data', bucketId: 'b'.repeat(16), key, version, compresses, open };
}

test('without Firn: unzip and zstd get every object out of a pack; its index says which are coded', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'firn-coded-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const packer = buildPacker({ spoolDirectory: directory, random });
  const text = lines(1_500_000, 3);
  const noise = new Uint8Array(randomBytes(5000));
  const built = await packer.build('ab'.repeat(16), [
    entryOf('text', text, true),
    entryOf('noise', noise, true),
  ]);
  const bytes = Buffer.from(await wholeOf(built.body()));
  await built.discard();
  const read = (range: ByteRange): Promise<Body> =>
    Promise.resolve(bytes.subarray(range.offset, range.offset + range.length));
  const head = await describePack({ sizeBytes: bytes.length, read });
  t.deepEqual([head.format, head.codec], [2, 'zstd']);
  const found = new Map<string, Uint8Array>();
  for await (const one of readPack({ sizeBytes: bytes.length, read })) {
    if (one.state !== 'whole') return t.fail(one.state);
    found.set(one.entry.key, one.bytes);
    const rebuilt = versionInPack(one.entry, { id: 'p', tier: 'cold' }, () => 'l');
    const { location } = rebuilt.parts[0] as Part;
    t.is(location.codec, one.entry.key === 'text' ? 'zstd' : undefined);
    t.is(location.length, one.entry.length);
  }
  t.is(Buffer.compare(found.get('text') as Uint8Array, text), 0);
  t.is(Buffer.compare(found.get('noise') as Uint8Array, noise), 0);
  const path = join(directory, 'pack.zip');
  writeFileSync(path, bytes);
  const options = { maxBuffer: 8 * MiB };
  try {
    execFileSync('unzip', ['-v'], { stdio: 'ignore' });
    execFileSync('zstd', ['--version'], { stdio: 'ignore' });
  } catch {
    return t.log('skipped the rest: no unzip or zstd on this machine');
  }
  const coded = execFileSync('unzip', ['-p', path, 'd/000001.zst'], options);
  t.is(Buffer.compare(execFileSync('zstd', ['-dc'], { ...options, input: coded }), text), 0);
  t.is(Buffer.compare(execFileSync('unzip', ['-p', path, 'd/000002'], options), noise), 0);
});

test('a pack in which nothing may be compressed is of format 1, as every older Firn reads it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'firn-coded-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const packer = buildPacker({ spoolDirectory: directory, random });
  const built = await packer.build('ab'.repeat(16), [entryOf('text', lines(9000), false)]);
  const bytes = Buffer.from(await wholeOf(built.body()));
  await built.discard();
  const read = (range: ByteRange): Promise<Body> =>
    Promise.resolve(bytes.subarray(range.offset, range.offset + range.length));
  const head = await describePack({ sizeBytes: bytes.length, read });
  t.deepEqual([head.format, head.codec], [1, 'none']);
});

test('what today packs compressed stays readable: the golden pack', async (t) => {
  const bytes = readFileSync('tiers/pack/example-coded.golden.zip');
  const read = (range: ByteRange): Promise<Body> =>
    Promise.resolve(bytes.subarray(range.offset, range.offset + range.length));
  const found: [string, number, string | undefined][] = [];
  for await (const one of readPack({ sizeBytes: bytes.length, read })) {
    if (one.state !== 'whole') return t.fail(one.state);
    found.push([one.entry.key, one.bytes.length, one.entry.codec]);
    const wanted = one.entry.key === 'log' ? lines(FRAME_BYTES + 20_000, 7) : lines(100, 8);
    t.is(Buffer.compare(one.bytes, wanted), 0);
  }
  t.deepEqual(found, [
    ['log', FRAME_BYTES + 20_000, 'zstd'],
    ['note', 100, undefined],
  ]);
});

test('named by objects, candidates and packs, coded bytes are freed as they lie', async (t) => {
  const rig = await compressing(t);
  await put(rig, 'a', lines(50_000, 1));
  await put(rig, 'large', lines(20 * MiB, 2));
  await pack(rig);
  for (const key of ['a', 'large']) {
    await rig.engine.deleteObject({ bucket: rig.bucket.name, key, owner: 'root' });
  }
  await settle(rig);
  t.is(rig.cold.blobs.size, 0);
  t.is(rig.hot.blobs.size, 0);
  t.deepEqual(rig.store.rowsOf<Pack>('packs'), []);
});

/** 70 small objects of three buckets, the same each time. */
function manyEntries(count = 70): PackEntry[] {
  return Array.from({ length: count }, (_, i) => {
    const entry = entryOf(`k/${i}`, lines(20 + (i % 50), i), false);
    const [part] = entry.version.parts;
    if (part !== undefined) part.location.id = '00'.repeat(16);
    return { ...entry, bucketId: `${i % 3}`.repeat(16) };
  });
}

async function packOf(
  t: ExecutionContext,
  entries: PackEntry[],
): Promise<{
  bytes: Buffer;
  source: { sizeBytes: number; read: (range: ByteRange) => Promise<Body> };
  asked: ByteRange[];
}> {
  const directory = mkdtempSync(join(tmpdir(), 'firn-filter-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const built = await buildPacker({ spoolDirectory: directory, random }).build(
    'cd'.repeat(16),
    entries,
  );
  const bytes = Buffer.from(await wholeOf(built.body()));
  await built.discard();
  const { read, asked } = readerOf(bytes);
  return { bytes, source: { sizeBytes: bytes.length, read }, asked };
}

const ownerOf = (i: number): { bucketId: string; key: string } => ({
  bucketId: `${i % 3}`.repeat(16),
  key: `k/${i}`,
});

test("a pack's filter never denies what is in it, and 1 in 100 of what isn't at most", async (t) => {
  const count = 2000;
  const { source } = await packOf(t, manyEntries(count));
  for (let i = 0; i < count; i += 7) t.true(await packMayHold(source, ownerOf(i)), `k/${i}`);
  for (const bucketId of ['0', '1', '2']) {
    t.true(await packMayHold(source, { bucketId: bucketId.repeat(16) }));
  }
  let wrong = 0;
  const strangers = 3000;
  for (let i = 0; i < strangers; i++) {
    if (await packMayHold(source, { bucketId: '0'.repeat(16), key: `other/${i}` })) wrong += 1;
  }
  t.log(`${wrong} of ${strangers} in vain`);
  t.true(wrong <= strangers / 100);
});

test('who looks for a key that a pack does not hold reads no index', async (t) => {
  const { source, bytes, asked } = await packOf(t, manyEntries(3000));
  const found: string[] = [];
  for await (const one of readPack(source, { bucketId: '9'.repeat(16) })) found.push(one.state);
  t.deepEqual(found, []);
  const read = asked.reduce((sum, { length }) => sum + length, 0);
  t.true(read < bytes.length / 50, `${read} of ${bytes.length} bytes`);
  const own: string[] = [];
  for await (const one of readPack(source, ownerOf(1234))) {
    if (one.state === 'whole') own.push(one.entry.key);
  }
  t.deepEqual(own, ['k/1234']);
});

test('without a filter, with a damaged one, or one of another pack, everything is looked at', async (t) => {
  const { bytes } = await packOf(t, manyEntries());
  const at = bytes.indexOf('filter.bin') + 'filter.bin'.length;
  const head = await describePack({ sizeBytes: bytes.length, read: readerOf(bytes).read });
  const length = head.filterBytes ?? 0;
  t.true(length > 64);
  const stranger = { bucketId: '9'.repeat(16), key: 'none' };
  t.false(await packMayHold({ sizeBytes: bytes.length, read: readerOf(bytes).read }, stranger));
  for (let i = 0; i < length; i++) {
    const bad = Buffer.from(bytes);
    bad[at + i] = (bad[at + i] as number) ^ 0x10;
    const source = { sizeBytes: bad.length, read: readerOf(bad).read };
    // The zeros of its head are under its checksum too.
    if (!(await packMayHold(source, ownerOf(5)))) return t.fail(`byte ${i} hides what is there`);
    if (!(await packMayHold(source, stranger))) return t.fail(`byte ${i} is believed`);
  }
  const few = await packOf(t, manyEntries(63));
  t.is((await describePack(few.source)).filterBytes, undefined);
  t.true(await packMayHold(few.source, stranger));
  const old = readFileSync('tiers/pack/example-coded.golden.zip');
  const source = { sizeBytes: old.length, read: readerOf(old).read };
  t.true(await packMayHold(source, stranger));
  const keys: string[] = [];
  for await (const one of readPack(source, { bucketId: 'b'.repeat(16), key: 'note' })) {
    if (one.state === 'whole') keys.push(one.entry.key);
  }
  t.deepEqual(keys, ['note']);
});

test('a pack with a filter is the same zip each time: the golden one, which any tool lists', async (t) => {
  const path = 'tiers/pack/example-filter.golden.zip';
  const golden = readFileSync(path);
  t.is(Buffer.compare((await packOf(t, manyEntries())).bytes, golden), 0);
  const source = { sizeBytes: golden.length, read: readerOf(golden).read };
  let whole = 0;
  for await (const one of readPack(source)) if (one.state === 'whole') whole += 1;
  t.is(whole, 70);
  try {
    execFileSync('unzip', ['-v'], { stdio: 'ignore' });
  } catch {
    return t.log('skipped the rest: no unzip on this machine');
  }
  t.regex(execFileSync('unzip', ['-l', path]).toString(), /73 files/);
});
