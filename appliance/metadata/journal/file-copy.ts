// One copy of a journal file that is being written, on one drive. The danger is a sync that failed
// and is tried again: what it lost is not known, and the second one says that all is well. So the
// first error of a file is its last: nothing is written to it any more, and its drive leaves.

import type { Drive, DriveFile } from '../../model/drive.ts';
import { encodeFileHeader, type FileHeader } from './format.ts';
import { JOURNAL_DIRECTORY, pathOf } from './manifest.ts';

export class FileCopy {
  readonly drive: Drive;
  readonly #file: DriveFile;
  #failed: unknown;

  private constructor(drive: Drive, file: DriveFile) {
    this.drive = drive;
    this.#file = file;
  }

  /** A fresh file with its header; it and its name are durable on return. */
  static async create(drive: Drive, header: FileHeader, sizeBytes: number): Promise<FileCopy> {
    await drive.makeDirectory(JOURNAL_DIRECTORY);
    const file = await drive.open(pathOf(header), { mode: 'create', durable: true });
    try {
      // Of its full length from the start: an append then changes no length, only bytes.
      await file.resize(sizeBytes);
      await file.write(encodeFileHeader(header).bytes, 0);
      await drive.syncDirectory(JOURNAL_DIRECTORY);
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
    return new FileCopy(drive, file);
  }

  /** To go on behind what stands; the caller has read it and knows where it ends. */
  static async open(drive: Drive, header: Pick<FileHeader, 'kind' | 'file'>): Promise<FileCopy> {
    const file = await drive.open(pathOf(header), { mode: 'change', durable: true });
    return new FileCopy(drive, file);
  }

  /** Durable on return. After an error every further call fails with the same. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    if (this.#failed !== undefined) throw this.#failed as Error;
    try {
      await this.#file.write(bytes, position);
    } catch (error) {
      this.#failed = error;
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }
}
