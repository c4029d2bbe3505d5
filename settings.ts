// What settings there are: the schema of the settings file, each key with its bounds and default.
// deploy/firn.example.yaml says what each means (a test compares both); config.ts reads them. The
// danger: a key that is misspelt and silently ignored. Every object here is strict.

import { z } from 'zod';
import { SMALL_BYTES_MAX } from './appliance/model/limits.ts';

const codes = ['1+1', '1+2', '2+2', '4+2', '8+4', '12+4'] as const;
const port = z.int().min(0).max(65_535);
const seconds = z.number().positive();
const name = z.string().regex(/^[a-z][a-z0-9-]{0,30}$/, 'a name is a-z, 0-9 and -, at most 31');

/** Absent: off for the tier of STANDARD, auto for the others. */
const compression = { compression: z.enum(['off', 'auto']).optional() };

const nodeGroup = z.strictObject({
  kind: z.literal('node-group'),
  ...compression,
  code: z.enum(codes).default('4+2'),
  groups: z.array(z.array(z.string().min(1)).min(2).max(16)).min(1),
  smallBytesMax: z.int().min(0).max(SMALL_BYTES_MAX).default(SMALL_BYTES_MAX),
  directWrites: z.boolean().default(true),
  scrubDays: z.number().positive().max(365).optional(),
  spares: z.array(z.string().min(1)).max(16).default([]),
  spareAfterMinutes: z.number().positive().default(15),
});
const directory = z.strictObject({
  kind: z.literal('directory'),
  ...compression,
  directory: z.string().min(1),
  retrieval: z.enum(['immediate', 'staged']).default('immediate'),
  stageSeconds: z.number().min(0).default(60),
});
const retries = {
  concurrency: z.int().min(1).max(256).default(8),
  timeoutMs: z.int().min(100).default(60_000),
};
const secret = { secretKey: z.string().optional(), secretKeyFile: z.string().optional() };
const s3 = z.strictObject({
  kind: z.literal('s3'),
  ...compression,
  endpoint: z.url(),
  bucket: z.string(),
  prefix: z.string().default(''),
  region: z.string().default('us-east-1'),
  accessKey: z.string(),
  ...secret,
  storageClass: z.string().optional(),
  retrieval: z.enum(['immediate', 'staged']).default('immediate'),
  ...retries,
});
const gcs = z.strictObject({
  kind: z.literal('gcs'),
  ...compression,
  bucket: z.string(),
  prefix: z.string().default(''),
  endpoint: z.url().optional(),
  projectId: z.string().optional(),
  keyFile: z.string().optional(),
  storageClass: z.string().optional(),
  ...retries,
});
const azure = z.strictObject({
  kind: z.literal('azure'),
  ...compression,
  container: z.string(),
  prefix: z.string().default(''),
  account: z.string(),
  accountKeyFile: z.string(),
  endpoint: z.url().optional(),
  accessTier: z.enum(['Hot', 'Cool', 'Cold', 'Archive']).default('Cold'),
  ...retries,
});
const tier = z.discriminatedUnion('kind', [nodeGroup, directory, s3, gcs, azure]);
export type TierConfig = z.infer<typeof tier>;

/** Tiers into which moves compress; reads of the tier of STANDARD are to cost nothing more. */
export function compressedTiers(config: {
  tiers: Readonly<Record<string, Pick<TierConfig, 'compression'>>>;
  storageClasses: Readonly<Record<string, string>>;
}): Set<string> {
  const hot = config.storageClasses['STANDARD'];
  const names = Object.entries(config.tiers).flatMap(([tierName, one]) =>
    (one.compression ?? (tierName === hot ? 'off' : 'auto')) === 'auto' ? [tierName] : [],
  );
  return new Set(names);
}

const debug = z.strictObject({
  sandboxClock: z.boolean().default(false),
  lifecycleDaySeconds: seconds.optional(),
  restoreDaySeconds: seconds.optional(),
  graceSeconds: seconds.optional(),
});

export const settings = z.strictObject({
  data: z.string().min(1).default('data'),
  host: z.string().default('127.0.0.1'),
  port: port.default(9000),
  adminHost: z.string().default('127.0.0.1'),
  adminPort: port.default(9001),
  region: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/)
    .default('us-east-1'),
  // Compared with hosts, which are compared in lower case.
  domain: z.string().toLowerCase().optional(),
  websiteDomain: z.string().toLowerCase().optional(),
  metadata: z
    .string()
    .regex(/^(lmdb$|mongodb(\+srv)?:\/\/)/, 'lmdb, or a mongodb:// address')
    .default('lmdb'),
  processes: z.int().min(1).max(64).optional(),
  // Defaults: api/s3/input/admission.ts.
  admission: z
    .strictObject({
      requestsMin: z.int().min(16).max(65_536).optional(),
      requestsMax: z.int().min(16).max(65_536).optional(),
      bucketMin: z.int().min(4).max(65_536).optional(),
      bytesMax: z
        .int()
        .min(4 * 1024 * 1024)
        .optional(),
    })
    .prefault({}),
  masterKeyFile: z.string().optional(),
  locationConstraints: z.array(z.string().regex(/^[a-z0-9-]{1,64}$/)).default([]),
  newBuckets: z
    .strictObject({
      ownership: z
        .enum(['BucketOwnerEnforced', 'BucketOwnerPreferred', 'ObjectWriter', 'unset'])
        .default('BucketOwnerEnforced'),
      blockPublicAccess: z.boolean().default(true),
    })
    .prefault({}),
  encryption: z
    .strictObject({
      keyRingFile: z.string().optional(),
      keys: z.array(z.string().regex(/^[A-Za-z0-9._:/-]{1,128}$/)).default([]),
      defaultKey: z.string().optional(),
    })
    .prefault({}),
  notifications: z
    .strictObject({
      webhooks: z
        .record(
          name,
          z.strictObject({
            url: z.url({ protocol: /^https?$/ }),
            secretFile: z.string().optional(),
            timeoutMs: z.int().min(100).max(60_000).default(5000),
          }),
        )
        .default({}),
      queues: z.array(name).default([]),
      keptHours: z
        .number()
        .positive()
        .max(24 * 366)
        .default(96),
    })
    .prefault({}),
  accessLogSeconds: seconds.default(60),
  transitions: z
    .strictObject({
      waterfall: z.enum(['strict', 'free']).default('strict'),
      sizeFloor: z.boolean().default(true),
    })
    .prefault({}),
  tiers: z.record(name, tier).optional(),
  storageClasses: z
    .record(z.string().regex(/^[A-Z][A-Z0-9_-]{0,63}$/, 'a class is A-Z, 0-9, _ and -'), name)
    .optional(),
  lifecycleIntervalSeconds: seconds.default(3600),
  guardRails: z
    .strictObject({
      deletedShareMax: z.number().min(0).max(1).default(0.1),
      deletedBytesMax: z.int().min(0).optional(),
      costMax: z.number().min(0).optional(),
    })
    .prefault({}),
  durability: z
    .strictObject({
      afrPercent: z.number().positive().max(99).default(1.5),
      replaceHours: z.number().min(0).max(8760).default(24),
    })
    .prefault({}),
  priceBooks: z.array(z.string().min(1)).default([]),
  metricsSigned: z.boolean().default(false),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  debug: debug.prefault({}),
});
export type Parsed = z.infer<typeof settings>;
