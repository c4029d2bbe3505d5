// A file of a drive that may hang in the middle of it. What is late counts as failed. A read goes
// into a buffer of its own, so that bytes that come after all spoil nothing. What was being written
// may still arrive, and its bytes must not change until then: whoever is told that a write failed
// gives the file up, buffer and all.

import type { DriveFile, DriveStat } from '../../../appliance/model/drive.ts';

export type Bound = <T>(work: () => Promise<T>) => Promise<T>;

export class PatientFile implements DriveFile {
  readonly #file: DriveFile;
  readonly #bound: Bound;

  constructor(file: DriveFile, bound: Bound) {
    this.#file = file;
    this.#bound = bound;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    const own = new Uint8Array(target.length);
    const count = await this.#bound(() => this.#file.read(own, position));
    target.set(own.subarray(0, count));
    return count;
  }

  readNow(target: Uint8Array, position: number): number {
    return this.#file.readNow(target, position);
  }

  write(bytes: Uint8Array | readonly Uint8Array[], position: number): Promise<void> {
    return this.#bound(() => this.#file.write(bytes, position));
  }

  sync(): Promise<void> {
    return this.#bound(() => this.#file.sync());
  }

  resize(sizeBytes: number): Promise<void> {
    return this.#bound(() => this.#file.resize(sizeBytes));
  }

  stat(): Promise<DriveStat> {
    return this.#bound(() => this.#file.stat());
  }

  close(): Promise<void> {
    return this.#bound(() => this.#file.close());
  }
}
