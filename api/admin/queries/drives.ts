// The drives of every node group, as the tiers tell them.

import type { DriveAnswer } from '../../../appliance/model/answers.ts';
import { isNodeGroupTier } from '../../../appliance/model/node-group.ts';
import type { Tier } from '../../../appliance/model/tier.ts';

export async function drivesOf(tiers: ReadonlyMap<string, Tier>): Promise<DriveAnswer[]> {
  const lists = await Promise.all(
    [...tiers.values()].filter(isNodeGroupTier).map((t) => t.drives()),
  );
  return lists.flat().map((drive) => ({
    tier: drive.tier,
    group: drive.group,
    position: drive.position,
    path: drive.path,
    state: drive.state,
    capacityBytes: drive.capacityBytes,
    usedBytes: Math.max(0, drive.capacityBytes - drive.freeBytes),
    errors: drive.errors,
    note: drive.note === '' ? null : drive.note,
  }));
}
