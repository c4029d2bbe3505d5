// Writers of one key take turns inside this process before they compare-and-swap (A4). Without it
// 64 PUTs in flight on one key cost 64 + 63 + … commits, nearly all of them lost; with it each
// process has one contender. Other processes are not excluded: the swap decides, this only saves
// work.

export class Writers {
  readonly #waiting = new Map<string, (() => void)[]>();

  /** Undefined: it is the caller's turn now. Otherwise resolves when it is. Ends with give(). */
  take(id: string): Promise<void> | undefined {
    const queue = this.#waiting.get(id);
    if (queue === undefined) {
      this.#waiting.set(id, []);
      return undefined;
    }
    return new Promise((resolve) => queue.push(resolve));
  }

  give(id: string): void {
    const next = this.#waiting.get(id)?.shift();
    if (next === undefined) this.#waiting.delete(id);
    else next();
  }
}
