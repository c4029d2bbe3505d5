// What heal and scrub say of bytes that they could not make whole: a durability alarm must be true,
// because people act on it at night. Files that fail their checksum were once right, so that is a
// loss. Files that are all whole, but too few, may also be what a killed writer left between two
// renames: whether anything names them only metadata can tell (Suspect).

import type { Seat } from '../drive/seat.ts';
import type { GroupContext } from '../group/context.ts';
import type { LaneStates } from '../group/missing.ts';
import type { FoundShards } from '../shard/find-shards.ts';
import { shardPath } from '../shard/format.ts';
import type { Report } from './step-job.ts';

/** False once it was deleted, as while it was being looked at: then nothing is lost. */
export async function isStillThere(context: GroupContext, path: string): Promise<boolean> {
  const present = context.seats.filter((seat: Seat) => seat.present);
  const stats = await Promise.all(
    present.map(({ drive }) => drive.stat(path).catch(() => undefined)),
  );
  return stats.some((stat) => stat !== undefined);
}

/** A large object that too few of its files are left of. `states`: of all its lanes. */
export async function tellLossOfShards(
  context: GroupContext,
  found: FoundShards,
  of: { report: Report; states: Readonly<LaneStates>; why: string },
): Promise<void> {
  const { location, head } = found;
  if (!(await isStillThere(context, shardPath(location.id)))) return;
  const what = `${context.tier}/${location.id}: ${of.why}`;
  // What could not be read just now is looked at once more, by whoever asks the metadata.
  if (of.states.damaged !== 0 && of.states.down === 0) {
    of.report.lost.push(what);
    return;
  }
  const slash = head.owner.indexOf('/');
  const owner = { bucketId: head.owner.slice(0, slash), key: head.owner.slice(slash + 1) };
  of.report.suspects.push({ what, ...owner, location });
}
