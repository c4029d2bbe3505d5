// Writes WebAssembly functions for combinations of lanes: straight-line 128-bit loads, exclusive
// ors and stores with constant offsets, in one loop that steps 64 bytes. No tables, no shuffles, no
// native build. Why not a library: at 4+2 this runs at the speed of memcpy, several times the
// packages to be had; a module takes under a millisecond to write and compile, so each loss pattern
// gets its own.

import {
  ADD32,
  advance,
  get,
  loadVector,
  set,
  storeVector,
  until,
  XOR_VECTOR,
  ZERO_VECTOR,
  type WasmFunction,
} from '../../../appliance/model/wasm-emitter.ts';
import { bitRow, type Combination } from './field.ts';

/** A group is 4 packets of 16 bytes: packet b holds bit b of 128 field elements. */
export const GROUP_BYTES = 64;
const PACKET_BYTES = 16;

/** Locals: 0 = address, 1 = bytes on entry, then the end address. */
function loopBody(combination: Combination, stride: number): number[] {
  const code: number[] = [];
  for (const [t, target] of combination.targets.entries()) {
    for (let packet = 0; packet < 4; packet += 1) {
      code.push(...get(0));
      let terms = 0;
      for (const [s, source] of combination.sources.entries()) {
        const row = bitRow(combination.coefficients[t]?.[s] as number, packet);
        for (let b = 0; b < 4; b += 1) {
          if (((row >> b) & 1) === 0) continue;
          code.push(...get(0), ...loadVector(source * stride + b * PACKET_BYTES));
          if (terms > 0) code.push(...XOR_VECTOR);
          terms += 1;
        }
      }
      if (terms === 0) code.push(...ZERO_VECTOR);
      code.push(...storeVector(target * stride + packet * PACKET_BYTES));
    }
  }
  return code;
}

/** (address, bytes): every lane is read and written from `address` plus its stride. */
export function kernelOf(combination: Combination, stride: number): WasmFunction {
  const loop = [...loopBody(combination, stride), ...advance(0, GROUP_BYTES)];
  const code = [...get(0), ...get(1), ADD32, ...set(1), ...until(0, 1, loop)];
  return { name: 'run', parameters: 2, locals: [], code };
}
