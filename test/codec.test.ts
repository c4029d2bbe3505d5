// The erasure codes by themselves. What a user would lose: constants that changed between two builds
// turn all parity on the drives into noise, found out on the day a drive dies; a rebuild that writes
// beside the columns asked for destroys lanes that were whole. A golden file a code says what format 1
// is, in matrices and bytes; no build may ever differ from it.

import test from 'ava';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Arena, LARGE_UNITS, type Slot } from '../tiers/node-group/codec/arena.ts';
import { Codec } from '../tiers/node-group/codec/codec.ts';
import { CODE_FORMAT, codeOf, CODES, lanesOf } from '../tiers/node-group/codec/field.ts';
import { sampleBytes } from './contract/tier.ts';

interface Golden {
  format: number;
  code: string;
  k: number;
  m: number;
  /** How each parity lane is made of the data lanes, elements of GF(2^4). */
  parityRows: number[][];
  /** Hex: 128 bytes a lane. */
  data: string[];
  parity: string[];
}

const LANE_BYTES = 128;
const golden = (name: string): Golden =>
  JSON.parse(
    readFileSync(join(import.meta.dirname, 'golden/codec', `${name}.golden.json`), 'utf8'),
  ) as Golden;

function bed(name: string, laneBytes: number, units: number): { codec: Codec; slot: Slot } {
  const code = codeOf(name);
  const arena = new Arena({ lanes: code.n, laneBytes, arenaBytes: 1 });
  const slot = arena.tryAcquire(units);
  if (slot === undefined) throw new Error('a fresh arena has room');
  return { codec: new Codec(code, arena), slot };
}

const count = (mask: number): number => lanesOf(mask).length;

test('format 1 of every code is what its golden file says: matrix and parity, byte for byte', (t) => {
  for (const name of CODES) {
    const { format, k, m, parityRows, data, parity } = golden(name);
    const { codec, slot } = bed(name, LANE_BYTES, 1);
    t.is(format, CODE_FORMAT, 'another format: a golden file of its own, and this one read on');
    t.deepEqual([codec.code.k, codec.code.m], [k, m], name);
    t.deepEqual(codec.code.rows.slice(k), parityRows, name);
    for (const [lane, hex] of data.entries()) slot.lanes[lane]?.write(hex, 'hex');
    codec.encode(slot, LANE_BYTES);
    const made = slot.lanes.slice(k).map((lane) => lane.toString('hex', 0, LANE_BYTES));
    t.deepEqual(made, parity, name);
    // And back from parity that an older build wrote, with the first m lanes lost.
    for (const lane of lanesOf((1 << Math.min(k, m)) - 1)) slot.lanes[lane]?.fill(0xaa);
    const lost = (1 << Math.min(k, m)) - 1;
    const have = ((1 << codec.code.n) - 1) & ~lost;
    t.true(codec.rebuild(slot, { have, empty: 0, want: lost }, { from: 0, bytes: LANE_BYTES }));
    const back = slot.lanes.slice(0, k).map((lane) => lane.toString('hex', 0, LANE_BYTES));
    t.deepEqual(back, data, name);
  }
});

test('a rebuild of some columns makes those and touches no other byte, in every loss pattern', (t) => {
  for (const name of CODES) {
    const { codec, slot } = bed(name, 192, LARGE_UNITS);
    const { k, m, n } = codec.code;
    const bytes = 512;
    t.true(slot.laneBytes >= bytes);
    for (let lane = 0; lane < k; lane += 1) slot.lanes[lane]?.set(sampleBytes(bytes, lane + 1));
    codec.encode(slot, bytes);
    const right = slot.lanes.map((lane) => Buffer.from(lane.subarray(0, bytes)));
    const all = (1 << n) - 1;
    let wrong = 0;
    let patterns = 0;
    for (let lost = 1; lost <= all; lost += 1) {
      if (count(lost) > m) continue;
      patterns += 1;
      const from = 64 * (patterns % 7);
      const length = 64 * (1 + (patterns % (bytes / 64 - from / 64)));
      for (const lane of lanesOf(lost)) slot.lanes[lane]?.fill(0xaa, 0, bytes);
      const lanes = { have: all & ~lost, empty: 0, want: lost };
      const done = codec.rebuild(slot, lanes, { from, bytes: length });
      for (const [lane, own] of right.entries()) {
        const wanted = Buffer.from(own);
        if ((lost >> lane) & 1) wanted.fill(0xaa, 0, from).fill(0xaa, from + length);
        const got = slot.lanes[lane]?.subarray(0, bytes) as Buffer;
        if (!done || !got.equals(wanted)) wrong += 1;
        got.set(own);
      }
    }
    t.is(wrong, 0, `${name}: ${patterns} patterns`);
  }
});

test('one lane more than the code bears is refused, in every pattern, and nothing is written', (t) => {
  for (const name of CODES) {
    const { codec, slot } = bed(name, LANE_BYTES, 1);
    const { m, n } = codec.code;
    for (const lane of slot.lanes) lane.fill(0x11);
    const all = (1 << n) - 1;
    let accepted = 0;
    for (let lost = 1; lost <= all; lost += 1) {
      if (count(lost) !== m + 1) continue;
      const lanes = { have: all & ~lost, empty: 0, want: lost };
      if (codec.rebuild(slot, lanes, { from: 0, bytes: 64 })) accepted += 1;
    }
    t.is(accepted, 0, name);
    t.true(slot.lanes.every((lane) => lane.every((byte) => byte === 0x11)));
  }
});

test('no lanes lie a multiple of 4 KiB apart, whatever the sizes: wide codes would run at half speed', (t) => {
  for (const name of CODES) {
    for (const laneBytes of [1, 4096 - 128, 8192 - 128, 65_536, 65_536 - 128, 262_144, 349_568]) {
      for (const units of [1, LARGE_UNITS]) {
        const { slot } = bed(name, laneBytes, units);
        t.not(slot.stride % 4096, 0, `${name}, lanes of ${laneBytes} bytes, ${units} units`);
        t.true(slot.laneBytes >= laneBytes);
      }
    }
  }
});
