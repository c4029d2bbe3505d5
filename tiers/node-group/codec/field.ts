// Arithmetic of the erasure codes: GF(2^4), polynomial x^4 + x + 1, and the constants of every
// code. The constants are part of the on-disk format (CODE_FORMAT): with others, parity already
// written is noise. They are a Cauchy matrix whose columns are scaled so that row 0 is all ones and
// whose other rows are scaled for few one-bits; every choice of k lanes out of k+m is non-singular
// (tested).

import assert from 'node:assert/strict';

/** Raised when a constant below or the packet layout changes; pieces and shard files carry it. */
export const CODE_FORMAT = 1;

export const CODES = ['1+1', '1+2', '2+2', '4+2', '8+4', '12+4'] as const;
export type CodeName = (typeof CODES)[number];

const POLYNOMIAL = 0b1_0011;

function multiplyBits(a: number, b: number): number {
  let product = 0;
  for (let bit = 0; bit < 4; bit += 1) if ((b >> bit) & 1) product ^= a << bit;
  for (let bit = 7; bit >= 4; bit -= 1)
    if ((product >> bit) & 1) product ^= POLYNOMIAL << (bit - 4);
  return product;
}

const PRODUCTS = Uint8Array.from({ length: 256 }, (_, i) => multiplyBits(i >> 4, i & 15));

export function multiply(a: number, b: number): number {
  return PRODUCTS[(a << 4) | b] as number;
}

export function inverse(a: number): number {
  assert.ok(a > 0 && a < 16, 'zero has no inverse');
  for (let b = 1; b < 16; b += 1) if (multiply(a, b) === 1) return b;
  throw new assert.AssertionError({ message: `no inverse of ${a}` });
}

const ONES4 = [1, 1, 1, 1];
const PARITY: Record<number, readonly (readonly number[])[]> = {
  4: [ONES4, [1, 2, 4, 9]],
  8: [
    [1, 1, 1, 1, 1, 1, 1, 1],
    [8, 13, 3, 2, 1, 11, 9, 5],
    [8, 2, 9, 6, 11, 13, 1, 3],
    [8, 6, 1, 4, 13, 2, 11, 9],
  ],
  12: [
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    [12, 9, 8, 13, 3, 10, 6, 15, 1, 4, 2, 5],
    [8, 6, 12, 1, 5, 2, 9, 4, 13, 15, 10, 3],
    [10, 13, 2, 9, 15, 12, 1, 3, 6, 5, 8, 4],
  ],
};

export interface Code {
  readonly name: CodeName;
  /** Data lanes. */
  readonly k: number;
  /** Parity lanes. */
  readonly m: number;
  readonly n: number;
  /** Row i: how lane i is made of the data lanes (the identity, then parity). */
  readonly rows: readonly (readonly number[])[];
}

/** The smaller codes are the first columns and rows of 4+2's. */
export function codeOf(name: string): Code {
  assert.ok((CODES as readonly string[]).includes(name), `no code ${name}`);
  const [k, m] = name.split('+').map(Number) as [number, number];
  const parity = PARITY[k <= 4 ? 4 : k] as readonly (readonly number[])[];
  const identity = Array.from({ length: k }, (_, i) =>
    Array.from({ length: k }, (_unused, j) => (i === j ? 1 : 0)),
  );
  const rows = [...identity, ...parity.slice(0, m).map((row) => row.slice(0, k))];
  return { name: name as CodeName, k, m, n: k + m, rows };
}

/** Inverse of a square matrix by Gauss and Jordan; asserts that it is non-singular. */
export function invert(matrix: readonly (readonly number[])[]): number[][] {
  const size = matrix.length;
  const work = matrix.map((row, i) => [
    ...row,
    ...Array.from({ length: size }, (_, j) => (i === j ? 1 : 0)),
  ]);
  for (let column = 0; column < size; column += 1) {
    const pivot = work.findIndex((row, i) => i >= column && row[column] !== 0);
    assert.ok(pivot >= 0, 'these lanes do not determine the data');
    [work[column], work[pivot]] = [work[pivot] as number[], work[column] as number[]];
    const own = work[column] as number[];
    const scale = inverse(own[column] as number);
    for (let j = 0; j < 2 * size; j += 1) own[j] = multiply(own[j] as number, scale);
    for (const [i, row] of work.entries()) {
      const factor = row[column] as number;
      if (i === column || factor === 0) continue;
      for (let j = 0; j < 2 * size; j += 1) {
        row[j] = (row[j] as number) ^ multiply(factor, own[j] as number);
      }
    }
  }
  return work.map((row) => row.slice(size));
}

/** How lanes are combined: target t = sum over sources s of coefficients[t][s] times s. */
export interface Combination {
  sources: number[];
  targets: number[];
  coefficients: number[][];
}

export const lanesOf = (mask: number): number[] => {
  const lanes: number[] = [];
  for (let lane = 0; mask >> lane !== 0; lane += 1) if ((mask >> lane) & 1) lanes.push(lane);
  return lanes;
};

export function parityOf(code: Code): Combination {
  const parity = code.rows.slice(code.k);
  return {
    sources: Array.from({ length: code.k }, (_, i) => i),
    targets: parity.map((_, i) => code.k + i),
    coefficients: parity.map((row) => [...row]),
  };
}

/**
 * How the lanes of `want` follow from those of `have`, where those of `empty` are known to be zero.
 * Takes data lanes first: they need the fewest operations. Undefined if `have` does not suffice.
 */
export function recovery(
  code: Code,
  lanes: { have: number; empty: number; want: number },
): Combination | undefined {
  const unknown = lanesOf(((1 << code.k) - 1) & ~lanes.empty);
  const sources = lanesOf(lanes.have & ~lanes.empty).slice(0, unknown.length);
  if (sources.length < unknown.length) return undefined;
  const rowOf = (lane: number): number[] =>
    unknown.map((column) => code.rows[lane]?.[column] as number);
  const solved = invert(sources.map(rowOf));
  const targets = lanesOf(lanes.want);
  const coefficients = targets.map((target) => {
    const row = rowOf(target);
    return sources.map((_, s) =>
      row.reduce((sum, factor, u) => sum ^ multiply(factor, solved[u]?.[s] as number), 0),
    );
  });
  return { sources, targets, coefficients };
}

/** Bit q of `bitRow(e, q)`'s b-th bit: output packet q takes input packet b. */
export function bitRow(element: number, packet: number): number {
  let row = 0;
  for (let b = 0; b < 4; b += 1) row |= ((multiply(element, 1 << b) >> packet) & 1) << b;
  return row;
}
