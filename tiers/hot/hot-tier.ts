// The hot tier: where objects arrive, on NVMe.

import type { NodeGroupTier } from '../../appliance/model/node-group.ts';
import type { NodeGroupDependencies, NodeGroupTierSettings } from '../node-group/settings.ts';
import { DriveTier } from '../node-group/tier/node-group-tier.ts';

export function buildNodeGroupTier(
  settings: NodeGroupTierSettings,
  deps: NodeGroupDependencies,
): NodeGroupTier {
  return new DriveTier(settings, deps);
}
