// The inner loops of CRC32C, CRC64NVME, XXH64 and XXH3, as one WebAssembly module. Why not
// JavaScript: it has no 64-bit integers, and the CRC64 of 4 KiB would cost 5 µs and more instead of
// 1.8 (MD5: 7), on every PUT. Why not a package: checksums belong to the model, which imports
// nothing. The danger of shared memory is a state that one stream leaves for another: each loop is
// handed its state and gives it back, in one call that nothing can interrupt.

import {
  ADD,
  ADD32,
  advance,
  AND,
  AND32,
  compileWasm,
  get,
  I64,
  load64,
  load8,
  loadVector,
  MULTIPLY,
  newWasmMemory,
  number32,
  number64,
  ROTATE,
  set,
  SHIFT_LEFT32,
  SHIFT_RIGHT,
  store64,
  storeVector,
  until,
  WRAP,
  XOR,
  XOR_VECTOR,
  type WasmCall,
  type WasmFunction,
} from './wasm-emitter.ts';

/** Tables of 8 × 256 entries of 8 bytes: of a CRC, and of what LANE_BYTES zeros make of one. */
const TABLES_BYTES = 16_384;
const CRC64_AT = 0;
const CRC64_SHIFT_AT = TABLES_BYTES;
const CRC32C_AT = 2 * TABLES_BYTES;
const CRC32C_SHIFT_AT = 3 * TABLES_BYTES;
const STATE_AT = 4 * TABLES_BYTES;
const SECRET_AT = STATE_AT + 64;
/**
 * A multiple of CRC64NVME's polynomial with few terms: the powers of x^128 in it. (With x^128 for
 * x a polynomial is its own 128th power, so one in x does for vectors.) It takes a vector out of
 * the message by adding it to eleven that lie behind: 12 loads for 16 bytes where tables take 18,
 * and no step waits for the one before. Found by a search; any multiple gives the same CRC.
 */
const SPARSE = [0, 11, 15, 23, 39, 101, 113, 178, 184, 191, 213] as const;
/** And the highest: how far behind a vector goes. */
const SPARSE_BYTES = 16 * 283;
/** What lies before the input is zero for ever. */
const INPUT_AT = STATE_AT + 256 + SPARSE_BYTES;
const INPUT_BYTES = 65_536;
/** The end of an input, where what was taken out of it has come to. */
const END_AT = INPUT_AT + INPUT_BYTES;
const PAGES = 3;
/** Below this the end is most of it. */
const SPARSE_FROM = 4 * SPARSE_BYTES;
/** A CRC waits for its own last step: three lanes at once keep the processor busy (1.9 times). */
const LANES = 3;
const LANE_BYTES = 1360;

const loadState = (first: number, words: number): number[] =>
  Array.from({ length: words }, (_, i) => [
    ...number32(0),
    ...load64(STATE_AT + 8 * i),
    ...set(first + i),
  ]).flat();
const storeState = (first: number, words: number): number[] =>
  Array.from({ length: words }, (_, i) => [
    ...number32(0),
    ...get(first + i),
    ...store64(STATE_AT + 8 * i),
  ]).flat();

/** The CRC in a local, folded through eight tables: the exclusive or of one entry for each byte. */
function folded(local: number, tables: number): number[] {
  const code: number[] = [];
  for (let byte = 0; byte < 8; byte++) {
    code.push(...entryOf(local, byte), ...load64(tables + (7 - byte) * 2048));
    if (byte > 0) code.push(XOR);
  }
  return code;
}

/** Where the entry for one byte of a local lies in its table: the byte times 8. */
function entryOf(local: number, byte: number): number[] {
  const shift =
    byte === 0
      ? [WRAP, ...number32(3), SHIFT_LEFT32]
      : [...number64(BigInt(8 * byte - 3)), SHIFT_RIGHT, WRAP];
  return [...get(local), ...shift, ...number32(255 * 8), AND32];
}

/** (at, end of whole words, end): local 3 = the CRC. */
function crcLoop(tables: number): number[] {
  const word = [...get(3), ...get(0), ...load64(0), XOR, ...set(3)];
  word.push(...folded(3, tables), ...set(3), ...advance(0, 8));
  const single = [...get(3), ...get(0), ...load8(0), XOR, ...set(3)];
  single.push(...entryOf(3, 0), ...load64(tables));
  single.push(...get(3), ...number64(8n), SHIFT_RIGHT, XOR, ...set(3), ...advance(0, 1));
  return [...loadState(3, 1), ...until(0, 1, word), ...until(0, 2, single), ...storeState(3, 1)];
}

/** (at, end, scratch): whole strides of three lanes, joined behind each; locals 3 to 5 = the CRCs. */
function crcLanesLoop(tables: number, shift: number): number[] {
  const words: number[] = [];
  for (let lane = 0; lane < LANES; lane++) {
    words.push(...get(3 + lane), ...get(0), ...load64(lane * LANE_BYTES), XOR, ...set(3 + lane));
  }
  for (let lane = 0; lane < LANES; lane++) {
    words.push(...folded(3 + lane, tables), ...set(3 + lane));
  }
  words.push(...advance(0, 8));
  const stride = [...get(0), ...number32(LANE_BYTES), ADD32, ...set(2)];
  for (let lane = 1; lane < LANES; lane++) stride.push(...number64(0n), ...set(3 + lane));
  stride.push(...until(0, 2, words));
  for (let lane = 1; lane < LANES; lane++) {
    stride.push(...folded(3, shift), ...get(3 + lane), XOR, ...set(3));
  }
  stride.push(...advance(0, (LANES - 1) * LANE_BYTES));
  return [...loadState(3, 1), ...until(0, 1, stride), ...storeState(3, 1)];
}

/**
 * (at, end, to): vectors at `to`, which lie SPARSE_BYTES behind those at `at`, take in what lies
 * before them.
 */
function sparseLoop(): number[] {
  const vector = [...get(2), ...get(2), ...loadVector(0)];
  for (const power of SPARSE) {
    vector.push(...get(0), ...loadVector(16 * power), ...XOR_VECTOR);
  }
  vector.push(...storeVector(0), ...advance(0, 16), ...advance(2, 16));
  return until(0, 1, vector);
}

const PRIME64_1 = 0x9e3779b185ebca87n;
const PRIME64_2 = 0xc2b2ae3d27d4eb4fn;
const PRIME32_1 = 0x9e3779b1n;

/** (at, end): stripes of 32 bytes; locals 2 to 5 = the four lanes. */
function xxh64Loop(): number[] {
  const stripe: number[] = [];
  for (let lane = 0; lane < 4; lane++) {
    stripe.push(...get(2 + lane), ...get(0), ...load64(8 * lane), ...number64(PRIME64_2));
    stripe.push(MULTIPLY, ADD, ...number64(31n), ROTATE, ...number64(PRIME64_1), MULTIPLY);
    stripe.push(...set(2 + lane));
  }
  return [...loadState(2, 4), ...until(0, 1, [...stripe, ...advance(0, 32)]), ...storeState(2, 4)];
}

/** (at, end, secret): stripes of 64 bytes; locals 3 to 10 = the lanes, 11 and 12 = data and key. */
function xxh3Loop(): number[] {
  const stripe: number[] = [];
  for (let lane = 0; lane < 8; lane++) {
    stripe.push(...get(0), ...load64(8 * lane), ...set(11));
    stripe.push(...get(11), ...get(2), ...load64(8 * lane), XOR, ...set(12));
    stripe.push(...get(3 + (lane ^ 1)), ...get(11), ADD, ...set(3 + (lane ^ 1)));
    stripe.push(...get(12), ...number64(0xffffffffn), AND);
    stripe.push(...get(12), ...number64(32n), SHIFT_RIGHT, MULTIPLY);
    stripe.push(...get(3 + lane), ADD, ...set(3 + lane));
  }
  stripe.push(...advance(0, 64), ...advance(2, 8));
  return [...loadState(3, 8), ...until(0, 1, stripe), ...storeState(3, 8)];
}

/** Between two blocks of XXH3: locals 0 to 7 = the lanes. */
function xxh3Scramble(): number[] {
  const lanes: number[] = [];
  for (let lane = 0; lane < 8; lane++) {
    lanes.push(...get(lane), ...get(lane), ...number64(47n), SHIFT_RIGHT, XOR);
    lanes.push(...number32(0), ...load64(SECRET_AT + 128 + 8 * lane), XOR);
    lanes.push(...number64(PRIME32_1), MULTIPLY, ...set(lane));
  }
  return [...loadState(0, 8), ...lanes, ...storeState(0, 8)];
}

interface Loops {
  memory: Uint8Array;
  crc64: WasmCall;
  crc64Lanes: WasmCall;
  crc64Sparse: WasmCall;
  crc32c: WasmCall;
  crc32cLanes: WasmCall;
  xxh64: WasmCall;
  xxh3: WasmCall;
  scramble: WasmCall;
}

let loaded: Loops | undefined;

/** Written and compiled at first use: 2 ms that a process without such a sum never pays. */
function loops(): Loops {
  if (loaded !== undefined) return loaded;
  const shared = newWasmMemory(PAGES);
  const functions: WasmFunction[] = [
    { name: 'crc64', parameters: 3, locals: [[1, I64]], code: crcLoop(CRC64_AT) },
    {
      name: 'crc64Lanes',
      parameters: 3,
      locals: [[3, I64]],
      code: crcLanesLoop(CRC64_AT, CRC64_SHIFT_AT),
    },
    { name: 'crc64Sparse', parameters: 3, locals: [], code: sparseLoop() },
    { name: 'crc32c', parameters: 3, locals: [[1, I64]], code: crcLoop(CRC32C_AT) },
    {
      name: 'crc32cLanes',
      parameters: 3,
      locals: [[3, I64]],
      code: crcLanesLoop(CRC32C_AT, CRC32C_SHIFT_AT),
    },
    { name: 'xxh64', parameters: 2, locals: [[4, I64]], code: xxh64Loop() },
    { name: 'xxh3', parameters: 3, locals: [[10, I64]], code: xxh3Loop() },
    { name: 'scramble', parameters: 0, locals: [[8, I64]], code: xxh3Scramble() },
  ];
  const memory = new Uint8Array(shared.buffer);
  writeTables(memory, CRC64_AT, CRC64NVME_POLYNOMIAL);
  writeTables(memory, CRC32C_AT, CRC32C_POLYNOMIAL);
  memory.set(XXH3_SECRET, SECRET_AT);
  loaded = { ...compileWasm(functions, shared), memory } as unknown as Loops;
  writeShiftTables(memory, CRC64_SHIFT_AT, loaded.crc64);
  writeShiftTables(memory, CRC32C_SHIFT_AT, loaded.crc32c);
  return loaded;
}

/** Reflected. */
export const CRC32C_POLYNOMIAL = 0x82f63b78n;
export const CRC64NVME_POLYNOMIAL = 0x9a6c9329ac4bc9b5n;

/**
 * Eight tables of 256 entries one behind the other: entry [t][b] is the CRC of byte b followed by t
 * zero bytes.
 */
function writeTables(memory: Uint8Array, at: number, polynomial: bigint): void {
  const tables = new BigUint64Array(memory.buffer, at, 8 * 256);
  for (let b = 0; b < 256; b++) {
    let value = BigInt(b);
    for (let bit = 0; bit < 8; bit++) value = value & 1n ? (value >> 1n) ^ polynomial : value >> 1n;
    tables[b] = value;
  }
  for (let i = 256; i < tables.length; i++) {
    const value = tables[i - 256] as bigint;
    tables[i] = (tables[Number(value & 0xffn)] as bigint) ^ (value >> 8n);
  }
}

/**
 * As `folded` reads them: entry [t][b] is what LANE_BYTES zero bytes make of byte 7 - t of a CRC
 * being b. Each bit is carried on its own, and the rest is their exclusive or.
 */
function writeShiftTables(memory: Uint8Array, at: number, crc: WasmCall): void {
  const tables = new BigUint64Array(memory.buffer, at, 8 * 256);
  const state = new BigUint64Array(memory.buffer, STATE_AT, 1);
  memory.fill(0, INPUT_AT, INPUT_AT + LANE_BYTES);
  for (let bit = 0; bit < 64; bit++) {
    state[0] = 1n << BigInt(bit);
    crc(INPUT_AT, INPUT_AT + LANE_BYTES, INPUT_AT + LANE_BYTES);
    const from = (7 - Math.floor(bit / 8)) * 256;
    const one = 1 << (bit % 8);
    for (let b = one; b < 2 * one; b++) {
      tables[from + b] = (tables[from + b - one] as bigint) ^ state[0];
    }
  }
}

/** Hands the bytes to `call`, a stretch at a time; `state` goes in before and comes out behind. */
function run(
  memory: Uint8Array,
  { state, bytes }: { state: Uint8Array; bytes: Uint8Array },
  call: (end: number) => void,
): void {
  memory.set(state, STATE_AT);
  for (let from = 0; from < bytes.length; from += INPUT_BYTES) {
    const stretch = bytes.length <= INPUT_BYTES ? bytes : bytes.subarray(from, from + INPUT_BYTES);
    memory.set(stretch, INPUT_AT);
    call(INPUT_AT + stretch.length);
  }
  for (let i = 0; i < state.length; i++) state[i] = memory[STATE_AT + i] as number;
}

/** `state`: 8 bytes, the inverted CRC, little-endian. */
export function updateCrc64(state: Uint8Array, bytes: Uint8Array): void {
  const { memory, crc64, crc64Lanes, crc64Sparse } = loops();
  run(memory, { state, bytes }, (end) => {
    if (end - INPUT_AT < SPARSE_FROM) {
      crc(crc64, crc64Lanes, { from: INPUT_AT, end });
      return;
    }
    // The CRC so far is the first word's; then it is that of zeros, until the end is reached.
    for (let i = 0; i < 8; i++) {
      memory[INPUT_AT + i] = (memory[INPUT_AT + i] as number) ^ (memory[STATE_AT + i] as number);
    }
    memory.fill(0, STATE_AT, STATE_AT + 8);
    const vectors = end - ((end - INPUT_AT) % 16);
    const rest = vectors - SPARSE_BYTES;
    crc64Sparse(INPUT_AT - SPARSE_BYTES, rest - SPARSE_BYTES, INPUT_AT);
    memory.copyWithin(END_AT, rest, vectors);
    memory.fill(0, rest, vectors);
    crc64Sparse(rest - SPARSE_BYTES, rest, END_AT);
    crc(crc64, crc64Lanes, { from: END_AT, end: END_AT + SPARSE_BYTES });
    if (end > vectors) crc(crc64, crc64Lanes, { from: vectors, end });
  });
}

/** `state`: 8 bytes, the inverted CRC in the first four, little-endian. */
export function updateCrc32c(state: Uint8Array, bytes: Uint8Array): void {
  const { memory, crc32c, crc32cLanes } = loops();
  run(memory, { state, bytes }, (end) => crc(crc32c, crc32cLanes, { from: INPUT_AT, end }));
}

function crc(
  single: WasmCall,
  lanes: WasmCall,
  { from, end }: { from: number; end: number },
): void {
  const length = end - from;
  const strides = length - (length % (LANES * LANE_BYTES));
  if (strides > 0) lanes(from, from + strides, 0);
  const rest = length - strides;
  if (rest > 0) single(from + strides, end - (rest % 8), end);
}

/** `state`: the four lanes, 32 bytes. `bytes`: whole stripes of 32. */
export function updateXxh64(state: Uint8Array, bytes: Uint8Array): void {
  const { memory, xxh64 } = loops();
  run(memory, { state, bytes }, (end) => xxh64(INPUT_AT, end));
}

/** Stripes of a block of XXH3: the secret moves 8 bytes a stripe and has 192. */
export const XXH3_BLOCK_BYTES = 1024;
const XXH3_STRIPE_BYTES = 64;

/**
 * `state`: the eight lanes, 64 bytes. `bytes`: whole stripes of 64, the first of them `behind`
 * bytes from the start of its block.
 */
export function updateXxh3(state: Uint8Array, bytes: Uint8Array, behind: number): void {
  const { memory, xxh3, scramble } = loops();
  let done = behind;
  run(memory, { state, bytes }, (end) => {
    for (let at = INPUT_AT; at < end;) {
      const next = Math.min(end, at + XXH3_BLOCK_BYTES - done);
      xxh3(at, next, SECRET_AT + (done / XXH3_STRIPE_BYTES) * 8);
      done = (done + next - at) % XXH3_BLOCK_BYTES;
      if (done === 0) scramble();
      at = next;
    }
  });
}

/** The last stripe of an input, which may lie over bytes that have been taken before. */
export function finishXxh3(state: Uint8Array, stripe: Uint8Array): void {
  const { memory, xxh3 } = loops();
  const secret = SECRET_AT + XXH3_SECRET.length - XXH3_STRIPE_BYTES - 7;
  run(memory, { state, bytes: stripe }, (end) => xxh3(INPUT_AT, end, secret));
}

/** The default secret of XXH3, from its specification. */
export const XXH3_SECRET: Uint8Array = Buffer.from(
  'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f' +
    'cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c' +
    '3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8' +
    'a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364' +
    'eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e' +
    '2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
  'hex',
);
