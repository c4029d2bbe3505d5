// Writes WebAssembly modules instruction by instruction: the one emitter behind the kernels of MD5,
// the CRCs, XXH and erasure coding. Why our own: a kernel is a straight line that depends on a
// code, a loss pattern or a number of lanes, is written and compiled in a few milliseconds, and
// needs neither a native build nor a compiler. The danger is an instruction encoded wrongly: V8
// validates every module, and each kernel is held against a plain twin in the tests.

/** The few names of WebAssembly in use: the library that types them all belongs to browsers. */
export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

/** A function of a module: 32-bit numbers in, nothing out. */
export type WasmCall = (...numbers: number[]) => void;

interface WasmApi {
  Memory: new (pages: { initial: number; maximum: number }) => WasmMemory;
  Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  Instance: new (
    module: object,
    imports: { firn: { memory: WasmMemory } },
  ) => { readonly exports: Record<string, WasmCall> };
}

const wasm: WasmApi = (globalThis as unknown as { WebAssembly: WasmApi }).WebAssembly;

export const WASM_PAGE_BYTES = 65_536;

/** Of fixed size, so that views of it stay good for ever. Pages never touched cost nothing. */
export const newWasmMemory = (pages: number): WasmMemory =>
  new wasm.Memory({ initial: pages, maximum: pages });

export const I32 = 0x7f;
export const I64 = 0x7e;
export const V128 = 0x7b;
const VOID = 0x40;
const BLOCK = 0x02;
const LOOP = 0x03;
const END = 0x0b;
const BRANCH = 0x0c;
const BRANCH_IF = 0x0d;
const GREATER_EQUAL32 = 0x4f;
export const ADD32 = 0x6a;
export const AND32 = 0x71;
export const OR32 = 0x72;
export const XOR32 = 0x73;
export const SHIFT_LEFT32 = 0x74;
export const ROTATE32 = 0x77;
export const ADD = 0x7c;
export const MULTIPLY = 0x7e;
export const AND = 0x83;
export const XOR = 0x85;
export const SHIFT_RIGHT = 0x88;
export const ROTATE = 0x89;
export const WRAP = 0xa7;

/** LEB128, as are the operands of all instructions. */
function unsigned(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    out.push(rest === 0 ? low : low | 0x80);
  } while (rest > 0);
  return out;
}

function signed(value: bigint): number[] {
  const out: number[] = [];
  for (let rest = value; ;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    const ends = (rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0);
    out.push(ends ? low : low | 0x80);
    if (ends) return out;
  }
}

export const get = (local: number): number[] => [0x20, ...unsigned(local)];
export const set = (local: number): number[] => [0x21, ...unsigned(local)];
export const tee = (local: number): number[] => [0x22, ...unsigned(local)];
/** Of 32 bits; taken as signed or unsigned alike. */
export const number32 = (value: number): number[] => [0x41, ...signed(BigInt(value | 0))];
export const number64 = (value: bigint): number[] => [0x42, ...signed(BigInt.asIntN(64, value))];
export const load32 = (offset: number): number[] => [0x28, 0, ...unsigned(offset)];
export const load64 = (offset: number): number[] => [0x29, 0, ...unsigned(offset)];
/** A byte, as 64 bits. */
export const load8 = (offset: number): number[] => [0x31, 0, ...unsigned(offset)];
export const store32 = (offset: number): number[] => [0x36, 0, ...unsigned(offset)];
export const store64 = (offset: number): number[] => [0x37, 0, ...unsigned(offset)];

const vector = (operation: number): number[] => [0xfd, ...unsigned(operation)];
/** 128 bits; the address need not be aligned. */
export const loadVector = (offset: number): number[] => [...vector(0x00), 0, ...unsigned(offset)];
export const storeVector = (offset: number): number[] => [...vector(0x0b), 0, ...unsigned(offset)];
export const ZERO_VECTOR: readonly number[] = [...vector(0x0c), ...Array<number>(16).fill(0)];
export const AND_VECTOR: readonly number[] = vector(0x4e);
/** The first and not the second. */
export const AND_NOT_VECTOR: readonly number[] = vector(0x4f);
export const OR_VECTOR: readonly number[] = vector(0x50);
export const XOR_VECTOR: readonly number[] = vector(0x51);
export const SHIFT_LEFT_4X32: readonly number[] = vector(0xab);
export const SHIFT_RIGHT_4X32: readonly number[] = vector(0xad);
export const ADD_4X32: readonly number[] = vector(0xae);
export const SUBTRACT_4X32: readonly number[] = vector(0xb1);
/** Four 32-bit words out of two vectors: 0 to 3 of the first, 4 to 7 of the second. */
export const shuffle4x32 = (words: readonly [number, number, number, number]): number[] => [
  ...vector(0x0d),
  ...words.flatMap((word) => [0, 1, 2, 3].map((byte) => word * 4 + byte)),
];

/** Rotates each of four 32-bit words by 16, out of two copies of a vector. */
export const SWAP_HALVES: readonly number[] = [
  ...vector(0x0d),
  ...[0, 4, 8, 12].flatMap((byte) => [byte + 2, byte + 3, byte, byte + 1]),
];

/** Adds to a 32-bit local. */
export const advance = (local: number, by: number): number[] => [
  ...get(local),
  ...number32(by),
  ADD32,
  ...set(local),
];

/** `body` until the first local has come to the second. */
export const until = (at: number, end: number, body: readonly number[]): number[] => [
  BLOCK,
  VOID,
  LOOP,
  VOID,
  ...get(at),
  ...get(end),
  GREATER_EQUAL32,
  BRANCH_IF,
  1,
  ...body,
  BRANCH,
  0,
  END,
  END,
];

export interface WasmFunction {
  name: string;
  /** How many 32-bit parameters; they are locals 0 and up. */
  parameters: number;
  /** Further locals, in order: how many of which type. */
  locals: readonly (readonly [count: number, type: number])[];
  code: readonly number[];
}

const HEADER = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];

/** The module's bytes. All functions work in one memory of `pages` pages, which is handed in. */
export function emitModule(
  functions: readonly WasmFunction[],
  pages: number,
): Uint8Array<ArrayBuffer> {
  const list = (items: readonly number[][]): number[] => [
    ...unsigned(items.length),
    ...items.flat(),
  ];
  const section = (id: number, body: number[]): number[] => [id, ...unsigned(body.length), ...body];
  const text = (value: string): number[] => [value.length, ...Buffer.from(value, 'latin1')];
  const limits = [1, ...unsigned(pages), ...unsigned(pages)];
  const types = functions.map(({ parameters }) => [
    0x60,
    ...list(Array.from({ length: parameters }, () => [I32])),
    0,
  ]);
  const bodies = functions.map(({ locals, code }) => {
    const body = [...list(locals.map(([count, type]) => [...unsigned(count), type])), ...code, END];
    return [...unsigned(body.length), ...body];
  });
  return Uint8Array.from([
    ...HEADER,
    ...section(1, list(types)),
    ...section(2, [1, ...text('firn'), ...text('memory'), 2, ...limits]),
    ...section(3, list(functions.map((_, index) => [index]))),
    ...section(7, list(functions.map(({ name }, index) => [...text(name), 0, index]))),
    ...section(10, list(bodies)),
  ]);
}

/** Writes and compiles; the functions by their names. */
export function compileWasm(
  functions: readonly WasmFunction[],
  memory: WasmMemory,
): Record<string, WasmCall> {
  const bytes = emitModule(functions, memory.buffer.byteLength / WASM_PAGE_BYTES);
  return new wasm.Instance(new wasm.Module(bytes), { firn: { memory } }).exports;
}
