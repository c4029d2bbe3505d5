// A cold tier on Google Cloud Storage.

import type { Random } from '../../../appliance/model/clock.ts';
import { RemoteTier, type RemoteTierSettings } from '../base/remote-tier.ts';
import { GcsService } from './gcs-service.ts';

export interface GcsTierSettings extends RemoteTierSettings {
  kind: 'gcs';
  bucket: string;
  /** Before every name. */
  prefix?: string | undefined;
  /** Another endpoint than Google's: it is then asked without credentials. */
  endpoint?: string | undefined;
  projectId?: string | undefined;
  /** Service account key file. Default: what the machine offers. */
  keyFile?: string | undefined;
  /** STANDARD, NEARLINE, COLDLINE or ARCHIVE. Default: the bucket's own. */
  storageClass?: string | undefined;
  /** Bytes of a chunk of a large upload. Default 8 MiB. */
  partBytes?: number | undefined;
}

export function buildGcsTier(settings: GcsTierSettings, ports: { random: Random }): RemoteTier {
  const service = new GcsService({
    tier: settings.name,
    bucket: settings.bucket,
    prefix: settings.prefix ?? '',
    storageClass: settings.storageClass,
    partBytes: settings.partBytes,
    isAnonymous: settings.endpoint !== undefined,
    connect: (retries) => connect(settings, retries),
  });
  return new RemoteTier(settings, service, { retrieval: 'immediate', random: ports.random });
}

async function connect(settings: GcsTierSettings, retries: 'none' | 'own') {
  const { Storage } = await import('@google-cloud/storage');
  const { endpoint, projectId, keyFile } = settings;
  return new Storage({
    ...(endpoint === undefined ? {} : { apiEndpoint: endpoint, useAuthWithCustomEndpoint: false }),
    ...(projectId === undefined ? {} : { projectId }),
    ...(keyFile === undefined ? {} : { keyFilename: keyFile }),
    retryOptions: {
      autoRetry: retries === 'own',
      maxRetries: settings.retries ?? 5,
    },
  });
}
