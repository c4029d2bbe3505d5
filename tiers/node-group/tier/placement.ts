// Chooses the node group of a write: rendezvous hashing of the object's name (bucket id and key),
// weighted by free room. Each group draws a number from the name and its own number (never its
// place in the settings); the highest weighted draw wins. Adding a group moves nothing and takes
// its share of new writes at once. The danger it answers: a write into a group that is being
// emptied, that is full, or that could bear one failure less than its code promises, while another
// could.

import { checksum64 } from '../../checksum.ts';
import { awayNow } from '../group/context.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { NodeGroup } from './node-group.ts';

/** Where room is not known: far more than any drive. */
const WEIGHT_MAX = 2 ** 60;

/** Uniform in (0, 1), from the name and the group. */
function draw(owner: string, group: number): number {
  const hash = checksum64(Buffer.from(`${group}/${owner}`, 'utf8'));
  return (Number(hash >> 11n) + 0.5) / 2 ** 53;
}

/**
 * Index of the weight that wins, or undefined when there is none. `groups`: the group's number of
 * each, by default its index.
 */
export function placeIn(
  owner: string,
  weights: readonly number[],
  groups?: readonly number[],
): number | undefined {
  let best: number | undefined;
  let highest = -Infinity;
  for (const [index, weight] of weights.entries()) {
    if (weight <= 0) continue;
    const score = -weight / Math.log(draw(owner, groups?.[index] ?? index));
    if (score > highest) {
      highest = score;
      best = index;
    }
  }
  return best;
}

type Candidate = Pick<NodeGroup, 'draining' | 'upCount' | 'roomBytes' | 'writable' | 'context'>;

/**
 * The group that takes a write of this name. Groups with fewer than m+1 drives up take it only when
 * no other can, draining and avoided ones never. DriveUnavailable, InsufficientCapacity.
 */
export function chooseGroup<Group extends Candidate>(
  groups: readonly Group[],
  owner: string,
  avoid?: ReadonlySet<number>,
): Group {
  const [first] = groups;
  if (groups.length === 1 && avoid === undefined) return first as Group;
  const open = groups.filter(
    (group) => !group.draining && avoid?.has(group.context.group) !== true,
  );
  const healthy = open.filter((group) => group.upCount > group.context.code.m);
  for (const some of [healthy, open]) {
    const weights = some.map((group) =>
      group.writable ? Math.min(Math.max(1, group.roomBytes), WEIGHT_MAX) : 0,
    );
    const numbers = some.map((group) => group.context.group);
    const chosen = placeIn(owner, weights, numbers);
    if (chosen !== undefined) return some[chosen] as Group;
  }
  // Says what lacks.
  for (const { context } of open) awayNow(context);
  throw new FirnError('InsufficientCapacity', 'No group of this tier takes new bytes', {
    subject: first?.context.tier ?? '',
    hint: 'see firn group list: add a group, or end a drain',
    retryable: true,
  });
}
