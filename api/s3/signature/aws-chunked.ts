// Decodes S3's own chunking inside a body (aws-chunked): sizes in hex, signatures that each sign
// the one before, trailing headers. The danger: a chunk that was changed, moved or left out on the
// way, or a trailer that nobody signed. Bytes are handed on before their chunk's signature has been
// seen whole: whoever takes them must commit nothing until `finish` has returned. Costs nothing
// measurable beside the hashes themselves (1.5 GB/s).

import { createHash, type Hash } from 'node:crypto';
import { FirnError } from '../../../appliance/model/errors.ts';
import { PUT_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { EMPTY_SHA256 } from '../../../appliance/model/signature.ts';
import type { ChunkCheck } from './chunk-check.ts';

/** S3's least size of any chunk but the last. */
const CHUNK_BYTES_MIN = 8192;
const SIZE_LINE_BYTES_MAX = 256;
const TRAILER_BYTES_MAX = 16_384;

export interface ChunkedOptions {
  /** Where chunks are signed: what the first signature goes on from. */
  signed: ChunkCheck | undefined;
  /** x-amz-decoded-content-length. */
  decodedBytes: number;
  /** Lower-case names that x-amz-trailer announced; undefined where the kind has no trailer. */
  trailers: readonly string[] | undefined;
}

type State = 'size' | 'data' | 'data-end' | 'trailer';

const invalid = (message: string): FirnError => new FirnError('InvalidRequest', message);
const badTrailer = (message: string): FirnError => new FirnError('MalformedTrailerError', message);
const badSignature = (): FirnError =>
  new FirnError('SignatureDoesNotMatch', 'A chunk of the body does not match its signature.');

const SIZE_LINE = /^([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-zA-Z*]+))?$/;

export class ChunkedDecoder {
  readonly #options: ChunkedOptions;
  #state: State = 'size';
  /** Of a line or trailer that hasn't ended yet. */
  #pending = '';
  #previousSize = CHUNK_BYTES_MIN;
  #left = 0;
  #decoded = 0;
  #hash: Hash | undefined;
  #claimed = '';
  #previousSignature: string;
  #trailerText = '';

  constructor(options: ChunkedOptions) {
    this.#options = options;
    this.#previousSignature = options.signed?.seed ?? '';
  }

  /** Hands the object's bytes in `raw` to `take`, as parts of `raw`. Throws FirnError. */
  decode(raw: Buffer, take: (bytes: Buffer) => void): void {
    let at = 0;
    while (at < raw.length) {
      if (this.#state === 'size') at = this.#readSizeLine(raw, at);
      else if (this.#state === 'data') at = this.#readData(raw, at, take);
      else if (this.#state === 'data-end') at = this.#readDataEnd(raw, at);
      else at = this.#readTrailer(raw, at);
    }
  }

  /** To be called at the body's end: the trailing headers, verified. Throws FirnError. */
  finish(): Map<string, string> {
    if (this.#state !== 'trailer' || this.#decoded !== this.#options.decodedBytes) {
      throw new FirnError('IncompleteBody', 'The body ended before all announced bytes came.');
    }
    const lines = this.#trailerText.split('\n').map((line) => line.replace(/\r$/, ''));
    if (lines.pop() !== '') throw badTrailer('The body does not end with an empty line.');
    return this.#verifyTrailers(lines.filter((line) => line !== ''));
  }

  #readSizeLine(raw: Buffer, from: number): number {
    const end = raw.indexOf(10, from);
    this.#pending += raw.toString('latin1', from, end < 0 ? raw.length : end);
    if (this.#pending.length > SIZE_LINE_BYTES_MAX) throw invalid('A chunk size is malformed.');
    if (end < 0) return raw.length;
    const line = this.#pending;
    this.#pending = '';
    const match = line.endsWith('\r') ? SIZE_LINE.exec(line.slice(0, -1)) : null;
    if (match === null) throw invalid('A chunk size is malformed.');
    this.#startChunk(Number.parseInt(match[1] as string, 16), match[2]);
    return end + 1;
  }

  #startChunk(size: number, signature: string | undefined): void {
    const { signed, decodedBytes } = this.#options;
    if (size > PUT_BYTES_MAX) throw invalid('A chunk is larger than any object.');
    if (size > 0 && this.#previousSize < CHUNK_BYTES_MIN) {
      throw new FirnError('InvalidChunkSizeError', 'Only the last chunk may be under 8192 bytes.');
    }
    if (this.#decoded + size > decodedBytes) {
      throw new FirnError('IncompleteBody', 'The body holds more bytes than were announced.');
    }
    if (signed !== undefined) {
      if (signature === undefined) throw invalid('A chunk has no signature.');
      this.#claimed = signature;
    }
    this.#previousSize = size;
    this.#left = size;
    if (size === 0) {
      this.#verifyChunk(EMPTY_SHA256);
      this.#state = 'trailer';
      return;
    }
    if (signed !== undefined) this.#hash = createHash('sha256');
    this.#state = 'data';
  }

  #readData(raw: Buffer, from: number, take: (bytes: Buffer) => void): number {
    const bytes = raw.subarray(from, from + this.#left);
    this.#hash?.update(bytes);
    this.#left -= bytes.length;
    this.#decoded += bytes.length;
    take(bytes);
    if (this.#left === 0) {
      if (this.#hash !== undefined) this.#verifyChunk(this.#hash.digest('hex'));
      this.#state = 'data-end';
    }
    return from + bytes.length;
  }

  #verifyChunk(sha256: string): void {
    const { signed } = this.#options;
    if (signed === undefined) return;
    const signature = signed.chunk(this.#previousSignature, sha256, this.#claimed);
    if (signature === undefined) throw badSignature();
    this.#previousSignature = signature;
  }

  #readDataEnd(raw: Buffer, at: number): number {
    this.#pending += String.fromCharCode(raw[at] as number);
    if (!'\r\n'.startsWith(this.#pending)) throw invalid('A chunk is longer than its size.');
    if (this.#pending === '\r\n') {
      this.#pending = '';
      this.#state = 'size';
    }
    return at + 1;
  }

  #readTrailer(raw: Buffer, from: number): number {
    this.#trailerText += raw.toString('latin1', from, raw.length);
    if (this.#trailerText.length > TRAILER_BYTES_MAX) throw badTrailer('The trailer is too long.');
    return raw.length;
  }

  #verifyTrailers(lines: readonly string[]): Map<string, string> {
    const { signed, trailers = [] } = this.#options;
    const values = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = line.slice(0, Math.max(colon, 0)).trim().toLowerCase();
      const expected = trailers.includes(name) || name === 'x-amz-trailer-signature';
      if (!expected) throw badTrailer('A trailing header was not announced by x-amz-trailer.');
      if (values.has(name)) throw badTrailer(`The trailing header ${name} is there twice.`);
      values.set(name, line.slice(colon + 1).trim());
    }
    for (const name of trailers) {
      if (!values.has(name)) throw badTrailer(`The trailing header ${name} is missing.`);
    }
    const signature = values.get('x-amz-trailer-signature');
    values.delete('x-amz-trailer-signature');
    const mustBeSigned = signed !== undefined && this.#options.trailers !== undefined;
    if (mustBeSigned) {
      if (signature === undefined) throw badTrailer('x-amz-trailer-signature is missing.');
      const text = [...values].map(([name, value]) => `${name}:${value}\n`).join('');
      if (!signed.isTrailer(this.#previousSignature, text, signature)) throw badSignature();
    } else if (signature !== undefined) {
      throw badTrailer('x-amz-trailer-signature has no place in this kind of body.');
    }
    return values;
  }
}
