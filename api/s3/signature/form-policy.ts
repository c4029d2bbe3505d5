// The policy of an upload form: what its signer lets anybody send who holds the form. The dangers:
// a field that no condition speaks of and that counts all the same (another key, another bucket, a
// public ACL), and a condition that isn't understood and is passed over. So the document is read
// strictly, every field must be spoken of, and a condition on a field that isn't there fails.

import { FirnError } from '../../../appliance/model/errors.ts';
import { PUT_BYTES_MAX } from '../../../appliance/model/limits.ts';

/** Names in lower case, in the order sent; none is there twice. */
export type FormFields = ReadonlyMap<string, string>;

interface Condition {
  kind: 'eq' | 'starts-with';
  /** Lower case. */
  field: string;
  value: string;
}

export interface FormPolicy {
  /** Wall ms. */
  expiresAt: number;
  conditions: readonly Condition[];
  /** Of the file, inclusive. */
  size: SizeRange;
}

export interface SizeRange {
  from: number;
  to: number;
}

export const ANY_SIZE: SizeRange = { from: 0, to: PUT_BYTES_MAX };

const CONDITIONS_MAX = 200;
/** Of text without blanks: one run of characters, so that it is read once. */
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const EXPIRATION = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z$/;

const invalid = (reason: string): FirnError =>
  new FirnError('InvalidPolicyDocument', `Invalid Policy: ${reason}.`);

/** The policy field as it was signed. Throws InvalidPolicyDocument. */
export function parseFormPolicy(base64: string): FormPolicy {
  const document = parseDocument(base64);
  for (const name of Object.keys(document)) {
    if (name !== 'expiration' && name !== 'conditions') throw invalid(`unexpected '${name}'`);
  }
  const { expiration, conditions } = document;
  if (typeof expiration !== 'string' || !EXPIRATION.test(expiration)) {
    throw invalid('it needs an expiration in the form YYYY-MM-DDTHH:MM:SSZ');
  }
  const expiresAt = Date.parse(expiration);
  if (Number.isNaN(expiresAt)) throw invalid('its expiration is no date');
  if (!Array.isArray(conditions)) throw invalid('it needs a list of conditions');
  if (conditions.length > CONDITIONS_MAX) throw invalid('it has too many conditions');
  const policy = { expiresAt, conditions: [] as Condition[], size: { ...ANY_SIZE } };
  for (const condition of conditions as unknown[]) addCondition(policy, condition);
  return policy;
}

function parseDocument(base64: string): Record<string, unknown> {
  if (!BASE64.test(base64.replaceAll(/\s+/g, ''))) throw invalid('it is not base64');
  let value: unknown;
  try {
    const bytes = Buffer.from(base64, 'base64');
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw new FirnError('InvalidPolicyDocument', 'Invalid Policy: it is not JSON.', { cause });
  }
  if (!isRecord(value)) throw invalid('it must be an object');
  return value;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function addCondition(
  policy: { conditions: Condition[]; size: SizeRange },
  condition: unknown,
): void {
  if (isRecord(condition)) {
    const [pair, another] = Object.entries(condition);
    if (pair === undefined || another !== undefined) {
      throw invalid('a simple condition has exactly one property');
    }
    const [name, value] = pair;
    policy.conditions.push({ kind: 'eq', field: name.toLowerCase(), value: textOf(value) });
    return;
  }
  if (!Array.isArray(condition) || condition.length !== 3) {
    throw invalid('a condition is an object, or a list of three');
  }
  const [operator, left, right] = condition as [unknown, unknown, unknown];
  const kind = textOf(operator).toLowerCase();
  if (kind === 'content-length-range') {
    // Several narrow each other.
    const range = { from: boundOf(left), to: boundOf(right) };
    if (range.from > range.to) throw invalid('content-length-range ends before it begins');
    policy.size.from = Math.max(policy.size.from, range.from);
    policy.size.to = Math.min(policy.size.to, range.to);
    return;
  }
  if (kind !== 'eq' && kind !== 'starts-with') throw invalid('a condition has an unknown operator');
  const name = textOf(left);
  if (name.length < 2 || !name.startsWith('$')) throw invalid('a field is named as $field');
  policy.conditions.push({ kind, field: name.slice(1).toLowerCase(), value: textOf(right) });
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  throw invalid('a condition must be made of texts');
}

/** Some makers of forms write numbers as texts. */
function boundOf(value: unknown): number {
  const bound = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof bound === 'number' && Number.isSafeInteger(bound) && bound >= 0) return bound;
  throw invalid('content-length-range takes two whole numbers');
}

/**
 * What no condition needs to speak of: the signature itself and what it is made over, and
 * checksums, which can only refuse bytes.
 */
const EXEMPT = new Set(['awsaccesskeyid', 'file', 'policy', 'signature', 'x-amz-signature']);
const EXEMPT_PREFIXES = ['x-ignore-', 'x-amz-checksum-'];

function isExempt(field: string): boolean {
  return EXEMPT.has(field) || EXEMPT_PREFIXES.some((prefix) => field.startsWith(prefix));
}

const denied = (reason: string): FirnError =>
  new FirnError('AccessDenied', `Invalid according to Policy: ${reason}`);

/**
 * Returns if the form keeps the policy, its file's size apart. `fields` as they count: the URL's
 * bucket, the key with its file name. Throws AccessDenied.
 */
export function checkFormPolicy(policy: FormPolicy, fields: FormFields, wall: number): void {
  if (wall >= policy.expiresAt) throw denied('Policy expired.');
  for (const condition of policy.conditions) {
    if (!holds(condition, fields.get(condition.field))) {
      const { kind, field, value } = condition;
      const shown = JSON.stringify([kind, `$${field}`, value]);
      throw denied(`Policy Condition failed: ${shown}`);
    }
  }
  const spokenOf = new Set(policy.conditions.map(({ field }) => field));
  const extra = [...fields.keys()].filter((field) => !isExempt(field) && !spokenOf.has(field));
  if (extra.length > 0) throw denied(`Extra input fields: ${extra.join(', ')}`);
}

function holds({ kind, field, value }: Condition, given: string | undefined): boolean {
  // To begin with nothing is to be anything, and so also absent: nothing is let through by that.
  if (given === undefined) return kind === 'starts-with' && value === '';
  if (kind === 'eq') return given === value;
  // A list of types must begin so in each of its entries, as S3 has it.
  if (field === 'content-type' && given.includes(',')) {
    return given.split(',').every((one) => one.trim().startsWith(value));
  }
  return given.startsWith(value);
}
