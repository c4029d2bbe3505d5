// Which pages of other origins may read what a bucket answers: rules kept as XML, and the headers
// that they make of a request. The dangers: a rule's text or a client's that starts another header,
// and an answer that lets any page read by a visitor's own credentials.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import { childrenOf, malformed, parseXml, textOf, type XmlElement } from '../xml/parse.ts';
import {
  canonicalDocument,
  checked,
  fields,
  many,
  maybe,
  text,
  wholeNumber,
} from '../xml/shape.ts';

const RULES_MAX = 100;
/** More names than any page sends; each is looked for in each rule, and nobody has signed. */
const REQUESTED_MAX = 100;
const METHODS = ['GET', 'PUT', 'HEAD', 'POST', 'DELETE'];
const HEADER_NAME = /^[!#$%&'+.^_`|~0-9A-Za-z-]+$/;

const refused = (reason: string): FirnError => new FirnError('InvalidRequest', reason);

const value = text({ to: 1024, form: /^[!-~]+$/ });

const RULE = checked(
  fields({
    ID: maybe(text({ from: 0, to: 255 })),
    AllowedHeader: many(value, 0, 100),
    AllowedMethod: many(text({ to: 32 }), 1, 100),
    AllowedOrigin: many(value, 1, 100),
    ExposeHeader: many(text({ to: 1024 }), 0, 100),
    MaxAgeSeconds: maybe(wholeNumber(0, 999_999_999)),
  }),
  (rule) => {
    for (const { name, text: given } of rule.children) {
      if (name === 'AllowedMethod' && !METHODS.includes(given)) {
        throw refused(
          `Found unsupported HTTP method in CORS config. Unsupported method is ${given}`,
        );
      }
      if (name === 'ExposeHeader' && !HEADER_NAME.test(given)) {
        throw refused(`ExposeHeader "${given}" contains characters that no header may have.`);
      }
      const isPattern = name === 'AllowedOrigin' || name === 'AllowedHeader';
      if (isPattern && given.split('*').length > 2) {
        throw refused(`${name} "${given}" can not have more than one wildcard.`);
      }
    }
  },
);

const SHAPE = fields({ CORSRule: many(RULE, 1, RULES_MAX) });

/** Canonical XML. Throws MalformedXML, InvalidRequest. */
export function corsConfigurationOf(bytes: Uint8Array): string {
  return canonicalDocument(parseXml(bytes, 'CORSConfiguration'), SHAPE);
}

interface Pattern {
  text: string;
  matches(given: string): boolean;
}

export interface CorsRule {
  origins: readonly Pattern[];
  methods: readonly string[];
  /** Lower case. */
  headers: readonly Pattern[];
  exposed: readonly string[];
  maxAgeSeconds: string | undefined;
}

function patternOf(pattern: string): Pattern {
  const star = pattern.indexOf('*');
  if (star < 0) return { text: pattern, matches: (given) => given === pattern };
  const before = pattern.slice(0, star);
  const behind = pattern.slice(star + 1);
  const least = before.length + behind.length;
  return {
    text: pattern,
    matches: (given) => given.length >= least && given.startsWith(before) && given.endsWith(behind),
  };
}

function ruleOf(rule: XmlElement): CorsRule {
  const once = ['ID', 'MaxAgeSeconds'];
  const often = ['AllowedHeader', 'AllowedMethod', 'AllowedOrigin', 'ExposeHeader'];
  const found = childrenOf(rule, once, often);
  const all = (name: string): string[] => found.all(name).map((leaf) => textOf(leaf) as string);
  return {
    origins: all('AllowedOrigin').map(patternOf),
    methods: all('AllowedMethod'),
    headers: all('AllowedHeader').map((name) => patternOf(name.toLowerCase())),
    exposed: all('ExposeHeader'),
    maxAgeSeconds: textOf(found.one('MaxAgeSeconds')),
  };
}

const known = new Map<string, readonly CorsRule[]>();
const KNOWN_MAX = 100;

/** The rules of a kept configuration: read once, as long as it stays the same text. */
export function corsRulesOf(xml: string): readonly CorsRule[] {
  let rules = known.get(xml);
  if (rules === undefined) {
    const root = parseXml(Buffer.from(xml, 'utf8'), 'CORSConfiguration');
    rules = childrenOf(root, [], ['CORSRule']).all('CORSRule').map(ruleOf);
    if (rules.length === 0) throw malformed('no rule');
    if (known.size >= KNOWN_MAX) known.clear();
    known.set(xml, rules);
  }
  return rules;
}

/** What answers of a bucket with such rules depend on, for caches. */
export const CORS_VARY = 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method';

export interface CorsQuestion {
  origin: string;
  method: string;
  /** Names that the page wants to send. */
  requested: readonly string[];
}

/** Undefined where a request has no Origin, or names no method though it must. */
export function corsQuestionOf(method: string, headers: RequestHeaders): CorsQuestion | undefined {
  const origin = headers['origin'];
  const asked = headers['access-control-request-method'];
  if (origin === undefined || (method === 'OPTIONS' && asked === undefined)) return undefined;
  const requested = (headers['access-control-request-headers'] ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  return { origin, method: asked ?? method, requested };
}

/**
 * The headers that let the page of `origin` read the answer, by the first rule that fits; undefined
 * where none does.
 */
export function corsHeaders(
  rules: readonly CorsRule[],
  { origin, method, requested }: CorsQuestion,
): string[] | undefined {
  if (requested.length > REQUESTED_MAX) return undefined;
  for (const rule of rules) {
    const pattern = rule.origins.find((one) => one.matches(origin));
    if (pattern === undefined || !rule.methods.includes(method)) continue;
    const allows = (name: string): boolean => rule.headers.some((one) => one.matches(name));
    if (!requested.every((name) => HEADER_NAME.test(name) && allows(name))) continue;
    const headers = ['Access-Control-Allow-Origin', pattern.text === '*' ? '*' : origin];
    headers.push('Access-Control-Allow-Methods', rule.methods.join(', '));
    if (requested.length > 0) headers.push('Access-Control-Allow-Headers', requested.join(', '));
    if (rule.exposed.length > 0) {
      headers.push('Access-Control-Expose-Headers', rule.exposed.join(', '));
    }
    if (rule.maxAgeSeconds !== undefined) {
      headers.push('Access-Control-Max-Age', rule.maxAgeSeconds);
    }
    // Only for an origin that is spelled out: a pattern would let in pages nobody thought of.
    if (!pattern.text.includes('*')) headers.push('Access-Control-Allow-Credentials', 'true');
    return headers;
  }
  return undefined;
}
