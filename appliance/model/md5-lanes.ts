// The MD5s of all bodies that a process receives at once, many at a time (md5-kernels.ts). An MD5
// can't be cut in pieces, so the one way to hash faster is beside others: 64 bodies of 4 KiB cost
// 2.1 µs each instead of 7, eight large streams four times less than one after another. Nobody
// waits for company: sums are *needed* late (a small one when its bytes are durable, a large one
// when its buffer is full), and whoever needs one takes along what lies there. Alone, a small body
// is node:crypto's, and a stream's kernel runs at the rate of node:crypto, whose state could not
// move into a lane. The dangers: a sum mixed up between streams (each has a state of its own, given
// back by `drop`), memory (8 MiB, and node:crypto for whoever finds no room), and a loop blocked
// for long (one go is at most 256 KiB of each of eight bodies: 0.8 ms).

import assert from 'node:assert/strict';
import { createHash, hash } from 'node:crypto';
import {
  MD5_BLOCK_BYTES,
  MD5_SCRATCH_BYTES,
  MD5_START,
  MD5_STATE_BYTES,
  newMd5Kernels,
  type Md5Kernels,
} from './md5-kernels.ts';
import { newWasmMemory, WASM_PAGE_BYTES } from './wasm-emitter.ts';

const LANES = 8;
/** Below this many bodies, four lanes of one vector are faster than eight. */
const WIDE_FROM = 5;
/** What a stream may leave unhashed: a ring of whole blocks. */
const RING_BYTES = 262_144;
const STREAMS_MAX = 32;
/** A full ring is emptied by this much (a chunk), together with rings that hold some of it. */
const RUN_BYTES = 65_536;
/** A stream with less is no company: each run costs 1 µs, 3 KiB of one lane's time. */
const COMPANY_BYTES = 4096;
/** 0x80, zeros and the length: at most a block and 8 bytes more. */
const PADDING_BYTES_MAX = 72;

/** One state for each ring and each lane of small bodies. */
const STATES_AT = MD5_SCRATCH_BYTES;
const LANE_STATES_AT = STATES_AT + STREAMS_MAX * MD5_STATE_BYTES;
/** Copies of small bodies lie a ring apart, plus an odd distance (see RINGS_AT). */
const STAGE_BYTES = 16_384;
const STAGES_AT = 8192;
/** Rings a multiple of 4 KiB apart would compete for the same sets of the cache. */
const STRIDE_GAP_BYTES = 192;
const STAGE_STRIDE = STAGE_BYTES + STRIDE_GAP_BYTES;
const RING_STRIDE = RING_BYTES + STRIDE_GAP_BYTES;
const RINGS_AT = STAGES_AT + LANES * STAGE_STRIDE;
const PAGES = Math.ceil((RINGS_AT + STREAMS_MAX * RING_STRIDE) / WASM_PAGE_BYTES);

/** An MD5 that is made as its bytes arrive. */
export interface RunningMd5 {
  /** The bytes may be reused afterwards. */
  update(bytes: Uint8Array): void;
  /** Hex. Once, at the end. */
  digest(): string;
  /** Gives its room back; harmless behind `digest`. Whoever gives up must call it. */
  drop(): void;
}

/** The MD5 of a whole body, made when it is needed or with others before. */
export interface PendingMd5 {
  /** `digest` costs nothing any more. */
  readonly isReady: boolean;
  /** Hex. The bytes must not have changed until now. */
  digest(): string;
  /** As of RunningMd5: behind it the sum is no longer to be had, and the body is let go. */
  drop(): void;
}

/** What a whole body asks of the lanes. */
interface WholeCalls {
  /** Its sum is needed now. */
  need: (whole: Whole) => void;
  leave: (whole: Whole) => void;
}

/** A class, not closures: one is made with every small upload. */
class Whole implements PendingMd5 {
  readonly bytes: Uint8Array;
  /** Bytes staged; one more than there are when the padding is, too. */
  done = 0;
  sum: string | undefined;
  readonly #calls: WholeCalls;
  #isHeld = true;

  constructor(bytes: Uint8Array, calls: WholeCalls) {
    this.bytes = bytes;
    this.#calls = calls;
  }

  get isReady(): boolean {
    return this.sum !== undefined;
  }

  digest(): string {
    assert.ok(this.#isHeld, 'a sum is asked for before it is dropped');
    if (this.sum === undefined) this.#calls.need(this);
    return this.sum as string;
  }

  drop(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#calls.leave(this);
  }
}

/** What lies at a place of the memory to be hashed into a state. */
interface Run {
  data: number;
  state: number;
  bytes: number;
}

/** What stands behind a body of `length` bytes, into `into` from `at` on. Returns its size. */
function writePadding(into: Buffer, at: number, length: number): number {
  const tail = length % MD5_BLOCK_BYTES;
  const bytes = (tail < 56 ? 64 : 128) - tail;
  into.fill(0, at, at + bytes);
  into[at] = 0x80;
  // The number of bits, below 2^53 bytes: two halves without bit operators.
  into.writeUInt32LE((length % 2 ** 29) * 8, at + bytes - 8);
  into.writeUInt32LE(Math.floor(length / 2 ** 29), at + bytes - 4);
  return bytes;
}

export class Md5Lanes {
  readonly #memory = newWasmMemory(PAGES);
  readonly #bytes = Buffer.from(this.#memory.buffer);
  readonly #words = new Uint32Array(this.#memory.buffer);
  #kernels: Md5Kernels | undefined;
  readonly #rings: (Ring | undefined)[] = Array.from({ length: STREAMS_MAX }, () => undefined);
  #streams = 0;
  /** Whole bodies not hashed yet, oldest first. */
  readonly #waiting: Whole[] = [];
  /** Whole bodies begun and not dropped, hashed or not. */
  #wholes = 0;
  readonly #calls: WholeCalls = {
    need: (whole) => this.#hashWith(whole),
    leave: (whole) => {
      this.#wholes -= 1;
      const at = whole.sum === undefined ? this.#waiting.indexOf(whole) : -1;
      if (at >= 0) this.#waiting.splice(at, 1);
    },
  };

  /** Whole bodies under way and streams with a ring: what a test or a gauge may ask for. */
  get busy(): { wholes: number; streams: number } {
    return { wholes: this.#wholes, streams: this.#streams };
  }

  /** Writes and compiles the kernels (10 to 30 ms): at start, not while two uploads wait. */
  prepare(): Md5Kernels {
    this.#kernels ??= newMd5Kernels(this.#memory);
    return this.#kernels;
  }

  /**
   * Begins the MD5 of a body that is all there. Alone it is hashed at once; among others when eight
   * have come together or the first of them is needed.
   */
  begin(bytes: Uint8Array): PendingMd5 {
    this.#wholes += 1;
    const whole = new Whole(bytes, this.#calls);
    if (this.#wholes === 1) {
      whole.sum = hash('md5', bytes);
    } else {
      this.#waiting.push(whole);
      if (this.#waiting.length >= LANES) this.#hashWholes(this.#waiting.splice(0, LANES));
    }
    return whole;
  }

  /** Begins the MD5 of a stream. */
  stream(): RunningMd5 {
    const index = this.#rings.indexOf(undefined);
    if (index < 0) return cryptoStream();
    const state = STATES_AT + index * MD5_STATE_BYTES;
    this.#words.set(MD5_START, state / 4);
    const ring: Ring = {
      at: RINGS_AT + index * RING_STRIDE,
      state,
      from: 0,
      held: 0,
      total: 0,
    };
    this.#rings[index] = ring;
    this.#streams += 1;
    let isHeld = true;
    const drop = (): void => {
      if (!isHeld) return;
      isHeld = false;
      this.#rings[index] = undefined;
      this.#streams -= 1;
    };
    return {
      update: (bytes) => {
        assert.ok(isHeld, 'a stream is fed before its end');
        this.#feed(ring, bytes);
      },
      digest: () => {
        assert.ok(isHeld, 'a stream ends once');
        const padding = Buffer.allocUnsafe(PADDING_BYTES_MAX);
        this.#feed(ring, padding.subarray(0, writePadding(padding, 0, ring.total)));
        this.#drain(ring, 0);
        const sum = this.#bytes.toString('hex', ring.state, ring.state + MD5_STATE_BYTES);
        drop();
        return sum;
      },
      drop,
    };
  }

  #feed(ring: Ring, bytes: Uint8Array): void {
    ring.total += bytes.length;
    for (let from = 0; from < bytes.length;) {
      if (ring.held === RING_BYTES) this.#drain(ring, RING_BYTES - RUN_BYTES);
      const to = (ring.from + ring.held) % RING_BYTES;
      const room = Math.min(RING_BYTES - ring.held, RING_BYTES - to, bytes.length - from);
      const piece = room === bytes.length && from === 0 ? bytes : bytes.subarray(from, from + room);
      this.#bytes.set(piece, ring.at + to);
      ring.held += room;
      from += room;
    }
    // Nobody to wait for: the sum keeps up with the body, and its end costs nothing.
    if (this.#streams === 1 && ring.held >= MD5_BLOCK_BYTES) {
      this.#drain(ring, MD5_BLOCK_BYTES - 1);
    }
  }

  /** Until at most `left` bytes of it are held; takes along what other rings hold. */
  #drain(ring: Ring, left: number): void {
    while (ring.held > left) {
      const all = [ring];
      if (this.#streams > 1) {
        for (const other of this.#rings) {
          if (other !== undefined && other !== ring && other.held >= COMPANY_BYTES) all.push(other);
        }
        // The fullest: those are needed next, and the longer all last the fewer runs there are.
        if (all.length > LANES)
          all.sort((a, b) => Number(b === ring) - Number(a === ring) || b.held - a.held);
        all.length = Math.min(all.length, LANES);
      }
      const need = Math.ceil((ring.held - left) / MD5_BLOCK_BYTES) * MD5_BLOCK_BYTES;
      let bytes = Math.min(need, ring.held - (ring.held % MD5_BLOCK_BYTES));
      if (bytes === 0) return;
      for (const { from, held } of all) {
        const whole = held - (held % MD5_BLOCK_BYTES);
        bytes = Math.min(bytes, whole, RING_BYTES - from);
      }
      this.#run(all.map(({ at, from, state }) => ({ data: at + from, state, bytes })));
      for (const one of all) {
        one.from = (one.from + bytes) % RING_BYTES;
        one.held -= bytes;
      }
    }
  }

  /** Hashes this one and up to seven of those that wait. */
  #hashWith(whole: Whole): void {
    this.#waiting.splice(this.#waiting.indexOf(whole), 1);
    this.#hashWholes([whole, ...this.#waiting.splice(0, LANES - 1)]);
  }

  #hashWholes(wholes: Whole[]): void {
    if (wholes.length === 1) {
      const [only] = wholes as [Whole];
      only.sum = hash('md5', only.bytes);
      return;
    }
    for (const lane of wholes.keys()) {
      this.#words.set(MD5_START, (LANE_STATES_AT + lane * MD5_STATE_BYTES) / 4);
    }
    const runs = wholes.map((_, lane) => ({
      data: 0,
      state: LANE_STATES_AT + lane * MD5_STATE_BYTES,
      bytes: 0,
    }));
    let left = wholes.length;
    while (left > 0) {
      for (const [lane, run] of runs.entries()) {
        const whole = wholes[lane] as Whole;
        if (run.bytes > 0 || whole.sum !== undefined) continue;
        run.data = STAGES_AT + lane * STAGE_STRIDE;
        run.bytes = this.#stage(whole, run.data);
        if (run.bytes > 0) continue;
        whole.sum = this.#bytes.toString('hex', run.state, run.state + MD5_STATE_BYTES);
        left -= 1;
      }
      if (left > 0) this.#run(runs.filter((run) => run.bytes > 0));
    }
  }

  /** The next whole blocks of a body, padding included; 0 behind its end. */
  #stage(whole: Whole, at: number): number {
    const { bytes, done } = whole;
    if (done > bytes.length) return 0;
    const piece = Math.min(bytes.length - done, STAGE_BYTES);
    this.#bytes.set(piece === bytes.length ? bytes : bytes.subarray(done, done + piece), at);
    whole.done += piece;
    if (whole.done < bytes.length) return piece;
    // The padding fits in the gap behind a stage. Past the end: nothing is left to be staged.
    whole.done += 1;
    return piece + writePadding(this.#bytes, at + piece, bytes.length);
  }

  /** Advances all by as many blocks as the one with the fewest bytes has. */
  #run(runs: Run[]): void {
    const kernels = this.prepare();
    const [first] = runs as [Run];
    let bytes = first.bytes;
    for (const run of runs) bytes = Math.min(bytes, run.bytes);
    const end = first.data + bytes;
    if (runs.length === 1) {
      kernels.single(first.data, first.state, end);
    } else {
      const lanes = runs.length < WIDE_FROM ? 4 : LANES;
      const kernel = lanes === 4 ? kernels.lanes4 : kernels.lanes8;
      const data: number[] = [];
      const states: number[] = [];
      for (let lane = 0; lane < lanes; lane++) {
        // An idle lane does what the first does.
        const run = runs[lane] ?? first;
        data.push(run.data);
        states.push(run.state);
      }
      kernel(...data, ...states, end);
    }
    for (const run of runs) {
      run.data += bytes;
      run.bytes -= bytes;
    }
  }
}

interface Ring {
  readonly at: number;
  readonly state: number;
  /** Where the first byte not hashed lies, a multiple of 64. */
  from: number;
  /** Bytes not hashed. */
  held: number;
  /** Bytes of the stream so far. */
  total: number;
}

function cryptoStream(): RunningMd5 {
  const md5 = createHash('md5');
  return {
    update: (bytes) => void md5.update(bytes),
    digest: () => md5.digest('hex'),
    drop: () => undefined,
  };
}

let shared: Md5Lanes | undefined;

/** The process's own: lanes fill only if all bodies pass through the same. */
export function md5Lanes(): Md5Lanes {
  shared ??= new Md5Lanes();
  return shared;
}
