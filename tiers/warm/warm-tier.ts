// The warm tier: HDD pools, mostly holding packs. The same node groups, tuned for drives that seek:
// a write may take longer before a drive counts as stalled, and fewer slots are kept, because most
// that arrives is large and written by a few workers.

import type { NodeGroupTier } from '../../appliance/model/node-group.ts';
import { MiB } from '../../appliance/model/limits.ts';
import type { NodeGroupDependencies, NodeGroupTierSettings } from '../node-group/settings.ts';
import { DriveTier } from '../node-group/tier/node-group-tier.ts';

export function buildNodeGroupTier(
  settings: NodeGroupTierSettings,
  deps: NodeGroupDependencies,
): NodeGroupTier {
  return new DriveTier({ stallMs: 10_000, arenaBytes: 32 * MiB, ...settings }, deps);
}
