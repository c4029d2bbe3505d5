// A bounded map that forgets what was not used for longest. Only for rows that never change
// (blocks, places of packs) or that are checked against a revision just read (secrets): nothing
// else of another process's making may be kept.

export class Recent<V> {
  readonly #entries = new Map<string, V>();
  readonly #entriesMax: number;

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  get(id: string): V | undefined {
    const value = this.#entries.get(id);
    if (value === undefined) return undefined;
    this.#entries.delete(id);
    this.#entries.set(id, value);
    return value;
  }

  set(id: string, value: V): void {
    this.#entries.delete(id);
    this.#entries.set(id, value);
    if (this.#entries.size <= this.#entriesMax) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      return;
    }
  }

  delete(id: string): void {
    this.#entries.delete(id);
  }
}
