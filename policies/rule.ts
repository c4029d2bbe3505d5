// What a policy is made of. Policy files (policy-file.ts) and S3 lifecycle XML (lifecycle-xml.ts)
// are two front doors to this one type, so that one evaluator, one plan and one explain serve both.
// A rule has one filter, one trigger and one action: S3's rules of many actions become several of
// ours. The danger it answers: two interpretations of "delete after 30 days" in one system.

/** Glob: `*` any run of characters ('/' too), `?` one, `\` takes the next one literally. */
export type Glob = string;

/**
 * All fields given must hold; within a list any one suffices. An empty filter matches everything.
 */
export interface Filter {
  /** Of the whole bucket name. */
  buckets?: readonly Glob[];
  /** Of the key's beginning: `logs/?/debug/` matches every key below. */
  prefixes?: readonly Glob[];
  /** Literal ends of the key. */
  suffixes?: readonly string[];
  /** All must be there with this value; further tags of the object are fine. */
  tags?: Readonly<Record<string, string>>;
  /** x-amz-meta-* names in lower case, without that prefix. */
  metadata?: Readonly<Record<string, string>>;
  /** Strictly more bytes than this. A delete marker has no size and matches neither bound. */
  sizeOver?: number;
  /** Strictly fewer bytes than this. */
  sizeUnder?: number;
  storageClasses?: readonly string[];
  /** Of the content type as it was put. */
  contentTypes?: readonly Glob[];
}

/** When a rule that matches is due. Days are S3's (dates.ts). */
export type Trigger =
  /**
   * Since LastModified of a current version or lone delete marker; of an upload, since its start.
   */
  | { kind: 'age'; days: number }
  /** Since the last read (or write). Never due where reads are not recorded. */
  | { kind: 'idle'; days: number }
  /** Read less than this ago. */
  | { kind: 'accessed'; withinDays: number }
  /** From this instant (midnight UTC) on, also for objects that arrive later. */
  | { kind: 'date'; at: number }
  /** Since the successor was made, and at least `newerVersions` noncurrent versions are newer. */
  | { kind: 'noncurrent'; days: number; newerVersions?: number }
  /** While the tier that holds the version is fuller than this share (0 to 1). */
  | { kind: 'pool-fill'; over: number; days: number }
  | { kind: 'always' };

export type Action =
  /** Moves the version to a storage class: the current one, or noncurrent ones by that trigger. */
  | { kind: 'transition'; to: string }
  /** As S3's DELETE of the key: deletes, or puts a delete marker where versioning is on. */
  | { kind: 'expire' }
  /** Removes a noncurrent version for good. */
  | { kind: 'expire-noncurrent' }
  /** Removes a delete marker that has no version behind it. */
  | { kind: 'expire-marker' }
  | { kind: 'abort-upload' }
  /**
   * Moves the version up to a storage class, and keeps it from sinking below that while it holds.
   */
  | { kind: 'promote'; to: string }
  /** Keeps the version where it is: no transition, no promotion. Does not hold expiry. */
  | { kind: 'pin' };

export type ActionKind = Action['kind'];

/** A json-rules-engine condition, over the facts and operators that conditions.ts lists. */
export type Condition =
  | { all: readonly Condition[] }
  | { any: readonly Condition[] }
  | { not: Condition }
  | { fact: string; path?: string; operator: string; value: ConditionValue };

export type ConditionScalar = string | number | boolean;
export type ConditionValue = ConditionScalar | readonly ConditionScalar[];

/** x-amz-transition-default-minimum-object-size. */
export type SizeFloor = 'all_storage_classes_128K' | 'varies_by_storage_class';

export type RuleOrigin =
  | { kind: 'file'; file: string; line: number }
  /** `ruleId` is S3's ID: what x-amz-expiration shows. */
  | { kind: 'lifecycle'; bucket: string; ruleId: string };

export interface Rule {
  /**
   * Unique over all sets: the id in a policy file; `BUCKET/ID/ACTION` of S3 lifecycle, as one S3
   * rule may have several actions.
   */
  id: string;
  origin: RuleOrigin;
  description?: string;
  enabled: boolean;
  filter: Filter;
  /** Must hold too. */
  when?: Condition;
  trigger: Trigger;
  action: Action;
  /** Smaller objects are not moved, unless the filter names a size. Absent: no floor. */
  sizeFloor?: SizeFloor;
}

/** Rules of one source: the policy files of one revision, or the lifecycle of one bucket. */
export interface RuleSet {
  name: string;
  /** Recorded with each action (LastAction.policyRevision). */
  revision: string;
  rules: readonly Rule[];
}

/**
 * Actions that lose bytes for good or from sight: counted apart in a plan, confirmed before each
 * act.
 */
export function isDeletion(action: ActionKind): boolean {
  return action !== 'transition' && action !== 'promote' && action !== 'pin';
}
