// What the admin API answers, as JSON: shared by the server that makes it and the clients that show
// it. Sizes in bytes, times RFC 3339 UTC, money never without its currency. Fields are added, never
// given another meaning: scripts read these.

export interface Money {
  amount: number;
  /** ISO 4217. */
  currency: string;
}

export interface ErrorAnswer {
  code: string;
  message: string;
  hint?: string;
}

export interface PolicyText {
  /** Name as the caller gave it: errors say `name:line`. */
  name: string;
  text: string;
}

export interface PlannedRule {
  id: string;
  /** For example `transition to GLACIER`. */
  action: string;
  description?: string;
  /** Due now: what apply and the next run would do. */
  objects: number;
  bytes: number;
  /** Of those: versions that would be gone, for good or from sight. */
  deletes: number;
  /** A few of them as `bucket/key`. */
  examples: string[];
  /** Not due yet, but this rule's turn comes first. */
  later: { objects: number; bytes: number; firstAt: string | null };
  /** Fees of doing it, once; 0 where there is no price. */
  oneOffCost: number;
  /** Negative: the rule loses money. */
  monthlySaving: number;
}

export interface PlannedChange {
  objects: number;
  bytes: number;
  examples: string[];
}

export interface PlanAnswer {
  /** What apply takes: of the rules planned, the rules active now, and the results. */
  hash: string;
  evaluatedAt: string;
  /** Revision of the active policy; null before the first apply. */
  activeRevision: string | null;
  /** The whole inventory looked at. */
  inventory: { objects: number; bytes: number; uploads: number };
  rules: PlannedRule[];
  totals: {
    objects: number;
    bytes: number;
    deletes: number;
    deletedBytes: number;
    oneOffCost: number;
    monthlySaving: number;
  };
  /** Due, but kept back by a restored copy, a pin or a promotion. */
  held: { objects: number; bytes: number };
  /** Acts that only the planned policy does, only the active one, or both otherwise. */
  changes: { added: PlannedChange; removed: PlannedChange; changed: PlannedChange };
  /** Rules by id against the active policy. */
  difference: RuleDifference;
  /** Guard rails that it passes: apply refuses without force. */
  breaches: { rail: string; limit: number; value: number; message: string }[];
  warnings: string[];
  /** Null: no prices. */
  currency: string | null;
  prices: string[];
}

export interface RuleDifference {
  added: string[];
  removed: string[];
  changed: string[];
}

export interface ApplyAnswer {
  revision: string;
  hash: string;
  appliedAt: string;
  rules: number;
}

export interface PolicyAnswer {
  /** Null before the first apply; then `files` is empty. */
  revision: string | null;
  appliedAt: string | null;
  appliedBy: string | null;
  planHash: string | null;
  files: PolicyText[];
}

export interface DiffAnswer extends RuleDifference {
  activeRevision: string | null;
  /** One line a change: `+ id: …`, `- id: …`. */
  lines: string[];
}

export interface PolicyTestAnswer {
  passed: number;
  failed: number;
  /** `message`: what happened instead. */
  cases: { name: string; file: string; line: number; passed: boolean; message?: string }[];
}

export interface ExplainedRule {
  id: string;
  action: string;
  /** wins, held, beaten, holds, not-due, no-match. */
  state: string;
  reason: string;
  dueAt: string | null;
}

export interface ExplainAnswer {
  bucket: string;
  key: string;
  versionId: string;
  isCurrent: boolean;
  sizeBytes: number;
  storageClass: string;
  lastModified: string;
  evaluatedAt: string;
  /** The rule that acts now; null: none is due. */
  rule: ExplainedRule | null;
  /** Every other rule that stands for the bucket, and why it is not the one. */
  lost: ExplainedRule[];
  /** What holds a due action back: a restore, a pin. */
  held: string | null;
  last: {
    action: string;
    at: string;
    from: string;
    to: string;
    rule: string | null;
    policyRevision: string | null;
    runId: string | null;
  } | null;
  next: { rule: string; action: string; effect: string; at: string } | null;
  location: {
    tier: string | null;
    /** Null: the tier is not configured any more. */
    retrieval: 'immediate' | 'staged' | null;
    /** One line for people. */
    description: string;
    /** Locations of the version's parts, in order. */
    parts: { kind: string; id: string; tier: string; length: number; [field: string]: unknown }[];
    /** A restored copy is readable until then. */
    restoredUntil: string | null;
  };
  /** Null: the tier has no price. */
  costPerMonth: number | null;
  currency: string | null;
  /** Both evaluators agree; false: the rules are stopped until someone looks. */
  confirmed: boolean;
}

export interface RunAnswer {
  runId: string;
  kind: string;
  bucket: string | null;
  state: 'requested' | 'running' | 'done' | 'failed';
  requestedAt: string;
  finishedAt: string | null;
  counts: Record<string, number>;
  error: string | null;
}

export interface RestoreQuoteAnswer {
  quoteId: string;
  expiresAt: string;
  bucket: string;
  prefix: string;
  days: number;
  tier: string;
  /** Archived objects that would be brought back. */
  objects: number;
  bytes: number;
  packs: number;
  /** Bytes that the provider is asked for: whole packs. */
  retrievedBytes: number;
  money: Money & { retrieval: number; requests: number; egress: number; temporaryCopy: number };
  readyBetween: { from: string; to: string };
  /** Where the prices come from, and whether they are old. */
  prices: string[];
}

export interface RestoreAnswer {
  requestId: string;
  state: 'requested' | 'staging' | 'copying' | 'done' | 'cancelled' | 'failed';
  bucket: string;
  prefix: string | null;
  key: string | null;
  tier: string;
  days: number;
  requestedAt: string;
  finishedAt: string | null;
  objects: number;
  bytes: number;
  ready: number;
  failed: number;
  error: string | null;
}

export interface UsageAnswer {
  at: string;
  /**
   * scan: counted just now. meters: from the last scan of the workers. inventory: from the newest
   * inventories of whole buckets; those without one are missing.
   */
  source: 'scan' | 'meters' | 'inventory';
  /** Empty where metered only. */
  buckets: {
    bucket: string;
    tier: string;
    storageClass: string;
    objects: number;
    bytes: number;
    /**
     * What is kept of them, less where a tier compresses or a bucket dedupes; null where that was
     * not counted.
     */
    storedBytes: number | null;
  }[];
  tiers: {
    tier: string;
    retrieval: 'immediate' | 'staged';
    /** 0: unbounded. */
    capacityBytes: number;
    usedBytes: number;
    blobs: number;
    error: string | null;
    /** Of a tier of node groups. */
    groups?: GroupUsageAnswer[];
  }[];
  packs: number;
}

/**
 * Raw bytes of one node group. heldBytes is what its files take up on the devices, and the sum of
 * liveBytes, deadBytes, redundancyBytes, journalBytes and otherBytes.
 */
export interface GroupUsageAnswer {
  group: number;
  state: 'active' | 'draining' | 'empty';
  capacityBytes: number;
  freeBytes: number;
  heldBytes: number;
  /** Bytes of objects that something names; null where they were not counted. */
  liveBytes: number | null;
  /** Bytes of objects that nothing names: freed after their grace, or by compaction. */
  deadBytes: number;
  /** Parity, heads, padding; with liveBytes null all but the dead. */
  redundancyBytes: number;
  /** Metadata journal and snapshots. */
  journalBytes: number;
  /** Identities, notes, folders, writes under way. */
  otherBytes: number;
  drives: {
    position: number;
    path: string;
    capacityBytes: number;
    freeBytes: number;
    heldBytes: number;
  }[];
}

export interface GroupAnswer {
  tier: string;
  group: number;
  /** empty: drained, and may leave the settings. removed: has left them. */
  state: 'active' | 'draining' | 'empty' | 'removed';
  /** Takes new bytes now. */
  writable: boolean;
  drives: number;
  drivesUp: number;
  capacityBytes: number;
  freeBytes: number;
  heldBytes: number;
  drain: {
    since: string;
    phase: 'counting' | 'moving' | 'settling' | 'done';
    objectsLeft: number;
    bytesLeft: number;
    movedObjects: number;
    movedBytes: number;
    bytesPerSecond: number;
    /** When all is moved, at this rate; null where that is not known. */
    movedBy: string | null;
    problems: string[];
  } | null;
}

export interface RebalanceAnswer {
  tier: string;
  /** planned: nothing was changed. even: nothing is to be moved. */
  state: 'planned' | 'even' | 'running' | 'stopped' | 'done' | 'none';
  untilPercent: number;
  /** Between the fill of the fullest and the emptiest group, before; null: not looked at. */
  spreadPercent: number | null;
  /** What each group gives. */
  give: { group: number; bytes: number; movedBytes: number }[];
  take: number[];
  bytesPerSecond: number;
}

export interface GroupsAnswer {
  groups: GroupAnswer[];
  rebalances: RebalanceAnswer[];
}

/** What a bucket or an account may hold, and what it holds. */
export interface QuotaAnswer {
  kind: 'bucket' | 'account';
  name: string;
  bytesMax: number | null;
  objectsMax: number | null;
  /** Every version and every part of an upload under way; what writers have set aside, too. */
  usedBytes: number;
  usedObjects: number;
  /** Null: not yet, so what was there before the quota is still missing from what is used. */
  countedAt: string | null;
  /** `bucket bytes 83 %`: from 80 % on. */
  warnings: string[];
}

export interface KeyAnswer {
  accessKey: string;
  account: string;
  createdAt: string;
  revokedAt: string | null;
}

/** The only answer that ever holds a secret: once, to whoever made the key. */
export interface NewKeyAnswer extends KeyAnswer {
  secretKey: string;
}

export interface AccountAnswer {
  id: string;
  displayName: string;
  email: string | null;
  admin: boolean;
  createdAt: string;
}

export interface BucketAnswer {
  name: string;
  /** Account id. */
  owner: string;
  createdAt: string;
  versioning: 'off' | 'enabled' | 'suspended';
  /** Equal bytes are kept once. */
  dedupe: boolean;
}

export interface ClockAnswer {
  /** The engine's time. */
  now: string;
  offsetDays: number;
}

export interface HealthAnswer {
  status: 'ready' | 'unready';
  /** What does not serve, each with its reason. */
  reasons: string[];
}

/** A webhook or a queue, and what waits for it. */
export interface EventTargetAnswer {
  kind: 'webhook' | 'queue';
  name: string;
  /** At most 10,000 are counted. */
  waiting: number;
  oldestAt: string | null;
}

export interface ReceivedAnswer {
  /** `record`: as S3 tells it. */
  events: { receipt: string; receives: number; record: Record<string, unknown> }[];
}

export interface AcknowledgeAnswer {
  acknowledged: number;
  /** Their time was over: they were, or will be, received again. */
  late: number;
}

/** What one bucket, tier or class cost in a month. */
export interface CostRow {
  name: string;
  /** Means over the whole month: days without a meter reading count as 0. */
  meanObjects: number;
  meanBytes: number;
  /** What was kept of them, and is paid for: less where a tier compresses. */
  meanStoredBytes: number;
  costs: {
    storage: number;
    requests: number;
    moves: number;
    retrieval: number;
    egress: number;
    earlyDeletion: number;
  };
  total: number;
}

export interface CostReportAnswer {
  /** YYYY-MM, engine clock, UTC. */
  month: string;
  by: 'bucket' | 'tier' | 'class';
  currency: string;
  /** Days of the month that have readings. */
  daysMetered: number;
  rows: CostRow[];
  total: number;
  /** Mean bytes stored, by day and tier. */
  days: { day: string; bytesByTier: Record<string, number> }[];
  /** They count as 0. */
  unpricedTiers: string[];
  /** Each price book: name, date, doubts, sources. */
  prices: string[];
}
