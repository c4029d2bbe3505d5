// Reads an upload form (multipart/form-data) as it arrives: its fields, then the bytes of its one
// file. Nobody has been identified yet when the fields are read, so their sum is bounded. The
// danger beside that is a reader that sees other fields than we do: a name that is there twice, a
// second file, a form without its end are refused, never guessed at.

import { Busboy } from '@fastify/busboy';
import { FirnError } from '../../../appliance/model/errors.ts';
import { KiB } from '../../../appliance/model/limits.ts';
import type { IncomingBody } from './incoming-body.ts';

/** S3: names and values of all fields before the file. */
const FIELDS_BYTES_MAX = 20 * KiB;
const FIELDS_MAX = 200;
/** The same with what stands around them; and of what follows the file. */
const AROUND_BYTES_MAX = 64 * KiB;
/** Fed so finely until the file begins, so that the bound above is one. */
const SLICE_BYTES = 4 * KiB;
const PART_HEAD_BYTES_MAX = 8 * KiB;
const PART_HEADERS_MAX = 16;

const BOUNDARY = /;\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))/i;

const malformed = (reason: string): FirnError =>
  new FirnError('MalformedPOSTRequest', `The form is not well-formed: ${reason}.`);

const tooLong = (): FirnError =>
  new FirnError(
    'MaxPostPreDataLengthExceededError',
    'Your POST request fields preceding the upload file were too large.',
    { details: { MaxSizeAllowed: String(FIELDS_BYTES_MAX) } },
  );

const notOneFile = (): FirnError =>
  new FirnError(
    'IncorrectNumberOfFilesInPostRequest',
    'POST requires exactly one file upload per request.',
  );

export class FormReader {
  readonly #body: Pick<IncomingBody, 'next' | 'stop'>;
  readonly #parser: ReturnType<typeof Busboy>;
  readonly #fields = new Map<string, string>();
  #fieldBytes = 0;
  /** Taken from the body and not yet given to the parser. */
  #rest: Buffer = Buffer.alloc(0);
  #isBodyAtEnd = false;
  /** Bytes around the file: before it, then behind it. */
  #aroundBytes = 0;
  #file: 'before' | 'within' | 'behind' = 'before';
  readonly #pieces: Buffer[] = [];
  #isFinished = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  /** As the form gives it, without folders; empty where it gives none. */
  fileName = '';

  /** Throws MalformedPOSTRequest. */
  constructor(body: Pick<IncomingBody, 'next' | 'stop'>, contentType: string) {
    const match = BOUNDARY.exec(contentType);
    const boundary = match?.[1] ?? match?.[2];
    if (boundary === undefined) throw malformed('it names no boundary');
    this.#body = body;
    this.#parser = this.#buildParser(boundary);
  }

  #buildParser(boundary: string): ReturnType<typeof Busboy> {
    const parser = new Busboy({
      headers: { 'content-type': `multipart/form-data; boundary="${boundary}"` },
      // What counts as the file is its name: some clients give every field a file name.
      isPartAFile: (name) => name?.toLowerCase() === 'file',
      limits: {
        files: 1,
        fields: FIELDS_MAX,
        parts: FIELDS_MAX + 1,
        fieldSize: FIELDS_BYTES_MAX,
        headerPairs: PART_HEADERS_MAX,
        headerSize: PART_HEAD_BYTES_MAX,
      },
    });
    const fail = (error: Error): void => {
      this.#error ??= error;
      this.#awake();
    };
    parser.on('field', (name, value, _nameCut, isCut) => {
      const error = this.#addField(name, value, isCut);
      if (error !== undefined) fail(error);
    });
    parser.on('file', (_name, stream, fileName) => {
      this.#file = 'within';
      this.#aroundBytes = 0;
      this.fileName = fileName ?? '';
      stream.on('data', (piece: Buffer) => {
        this.#pieces.push(piece);
        this.#awake();
      });
      stream.on('end', () => {
        this.#file = 'behind';
      });
      stream.on('error', () => fail(malformed('it ends within its file')));
    });
    parser.on('filesLimit', () => fail(notOneFile()));
    parser.on('fieldsLimit', () => fail(tooLong()));
    parser.on('partsLimit', () => fail(tooLong()));
    parser.on('error', () => fail(malformed('it has no end')));
    parser.on('finish', () => {
      this.#isFinished = true;
      this.#awake();
    });
    return parser;
  }

  /** What follows the file (a form's own button is such a field) says nothing. */
  #addField(name: string | undefined, value: string, isCut: boolean): FirnError | undefined {
    if (this.#file !== 'before') return undefined;
    if (name === undefined || name === '') return malformed('a field has no name');
    this.#fieldBytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    if (isCut || this.#fieldBytes > FIELDS_BYTES_MAX) return tooLong();
    const field = name.toLowerCase();
    if (this.#fields.has(field)) return malformed(`the field ${field} is there twice`);
    this.#fields.set(field, value);
    return undefined;
  }

  /**
   * The fields before the file, names in lower case; the file has begun on return. Throws
   * MalformedPOSTRequest, MaxPostPreDataLengthExceededError, IncorrectNumberOfFilesInPostRequest,
   * and what a body throws.
   */
  async fields(): Promise<ReadonlyMap<string, string>> {
    while (this.#file === 'before') {
      if (this.#isFinished) throw notOneFile();
      await this.#feed();
      this.#check();
    }
    return this.#fields;
  }

  /** The file's next piece; undefined at its end, when the whole form was read and is right. */
  async next(): Promise<Buffer | undefined> {
    for (;;) {
      this.#check();
      const piece = this.#pieces.shift();
      if (piece !== undefined) return piece;
      if (this.#isFinished && this.#isBodyAtEnd && this.#rest.length === 0) return undefined;
      await this.#feed();
    }
  }

  stop(): void {
    this.#body.stop();
    this.#pieces.length = 0;
  }

  #check(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** Gives the parser one slice more, or waits for what it still has to say at the end. */
  async #feed(): Promise<void> {
    const slice = await this.#slice();
    if (slice === undefined) {
      if (!this.#isFinished && this.#error === undefined) await this.#end();
      return;
    }
    if (this.#file !== 'within') this.#aroundBytes += slice.length;
    if (this.#aroundBytes > AROUND_BYTES_MAX) throw tooLong();
    await new Promise<void>((resolve) => {
      // An error ends the parser, and what ended may never call back.
      this.#wake = resolve;
      this.#parser.write(slice, () => resolve());
    });
  }

  async #end(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      this.#parser.end();
    });
  }

  #awake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  async #slice(): Promise<Buffer | undefined> {
    while (this.#rest.length === 0 && !this.#isBodyAtEnd) {
      const piece = await this.#body.next();
      if (piece === undefined) this.#isBodyAtEnd = true;
      else this.#rest = piece;
    }
    if (this.#rest.length === 0) return undefined;
    const slice = this.#rest.subarray(0, this.#file === 'before' ? SLICE_BYTES : undefined);
    this.#rest = this.#rest.subarray(slice.length);
    return slice;
  }
}
