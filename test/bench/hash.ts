// Sums beside what Node brings: eight streams through the lanes against the same streams one after
// another in node:crypto, and CRC64NVME against zlib.crc32. CPU time, interleaved rounds, medians.

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { newChecksum } from '../../appliance/model/checksum.ts';
import { MiB } from '../../appliance/model/limits.ts';
import { Md5Lanes } from '../../appliance/model/md5-lanes.ts';
import type { Figure } from './ec.ts';

const ROUNDS = 9;
const STREAMS = 8;
const STREAM_BYTES = 8 * MiB;
/** What a socket hands over at most. */
const CHUNK_BYTES = 65_536;

function gigabytesPerSecond(bytes: number, work: () => void): number {
  const begun = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(begun);
  return bytes / (user + system) / 1000;
}

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] as number;

function compare(bytes: number, ours: () => void, theirs: () => void): Figure {
  for (let i = 0; i < 3; i += 1) {
    ours();
    theirs();
  }
  const rounds = Array.from({ length: ROUNDS }, () => ({
    limit: gigabytesPerSecond(bytes, theirs),
    figure: gigabytesPerSecond(bytes, ours),
  }));
  return {
    figure: median(rounds.map(({ figure }) => figure)),
    unit: 'GB/s CPU',
    limit: median(rounds.map(({ limit }) => limit)),
    ratio: median(rounds.map(({ figure, limit }) => figure / limit)),
  };
}

function md5(chunks: readonly Buffer[]): Figure {
  const lanes = new Md5Lanes();
  let sums: string[] = [];
  const beside = (): void => {
    const streams = Array.from({ length: STREAMS }, () => lanes.stream());
    for (const chunk of chunks) for (const stream of streams) stream.update(chunk);
    sums = streams.map((stream) => stream.digest());
  };
  const behind = (): void => {
    for (let stream = 0; stream < STREAMS; stream += 1) {
      const hash = createHash('md5');
      for (const chunk of chunks) hash.update(chunk);
      if (hash.digest('hex') !== sums[stream]) throw new Error('two MD5s of the same bytes');
    }
  };
  return compare(STREAMS * STREAM_BYTES, beside, behind);
}

function crc64(chunks: readonly Buffer[]): Figure {
  const ours = (): void => {
    const sum = newChecksum('CRC64NVME');
    for (const chunk of chunks) sum.update(chunk);
    sum.digest();
  };
  const theirs = (): void => {
    let sum = 0;
    for (const chunk of chunks) sum = crc32(chunk, sum);
  };
  const several = (one: () => void) => (): void => {
    for (let i = 0; i < STREAMS; i += 1) one();
  };
  return compare(STREAMS * STREAM_BYTES, several(ours), several(theirs));
}

/** The rows md5-8-streams (at least 3.5) and crc64nvme (at least 0.4). */
export function benchHash(): Record<string, Figure> {
  const bytes = Buffer.alloc(STREAM_BYTES, 'firn');
  const chunks = Array.from({ length: STREAM_BYTES / CHUNK_BYTES }, (_, i) =>
    bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES),
  );
  return { 'md5-8-streams': md5(chunks), crc64nvme: crc64(chunks) };
}
