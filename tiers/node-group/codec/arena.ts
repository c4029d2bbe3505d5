// One fixed block of memory a process and tier, cut into slots, each holding all lanes of a stripe
// or batch. The kernels work in it, drives are written from it and read into it: the only copy is
// from the socket's chunk into a slot. It never grows, so it is also the brake: who finds no free
// slot waits, and past a bound the answer is SlowDown instead of a full memory. A large slot is
// four units side by side.

import assert from 'node:assert/strict';
import { FirnError } from '../../../appliance/model/errors.ts';
import {
  newWasmMemory,
  WASM_PAGE_BYTES,
  type WasmMemory,
} from '../../../appliance/model/wasm-emitter.ts';

/** Room before each lane's bytes for a piece header, so that header and lane are one write. */
export const LANE_HEAD_BYTES = 128;
export const LARGE_UNITS = 4;
/** What a device may want the address of a direct write to be a multiple of: lanes begin at such. */
const SECTOR_BYTES = 512;

export interface ArenaOptions {
  /** Lanes a slot. */
  lanes: number;
  /** Bytes that a lane of a small slot must hold. */
  laneBytes: number;
  arenaBytes: number;
  /** Waiters beyond this are refused. */
  waitersMax?: number;
  waitMsMax?: number;
}

export interface Slot {
  readonly unit: number;
  readonly units: number;
  /** Address of lane 0's bytes (behind its head). */
  readonly base: number;
  readonly stride: number;
  /** Bytes that each lane holds. */
  readonly laneBytes: number;
  /** One view a lane, without head. */
  readonly lanes: readonly Buffer[];
}

interface Waiter {
  units: number;
  resolve: (slot: Slot) => void;
  reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

export class Arena {
  readonly memory: WasmMemory;
  readonly pages: number;
  readonly #bytes: Buffer;
  readonly #options: Required<ArenaOptions>;
  readonly #strideUnit: number;
  readonly #unitBytes: number;
  readonly #taken: Uint8Array;
  readonly #slots = new Map<number, Slot>();
  readonly #waiters: Waiter[] = [];
  readonly #held = new Set<{ unit: number; until: Promise<unknown> }>();

  constructor(options: ArenaOptions) {
    this.#options = { waitersMax: 512, waitMsMax: 10_000, ...options };
    // A distance of a multiple of 4 KiB between lanes halves the rate at 8 and more data lanes:
    // their lines compete for the same sets of the cache. This holds for a small slot and one of
    // four units. An odd number of sectors codes as fast as any other distance (8+4: 14 GB/s).
    let stride = Math.ceil((SECTOR_BYTES + options.laneBytes) / SECTOR_BYTES) * SECTOR_BYTES;
    if (stride % 1024 === 0) stride += SECTOR_BYTES;
    this.#strideUnit = stride;
    this.#unitBytes = stride * options.lanes;
    const units = Math.max(2 * LARGE_UNITS, Math.floor(options.arenaBytes / this.#unitBytes));
    this.pages = Math.ceil((units * this.#unitBytes) / WASM_PAGE_BYTES);
    this.memory = newWasmMemory(this.pages);
    this.#bytes = Buffer.from(this.memory.buffer);
    this.#taken = new Uint8Array(units);
  }

  /** Bytes of a lane in a small slot, and in a large one. */
  laneBytes(units: number): number {
    return units * this.#strideUnit - SECTOR_BYTES;
  }

  get unitsFree(): number {
    return this.#taken.reduce((free, taken) => free + (taken === 0 ? 1 : 0), 0);
  }

  /** A slot at once or not at all; never jumps the queue of those who wait. */
  tryAcquire(units: number): Slot | undefined {
    return this.#waiters.length > 0 ? undefined : this.#take(units);
  }

  /** Waits for a slot; SlowDown when too many wait already, or for too long. */
  acquire(units: number): Slot | Promise<Slot> {
    const slot = this.tryAcquire(units);
    if (slot !== undefined) return slot;
    if (this.#waiters.length >= this.#options.waitersMax) throw slowDown();
    return new Promise<Slot>((resolve, reject) => {
      const timer = setTimeout(() => {
        const at = this.#waiters.findIndex((waiter) => waiter.timer === timer);
        if (at >= 0) this.#waiters.splice(at, 1);
        reject(slowDown());
        this.#serve();
      }, this.#options.waitMsMax);
      this.#waiters.push({ units, resolve, reject, timer });
    });
  }

  /** What these bytes lie in is not lent again before that has ended: it may still write there. */
  hold(bytes: Uint8Array, until: Promise<unknown>): void {
    if (bytes.buffer !== this.#bytes.buffer) return;
    const held = { unit: Math.floor(bytes.byteOffset / this.#unitBytes), until };
    this.#held.add(held);
    const over = (): void => void this.#held.delete(held);
    until.then(over, over);
  }

  release(slot: Slot): void {
    const held =
      this.#held.size === 0
        ? []
        : [...this.#held].filter(({ unit }) => unit >= slot.unit && unit < slot.unit + slot.units);
    if (held.length > 0) {
      void Promise.allSettled(held.map(({ until }) => until)).then(() => this.#release(slot));
    } else this.#release(slot);
  }

  #release(slot: Slot): void {
    for (let i = 0; i < slot.units; i += 1) {
      assert.equal(this.#taken[slot.unit + i], 1, 'a slot is released once');
      this.#taken[slot.unit + i] = 0;
    }
    if (this.#waiters.length > 0) this.#serve();
  }

  #serve(): void {
    for (;;) {
      const first = this.#waiters[0];
      if (first === undefined) return;
      const slot = this.#take(first.units);
      if (slot === undefined) return;
      this.#waiters.shift();
      clearTimeout(first.timer);
      first.resolve(slot);
    }
  }

  /**
   * Small slots from the low end, so that memory never needed is never touched; large from the
   * high.
   */
  #take(units: number): Slot | undefined {
    const count = this.#taken.length;
    if (units === 1) {
      const unit = this.#taken.indexOf(0);
      return unit < 0 ? undefined : this.#mark(unit, 1);
    }
    for (let unit = Math.floor(count / units) * units - units; unit >= 0; unit -= units) {
      let free = true;
      for (let i = 0; i < units && free; i += 1) free = this.#taken[unit + i] === 0;
      if (free) return this.#mark(unit, units);
    }
    return undefined;
  }

  #mark(unit: number, units: number): Slot {
    this.#taken.fill(1, unit, unit + units);
    const name = unit * 8 + units;
    let slot = this.#slots.get(name);
    if (slot === undefined) {
      const base = unit * this.#unitBytes + SECTOR_BYTES;
      const stride = units * this.#strideUnit;
      const laneBytes = this.laneBytes(units);
      const lanes = Array.from({ length: this.#options.lanes }, (_, lane) =>
        this.#bytes.subarray(base + lane * stride, base + lane * stride + laneBytes),
      );
      slot = { unit, units, base, stride, laneBytes, lanes };
      this.#slots.set(name, slot);
    }
    return slot;
  }

  /** Head and the first `length` bytes of a lane, as one view: what a piece is on a drive. */
  piece(slot: Slot, lane: number, length: number): Buffer {
    const from = slot.base + lane * slot.stride - LANE_HEAD_BYTES;
    return this.#bytes.subarray(from, from + LANE_HEAD_BYTES + length);
  }
}

function slowDown(): FirnError {
  return new FirnError('SlowDown', 'All stripe buffers are in use', {
    hint: 'send fewer large requests at once, or add api processes',
    retryable: true,
  });
}
