// A drive whose names are not waited for for ever. One that hangs inside the system answers neither
// a list nor an open; whoever waited without a bound would stand still with it: the watch, that
// could take no other drive into use; a heal, that could refill none; the start of the program.
// What is late counts as failed (ETIMEDOUT, after a minute) though it may still be done: so may
// what fails by a power cut. Bytes of files are bounded only where that is asked for, as their
// buffers must not be used again before they are done (see readers and writers); then a drive in
// which a call hangs gets no other until that one has ended: each would cost the same wait.

import type {
  Drive,
  DriveFile,
  DriveOpenMode,
  DriveStat,
  DriveUsage,
} from '../../../appliance/model/drive.ts';
import { PatientFile } from './patient-file.ts';

export class PatientDrive implements Drive {
  readonly path: string;
  readonly #drive: Drive;
  readonly #ms: number;
  readonly #bytesToo: boolean;
  /** Calls that are late and have not ended. */
  #hanging = 0;

  /** `bytesToo`: what is done to files is bounded as well. */
  constructor(drive: Drive, ms: number, bytesToo = false) {
    this.path = drive.path;
    this.#drive = drive;
    this.#ms = ms;
    this.#bytesToo = bytesToo;
  }

  #bound<T>(begin: () => Promise<T>, late?: (value: T) => void): Promise<T> {
    const tooLate = (): Error =>
      Object.assign(new Error(`ETIMEDOUT: ${this.path} does not answer`), { code: 'ETIMEDOUT' });
    if (this.#bytesToo && this.#hanging > 0) return Promise.reject(tooLate());
    const work = begin();
    return new Promise<T>((resolve, reject) => {
      let isLate = false;
      const timer = setTimeout(() => {
        isLate = true;
        this.#hanging += 1;
        const ended = (): void => void (this.#hanging -= 1);
        work.then(ended, ended);
        reject(tooLate());
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

  async open(
    path: string,
    options: { mode: DriveOpenMode; durable?: boolean; direct?: boolean },
  ): Promise<DriveFile> {
    const opened = await this.#bound(
      () => this.#drive.open(path, options),
      (file) => void file.close().catch(() => undefined),
    );
    if (!this.#bytesToo) return opened;
    return new PatientFile(opened, (begin) => this.#bound(begin));
  }

  list(directory: string): Promise<string[]> {
    return this.#bound(() => this.#drive.list(directory));
  }

  stat(path: string): Promise<DriveStat> {
    return this.#bound(() => this.#drive.stat(path));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#bound(() => this.#drive.rename(from, to));
  }

  link(from: string, to: string): Promise<boolean> {
    return this.#bound(() => this.#drive.link(from, to));
  }

  remove(path: string): Promise<void> {
    return this.#bound(() => this.#drive.remove(path));
  }

  makeDirectory(directory: string): Promise<void> {
    return this.#bound(() => this.#drive.makeDirectory(directory));
  }

  syncDirectory(directory: string): Promise<void> {
    return this.#bound(() => this.#drive.syncDirectory(directory));
  }

  usage(): Promise<DriveUsage> {
    return this.#bound(() => this.#drive.usage());
  }
}
