// Chance from a seed: the same seed, the same run.

import type { Random } from '../../appliance/model/clock.ts';

export class Seeded implements Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i += 1) bytes[i] = this.below(256);
    return bytes;
  }
}

/** One seed of several numbers. */
export function mixed(...numbers: number[]): number {
  let hash = 2166136261;
  for (const number of numbers) hash = Math.imul(hash ^ number, 16777619) >>> 0;
  return hash;
}

/** Bytes of an object, told apart from all others by its number; cheap to make. */
export function sample(length: number, number: number): Uint8Array {
  const bytes = Buffer.alloc(length, `object ${number}; `);
  for (let at = 0; at + 4 <= length; at += 61)
    bytes.writeUInt32LE((at * 2654435761 + number) >>> 0, at);
  return bytes;
}
