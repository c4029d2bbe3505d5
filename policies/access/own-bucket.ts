// Whether a resource of a bucket's policy can be that bucket or something in it: a policy that
// speaks of another bucket was put into the wrong one.

import { tokensOf, type Token } from './patterns.ts';

const S3_ARN = 'arn:aws:s3:::';

/** True where some key exists that the pattern matches, or it matches the bucket itself. */
export function matchesBucket(pattern: string, bucket: string, hasVariables: boolean): boolean {
  if (pattern === '*') return true;
  const tokens = tokensOf(pattern, { hasVariables, hasWildcards: true });
  // A variable may stand for anything.
  const loose = tokens.map((token): Token => (token.kind === 'variable' ? { kind: 'any' } : token));
  return canBegin(steps(loose), S3_ARN + bucket);
}

/** One character each: itself, undefined for any one, or '*'. */
type Step = { text: string } | 'one' | 'any';

function steps(tokens: readonly Token[]): Step[] {
  return tokens.flatMap((token): Step[] => {
    if (token.kind === 'text') return Array.from(token.text, (text) => ({ text }));
    return [token.kind === 'one' ? 'one' : 'any'];
  });
}

/** Whether the pattern matches `text`, or something that begins with `text/`. */
function canBegin(pattern: readonly Step[], text: string): boolean {
  let at = closed(pattern, new Set([0]));
  for (const character of text) {
    at = closed(pattern, step(pattern, at, character));
    if (at.size === 0) return false;
  }
  return at.has(pattern.length) || step(pattern, at, '/').size > 0;
}

function step(pattern: readonly Step[], at: ReadonlySet<number>, character: string): Set<number> {
  const next = new Set<number>();
  for (const place of at) {
    const here = pattern[place];
    if (here === 'any') next.add(place);
    else if (here === 'one' || (here !== undefined && here.text === character)) {
      next.add(place + 1);
    }
  }
  return next;
}

/** With the places that a star reaches by being nothing. */
function closed(pattern: readonly Step[], at: Set<number>): Set<number> {
  for (const place of at) if (pattern[place] === 'any') at.add(place + 1);
  return at;
}
