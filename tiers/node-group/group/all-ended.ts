/**
 * Like Promise.all, but settles only once all have ended: work that fails early must not leave
 * others behind that still write into a buffer which its owner takes back.
 */
export async function allEnded<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const ended = await Promise.allSettled(work);
  return ended.map((one) => {
    if (one.status === 'rejected') throw one.reason;
    return one.value;
  });
}
