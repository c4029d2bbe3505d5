// The active policy set, and how a set of files becomes the active one: the set's own revision is
// written first, then one compare-and-swap of the row `active` makes it count. Workers read that
// row anew before each batch of deletes, so from its commit on nobody acts by the old rules.

import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import type { Row } from '../../../appliance/model/metadata-store.ts';
import type { PolicySet } from '../../../appliance/model/records.ts';
import { canonicalJson } from '../../../policies/canonical-json.ts';
import { Evaluator } from '../../../policies/evaluator.ts';
import { describeAction } from '../../../policies/plan.ts';
import type { Rule, RuleSet } from '../../../policies/rule.ts';
import { buildRuleSets, revisionOf } from '../../../policies/rule-sets.ts';
import type { DiffAnswer, PolicyText, RuleDifference } from '../../../appliance/model/answers.ts';
import type { AdminOptions } from '../contract/options.ts';
import { allBuckets } from '../contract/rows.ts';

const ACTIVE = 'active';

export async function activeSet(options: AdminOptions): Promise<Row<PolicySet> | undefined> {
  return options.store.get<PolicySet>('policy-sets', ACTIVE);
}

export interface Policies {
  active: Row<PolicySet> | undefined;
  /** Files that are planned: those given, or the active ones. */
  files: readonly PolicyText[];
  revision: string;
  candidateSets: readonly RuleSet[];
  activeSets: readonly RuleSet[];
  candidate: Evaluator;
  /** Undefined: neither policy files nor lifecycle rules are in force. */
  inForce: Evaluator | undefined;
  /** Buckets whose lifecycle can't be read any more: left out, as the workers do. */
  warnings: readonly string[];
}

/**
 * The rules of these files and of the buckets' lifecycle, beside those in force. Without files: the
 * active ones. PolicyInvalid names file, line and column.
 */
export async function readPolicies(
  options: AdminOptions,
  given: readonly PolicyText[] | undefined,
): Promise<Policies> {
  const active = await activeSet(options);
  const files = given ?? active?.value.files ?? [];
  const revision = revisionOf([...files]);
  const { sets: lifecycle, warnings } = await lifecycleSets(options);
  const evaluation = {
    ...options.evaluation,
    classes: options.classes,
    dayMs: options.lifecycleDayMs,
  };
  const candidateFiles = { files: [...files], revision };
  const candidateSets = [...buildRuleSets(candidateFiles, [], evaluation), ...lifecycle];
  const activeSets = [...buildRuleSets(active?.value, [], evaluation), ...lifecycle];
  return {
    active,
    files,
    revision,
    candidateSets,
    activeSets,
    candidate: Evaluator.compile(candidateSets, evaluation),
    inForce: activeSets.length === 0 ? undefined : Evaluator.compile(activeSets, evaluation),
    warnings,
  };
}

/** A bucket whose class was taken out of the configuration must not keep all others from a plan. */
async function lifecycleSets(
  options: AdminOptions,
): Promise<{ sets: RuleSet[]; warnings: string[] }> {
  const sets: RuleSet[] = [];
  const warnings: string[] = [];
  for (const bucket of await allBuckets(options.store)) {
    try {
      const { classes, evaluation } = options;
      sets.push(...buildRuleSets(undefined, [bucket], { ...evaluation, classes }));
    } catch (error) {
      if (!isFirnError(error)) throw error;
      warnings.push(`the lifecycle of bucket ${bucket.name} is left out: ${error.message}`);
    }
  }
  return { sets, warnings };
}

/** The evaluator of what is in force now. */
export async function evaluatorInForce(options: AdminOptions): Promise<Evaluator> {
  const { candidate } = await readPolicies(options, undefined);
  return candidate;
}

/** What a rule says, without where it was read. */
function meaningOf(rule: Rule): string {
  const { origin: _, ...meaning } = rule;
  return canonicalJson(meaning);
}

export function differenceOf(policies: Policies): RuleDifference {
  const before = new Map(rulesOf(policies.activeSets).map((rule) => [rule.id, rule]));
  const after = new Map(rulesOf(policies.candidateSets).map((rule) => [rule.id, rule]));
  const both = [...after.values()].filter((rule) => before.has(rule.id));
  return {
    added: [...after.keys()].filter((id) => !before.has(id)),
    removed: [...before.keys()].filter((id) => !after.has(id)),
    changed: both
      .filter((rule) => meaningOf(rule) !== meaningOf(before.get(rule.id) ?? rule))
      .map((rule) => rule.id),
  };
}

const rulesOf = (sets: readonly RuleSet[]): Rule[] => sets.flatMap((set) => [...set.rules]);

export function diffAnswerOf(policies: Policies): DiffAnswer {
  const difference = differenceOf(policies);
  const before = new Map(rulesOf(policies.activeSets).map((rule) => [rule.id, rule]));
  const after = new Map(rulesOf(policies.candidateSets).map((rule) => [rule.id, rule]));
  const line = (sign: '+' | '-', rule: Rule | undefined): string[] =>
    rule === undefined ? [] : [`${sign} ${rule.id}: ${describeRule(rule)}`];
  return {
    ...difference,
    activeRevision: policies.active?.value.revision ?? null,
    lines: [
      ...difference.removed.flatMap((id) => line('-', before.get(id))),
      ...difference.changed.flatMap((id) => [
        ...line('-', before.get(id)),
        ...line('+', after.get(id)),
      ]),
      ...difference.added.flatMap((id) => line('+', after.get(id))),
    ],
  };
}

/** One line: action, trigger, filter, condition, as they are. */
function describeRule(rule: Rule): string {
  const { kind, ...trigger } = rule.trigger;
  const when = Object.keys(trigger).length === 0 ? kind : `${kind} ${canonicalJson(trigger)}`;
  const filter = Object.keys(rule.filter).length === 0 ? 'everything' : canonicalJson(rule.filter);
  const condition = rule.when === undefined ? '' : `, when ${canonicalJson(rule.when)}`;
  const disabled = rule.enabled ? '' : ' (disabled)';
  return `${describeAction(rule.action)} by ${when}, of ${filter}${condition}${disabled}`;
}

/**
 * Makes these files the active set. PlanStale where another set became active since they were read.
 */
export async function activate(
  options: AdminOptions,
  policies: Policies,
  by: { account: string; planHash: string },
): Promise<PolicySet> {
  const { store, clock } = options;
  const set: PolicySet = {
    format: 1,
    revision: policies.revision,
    files: policies.files.map(({ name, text }) => ({ name, text })),
    appliedAt: clock.now(),
    appliedBy: by.account,
    planHash: by.planHash,
  };
  // A revision is of its content: applied before, it stands there already.
  await store.insert('policy-sets', `revision/${set.revision}`, set);
  const result =
    policies.active === undefined
      ? await store.insert('policy-sets', ACTIVE, set)
      : await store.replace({
          table: 'policy-sets',
          id: ACTIVE,
          expected: policies.active.revision,
          value: set,
        });
  if (result.outcome === 'done') return set;
  throw new FirnError('PlanStale', 'another policy was applied meanwhile', {
    hint: 'plan again and look at the difference',
  });
}
