// Which drive holds which lane. Order is a pure function of an id and of the drives that were away
// when it was written, so a location needs no list of drives. Drives are taken from a start that
// the id's last 32 bits choose (they are random; the first ones of an id are its time, and would
// put a whole minute's data lanes on the same drives). Drives that were away take the first data
// lanes, which then count as zeros: a shortened code with all its parity. Only when fewer than m+1
// are left does parity give way, from the last lane on.

import assert from 'node:assert/strict';
import type { Code } from '../codec/field.ts';

export interface LaneOrder {
  /** Position of the drive of each lane. */
  positions: readonly number[];
  /** Lane of each drive. */
  lanes: readonly number[];
  /** Data lanes of drives that were away: no bytes. */
  empty: number;
  /** Parity lanes of drives that were away: nowhere. */
  lost: number;
  /** Data lanes that hold bytes, in order; k' of them. */
  data: readonly number[];
  /** Lanes that are written: data and parity of drives that were there. */
  inUse: number;
}

export const DRIVES_UP_MIN = 2;

export class LaneOrders {
  readonly #code: Code;
  readonly #known = new Map<number, LaneOrder>();

  constructor(code: Code) {
    this.#code = code;
  }

  /** `away`: bit i = the drive at position i was not used. At least two drives must be left. */
  of(id: string, away: number): LaneOrder {
    const start = Number.parseInt(id.slice(24), 16) % this.#code.n;
    const name = away * 16 + start;
    let order = this.#known.get(name);
    if (order === undefined) {
      order = this.#build(start, away);
      this.#known.set(name, order);
    }
    return order;
  }

  #build(start: number, away: number): LaneOrder {
    const { k, n } = this.#code;
    const turn = Array.from({ length: n }, (_, i) => (i + start) % n);
    const missing = turn.filter((position) => ((away >> position) & 1) === 1);
    const there = turn.filter((position) => ((away >> position) & 1) === 0);
    assert.ok(there.length >= DRIVES_UP_MIN, 'no code has fewer than two lanes');
    const emptied = Math.min(missing.length, k - 1);
    const positions = [...missing.slice(0, emptied), ...there, ...missing.slice(emptied)];
    const lanes = new Array<number>(n).fill(0);
    for (const [lane, position] of positions.entries()) lanes[position] = lane;
    const empty = (1 << emptied) - 1;
    const kept = emptied + there.length;
    const lost = ((1 << n) - 1) & ~((1 << kept) - 1);
    return {
      positions,
      lanes,
      empty,
      lost,
      data: Array.from({ length: k - emptied }, (_, i) => emptied + i),
      inUse: ((1 << n) - 1) & ~empty & ~lost,
    };
  }
}
