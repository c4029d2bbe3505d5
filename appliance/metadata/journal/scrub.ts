// Reads the sealed files of every copy again, a little now and then. A log that was cut behind a
// snapshot is needed a year later or never, and a bit that rots meanwhile is noticed by nobody: one
// copy after another would rot, and the day on which LMDB is lost would be the day on which all of
// them are. Found early, a rotten file is written anew from the others.

import type { Drive } from '../../model/drive.ts';
import { sealedIn, type Manifest, type SealedFile } from './manifest.ts';
import { verifying } from './snapshot.ts';

export interface Rotten {
  drive: Drive;
  sealed: SealedFile;
  error: unknown;
}

interface Copy {
  drive: Drive;
  sealed: SealedFile;
}

/** One round over the files that a manifest named when it was begun. */
export class ScrubRound {
  readonly #store: string;
  readonly #left: Copy[];
  #now: { copy: Copy; reading: AsyncGenerator<number> } | undefined;

  constructor(manifest: Manifest, drives: readonly Drive[]) {
    this.#store = manifest.store;
    this.#left = sealedIn(manifest).flatMap((sealed) => drives.map((drive) => ({ drive, sealed })));
  }

  /**
   * Reads on until about `bytes` were read, a file is found rotten, or the round is at its end.
   * `counts`: false for a copy that meanwhile is none any more.
   */
  async step(
    bytes: number,
    counts: (copy: Copy) => boolean,
  ): Promise<{ read: number; rotten?: Rotten; ended: boolean }> {
    let read = 0;
    while (read < bytes) {
      const now = (this.#now ??= this.#begin());
      if (now === undefined) return { read, ended: true };
      // Held open, a file that was removed would keep its room from others.
      if (!counts(now.copy)) {
        await this.#leave();
        continue;
      }
      try {
        const { done, value } = await now.reading.next();
        if (done !== true) read += value;
        else this.#now = undefined;
      } catch (error) {
        this.#now = undefined;
        if (counts(now.copy)) return { read, rotten: { ...now.copy, error }, ended: false };
      }
    }
    return { read, ended: false };
  }

  #begin(): { copy: Copy; reading: AsyncGenerator<number> } | undefined {
    const copy = this.#left.shift();
    return copy && { copy, reading: verifying(copy.drive, copy.sealed, this.#store) };
  }

  async #leave(): Promise<void> {
    await this.#now?.reading.return(0);
    this.#now = undefined;
  }

  async close(): Promise<void> {
    this.#left.length = 0;
    await this.#leave();
  }
}
