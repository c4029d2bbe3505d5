// Globs over bucket names, keys and content types. `*` is any run of characters, '/' too (as in
// S3's access policies), `?` one character, `\` takes the next one literally. Not regular
// expressions, on purpose: an operator's pattern may not be able to stall a scan, and this matcher
// never takes more than length × pattern steps.

import type { Glob } from './rule.ts';

export type TextTest = (text: string) => boolean;

type Token = { kind: 'text'; char: string } | { kind: 'one' } | { kind: 'run' };

/** A pattern that matches exactly this text. */
export function escapeGlob(text: string): Glob {
  return text.replace(/[\\*?]/g, '\\$&');
}

/** A test for texts that the glob matches as a whole, or (`prefix`) whose beginning it matches. */
export function compileGlob(glob: Glob, extent: 'whole' | 'prefix'): TextTest {
  const tokens = tokenize(glob);
  if (extent === 'prefix') tokens.push({ kind: 'run' });
  const last = tokens.at(-1);
  const open = last?.kind === 'run';
  const fixed = open ? tokens.slice(0, -1) : tokens;
  if (fixed.every((token) => token.kind === 'text')) {
    const literal = fixed.map((token) => token.char).join('');
    if (!open) return (text) => text === literal;
    return literal === '' ? () => true : (text) => text.startsWith(literal);
  }
  return (text) => matches(tokens, Array.from(text));
}

/** A test that any of the globs matches. */
export function compileGlobs(globs: readonly Glob[], extent: 'whole' | 'prefix'): TextTest {
  const tests = globs.map((glob) => compileGlob(glob, extent));
  const [first] = tests;
  if (first !== undefined && tests.length === 1) return first;
  return (text) => tests.some((test) => test(text));
}

function tokenize(glob: Glob): Token[] {
  const tokens: Token[] = [];
  const points = Array.from(glob);
  for (let index = 0; index < points.length; index += 1) {
    const point = points[index] as string;
    if (point === '*') {
      if (tokens.at(-1)?.kind !== 'run') tokens.push({ kind: 'run' });
    } else if (point === '?') {
      tokens.push({ kind: 'one' });
    } else {
      if (point === '\\') index += 1;
      tokens.push({ kind: 'text', char: points[index] ?? '\\' });
    }
  }
  return tokens;
}

/** Greedy with one point to fall back to: exact for this kind of pattern. */
function matches(tokens: readonly Token[], text: readonly string[]): boolean {
  let at = 0;
  let token = 0;
  let runToken = -1;
  let runAt = 0;
  while (at < text.length) {
    const current = tokens[token];
    if (current?.kind === 'run') {
      runToken = token;
      runAt = at;
      token += 1;
    } else if (current?.kind === 'one' || (current && current.char === text[at])) {
      token += 1;
      at += 1;
    } else if (runToken >= 0) {
      runAt += 1;
      at = runAt;
      token = runToken + 1;
    } else {
      return false;
    }
  }
  while (tokens[token]?.kind === 'run') token += 1;
  return token === tokens.length;
}
