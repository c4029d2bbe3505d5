// Whether a bucket's policy lets the public in, as BlockPublicPolicy and GetBucketPolicyStatus mean
// it: some Allow names everybody, and no condition pins it to a fixed place or account. What holds
// when a value is absent (…IfExists, negations, ForAllValues), or is a wildcard, pins nothing.

import { rangeOf } from './addresses.ts';
import { NULL_OPERATOR } from './operators.ts';
import type { AccessPolicy, Condition, Statement } from './policy.ts';

/** A pinned range is no wider: 10.0.0.0/8, an allocation of one organisation. */
const V4_BITS_MIN = 8;
const V6_BITS_MIN = 32;
const V4_BYTES = 4;
/** Of all ranges of a policy, in the widest that there may be: a few sites of an organisation. */
const WIDTH_MAX = 4;

/** Not aws:username: every account may have a user of that name. */
const PINNING_KEYS = new Set([
  'aws:principalaccount',
  'aws:principalarn',
  'aws:principalorgid',
  'aws:principalorgpaths',
  'aws:sourceaccount',
  'aws:sourcearn',
  'aws:sourceip',
  'aws:sourceorgid',
  'aws:sourcevpc',
  'aws:sourcevpce',
  'aws:userid',
  's3:dataaccesspointaccount',
  's3:dataaccesspointarn',
  's3:x-amz-server-side-encryption-aws-kms-key-id',
]);

const PINNING_OPERATORS = new Set([
  'ArnEquals',
  'ArnLike',
  'IpAddress',
  'StringEquals',
  'StringEqualsIgnoreCase',
  'StringLike',
]);

/** Deny statements change nothing here: what they leave can't be told from outside. */
export function isPublicPolicy(policy: AccessPolicy): boolean {
  const open = policy.statements.filter(isForEverybody);
  if (open.some(({ conditions }) => !conditions.some(pins))) return true;
  const pinnedBy = open.map(({ conditions }) => conditions.filter(pins));
  const byAddress = pinnedBy.filter((pinning) => pinning.every(isOfAddresses));
  const ranges = new Set(byAddress.flat().flatMap(({ values }) => values));
  // Many narrow ranges are as wide as a wide one.
  return [...ranges].reduce((sum, range) => sum + widthOf(range), 0) > WIDTH_MAX;
}

function isForEverybody({ effect, principals }: Statement): boolean {
  if (effect !== 'Allow') return false;
  return principals === undefined || principals.isNegated || principals.isEverybody;
}

const isOfAddresses = ({ operator }: Condition): boolean => operator === 'IpAddress';

function pins({ operator, quantifier, passesIfAbsent, key, values }: Condition): boolean {
  if (operator === NULL_OPERATOR || !PINNING_OPERATORS.has(operator)) return false;
  if (passesIfAbsent || quantifier === 'every' || !PINNING_KEYS.has(key)) return false;
  if (operator === 'IpAddress') return values.every((value) => widthOf(value) <= 1);
  return values.every((value) => !/[*?]|\$\{/.test(value));
}

/** 1: as wide as one range may be. What is no range is as wide as can be. */
function widthOf(value: string): number {
  const range = rangeOf(value);
  if (range === undefined) return Infinity;
  const bitsMin = range.bytes.length === V4_BYTES ? V4_BITS_MIN : V6_BITS_MIN;
  return 2 ** (bitsMin - range.bits);
}
