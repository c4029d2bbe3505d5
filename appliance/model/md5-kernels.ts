// MD5 of one, four or eight streams at once, as WebAssembly. MD5 waits for its own last step, so
// one stream fills a third of a core's adders; here each 32-bit lane of a vector is a stream of its
// own, and two vectors take turns. Eight streams pass at about 4.5 times the rate of one in
// node:crypto. The danger is a lane that takes another's words: the states and blocks are
// transposed by the same code in and out, and every digest is held against node:crypto in the
// tests.

import {
  ADD32,
  ADD_4X32,
  advance,
  AND32,
  AND_NOT_VECTOR,
  AND_VECTOR,
  compileWasm,
  get,
  I32,
  load32,
  loadVector,
  number32,
  OR32,
  OR_VECTOR,
  ROTATE32,
  set,
  SHIFT_LEFT_4X32,
  SHIFT_RIGHT_4X32,
  shuffle4x32,
  store32,
  storeVector,
  SUBTRACT_4X32,
  SWAP_HALVES,
  tee,
  until,
  V128,
  XOR32,
  XOR_VECTOR,
  type WasmCall,
  type WasmFunction,
  type WasmMemory,
} from './wasm-emitter.ts';

export const MD5_BLOCK_BYTES = 64;
export const MD5_STATE_BYTES = 16;
/** Constants and message words of the lanes lie at the start of the memory. */
const CONSTANTS_AT = 0;
const WORDS_AT = 64 * 16;
const GROUP_WORDS_BYTES = 16 * 16;
/** What a user of the kernels leaves alone. */
export const MD5_SCRATCH_BYTES = WORDS_AT + 2 * GROUP_WORDS_BYTES;

/** RFC 1321: the integer part of 2^32 × |sin(i + 1)|. */
const CONSTANTS = Array.from({ length: 64 }, (_, i) =>
  Math.floor(Math.abs(Math.sin(i + 1)) * 2 ** 32),
);
const ROTATIONS = [
  [7, 12, 17, 22],
  [5, 9, 14, 20],
  [4, 11, 16, 23],
  [6, 10, 15, 21],
];
/** The state that every stream begins with: A, B, C, D. */
export const MD5_START: readonly number[] = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476];

interface Step {
  index: number;
  round: number;
  word: number;
  rotation: number;
  /** Which of the four state words is A, B, C, D in this step. */
  a: number;
  b: number;
  c: number;
  d: number;
}

const STEPS: readonly Step[] = Array.from({ length: 64 }, (_, index) => {
  const round = index >> 4;
  const word = [index, 5 * index + 1, 3 * index + 5, 7 * index][round] as number;
  return {
    index,
    round,
    word: word & 15,
    rotation: ROTATIONS[round]?.[index & 3] as number,
    a: (64 - index) & 3,
    b: (65 - index) & 3,
    c: (66 - index) & 3,
    d: (67 - index) & 3,
  };
});

/** (data, state, end): locals 3 to 6 = A to D, 7 to 10 = as the block found them. */
function single(): WasmFunction {
  const block = [3, 4, 5, 6].flatMap((local) => [...get(local), ...set(local + 4)]);
  for (const step of STEPS) {
    const [a, b, c, d] = [get(3 + step.a), get(3 + step.b), get(3 + step.c), get(3 + step.d)];
    block.push(...a, ...number32(CONSTANTS[step.index] as number), ADD32);
    block.push(...get(0), ...load32(4 * step.word), ADD32);
    // What depends on b comes last: b is what the step before has just made.
    if (step.round === 0) block.push(...c, ...d, XOR32, ...b, AND32, ...d, XOR32, ADD32);
    if (step.round === 1) {
      block.push(...c, ...d, ...number32(-1), XOR32, AND32, ADD32, ...b, ...d, AND32, ADD32);
    }
    if (step.round === 2) block.push(...c, ...d, XOR32, ...b, XOR32, ADD32);
    if (step.round === 3) block.push(...d, ...number32(-1), XOR32, ...b, OR32, ...c, XOR32, ADD32);
    block.push(...number32(step.rotation), ROTATE32, ...b, ADD32, ...set(3 + step.a));
  }
  for (const local of [3, 4, 5, 6]) {
    block.push(...get(local), ...get(local + 4), ADD32, ...set(local));
  }
  const words = [0, 1, 2, 3];
  const code = [
    ...words.flatMap((word) => [...get(1), ...load32(4 * word), ...set(3 + word)]),
    ...until(0, 2, [...block, ...advance(0, MD5_BLOCK_BYTES)]),
    ...words.flatMap((word) => [...get(1), ...get(3 + word), ...store32(4 * word)]),
  ];
  return { name: 'single', parameters: 3, locals: [[8, I32]], code };
}

/** Rows in four locals become columns: twice is nothing. `spare` = the first of four locals. */
function transpose(first: number, spare: number): number[] {
  const low = shuffle4x32([0, 4, 1, 5]);
  const high = shuffle4x32([2, 6, 3, 7]);
  const lows = shuffle4x32([0, 1, 4, 5]);
  const highs = shuffle4x32([2, 3, 6, 7]);
  const pair = (a: number, b: number, how: number[], to: number): number[] => [
    ...get(a),
    ...get(b),
    ...how,
    ...set(to),
  ];
  return [
    ...pair(first, first + 1, low, spare),
    ...pair(first, first + 1, high, spare + 1),
    ...pair(first + 2, first + 3, low, spare + 2),
    ...pair(first + 2, first + 3, high, spare + 3),
    ...pair(spare, spare + 2, lows, first),
    ...pair(spare, spare + 2, highs, first + 1),
    ...pair(spare + 1, spare + 3, lows, first + 2),
    ...pair(spare + 1, spare + 3, highs, first + 3),
  ];
}

/**
 * One step of a group; `own` = the local of its A, `words` = where its message words lie, `spare` =
 * two locals two apart. Eight lanes keep all vector ports busy, so what counts is the number of
 * operations, not how long one waits for another.
 */
function vectorStep(step: Step, own: number, words: number, spare: number): number[] {
  const [a, b, c, d] = [get(own + step.a), get(own + step.b), get(own + step.c), get(own + step.d)];
  const code = [...a];
  code.push(...number32(0), ...loadVector(CONSTANTS_AT + 16 * step.index), ...ADD_4X32);
  code.push(...number32(0), ...loadVector(words + 16 * step.word), ...ADD_4X32);
  if (step.round === 0) {
    code.push(...c, ...d, ...XOR_VECTOR, ...b, ...AND_VECTOR, ...d, ...XOR_VECTOR, ...ADD_4X32);
  }
  if (step.round === 1) {
    code.push(...c, ...d, ...AND_NOT_VECTOR, ...ADD_4X32, ...b, ...d, ...AND_VECTOR, ...ADD_4X32);
  }
  // b ^ c of an even step is c ^ d of the next.
  if (step.round === 2 && step.index % 2 === 0) {
    code.push(...b, ...c, ...XOR_VECTOR, ...tee(spare + 2), ...d, ...XOR_VECTOR, ...ADD_4X32);
  }
  if (step.round === 2 && step.index % 2 === 1) {
    code.push(...get(spare + 2), ...b, ...XOR_VECTOR, ...ADD_4X32);
  }
  // c ^ (b | ~d) is -1 - (c ^ (d & ~b)); the 1 is in the constant.
  if (step.round === 3) {
    code.push(...c, ...d, ...b, ...AND_NOT_VECTOR, ...XOR_VECTOR, ...SUBTRACT_4X32);
  }
  code.push(...tee(spare));
  if (step.rotation === 16) {
    code.push(...get(spare), ...SWAP_HALVES);
  } else {
    code.push(...number32(step.rotation), ...SHIFT_LEFT_4X32);
    code.push(...get(spare), ...number32(32 - step.rotation), ...SHIFT_RIGHT_4X32, ...OR_VECTOR);
  }
  return [...code, ...b, ...ADD_4X32, ...set(own + step.a)];
}

/**
 * (data of each lane, state of each lane, end of lane 0's data). Locals of group g: four for its
 * state, four for what the block found, then eight spare ones for all.
 */
function lanes(groups: number): WasmFunction {
  const count = 4 * groups;
  const end = 2 * count;
  const own = (group: number): number => end + 1 + 8 * group;
  const spare = end + 1 + 8 * groups;
  const all = Array.from({ length: groups }, (_, group) => group);
  const four = [0, 1, 2, 3];
  const code: number[] = [];
  for (const group of all) {
    for (const lane of four) {
      code.push(...get(count + 4 * group + lane), ...loadVector(0), ...set(own(group) + lane));
    }
    code.push(...transpose(own(group), spare));
  }
  const block: number[] = [];
  for (const group of all) {
    for (const quarter of four) {
      for (const lane of four) {
        block.push(...get(4 * group + lane), ...loadVector(16 * quarter), ...set(spare + lane));
      }
      block.push(...transpose(spare, spare + 4));
      for (const word of four) {
        const at = WORDS_AT + group * GROUP_WORDS_BYTES + 64 * quarter + 16 * word;
        block.push(...number32(0), ...get(spare + word), ...storeVector(at));
      }
    }
    for (const word of four) block.push(...get(own(group) + word), ...set(own(group) + 4 + word));
  }
  for (const step of STEPS) {
    for (const group of all) {
      const words = WORDS_AT + group * GROUP_WORDS_BYTES;
      block.push(...vectorStep(step, own(group), words, spare + group));
    }
  }
  for (const group of all) {
    for (const word of four) {
      const local = own(group) + word;
      block.push(...get(local), ...get(local + 4), ...ADD_4X32, ...set(local));
    }
  }
  for (let lane = 0; lane < count; lane++) block.push(...advance(lane, MD5_BLOCK_BYTES));
  code.push(...until(0, end, block));
  for (const group of all) {
    code.push(...transpose(own(group), spare));
    for (const lane of four) {
      code.push(...get(count + 4 * group + lane), ...get(own(group) + lane), ...storeVector(0));
    }
  }
  const locals = [[8 * groups + 8, V128]] as const;
  return { name: `lanes${count}`, parameters: end + 1, locals, code };
}

/**
 * Addresses of data and of the states (16 bytes each: A, B, C, D), and lane 0's end. All lanes
 * advance by as many blocks as lane 0. A lane given the data and state of another changes nothing.
 */
export interface Md5Kernels {
  /** (data, state, end) */
  single: WasmCall;
  /** (4 × data, 4 × state, end) */
  lanes4: WasmCall;
  /** (8 × data, 8 × state, end) */
  lanes8: WasmCall;
}

/** Compiles for a memory whose first MD5_SCRATCH_BYTES are theirs. */
export function newMd5Kernels(memory: WasmMemory): Md5Kernels {
  const constants = new Uint32Array(memory.buffer, CONSTANTS_AT, 64 * 4);
  for (const [index, value] of CONSTANTS.entries()) {
    constants.fill(index < 48 ? value : value - 1, 4 * index, 4 * index + 4);
  }
  const functions = [single(), lanes(1), lanes(2)];
  return compileWasm(functions, memory) as unknown as Md5Kernels;
}
