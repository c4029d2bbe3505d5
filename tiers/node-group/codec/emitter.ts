// Writes WebAssembly modules for combinations of lanes: straight-line 128-bit loads, exclusive ors
// and stores with constant offsets, in one loop that steps 64 bytes. No tables, no shuffles, no
// native build. Why not a library: at 4+2 this runs at the speed of memcpy, several times the
// packages to be had; a module takes under a millisecond to write and compile, so each loss pattern
// gets its own.

import { bitRow, type Combination } from './field.ts';

/** A group is 4 packets of 16 bytes: packet b holds bit b of 128 field elements. */
export const GROUP_BYTES = 64;
const PACKET_BYTES = 16;

function unsigned(value: number): number[] {
  const out: number[] = [];
  let rest = value >>> 0;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    out.push(rest === 0 ? low : low | 0x80);
  } while (rest !== 0);
  return out;
}

const section = (id: number, body: number[]): number[] => [id, ...unsigned(body.length), ...body];
const text = (value: string): number[] => [value.length, ...Buffer.from(value, 'latin1')];

const GET = 0x20;
const SET = 0x21;
const SIMD = 0xfd;
const load = (offset: number): number[] => [GET, 0, SIMD, 0x00, 4, ...unsigned(offset)];
const store = (offset: number): number[] => [SIMD, 0x0b, 4, ...unsigned(offset)];
const XOR = [SIMD, 0x51];
const ZERO = [SIMD, 0x0c, ...Array.from({ length: 16 }, () => 0)];

/** Locals: 0 = address, 1 = bytes on entry, then the end address. */
function loopBody(combination: Combination, stride: number): number[] {
  const code: number[] = [];
  for (const [t, target] of combination.targets.entries()) {
    for (let packet = 0; packet < 4; packet += 1) {
      code.push(GET, 0);
      let terms = 0;
      for (const [s, source] of combination.sources.entries()) {
        const row = bitRow(combination.coefficients[t]?.[s] as number, packet);
        for (let b = 0; b < 4; b += 1) {
          if (((row >> b) & 1) === 0) continue;
          code.push(...load(source * stride + b * PACKET_BYTES));
          if (terms > 0) code.push(...XOR);
          terms += 1;
        }
      }
      if (terms === 0) code.push(...ZERO);
      code.push(...store(target * stride + packet * PACKET_BYTES));
    }
  }
  return code;
}

const HEADER = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
const I32 = 0x7f;
const ADD = 0x6a;
/** end = address + bytes; then a loop. */
const PROLOGUE = [0, GET, 0, GET, 1, ADD, SET, 1, 0x03, 0x40];
/** address += 64; again while address < end. */
const EPILOGUE = [GET, 0, 0x41, ...signed(GROUP_BYTES), ADD, 0x22, 0, GET, 1, 0x49, 0x0d, 0, 0x0b];
const END = 0x0b;

/** The module's bytes; `stride` = bytes from one lane to the next in memory. */
export function emitKernel(
  combination: Combination,
  stride: number,
  memoryPages: number,
): Uint8Array<ArrayBuffer> {
  const body = [...PROLOGUE, ...loopBody(combination, stride), ...EPILOGUE, END];
  const limits = [1, ...unsigned(memoryPages), ...unsigned(memoryPages)];
  return Uint8Array.from([
    ...HEADER,
    ...section(1, [1, 0x60, 2, I32, I32, 0]),
    ...section(2, [1, ...text('firn'), ...text('memory'), 2, ...limits]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text('run'), 0, 0]),
    ...section(10, [1, ...unsigned(body.length), ...body]),
  ]);
}

/** LEB128 of a small positive constant: bit 6 of the last byte is the sign. */
function signed(value: number): number[] {
  const bytes = unsigned(value);
  const last = bytes.at(-1) as number;
  return last & 0x40 ? [...bytes.slice(0, -1), last | 0x80, 0] : bytes;
}
