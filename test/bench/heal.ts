// Refill of a drive, as people wait for it: the whole appliance holds small (100 KiB, segments) and
// large objects (300 KiB, shard files), a drive is emptied, and the clock runs until its identity
// says that it is whole again, detection and settling included; idle, and with PUTs and GETs beside
// it of which none may fail. Then the heal alone in this process, without throttle, against what
// the same drive takes when the same bytes are written one behind another and synced.

import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock, Random } from '../../appliance/model/clock.ts';
import { newLocationId } from '../../appliance/model/ids.ts';
import { KiB, MiB } from '../../appliance/model/limits.ts';
import { DriveTier } from '../../tiers/node-group/tier/node-group-tier.ts';
import { startFirn, type RunningFirn } from '../firn-process.ts';
import { answerOf, cpuMicros, Load, median, note, ofFirn, rounds } from './harness.ts';
import type { Cost, Figure, Work } from './harness.ts';

const OBJECTS = Number(process.env['FIRN_BENCH_HEAL'] ?? 10_000);
/** Of the heal alone, once each round. */
const ALONE_OBJECTS = Math.min(OBJECTS, 3000);
const WAIT_MS_MAX = 180_000;
const seconds = (ms: number): number => Math.round(ms) / 1000;

const cpuMs = (pids: readonly number[]): number => cpuMicros(pids) / 1000;

const ask = (firn: RunningFirn, load: Load, work: Partial<Work>): Promise<Cost> =>
  load.cost(ofFirn(firn), { method: 'PUT', path: '/heal/{i}', count: 1, inFlight: 16, ...work });

const isHealing = (drive: string): boolean => {
  try {
    return readFileSync(join(drive, 'firn-drive.json'), 'utf8').includes('"healing":true');
  } catch {
    return true;
  }
};

interface Refill {
  noticedMs: number;
  wholeMs: number;
  cpuMs: number;
}

/** Empties a drive of the running appliance and waits until it is whole. */
async function refill(firn: RunningFirn, drive: string): Promise<Refill> {
  const worker = firn.pids();
  for (const name of readdirSync(drive)) rmSync(join(drive, name), { recursive: true });
  const before = cpuMs(worker);
  const begun = performance.now();
  let noticedMs = 0;
  while (isHealing(drive)) {
    if (noticedMs === 0 && readdirSync(drive).includes('firn-drive.json')) {
      noticedMs = performance.now() - begun;
    }
    if (performance.now() - begun > WAIT_MS_MAX) throw new Error('the drive is not refilled');
    await sleep(50);
  }
  return { noticedMs, wholeMs: performance.now() - begun, cpuMs: cpuMs(worker) - before };
}

async function whole(sizeBytes: number, label: string): Promise<Record<string, Figure>> {
  const firn = await startFirn();
  const load = new Load();
  try {
    await ask(firn, load, { path: '/heal', bodyBytes: 0 });
    const { result } = await ask(firn, load, { count: OBJECTS, bodyBytes: sizeBytes });
    note(`${OBJECTS} × ${sizeBytes / KiB} KiB written in ${result.seconds.toFixed(1)} s`);
    const drive = join(firn.directory, 'data', 'hot', 'drive-1');
    const idle = await refill(firn, drive);
    const other = join(firn.directory, 'data', 'hot', 'drive-4');
    let done = false;
    const busy = (async (): Promise<number> => {
      let requests = 0;
      while (!done) {
        const more = { path: '/heal/more-{i}', count: 50, bodyBytes: 100 * KiB };
        const get = { method: 'GET', count: 500, modulo: OBJECTS, inFlight: 8 } as const;
        await ask(firn, load, { ...get, from: requests });
        await ask(firn, load, { ...more, from: requests });
        requests += 550;
      }
      return requests;
    })();
    const loaded = await refill(firn, other).finally(() => {
      done = true;
    });
    const requests = await busy;
    const perObject = idle.cpuMs / OBJECTS;
    note(
      `${label}: ${OBJECTS} objects; idle ${seconds(idle.wholeMs)} s (noticed after ` +
        `${seconds(idle.noticedMs)}), CPU ${seconds(idle.cpuMs)} s = ${perObject.toFixed(3)} ms an object; ` +
        `under load ${seconds(loaded.wholeMs)} s beside ${requests} requests, none failed`,
    );
    return {
      [`heal-${label}-idle`]: figureOf(seconds(idle.wholeMs), 's until whole', 10),
      [`heal-${label}-cpu`]: figureOf(perObject, 'ms CPU an object, all processes', 0.5),
      [`heal-${label}-busy`]: figureOf(seconds(loaded.wholeMs), 's until whole, loaded', 45),
    };
  } finally {
    load.end();
    await firn.dispose();
  }
}

const figureOf = (figure: number, unit: string, limit: number): Figure => ({
  figure,
  unit,
  limit,
  ratio: figure / limit,
});

const clock: Clock = { wall: () => Date.now(), now: () => Date.now() };
const random: Random = { bytes: (count) => crypto.getRandomValues(new Uint8Array(count)) };

const build = (root: string, role: 'api' | 'worker'): DriveTier =>
  new DriveTier(
    { name: 'hot', code: '4+2', drives: [drivesIn(root)], probeMs: 50 },
    { clock, random, storeId: 'bench', role, processName: role },
  );

const drivesIn = (root: string): string[] =>
  Array.from({ length: 6 }, (_, i) => join(root, `drive-${i}`));

async function write(root: string, sizeBytes: number): Promise<void> {
  const writer = build(root, 'api');
  await writer.open();
  const body = Buffer.alloc(sizeBytes, crypto.getRandomValues(Buffer.alloc(64 * KiB)));
  const owner = { bucketId: 'bench', key: 'k' };
  let left = ALONE_OBJECTS;
  const put = async (): Promise<void> => {
    while (left-- > 0) {
      await writer.put({ id: newLocationId(clock, random), body, sizeBytes, owner });
    }
  };
  await Promise.all(Array.from({ length: 32 }, put));
  await writer.close();
}

interface Healed {
  ms: number;
  cpuMs: number;
  bytes: number;
  /** The same number of bytes, one behind another. */
  plainMs: number;
}

/**
 * Heals a drive in place of one that is set aside. Not removed: for minutes ext4 passes over inodes
 * that were freed just now, one after another, a millisecond of CPU a file that is made (measured);
 * a drive that was replaced is a file system of its own, where none were.
 */
async function healOnce(root: string, round: number): Promise<Healed> {
  const drive = drivesIn(root)[2] as string;
  renameSync(drive, join(root, `lost-${round}`));
  mkdirSync(drive);
  const worker = build(root, 'worker');
  await worker.open();
  const job = worker.heal();
  const cpu = process.cpuUsage();
  const begun = performance.now();
  for (let done = false; !done;) ({ done } = await job.step());
  const ms = performance.now() - begun;
  const { user, system } = process.cpuUsage(cpu);
  await worker.close();
  const bytes = await allocatedBytes(drive);
  const plainMs = await plainWriteMs(join(root, `plain-${round}`), bytes);
  return { ms, cpuMs: (user + system) / 1000, bytes, plainMs };
}

/** The heal alone: bytes that the drive got, a second; beside writing them plainly. */
async function alone(sizeBytes: number): Promise<Figure> {
  const root = mkdtempSync(join(tmpdir(), 'firn-heal-'));
  try {
    await write(root, sizeBytes);
    const all: Healed[] = [];
    for (let round = 0; round <= rounds; round += 1) {
      const one = await healOnce(root, round);
      if (round > 0) all.push(one);
    }
    const middle = (of: (one: Healed) => number): number => median(all.map(of));
    const cpuMs = middle((one) => one.cpuMs) / ALONE_OBJECTS;
    note(
      `${ALONE_OBJECTS} × ${sizeBytes / KiB} KiB alone: ${Math.round(middle(({ bytes }) => bytes) / MiB)} ` +
        `MiB in ${seconds(middle(({ ms }) => ms))} s, CPU ${cpuMs.toFixed(3)} ms an object`,
    );
    const figure = middle(({ bytes, ms }) => bytes / ms / 1000);
    const limit = middle(({ bytes, plainMs }) => bytes / plainMs / 1000);
    return { figure, unit: 'MB/s', limit, ratio: middle(({ ms, plainMs }) => plainMs / ms) };
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

async function allocatedBytes(directory: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(directory, { recursive: true })) {
    const { blocks } = await stat(join(directory, name));
    bytes += blocks * 512;
  }
  return bytes;
}

async function plainWriteMs(path: string, bytes: number): Promise<number> {
  const begun = performance.now();
  const file = await open(path, 'wx');
  const chunk = crypto.getRandomValues(Buffer.alloc(64 * KiB));
  const block = Buffer.concat(Array.from({ length: 64 }, () => chunk));
  for (let at = 0; at < bytes; at += block.length) {
    await file.write(block, 0, Math.min(block.length, bytes - at), at);
  }
  await file.datasync();
  await file.close();
  return performance.now() - begun;
}

/** In a process whose thread pool is as large as a worker's. */
async function aloneApart(sizeBytes: number): Promise<Figure> {
  const child = fork(import.meta.filename, {
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
  });
  try {
    return await answerOf<Figure>(child, { sizeBytes });
  } finally {
    child.disconnect();
  }
}

export async function benchHeal(wants: (name: string) => boolean): Promise<Record<string, Figure>> {
  const figures: Record<string, Figure> = {};
  if (wants('heal-drive')) figures['heal-drive'] = await aloneApart(100 * KiB);
  if (wants('heal-drive-large')) figures['heal-drive-large'] = await aloneApart(300 * KiB);
  if (wants('heal-small')) Object.assign(figures, await whole(100 * KiB, 'small'));
  if (wants('heal-large')) Object.assign(figures, await whole(300 * KiB, 'large'));
  return figures;
}

if (process.send !== undefined && process.argv[1] === import.meta.filename) {
  process.on('message', ({ sizeBytes }: { sizeBytes: number }) => {
    void alone(sizeBytes).then((figure) => process.send?.(figure));
  });
}
