// Reads the JSON of an access policy. Strict: a field that we do not know might have narrowed an
// Allow, so it is refused and never skipped; so is an empty list, and whatever could be understood
// in two ways. The errors are those that AWS gives, with the place in `Detail`.

import type { FirnError } from '../../appliance/model/errors.ts';
import { isActionPattern, isKnownS3Action } from './actions.ts';
import { isArnPattern } from './arns.ts';
import { isKnownKey } from './condition-keys.ts';
import { malformedPolicy, parsePolicyJson } from './json.ts';
import { NULL_OPERATOR, OPERATORS } from './operators.ts';
import { matchesBucket } from './own-bucket.ts';
import { normalKey } from './patterns.ts';
import type { AccessPolicy, Condition, PolicyKind, Statement, TextSet } from './policy.ts';
import { parsePrincipals } from './principals.ts';

export const BUCKET_POLICY_BYTES_MAX = 20 * 1024;
const PATTERN_CHARACTERS_MAX = 2048;
/** Each may have to be tried at each place of a text; nobody means so many. */
const QUESTION_MARKS_MAX = 500;

export interface PolicyOrigin {
  kind: PolicyKind;
  bytesMax: number;
  /** Of a bucket's policy: it may speak of no other. */
  bucket?: string;
}

type Json = Record<string, unknown>;

const POLICY_FIELDS = ['Version', 'Id', 'Statement'];
const STATEMENT_FIELDS = ['Sid', 'Effect', 'Action', 'NotAction', 'Condition'];
const PRINCIPAL_FIELDS = ['Principal', 'NotPrincipal'];
const RESOURCE_FIELDS = ['Resource', 'NotResource'];

/** The policy of a bucket, as PutBucketPolicy takes it. Throws MalformedPolicy. */
export function parseBucketPolicy(text: string, bucket: string): AccessPolicy {
  return parsePolicy(text, { kind: 'bucket', bytesMax: BUCKET_POLICY_BYTES_MAX, bucket });
}

/** Throws MalformedPolicy with AWS's message. */
export function parsePolicy(text: string, origin: PolicyOrigin): AccessPolicy {
  if (Buffer.byteLength(text) > origin.bytesMax) {
    throw malformedPolicy(
      `Normalized policy document exceeds the maximum allowed size of ${origin.bytesMax} bytes.`,
    );
  }
  const document = parsePolicyJson(text) as Json;
  if (text.split('?', QUESTION_MARKS_MAX + 2).length > QUESTION_MARKS_MAX + 1) {
    throw malformedPolicy(`A policy has at most ${QUESTION_MARKS_MAX} question marks.`);
  }
  checkFields(document, POLICY_FIELDS, '');
  const { Version: version = '2008-10-17', Id: id, Statement: statement } = document;
  if (version !== '2012-10-17' && version !== '2008-10-17') {
    throw malformedPolicy('The policy must contain a valid version string', 'Version');
  }
  if (id !== undefined && typeof id !== 'string') throw malformedPolicy('Invalid Id', 'Id');
  if (statement === undefined) throw missing('Statement', '');
  const list: unknown[] = Array.isArray(statement) ? statement : [statement];
  if (list.length === 0) throw malformedPolicy('Could not parse the policy: Statement is empty!');
  const hasVariables = version === '2012-10-17';
  const statements = list.map((one, index) =>
    parseStatement(one, { origin, hasVariables, place: `Statement[${index}]` }),
  );
  const sids = statements.flatMap(({ sid }) => (sid === undefined ? [] : [sid]));
  if (new Set(sids).size < sids.length) {
    throw malformedPolicy('Statement IDs (SID) in a single policy must be unique.');
  }
  return { kind: origin.kind, hasVariables, statements };
}

interface Place {
  origin: PolicyOrigin;
  hasVariables: boolean;
  place: string;
}

function parseStatement(value: unknown, at: Place): Statement {
  const { place, origin } = at;
  if (!isObject(value)) throw malformedPolicy('Statement must be an object', place);
  const hasPrincipal = origin.kind === 'bucket' || origin.kind === 'trust';
  const hasResource = origin.kind !== 'trust';
  const fields = [
    ...STATEMENT_FIELDS,
    ...(hasPrincipal ? PRINCIPAL_FIELDS : []),
    ...(hasResource ? RESOURCE_FIELDS : []),
  ];
  checkFields(value, fields, place);
  const { Sid: sid, Effect: effect } = value;
  if (effect === undefined) throw missing('Effect', place);
  if (effect !== 'Allow' && effect !== 'Deny') {
    throw malformedPolicy(`Invalid effect: ${shown(effect)}`, place);
  }
  const statement: Statement = {
    effect,
    actions: actionsOf(value, at),
    conditions: conditionsOf(value['Condition'], at),
  };
  if (sid !== undefined) {
    if (typeof sid !== 'string') throw malformedPolicy('Invalid Sid', place);
    if (sid !== '') statement.sid = sid;
  }
  if (hasPrincipal) statement.principals = principalsOf(value, { effect, place });
  if (hasResource) statement.resources = resourcesOf(value, at);
  return statement;
}

function principalsOf(
  value: Json,
  { effect, place }: { effect: string; place: string },
): NonNullable<Statement['principals']> {
  const isNegated = oneOf(value, 'Principal', place);
  if (isNegated && effect === 'Allow') {
    throw malformedPolicy('Allow with NotPrincipal is not allowed.', place);
  }
  return { ...parsePrincipals(value[isNegated ? 'NotPrincipal' : 'Principal']), isNegated };
}

function actionsOf(value: Json, { origin, place }: Place): TextSet {
  const isNegated = oneOf(value, 'Action', place);
  const patterns = texts(value[isNegated ? 'NotAction' : 'Action'], 'action', place);
  for (const pattern of patterns) {
    const isKnown = origin.kind === 'bucket' ? isKnownS3Action(pattern) : isActionPattern(pattern);
    if (!isKnown) throw malformedPolicy('Policy has invalid action', pattern);
  }
  return { isNegated, patterns };
}

function resourcesOf(value: Json, { origin, place, hasVariables }: Place): TextSet {
  const isNegated = oneOf(value, 'Resource', place);
  const patterns = texts(value[isNegated ? 'NotResource' : 'Resource'], 'resource', place);
  for (const pattern of patterns) {
    const isOwn =
      origin.bucket === undefined || matchesBucket(pattern, origin.bucket, hasVariables);
    if (!isOwn || !isArnPattern(pattern, hasVariables)) {
      throw malformedPolicy('Policy has invalid resource', pattern);
    }
  }
  return { isNegated, patterns };
}

const OPERATOR_FORM = /^(?:(ForAllValues|ForAnyValue):)?([A-Za-z]+?)(IfExists)?$/;

function conditionsOf(value: unknown, at: Place): Condition[] {
  if (value === undefined) return [];
  if (!isObject(value)) throw malformedPolicy('Condition must be an object', at.place);
  return Object.entries(value).flatMap(([name, keys]) => {
    if (!isObject(keys)) throw malformedPolicy(`Invalid Condition: ${name}`, at.place);
    return Object.entries(keys).map(([key, values]) => conditionOf({ name, key, values }, at));
  });
}

function conditionOf(
  { name, key: written, values: given }: { name: string; key: string; values: unknown },
  { origin, place, hasVariables }: Place,
): Condition {
  const [, quantifier, operator = '', ifExists] = OPERATOR_FORM.exec(name) ?? [];
  const isNull = operator === NULL_OPERATOR;
  const known = OPERATORS.get(operator);
  const isPlain = quantifier === undefined && ifExists === undefined;
  if (isNull ? !isPlain : known === undefined) {
    throw malformedPolicy(`Invalid Condition type : ${name}`, place);
  }
  const key = normalKey(written);
  if (origin.kind === 'bucket' && !isKnownKey(key)) {
    throw malformedPolicy('Policy has an invalid condition key', written);
  }
  const values = scalars(given, `${place}.Condition.${name}.${written}`);
  const isValue = (text: string): boolean =>
    known === undefined ? /^(?:true|false)$/i.test(text) : known.isValue(text, hasVariables);
  for (const text of values) {
    if (text.length > PATTERN_CHARACTERS_MAX || !isValue(text)) {
      throw malformedPolicy(`Invalid value of Condition ${name}`, text);
    }
  }
  const condition: Condition = { operator, passesIfAbsent: ifExists !== undefined, key, values };
  if (quantifier !== undefined) {
    condition.quantifier = quantifier === 'ForAllValues' ? 'every' : 'some';
  }
  return condition;
}

/** Exactly one of X and NotX; true for NotX. */
function oneOf(value: Json, name: string, place: string): boolean {
  const isNegated = value[`Not${name}`] !== undefined;
  if (isNegated && value[name] !== undefined) {
    throw malformedPolicy(`Statement has both ${name} and Not${name}`, place);
  }
  if (!isNegated && value[name] === undefined) throw missing(name, place);
  return isNegated;
}

function texts(value: unknown, what: string, place: string): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw malformedPolicy(`Policy has invalid ${what}`, place);
  return list.map((one) => {
    if (typeof one !== 'string' || one === '' || one.length > PATTERN_CHARACTERS_MAX) {
      throw malformedPolicy(`Policy has invalid ${what}`, shown(one));
    }
    return one;
  });
}

/** Numbers and booleans may stand without quotes. */
function scalars(value: unknown, place: string): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw malformedPolicy('Condition has no value', place);
  return list.map((one) => {
    if (typeof one === 'string') return one;
    if (typeof one === 'number' || typeof one === 'boolean') return String(one);
    throw malformedPolicy('Condition has an invalid value', place);
  });
}

function checkFields(value: Json, known: readonly string[], place: string): void {
  for (const name of Object.keys(value)) {
    if (!known.includes(name)) throw malformedPolicy(`Unknown field ${name}`, place);
  }
}

const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const shown = (value: unknown): string =>
  (typeof value === 'string' ? value : (JSON.stringify(value) ?? '')).slice(0, 200);

const missing = (name: string, place: string): FirnError =>
  malformedPolicy(`Missing required field ${name}`, place);
