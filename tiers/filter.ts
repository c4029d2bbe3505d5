// Bloom filters of what is sealed and written once: segments (node-group) and packs. Over ids, keys
// with their buckets, and buckets; "surely not" costs no look at what is filtered. Blocks of 256
// bits, one bit in each of eight words: a look touches one cache line; at 12 bits an entry about
// one in 200 is a false "perhaps". The danger is a filter that denies what is there: it is made
// once, of entries all known, and read only if its checksum is right. The file's layout is in
// node-group/FORMAT.md.

import type { SegmentFilter } from '../appliance/model/node-group.ts';
import { checksum64 } from './checksum.ts';

const MAGIC = 0x46425246; // "FRBF"
const FORMAT = 1;
const HEAD_BYTES = 64;
const BLOCK_WORDS = 8;
const BLOCK_BYTES = 4 * BLOCK_WORDS;
const BITS_PER_ENTRY = 12;
const BUCKETS_KEPT_MAX = 1024;
/** Below this many records a look at what is filtered costs little more than the filter. */
export const FILTER_RECORDS_MIN = 64;
/** Odd; the product's highest five bits choose the bit in each word. */
const SALTS = [
  0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31,
] as const;

interface Hash {
  high: number;
  low: number;
}

function hashOfText(text: string): Hash {
  const hash = checksum64(Buffer.from(text, 'utf8'));
  return { high: Number(hash >> 32n), low: Number(hash & 0xffffffffn) };
}

/** Ids end in 64 random bits: hash enough. */
const hashOfId = (id: string): Hash => ({
  high: Number.parseInt(id.slice(16, 24), 16),
  low: Number.parseInt(id.slice(24), 16),
});

/** What is held, gathered while it is written: 8 bytes an entry. */
export class FilterEntries {
  #words = new Uint32Array(1024);
  #length = 0;
  #records = 0;
  /** Buckets that are in already; beyond the bound one may be in twice, which costs 12 bits. */
  readonly #buckets = new Set<string>();

  get records(): number {
    return this.#records;
  }

  /** `owner`: bucket id and key, with '/' between. */
  add(id: string, owner: string): void {
    this.#push(hashOfId(id));
    this.addOwner(owner);
  }

  /** A record whose id nobody will ask for. */
  addOwner(owner: string): void {
    this.#records += 1;
    this.#push(hashOfText(owner));
    const bucket = owner.slice(0, owner.indexOf('/') + 1);
    if (this.#buckets.has(bucket)) return;
    if (this.#buckets.size < BUCKETS_KEPT_MAX) this.#buckets.add(bucket);
    this.#push(hashOfText(bucket));
  }

  #push({ high, low }: Hash): void {
    if (this.#length === this.#words.length) {
      const words = new Uint32Array(2 * this.#length);
      words.set(this.#words);
      this.#words = words;
    }
    this.#words[this.#length] = high;
    this.#words[this.#length + 1] = low;
    this.#length += 2;
  }

  /** The whole file of the filter of what has this id: 32 hex digits. */
  file(of: string): Buffer {
    const count = this.#length / 2;
    const blocks = Math.max(1, Math.ceil((count * BITS_PER_ENTRY) / (8 * BLOCK_BYTES)));
    const words = new Uint32Array(blocks * BLOCK_WORDS);
    for (let at = 0; at < this.#length; at += 2) {
      const low = this.#words[at + 1] as number;
      const block = blockOf(this.#words[at] as number, blocks);
      for (let word = 0; word < BLOCK_WORDS; word += 1) {
        words[block + word] = (words[block + word] as number) | bitOf(low, word);
      }
    }
    const file = Buffer.alloc(HEAD_BYTES + blocks * BLOCK_BYTES);
    for (const [word, value] of words.entries()) file.writeUInt32LE(value, HEAD_BYTES + 4 * word);
    file.writeUInt32LE(MAGIC, 0);
    file.writeUInt16LE(FORMAT, 4);
    file.write(of, 8, 16, 'hex');
    file.writeUInt32LE(this.#records, 24);
    file.writeUInt32LE(blocks, 28);
    file.writeBigUInt64LE(checksum64(file.subarray(HEAD_BYTES)), 32);
    file.writeBigUInt64LE(checksum64(file.subarray(0, 56)), 56);
    return file;
  }
}

/** Index of the first word of a hash's block. */
const blockOf = (high: number, blocks: number): number =>
  Math.floor((high * blocks) / 2 ** 32) * BLOCK_WORDS;

const bitOf = (low: number, word: number): number =>
  1 << (Math.imul(low, SALTS[word] as number) >>> 27);

export class OwnerFilter implements SegmentFilter {
  readonly #body: Buffer;
  readonly #blocks: number;

  private constructor(body: Buffer, blocks: number) {
    this.#body = body;
    this.#blocks = blocks;
  }

  /** Undefined for anything that is not the whole, right filter of what has this id. */
  static read(file: Buffer, of: string): OwnerFilter | undefined {
    if (file.length < HEAD_BYTES + BLOCK_BYTES || file.readUInt32LE(0) !== MAGIC) return undefined;
    if (file.readBigUInt64LE(56) !== checksum64(file.subarray(0, 56))) return undefined;
    if (file.readUInt16LE(4) !== FORMAT || file.toString('hex', 8, 24) !== of) return undefined;
    const blocks = file.readUInt32LE(28);
    if (file.length !== HEAD_BYTES + blocks * BLOCK_BYTES) return undefined;
    const body = file.subarray(HEAD_BYTES);
    if (file.readBigUInt64LE(32) !== checksum64(body)) return undefined;
    return new OwnerFilter(body, blocks);
  }

  /** False: surely no record of this location is in it. */
  mayHoldId(id: string): boolean {
    return this.#has(hashOfId(id));
  }

  /** False: surely no record of this key is in it; without a key, of no key of the bucket. */
  mayHoldOwner({ bucketId, key }: { bucketId: string; key?: string }): boolean {
    return this.#has(hashOfText(`${bucketId}/${key ?? ''}`));
  }

  #has({ high, low }: Hash): boolean {
    const block = blockOf(high, this.#blocks);
    for (let word = 0; word < BLOCK_WORDS; word += 1) {
      if ((this.#body.readUInt32LE(4 * (block + word)) & bitOf(low, word)) === 0) return false;
    }
    return true;
  }
}
