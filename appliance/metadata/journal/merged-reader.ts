// Reads a journal file from all copies at hand as if it were one: at each place the first copy
// whose batch is whole and follows the one before. So a bit that rotted in one copy costs nothing,
// also where each copy has one of its own. The end of an open log is where no copy has a batch
// that follows; a whole batch of the same file further on means that something in between is lost,
// and is never taken for the end (a log cut short without a word undoes acknowledged changes).

import type { Drive, DriveFile } from '../../model/drive.ts';
import { FirnError } from '../../model/errors.ts';
import {
  batchBytes,
  BATCH_HEADER_BYTES,
  BLOCK_BYTES,
  decodeBatchHead,
  decodeFileHeader,
  isWhole,
  type BatchHead,
  type BatchPlace,
  type FileHeader,
} from './format.ts';
import { pathOf, type SealedFile } from './manifest.ts';

const READ_BYTES = 256 * 1024;
/** Behind the end of an open log so much is searched for a batch that should not be there. */
const SEARCH_BYTES = 8 * 1024 * 1024;

export interface FoundBatch {
  head: BatchHead;
  /** Lent until the next batch is asked for. */
  bytes: Buffer;
  position: number;
}

/** One file on one drive, read forward through a buffer. Errors make it a copy that has nothing. */
class OneCopy {
  readonly drive: Drive;
  readonly #file: DriveFile;
  // Lent only as far as it was read into.
  #buffer = Buffer.allocUnsafe(READ_BYTES);
  #from = 0;
  #to = 0;
  /** The last read failed: what is there is not known. */
  unread = false;

  constructor(drive: Drive, file: DriveFile) {
    this.drive = drive;
    this.#file = file;
  }

  /** `size` bytes from `position`, fewer at the end of the file or where it can't be read. */
  async at(position: number, size: number): Promise<Buffer> {
    if (position < this.#from || position + size > this.#to) {
      if (size > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(size);
      this.#from = position;
      this.#to = position;
      this.unread = true;
      try {
        this.#to += await this.#file.read(this.#buffer, position);
      } catch {
        return Buffer.alloc(0);
      }
      this.unread = false;
    }
    const start = position - this.#from;
    return this.#buffer.subarray(start, Math.min(start + size, this.#to - this.#from));
  }

  /** The batch here if it is whole, and is of this file. */
  async batch(position: number, file: string): Promise<FoundBatch | undefined> {
    const head = decodeBatchHead(await this.at(position, BATCH_HEADER_BYTES));
    if (head === undefined || head.file !== file) return undefined;
    const bytes = await this.at(position, BATCH_HEADER_BYTES + head.payloadBytes);
    return isWhole(head, bytes) ? { head, bytes, position } : undefined;
  }

  async close(): Promise<void> {
    await this.#file.close().catch(() => undefined);
  }
}

export class MergedReader {
  readonly #file: Pick<SealedFile, 'kind' | 'file'> & { sizeBytes?: number };
  readonly #store: string;
  #copies: OneCopy[] = [];
  #place: BatchPlace | undefined;
  #header: FileHeader | undefined;
  #position = BLOCK_BYTES;
  /** Copies whose batches were missing, torn or rotten somewhere. */
  readonly damaged = new Set<Drive>();

  readonly #compares: boolean;

  /**
   * With sizeBytes: a sealed file, all of which must be there. `compares`: every copy is read, not
   * only the first that serves, so that `damaged` is complete.
   */
  constructor(
    file: Pick<SealedFile, 'kind' | 'file'> & { sizeBytes?: number },
    store: string,
    compares = false,
  ) {
    this.#file = file;
    this.#store = store;
    this.#compares = compares;
  }

  /** Where the next batch would stand. */
  get position(): number {
    return this.#position;
  }

  /** What the next batch must name; undefined where no copy has a header. */
  get place(): BatchPlace | undefined {
    return this.#place;
  }

  /** Of the file; it was opened. */
  get header(): FileHeader {
    return this.#header as FileHeader;
  }

  /**
   * Copies that have no readable header are left out. Throws Corrupt where none has one, and leaves
   * nothing open then.
   */
  async open(drives: readonly Drive[]): Promise<void> {
    try {
      for (const drive of drives) await this.#openOn(drive);
      if (this.#place === undefined) throw this.#lost('no copy can be read');
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #openOn(drive: Drive): Promise<void> {
    const path = pathOf(this.#file);
    const opened = await drive.open(path, { mode: 'read' }).catch(() => undefined);
    if (opened === undefined) {
      this.damaged.add(drive);
      return;
    }
    // From here on it is closed with the others, whatever its header says.
    const copy = new OneCopy(drive, opened);
    this.#copies.push(copy);
    const header = decodeFileHeader(await copy.at(0, BLOCK_BYTES), `${drive.path}/${path}`);
    const { file } = this.#file;
    if (header?.store === this.#store && header.file === file) {
      this.#header = header;
      this.#place = { file, sequence: 1, previous: header.checksum };
      return;
    }
    this.damaged.add(drive);
    this.#copies.pop();
    await copy.close();
  }

  /** The next batch, or undefined at the end. Corrupt where there must be one and none is whole. */
  async next(): Promise<FoundBatch | undefined> {
    const { sizeBytes } = this.#file;
    if (sizeBytes !== undefined && this.#position >= sizeBytes) return undefined;
    const place = this.#place as BatchPlace;
    let found: FoundBatch | undefined;
    const missed: Drive[] = [];
    for (const copy of this.#copies) {
      const one = await copy.batch(this.#position, place.file);
      const fits = one?.head.sequence === place.sequence && one.head.previous === place.previous;
      if (!fits) missed.push(copy.drive);
      else found ??= one;
      if (found !== undefined && !this.#compares) break;
    }
    if (found === undefined) {
      if (sizeBytes !== undefined) throw this.#lost('a batch is whole in no copy');
      // What was announced is in every copy, so one that plainly ends here is enough; none is not.
      if (this.#copies.every(({ unread }) => unread)) throw this.#lost('its end can not be read');
      await this.#searchBeyond(place);
      return undefined;
    }
    for (const drive of missed) this.damaged.add(drive);
    const { sequence, checksum, payloadBytes } = found.head;
    this.#place = { file: place.file, sequence: sequence + 1, previous: checksum };
    this.#position += batchBytes(payloadBytes);
    return found;
  }

  async #searchBeyond({ file, sequence }: BatchPlace): Promise<void> {
    for (const copy of this.#copies) {
      const end = this.#position + SEARCH_BYTES;
      for (let at = this.#position + BLOCK_BYTES; at < end; at += BLOCK_BYTES) {
        const bytes = await copy.at(at, BATCH_HEADER_BYTES);
        if (bytes.length < BATCH_HEADER_BYTES) break;
        const head = decodeBatchHead(bytes);
        if (head === undefined || head.file !== file || head.sequence <= sequence) continue;
        if ((await copy.batch(at, file)) === undefined) continue;
        throw this.#lost(`batch ${sequence} is whole in no copy, batch ${head.sequence} is there`);
      }
    }
  }

  #lost(why: string): FirnError {
    return new FirnError('Corrupt', `the journal is damaged: ${why}`, {
      subject: pathOf(this.#file),
      hint:
        'mount the drives that are missing, then start again; ' +
        'a copy on any of them brings the rest back',
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#copies.map((copy) => copy.close()));
    this.#copies = [];
  }
}
