// The MD5s of all bodies that a process receives at once, many at a time (md5-kernels.ts). An MD5
// can't be cut in pieces, so the one way to hash faster is beside others: 64 bodies of 4 KiB cost
// 2.1 µs each instead of 7, eight large streams four times less than one after another. Nobody
// waits for company: sums are *needed* late (a small one when its bytes are durable, a large one
// when no chunk is free), and whoever needs one takes along what lies there. Large bodies come in
// bursts, one by one as drives take their stripes: so all share the chunks, and each may be 2 MiB
// behind, or there would be nothing of the others when one comes. Alone, a small body
// is node:crypto's, and a stream's kernel runs at the rate of node:crypto, whose state could not
// move into a lane. The dangers: a sum mixed up between streams (each has a state of its own, given
// back by `drop`), memory (8 MiB, and node:crypto for whoever finds no room), and a loop blocked
// for long (the end of a stream that is 2 MiB behind beside seven such: 5 ms).

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
/** Streams write into chunks of this; only the last of each is hashed before it is full. */
const CHUNK_BYTES = 32_768;
const CHUNKS = 256;
/** A stream may be behind by this many: what its end may cost, for then nobody waits any more. */
const CHUNKS_BEHIND_MAX = 64;
const STREAMS_MAX = 32;
/** One state for each stream and each lane of small bodies. */
const STATES_AT = MD5_SCRATCH_BYTES;
const LANE_STATES_AT = STATES_AT + STREAMS_MAX * MD5_STATE_BYTES;
/** Copies of small bodies lie a stage apart, plus an odd distance (see STRIDE_GAP_BYTES). */
const STAGE_BYTES = 16_384;
const STAGES_AT = 8192;
/** What lies a multiple of 4 KiB apart competes for the same sets of the cache. Padding fits in. */
const STRIDE_GAP_BYTES = 192;
const STAGE_STRIDE = STAGE_BYTES + STRIDE_GAP_BYTES;
const CHUNK_STRIDE = CHUNK_BYTES + STRIDE_GAP_BYTES;
const CHUNKS_AT = STAGES_AT + LANES * STAGE_STRIDE;
const PAGES = Math.ceil((CHUNKS_AT + CHUNKS * CHUNK_STRIDE) / WASM_PAGE_BYTES);

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
  readonly #streams = new Set<Stream>();
  readonly #states = Array.from({ length: STREAMS_MAX }, (_, i) => STATES_AT + i * MD5_STATE_BYTES);
  /** Addresses; the last one given back is lent first. */
  readonly #chunks = Array.from({ length: CHUNKS }, (_, i) => CHUNKS_AT + i * CHUNK_STRIDE);
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

  /** Whole bodies under way and streams with a state here: what a test or a gauge may ask for. */
  get busy(): { wholes: number; streams: number } {
    return { wholes: this.#wholes, streams: this.#streams.size };
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
    const state = this.#states.pop();
    if (state === undefined) return cryptoStream();
    this.#words.set(MD5_START, state / 4);
    const stream: Stream = { state, full: [], open: undefined, fill: 0, total: 0 };
    this.#streams.add(stream);
    const drop = (): void => {
      if (!this.#streams.delete(stream)) return;
      this.#states.push(state);
      this.#chunks.push(...stream.full);
      if (stream.open !== undefined) this.#chunks.push(stream.open);
    };
    return {
      update: (bytes) => {
        assert.ok(this.#streams.has(stream), 'a stream is fed before its end');
        this.#feed(stream, bytes);
      },
      digest: () => {
        assert.ok(this.#streams.has(stream), 'a stream ends once');
        const sum = this.#end(stream);
        drop();
        return sum;
      },
      drop,
    };
  }

  #feed(stream: Stream, bytes: Uint8Array): void {
    stream.total += bytes.length;
    for (let from = 0; from < bytes.length;) {
      if (stream.open === undefined || stream.fill === CHUNK_BYTES) this.#open(stream);
      const at = stream.open as number;
      const room = Math.min(CHUNK_BYTES - stream.fill, bytes.length - from);
      this.#bytes.set(bytes.subarray(from, from + room), at + stream.fill);
      stream.fill += room;
      from += room;
    }
  }

  /** Another chunk for it; hashes what makes room for one. */
  #open(stream: Stream): void {
    if (stream.open !== undefined) stream.full.push(stream.open);
    // Whatever throws below: a chunk that is in both places would be given back twice.
    stream.open = undefined;
    // Nobody to wait for: the sum keeps up with the body, and its end costs nothing.
    const isAlone = this.#streams.size === 1;
    while (stream.full.length > (isAlone ? 0 : CHUNKS_BEHIND_MAX)) this.#round(stream);
    while (this.#chunks.length === 0) this.#round();
    stream.open = this.#chunks.pop();
    stream.fill = 0;
  }

  /**
   * Hashes a chunk of those that are most behind, as many as there are lanes; of this one in any
   * case. Each then has the longest time to be caught up with by the others.
   */
  #round(needed?: Stream): void {
    const all: Stream[] = [];
    for (const one of this.#streams) if (one.full.length > 0 && one !== needed) all.push(one);
    const most = needed === undefined ? LANES : LANES - 1;
    if (all.length > most) all.sort((a, b) => b.full.length - a.full.length).length = most;
    if (needed !== undefined) all.push(needed);
    const runs = all.map(({ full, state }) => ({
      data: full.shift() as number,
      state,
      bytes: CHUNK_BYTES,
    }));
    for (const { data } of runs) this.#chunks.push(data);
    this.#run(runs);
  }

  /** Hex. */
  #end(stream: Stream): string {
    while (stream.full.length > 0) this.#round(stream);
    if (stream.open === undefined) this.#open(stream);
    const at = stream.open as number;
    const bytes = stream.fill + writePadding(this.#bytes, at + stream.fill, stream.total);
    this.#run([{ data: at, state: stream.state, bytes }]);
    return this.#bytes.toString('hex', stream.state, stream.state + MD5_STATE_BYTES);
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

interface Stream {
  readonly state: number;
  /** Chunks to be hashed, oldest first. */
  readonly full: number[];
  /** The chunk being filled; full ones stay here until more comes. */
  open: number | undefined;
  fill: number;
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
