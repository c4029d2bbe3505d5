// A set of location ids that may hold a hundred million of them: a Bloom filter that grows. It may
// say "in" for an id that never was (about 1 in 2,000), never "out" for one that was: a sweep that
// asks it overlooks an orphan now and then, and finds it on the next pass, whose salts are others.
// Ids hold 80 random bits, so their own digits are hash enough. 16 bits an id.

const PROBES = 8;
const BITS_PER_ID = 16;
const IDS_FIRST = 65_536;

interface Filter {
  bits: Uint32Array;
  bitCount: number;
  room: number;
}

function newFilter(room: number): Filter {
  const bitCount = room * BITS_PER_ID;
  return { bits: new Uint32Array(bitCount / 32), bitCount, room };
}

export class IdSet {
  readonly #salt: number;
  readonly #filters: Filter[] = [newFilter(IDS_FIRST)];
  #size = 0;

  /** `salt`: 32 random bits, others each pass. */
  constructor(salt: number) {
    this.#salt = salt >>> 0;
  }

  /** Adds counted twice count twice. */
  get size(): number {
    return this.#size;
  }

  add(id: string): void {
    let filter = this.#filters.at(-1) as Filter;
    if (filter.room === 0) {
      filter = newFilter(IDS_FIRST * 2 ** this.#filters.length);
      this.#filters.push(filter);
    }
    filter.room -= 1;
    this.#size += 1;
    const [a, b] = this.#hash(id);
    for (let i = 0; i < PROBES; i++) {
      const bit = (a + i * b) % filter.bitCount;
      filter.bits[bit >>> 5] = (filter.bits[bit >>> 5] as number) | (1 << (bit & 31));
    }
  }

  has(id: string): boolean {
    const [a, b] = this.#hash(id);
    return this.#filters.some((filter) => {
      for (let i = 0; i < PROBES; i++) {
        const bit = (a + i * b) % filter.bitCount;
        if (((filter.bits[bit >>> 5] as number) & (1 << (bit & 31))) === 0) return false;
      }
      return true;
    });
  }

  #hash(id: string): [number, number] {
    // The last 16 of 32 hex digits: random ones.
    const high = Number.parseInt(id.slice(-16, -8), 16);
    const low = Number.parseInt(id.slice(-8), 16);
    const a = (Math.imul(high ^ this.#salt, 0x9e3779b1) ^ low) >>> 0;
    // Odd, so that the probes differ; and unsigned again, as | makes it signed.
    const b = ((Math.imul(low ^ this.#salt, 0x85ebca6b) ^ high) | 1) >>> 0;
    return [a, b];
  }
}
