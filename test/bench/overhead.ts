// What an object of 4 KiB costs beside its bytes and their parity: rows and pages of LMDB, heads,
// rounding and unequal lanes of segments. Through the engine, without requests, with 128 in flight;
// FIRN_BENCH_COUNT=10000000 for the ten millions of a laptop's lifetime. Keys come in random order,
// which leaves LMDB's pages two thirds full.

import { fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { buildEngine } from '../../appliance/engine/build.ts';
import { buildMetadata } from '../../appliance/metadata/build.ts';
import { KiB } from '../../appliance/model/limits.ts';
import { EngineClock, SystemRandom } from '../../appliance/process/clock.ts';
import { contextOf } from '../engine-harness.ts';
import { startFirn } from '../firn-process.ts';
import { answerOf, Load, note, ofFirn, type Figure } from './harness.ts';
import { openTier } from './segments.ts';

const COUNT = Number(process.env['FIRN_BENCH_COUNT'] ?? 100_000);
const JOURNAL_COUNT = 20_000;
const IN_FLIGHT = 128;
const BYTES = 4 * KiB;
/** As every object has one: 12 characters. */
const CHECKSUM = { algorithm: 'CRC64NVME', type: 'FULL_OBJECT', value: 'AAAAAAAAAAA=' } as const;
const LANES = { data: 4, all: 6 };

interface Used {
  /** Bytes that the files take up. */
  metadata: number;
  drives: number;
  seconds: number;
}

export async function benchOverhead(directory: string): Promise<Record<string, Figure>> {
  const child = fork(import.meta.filename, [directory], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
  });
  try {
    const { metadata, drives, seconds } = await answerOf<Used>(child, { count: COUNT });
    const rows = metadata / COUNT;
    const segments = (drives - (COUNT * BYTES * LANES.all) / LANES.data) / COUNT;
    note(
      `overhead: ${COUNT} objects of 4 KiB in ${seconds.toFixed(0)} s: metadata ${rows.toFixed(0)}, ` +
        `segments ${segments.toFixed(0)} bytes an object beside its bytes and their parity`,
    );
    const figure = rows + segments;
    const all = figure + (await journalBytes());
    const unit = 'bytes an object';
    return {
      overhead: { figure, unit, limit: KiB, ratio: KiB / figure },
      'overhead-with-journal': { figure: all, unit, limit: KiB, ratio: KiB / all },
    };
  } finally {
    child.disconnect();
  }
}

/** What all copies of the journal take for an object, in the whole appliance. */
async function journalBytes(): Promise<number> {
  const firn = await startFirn({ settings: { processes: 1 } });
  const load = new Load();
  try {
    await load.createBucket(firn);
    await load.cost(ofFirn(firn), {
      method: 'PUT',
      path: `/bench/photos/2026/${'0'.repeat(24)}-{i}.jpg`,
      count: JOURNAL_COUNT,
      inFlight: 64,
    });
    const hot = join(firn.directory, 'data', 'hot');
    const copies = readdirSync(hot).map((drive) => join(hot, drive, 'journal'));
    const bytes = copies.reduce((sum, path) => sum + (existsSync(path) ? usedBytes(path) : 0), 0);
    return bytes / JOURNAL_COUNT;
  } finally {
    load.end();
    await firn.dispose();
  }
}

/** Bytes that the files below take up on the device. */
function usedBytes(directory: string): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    bytes += statSync(join(entry.parentPath, entry.name)).blocks * 512;
  }
  return bytes;
}

async function fill(directory: string, count: number): Promise<Used> {
  const [clock, random] = [new EngineClock(), new SystemRandom()];
  const dataDirectory = join(directory, 'data');
  const store = buildMetadata({ dataDirectory, clock, random, processName: 'bench' });
  await store.open();
  const tier = await openTier(directory);
  const engine = buildEngine(
    contextOf({ store, clock, tiers: new Map([['hot', tier]]) }, { random }),
  );
  await engine.createBucket({ name: 'bench', owner: 'root', region: 'eu-1' });
  const body = randomBytes(BYTES);
  let left = count;
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (left > 0) {
        const key = `photos/2026/${createHash('md5').update(String(left--)).digest('hex')}.jpg`;
        await engine.putObject({
          bucket: 'bench',
          key,
          owner: 'root',
          storageClass: 'STANDARD',
          headers: { 'content-type': 'image/jpeg' },
          metadata: {},
          body,
          checksum: () => CHECKSUM,
        });
      }
    }),
  );
  const seconds = (performance.now() - begun) / 1000;
  await tier.close();
  await store.close();
  return { metadata: usedBytes(dataDirectory), drives: drivesBytes(directory), seconds };
}

function drivesBytes(directory: string): number {
  const drives = readdirSync(directory).filter((name) => name.startsWith('drive-'));
  return drives.reduce((sum, name) => sum + usedBytes(join(directory, name)), 0);
}

if (process.send !== undefined && process.argv[1] === import.meta.filename) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', ({ count }: { count: number }) => {
    void fill(process.argv[2] as string, count).then((used) => process.send?.(used));
  });
}
