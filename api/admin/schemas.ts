// The answers' shapes as schemas, for the OpenAPI document and the tests. The types that everybody
// programs against are in appliance/model/answers.ts; `satisfies` holds the two together.

import { z } from 'zod';
import type * as answers from '../../appliance/model/answers.ts';

const count = z.int().min(0);
const bytes = z.number().min(0);
const time = z.iso.datetime();
const money = z.object({ amount: z.number(), currency: z.string() });
const retrieval = z.enum(['immediate', 'staged']);
const file = z.object({ name: z.string(), text: z.string() });
const difference = {
  added: z.array(z.string()),
  removed: z.array(z.string()),
  changed: z.array(z.string()),
};

export const errorAnswer = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string().optional(),
});

export const planAnswer = z.object({
  hash: z.string(),
  at: time,
  activeRevision: z.string().nullable(),
  inventory: z.object({ objects: count, bytes }),
  rules: z.array(
    z.object({
      id: z.string(),
      action: z.string(),
      to: z.string().nullable(),
      objects: count,
      bytes,
      deletes: count,
      examples: z.array(z.string()),
      cost: money.nullable(),
      savingPerMonth: money.nullable(),
    }),
  ),
  difference: z.object(difference),
  warnings: z.array(z.string()),
  guardRails: z.array(z.string()),
}) satisfies z.ZodType<answers.PlanAnswer>;

export const applyAnswer = z.object({
  revision: z.string(),
  hash: z.string(),
  appliedAt: time,
  rules: count,
}) satisfies z.ZodType<answers.ApplyAnswer>;

export const policyAnswer = z.object({
  revision: z.string().nullable(),
  appliedAt: time.nullable(),
  appliedBy: z.string().nullable(),
  planHash: z.string().nullable(),
  files: z.array(file),
}) satisfies z.ZodType<answers.PolicyAnswer>;

export const diffAnswer = z.object({
  ...difference,
  activeRevision: z.string().nullable(),
  lines: z.array(z.string()),
}) satisfies z.ZodType<answers.DiffAnswer>;

export const policyTestAnswer = z.object({
  passed: count,
  failed: count,
  cases: z.array(
    z.object({
      name: z.string(),
      passed: z.boolean(),
      expected: z.string(),
      actual: z.string(),
    }),
  ),
}) satisfies z.ZodType<answers.PolicyTestAnswer>;

export const explainAnswer = z.object({
  bucket: z.string(),
  key: z.string(),
  versionId: z.string(),
  sizeBytes: bytes,
  storageClass: z.string(),
  lastModified: time,
  rule: z.string().nullable(),
  lost: z.array(z.object({ rule: z.string(), reason: z.string() })),
  last: z
    .object({
      action: z.string(),
      at: time,
      from: z.string(),
      to: z.string(),
      rule: z.string().nullable(),
      policyRevision: z.string().nullable(),
      runId: z.string().nullable(),
    })
    .nullable(),
  next: z
    .object({ action: z.string(), to: z.string().nullable(), at: time, rule: z.string() })
    .nullable(),
  held: z.string().nullable(),
  location: z.object({
    tier: z.string(),
    retrieval,
    parts: z.array(
      z.object({
        kind: z.string(),
        id: z.string(),
        pack: z.string().nullable(),
        offset: z.number().nullable(),
        bytes,
      }),
    ),
  }),
  restore: z.object({ state: z.string(), expiry: time.nullable() }).nullable(),
  costPerMonth: money.nullable(),
}) satisfies z.ZodType<answers.ExplainAnswer>;

export const runAnswer = z.object({
  runId: z.string(),
  kind: z.string(),
  bucket: z.string().nullable(),
  state: z.enum(['requested', 'running', 'done', 'failed']),
  requestedAt: time,
  finishedAt: time.nullable(),
  counts: z.record(z.string(), z.number()),
  error: z.string().nullable(),
}) satisfies z.ZodType<answers.RunAnswer>;

export const restoreQuoteAnswer = z.object({
  quoteId: z.string(),
  expiresAt: time,
  bucket: z.string(),
  prefix: z.string(),
  days: count,
  tier: z.string(),
  objects: count,
  bytes,
  packs: count,
  retrievedBytes: bytes,
  money: money.extend({
    retrieval: z.number(),
    requests: z.number(),
    egress: z.number(),
    temporaryCopy: z.number(),
  }),
  readyBetween: z.object({ from: time, to: time }),
  prices: z.array(z.string()),
}) satisfies z.ZodType<answers.RestoreQuoteAnswer>;

export const restoreAnswer = z.object({
  requestId: z.string(),
  state: z.enum(['requested', 'staging', 'copying', 'done', 'cancelled', 'failed']),
  bucket: z.string(),
  prefix: z.string().nullable(),
  key: z.string().nullable(),
  tier: z.string(),
  days: count,
  requestedAt: time,
  finishedAt: time.nullable(),
  objects: count,
  bytes,
  ready: count,
  failed: count,
  error: z.string().nullable(),
}) satisfies z.ZodType<answers.RestoreAnswer>;

export const usageAnswer = z.object({
  at: time,
  source: z.enum(['scan', 'meters']),
  buckets: z.array(
    z.object({
      bucket: z.string(),
      tier: z.string(),
      storageClass: z.string(),
      objects: count,
      bytes,
    }),
  ),
  tiers: z.array(
    z.object({
      tier: z.string(),
      retrieval,
      capacityBytes: bytes,
      usedBytes: bytes,
      blobs: count,
      error: z.string().nullable(),
    }),
  ),
  packs: count,
}) satisfies z.ZodType<answers.UsageAnswer>;

const driveAnswer = z.object({
  tier: z.string(),
  group: count,
  position: count,
  path: z.string(),
  state: z.string(),
  capacityBytes: bytes,
  usedBytes: bytes,
  errors: count,
  note: z.string().nullable(),
}) satisfies z.ZodType<answers.DriveAnswer>;

export const drivesAnswer = z.object({ drives: z.array(driveAnswer) });

export const healAnswer = z.object({
  waiting: count,
  bytes,
  oldestSince: time.nullable(),
  drives: z.array(z.object({ tier: z.string(), group: count, position: count, state: z.string() })),
  runs: z.array(runAnswer),
}) satisfies z.ZodType<answers.HealAnswer>;

export const keyAnswer = z.object({
  accessKey: z.string(),
  account: z.string(),
  createdAt: time,
  revokedAt: time.nullable(),
}) satisfies z.ZodType<answers.KeyAnswer>;

export const newKeyAnswer = keyAnswer.extend({
  secretKey: z.string(),
}) satisfies z.ZodType<answers.NewKeyAnswer>;

export const keysAnswer = z.object({ keys: z.array(keyAnswer) });

export const accountAnswer = z.object({
  id: z.string(),
  displayName: z.string(),
  email: z.string().nullable(),
  admin: z.boolean(),
  createdAt: time,
}) satisfies z.ZodType<answers.AccountAnswer>;

export const accountsAnswer = z.object({ accounts: z.array(accountAnswer) });

export const clockAnswer = z.object({
  now: time,
  offsetDays: z.number(),
}) satisfies z.ZodType<answers.ClockAnswer>;

export const policyFiles = z.array(
  z.strictObject({ name: z.string().min(1).max(255), text: z.string().max(1_048_576) }),
);
