// ARNs: six parts by colons, the last with colons of its own. A star in one part never reaches into
// the next: `arn:aws:s3:*:b` names no bucket.

import { matcherOf, tokensOf, type Lookup, type Matcher, type Token } from './patterns.ts';

const HEAD_PARTS = 5;

/** Where the sixth part begins; -1 in what is no ARN. */
export function resourceStart(arn: string): number {
  if (!arn.startsWith('arn:')) return -1;
  let at = -1;
  for (let part = 0; part < HEAD_PARTS; part += 1) {
    at = arn.indexOf(':', at + 1);
    if (at < 0) return -1;
  }
  return at + 1;
}

/** False for a pattern that no ARN can match. */
export function isArnPattern(pattern: string, hasVariables: boolean): boolean {
  if (pattern === '*') return true;
  const tokens = tokensOf(pattern, { hasVariables, hasWildcards: true });
  return isOneVariable(tokens) || partsOf(tokens) !== undefined;
}

const isOneVariable = (tokens: readonly Token[]): boolean =>
  tokens.length === 1 && tokens[0]?.kind === 'variable';

/** Of a whole ARN; what is no ARN matches nothing but `*`. */
export function arnMatcher(pattern: string, hasVariables: boolean): Matcher {
  if (pattern === '*') return () => true;
  const tokens = tokensOf(pattern, { hasVariables, hasWildcards: true });
  if (isOneVariable(tokens)) return matcherOf(tokens);
  const parts = partsOf(tokens);
  if (parts === undefined) return () => false;
  const head = parts.slice(0, HEAD_PARTS);
  const fixed = fixedText(head);
  if (fixed === undefined) {
    const heads = head.map(matcherOf);
    const last = matcherOf(parts[HEAD_PARTS] as Token[]);
    return (arn, lookup) => matchParts(arn, heads, { last, lookup });
  }
  // Nearly all patterns: text, and perhaps a star behind it. Most ARNs are told by that text.
  const [first, ...more] = parts[HEAD_PARTS] as Token[];
  const isText = first?.kind === 'text';
  const start = isText ? fixed + first.text : fixed;
  const rest = matcherOf(isText ? more : (parts[HEAD_PARTS] as Token[]));
  return (arn, lookup) => (arn.startsWith(start) ? rest(arn.slice(start.length), lookup) : false);
}

function matchParts(
  arn: string,
  heads: readonly Matcher[],
  { last, lookup }: { last: Matcher; lookup: Lookup },
): boolean | undefined {
  const start = resourceStart(arn);
  if (start < 0) return false;
  const texts = arn.slice(0, start - 1).split(':');
  const found = heads.map((head, i) => head(texts[i] as string, lookup));
  found.push(last(arn.slice(start), lookup));
  if (found.includes(false)) return false;
  return found.includes(undefined) ? undefined : true;
}

function fixedText(parts: readonly Token[][]): string | undefined {
  let text = '';
  for (const part of parts) {
    for (const token of part) {
      if (token.kind !== 'text') return undefined;
      text += token.text;
    }
    text += ':';
  }
  return text;
}

/** The six parts as tokens; undefined where there are fewer, or the first isn't `arn`. */
function partsOf(tokens: readonly Token[]): Token[][] | undefined {
  const parts: Token[][] = [[]];
  for (const token of tokens) {
    if (token.kind !== 'text') {
      parts.at(-1)?.push(token);
      continue;
    }
    let rest = token.text;
    while (parts.length <= HEAD_PARTS) {
      const colon = rest.indexOf(':');
      if (colon < 0) break;
      if (colon > 0) parts.at(-1)?.push({ kind: 'text', text: rest.slice(0, colon) });
      parts.push([]);
      rest = rest.slice(colon + 1);
    }
    if (rest !== '') parts.at(-1)?.push({ kind: 'text', text: rest });
  }
  const [first] = parts[0] as Token[];
  const isArn = first?.kind === 'text' && first.text === 'arn' && parts[0]?.length === 1;
  return isArn && parts.length === HEAD_PARTS + 1 ? parts : undefined;
}
