// The one door to cold tiers: settings in, a Tier out. Adapters are loaded only when asked for, and
// the cloud SDKs behind them only when their tier is opened: each takes some 0.3 s and 60 MB to
// load.

import type { Clock, Random } from '../../appliance/model/clock.ts';
import type { Tier } from '../../appliance/model/tier.ts';
import type { AzureTierSettings } from './azure/azure-tier.ts';
import type { DirectoryTierSettings } from './directory/directory-tier.ts';
import type { GcsTierSettings } from './gcs/gcs-tier.ts';
import { LateTier, type LateTierOptions } from './late-tier.ts';
import type { S3TierSettings } from './s3/s3-tier.ts';

export type ColdTierSettings =
  | DirectoryTierSettings
  | S3TierSettings
  | GcsTierSettings
  | AzureTierSettings;

export interface ColdTierPorts {
  clock: Clock;
  random: Random;
  /**
   * Told when a tier that is known (settings.isKnown) is away at the start, and when it is back.
   */
  noticed?: LateTierOptions['noticed'];
}

/**
 * A tier that is not open yet; throws SettingsInvalid for settings that cannot work. One that is
 * known opens also while its place is away.
 */
export async function buildColdTier(
  settings: ColdTierSettings,
  ports: ColdTierPorts,
): Promise<Tier> {
  const tier = await adapterOf(settings, ports);
  if (settings.isKnown !== true) return tier;
  return new LateTier(tier, { noticed: ports.noticed ?? (() => undefined) });
}

async function adapterOf(settings: ColdTierSettings, ports: ColdTierPorts): Promise<Tier> {
  switch (settings.kind) {
    case 'directory': {
      const { DirectoryTier } = await import('./directory/directory-tier.ts');
      return new DirectoryTier(settings, ports);
    }
    case 's3': {
      const { buildS3Tier } = await import('./s3/s3-tier.ts');
      return buildS3Tier(settings, ports);
    }
    case 'gcs': {
      const { buildGcsTier } = await import('./gcs/gcs-tier.ts');
      return buildGcsTier(settings, ports);
    }
    case 'azure': {
      const { buildAzureTier } = await import('./azure/azure-tier.ts');
      return buildAzureTier(settings, ports);
    }
  }
}
