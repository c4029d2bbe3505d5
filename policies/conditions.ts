// Conditions of `when:`: json-rules-engine's JSON, checked strictly at load and compiled to
// closures. Left alone, that engine finds `notEqual` on a missing fact true, `all: []` true, "10"
// greater than 5 and an unknown operator only at run time: each of them deletes what nobody meant.
// So here a leaf on a missing fact is unknown, unknown stays unknown under `not`, and only true
// matches.

import {
  CONDITION_FACTS,
  INTERNAL_FACTS,
  valueAt,
  type FactType,
  type FactValue,
  type Moment,
} from './condition-facts.ts';
import type { Facts } from './facts.ts';
import { compileGlob } from './glob.ts';
import type { Condition, ConditionScalar, ConditionValue } from './rule.ts';

type Leaf = Extract<Condition, { fact: string }>;

/** Operator → its exact opposite on facts that are there. */
export const OPPOSITES: Readonly<Record<string, string>> = {
  equal: 'notEqual',
  notEqual: 'equal',
  in: 'notIn',
  notIn: 'in',
  lessThan: 'greaterThanInclusive',
  greaterThanInclusive: 'lessThan',
  lessThanInclusive: 'greaterThan',
  greaterThan: 'lessThanInclusive',
  startsWith: 'notStartsWith',
  notStartsWith: 'startsWith',
  endsWith: 'notEndsWith',
  notEndsWith: 'endsWith',
  matches: 'notMatches',
  notMatches: 'matches',
};

const OPERATORS: Readonly<Record<Exclude<FactType, 'map'>, readonly string[]>> = {
  string: [
    'equal',
    'notEqual',
    'in',
    'notIn',
    'startsWith',
    'notStartsWith',
    'endsWith',
    'notEndsWith',
    'matches',
    'notMatches',
  ],
  number: [
    'equal',
    'notEqual',
    'in',
    'notIn',
    'lessThan',
    'lessThanInclusive',
    'greaterThan',
    'greaterThanInclusive',
  ],
  boolean: ['equal', 'notEqual'],
};

export const CONDITION_OPERATORS: readonly string[] = [...Object.keys(OPPOSITES), 'exists'];

export interface ConditionProblem {
  path: (string | number)[];
  message: string;
  hint: string;
}

const DEPTH_MAX = 16;
const PATH = /^\$\.[\p{L}\p{N} _:/+=.-]{1,128}$/u;

/** First thing wrong with a condition as it came from a file; undefined: it is a Condition. */
export function checkCondition(value: unknown, depth = 0): ConditionProblem | undefined {
  const problem = (path: (string | number)[], message: string, hint: string): ConditionProblem => ({
    path,
    message,
    hint,
  });
  if (depth > DEPTH_MAX) {
    return problem([], `conditions nested deeper than ${DEPTH_MAX}`, 'split the rule in two');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return problem(
      [],
      'a condition must be a mapping',
      'write all:, any:, not: or fact:, operator:, value:',
    );
  }
  const keys = Object.keys(value);
  const head = keys.find((key) => key === 'all' || key === 'any' || key === 'not');
  if (head === undefined) return checkLeaf(value as Record<string, unknown>);
  if (keys.length > 1) {
    const extra = keys.find((key) => key !== head) as string;
    return problem([extra], `'${extra}' beside '${head}'`, 'put each into a condition of its own');
  }
  const inner = (value as Record<string, unknown>)[head];
  if (head === 'not') return within(['not'], checkCondition(inner, depth + 1));
  if (!Array.isArray(inner)) {
    return problem(
      [head],
      `'${head}' must be a list`,
      `write the conditions below ${head}: as a list`,
    );
  }
  if (inner.length === 0) {
    return problem(
      [head],
      `'${head}' is empty`,
      'an empty condition would match everything: remove when:',
    );
  }
  for (const [index, one] of inner.entries()) {
    const found = within([head, index], checkCondition(one, depth + 1));
    if (found) return found;
  }
  return undefined;
}

function within(
  path: (string | number)[],
  found: ConditionProblem | undefined,
): ConditionProblem | undefined {
  return found && { ...found, path: [...path, ...found.path] };
}

function checkLeaf(leaf: Record<string, unknown>): ConditionProblem | undefined {
  const known = ['fact', 'path', 'operator', 'value'];
  for (const key of Object.keys(leaf)) {
    if (!known.includes(key)) {
      return {
        path: [key],
        message: `unknown field '${key}' in a condition`,
        hint: `known: all, any, not, or ${known.join(', ')}`,
      };
    }
  }
  for (const key of ['fact', 'operator', 'value']) {
    if (leaf[key] === undefined || leaf[key] === null) {
      return { path: [], message: `a condition without '${key}'`, hint: `add ${key}:` };
    }
  }
  const name = leaf['fact'];
  const fact =
    typeof name === 'string' && Object.hasOwn(CONDITION_FACTS, name)
      ? CONDITION_FACTS[name]
      : undefined;
  if (fact === undefined) {
    return {
      path: ['fact'],
      message: `unknown fact ${JSON.stringify(name)}`,
      hint: `known: ${Object.keys(CONDITION_FACTS).join(', ')}`,
    };
  }
  return checkPath(leaf, fact.type) ?? checkOperator(leaf, fact.type);
}

function checkPath(leaf: Record<string, unknown>, type: FactType): ConditionProblem | undefined {
  const path = leaf['path'];
  if (type !== 'map') {
    if (path === undefined) return undefined;
    return { path: ['path'], message: `'${leaf['fact']}' takes no path`, hint: 'remove path:' };
  }
  if (path === undefined && leaf['operator'] === 'exists') return undefined;
  const plain = typeof path === 'string' && PATH.test(path) && !path.includes('..');
  if (plain) return undefined;
  return {
    path: path === undefined ? [] : ['path'],
    message: path === undefined ? `'${leaf['fact']}' needs a path` : `path ${JSON.stringify(path)}`,
    hint: `write "$." and one name, as path: $.project; no '..', '@' or '[' may stand in it`,
  };
}

function checkOperator(
  leaf: Record<string, unknown>,
  type: FactType,
): ConditionProblem | undefined {
  const { operator, value } = leaf;
  const valueType = type === 'map' ? 'string' : type;
  const known = OPERATORS[valueType];
  if (operator === 'exists') {
    if (typeof value === 'boolean') return undefined;
    return { path: ['value'], message: "'exists' takes true or false", hint: 'write value: true' };
  }
  if (typeof operator !== 'string' || !known.includes(operator)) {
    return {
      path: ['operator'],
      message: `operator ${JSON.stringify(operator)} is not one for '${leaf['fact']}'`,
      hint: `known: ${known.join(', ')}, exists`,
    };
  }
  const isList = operator === 'in' || operator === 'notIn';
  if (isList !== Array.isArray(value)) {
    return {
      path: ['value'],
      message: isList ? `'${operator}' takes a list` : `'${operator}' takes one value`,
      hint: isList ? 'write value: [a, b]' : "use 'in' for a list",
    };
  }
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0) {
    return { path: ['value'], message: 'an empty list', hint: 'name at least one value' };
  }
  for (const one of list) {
    const sound = typeof one === valueType && (valueType !== 'number' || Number.isFinite(one));
    if (sound) continue;
    return {
      path: ['value'],
      message: `${JSON.stringify(one)} is no ${valueType}, as '${leaf['fact']}' is`,
      hint: valueType === 'number' ? 'write the number without quotes' : `write a ${valueType}`,
    };
  }
  return undefined;
}

const FALSE = 0;
const TRUE = 1;
const UNKNOWN = 2;
type Truth = typeof FALSE | typeof TRUE | typeof UNKNOWN;
type Truthful = (facts: Facts, moment: Moment) => Truth;

/** Takes a condition that checkCondition (or rule-conditions.ts) vouches for. */
export function compileCondition(condition: Condition): (facts: Facts, moment: Moment) => boolean {
  const test = compileTruth(condition);
  return (facts, moment) => test(facts, moment) === TRUE;
}

function compileTruth(condition: Condition): Truthful {
  if ('all' in condition) return combine(condition.all.map(compileTruth), FALSE, TRUE);
  if ('any' in condition) return combine(condition.any.map(compileTruth), TRUE, FALSE);
  if ('not' in condition) {
    const test = compileTruth(condition.not);
    return (facts, moment) => {
      const truth = test(facts, moment);
      return truth === UNKNOWN ? UNKNOWN : truth === TRUE ? FALSE : TRUE;
    };
  }
  return compileLeaf(condition);
}

/** `decisive` as soon as one part is; unknown if any part is; else `otherwise`. */
function combine(tests: readonly Truthful[], decisive: Truth, otherwise: Truth): Truthful {
  return (facts, moment) => {
    let truth = otherwise;
    for (const test of tests) {
      const part = test(facts, moment);
      if (part === decisive) return decisive;
      if (part === UNKNOWN) truth = UNKNOWN;
    }
    return truth;
  };
}

function compileLeaf(leaf: Leaf): Truthful {
  const { path } = leaf;
  const fact = INTERNAL_FACTS[leaf.fact];
  if (fact === undefined) throw new Error(`no such fact: ${leaf.fact}`);
  const read = (facts: Facts, moment: Moment): FactValue => {
    const value = fact.read(facts, moment);
    return path === undefined ? value : valueAt(value, path);
  };
  if (leaf.operator === 'exists') {
    return (facts, moment) => ((read(facts, moment) !== undefined) === leaf.value ? TRUE : FALSE);
  }
  const compare = compileOperator(leaf.operator, leaf.value);
  return (facts, moment) => {
    const value = read(facts, moment);
    if (value === undefined) return UNKNOWN;
    return compare(value as ConditionScalar) ? TRUE : FALSE;
  };
}

function compileOperator(
  operator: string,
  value: ConditionValue,
): (fact: ConditionScalar) => boolean {
  if (typeof value === 'object') {
    const list = new Set(value);
    if (operator === 'in') return (fact) => list.has(fact);
    if (operator === 'notIn') return (fact) => !list.has(fact);
  }
  switch (operator) {
    case 'equal':
      return (fact) => fact === value;
    case 'notEqual':
      return (fact) => fact !== value;
    case 'lessThan':
      return (fact) => (fact as number) < (value as number);
    case 'lessThanInclusive':
      return (fact) => (fact as number) <= (value as number);
    case 'greaterThan':
      return (fact) => (fact as number) > (value as number);
    case 'greaterThanInclusive':
      return (fact) => (fact as number) >= (value as number);
    case 'startsWith':
      return (fact) => (fact as string).startsWith(value as string);
    case 'notStartsWith':
      return (fact) => !(fact as string).startsWith(value as string);
    case 'endsWith':
      return (fact) => (fact as string).endsWith(value as string);
    case 'notEndsWith':
      return (fact) => !(fact as string).endsWith(value as string);
    case 'matches':
    case 'notMatches': {
      const test = compileGlob(value as string, 'whole');
      return operator === 'matches'
        ? (fact) => test(fact as string)
        : (fact) => !test(fact as string);
    }
    default:
      throw new Error(`no such operator: ${operator}`);
  }
}
