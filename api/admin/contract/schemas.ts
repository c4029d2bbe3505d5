// The answers' shapes as schemas, for the OpenAPI document and the tests. The types that everybody
// programs against are in appliance/model/answers.ts; `satisfies` holds the two together.

import { z } from 'zod';
import type * as answers from '../../../appliance/model/answers.ts';

export const count = z.int().min(0);
export const bytes = z.number().min(0);
export const time = z.iso.datetime();
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
  hint: z.string().exactOptional(),
});

const change = z.object({ objects: count, bytes, examples: z.array(z.string()) });

export const planAnswer = z.object({
  hash: z.string(),
  evaluatedAt: time,
  activeRevision: z.string().nullable(),
  inventory: z.object({ objects: count, bytes, uploads: count }),
  rules: z.array(
    z.object({
      id: z.string(),
      action: z.string(),
      description: z.string().exactOptional(),
      objects: count,
      bytes,
      deletes: count,
      examples: z.array(z.string()),
      later: z.object({ objects: count, bytes, firstAt: time.nullable() }),
      oneOffCost: z.number(),
      monthlySaving: z.number(),
    }),
  ),
  totals: z.object({
    objects: count,
    bytes,
    deletes: count,
    deletedBytes: bytes,
    oneOffCost: z.number(),
    monthlySaving: z.number(),
  }),
  held: z.object({ objects: count, bytes }),
  changes: z.object({ added: change, removed: change, changed: change }),
  difference: z.object(difference),
  breaches: z.array(
    z.object({ rail: z.string(), limit: z.number(), value: z.number(), message: z.string() }),
  ),
  warnings: z.array(z.string()),
  currency: z.string().nullable(),
  prices: z.array(z.string()),
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
      file: z.string(),
      line: count,
      passed: z.boolean(),
      message: z.string().exactOptional(),
    }),
  ),
}) satisfies z.ZodType<answers.PolicyTestAnswer>;

const explainedRule = z.object({
  id: z.string(),
  action: z.string(),
  state: z.string(),
  reason: z.string(),
  dueAt: time.nullable(),
});

export const explainAnswer = z.object({
  bucket: z.string(),
  key: z.string(),
  versionId: z.string(),
  isCurrent: z.boolean(),
  sizeBytes: bytes,
  storageClass: z.string(),
  lastModified: time,
  evaluatedAt: time,
  rule: explainedRule.nullable(),
  lost: z.array(explainedRule),
  held: z.string().nullable(),
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
  next: z.object({ rule: z.string(), action: z.string(), effect: z.string(), at: time }).nullable(),
  location: z.object({
    tier: z.string().nullable(),
    retrieval: retrieval.nullable(),
    description: z.string(),
    parts: z.array(
      z.looseObject({ kind: z.string(), id: z.string(), tier: z.string(), length: bytes }),
    ),
    restoredUntil: time.nullable(),
  }),
  costPerMonth: z.number().nullable(),
  currency: z.string().nullable(),
  confirmed: z.boolean(),
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

const groupUsage = z.object({
  group: count,
  state: z.enum(['active', 'draining', 'empty']),
  capacityBytes: bytes,
  freeBytes: bytes,
  heldBytes: bytes,
  liveBytes: bytes.nullable(),
  deadBytes: bytes,
  redundancyBytes: bytes,
  journalBytes: bytes,
  otherBytes: bytes,
  drives: z.array(
    z.object({
      position: count,
      path: z.string(),
      capacityBytes: bytes,
      freeBytes: bytes,
      heldBytes: bytes,
    }),
  ),
}) satisfies z.ZodType<answers.GroupUsageAnswer>;

export const rebalanceAnswer = z.object({
  tier: z.string(),
  state: z.enum(['planned', 'even', 'running', 'stopped', 'done', 'none']),
  untilPercent: z.number(),
  spreadPercent: z.number().nullable(),
  give: z.array(z.object({ group: count, bytes, movedBytes: bytes })),
  take: z.array(count),
  bytesPerSecond: bytes,
}) satisfies z.ZodType<answers.RebalanceAnswer>;

export const groupsAnswer = z.object({
  groups: z.array(
    z.object({
      tier: z.string(),
      group: count,
      state: z.enum(['active', 'draining', 'empty', 'removed']),
      writable: z.boolean(),
      drives: count,
      drivesUp: count,
      capacityBytes: bytes,
      freeBytes: bytes,
      heldBytes: bytes,
      drain: z
        .object({
          since: time,
          phase: z.enum(['counting', 'moving', 'settling', 'done']),
          objectsLeft: count,
          bytesLeft: bytes,
          movedObjects: count,
          movedBytes: bytes,
          bytesPerSecond: bytes,
          movedBy: time.nullable(),
          problems: z.array(z.string()),
        })
        .nullable(),
    }),
  ),
  rebalances: z.array(rebalanceAnswer),
}) satisfies z.ZodType<answers.GroupsAnswer>;

export const usageAnswer = z.object({
  at: time,
  source: z.enum(['scan', 'meters', 'inventory']),
  buckets: z.array(
    z.object({
      bucket: z.string(),
      tier: z.string(),
      storageClass: z.string(),
      objects: count,
      bytes,
      storedBytes: bytes.nullable(),
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
      groups: z.array(groupUsage).exactOptional(),
    }),
  ),
  packs: count,
}) satisfies z.ZodType<answers.UsageAnswer>;

export const bucketAnswer = z.object({
  name: z.string(),
  owner: z.string(),
  createdAt: time,
  versioning: z.enum(['off', 'enabled', 'suspended']),
  dedupe: z.boolean(),
}) satisfies z.ZodType<answers.BucketAnswer>;

export const bucketsAnswer = z.object({ buckets: z.array(bucketAnswer) });

export const quotaAnswer = z.object({
  kind: z.enum(['bucket', 'account']),
  name: z.string(),
  bytesMax: bytes.nullable(),
  objectsMax: count.nullable(),
  usedBytes: bytes,
  usedObjects: count,
  countedAt: time.nullable(),
  warnings: z.array(z.string()),
}) satisfies z.ZodType<answers.QuotaAnswer>;

export const quotasAnswer = z.object({ quotas: z.array(quotaAnswer) });

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

const costs = z.object({
  storage: z.number(),
  requests: z.number(),
  moves: z.number(),
  retrieval: z.number(),
  egress: z.number(),
  earlyDeletion: z.number(),
});

export const costReportAnswer = z.object({
  month: z.string(),
  by: z.enum(['bucket', 'tier', 'class']),
  currency: z.string(),
  daysMetered: count,
  rows: z.array(
    z.object({
      name: z.string(),
      meanObjects: z.number(),
      meanBytes: z.number(),
      meanStoredBytes: z.number(),
      costs,
      total: z.number(),
    }),
  ),
  total: z.number(),
  days: z.array(z.object({ day: z.string(), bytesByTier: z.record(z.string(), z.number()) })),
  unpricedTiers: z.array(z.string()),
  prices: z.array(z.string()),
}) satisfies z.ZodType<answers.CostReportAnswer>;

export const clockAnswer = z.object({
  now: time,
  offsetDays: z.number(),
}) satisfies z.ZodType<answers.ClockAnswer>;

export const policyFiles = z.array(
  z.strictObject({ name: z.string().min(1).max(255), text: z.string().max(1_048_576) }),
);

export const eventTargetsAnswer = z.object({
  targets: z.array(
    z.object({
      kind: z.enum(['webhook', 'queue']),
      name: z.string(),
      waiting: count,
      oldestAt: time.nullable(),
    }),
  ) satisfies z.ZodType<answers.EventTargetAnswer[]>,
});

export const receivedAnswer = z.object({
  events: z.array(
    z.object({
      receipt: z.string(),
      receives: count,
      record: z.record(z.string(), z.unknown()),
    }),
  ),
}) satisfies z.ZodType<answers.ReceivedAnswer>;

export const acknowledgeAnswer = z.object({
  acknowledged: count,
  late: count,
}) satisfies z.ZodType<answers.AcknowledgeAnswer>;
