// Decides what is due for one version or upload. Two evaluators, one meaning: conditions compiled
// to closures serve a scan (`decide`, about a million objects a second and core), json-rules-engine
// is the reference (`confirm`, about two thousand): it confirms every deletion before it happens.
// Where the two differ the rule is wrong or we are, and the caller stops that rule: a disagreement
// is a value.

import { strict as assert } from 'node:assert';
import { DAY_MS } from '../appliance/model/clock.ts';
import { FirnError } from '../appliance/model/errors.ts';
import { hashOf } from './canonical-json.ts';
import { ClassRanks } from './classes.ts';
import { compileRule, groupOf, type CompiledRule } from './compiled-rule.ts';
import type { Moment } from './condition-facts.ts';
import { checkCondition } from './conditions.ts';
import { futureMoments } from './forecast.ts';
import type { Facts } from './facts.ts';
import { ReferenceEngine } from './reference.ts';
import { resolve, type Candidate, type Lost } from './resolve.ts';
import type { ActionKind, Rule, RuleSet } from './rule.ts';
import { conditionOfRule, type Group } from './rule-conditions.ts';

export interface EvaluatorOptions {
  /** Storage class → tier: the classes that rules may name. */
  classes: ReadonlyMap<string, string>;
  /** Hottest first; classes not named keep S3's order behind those. Default: classes.ts. */
  classOrder?: readonly string[];
  /** The engine's day, ms. Other than DAY_MS (debug): due dates are not rounded up to midnight. */
  dayMs?: number;
  /** strict (default): AWS's class names only sink. free: any class may follow any. */
  waterfall?: 'strict' | 'free';
  /**
   * Whether Rule.sizeFloor counts. It never applies to classes that are not AWS's. Default true.
   */
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
  | { state: 'beaten'; dueAt: number; reason: string; by: string | undefined }
  /** It acts by keeping others back: a pin, or a promotion with nothing left to do. */
  | { state: 'holds'; reason: string }
  | { state: 'not-due'; dueAt: number }
  /**
   * Reason: which filter field, condition or fact; also size floor, waterfall, disabled, stopped.
   */
  | { state: 'no-match'; reason: string };

export interface JudgedRule {
  rule: Rule;
  standing: Standing;
}

export interface Upcoming {
  decision: Decision;
  /** Engine ms: now, or when it will be due and no longer held. */
  at: number;
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
  /**
   * `rules`: ids of those on which the two evaluators differ. Act on none, stop them, raise an
   * alarm.
   */
  | {
      agrees: false;
      rules: readonly string[];
      compiled: Decision | undefined;
      reference: Decision | undefined;
      /** Set when the reference failed altogether. */
      error?: unknown;
    };

/** The rules that stand for one bucket, by what they are about. */
interface BucketRules {
  rules: Readonly<Record<Group, readonly CompiledRule[]>>;
  references: Partial<Record<Group, ReferenceEngine>>;
}

interface Parts {
  sets: readonly RuleSet[];
  options: EvaluatorOptions;
  compiled: readonly CompiledRule[];
  stopped: ReadonlySet<string>;
}

/** Frozen: one of it a pass. `Evaluator.compile` is the way to get one. */
export class Evaluator {
  readonly rules: readonly Rule[];
  /** sha256 (hex) over all rules: equal rules, equal fingerprint. */
  readonly fingerprint: string;
  readonly #parts: Parts;
  readonly #ranks: ClassRanks;
  readonly #dayMs: number;
  readonly #byBucket = new Map<string, BucketRules>();
  readonly #bySelection = new Map<string, BucketRules>();
  #moment: Moment;

  /** Throws PolicyInvalid (class not configured, unsound condition, an id used twice). */
  static compile(sets: readonly RuleSet[], options: EvaluatorOptions): Evaluator {
    return Evaluator.#compile(sets, options, new Set());
  }

  static #compile(
    sets: readonly RuleSet[],
    options: EvaluatorOptions,
    stopped: ReadonlySet<string>,
  ): Evaluator {
    const dayMs = options.dayMs ?? DAY_MS;
    assert(Number.isInteger(dayMs) && dayMs > 0 && dayMs <= DAY_MS, 'dayMs is whole, 1 to a day');
    const ranks = new ClassRanks(options);
    const compiled: CompiledRule[] = [];
    const ids = new Set<string>();
    for (const { rules, revision } of sets) {
      for (const rule of rules) {
        checkRule(rule, ids, options);
        const place = { revision, order: compiled.length };
        compiled.push(compileRule(rule, place, { classes: options.classes, ranks, dayMs }));
      }
    }
    return new Evaluator({ sets, options, compiled, stopped }, ranks, dayMs);
  }

  private constructor(parts: Parts, ranks: ClassRanks, dayMs: number) {
    this.#parts = parts;
    this.#ranks = ranks;
    this.#dayMs = dayMs;
    this.#moment = { now: 0, dayMs };
    this.rules = parts.compiled.map(({ rule }) => rule);
    this.fingerprint = fingerprintOf(this.rules);
  }

  /**
   * What is due now, straight to the coldest due class; undefined: nothing, or held. `now` is
   * engine ms and must be the same for a whole pass. Synchronous, no allocation unless something is
   * due.
   */
  decide(facts: Facts, now: number): Decision | undefined {
    const candidates = this.#candidates(facts, now);
    return candidates && this.#decision(candidates, facts, now);
  }

  /** Why nothing happens although a move is due; undefined: nothing is held back. */
  heldBack(facts: Facts, now: number): string | undefined {
    const candidates = this.#candidates(facts, now);
    if (candidates === undefined) return undefined;
    const { winner, lost } = resolve(candidates, facts, now, this.#ranks);
    return winner === undefined ? lost.find(({ kind }) => kind === 'held')?.reason : undefined;
  }

  /** The same by json-rules-engine, compared with decide. Never throws on an object's account. */
  async confirm(facts: Facts, now: number): Promise<Confirmation> {
    const compiled = this.decide(facts, now);
    const group = groupOf(facts);
    if (group === undefined) return { agrees: true, decision: compiled };
    const moment = this.#at(now);
    const { rules } = this.#bucketRules(facts.bucket);
    let matching: ReadonlySet<string>;
    try {
      matching = await this.#reference(facts.bucket, group).matching(facts, moment);
    } catch (error) {
      const due = this.#candidates(facts, now) ?? [];
      const ids = due.map((candidate) => candidate.compiled.rule.id);
      return { agrees: false, rules: ids, compiled, reference: undefined, error };
    }
    const differing: string[] = [];
    const candidates: Candidate[] = [];
    for (const one of rules[group]) {
      const dueAt = one.dueAt(facts, moment);
      const matches = dueAt !== undefined && dueAt <= now && one.matches(facts, moment);
      const holds = matching.has(one.rule.id);
      if (matches !== holds) differing.push(one.rule.id);
      if (holds) candidates.push({ compiled: one, dueAt: dueAt ?? now });
    }
    if (differing.length === 0) return { agrees: true, decision: compiled };
    const reference = this.#decision(candidates, facts, now);
    return { agrees: false, rules: differing, compiled, reference };
  }

  /** decide with the standing of every rule: for explain. */
  judge(facts: Facts, now: number): Judgement {
    const candidates = this.#candidates(facts, now) ?? [];
    const { winner, lost } = resolve(candidates, facts, now, this.#ranks);
    const held = lost.find(({ kind }) => kind === 'held');
    const rules: JudgedRule[] = [];
    for (const compiled of this.#parts.compiled) {
      const { rule } = compiled;
      if (rule.origin.kind === 'lifecycle' && !compiled.matchesBucket(facts.bucket)) continue;
      const dueAt = winner?.compiled === compiled ? winner.dueAt : undefined;
      const standing: Standing =
        dueAt === undefined
          ? this.#standing(compiled, facts, { now, lost })
          : { state: 'wins', dueAt };
      rules.push({ rule, standing });
    }
    return { decision: this.#decision(candidates, facts, now), rules, held: held?.reason };
  }

  #standing(
    compiled: CompiledRule,
    facts: Facts,
    outcome: { now: number; lost: readonly Lost[] },
  ): Standing {
    const loss = outcome.lost.find(({ candidate }) => candidate.compiled === compiled);
    if (loss !== undefined) {
      const { reason, until, by, candidate } = loss;
      if (loss.kind === 'holds') return { state: 'holds', reason };
      if (loss.kind === 'held') return { state: 'held', dueAt: candidate.dueAt, reason, until };
      return { state: 'beaten', dueAt: candidate.dueAt, reason, by };
    }
    const { rule } = compiled;
    const moment = this.#at(outcome.now);
    const no = (reason: string): Standing => ({ state: 'no-match', reason });
    if (!rule.enabled) return no('it is disabled');
    if (this.#parts.stopped.has(rule.id)) return no('it was stopped: the two evaluators differ');
    if (!compiled.matchesBucket(facts.bucket)) return no('the bucket is not in the filter');
    const group = groupOf(facts);
    if (group === undefined) return no('a delete marker with versions behind it stays');
    if (!compiled.groups.includes(group)) return no(`it is not about ${GROUP_NAMES[group]}`);
    const reason = compiled.whyNot(facts, moment);
    if (reason !== undefined) return no(reason);
    const dueAt = compiled.dueAt(facts, moment);
    if (dueAt === undefined) return no('its trigger does not hold');
    return { state: 'not-due', dueAt };
  }

  /**
   * The first decision from now on if nothing changes; undefined: none ever, or held without end.
   */
  next(facts: Facts, now: number): Upcoming | undefined {
    const group = groupOf(facts);
    if (group === undefined) return undefined;
    const rules = this.#bucketRules(facts.bucket).rules[group];
    for (const at of futureMoments(rules, facts, this.#at(now))) {
      const decision = this.decide(facts, at);
      if (decision !== undefined) return { decision, at };
    }
    return undefined;
  }

  /** For x-amz-expiration: the winning expire rule and its date, in real days at midnight UTC. */
  expiry(facts: Facts, now: number): { at: number; ruleId: string } | undefined {
    if (groupOf(facts) !== 'current') return undefined;
    const moment: Moment = { now, dayMs: DAY_MS };
    let found: { at: number; ruleId: string } | undefined;
    for (const compiled of this.#bucketRules(facts.bucket).rules.current) {
      const { action, origin, id } = compiled.rule;
      if (action.kind !== 'expire' || !compiled.matches(facts, moment)) continue;
      const at = compiled.dueAt(facts, moment);
      if (at === undefined || (found !== undefined && found.at <= at)) continue;
      found = { at, ruleId: origin.kind === 'lifecycle' ? origin.ruleId : id };
    }
    return found;
  }

  /** What a scan of this bucket must read at all. */
  needs(bucket: string): { current: boolean; noncurrent: boolean; uploads: boolean } {
    const { rules } = this.#bucketRules(bucket);
    return {
      current: rules.current.length > 0 || rules.marker.length > 0,
      noncurrent: rules.noncurrent.length > 0,
      uploads: rules.upload.length > 0,
    };
  }

  /** A copy that leaves these rules out: what a caller goes on with after a disagreement. */
  without(ruleIds: readonly string[]): Evaluator {
    const { sets, options, stopped } = this.#parts;
    return Evaluator.#compile(sets, options, new Set([...stopped, ...ruleIds]));
  }

  #candidates(facts: Facts, now: number): Candidate[] | undefined {
    const group = groupOf(facts);
    if (group === undefined) return undefined;
    const rules = this.#bucketRules(facts.bucket).rules[group];
    const moment = this.#at(now);
    let found: Candidate[] | undefined;
    for (const compiled of rules) {
      const dueAt = compiled.dueAt(facts, moment);
      if (dueAt === undefined || !(dueAt <= now) || !compiled.matches(facts, moment)) continue;
      found ??= [];
      found.push({ compiled, dueAt });
    }
    return found;
  }

  #decision(candidates: readonly Candidate[], facts: Facts, now: number): Decision | undefined {
    const { winner } = resolve(candidates, facts, now, this.#ranks);
    if (winner === undefined) return undefined;
    const { rule, action, revision } = { ...winner.compiled, action: winner.compiled.rule.action };
    assert(action.kind !== 'pin', 'a pin never acts');
    return {
      action: action.kind,
      effect: effectOf(action.kind, facts),
      rule,
      revision,
      to: 'to' in action ? action.to : undefined,
      dueAt: winner.dueAt,
    };
  }

  #at(now: number): Moment {
    if (this.#moment.now !== now) this.#moment = { now, dayMs: this.#dayMs };
    return this.#moment;
  }

  /** Buckets with the same rules share them, and their reference engines. */
  #bucketRules(bucket: string): BucketRules {
    const known = this.#byBucket.get(bucket);
    if (known !== undefined) return known;
    const { compiled, stopped } = this.#parts;
    const selected = compiled.filter(
      (one) => one.rule.enabled && !stopped.has(one.rule.id) && one.matchesBucket(bucket),
    );
    const selection = selected.map(({ order }) => order).join();
    let found = this.#bySelection.get(selection);
    if (found === undefined) {
      const of = (group: Group): CompiledRule[] =>
        selected.filter(({ groups }) => groups.includes(group));
      const rules = {
        current: of('current'),
        noncurrent: of('noncurrent'),
        marker: of('marker'),
        upload: of('upload'),
      };
      found = { rules, references: {} };
      this.#bySelection.set(selection, found);
    }
    this.#byBucket.set(bucket, found);
    return found;
  }

  #reference(bucket: string, group: Group): ReferenceEngine {
    const { rules, references } = this.#bucketRules(bucket);
    const ranks = this.#ranks;
    const options = { ranks, classes: this.#parts.options.classes, dayMs: this.#dayMs };
    references[group] ??= new ReferenceEngine(
      rules[group].map(({ rule }) => ({
        name: rule.id,
        condition: conditionOfRule(rule, group, options),
      })),
    );
    return references[group];
  }
}

const GROUP_NAMES: Readonly<Record<Group, string>> = {
  current: 'current versions',
  noncurrent: 'noncurrent versions',
  marker: 'lone delete markers',
  upload: 'uploads',
};

function effectOf(action: Decision['action'], facts: Facts): Effect {
  switch (action) {
    case 'transition':
    case 'promote':
      return 'move';
    case 'expire': {
      const off = facts.subject === 'version' && facts.versioning === 'off';
      return off ? 'remove-version' : 'add-delete-marker';
    }
    case 'expire-noncurrent':
    case 'expire-marker':
      return 'remove-version';
    case 'abort-upload':
      return 'abort-upload';
  }
}

function checkRule(rule: Rule, ids: Set<string>, options: EvaluatorOptions): void {
  const refuse = (message: string, hint: string): never => {
    const { origin } = rule;
    const subject = origin.kind === 'file' ? `${origin.file}:${origin.line}` : origin.bucket;
    throw new FirnError('PolicyInvalid', `rule ${rule.id}: ${message}`, { subject, hint });
  };
  if (ids.has(rule.id)) refuse('this id is used twice', 'give each rule an id of its own');
  ids.add(rule.id);
  const named = 'to' in rule.action ? [rule.action.to] : [];
  for (const name of [...named, ...(rule.filter.storageClasses ?? [])]) {
    if (options.classes.has(name)) continue;
    const known = [...options.classes.keys()].join(', ');
    refuse(`storage class ${name} is not configured`, `configured are: ${known}`);
  }
  const problem = rule.when === undefined ? undefined : checkCondition(rule.when);
  if (problem) refuse(problem.message, problem.hint);
}

/** Over what a rule does, not over where it stands in which file. */
function fingerprintOf(rules: readonly Rule[]): string {
  return hashOf(
    rules.map((rule) => {
      const { id, enabled, filter, when, trigger, action, sizeFloor } = rule;
      return { id, enabled, filter, when, trigger, action, sizeFloor };
    }),
  );
}
