// Reads the head of an object's record without the general decoder. A LIST of 1,000 keys reads
// 1,000 heads, all of one shape; msgpackr takes 0.7 µs each, this 0.3. What is not of that shape to
// the last byte goes to msgpackr, so that this never decides what a record means.

import type { ChecksumTuple, HeadTuple } from './object-record.ts';

const NIL = 0xc0;
const FLOAT_64 = 0xcb;
const UINT_8 = 0xcc;
const UINT_16 = 0xcd;
const UINT_32 = 0xce;
const SHORT_TEXT = 0xa0;
const SHORT_TEXT_BITS = 0xe0;
const TEXT_8 = 0xd9;
const HEAD_ARRAY = 0x99;
const CHECKSUM_ARRAY = 0x93;
const FIXED_INT_MAX = 0x7f;

/** What Buffer.toString calls, which takes as long again to find out that it is to. */
type Sliced = Buffer & { latin1Slice(from: number, to: number): string };

/** A text that row after row repeats: the class, the owner, the kind of checksum. */
interface Repeated {
  bytes: Buffer;
  text: string;
}

const classSeen: Repeated = { bytes: Buffer.alloc(0), text: '' };
const algorithmSeen: Repeated = { bytes: Buffer.alloc(0), text: '' };
const typeSeen: Repeated = { bytes: Buffer.alloc(0), text: '' };
const ownerSeen: Repeated = { bytes: Buffer.alloc(0), text: '' };
/** Of a listing most rows have the same. */
let checksumSeen: ChecksumTuple = ['', '', ''];
const NOT_MINE = new Error('not of the usual shape');

export class HeadReader {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  /** The head in these bytes of a record; undefined where only msgpackr can tell. */
  read(bytes: Buffer, from: number, to: number): HeadTuple | undefined {
    this.#bytes = bytes;
    this.#at = from;
    try {
      const head = this.#head();
      return this.#at === to ? head : undefined;
    } catch {
      // Another shape, or it ends too early: damaged or not, msgpackr says it.
      return undefined;
    }
  }

  #head(): HeadTuple {
    this.#expect(HEAD_ARRAY);
    const id = this.#plainText();
    const flags = this.#number();
    const lastModified = this.#number();
    const sizeBytes = this.#number();
    const etag = this.#plainText();
    const storageClass = this.#repeated(classSeen);
    const owner = this.#repeated(ownerSeen);
    const checksum = this.#checksum();
    this.#expect(NIL);
    return [id, flags, lastModified, sizeBytes, etag, storageClass, owner, checksum, null];
  }

  #checksum(): HeadTuple[7] {
    const tag = this.#bytes[this.#at++];
    if (tag === NIL) return null;
    if (tag !== CHECKSUM_ARRAY) throw NOT_MINE;
    const algorithm = this.#repeated(algorithmSeen);
    const type = this.#repeated(typeSeen);
    // Its value is not shown by any listing.
    const length = this.#textLength();
    this.#at += length;
    if (checksumSeen[0] !== algorithm || checksumSeen[1] !== type) {
      checksumSeen = [algorithm, type, ''];
    }
    return checksumSeen;
  }

  #expect(tag: number): void {
    if (this.#bytes[this.#at++] !== tag) throw NOT_MINE;
  }

  #number(): number {
    const tag = this.#bytes[this.#at++] as number;
    if (tag <= FIXED_INT_MAX) return tag;
    const at = this.#at;
    if (tag === FLOAT_64) {
      this.#at += 8;
      return this.#bytes.readDoubleBE(at);
    }
    if (tag === UINT_16) {
      this.#at += 2;
      return this.#bytes.readUInt16BE(at);
    }
    if (tag === UINT_32) {
      this.#at += 4;
      return this.#bytes.readUInt32BE(at);
    }
    if (tag !== UINT_8) throw NOT_MINE;
    this.#at += 1;
    return this.#bytes.readUInt8(at);
  }

  /** Moves to the first byte of a text; its length. */
  #textLength(): number {
    const tag = this.#bytes[this.#at++] as number;
    if ((tag & SHORT_TEXT_BITS) === SHORT_TEXT) return tag & ~SHORT_TEXT_BITS;
    if (tag !== TEXT_8) throw NOT_MINE;
    return this.#bytes[this.#at++] as number;
  }

  /** Of letters and digits, as ids and ETags are: a third faster than any UTF-8. */
  #plainText(): string {
    const length = this.#textLength();
    const from = this.#at;
    this.#at += length;
    return (this.#bytes as Sliced).latin1Slice(from, this.#at);
  }

  #repeated(seen: Repeated): string {
    const length = this.#textLength();
    const from = this.#at;
    this.#at += length;
    if (length === seen.bytes.length && this.#equal(seen.bytes, from)) return seen.text;
    seen.text = this.#bytes.toString('utf8', from, this.#at);
    seen.bytes = Buffer.from(this.#bytes.subarray(from, this.#at));
    return seen.text;
  }

  #equal(bytes: Buffer, from: number): boolean {
    for (let i = 0; i < bytes.length; i += 1) {
      if (bytes[i] !== this.#bytes[from + i]) return false;
    }
    return true;
  }
}
