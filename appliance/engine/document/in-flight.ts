// A bounded number of the same thing at once: commits of one batch share group commits, and neither
// a tier nor the store is asked more than it can take.

/**
 * Runs `task` over all items, at most `limit` at a time; results in order. The first throw wins,
 * once all that had begun have ended.
 */
export async function inFlight<I, O>(
  limit: number,
  items: readonly I[],
  task: (item: I, index: number) => Promise<O>,
): Promise<O[]> {
  const results: O[] = new Array<O>(items.length);
  let next = 0;
  let failed: { error: unknown } | undefined;
  const lane = async (): Promise<void> => {
    while (next < items.length && failed === undefined) {
      const index = next++;
      try {
        results[index] = await task(items[index] as I, index);
      } catch (error) {
        failed ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  if (failed !== undefined) throw failed.error;
  return results;
}
