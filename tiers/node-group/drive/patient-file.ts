// A file of a drive that may hang in the middle of it. What is late counts as failed. A read goes
// into a buffer of its own, so that bytes that come after all spoil nothing. What was being written
// may still arrive, and its bytes must not change until then: whoever is told that a write failed
// gives the file up, buffer and all. It is closed behind what hangs, or its number might be another
// file's when that arrives.

import type { DriveFile, DriveStat } from '../../../appliance/model/drive.ts';

export type Bound = <T>(work: () => Promise<T>) => Promise<T>;

export class PatientFile implements DriveFile {
  readonly #file: DriveFile;
  readonly #bound: Bound;
  readonly #underWay = new Set<Promise<unknown>>();

  constructor(file: DriveFile, bound: Bound) {
    this.#file = file;
    this.#bound = bound;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    const own = new Uint8Array(target.length);
    const count = await this.#call(() => this.#file.read(own, position));
    target.set(own.subarray(0, count));
    return count;
  }

  readNow(target: Uint8Array, position: number): number {
    return this.#file.readNow(target, position);
  }

  write(bytes: Uint8Array | readonly Uint8Array[], position: number): Promise<void> {
    return this.#call(() => this.#file.write(bytes, position));
  }

  sync(): Promise<void> {
    return this.#call(() => this.#file.sync());
  }

  resize(sizeBytes: number): Promise<void> {
    return this.#call(() => this.#file.resize(sizeBytes));
  }

  stat(): Promise<DriveStat> {
    return this.#call(() => this.#file.stat());
  }

  close(): Promise<void> {
    const closed = Promise.allSettled(this.#underWay).then(() => this.#file.close());
    // The drive may take no call now: nobody waits then.
    closed.catch(() => undefined);
    return this.#bound(() => closed);
  }

  #call<T>(begin: () => Promise<T>): Promise<T> {
    return this.#bound(() => {
      const call = begin();
      this.#underWay.add(call);
      const ended = (): void => void this.#underWay.delete(call);
      call.then(ended, ended);
      return call;
    });
  }
}
