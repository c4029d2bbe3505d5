// Which code for small hardware: 1+2 (three copies on three drives) beside 4+2 (six drives), each a
// tier over real directories in this process, no HTTP. Both survive two losses; what they cost is
// latency alone, CPU with many in flight, and bytes on drives. Every figure of 4+2 stands beside the
// same of 1+2, taken in turns. All directories share one device here: on drives of their own the
// writes of a large object are spread six ways, or three.

import { mkdtempSync, rmSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock, Random } from '../../appliance/model/clock.ts';
import { newLocationId } from '../../appliance/model/ids.ts';
import { KiB, MiB } from '../../appliance/model/limits.ts';
import type { Body, Stored } from '../../appliance/model/tier.ts';
import { codeOf, type CodeName } from '../../tiers/node-group/codec/field.ts';
import { DriveTier } from '../../tiers/node-group/tier/node-group-tier.ts';
import type { Figure } from './ec.ts';

interface Size {
  name: string;
  bytes: number;
  /** Objects written and read one at a time. */
  alone: number;
  /** Objects written and read with `inFlight` at once. */
  crowd: number;
  inFlight: number;
}

const SIZES: readonly Size[] = [
  { name: '4k', bytes: 4 * KiB, alone: 60, crowd: 2000, inFlight: 64 },
  { name: '64k', bytes: 64 * KiB, alone: 40, crowd: 500, inFlight: 32 },
  { name: '64m', bytes: 64 * MiB, alone: 2, crowd: 4, inFlight: 2 },
];
const CODES: readonly CodeName[] = ['1+2', '4+2'];
const ROUNDS = Number(process.env['FIRN_BENCH_ROUNDS'] ?? 3);
const CHUNK_BYTES = 64 * KiB;
const UNITS = {
  'put-ms': 'ms, alone',
  'get-ms': 'ms, alone',
  'put-cpu': 'CPU µs, crowd',
  'get-cpu': 'CPU µs, crowd',
  'raw-alone': 'bytes a byte, alone',
  raw: 'bytes a byte, crowd',
} as const;
type Kind = keyof typeof UNITS;

const clock: Clock = { wall: () => Date.now(), now: () => Date.now() };
const random: Random = { bytes: (count) => crypto.getRandomValues(new Uint8Array(count)) };
const chunk = Buffer.from(random.bytes(CHUNK_BYTES));
const owner = { bucketId: 'bench', key: 'k' };

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] as number;

/** As it comes from a socket. */
async function* chunks(bytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes; at += CHUNK_BYTES) yield chunk;
}

async function drain(body: Body): Promise<void> {
  if (body instanceof Uint8Array) return;
  for await (const _ of body);
}

/** What directories take on their device. */
async function allocatedBytes(directories: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const directory of directories) {
    for (const name of await readdir(directory, { recursive: true })) {
      bytes += (await stat(join(directory, name))).blocks * 512;
    }
  }
  return bytes;
}

class Bed {
  readonly drives: readonly string[];
  readonly tier: DriveTier;

  constructor(root: string, code: CodeName) {
    this.drives = Array.from({ length: codeOf(code).n }, (_, i) => join(root, code, `drive-${i}`));
    this.tier = new DriveTier(
      { name: 'hot', code, drives: [this.drives] },
      { clock, random, storeId: 'bench', role: 'api', processName: 'bench' },
    );
  }

  put({ bytes }: Size): Promise<Stored> {
    const id = newLocationId(clock, random);
    const body = bytes <= CHUNK_BYTES ? chunk.subarray(0, bytes) : chunks(bytes);
    return this.tier.put({ id, body, sizeBytes: bytes, owner });
  }

  async get({ location }: Stored): Promise<void> {
    await drain(await this.tier.read(location));
  }
}

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

/** CPU µs of one of `count` pieces of work, `inFlight` at once. */
async function cpuMicros(
  { crowd, inFlight }: Size,
  work: (index: number) => Promise<unknown>,
): Promise<number> {
  const begun = process.cpuUsage();
  let next = 0;
  const runner = async (): Promise<void> => {
    while (next < crowd) await work(next++);
  };
  await Promise.all(Array.from({ length: inFlight }, runner));
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / crowd;
}

async function measure(bed: Bed, size: Size): Promise<Record<Kind, number>> {
  const alone = { put: [] as number[], get: [] as number[] };
  const stored: Stored[] = [];
  const empty = await allocatedBytes(bed.drives);
  for (let i = 0; i < size.alone; i += 1) {
    alone.put.push(await milliseconds(async () => stored.push(await bed.put(size))));
  }
  for (const one of stored) alone.get.push(await milliseconds(() => bed.get(one)));
  const before = await allocatedBytes(bed.drives);
  const crowd: Stored[] = [];
  const put = await cpuMicros(size, async () => crowd.push(await bed.put(size)));
  const raw = ((await allocatedBytes(bed.drives)) - before) / (size.bytes * size.crowd);
  const get = await cpuMicros(size, (index) => bed.get(crowd[index] as Stored));
  if (size.bytes > CHUNK_BYTES) {
    for (const { location } of [...stored, ...crowd]) await bed.tier.delete(location);
  }
  return {
    'put-ms': median(alone.put),
    'get-ms': median(alone.get),
    'put-cpu': put,
    'get-cpu': get,
    'raw-alone': (before - empty) / (size.bytes * size.alone),
    raw,
  };
}

/** Rows codes-SIZE-KIND: the figure is 4+2's, the limit 1+2's. */
export async function benchCodes(): Promise<Record<string, Figure>> {
  const root = mkdtempSync(join(tmpdir(), 'firn-codes-'));
  const beds = CODES.map((code) => new Bed(root, code));
  const figures: Record<string, Figure> = {};
  try {
    for (const { tier } of beds) await tier.open();
    for (const size of SIZES) {
      const rounds: Record<Kind, number>[][] = beds.map(() => []);
      for (let round = 0; round <= ROUNDS; round += 1) {
        for (const [index, bed] of beds.entries()) {
          const taken = await measure(bed, size);
          // The first warms up.
          if (round > 0) rounds[index]?.push(taken);
        }
      }
      for (const [kind, unit] of Object.entries(UNITS) as [Kind, string][]) {
        const [limit, figure] = rounds.map((all) => median(all.map((one) => one[kind])));
        figures[`codes-${size.name}-${kind}`] = {
          figure: figure as number,
          unit: `4+2 (limit: 1+2), ${unit}`,
          limit: limit as number,
          ratio: (figure as number) / (limit as number),
        };
      }
    }
    return figures;
  } finally {
    for (const { tier } of beds) await tier.close();
    rmSync(root, { recursive: true, force: true });
  }
}
