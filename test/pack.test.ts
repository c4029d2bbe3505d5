// Packs: what a cold archive holds must be readable by any zip tool, exact to the byte, and enough
// to rebuild what it holds without any metadata.

import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import * as yauzl from 'yauzl';
import type { Random } from '../appliance/model/clock.ts';
import type { ShardLocation } from '../appliance/model/location.ts';
import type { Part, Version } from '../appliance/model/object.ts';
import type { BuiltPack, IndexedEntry, PackEntry, Packer } from '../appliance/model/packer.ts';
import type { Body, ByteRange } from '../appliance/model/tier.ts';
import { checksumOf, ChecksumStream, checksum64, wasmKernel } from '../tiers/checksum.ts';
import { buildPacker } from '../tiers/pack/packer.ts';
import { describePack, readPack, versionInPack } from '../tiers/pack/rebuild.ts';
import { bytesOf, failsWith, reusedChunks, sampleBytes } from './contract/tier.ts';

const run = promisify(execFile);
const random: Random = { bytes: (count) => randomBytes(count) };
const GOLDEN = join(import.meta.dirname, '..', 'tiers', 'pack', 'example.golden.zip');
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

interface Source {
  key: string;
  bytes: Uint8Array;
  /** Lengths of the parts; one part without. */
  parts?: number[];
  metadata?: Record<string, string>;
}

function versionOf({ key, bytes, parts, metadata }: Source, index: number): Version {
  let at = 0;
  const lengths = parts ?? (bytes.length === 0 ? [] : [bytes.length]);
  const made = lengths.map((sizeBytes, i): Part => {
    const slice = bytes.subarray(at, at + sizeBytes);
    at += sizeBytes;
    const id = `0000000000${index.toString(16).padStart(2, '0')}${'ab'.repeat(9)}${i % 10}${i % 7}`;
    const location: ShardLocation = {
      kind: 'shards',
      id,
      tier: 'hot',
      group: 0,
      length: sizeBytes,
      code: '4+2',
      stripeBytes: 1_048_576,
      empty: 0,
      unconfirmed: 0,
    };
    const etag = createHash('md5').update(slice).digest('hex');
    return { number: i + 1, location, sizeBytes, etag, checksum: checksumOf(slice) };
  });
  return {
    id: `${index.toString(16).padStart(12, '0')}0123456789abcdef`,
    isNull: false,
    deleteMarker: false,
    lastModified: 1_790_000_000_000 + index,
    sizeBytes: bytes.length,
    etag: createHash('md5').update(bytes).digest('hex'),
    storageClass: 'GLACIER_IR',
    parts: made,
    headers: { 'content-type': 'text/plain' },
    metadata: metadata ?? {},
    tags: { key: key.slice(0, 20) },
    owner: 'root',
    operation: 'f'.repeat(32),
  };
}

function entryOf(source: Source, index: number, open?: () => Promise<Body>): PackEntry {
  return {
    bucket: 'photos',
    bucketId: '00112233445566ff',
    key: source.key,
    version: versionOf(source, index),
    open: open ?? (() => Promise.resolve(source.bytes)),
  };
}

async function inSpool(use: (packer: Packer, directory: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'firn-pack-'));
  try {
    await use(buildPacker({ spoolDirectory: directory, random }), directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const readerOf =
  (pack: Uint8Array) =>
  ({ offset, length }: ByteRange): Promise<Body> =>
    Promise.resolve(
      length > 1000
        ? reusedChunks(pack.subarray(offset, offset + length), 777)
        : new Uint8Array(pack.subarray(offset, offset + length)),
    );

async function indexOf(packer: Packer, pack: Uint8Array): Promise<IndexedEntry[]> {
  const all: IndexedEntry[] = [];
  for await (const one of packer.readIndex(pack.length, readerOf(pack))) all.push(one);
  return all;
}

const nasty = [
  '/lead',
  'a//b',
  '../../etc/passwd',
  'C:\\w',
  'dir/',
  'ü/日本/\u{1f9ca}',
  'line\nbreak "quoted"',
  '__proto__',
  'a'.repeat(1024),
  'x',
  'x ',
];

function nastySources(): Source[] {
  return nasty.map((key, i) => ({
    key,
    bytes: sampleBytes(i * 1311, i + 1),
    metadata: { n: `${i}`, __proto__x: 'own' },
  }));
}

async function whole(pack: BuiltPack): Promise<Uint8Array> {
  const bytes = await bytesOf(pack.body());
  return bytes;
}

test('a pack gives back every byte and every version record by ranged reads alone', async (t) => {
  await inSpool(async (packer, directory) => {
    const sources = nastySources();
    const pack = await packer.build(
      'a'.repeat(32),
      sources.map((s, i) => entryOf(s, i)),
    );
    const bytes = await whole(pack);
    t.is(bytes.length, pack.sizeBytes);
    t.is(checksumOf(bytes), pack.checksum);
    const index = await indexOf(packer, bytes);
    t.is(index.length, sources.length);
    for (const [i, source] of sources.entries()) {
      const packed = pack.entries[i];
      const line = index[i];
      t.truthy(packed !== undefined && line !== undefined);
      if (packed === undefined || line === undefined) continue;
      t.deepEqual(line, { ...packed, bucket: 'photos', version: versionOf(source, i) });
      t.is(packed.key, source.key);
      t.is(packed.sha256, sha256(source.bytes));
      const { offset, length } = packed;
      t.deepEqual(Buffer.from(bytes.subarray(offset, offset + length)), Buffer.from(source.bytes));
    }
    await pack.discard();
    await pack.discard();
    t.deepEqual(await readdir(directory), [], 'the spool is empty again');
  });
});

test('the same objects give the same pack, byte for byte, and that is the golden one', async (t) => {
  const objects: Source[] = [
    { key: 'notes/2026/first.txt', bytes: Buffer.from('granular snow\n') },
    { key: 'empty', bytes: new Uint8Array(0) },
    { key: 'photos/two parts.bin', bytes: sampleBytes(300, 5), parts: [200, 100] },
  ];
  await inSpool(async (packer) => {
    const build = async (): Promise<Uint8Array> => {
      const pack = await packer.build(
        '019ad3f0c0000123456789abcdef0123',
        objects.map((s, i) => entryOf(s, i)),
      );
      const bytes = await whole(pack);
      await pack.discard();
      return bytes;
    };
    const bytes = Buffer.from(await build());
    t.deepEqual(Buffer.from(await build()), bytes);
    if (process.env['FIRN_WRITE_GOLDEN'] === '1') await writeFile(GOLDEN, bytes);
    t.deepEqual(bytes, await readFile(GOLDEN));
    const index = await indexOf(packer, await readFile(GOLDEN));
    t.deepEqual(
      index.map(({ key }) => key),
      objects.map(({ key }) => key),
    );
  });
});

test('zip tools that we did not write open a pack and find every entry right', async (t) => {
  await inSpool(async (packer, directory) => {
    const sources = nastySources();
    const pack = await packer.build(
      'b'.repeat(32),
      sources.map((s, i) => entryOf(s, i)),
    );
    const path = join(directory, 'pack.zip');
    await writeFile(path, await whole(pack));
    const wanted = ['FIRN-PACK.json', ...sources.map((_, i) => nameAt(i)), 'index.jsonl'];
    const found = await byYauzl(path);
    t.deepEqual([...found.keys()], wanted);
    for (const [i, { bytes }] of sources.entries()) {
      t.is(sha256(found.get(nameAt(i)) ?? Buffer.alloc(0)), sha256(bytes), nameAt(i));
    }
    const lines = (found.get('index.jsonl') ?? Buffer.alloc(0)).toString('utf8').trimEnd();
    t.is(lines.split('\n').length, sources.length);
    t.deepEqual(JSON.parse(String(found.get('FIRN-PACK.json'))), {
      kind: 'firn-pack',
      format: 1,
      id: 'b'.repeat(32),
      codec: 'none',
      entries: sources.length,
      entryBytes: sources.reduce((sum, { bytes }) => sum + bytes.length, 0),
    });
    const unpacked = join(directory, 'unpacked');
    await byTool(t, 'unzip', ['-q', '-d', unpacked, path]);
    await byTool(t, 'python3', ['-m', 'zipfile', '-t', path]);
    await byTool(t, 'python3', ['-m', 'zipfile', '-e', path, `${unpacked}-python`]);
    for (const folder of [unpacked, `${unpacked}-python`]) {
      const first = join(folder, nameAt(3));
      const got = await readFile(first).catch(() => undefined);
      if (got !== undefined) t.deepEqual(got, Buffer.from((sources[3] as Source).bytes));
    }
    await pack.discard();
  });
});

const nameAt = (i: number): string => `d/${String(i + 1).padStart(6, '0')}`;

async function byYauzl(path: string): Promise<Map<string, Buffer>> {
  const zip = await yauzl.openPromise(path, { autoClose: false });
  const found = new Map<string, Buffer>();
  for await (const entry of zip.eachEntry()) {
    const stream = await zip.openReadStreamPromise(entry);
    found.set(entry.fileName, Buffer.from(await bytesOf(stream as AsyncIterable<Uint8Array>)));
  }
  zip.close();
  return found;
}

/** Runs a tool that may be missing here; one that is there must succeed. */
async function byTool(t: ExecutionContext, tool: string, args: string[]): Promise<void> {
  try {
    await run(tool, args);
    t.pass();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    t.log(`${tool} is not here: not asked`);
  }
}

test('property: any keys, sizes and parts come back whole, and any flipped bit is found', async (t) => {
  const seed = Number(process.env['FIRN_TEST_SEED'] ?? Date.now() % 2 ** 31);
  t.log(`seed ${seed}`);
  const source = fc.record({
    key: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
    sizes: fc.array(fc.nat({ max: 9000 }), { maxLength: 4 }),
    fill: fc.nat({ max: 1000 }),
  });
  const shape = fc.record({
    sources: fc.array(source, { minLength: 1, maxLength: 12 }),
    flipAt: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    flipBit: fc.nat({ max: 7 }),
    streamed: fc.boolean(),
  });
  await inSpool(async (packer) => {
    await fc.assert(
      fc.asyncProperty(shape, async ({ sources, flipAt, flipBit, streamed }) => {
        const made = sources.map(({ key, sizes, fill }): Source => {
          const parts = sizes.filter((size) => size > 0);
          const total = parts.reduce((sum, size) => sum + size, 0);
          return { key, bytes: sampleBytes(total, fill), parts };
        });
        const entries = made.map((s, i) =>
          entryOf(s, i, streamed ? () => Promise.resolve(reusedChunks(s.bytes, 500)) : undefined),
        );
        const pack = await packer.build('c'.repeat(32), entries);
        const bytes = await whole(pack);
        await pack.discard();
        const read = readerOf(bytes);
        let count = 0;
        for await (const found of readPack({ sizeBytes: bytes.length, read })) {
          const wanted = made[count] as Source;
          t.is(found.state, 'whole');
          if (found.state !== 'whole') return;
          t.is(found.entry.key, wanted.key);
          t.is(sha256(found.bytes), sha256(wanted.bytes));
          t.deepEqual(found.entry.version, versionOf(wanted, count));
          count += 1;
        }
        t.is(count, made.length);
        const flipped = new Uint8Array(bytes);
        const at = Math.floor(flipAt * bytes.length);
        flipped[at] = (flipped[at] as number) ^ (1 << flipBit);
        await neverWrong(t, flipped, made);
      }),
      { seed, numRuns: 60 },
    );
  });
});

/** Whatever is damaged, what is called whole is whole, under its own key. */
async function neverWrong(
  t: ExecutionContext,
  pack: Uint8Array,
  sources: readonly Source[],
): Promise<void> {
  try {
    for await (const found of readPack({ sizeBytes: pack.length, read: readerOf(pack) })) {
      if (found.state !== 'whole') continue;
      const position = Number.parseInt(found.entry.version.id.slice(0, 12), 16);
      const wanted = sources[position] as Source;
      t.is(found.entry.key, wanted.key);
      t.is(sha256(found.bytes), sha256(wanted.bytes));
    }
  } catch (error) {
    t.regex(String((error as { code?: string }).code), /^(Corrupt|FormatUnknown)$/);
  }
}

test('a rotten source is found while packing, names the key and leaves no pack', async (t) => {
  await inSpool(async (packer, directory) => {
    const good = { key: 'good', bytes: sampleBytes(5000, 1) };
    const source = { key: 'bad one', bytes: sampleBytes(5000, 2), parts: [3000, 2000] };
    const rotten: [string, () => Promise<Body>][] = [
      ['flipped', () => Promise.resolve(flip(source.bytes, 4000))],
      ['short', () => Promise.resolve(reusedChunks(source.bytes.subarray(1), 999))],
      ['long', () => Promise.resolve(reusedChunks(new Uint8Array(5001), 999))],
      ['empty', () => Promise.resolve(new Uint8Array(0))],
    ];
    for (const [, open] of rotten) {
      const entries = [entryOf(good, 0), entryOf(source, 1, open), entryOf(good, 2)];
      const error = await t.throwsAsync(packer.build('d'.repeat(32), entries));
      t.is((error as { code?: string }).code, 'Corrupt');
      t.is((error as { subject?: string }).subject, 'photos/bad one');
    }
    const entries = [
      entryOf(good, 0),
      entryOf(source, 1, () => Promise.reject(new Error('drive gone'))),
    ];
    await t.throwsAsync(packer.build('d'.repeat(32), entries), { message: 'drive gone' });
    const control = new AbortController();
    const aborting = [
      entryOf(good, 0),
      entryOf(source, 1, () => {
        control.abort();
        return Promise.resolve(source.bytes);
      }),
      entryOf(good, 2),
    ];
    await t.throwsAsync(packer.build('d'.repeat(32), aborting, control.signal));
    t.deepEqual(await readdir(directory), []);
  });
});

function flip(bytes: Uint8Array, at: number): Uint8Array {
  const copy = new Uint8Array(bytes);
  copy[at] = (copy[at] as number) ^ 1;
  return copy;
}

test('a damaged entry or index line costs that object alone', async (t) => {
  await inSpool(async (packer) => {
    const sources = nastySources();
    const pack = await packer.build(
      'e'.repeat(32),
      sources.map((s, i) => entryOf(s, i)),
    );
    const bytes = await whole(pack);
    await pack.discard();
    const states = async (damaged: Uint8Array): Promise<string[]> => {
      const found: string[] = [];
      const source = { sizeBytes: damaged.length, read: readerOf(damaged) };
      for await (const one of readPack(source)) found.push(one.state);
      return found;
    };
    const others = (i: number, state: string): string[] =>
      sources.map((_, j) => (j === i ? state : 'whole'));
    const fifth = pack.entries[5];
    t.truthy(fifth);
    t.deepEqual(await states(flip(bytes, fifth?.offset ?? 0)), others(5, 'rotten'));
    const line = Buffer.from(bytes).indexOf('"entry":"d/000003"');
    const damaged = flip(bytes, line + 100);
    t.deepEqual(await states(damaged), others(2, 'unnamed'));
    await failsWith(t, 'Corrupt', () => indexOf(packer, damaged));
  });
});

test('what is no pack, cut short, or of a newer Firn is refused, never half read', async (t) => {
  await inSpool(async (packer) => {
    const golden = await readFile(GOLDEN);
    for (const length of [0, 21, 78, 79, 500, golden.length - 1]) {
      await failsWith(t, 'Corrupt', () => indexOf(packer, golden.subarray(0, length)));
    }
    await failsWith(t, 'Corrupt', () => indexOf(packer, randomBytes(5000)));
    const padded = Buffer.concat([golden, Buffer.alloc(1)]);
    await failsWith(t, 'Corrupt', () => indexOf(packer, padded));
    const newer = Buffer.from(golden);
    newer.write('"format":2', newer.indexOf('"format":1'));
    await failsWith(t, 'FormatUnknown', () => indexOf(packer, newer));
    const head = await describePack({ sizeBytes: golden.length, read: readerOf(golden) });
    t.is(head.entries, 3);
  });
});

test('with nothing but packs left, version records name their stretch of the pack', async (t) => {
  await inSpool(async () => {
    const golden = await readFile(GOLDEN);
    const source = { sizeBytes: golden.length, read: readerOf(golden) };
    let made = 0;
    const seen: string[] = [];
    for await (const found of readPack(source)) {
      t.is(found.state, 'whole');
      if (found.state !== 'whole') continue;
      const version = versionInPack(found.entry, { id: 'p', tier: 'cold' }, () => `id-${made++}`);
      for (const part of version.parts) {
        t.is(part.location.kind, 'pack');
        if (part.location.kind !== 'pack') continue;
        const { offset, length } = part.location;
        t.is(checksumOf(golden.subarray(offset, offset + length)), part.checksum);
        seen.push(`${found.entry.key} ${part.number}`);
      }
      t.deepEqual({ ...version, parts: [] }, { ...found.entry.version, parts: [] });
    }
    t.deepEqual(seen, [
      'notes/2026/first.txt 1',
      'photos/two parts.bin 1',
      'photos/two parts.bin 2',
    ]);
  });
});

test('thousands of small objects and some of many MiB are packed in bounded memory', async (t) => {
  await inSpool(async (packer) => {
    const small = sampleBytes(3000, 3);
    const large = sampleBytes(12_000_000, 4);
    let open = 0;
    let most = 0;
    const entries = Array.from({ length: 2000 }, (_, i) => {
      const bytes = i % 400 === 7 ? large : small;
      const version = { ...versionOf({ key: 'k', bytes: small }, i) };
      const part = { ...(version.parts[0] as Part), sizeBytes: bytes.length };
      part.checksum = bytes === large ? largeSum(large) : checksumOf(bytes);
      const entry: PackEntry = {
        bucket: 'b',
        bucketId: '00112233445566ff',
        key: `many/${i}`,
        version: { ...version, sizeBytes: bytes.length, parts: [part] },
        open: async () => {
          open += bytes.length;
          most = Math.max(most, open);
          await new Promise((resolve) => setImmediate(resolve));
          open -= bytes.length;
          return bytes;
        },
      };
      return entry;
    });
    const pack = await packer.build('f'.repeat(32), entries);
    t.is(pack.entries.length, 2000);
    t.true(most <= 34 * 1024 * 1024, `${most} bytes were asked for at once`);
    const bytes = await whole(pack);
    const last = pack.entries.at(-1);
    t.is(sha256(bytes.subarray(last?.offset, (last?.offset ?? 0) + 3000)), sha256(small));
    t.is((await indexOf(packer, bytes)).length, 2000);
    await pack.discard();
  });
});

const sums = new Map<Uint8Array, string>();
function largeSum(bytes: Uint8Array): string {
  const known = sums.get(bytes) ?? checksumOf(bytes);
  sums.set(bytes, known);
  return known;
}

test('spool files of a crash are swept, those of a build under way are not', async (t) => {
  await inSpool(async (packer, directory) => {
    const old = new Date(Date.now() - 3 * 86_400_000);
    await writeFile(join(directory, 'old.pack'), 'x');
    await writeFile(join(directory, 'young.pack'), 'x');
    await writeFile(join(directory, 'other.txt'), 'x');
    await utimes(join(directory, 'old.pack'), old, old);
    await utimes(join(directory, 'other.txt'), old, old);
    const pack = await packer.build('0'.repeat(32), [entryOf({ key: 'k', bytes: small() }, 0)]);
    await pack.discard();
    t.deepEqual((await readdir(directory)).toSorted(), ['other.txt', 'young.pack']);
  });
});

const small = (): Uint8Array => sampleBytes(100, 1);

test('the checksum is XXH3-64 on every platform, by stream and whole', async (t) => {
  const wasm = await wasmKernel();
  t.is(checksumOf(new Uint8Array(0)), '2d06800538d394c2', 'the published value of the empty input');
  for (const length of [1, 3, 16, 17, 128, 240, 241, 1024, 100_003]) {
    const bytes = sampleBytes(length, length);
    const streams = [wasm.open(), wasm.open()];
    const native = new ChecksumStream();
    for (let at = 0; at < length; at += 97) {
      for (const stream of streams) stream.update(bytes.subarray(at, at + 97));
      native.update(bytes.subarray(at, at + 97));
    }
    for (const stream of streams) t.is(stream.digest(), checksum64(bytes));
    t.is(wasm.whole(bytes), checksum64(bytes));
    t.is(native.digest(), checksumOf(bytes));
  }
});
