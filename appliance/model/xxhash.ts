// XXH64, XXH3-64 and XXH3-128 with seed 0, by stream, as the specification of xxHash has them: the
// loops over long inputs are in hash-loops.ts (about 5 GB/s), what is left of an input is done here
// in BigInt, a few microseconds. Digests are big-endian, as S3's headers carry them. The danger is
// a length at which another rule begins (3, 8, 16, 128, 240, 1,024): the tests go through them all
// against two other implementations.

import {
  finishXxh3,
  updateXxh3,
  updateXxh64,
  XXH3_BLOCK_BYTES,
  XXH3_SECRET,
} from './hash-loops.ts';

const P32_1 = 0x9e3779b1n;
const P32_2 = 0x85ebca77n;
const P32_3 = 0xc2b2ae3dn;
const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;
const MIX_1 = 0x165667919e3779f9n;
const MIX_2 = 0x9fb21c651e98df25n;
const MASK = 0xffffffffffffffffn;

const wrap = (value: bigint): bigint => value & MASK;
const rotate = (value: bigint, bits: bigint): bigint =>
  wrap(value << bits) | (value >> (64n - bits));

function avalanche64(value: bigint): bigint {
  let hash = wrap((value ^ (value >> 33n)) * P2);
  hash = wrap((hash ^ (hash >> 29n)) * P3);
  return hash ^ (hash >> 32n);
}

function avalanche3(value: bigint): bigint {
  const hash = wrap((value ^ (value >> 37n)) * MIX_1);
  return hash ^ (hash >> 32n);
}

/** The two halves of the 128-bit product, folded. */
function fold(left: bigint, right: bigint): bigint {
  const product = left * right;
  return (product & MASK) ^ (product >> 64n);
}

function swap64(value: bigint): bigint {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64LE(value);
  return bytes.readBigUInt64BE();
}

const secret = Buffer.from(XXH3_SECRET);
const secret64 = (at: number): bigint => secret.readBigUInt64LE(at);
const secret32 = (at: number): bigint => BigInt(secret.readUInt32LE(at));

function words(...values: bigint[]): Uint8Array {
  const bytes = Buffer.alloc(8 * values.length);
  for (const [i, value] of values.entries()) bytes.writeBigUInt64LE(wrap(value), 8 * i);
  return bytes;
}

/** Bytes that are not enough for a loop's stripe yet. */
class Rest {
  readonly bytes: Buffer;
  length = 0;

  constructor(size: number) {
    this.bytes = Buffer.alloc(size);
  }

  /** Takes what there is room for; how many that were. */
  fill(from: Uint8Array): number {
    const count = Math.min(this.bytes.length - this.length, from.length);
    this.bytes.set(from.subarray(0, count), this.length);
    this.length += count;
    return count;
  }
}

export class Xxh64 {
  readonly #lanes = words(P1 + P2, P2, 0n, -P1);
  readonly #rest = new Rest(32);
  #size = 0;

  update(bytes: Uint8Array): void {
    this.#size += bytes.length;
    const rest = this.#rest;
    let from = 0;
    if (rest.length > 0 || bytes.length < 32) {
      from = rest.fill(bytes);
      if (rest.length < 32) return;
      updateXxh64(this.#lanes, rest.bytes);
      rest.length = 0;
    }
    const end = bytes.length - ((bytes.length - from) % 32);
    if (end > from) updateXxh64(this.#lanes, bytes.subarray(from, end));
    rest.fill(bytes.subarray(end));
  }

  digest(): Buffer {
    const round = (lane: bigint, input: bigint): bigint =>
      wrap(rotate(wrap(lane + input * P2), 31n) * P1);
    let hash = P5;
    if (this.#size >= 32) {
      const lanes = Buffer.from(this.#lanes);
      const lane = [0, 8, 16, 24].map((at) => lanes.readBigUInt64LE(at)) as [
        bigint,
        bigint,
        bigint,
        bigint,
      ];
      hash = rotate(lane[0], 1n) + rotate(lane[1], 7n) + rotate(lane[2], 12n);
      hash = wrap(hash + rotate(lane[3], 18n));
      for (const value of lane) hash = wrap((hash ^ round(0n, value)) * P1 + P4);
    }
    hash = wrap(hash + BigInt(this.#size));
    const { bytes, length } = this.#rest;
    let at = 0;
    for (; at + 8 <= length; at += 8) {
      hash = wrap(rotate(hash ^ round(0n, bytes.readBigUInt64LE(at)), 27n) * P1 + P4);
    }
    if (at + 4 <= length) {
      hash = wrap(rotate(hash ^ wrap(BigInt(bytes.readUInt32LE(at)) * P1), 23n) * P2 + P3);
      at += 4;
    }
    for (; at < length; at++) {
      hash = wrap(rotate(hash ^ wrap(BigInt(bytes[at] as number) * P5), 11n) * P1);
    }
    return bigEndian(avalanche64(hash));
  }
}

function bigEndian(...values: bigint[]): Buffer {
  const bytes = Buffer.allocUnsafe(8 * values.length);
  for (const [i, value] of values.entries()) bytes.writeBigUInt64BE(value, 8 * i);
  return bytes;
}

/** Inputs up to this have rules of their own. */
const SHORT_BYTES_MAX = 240;
const STRIPE = 64;

export class Xxh3 {
  readonly #digestBytes: 8 | 16;
  readonly #lanes = words(P32_3, P1, P2, P3, P4, P32_2, P5, P32_1);
  /** The beginning, for as long as the input may stay short. */
  readonly #head = new Rest(SHORT_BYTES_MAX);
  /** What follows the last stripe taken, never less than a byte: the last stripe has its own rule. */
  readonly #rest = new Rest(STRIPE);
  /** The last stripe taken. */
  readonly #before = Buffer.alloc(STRIPE);
  #inBlock = 0;
  #size = 0;

  constructor(digestBytes: 8 | 16) {
    this.#digestBytes = digestBytes;
  }

  update(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#size += bytes.length;
    this.#head.fill(bytes);
    const rest = this.#rest;
    let from = 0;
    if (rest.length > 0) {
      from = rest.fill(bytes);
      if (from === bytes.length) return;
      this.#take(rest.bytes);
      rest.length = 0;
    }
    const stripes = Math.floor((bytes.length - from - 1) / STRIPE);
    const end = from + stripes * STRIPE;
    if (end > from) this.#take(bytes.subarray(from, end));
    rest.fill(bytes.subarray(end));
  }

  #take(stripes: Uint8Array): void {
    updateXxh3(this.#lanes, stripes, this.#inBlock);
    this.#inBlock = (this.#inBlock + stripes.length) % XXH3_BLOCK_BYTES;
    this.#before.set(stripes.subarray(-STRIPE));
  }

  digest(): Buffer {
    const wide = this.#digestBytes === 16;
    if (this.#size <= SHORT_BYTES_MAX) {
      const input = this.#head.bytes.subarray(0, this.#size);
      return wide ? short128(input) : bigEndian(short64(input));
    }
    const { bytes, length } = this.#rest;
    const last = Buffer.concat([this.#before.subarray(length), bytes.subarray(0, length)]);
    const lanes = Buffer.from(this.#lanes);
    finishXxh3(lanes, last);
    const size = BigInt(this.#size);
    const low = merge(lanes, 11, wrap(size * P1));
    if (!wide) return bigEndian(low);
    return bigEndian(merge(lanes, secret.length - STRIPE - 11, wrap(~(size * P2))), low);
  }
}

function merge(lanes: Buffer, at: number, start: bigint): bigint {
  let sum = start;
  for (let i = 0; i < STRIPE; i += 16) {
    const left = lanes.readBigUInt64LE(i) ^ secret64(at + i);
    sum += fold(left, lanes.readBigUInt64LE(i + 8) ^ secret64(at + i + 8));
  }
  return avalanche3(wrap(sum));
}

/** Sixteen bytes of the input against sixteen of the secret. */
function mix16(input: Buffer, at: number, key: number): bigint {
  const low = input.readBigUInt64LE(at) ^ secret64(key);
  return fold(low, input.readBigUInt64LE(at + 8) ^ secret64(key + 8));
}

/** One to three bytes and their number, in one word. */
function combined(input: Buffer): bigint {
  const { length } = input;
  const first = BigInt(input[0] as number) << 16n;
  const middle = BigInt(input[length >> 1] as number) << 24n;
  return first | middle | BigInt(input[length - 1] as number) | (BigInt(length) << 8n);
}

function short64(input: Buffer): bigint {
  const { length } = input;
  const size = BigInt(length);
  if (length === 0) return avalanche64(secret64(56) ^ secret64(64));
  if (length <= 3) return avalanche64(combined(input) ^ secret32(0) ^ secret32(4));
  if (length <= 8) {
    const last = BigInt(input.readUInt32LE(length - 4));
    const word = last + (BigInt(input.readUInt32LE(0)) << 32n);
    let hash = word ^ secret64(8) ^ secret64(16);
    hash = wrap((hash ^ rotate(hash, 49n) ^ rotate(hash, 24n)) * MIX_2);
    hash = wrap((hash ^ ((hash >> 35n) + size)) * MIX_2);
    return hash ^ (hash >> 28n);
  }
  if (length <= 16) {
    const low = input.readBigUInt64LE(0) ^ secret64(24) ^ secret64(32);
    const high = input.readBigUInt64LE(length - 8) ^ secret64(40) ^ secret64(48);
    return avalanche3(wrap(size + swap64(low) + high + fold(low, high)));
  }
  let sum = size * P1;
  if (length <= 128) {
    for (let i = Math.floor((length - 1) / 32); i >= 0; i--) {
      sum += mix16(input, 16 * i, 32 * i) + mix16(input, length - 16 * (i + 1), 32 * i + 16);
    }
    return avalanche3(wrap(sum));
  }
  for (let i = 0; i < 8; i++) sum += mix16(input, 16 * i, 16 * i);
  sum = avalanche3(wrap(sum));
  for (let i = 8; i < Math.floor(length / 16); i++) {
    sum += mix16(input, 16 * i, 16 * (i - 8) + 3);
  }
  return avalanche3(wrap(sum + mix16(input, length - 16, 119)));
}

function short128(input: Buffer): Buffer {
  const { length } = input;
  if (length === 0) {
    const low = avalanche64(secret64(64) ^ secret64(72));
    return bigEndian(avalanche64(secret64(80) ^ secret64(88)), low);
  }
  if (length <= 3) {
    const low = combined(input);
    const swapped = Buffer.allocUnsafe(4);
    swapped.writeUInt32LE(Number(low));
    const turned = BigInt(swapped.readUInt32BE());
    const high = ((turned << 13n) & 0xffffffffn) | (turned >> 19n);
    return bigEndian(
      avalanche64(high ^ secret32(8) ^ secret32(12)),
      avalanche64(low ^ secret32(0) ^ secret32(4)),
    );
  }
  if (length <= 8) return short128To8(input);
  if (length <= 16) return short128To16(input);
  return short128To240(input);
}

function short128To8(input: Buffer): Buffer {
  const size = BigInt(input.length);
  const high = BigInt(input.readUInt32LE(input.length - 4)) << 32n;
  const word = BigInt(input.readUInt32LE(0)) + high;
  const product = (word ^ secret64(16) ^ secret64(24)) * wrap(P1 + (size << 2n));
  let low = product & MASK;
  const top = wrap((product >> 64n) + (low << 1n));
  low ^= top >> 3n;
  low = wrap((low ^ (low >> 35n)) * MIX_2);
  return bigEndian(avalanche3(top), low ^ (low >> 28n));
}

function short128To16(input: Buffer): Buffer {
  const { length } = input;
  const first = input.readBigUInt64LE(0);
  let last = input.readBigUInt64LE(length - 8);
  const product = (first ^ last ^ secret64(32) ^ secret64(40)) * P1;
  let low = wrap((product & MASK) + (BigInt(length - 1) << 54n));
  last ^= secret64(48) ^ secret64(56);
  const high = wrap((product >> 64n) + last + (last & 0xffffffffn) * (P32_2 - 1n));
  low ^= swap64(high);
  const mixed = low * P2;
  const top = wrap((mixed >> 64n) + high * P2);
  return bigEndian(avalanche3(top), avalanche3(mixed & MASK));
}

function short128To240(input: Buffer): Buffer {
  const { length } = input;
  const size = BigInt(length);
  let low = wrap(size * P1);
  let high = 0n;
  const mix32 = (one: number, other: number, key: number): void => {
    const pair = (at: number): bigint =>
      wrap(input.readBigUInt64LE(at) + input.readBigUInt64LE(at + 8));
    low = wrap(low + mix16(input, one, key)) ^ pair(other);
    high = wrap(high + mix16(input, other, key + 16)) ^ pair(one);
  };
  if (length <= 128) {
    for (let i = Math.floor((length - 1) / 32); i >= 0; i--) {
      mix32(16 * i, length - 16 * (i + 1), 32 * i);
    }
  } else {
    for (let i = 0; i < 128; i += 32) mix32(i, i + 16, i);
    low = avalanche3(low);
    high = avalanche3(high);
    for (let i = 128; i + 32 <= length; i += 32) mix32(i, i + 16, i - 128 + 3);
    mix32(length - 16, length - 32, 103);
  }
  const sum = wrap(low + high);
  const other = wrap(low * P1 + high * P4 + size * P2);
  return bigEndian(wrap(-avalanche3(other)), avalanche3(sum));
}
