// Encodes and rebuilds the lanes of slots in the arena. The kernel that makes parity is written at
// the first use of a slot size, kernels for losses when they first occur: of the 21 loss patterns
// of 4+2, a group with one dead drive ever sees a handful.

import assert from 'node:assert/strict';
import { compileWasm } from '../../../appliance/model/wasm-emitter.ts';
import type { Arena, Slot } from './arena.ts';
import { GROUP_BYTES, kernelOf } from './emitter.ts';
import { parityOf, recovery, type Code, type Combination } from './field.ts';

type Kernel = (address: number, bytes: number) => void;

const KERNELS_MAX = 128;

/** Bit masks of lanes. */
export interface Lanes {
  have: number;
  /** Data lanes that count as zeros. */
  empty: number;
  want: number;
}

export const roundToGroup = (bytes: number): number => Math.ceil(bytes / GROUP_BYTES) * GROUP_BYTES;

export class Codec {
  readonly code: Code;
  readonly arena: Arena;
  readonly #parity = new Map<number, Kernel>();
  /** In order of last use, oldest first. */
  readonly #rebuilds = new Map<string, Kernel>();

  constructor(code: Code, arena: Arena) {
    this.code = code;
    this.arena = arena;
  }

  /**
   * Makes all parity lanes of a slot from all data lanes, over `bytes` of each from `from` on
   * (multiples of 64). Lanes without data must have been zeroed.
   */
  encode(slot: Slot, bytes: number, from = 0): void {
    if (bytes === 0) return;
    assert.ok(from % GROUP_BYTES === 0 && bytes % GROUP_BYTES === 0, 'whole groups');
    assert.ok(from + bytes <= slot.laneBytes, 'inside the lane');
    let kernel = this.#parity.get(slot.stride);
    if (kernel === undefined) {
      kernel = this.#compile(parityOf(this.code), slot.stride);
      this.#parity.set(slot.stride, kernel);
    }
    kernel(slot.base + from, bytes);
  }

  /**
   * Makes the lanes of `want` from those of `have` (bit masks; lanes of `empty` count as zeros
   * whatever the slot holds there), over `bytes` bytes from `from`. False if `have` does not
   * suffice.
   */
  rebuild(slot: Slot, lanes: Lanes, span: { from: number; bytes: number }): boolean {
    const { from, bytes } = span;
    assert.ok(from % GROUP_BYTES === 0 && bytes % GROUP_BYTES === 0, 'whole groups');
    assert.ok(from + bytes <= slot.laneBytes, 'inside the lane');
    const kernel = this.#recoveryKernel(slot.stride, lanes);
    if (kernel === undefined) return false;
    if (bytes > 0 && lanes.want !== 0) kernel(slot.base + from, bytes);
    return true;
  }

  #recoveryKernel(stride: number, lanes: Lanes): Kernel | undefined {
    const name = `${stride} ${lanes.have} ${lanes.empty} ${lanes.want}`;
    let kernel = this.#rebuilds.get(name);
    if (kernel === undefined) {
      const combination = recovery(this.code, lanes);
      if (combination === undefined) return undefined;
      kernel = this.#compile(combination, stride);
    } else {
      this.#rebuilds.delete(name);
    }
    this.#rebuilds.set(name, kernel);
    if (this.#rebuilds.size > KERNELS_MAX) {
      this.#rebuilds.delete(this.#rebuilds.keys().next().value as string);
    }
    return kernel;
  }

  #compile(combination: Combination, stride: number): Kernel {
    if (combination.sources.length === 0) {
      return (address, bytes) => {
        const memory = new Uint8Array(this.arena.memory.buffer);
        for (const lane of combination.targets) {
          memory.fill(0, address + lane * stride, address + lane * stride + bytes);
        }
      };
    }
    return compileWasm([kernelOf(combination, stride)], this.arena.memory)['run'] as Kernel;
  }
}
