// Chooses the node group of a write: rendezvous hashing of the object's name, weighted by free
// room. Each group draws a number from the name; the highest weighted draw wins. Adding a group
// moves nothing and takes its share of new writes at once; a group that can't be written drops out
// for as long.

import { checksum64 } from '../../checksum.ts';

/** Uniform in (0, 1), from the name and the group. */
function draw(owner: string, group: number): number {
  const hash = checksum64(Buffer.from(`${group}/${owner}`, 'utf8'));
  return (Number(hash >> 11n) + 0.5) / 2 ** 53;
}

/** Index of the group, or undefined when none has weight. */
export function placeIn(owner: string, weights: readonly number[]): number | undefined {
  let best: number | undefined;
  let highest = -Infinity;
  for (const [group, weight] of weights.entries()) {
    if (weight <= 0) continue;
    const score = -weight / Math.log(draw(owner, group));
    if (score > highest) {
      highest = score;
      best = group;
    }
  }
  return best;
}
