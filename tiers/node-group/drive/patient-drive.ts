// A drive whose names are not waited for for ever. One that hangs inside the system answers neither
// a list nor an open; whoever waited without a bound would stand still with it: the watch, that
// could take no other drive into use; a heal, that could refill none; the start of the program.
// What is late counts as failed (ETIMEDOUT, after a minute) though it may still be done: so may
// what fails by a power cut. Bytes of files are not bounded here, as their buffers must not be
// used again before they are done (see readers and writers).

import type {
  Drive,
  DriveFile,
  DriveOpenMode,
  DriveStat,
  DriveUsage,
} from '../../../appliance/model/drive.ts';

export class PatientDrive implements Drive {
  readonly path: string;
  readonly #drive: Drive;
  readonly #ms: number;

  constructor(drive: Drive, ms: number) {
    this.path = drive.path;
    this.#drive = drive;
    this.#ms = ms;
  }

  #bound<T>(work: Promise<T>, late?: (value: T) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        const message = `ETIMEDOUT: ${this.path} does not answer`;
        reject(Object.assign(new Error(message), { code: 'ETIMEDOUT' }));
      }, this.#ms);
      work.then(
        (value) => {
          clearTimeout(timer);
          if (isLate) late?.(value);
          else resolve(value);
        },
        (error: unknown) => {
          clearTimeout(timer);
          reject(error as Error);
        },
      );
    });
  }

  open(
    path: string,
    options: { mode: DriveOpenMode; durable?: boolean; direct?: boolean },
  ): Promise<DriveFile> {
    return this.#bound(this.#drive.open(path, options), (file) => {
      void file.close().catch(() => undefined);
    });
  }

  list(directory: string): Promise<string[]> {
    return this.#bound(this.#drive.list(directory));
  }

  stat(path: string): Promise<DriveStat> {
    return this.#bound(this.#drive.stat(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#bound(this.#drive.rename(from, to));
  }

  link(from: string, to: string): Promise<boolean> {
    return this.#bound(this.#drive.link(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#bound(this.#drive.remove(path));
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#bound(this.#drive.makeDirectory(directory));
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#bound(this.#drive.syncDirectory(directory));
  }

  usage(): Promise<DriveUsage> {
    return this.#bound(this.#drive.usage());
  }
}
