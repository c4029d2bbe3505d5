// When something may next change for one subject: the instants worth asking the evaluator about.
// Time acts on a rule through its trigger, through day counts in `when:` and through the end of a
// restored copy or a lock, so the instants are few, and trying each is exact.

import type { CompiledRule } from './compiled-rule.ts';
import { bornAt, type Moment } from './condition-facts.ts';
import { dueAfter } from './base/dates.ts';
import type { Facts } from './facts.ts';
import type { Condition, Rule } from './rule.ts';

/** Now and the instants after it, ascending. */
export function futureMoments(
  rules: readonly CompiledRule[],
  facts: Facts,
  moment: Moment,
): number[] {
  const instants = new Set<number>([moment.now]);
  const add = (at: number | undefined): void => {
    if (at !== undefined && at > moment.now) instants.add(at);
  };
  if (facts.subject === 'version') {
    add(facts.restore?.expiry);
    if (facts.lockedUntil !== Infinity) add(facts.lockedUntil);
  }
  for (const compiled of rules) {
    add(compiled.dueAt(facts, moment));
    for (const { event, days } of dayCounts(compiled.rule, facts)) {
      // The count reaches `days` at the first of these and passes it at the second.
      const whole = Math.ceil(days);
      add(dueAfter(event, whole, moment.dayMs));
      add(dueAfter(event, whole + 1, moment.dayMs));
    }
  }
  return [...instants].sort((a, b) => a - b);
}

interface DayCount {
  event: number;
  days: number;
}

function dayCounts(rule: Rule, facts: Facts): DayCount[] {
  const found: DayCount[] = [];
  const counts = (fact: string, days: unknown): void => {
    const event = eventOf(fact, facts);
    if (event !== undefined && typeof days === 'number') found.push({ event, days });
  };
  // A promotion ends by itself once the last read is this old, and lets go of what it held.
  if (rule.trigger.kind === 'accessed') counts('readDays', rule.trigger.withinDays);
  const walk = (condition: Condition): void => {
    if ('all' in condition) condition.all.forEach(walk);
    else if ('any' in condition) condition.any.forEach(walk);
    else if ('not' in condition) walk(condition.not);
    else for (const value of [condition.value].flat()) counts(condition.fact, value);
  };
  if (rule.when !== undefined) walk(rule.when);
  return found;
}

function eventOf(fact: string, facts: Facts): number | undefined {
  if (fact === 'ageDays') return bornAt(facts);
  if (facts.subject === 'upload') return undefined;
  if (fact === 'idleDays') return facts.lastAccessAt;
  if (fact === 'readDays') return facts.lastReadAt;
  if (fact === 'noncurrentDays') return facts.successorAt;
  return undefined;
}
