// One rule as closures over facts: what a scan runs, a few tens of nanoseconds a rule and object.
// `whyNot` says the same in words, for explain; a property test holds both and the reference
// together.

import type { ClassRanks } from './classes.ts';
import { bornAt, sizeOf, type Moment } from './condition-facts.ts';
import { compileCondition } from './conditions.ts';
import { daysSince, dueAfter } from './base/dates.ts';
import type { Facts, VersionFacts } from './facts.ts';
import { compileGlobs } from './glob.ts';
import type { Rule, Trigger } from './rule.ts';
import { floorOf, groupsOf, sourceClasses, type Group } from './rule-conditions.ts';

export interface CompiledRule {
  rule: Rule;
  /** Of the rule's set. */
  revision: string;
  /** Place among all rules: breaks ties. */
  order: number;
  groups: readonly Group[];
  /** Of the target class; -1 where there is none. */
  targetRank: number;
  matchesBucket(bucket: string): boolean;
  /** Filter, when and class; not the trigger. Takes subjects of the rule's groups only. */
  matches(facts: Facts, moment: Moment): boolean;
  /**
   * Engine ms from which the trigger holds; undefined: not as things stand. May lie in the future.
   */
  dueAt(facts: Facts, moment: Moment): number | undefined;
  /** Why `matches` says no; undefined where it says yes. */
  whyNot(facts: Facts, moment: Moment): string | undefined;
}

export interface CompileOptions {
  classes: ReadonlyMap<string, string>;
  ranks: ClassRanks;
  dayMs: number;
}

/**
 * The group a subject belongs to; undefined: no rule is ever about it (a marker hiding versions).
 */
export function groupOf(facts: Facts): Group | undefined {
  if (facts.subject === 'upload') return 'upload';
  if (!facts.isCurrent) return 'noncurrent';
  if (!facts.deleteMarker) return 'current';
  return facts.lone ? 'marker' : undefined;
}

interface Test {
  holds: (facts: Facts, moment: Moment) => boolean;
  reason: (facts: Facts) => string;
}

export function compileRule(
  rule: Rule,
  place: { revision: string; order: number },
  options: CompileOptions,
): CompiledRule {
  const tests = [...actionTests(rule, options), ...filterTests(rule)];
  if (rule.when !== undefined) {
    const holds = compileCondition(rule.when);
    tests.push({ holds, reason: () => 'its when: condition does not hold' });
  }
  const buckets = rule.filter.buckets;
  const { action } = rule;
  return {
    rule,
    ...place,
    groups: groupsOf(rule),
    targetRank: 'to' in action ? options.ranks.rank(action.to) : -1,
    matchesBucket: buckets === undefined ? () => true : compileGlobs(buckets, 'whole'),
    matches: conjunction(tests.map((test) => test.holds)),
    dueAt: compileTrigger(rule.trigger),
    whyNot: (facts, moment) => tests.find((test) => !test.holds(facts, moment))?.reason(facts),
  };
}

/** Unrolled for the usual few, as a loop over closures costs a scan about a third more. */
function conjunction(tests: readonly Test['holds'][]): Test['holds'] {
  const [first, second, third, ...more] = tests;
  if (first === undefined) return () => true;
  if (second === undefined) return first;
  if (third === undefined) return (facts, moment) => first(facts, moment) && second(facts, moment);
  if (more.length === 0) {
    return (facts, moment) => first(facts, moment) && second(facts, moment) && third(facts, moment);
  }
  const rest = conjunction([third, ...more]);
  return (facts, moment) => first(facts, moment) && second(facts, moment) && rest(facts, moment);
}

function filterTests(rule: Rule): Test[] {
  const { filter } = rule;
  const tests: Test[] = [];
  const add = (holds: Test['holds'], reason: Test['reason']): void => {
    tests.push({ holds, reason });
  };
  const { sizeOver, sizeUnder } = filter;
  if (sizeOver !== undefined || sizeUnder !== undefined) {
    const over = sizeOver ?? -1;
    const under = sizeUnder ?? Number.POSITIVE_INFINITY;
    add(
      (facts) => {
        const size = sizeOf(facts);
        return size !== undefined && size > over && size < under;
      },
      (facts) => `size of ${sizeOf(facts) ?? 'unknown'} bytes is outside the filter`,
    );
  }
  if (filter.storageClasses) {
    const names = new Set(filter.storageClasses);
    add(
      (facts) => names.has(facts.storageClass),
      (facts) => `storage class ${facts.storageClass} is not in the filter`,
    );
  }
  if (filter.prefixes) {
    const test = compileGlobs(filter.prefixes, 'prefix');
    add(
      (facts) => test(facts.key),
      () => 'key has no prefix of the filter',
    );
  }
  if (filter.suffixes) {
    const suffixes = filter.suffixes;
    add(
      (facts) => suffixes.some((suffix) => facts.key.endsWith(suffix)),
      () => 'key has no suffix of the filter',
    );
  }
  if (filter.contentTypes) {
    const test = compileGlobs(filter.contentTypes, 'whole');
    add(
      (facts) =>
        facts.subject === 'version' && facts.contentType !== undefined && test(facts.contentType),
      () => 'content type is not in the filter',
    );
  }
  for (const test of mapTests(rule)) tests.push(test);
  return tests;
}

/** Nothing that an object inherits is a string, so a plain look is enough for any name. */
function mapTests(rule: Rule): Test[] {
  const tests: Test[] = [];
  for (const [name, value] of Object.entries(rule.filter.tags ?? {})) {
    tests.push({
      holds: (facts) => facts.tags?.[name] === value,
      reason: () => `tag ${name} is not ${JSON.stringify(value)}`,
    });
  }
  for (const [name, value] of Object.entries(rule.filter.metadata ?? {})) {
    tests.push({
      holds: (facts) => facts.subject === 'version' && facts.metadata[name] === value,
      reason: () => `metadata ${name} is not ${JSON.stringify(value)}`,
    });
  }
  return tests;
}

/** What the action itself asks of a version: a class it may move from, a size worth moving. */
function actionTests(rule: Rule, options: CompileOptions): Test[] {
  const { action } = rule;
  const tests: Test[] = [];
  const isMove = action.kind === 'transition' || action.kind === 'promote';
  if (isMove || action.kind === 'pin') {
    tests.push({
      holds: (facts) => facts.subject === 'version' && !facts.deleteMarker,
      reason: () => 'a delete marker has no bytes to move',
    });
  }
  if (!isMove) return tests;
  const sources = new Set(sourceClasses(action, options.ranks, options.classes));
  tests.push({
    holds: (facts) => sources.has(facts.storageClass),
    reason: (facts) =>
      facts.storageClass === action.to
        ? `it is in ${action.to} already`
        : `${action.to} does not follow ${facts.storageClass}`,
  });
  const floor = floorOf(rule, options.ranks);
  if (floor > 0) {
    tests.push({
      holds: (facts) => (sizeOf(facts) ?? -1) >= floor,
      reason: () => `smaller than S3's floor of ${floor} bytes, and the rule names no size`,
    });
  }
  return tests;
}

type DueAt = CompiledRule['dueAt'];

function compileTrigger(trigger: Trigger): DueAt {
  switch (trigger.kind) {
    case 'age':
      return (facts, moment) => dueAfter(bornAt(facts), trigger.days, moment.dayMs);
    case 'date':
      return () => trigger.at;
    case 'always':
      return (facts, moment) => Math.min(bornAt(facts), moment.now);
    case 'idle':
      return ofVersion((facts, { dayMs }) => after(facts.lastAccessAt, trigger.days, dayMs));
    case 'accessed':
      return ofVersion(({ lastReadAt: read }, { now, dayMs }) => {
        if (read === undefined || daysSince(read, now, dayMs) >= trigger.withinDays) {
          return undefined;
        }
        return Math.min(read, now);
      });
    case 'noncurrent': {
      const kept = trigger.newerVersions ?? 0;
      return ofVersion((facts, { dayMs }) =>
        kept > 0 && (facts.newerNoncurrent ?? -1) < kept
          ? undefined
          : after(facts.successorAt, trigger.days, dayMs),
      );
    }
    case 'pool-fill':
      return ofVersion((facts, { now, dayMs }) => {
        if (facts.poolFill === undefined || facts.poolFill <= trigger.over) return undefined;
        if (trigger.days === 0) return Math.min(facts.lastModified, now);
        return dueAfter(facts.lastModified, trigger.days, dayMs);
      });
  }
}

function after(event: number | undefined, days: number, dayMs: number): number | undefined {
  return event === undefined ? undefined : dueAfter(event, days, dayMs);
}

function ofVersion(due: (facts: VersionFacts, moment: Moment) => number | undefined): DueAt {
  return (facts, moment) => (facts.subject === 'upload' ? undefined : due(facts, moment));
}
