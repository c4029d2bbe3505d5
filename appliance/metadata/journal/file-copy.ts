// One copy of a journal file that is being written, on one drive. The danger is a sync that failed
// and is tried again: what it lost is not known, and the second one says that all is well. So the
// first error of a file is its last: nothing is written to it any more, and its drive leaves. The
// other danger is a drive that data has filled: then not even a delete could be journaled. So some
// room ahead of the end is always taken, by zeros, and given to nobody else.

import type { Drive, DriveFile } from '../../model/drive.ts';
import { BLOCK_BYTES, encodeFileHeader, type FileHeader } from './format.ts';
import { JOURNAL_DIRECTORY, pathOf } from './manifest.ts';

/** Taken at once: few enough bytes that a commit hardly waits for them. */
const STEP_BYTES = 256 * 1024;
const ZEROS = new Uint8Array(STEP_BYTES);
/** The system's words for a drive without room. */
const NO_ROOM = new Set(['ENOSPC', 'EDQUOT']);

export class FileCopy {
  readonly drive: Drive;
  readonly #file: DriveFile;
  #failed: unknown;
  /** Up to here blocks are taken, as far as is known. */
  #taken: number;
  #writing: Promise<void> = Promise.resolve();

  private constructor(drive: Drive, file: DriveFile, taken: number) {
    this.drive = drive;
    this.#file = file;
    this.#taken = taken;
  }

  /**
   * A fresh file with its header and the first of `aheadBytes`; it and its name are durable on
   * return. After an error there is no such file, if the drive still answers.
   */
  static async create(
    drive: Drive,
    header: FileHeader,
    size: { sizeBytes: number; aheadBytes: number },
  ): Promise<FileCopy> {
    await drive.makeDirectory(JOURNAL_DIRECTORY);
    const file = await drive.open(pathOf(header), { mode: 'create', durable: true });
    try {
      // Of its full length from the start: an append then changes no length, only bytes.
      await file.resize(size.sizeBytes);
      await file.write(encodeFileHeader(header).bytes, 0);
      const copy = new FileCopy(drive, file, BLOCK_BYTES);
      await copy.take(BLOCK_BYTES, Math.min(STEP_BYTES, size.aheadBytes));
      if (size.aheadBytes > 0 && copy.#taken === BLOCK_BYTES) throw noRoom(drive);
      await drive.syncDirectory(JOURNAL_DIRECTORY);
      return copy;
    } catch (error) {
      await file.close().catch(() => undefined);
      await drive.remove(pathOf(header)).catch(() => undefined);
      throw error;
    }
  }

  /** To go on behind what stands; the caller has read it and knows where it ends. */
  static async open(
    drive: Drive,
    header: Pick<FileHeader, 'kind' | 'file'>,
    endBytes: number,
  ): Promise<FileCopy> {
    const file = await drive.open(pathOf(header), { mode: 'change', durable: true });
    return new FileCopy(drive, file, endBytes);
  }

  /**
   * Takes one step more of room, unless `aheadBytes` behind the end are taken. What the drive can't
   * give is asked for again the next time. Not beside a write. Other errors are the file's last.
   */
  async take(end: number, aheadBytes: number): Promise<void> {
    if (!this.lacks(end, aheadBytes)) return;
    const step = Math.min(STEP_BYTES, aheadBytes);
    try {
      await this.write(ZEROS.subarray(0, step), this.#taken);
      this.#taken += step;
    } catch (error) {
      if (!isNoRoom(error)) throw error;
      this.#failed = undefined;
    }
  }

  /** Whether take() would take anything. */
  lacks(end: number, aheadBytes: number): boolean {
    this.#taken = Math.max(this.#taken, end);
    const step = Math.min(STEP_BYTES, aheadBytes);
    return step > 0 && this.#taken + step <= end + aheadBytes;
  }

  /** Durable on return. After an error every further call fails with the same. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    if (this.#failed !== undefined) throw this.#failed as Error;
    try {
      const writing = this.#file.write(bytes, position);
      this.#writing = writing;
      await writing;
    } catch (error) {
      this.#failed = error;
      throw error;
    }
  }

  /** Also of a write that was given up: its number may be another file's once it is closed. */
  async close(): Promise<void> {
    await this.#writing.catch(() => undefined);
    await this.#file.close();
  }
}

const noRoom = (drive: Drive): Error =>
  Object.assign(new Error(`no room for a journal on ${drive.path}`), { code: 'ENOSPC' });

export const isNoRoom = (error: unknown): boolean =>
  NO_ROOM.has((error as NodeJS.ErrnoException | undefined)?.code ?? '');
