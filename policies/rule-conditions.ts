// A whole rule as one json-rules-engine condition: filter, `when:`, trigger and storage class. It
// is what the reference evaluator runs, and says independently of compiled-rule.ts what a rule
// means. In negation normal form, so that no `not` ever meets a missing fact (conditions.ts says
// why).

import { strict as assert } from 'node:assert';
import { DAY_MS } from '../appliance/model/clock.ts';
import type { ClassRanks } from './classes.ts';
import { OPPOSITES } from './conditions.ts';
import type { Condition, Filter, Rule, Trigger } from './rule.ts';

/** Which subjects a rule is about; what decides over them stands together (resolve.ts). */
export type Group = 'current' | 'noncurrent' | 'marker' | 'upload';

export function groupsOf(rule: Rule): readonly Group[] {
  switch (rule.action.kind) {
    case 'transition':
      return [rule.trigger.kind === 'noncurrent' ? 'noncurrent' : 'current'];
    case 'expire':
    case 'promote':
      return ['current'];
    case 'expire-noncurrent':
      return ['noncurrent'];
    case 'expire-marker':
      return ['marker'];
    case 'abort-upload':
      return ['upload'];
    case 'pin':
      return ['current', 'noncurrent'];
  }
}

/**
 * Noncurrent delete markers are versions like any other, and expire as such; they hold no bytes, so
 * nothing moves them.
 */
function groupConditions(group: Group, rule: Rule): Condition[] {
  const is = (fact: string, value: string | boolean): Condition => ({
    fact,
    operator: 'equal',
    value,
  });
  switch (group) {
    case 'current':
      return [is('isCurrent', true), is('deleteMarker', false)];
    case 'noncurrent':
      return rule.action.kind === 'expire-noncurrent'
        ? [is('isCurrent', false)]
        : [is('isCurrent', false), is('deleteMarker', false)];
    case 'marker':
      return [is('isCurrent', true), is('deleteMarker', true), is('lone', true)];
    case 'upload':
      return [is('subject', 'upload')];
  }
}

function filterConditions(filter: Filter): Condition[] {
  const found: Condition[] = [];
  const any = (fact: string, operator: string, values: readonly string[] | undefined): void => {
    if (values === undefined) return;
    found.push({ any: values.map((value) => ({ fact, operator, value })) });
  };
  any('bucket', 'matches', filter.buckets);
  any(
    'key',
    'matches',
    filter.prefixes?.map((prefix) => `${prefix}*`),
  );
  any('key', 'endsWith', filter.suffixes);
  any('storageClass', 'equal', filter.storageClasses);
  any('contentType', 'matches', filter.contentTypes);
  for (const fact of ['tags', 'metadata'] as const) {
    for (const [name, value] of Object.entries(filter[fact] ?? {})) {
      found.push({ fact, path: `$.${name}`, operator: 'equal', value });
    }
  }
  const { sizeOver, sizeUnder } = filter;
  if (sizeOver !== undefined) {
    found.push({ fact: 'sizeBytes', operator: 'greaterThan', value: sizeOver });
  }
  if (sizeUnder !== undefined) {
    found.push({ fact: 'sizeBytes', operator: 'lessThan', value: sizeUnder });
  }
  return found;
}

function triggerConditions(trigger: Trigger): Condition[] {
  const atLeast = (fact: string, value: number): Condition => ({
    fact,
    operator: 'greaterThanInclusive',
    value,
  });
  switch (trigger.kind) {
    case 'age':
      return [atLeast('ageDays', trigger.days)];
    case 'idle':
      return [atLeast('idleDays', trigger.days)];
    case 'accessed':
      return [{ fact: 'readDays', operator: 'lessThan', value: trigger.withinDays }];
    case 'date':
      return [atLeast('now', trigger.at)];
    case 'noncurrent': {
      const newer = trigger.newerVersions ?? 0;
      const age = atLeast('noncurrentDays', trigger.days);
      return newer > 0 ? [age, atLeast('newerNoncurrent', newer)] : [age];
    }
    case 'pool-fill': {
      const full: Condition = { fact: 'poolFill', operator: 'greaterThan', value: trigger.over };
      return trigger.days > 0 ? [full, atLeast('ageDays', trigger.days)] : [full];
    }
    case 'always':
      return [];
  }
}

/** Classes that a moving rule may move from, its size floor, and where it does not apply. */
function classConditions(
  rule: Rule,
  ranks: ClassRanks,
  classes: ReadonlyMap<string, string>,
): Condition[] {
  const { action } = rule;
  if (action.kind !== 'transition' && action.kind !== 'promote') return [];
  const from = sourceClasses(action, ranks, classes);
  const found: Condition[] = [{ fact: 'storageClass', operator: 'in', value: from }];
  const floor = floorOf(rule, ranks);
  if (floor > 0) {
    found.push({ fact: 'sizeBytes', operator: 'greaterThanInclusive', value: floor });
  }
  return found;
}

/**
 * A promotion matches in every class: where the version is as high already it still keeps
 * transitions from taking it down again, or the two would move it up and down each day. So does a
 * transition where any class may follow any, or two of them would.
 */
export function sourceClasses(
  action: { kind: 'transition' | 'promote'; to: string },
  ranks: ClassRanks,
  classes: ReadonlyMap<string, string>,
): string[] {
  const names = [...classes.keys()];
  if (action.kind === 'promote' || ranks.isFree) return names;
  return names.filter((from) => ranks.maySink(from, action.to));
}

/** Bytes below which the rule leaves a version alone; an explicit size filter always wins. */
export function floorOf(rule: Rule, ranks: ClassRanks): number {
  const { action, filter } = rule;
  if (action.kind !== 'transition') return 0;
  if (filter.sizeOver !== undefined || filter.sizeUnder !== undefined) return 0;
  return ranks.floorBytes(rule.sizeFloor, action.to);
}

export interface RuleConditionOptions {
  ranks: ClassRanks;
  classes: ReadonlyMap<string, string>;
  dayMs: number;
}

/** True exactly when the rule matches and is due. Never empty: each group has a condition. */
export function conditionOfRule(
  rule: Rule,
  group: Group,
  options: RuleConditionOptions,
): Condition {
  assert(Number.isInteger(options.dayMs) && options.dayMs > 0 && options.dayMs <= DAY_MS);
  return {
    all: [
      ...groupConditions(group, rule),
      ...filterConditions(rule.filter),
      ...(rule.when === undefined ? [] : [withoutNot(rule.when, false)]),
      ...triggerConditions(rule.trigger),
      ...classConditions(rule, options.ranks, options.classes),
    ],
  };
}

/**
 * The same condition without `not`: pushed down to the leaves, where each operator has its
 * opposite. As a leaf on a missing fact is false either way, the whole is true exactly when
 * three-valued logic says true.
 */
function withoutNot(condition: Condition, negate: boolean): Condition {
  if ('not' in condition) return withoutNot(condition.not, !negate);
  if ('all' in condition) {
    const parts = condition.all.map((part) => withoutNot(part, negate));
    return negate ? { any: parts } : { all: parts };
  }
  if ('any' in condition) {
    const parts = condition.any.map((part) => withoutNot(part, negate));
    return negate ? { all: parts } : { any: parts };
  }
  if (!negate) return condition;
  if (condition.operator === 'exists') return { ...condition, value: condition.value !== true };
  const operator = OPPOSITES[condition.operator];
  assert(operator !== undefined, `operator without opposite: ${condition.operator}`);
  return { ...condition, operator };
}
