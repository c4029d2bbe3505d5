// The condition operators: how one value of a request compares to the values of a policy. A value
// that can't be read as the operator's type is neither equal nor unequal: `undefined`, which a
// statement then counts against the asker.

import { addressOf, isInRange, rangeOf, type AddressRange } from './addresses.ts';
import { arnMatcher, isArnPattern } from './arns.ts';
import { matcherOf, tokensOf, type Lookup, type Matcher } from './patterns.ts';

export interface Operator {
  isNegated: boolean;
  /** Whether the policy may hold this value. */
  isValue(value: string, hasVariables: boolean): boolean;
  /** Of one value of the policy, without the negation. */
  matcher(value: string, hasVariables: boolean): Matcher;
}

type Compare = (asked: number, ruled: number) => boolean;

const NUMBER = /^[+-]?(?:\d{1,20}(?:\.\d{1,20})?|\.\d{1,20})$/;
const EPOCH_SECONDS = /^-?\d{1,12}$/;
const ISO_DATE = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const BOOLEAN = /^(?:true|false)$/i;

const isVariable = (value: string, hasVariables: boolean): boolean =>
  hasVariables && value.includes('${');

const text =
  (hasWildcards: boolean) =>
  (value: string, hasVariables: boolean): Matcher =>
    matcherOf(tokensOf(value, { hasVariables, hasWildcards }));

function ignoringCase(value: string, hasVariables: boolean): Matcher {
  const form = { hasVariables, hasWildcards: false };
  const tokens = tokensOf(value, form).map((token) =>
    token.kind === 'text' ? { ...token, text: token.text.toLowerCase() } : token,
  );
  const matcher = matcherOf(tokens);
  return (asked, lookup) =>
    matcher(asked.toLowerCase(), (key) => {
      const found = lookup(key);
      return typeof found === 'string'
        ? found.toLowerCase()
        : found?.map((one) => one.toLowerCase());
    });
}

/**
 * Of values that are read before they are compared. Those of the policy are read once, but for
 * variables.
 */
function typed<T>(
  read: (text: string) => T | undefined,
  compare: (asked: T, ruled: T) => boolean,
): Pick<Operator, 'isValue' | 'matcher'> {
  return {
    isValue: (value, hasVariables) => isVariable(value, hasVariables) || read(value) !== undefined,
    matcher: (value, hasVariables) => {
      const fixed = isVariable(value, hasVariables) ? undefined : read(value);
      const ruledOf =
        fixed === undefined ? filled(value, hasVariables, read) : (): T | undefined => fixed;
      return (asked, lookup) => {
        const left = read(asked);
        const right = ruledOf(lookup);
        return left === undefined || right === undefined ? undefined : compare(left, right);
      };
    },
  };
}

/** The value that a single variable stands for. */
function filled<T>(
  value: string,
  hasVariables: boolean,
  read: (text: string) => T | undefined,
): (lookup: Lookup) => T | undefined {
  const [token, ...more] = tokensOf(value, { hasVariables, hasWildcards: false });
  if (token?.kind !== 'variable' || more.length > 0) return () => undefined;
  return (lookup) => {
    const found = lookup(token.key) ?? token.otherwise;
    return typeof found === 'string' ? read(found) : undefined;
  };
}

function numberOf(value: string): number | undefined {
  return NUMBER.test(value) ? Number(value) : undefined;
}

/** ISO 8601, or seconds since 1970. In milliseconds. */
function dateOf(value: string): number | undefined {
  if (EPOCH_SECONDS.test(value)) return Number(value) * 1000;
  if (!ISO_DATE.test(value)) return undefined;
  // Without a zone: UTC, as everything that S3 says of time.
  const hasZone = !value.includes('T') || /(?:Z|[+-]\d\d:?\d\d)$/.test(value);
  const at = Date.parse(hasZone ? value : `${value}Z`);
  return Number.isNaN(at) ? undefined : at;
}

const booleanOf = (value: string): boolean | undefined =>
  BOOLEAN.test(value) ? value.toLowerCase() === 'true' : undefined;

const bytesOf = (value: string): string | undefined =>
  BASE64.test(value) ? Buffer.from(value, 'base64').toString('latin1') : undefined;

const address: Pick<Operator, 'isValue' | 'matcher'> = {
  isValue: (value) => rangeOf(value) !== undefined,
  matcher: (value) => {
    const range = rangeOf(value) as AddressRange;
    return (asked) => {
      const bytes = addressOf(asked);
      return bytes === undefined ? undefined : isInRange(bytes, range);
    };
  },
};

const any = (): boolean => true;
const arn = { isValue: isArnPattern, matcher: arnMatcher };
const exact = { isValue: any, matcher: text(false) };
const like = { isValue: any, matcher: text(true) };
const anyCase = { isValue: any, matcher: ignoringCase };
const number = (compare: Compare): Pick<Operator, 'isValue' | 'matcher'> =>
  typed(numberOf, compare);
const date = (compare: Compare): Pick<Operator, 'isValue' | 'matcher'> => typed(dateOf, compare);

const equal: Compare = (asked, ruled) => asked === ruled;
const less: Compare = (asked, ruled) => asked < ruled;
const lessOrEqual: Compare = (asked, ruled) => asked <= ruled;
const greater: Compare = (asked, ruled) => asked > ruled;
const greaterOrEqual: Compare = (asked, ruled) => asked >= ruled;

const is = (of: Pick<Operator, 'isValue' | 'matcher'>): Operator => ({ ...of, isNegated: false });
const isNot = (of: Pick<Operator, 'isValue' | 'matcher'>): Operator => ({ ...of, isNegated: true });

/** By name. `Null` is none of them: it asks for no value (conditions.ts). */
export const OPERATORS: ReadonlyMap<string, Operator> = new Map([
  ['StringEquals', is(exact)],
  ['StringNotEquals', isNot(exact)],
  ['StringEqualsIgnoreCase', is(anyCase)],
  ['StringNotEqualsIgnoreCase', isNot(anyCase)],
  ['StringLike', is(like)],
  ['StringNotLike', isNot(like)],
  ['NumericEquals', is(number(equal))],
  ['NumericNotEquals', isNot(number(equal))],
  ['NumericLessThan', is(number(less))],
  ['NumericLessThanEquals', is(number(lessOrEqual))],
  ['NumericGreaterThan', is(number(greater))],
  ['NumericGreaterThanEquals', is(number(greaterOrEqual))],
  ['DateEquals', is(date(equal))],
  ['DateNotEquals', isNot(date(equal))],
  ['DateLessThan', is(date(less))],
  ['DateLessThanEquals', is(date(lessOrEqual))],
  ['DateGreaterThan', is(date(greater))],
  ['DateGreaterThanEquals', is(date(greaterOrEqual))],
  ['Bool', is(typed(booleanOf, (asked, ruled) => asked === ruled))],
  ['BinaryEquals', is(typed(bytesOf, (asked, ruled) => asked === ruled))],
  ['IpAddress', is(address)],
  ['NotIpAddress', isNot(address)],
  ['ArnEquals', is(arn)],
  ['ArnLike', is(arn)],
  ['ArnNotEquals', isNot(arn)],
  ['ArnNotLike', isNot(arn)],
]);

export const NULL_OPERATOR = 'Null';
