// A cold tier on Azure Blob Storage; access tier Archive makes it a staged one.

import type { Clock, Random } from '../../../appliance/model/clock.ts';
import { RemoteTier, type RemoteTierSettings } from '../base/remote-tier.ts';
import { AzureService, type AzureAccessTier } from './azure-service.ts';

export interface AzureTierSettings extends RemoteTierSettings {
  kind: 'azure';
  account: string;
  /** Base64, as the portal shows it. */
  accountKey: string;
  container: string;
  /** Before every name. */
  prefix?: string | undefined;
  /** Of the blob service, with the account where it is part of the path. Default: Azure's own. */
  endpoint?: string | undefined;
  /** Default Cold. */
  accessTier?: AzureAccessTier | undefined;
  /** Bytes of a block. Default 8 MiB. */
  partBytes?: number | undefined;
}

export function buildAzureTier(
  settings: AzureTierSettings,
  ports: { clock: Clock; random: Random },
): RemoteTier {
  const accessTier = settings.accessTier ?? 'Cold';
  const service = new AzureService({
    tier: settings.name,
    prefix: settings.prefix ?? '',
    accessTier,
    partBytes: settings.partBytes,
    clock: ports.clock,
    connect: () => connect(settings),
  });
  const retrieval = accessTier === 'Archive' ? 'staged' : 'immediate';
  return new RemoteTier(settings, service, { retrieval, random: ports.random });
}

async function connect(settings: AzureTierSettings) {
  const { BlobServiceClient, StorageSharedKeyCredential } = await import('@azure/storage-blob');
  const { account, accountKey, container } = settings;
  const endpoint = settings.endpoint ?? `https://${account}.blob.core.windows.net`;
  const credential = new StorageSharedKeyCredential(account, accountKey);
  // Attempts are counted, paused and bounded in one place, base/calls.ts.
  const client = new BlobServiceClient(endpoint, credential, { retryOptions: { maxTries: 1 } });
  return client.getContainerClient(container);
}
