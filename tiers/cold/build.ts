// The one door to cold tiers: settings in, a Tier out. Adapters are loaded only when asked for, because
// the cloud SDKs behind them take hundreds of milliseconds and tens of megabytes to load.

import type { Clock, Random } from '../../appliance/model/clock.ts';
import type { Tier } from '../../appliance/model/tier.ts';
import type { DirectoryTierSettings } from './directory/directory-tier.ts';

export type ColdTierSettings = DirectoryTierSettings;

export interface ColdTierPorts {
  clock: Clock;
  random: Random;
}

/** A tier that is not open yet; throws SettingsInvalid for settings that cannot work. */
export async function buildColdTier(
  settings: ColdTierSettings,
  ports: ColdTierPorts,
): Promise<Tier> {
  switch (settings.kind) {
    case 'directory': {
      const { DirectoryTier } = await import('./directory/directory-tier.ts');
      return new DirectoryTier(settings, ports);
    }
  }
}
