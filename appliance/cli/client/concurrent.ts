// Runs one task over many items with a bound on how many at once. The first failure stops the rest
// from starting and is what the caller sees, after the ones that run have ended: nothing goes on
// behind it.

export async function forEachConcurrent<T>(
  items: Iterable<T> | AsyncIterable<T>,
  concurrency: number,
  task: (item: T) => Promise<void>,
): Promise<void> {
  const iterator =
    Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let failed: { error: unknown } | undefined;
  // One `next` at a time: an async iterator need not bear two.
  let turn: Promise<unknown> = Promise.resolve();
  const nextItem = async (): Promise<IteratorResult<T>> => {
    const mine = turn.then(() => iterator.next());
    turn = mine.catch(() => undefined);
    return mine;
  };
  const lane = async (): Promise<void> => {
    while (failed === undefined) {
      try {
        const next = await nextItem();
        if (next.done === true) return;
        if (failed === undefined) await task(next.value);
      } catch (error) {
        failed ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  if (failed !== undefined) throw (failed as { error: unknown }).error;
}
