// A cold tier on any S3 service.

import type { Random } from '../../../appliance/model/clock.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { RemoteTier, type RemoteTierSettings } from '../base/remote-tier.ts';
import { S3Client } from './s3-client.ts';
import { S3Service } from './s3-service.ts';

export interface S3TierSettings extends RemoteTierSettings {
  kind: 's3';
  /** Scheme and host, for example https://s3.eu-central-1.amazonaws.com. */
  endpoint: string;
  bucket: string;
  /** Before every name. */
  prefix?: string | undefined;
  region?: string | undefined;
  accessKey: string;
  secretKey: string;
  /** Of the service; needed for staged. */
  storageClass?: string | undefined;
  /** staged: reads need RestoreObject first (GLACIER, DEEP_ARCHIVE). */
  retrieval?: 'immediate' | 'staged' | undefined;
  /** Bytes of a part; at least 5 MiB at most services. Default 8 MiB. */
  partBytes?: number | undefined;
}

export function buildS3Tier(settings: S3TierSettings, ports: { random: Random }): RemoteTier {
  const { name, endpoint, bucket, accessKey, secretKey, storageClass, partBytes } = settings;
  const retrieval = settings.retrieval ?? 'immediate';
  if (retrieval === 'staged' && storageClass === undefined) {
    throw new FirnError('SettingsInvalid', `tiers.${name} is staged and names no storageClass`, {
      subject: name,
      hint: 'name the class that needs a restore, for example GLACIER or DEEP_ARCHIVE',
    });
  }
  const prefix = settings.prefix ?? '';
  const client = new S3Client({
    endpoint,
    bucket,
    prefix,
    accessKey,
    secretKey,
    region: settings.region ?? 'us-east-1',
    concurrency: settings.concurrency ?? 8,
    timeoutMs: settings.timeoutMs ?? 60_000,
  });
  const service = new S3Service(client, { tier: name, prefix, storageClass, retrieval, partBytes });
  return new RemoteTier(settings, service, { retrieval, random: ports.random });
}
