// Conditions, compiled: whether a request has what a statement asks for. AWS's rules for what is
// not there: a comparison fails, a negated one and …IfExists hold; ForAllValues holds of nothing,
// ForAnyValue does not. And our own for what can't be judged (a key we don't know, an address that
// is none): an Allow does not apply, a Deny does.

import { isKnownKey } from './condition-keys.ts';
import { NULL_OPERATOR, OPERATORS, type Operator } from './operators.ts';
import type { Lookup, Matcher } from './patterns.ts';
import type { Condition, Statement } from './policy.ts';

/** Of one value of a request: longer ones are no address, agent or name, only work. */
const VALUE_CHARACTERS_MAX = 4096;

/** undefined: can't be judged. */
type Judgement = boolean | undefined;

export type Test = (lookup: Lookup) => boolean;

export function compileConditions(statement: Statement, hasVariables: boolean): Test[] {
  const unjudged = statement.effect === 'Deny';
  return statement.conditions.map((condition) => {
    const judge = judgeOf(condition, hasVariables);
    return (lookup) => judge(lookup) ?? unjudged;
  });
}

function judgeOf(condition: Condition, hasVariables: boolean): (lookup: Lookup) => Judgement {
  const { key, operator: name, values } = condition;
  if (!isKnownKey(key)) return () => undefined;
  if (name === NULL_OPERATOR) {
    const wanted = values.map((value) => value.toLowerCase() === 'true');
    return (lookup) => wanted.includes(valuesOf(lookup(key)) === undefined);
  }
  const operator = OPERATORS.get(name);
  if (operator === undefined) return () => undefined;
  const absent = ifAbsent(condition, operator);
  const matchers = values.map((value) => operator.matcher(value, hasVariables));
  const { quantifier } = condition;
  // Without a quantifier and of many values, which AWS leaves open: a comparison holds if it does
  // of one, and its negation is just that.
  const isEvery = quantifier === undefined ? operator.isNegated : quantifier === 'every';
  return (lookup) => {
    const found = valuesOf(lookup(key));
    const asked = quantifier === undefined ? found : found?.filter((value) => value !== '');
    if (asked === undefined || asked.length === 0) return absent;
    let all: Judgement = isEvery;
    for (const value of asked) {
      const one = holds(value, { matchers, lookup, isNegated: operator.isNegated });
      if (one === !isEvery) return one;
      if (one === undefined) all = undefined;
    }
    return all;
  };
}

function ifAbsent({ quantifier, passesIfAbsent }: Condition, { isNegated }: Operator): boolean {
  if (passesIfAbsent) return true;
  return quantifier === undefined ? isNegated : quantifier === 'every';
}

/** One value of the request against all of the policy: equal to one, or to none. */
function holds(
  value: string,
  by: { matchers: readonly Matcher[]; lookup: Lookup; isNegated: boolean },
): Judgement {
  if (value.length > VALUE_CHARACTERS_MAX) return undefined;
  let found: Judgement = false;
  for (const matcher of by.matchers) {
    const one = matcher(value, by.lookup);
    if (one === true) return !by.isNegated;
    if (one === undefined) found = undefined;
  }
  return found === undefined ? undefined : by.isNegated;
}

function valuesOf(found: ReturnType<Lookup>): readonly string[] | undefined {
  if (typeof found === 'string') return [found];
  return found === undefined || found.length === 0 ? undefined : found;
}
