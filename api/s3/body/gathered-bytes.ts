// The bytes of a small body as its pieces come, held once. Pieces that are kept until the last and
// then made one hold each body twice, and leave the first half to the collector: at overload a
// third of the memory. So where the size is known, each piece is copied to its place and freed.

import assert from 'node:assert/strict';
import { letGo } from './let-go.ts';

export class GatheredBytes {
  readonly #expectedBytes: number | undefined;
  #whole: Buffer | undefined;
  readonly #pieces: Buffer[] = [];
  sizeBytes = 0;

  /** Undefined: nobody knows how many will come. */
  constructor(expectedBytes: number | undefined) {
    this.#expectedBytes = expectedBytes;
  }

  /** At most as many as are expected. One piece that is all of them is kept as it is. */
  readonly add = (piece: Buffer): void => {
    const at = this.sizeBytes;
    const expected = this.#expectedBytes;
    this.sizeBytes += piece.length;
    if (expected === undefined || piece.length === expected) {
      this.#pieces.push(piece);
      return;
    }
    assert.ok(this.sizeBytes <= expected, 'no more of a body than was announced');
    this.#whole ??= Buffer.allocUnsafeSlow(expected);
    piece.copy(this.#whole, at);
  };

  /** Frees what the pieces of `raw` were cut from, unless they are still needed. */
  letGo(raw: Buffer): void {
    if (this.#pieces.length === 0) letGo(raw);
  }

  /** All that came, once. */
  bytes(): Buffer {
    if (this.#whole !== undefined) return this.#whole.subarray(0, this.sizeBytes);
    return this.#pieces.length === 1 ? (this.#pieces[0] as Buffer) : Buffer.concat(this.#pieces);
  }
}
