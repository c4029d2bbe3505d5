// Writes and reads the bytes of a record field by field. Neither trusts what it is given: a writer
// says where a text is not of the form that its bytes could give back, a reader where the record
// ends before its fields.

/** What Buffer's methods call, which take as long again to find out that they are to. */
type Sliced = Buffer & {
  latin1Slice(from: number, to: number): string;
  base64Slice(from: number, to: number): string;
  hexSlice(from: number, to: number): string;
  hexWrite(text: string, at: number, bytes: number): number;
  latin1Write(text: string, at: number, bytes: number): number;
};

/** Of an id 48 bits are milliseconds; they differ little from one to the next of a document. */
const TIME_BYTES = 6;
const ID_BYTES = 16;
const RANDOM_BYTES = ID_BYTES - TIME_BYTES;
const TEXT_MAX = 255;
const LOWER_HEX = /^[0-9a-f]*$/;
const PLAIN = /^[\x20-\x7e]*$/;
/** Longest of a number: 53 bits and a sign, seven a byte. */
const NUMBER_BYTES = 8;

const id = Buffer.alloc(ID_BYTES) as Sliced;

export class ByteWriter {
  #bytes = Buffer.alloc(4096) as Sliced;
  #at = 0;

  /** Forgets what was written; the first `room` bytes stay free. */
  begin(room: number): void {
    this.#at = room;
  }

  /** What was written, in a buffer of its own. */
  copy(): Buffer {
    return Buffer.from(this.#bytes.subarray(0, this.#at));
  }

  #need(bytes: number): number {
    const at = this.#at;
    this.#at += bytes;
    if (this.#at > this.#bytes.length) {
      const larger = Buffer.alloc(this.#at * 2) as Sliced;
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    return at;
  }

  byte(value: number): void {
    const at = this.#need(1);
    this.#bytes[at] = value;
  }

  /** A whole number of 0 to 2^53 − 1, seven bits a byte, the low ones first. */
  number(value: number): void {
    let left = value;
    for (; left > 0x7f; left = Math.floor(left / 128)) this.byte((left % 128) | 0x80);
    this.byte(left);
  }

  /** Likewise one of either sign: the sign is the lowest bit. */
  signed(value: number): void {
    this.number(value < 0 ? -value * 2 - 1 : value * 2);
  }

  raw(bytes: Uint8Array): void {
    const at = this.#need(bytes.length);
    this.#bytes.set(bytes, at);
  }

  /** False: it is not lower-case hex digits for so many bytes. */
  hex(text: unknown, bytes: number): boolean {
    if (!isHex(text, bytes)) return false;
    const at = this.#need(bytes);
    this.#bytes.hexWrite(text, at, bytes);
    return true;
  }

  /**
   * An id of 32 hex digits, its time as the difference to `near`; returns its time. Undefined: it
   * is none.
   */
  id(text: unknown, near: number): number | undefined {
    if (!isHex(text, ID_BYTES)) return undefined;
    id.hexWrite(text, 0, ID_BYTES);
    const time = id.readUIntBE(0, TIME_BYTES);
    this.signed(time - near);
    const at = this.#need(RANDOM_BYTES);
    id.copy(this.#bytes, at, TIME_BYTES, ID_BYTES);
    return time;
  }

  /** False: it is not the base64 of so many bytes. */
  base64(text: unknown, bytes: number): boolean {
    if (typeof text !== 'string' || text.length !== Math.ceil(bytes / 3) * 4) return false;
    const value = Buffer.from(text, 'base64');
    if (value.length !== bytes || value.toString('base64') !== text) return false;
    this.raw(value);
    return true;
  }

  /** Its length in a byte, then the text. False: not of at most 255 letters of ASCII. */
  text(text: unknown): boolean {
    if (typeof text !== 'string' || text.length > TEXT_MAX || !PLAIN.test(text)) return false;
    this.byte(text.length);
    const at = this.#need(text.length);
    this.#bytes.latin1Write(text, at, text.length);
    return true;
  }
}

export class ByteReader {
  #bytes = Buffer.alloc(0) as Sliced;
  at = 0;
  time = 0;

  begin(bytes: Buffer, at: number): void {
    this.#bytes = bytes as Sliced;
    this.at = at;
  }

  byte(): number {
    return this.#bytes[this.at++] as number;
  }

  number(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < NUMBER_BYTES; i += 1) {
      const byte = this.#bytes[this.at++] as number;
      if (byte <= 0x7f) return value + byte * scale;
      value += (byte & 0x7f) * scale;
      scale *= 128;
    }
    return Number.NaN;
  }

  signed(): number {
    const value = this.number();
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2;
  }

  unsigned48(): number {
    this.at += TIME_BYTES;
    return this.#bytes.readUIntBE(this.at - TIME_BYTES, TIME_BYTES);
  }

  hex(bytes: number): string {
    const from = this.at;
    this.at += bytes;
    return this.#bytes.hexSlice(from, this.at);
  }

  /** An id whose time was written as the difference to `near`; `time` is that of the id. */
  id(near: number): string {
    this.time = near + this.signed();
    id.writeUIntBE(this.time, 0, TIME_BYTES);
    this.#bytes.copy(id, TIME_BYTES, this.at, this.at + RANDOM_BYTES);
    this.at += RANDOM_BYTES;
    return id.hexSlice(0, ID_BYTES);
  }

  text(): string {
    const length = this.byte();
    this.at += length;
    return this.#bytes.latin1Slice(this.at - length, this.at);
  }

  base64(bytes: number): string {
    this.at += bytes;
    return this.#bytes.base64Slice(this.at - bytes, this.at);
  }

  /** The bytes from here to `end`; lent. */
  upTo(end: number): Buffer {
    return this.#bytes.subarray(this.at, end);
  }
}

function isHex(text: unknown, bytes: number): text is string {
  return typeof text === 'string' && text.length === bytes * 2 && LOWER_HEX.test(text);
}
