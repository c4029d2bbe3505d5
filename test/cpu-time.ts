// Work that must not grow with what a stranger sends is measured in CPU time of this thread: what else the
// machine does, in other threads and processes, is not in it. Tests that use it are serial where they
// are asynchronous, or others of their file would be.

/** Milliseconds of CPU that `work` took this thread. */
export async function cpuMsOf(work: () => unknown): Promise<number> {
  const before = process.threadCpuUsage();
  await work();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}
