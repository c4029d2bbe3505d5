// Decides what is due for one version or upload. Two evaluators, one meaning: conditions compiled to
// closures serve a scan (`decide`, about a million objects a second and core), json-rules-engine is the
// reference (`confirm`, about two thousand): it confirms every deletion before it happens. Where the two
// differ the rule is wrong or we are, and the caller stops that rule: a disagreement is a value.

import type { Facts } from './facts.ts';
import type { ActionKind, Rule, RuleSet } from './rule.ts';

export interface EvaluatorOptions {
  /** Storage class → tier: the classes that rules may name. */
  classes: ReadonlyMap<string, string>;
  /** Hottest first; classes not named keep S3's order behind those. Default: classes.ts. */
  classOrder?: readonly string[];
  /** The engine's day, ms. Other than DAY_MS (debug): due dates are not rounded up to midnight. */
  dayMs?: number;
  /** strict (default): AWS's class names only sink. free: any class may follow any. */
  waterfall?: 'strict' | 'free';
  /** Whether Rule.sizeFloor counts. It never applies to classes that are not AWS's. Default true. */
  sizeFloor?: boolean;
}

/** What the engine has to do. */
export type Effect =
  /** Move the version's bytes to the tier of `to`. */
  | 'move'
  /** Remove this very version, for good. */
  | 'remove-version'
  /** DELETE without version id: a new delete marker becomes current (null marker if suspended). */
  | 'add-delete-marker'
  | 'abort-upload';

export interface Decision {
  action: Exclude<ActionKind, 'pin'>;
  effect: Effect;
  rule: Rule;
  /** Revision of the rule's set. */
  revision: string;
  /** Target class of transition and promote. */
  to: string | undefined;
  /** When it became due, engine ms (AWS bills a transition from here, not from the act). */
  dueAt: number;
}

/** Why a rule that concerns this subject is not the one that acts. */
export type Standing =
  | { state: 'wins'; dueAt: number }
  | { state: 'held'; dueAt: number; reason: string; until: number | undefined }
  | { state: 'beaten'; dueAt: number; by: string; reason: string }
  | { state: 'not-due'; dueAt: number }
  /** Reason: which filter field, condition or fact; also size floor, waterfall, disabled, stopped. */
  | { state: 'no-match'; reason: string };

export interface JudgedRule {
  rule: Rule;
  standing: Standing;
}

export interface Judgement {
  decision: Decision | undefined;
  /** Every rule of the bucket, in order. */
  rules: readonly JudgedRule[];
  /** Set when something due is held back, for example 'held by restore until 2026-04-01'. */
  held: string | undefined;
}

export type Confirmation =
  | { agrees: true; decision: Decision | undefined }
  /** `rules`: ids of those on which the two evaluators differ. Act on none, stop them, raise an alarm. */
  | {
      agrees: false;
      rules: readonly string[];
      compiled: Decision | undefined;
      reference: Decision | undefined;
    };

/** Frozen: one of it a pass. `Evaluator.compile` is the way to get one. */
export class Evaluator {
  readonly rules: readonly Rule[];
  /** sha256 (hex) over all rules: equal rules, equal fingerprint. */
  readonly fingerprint: string;

  /** Throws PolicyInvalid (class not configured, unsound condition, an id used twice). */
  static compile(_sets: readonly RuleSet[], _options: EvaluatorOptions): Evaluator {
    throw new Error('not yet');
  }

  private constructor(rules: readonly Rule[]) {
    this.rules = rules;
    this.fingerprint = '';
  }

  /**
   * What is due now, straight to the coldest due class; undefined: nothing, or held. `now` is engine ms
   * and must be the same for a whole pass. Synchronous, no allocation unless something is due.
   */
  decide(_facts: Facts, _now: number): Decision | undefined {
    throw new Error('not yet');
  }

  /** The same by json-rules-engine, compared with decide. Never throws on an object's account. */
  async confirm(_facts: Facts, _now: number): Promise<Confirmation> {
    throw new Error('not yet');
  }

  /** decide with the standing of every rule: for explain. */
  judge(_facts: Facts, _now: number): Judgement {
    throw new Error('not yet');
  }

  /** The first decision there will be after now if nothing changes; undefined: none ever. */
  next(_facts: Facts, _now: number): Decision | undefined {
    throw new Error('not yet');
  }

  /** For x-amz-expiration: the winning expire rule and its date, in real days at midnight UTC. */
  expiry(_facts: Facts, _now: number): { at: number; ruleId: string } | undefined {
    throw new Error('not yet');
  }

  /** What a scan of this bucket must read at all. */
  needs(_bucket: string): { current: boolean; noncurrent: boolean; uploads: boolean } {
    throw new Error('not yet');
  }

  /** A copy that leaves these rules out: what a caller goes on with after a disagreement. */
  without(_ruleIds: readonly string[]): Evaluator {
    throw new Error('not yet');
  }
}
