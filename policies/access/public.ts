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
  'aws:username',
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
  return policy.statements.some(isPublicStatement);
}

function isPublicStatement({ effect, principals, conditions }: Statement): boolean {
  if (effect !== 'Allow') return false;
  if (principals === undefined || principals.isNegated) return true;
  return principals.isEverybody && !conditions.some(pins);
}

function pins({ operator, quantifier, passesIfAbsent, key, values }: Condition): boolean {
  if (operator === NULL_OPERATOR || !PINNING_OPERATORS.has(operator)) return false;
  if (passesIfAbsent || quantifier === 'every' || !PINNING_KEYS.has(key)) return false;
  if (operator === 'IpAddress') return values.every(isNarrow);
  return values.every((value) => !/[*?]|\$\{/.test(value));
}

function isNarrow(value: string): boolean {
  const range = rangeOf(value);
  if (range === undefined) return false;
  return range.bits >= (range.bytes.length === V4_BYTES ? V4_BITS_MIN : V6_BITS_MIN);
}
