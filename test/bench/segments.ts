// What group commit is worth: the tier alone, no requests and no metadata, durable PUTs of 4 KiB at 64
// in flight, beside the same tier with a file a shard for every object. By wall time: syncs are what
// it saves. A process of its own, so that its thread pool is as large as the appliance's.

import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { KiB } from '../../appliance/model/limits.ts';
import { EngineClock, SystemRandom } from '../../appliance/process/clock.ts';
import { newLocationId } from '../../appliance/model/ids.ts';
import { DriveTier } from '../../tiers/node-group/tier/node-group-tier.ts';
import { answerOf, median, note, rounds, type Figure } from './harness.ts';

const IN_FLIGHT = 64;
const SEGMENT_COUNT = 4000;
const FILE_COUNT = 400;

const clock = new EngineClock();
const random = new SystemRandom();

export async function openTier(
  directory: string,
  more: { smallBytesMax?: number } = {},
): Promise<DriveTier> {
  const drives = Array.from({ length: 6 }, (_, i) => join(directory, `drive-${i}`));
  for (const path of drives) mkdirSync(path, { recursive: true });
  const tier = new DriveTier(
    { name: 'hot', code: '4+2', drives: [drives], fullShare: 0.99, ...more },
    { clock, random, storeId: 'bench', role: 'api', processName: 'bench' },
  );
  await tier.open();
  return tier;
}

export async function benchSegments(directory: string): Promise<Record<string, Figure>> {
  const child = fork(import.meta.filename, [directory], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '16' },
  });
  const [segments, files]: [number[], number[]] = [[], []];
  try {
    for (let i = -1; i < rounds; i++) {
      const file = await answerOf<Rate>(child, { kind: 'files', count: FILE_COUNT });
      const segment = await answerOf<Rate>(child, { kind: 'segments', count: SEGMENT_COUNT });
      if (i < 0) continue;
      segments.push(segment.perSecond);
      files.push(file.perSecond);
    }
  } finally {
    child.disconnect();
  }
  const [figure, limit] = [median(segments), median(files)];
  note(`put-4k-64-files: ${(figure / limit).toFixed(1)} segments' PUTs for one with files`);
  return { 'put-4k-64-files': { figure, unit: 'PUT/s, segments', limit, ratio: figure / limit } };
}

interface Rate {
  perSecond: number;
}

async function rate(tier: DriveTier, count: number): Promise<Rate> {
  const body = randomBytes(4 * KiB);
  let left = count;
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (left-- > 0) {
        const id = newLocationId(clock, random);
        await tier.put({ id, body, owner: { bucketId: '0123456789abcdef', key: id } });
      }
    }),
  );
  return { perSecond: (count * 1000) / (performance.now() - begun) };
}

async function serve(directory: string): Promise<void> {
  const tiers = {
    segments: await openTier(join(directory, 'segments')),
    files: await openTier(join(directory, 'files'), { smallBytesMax: 0 }),
  };
  process.on('message', ({ kind, count }: { kind: keyof typeof tiers; count: number }) => {
    void rate(tiers[kind], count).then((answer) => process.send?.(answer));
  });
}

if (process.send !== undefined && process.argv[1] === import.meta.filename) {
  process.on('disconnect', () => process.exit(0));
  await serve(process.argv[2] as string);
}
