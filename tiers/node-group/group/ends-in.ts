// An end to the patience with work that may never end: a drive that hangs inside the system answers
// neither reads nor removals, and whoever waited for it would wait for ever, with all that he
// holds (a slot of memory, a place among the requests).

/** Whether the work ends in time. It goes on after that; what comes of it is nobody's business. */
export async function endsIn(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  const ended = work.then(
    () => true,
    () => true,
  );
  const inTime = await Promise.race([ended, late]);
  clearTimeout(timer);
  return inTime;
}
