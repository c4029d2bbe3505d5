// Erasure coding against memcpy, both in this run on the same core: median of interleaved rounds,
// CPU time. A figure is data bytes a CPU second; the limit is Buffer.copy of 1 MiB.

import { randomFillSync } from 'node:crypto';
import { MiB } from '../../appliance/model/limits.ts';
import { Arena } from '../../tiers/node-group/codec/arena.ts';
import { Codec, roundToGroup } from '../../tiers/node-group/codec/codec.ts';
import { codeOf } from '../../tiers/node-group/codec/field.ts';

export interface Figure {
  figure: number;
  unit: string;
  limit: number;
  ratio: number;
}

const ROUNDS = 9;
const REPEATS = 400;

function gigabytesPerSecond(bytes: number, work: () => void): number {
  const begun = process.cpuUsage();
  for (let i = 0; i < REPEATS; i += 1) work();
  const { user, system } = process.cpuUsage(begun);
  return (bytes * REPEATS) / (user + system) / 1000;
}

const median = (values: number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] as number;

function compare(bytes: number, work: () => void): Figure {
  const from = Buffer.alloc(MiB, 1);
  const to = Buffer.alloc(MiB);
  const copy = (): void => void from.copy(to);
  for (let i = 0; i < 4; i += 1) gigabytesPerSecond(bytes, work);
  const rounds = Array.from({ length: ROUNDS }, () => ({
    limit: gigabytesPerSecond(MiB, copy),
    figure: gigabytesPerSecond(bytes, work),
  }));
  return {
    figure: median(rounds.map((round) => round.figure)),
    unit: 'GB/s CPU',
    limit: median(rounds.map((round) => round.limit)),
    ratio: median(rounds.map((round) => round.figure / round.limit)),
  };
}

function bench(name: '4+2' | '8+4' | '12+4'): { encode: Figure; decode: Figure } {
  const code = codeOf(name);
  const laneBytes = roundToGroup(MiB / code.k);
  const arena = new Arena({ lanes: code.n, laneBytes, arenaBytes: 16 * MiB });
  const codec = new Codec(code, arena);
  const slot = arena.tryAcquire(1);
  if (slot === undefined) throw new Error('a fresh arena has a free slot');
  for (const lane of slot.lanes) randomFillSync(lane);
  const lost = { have: ((1 << code.n) - 1) & ~3, empty: 0, want: 3 };
  const span = { from: 0, bytes: laneBytes };
  return {
    encode: compare(laneBytes * code.k, () => codec.encode(slot, laneBytes)),
    decode: compare(laneBytes * code.k, () => codec.rebuild(slot, lost, span)),
  };
}

/** The rows ec-encode-* and ec-decode-* of the bench. */
export async function benchEc(): Promise<Record<string, Figure>> {
  const four = bench('4+2');
  return {
    'ec-encode-4+2': four.encode,
    'ec-encode-8+4': bench('8+4').encode,
    'ec-encode-12+4': bench('12+4').encode,
    'ec-decode-4+2-lost-2': four.decode,
  };
}
