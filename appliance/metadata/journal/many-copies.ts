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

  /** A drive that takes too long is left out as if it had failed. */
  async create(
    drives: readonly Drive[],
    header: FileHeader,
    size: { sizeBytes: number; aheadBytes: number; late?: Promise<never> | undefined },
  ): Promise<void> {
    const made = await Promise.allSettled(
      drives.map((drive) => {
        const making = FileCopy.create(drive, header, size);
        return inTime(making, size.late).catch((error: unknown) => {
          void making.then((copy) => copy.close()).catch(() => undefined);
          throw error;
        });
      }),
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
    return await this.#each((copy) => copy.write(bytes, position), patience);
  }

  /** As write, for the room ahead of the end. */
  async take(end: number, aheadBytes: number, patience?: Patience): Promise<boolean> {
    if (!this.#copies.some((copy) => copy.lacks(end, aheadBytes))) return true;
    return await this.#each((copy) => copy.take(end, aheadBytes), patience);
  }

  async #each(work: (copy: FileCopy) => Promise<void>, patience?: Patience): Promise<boolean> {
    const copies = this.#copies;
    const left = new Set(copies);
    const errors = new Map<FileCopy, unknown>();
    let enough = (): void => undefined;
    const need = new Promise<void>((resolve) => (enough = resolve));
    const works = copies.map(async (copy) => {
      try {
        await work(copy);
        left.delete(copy);
      } catch (cause) {
        errors.set(copy, cause);
      }
      if (copies.length - left.size >= (patience?.need ?? copies.length)) enough();
    });
    const all = Promise.all(works);
    if (patience === undefined) await all;
    else {
      await Promise.race([all, patience.ended()]);
      await Promise.race([all, need]);
    }
    if (left.size === 0) return true;
    for (const copy of left) {
      this.failed.push({ drive: copy.drive, error: errors.get(copy) ?? tooLate() });
    }
    this.keep(copies.filter((copy) => !left.has(copy)).map(({ drive }) => drive));
    return false;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#copies.map((copy) => copy.close()));
  }
}

export const tooLate = (): Error => new Error('the drive did not answer in time');

/** `work`, or the rejection of `late` if that comes first: a drive that hangs stops nobody. */
export function inTime<T>(work: Promise<T>, late: Promise<never> | undefined): Promise<T> {
  return late === undefined ? work : Promise.race([work, late]);
}

/** Rejects once patience ends; nobody need await it. */
export function lateAfter(patience: (() => Promise<void>) | undefined): Promise<never> | undefined {
  const late = patience?.().then((): never => {
    throw tooLate();
  });
  late?.catch(() => undefined);
  return late;
}
