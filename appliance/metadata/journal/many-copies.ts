// One file written to several drives at once; a drive that fails, or takes too long, is left out
// from there on.

import type { Drive } from '../../model/drive.ts';
import { FileCopy } from './file-copy.ts';
import type { FileHeader } from './format.ts';

export interface Failed {
  drive: Drive;
  error: unknown;
}

/** How long a write is waited for once `need` copies have it. */
export interface Patience {
  ended: () => Promise<void>;
  need: number;
}

export class ManyCopies {
  #copies: FileCopy[] = [];
  /** Drives that left, and why. */
  readonly failed: Failed[] = [];

  get drives(): Drive[] {
    return this.#copies.map(({ drive }) => drive);
  }

  /** Takes over copies that are open already. */
  adopt(copies: readonly FileCopy[]): void {
    this.#copies.push(...copies);
  }

  /** Lets the others go. */
  keep(drives: readonly Drive[]): void {
    this.#copies = this.#copies.filter((copy) => {
      const kept = drives.includes(copy.drive);
      if (!kept) void copy.close().catch(() => undefined);
      return kept;
    });
  }

  async create(drives: readonly Drive[], header: FileHeader, sizeBytes: number): Promise<void> {
    const made = await Promise.allSettled(
      drives.map((drive) => FileCopy.create(drive, header, sizeBytes)),
    );
    for (const [i, one] of made.entries()) {
      if (one.status === 'fulfilled') this.#copies.push(one.value);
      else this.failed.push({ drive: drives[i] as Drive, error: one.reason });
    }
  }

  /**
   * Durable on return on every drive that is left. True where that is all of them. A write that was
   * given up may still read the bytes.
   */
  async write(bytes: Uint8Array, position: number, patience?: Patience): Promise<boolean> {
    const copies = this.#copies;
    const left = new Set(copies);
    let error: unknown = new Error('the drive did not answer in time');
    const writes = copies.map(async (copy) => {
      try {
        await copy.write(bytes, position);
        left.delete(copy);
      } catch (cause) {
        error = cause;
      }
    });
    const all = Promise.all(writes);
    if (patience === undefined) await all;
    else {
      await Promise.race([all, patience.ended()]);
      if (copies.length - left.size < patience.need) await all;
    }
    if (left.size === 0) return true;
    for (const copy of left) this.failed.push({ drive: copy.drive, error });
    this.keep(copies.filter((copy) => !left.has(copy)).map(({ drive }) => drive));
    return false;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#copies.map((copy) => copy.close()));
  }
}
