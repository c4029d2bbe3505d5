// What the admin API answers, as JSON: shared by the server that makes it and the clients that show it.
// Sizes in bytes, times RFC 3339 UTC, money never without its currency. Fields are added, never given
// another meaning: scripts read these.

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
  /** transition, expire, abort-upload, … */
  action: string;
  /** Target class of a move. */
  to: string | null;
  /** Objects that are due now and this rule would act on. */
  objects: number;
  bytes: number;
  /** Of those: versions that would be gone, for good or from sight. */
  deletes: number;
  /** A few of them as s3://bucket/key. */
  examples: string[];
  /** Fees of doing it, once. */
  cost: Money | null;
  savingPerMonth: Money | null;
}

export interface PlanAnswer {
  /** What apply takes: of the rules planned and the policy active now. */
  hash: string;
  at: string;
  /** Revision of the active policy; null before the first apply. */
  activeRevision: string | null;
  /** The whole inventory looked at. */
  inventory: { objects: number; bytes: number };
  rules: PlannedRule[];
  difference: RuleDifference;
  warnings: string[];
  /** What apply would refuse, and why. */
  guardRails: string[];
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
  cases: { name: string; passed: boolean; expected: string; actual: string }[];
}

export interface ExplainAnswer {
  bucket: string;
  key: string;
  versionId: string;
  sizeBytes: number;
  storageClass: string;
  lastModified: string;
  /** The rule that acts now or next; null: none ever will. */
  rule: string | null;
  /** Every other rule of the bucket, and why it does not act. */
  lost: { rule: string; reason: string }[];
  last: {
    action: string;
    at: string;
    from: string;
    to: string;
    rule: string | null;
    policyRevision: string | null;
    runId: string | null;
  } | null;
  next: { action: string; to: string | null; at: string; rule: string } | null;
  /** What holds a due action back: a restore, a pin. */
  held: string | null;
  location: {
    tier: string;
    retrieval: 'immediate' | 'staged';
    parts: {
      kind: string;
      id: string;
      pack: string | null;
      offset: number | null;
      bytes: number;
    }[];
  };
  restore: { state: string; expiry: string | null } | null;
  costPerMonth: Money | null;
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
  /** scan: counted just now. meters: from the last scan of the workers. */
  source: 'scan' | 'meters';
  /** Empty where metered only. */
  buckets: {
    bucket: string;
    tier: string;
    storageClass: string;
    objects: number;
    bytes: number;
  }[];
  tiers: {
    tier: string;
    retrieval: 'immediate' | 'staged';
    /** 0: unbounded. */
    capacityBytes: number;
    usedBytes: number;
    blobs: number;
    error: string | null;
  }[];
  packs: number;
}

export interface DriveAnswer {
  tier: string;
  group: number;
  position: number;
  path: string;
  state: string;
  capacityBytes: number;
  usedBytes: number;
  errors: number;
  note: string | null;
}

export interface HealAnswer {
  /** Locations stored short of full redundancy. */
  waiting: number;
  bytes: number;
  oldestSince: string | null;
  drives: { tier: string; group: number; position: number; state: string }[];
  runs: RunAnswer[];
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

/** What one bucket, tier or class cost in the month so far. */
export interface CostLine {
  name: string;
  /** Average over the whole month: byte-hours ÷ hours of the month. */
  averageBytes: number;
  storage: number;
  requests: number;
  /** Moves between tiers. */
  transitions: number;
  retrieval: number;
  /** Minimum storage times not kept. */
  earlyDeletion: number;
  total: number;
}

export interface CostReportAnswer {
  /** YYYY-MM, engine clock, UTC. */
  month: string;
  by: 'bucket' | 'tier' | 'class';
  currency: string;
  /** Up to when the meters are counted; null where nothing has been metered. */
  through: string | null;
  lines: CostLine[];
  total: CostLine;
  /** Each price book's provider, region, date and source. */
  prices: string[];
  /** Stale books, tiers without a price, and whatever else makes the figures less than exact. */
  notes: string[];
}
