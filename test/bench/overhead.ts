// What a small object (4 KiB, FIRN_BENCH_BYTES) costs beside its bytes and their parity, at 4+2:
// LMDB's file; heads, rounding and unequal lanes of segments; the journal's three copies. Blocks that
// the file system gave, not lengths. Through the engine, without requests, with 128 in flight, keys
// in random order, which leaves LMDB's pages two thirds full.
//
// What is fixed (room ahead of a log, logs below 128 MiB) is nothing a piece of ten million
// objects and most of it of two hundred thousand. So of the journal the snapshot is measured, and its
// logs are taken as long as they may become beside it before it is made anew. While it is, two of
// its files stand there twice: the worst moment. FIRN_BENCH_COUNT=10000000 measures that instead, by
// looking at all of the files every other second: the most that they took an object, from half of
// the objects on. FIRN_BENCH_ROWS=10000000 does so with rows and their journal, without objects.

import { fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { buildEngine } from '../../appliance/engine/build.ts';
import {
  EmbeddedStore,
  rebuildMetadata,
  type EmbeddedOptions,
} from '../../appliance/metadata/embedded.ts';
import { hasOutgrown, LOG_SHARE } from '../../appliance/metadata/journal-upkeep.ts';
import { STRETCH_BYTES } from '../../appliance/metadata/journal/snapshot.ts';
import { KiB } from '../../appliance/model/limits.ts';
import { newLocationId, newVersionId } from '../../appliance/model/ids.ts';
import type { Change } from '../../appliance/model/metadata-store.ts';
import { EngineClock, SystemRandom } from '../../appliance/process/clock.ts';
import { LocalDrive } from '../../tiers/node-group/drive/local-drive.ts';
import { contextOf } from '../engine-harness.ts';
import { answerOf, note, type Figure } from './harness.ts';
import { openTier } from './segments.ts';

const COUNT = Number(process.env['FIRN_BENCH_COUNT'] ?? 200_000);
const ROWS = Number(process.env['FIRN_BENCH_ROWS'] ?? 0);
const IN_FLIGHT = 128;
const BYTES = Number(process.env['FIRN_BENCH_BYTES'] ?? 4 * KiB);
/** From so many on nothing fixed counts, and what was measured is told. */
const MANY = 1_000_000;
const TEN_MILLION = 10_000_000;
const LANES = { data: 4, all: 6 };
const COPIES = 3;
const STORE = '00112233445566778899aabbccddeeff';
/** Rows put together, and how often it is looked whether a snapshot is due. */
const PUT_ROWS = 2048;
const LOOK_ROWS = 65_536;

/** Bytes of blocks that files take up. */
interface Used {
  metadata: number;
  snapshots: number;
  logs: number;
  segments: number;
  /** The most that all took together an object, less its bytes and their parity. */
  worst: number;
  /** Until all was written. */
  seconds: number;
  /** To open the store again; to make it anew from snapshot and logs. */
  openSeconds: number;
  rebuildSeconds: number;
}

interface Asked {
  kind: 'objects' | 'rows';
  count: number;
}

export async function benchOverhead(directory: string): Promise<Record<string, Figure>> {
  const objects = await askedOf(directory, { kind: 'objects', count: COUNT });
  const segments = objects.segments / COUNT - CODED;
  const rows = objects.metadata / COUNT;
  const snapshots = objects.snapshots / COUNT;
  note(
    `overhead: ${COUNT} objects of ${BYTES} bytes in ${objects.seconds.toFixed(0)} s: ` +
      `LMDB ${rows.toFixed(0)}, segments ${segments.toFixed(0)}, ` +
      `snapshots ${snapshots.toFixed(0)} bytes an object; ` +
      `logs ${(objects.logs / COUNT).toFixed(0)} before they were cut`,
  );
  const unit = 'bytes an object';
  const figures: Record<string, Figure> = {};
  const say = (name: string, figure: number): void => {
    figures[name] = { figure, unit, limit: KiB, ratio: KiB / figure };
  };
  say('overhead', rows + segments);
  const withJournal = rows + segments + snapshots * (1 + LOG_SHARE);
  say('overhead-with-journal', withJournal);
  const twice = (2 * STRETCH_BYTES * COPIES) / TEN_MILLION;
  say('overhead-worst-moment', COUNT < MANY ? withJournal + twice : objects.worst);
  if (ROWS > 0) {
    const many = await askedOf(directory, { kind: 'rows', count: ROWS });
    const all = many.metadata + many.snapshots + many.logs;
    note(
      `overhead: ${ROWS} rows in ${many.seconds.toFixed(0)} s: ` +
        `LMDB ${(many.metadata / ROWS).toFixed(0)}, snapshots ${(many.snapshots / ROWS).toFixed(0)}, ` +
        `logs ${(many.logs / ROWS).toFixed(0)} bytes a row; opened again in ` +
        `${many.openSeconds.toFixed(1)} s, made anew in ${many.rebuildSeconds.toFixed(0)} s`,
    );
    say('overhead-rows', all / ROWS + segments);
    say('overhead-rows-worst-moment', many.worst + segments);
  }
  return figures;
}

async function askedOf(directory: string, asked: Asked): Promise<Used> {
  const place = join(directory, asked.kind);
  mkdirSync(place, { recursive: true });
  const child = fork(import.meta.filename, [place], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
  });
  try {
    return await answerOf<Used>(child, asked);
  } finally {
    child.disconnect();
  }
}

/** Bytes of an object and its parity. */
const CODED = (BYTES * LANES.all) / LANES.data;

/** Bytes of blocks of the files below whose path has this in it. */
function usedBytes(directory: string, part: string): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile() || !path.includes(part)) continue;
    bytes += statSync(path, { throwIfNoEntry: false })?.blocks ?? 0;
  }
  return bytes * 512;
}

const used = (directory: string): Pick<Used, 'metadata' | 'snapshots' | 'logs' | 'segments'> => ({
  metadata: usedBytes(join(directory, 'data', 'metadata'), 'data.mdb'),
  snapshots: usedBytes(directory, 'journal/snapshot-'),
  logs: usedBytes(directory, 'journal/log-'),
  segments: usedBytes(directory, '/segments/'),
});

async function fill(directory: string, { kind, count }: Asked): Promise<Used> {
  const [clock, random] = [new EngineClock(), new SystemRandom()];
  const tier = await openTier(directory);
  const drives = readdirSync(directory).filter((name) => name.startsWith('drive-'));
  const options: EmbeddedOptions = {
    dataDirectory: join(directory, 'data'),
    clock,
    random,
    drives: drives.map((name) => new LocalDrive(join(directory, name))),
    copies: COPIES,
    storesOnDrives: () => Promise.resolve([]),
    isUsable: () => Promise.resolve(true),
  };
  const embedded = await EmbeddedStore.open(options);
  const { store } = embedded;
  await store.insert('settings', 'store', { format: 1, id: STORE });
  await embedded.found(STORE);
  const begun = performance.now();
  const filled = { count: 0 };
  let worst = 0;
  const watch = setInterval(() => {
    if (filled.count < count / 2) return;
    const now = used(directory);
    const all = now.metadata + now.snapshots + now.logs + now.segments;
    worst = Math.max(worst, all / filled.count - (kind === 'rows' ? 0 : CODED));
  }, 2000);
  if (kind === 'rows') await fillRows(embedded, filled, count);
  else {
    const context = contextOf({ store, clock, tiers: new Map([['hot', tier]]) }, { random });
    await fillObjects({ engine: buildEngine(context), embedded, filled, count });
  }
  const seconds = (performance.now() - begun) / 1000;
  const { logs } = used(directory);
  await embedded.journal.snapshot();
  clearInterval(watch);
  await tier.close();
  await embedded.close();
  const left = used(directory);
  const openSeconds = await secondsOf(async () => (await EmbeddedStore.open(options)).close());
  rmSync(join(directory, 'data', 'metadata'), { recursive: true });
  const rebuildSeconds = await secondsOf(() => rebuildMetadata(options));
  return { ...left, logs, worst, seconds, openSeconds, rebuildSeconds };
}

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return (performance.now() - begun) / 1000;
}

interface Filled {
  count: number;
}

const keyOf = (n: number): string =>
  `photos/2026/${createHash('md5').update(String(n)).digest('hex')}.jpg`;
/** As every object has one, and none like another. */
const checksum = (): { algorithm: 'CRC64NVME'; type: 'FULL_OBJECT'; value: string } => ({
  algorithm: 'CRC64NVME',
  type: 'FULL_OBJECT',
  value: randomBytes(8).toString('base64'),
});

async function fillObjects(of: {
  engine: ReturnType<typeof buildEngine>;
  embedded: EmbeddedStore;
  filled: Filled;
  count: number;
}): Promise<void> {
  const { engine, embedded, filled, count } = of;
  const { journal } = embedded;
  await engine.createBucket({ name: 'bench', owner: 'root', region: 'eu-1' });
  let left = count;
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (left > 0) {
        await engine.putObject({
          bucket: 'bench',
          key: keyOf(left--),
          owner: 'root',
          storageClass: 'STANDARD',
          headers: { 'content-type': 'image/jpeg' },
          metadata: {},
          body: randomBytes(BYTES),
          checksum,
        });
        filled.count += 1;
        // As the upkeep of a primary does, beside the writes.
        if (left % LOOK_ROWS === 0 && hasOutgrown(journal.status())) void journal.snapshot();
      }
    }),
  );
}

/** The rows alone, as the engine would have written them. */
async function fillRows(
  { store, journal }: EmbeddedStore,
  filled: Filled,
  count: number,
): Promise<void> {
  const [clock, random] = [new EngineClock(), new SystemRandom()];
  let segment = '';
  for (let n = 0; n < count;) {
    const changes: Change[] = [];
    for (; changes.length < PUT_ROWS && n < count; n += 1) {
      if (n % 16_384 === 0) segment = newLocationId(clock, random);
      const value = documentOf({ n, segment, clock, random });
      const id = `f836e369847fbf32/${keyOf(n)}`;
      changes.push({ kind: 'insert', table: 'objects', id, value });
    }
    await store.bulk(changes);
    filled.count = n;
    if (n % LOOK_ROWS === 0 && hasOutgrown(journal.status())) await journal.snapshot();
  }
}

function documentOf(from: {
  n: number;
  segment: string;
  clock: EngineClock;
  random: SystemRandom;
}): object {
  const { n, segment, clock, random } = from;
  const now = Math.floor(clock.now());
  const id = newLocationId(clock, random);
  const etag = randomBytes(16).toString('hex');
  const place = { batch: 512 * (n % 131_072), lane: n % 4, offset: 4200 * (n % 8), length: BYTES };
  const location = { kind: 'segment', id, tier: 'hot', group: 0, segment, ...place };
  const part = {
    number: 1,
    location: { ...location, empty: 0, unconfirmed: 0 },
    sizeBytes: BYTES,
    etag,
    checksum: randomBytes(8).toString('hex'),
  };
  const version = {
    id: newVersionId(now * 16, random),
    isNull: true,
    deleteMarker: false,
    lastModified: now + (n % 5),
    sizeBytes: BYTES,
    etag,
    storageClass: 'STANDARD',
    parts: [part],
    headers: { 'content-type': 'image/jpeg' },
    metadata: {},
    owner: 'root',
    operation: id,
    checksum: checksum(),
  };
  return { format: 1, sequence: now * 16, versions: [version], history: [] };
}

if (process.send !== undefined && process.argv[1] === import.meta.filename) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', (asked: Asked) => {
    void fill(process.argv[2] as string, asked).then((answer) => process.send?.(answer));
  });
}
