// `*` is any text, `?` one character, `${name}` a value of the request. Own matcher: a regular
// expression of a client's making backtracks for minutes. Here the text between two stars is
// searched for from left to right and never tried again: at worst text × longest piece.

/** Literal text, one character, any text, or a value of the request with what stands for it. */
export type Token =
  | { kind: 'text'; text: string }
  | { kind: 'one' }
  | { kind: 'any' }
  | { kind: 'variable'; key: string; otherwise: string | undefined };

export type Lookup = (key: string) => string | readonly string[] | undefined;

/** True or false; undefined where that depends on a value that the request has not. */
export type Matcher = (text: string, lookup: Lookup) => boolean | undefined;

const VARIABLE = /\$\{(?:([*?$])|([A-Za-z0-9:/_.@+=-]+)(?:\s*,\s*'([^']*)')?)\}/g;

/** Condition keys ignore case; the key of a tag, behind a slash, does not. */
export function normalKey(key: string): string {
  const slash = key.indexOf('/');
  return slash < 0 ? key.toLowerCase() : key.slice(0, slash).toLowerCase() + key.slice(slash);
}

export interface PatternForm {
  hasVariables: boolean;
  /** False: `*` and `?` are themselves, as in StringEquals. */
  hasWildcards: boolean;
}

export function tokensOf(pattern: string, form: PatternForm): Token[] {
  const tokens: Token[] = [];
  const pushText = (text: string): void => {
    const last = tokens.at(-1);
    if (last?.kind === 'text') last.text += text;
    else if (text !== '') tokens.push({ kind: 'text', text });
  };
  const pushPlain = (text: string): void => {
    if (!form.hasWildcards) return pushText(text);
    for (const piece of text.split(/([*?])/)) {
      if (piece === '?') tokens.push({ kind: 'one' });
      else if (piece !== '*') pushText(piece);
      else if (tokens.at(-1)?.kind !== 'any') tokens.push({ kind: 'any' });
    }
    return undefined;
  };
  if (!form.hasVariables) {
    pushPlain(pattern);
    return tokens;
  }
  let from = 0;
  for (const match of pattern.matchAll(VARIABLE)) {
    pushPlain(pattern.slice(from, match.index));
    const [whole, literal, key, otherwise] = match;
    if (literal === undefined) {
      tokens.push({ kind: 'variable', key: normalKey(key as string), otherwise });
    } else {
      pushText(literal);
    }
    from = match.index + whole.length;
  }
  pushPlain(pattern.slice(from));
  return tokens;
}

export function matcherOf(tokens: readonly Token[]): Matcher {
  if (tokens.some((token) => token.kind === 'variable')) return filledMatcher(tokens);
  const only = tokens[0];
  if (only === undefined) return (text) => text === '';
  if (tokens.length === 1 && only.kind === 'text') return (text) => text === only.text;
  if (tokens.length === 1 && only.kind === 'any') return () => true;
  const pieces = piecesOf(tokens);
  return (text) => matchPieces(text, pieces);
}

function filledMatcher(tokens: readonly Token[]): Matcher {
  const loosest = piecesOf(
    tokens.map((token) => (token.kind === 'variable' ? { kind: 'any' } : token)),
  );
  return (text, lookup) => {
    const filled = fill(tokens, lookup);
    if (filled !== undefined) return matchPieces(text, piecesOf(filled));
    // Whatever the value were: if it couldn't match so, it doesn't.
    return matchPieces(text, loosest) ? undefined : false;
  };
}

/** What a value brings is text, whatever is in it: no value of a client's is a wildcard. */
function fill(tokens: readonly Token[], lookup: Lookup): Token[] | undefined {
  const filled: Token[] = [];
  for (const token of tokens) {
    if (token.kind !== 'variable') {
      filled.push(token);
      continue;
    }
    const found = lookup(token.key);
    const value = typeof found === 'string' ? found : single(found);
    const text = value ?? token.otherwise;
    if (text === undefined) return undefined;
    filled.push({ kind: 'text', text });
  }
  return filled;
}

const single = (values: readonly string[] | undefined): string | undefined =>
  values?.length === 1 ? values[0] : undefined;

/** Between two stars: text, and undefined for one character of any kind. */
type Piece = readonly (string | undefined)[];

function piecesOf(tokens: readonly Token[]): Piece[] {
  const pieces: (string | undefined)[][] = [[]];
  for (const token of tokens) {
    const piece = pieces.at(-1) as (string | undefined)[];
    if (token.kind === 'any') pieces.push([]);
    else if (token.kind === 'one') piece.push(undefined);
    else if (token.kind === 'text' && token.text !== '') piece.push(token.text);
  }
  return pieces;
}

function matchPieces(text: string, pieces: readonly Piece[]): boolean {
  const first = pieces[0] as Piece;
  let at = endOf(text, 0, first);
  if (pieces.length === 1) return at === text.length;
  for (let i = 1; at >= 0 && i < pieces.length - 1; i += 1) {
    at = endOfNext(text, at, pieces[i] as Piece);
  }
  return at >= 0 && endsWith(text, at, pieces.at(-1) as Piece);
}

/** Where the piece ends that begins at `at`; -1 where none does. */
function endOf(text: string, at: number, piece: Piece): number {
  let end = at;
  for (const part of piece) {
    if (part === undefined) {
      if (end >= text.length) return -1;
      end += isPair(text, end) ? 2 : 1;
    } else {
      if (!text.startsWith(part, end)) return -1;
      end += part.length;
    }
  }
  return end;
}

const isPair = (text: string, at: number): boolean => (text.codePointAt(at) as number) > 0xffff;

/** Where the first such piece ends that begins at `from` or later. */
function endOfNext(text: string, from: number, piece: Piece): number {
  // What any characters stand before can be looked for behind so many of them.
  const open = piece.findIndex((part) => part !== undefined);
  if (open < 0) return endOf(text, from, piece);
  const begin = endOf(text, from, piece.slice(0, open));
  if (begin < 0) return -1;
  const head = piece[open] as string;
  const rest = piece.slice(open + 1);
  for (let at = text.indexOf(head, begin); at >= 0; at = text.indexOf(head, at + 1)) {
    const end = endOf(text, at + head.length, rest);
    if (end >= 0) return end;
  }
  return -1;
}

/** Whether such a piece ends the text, and begins at `from` or later: read from its end. */
function endsWith(text: string, from: number, piece: Piece): boolean {
  let at = text.length;
  for (let i = piece.length - 1; i >= 0; i -= 1) {
    const part = piece[i];
    if (part === undefined) at -= at > 1 && isPair(text, at - 2) ? 2 : 1;
    else if (text.endsWith(part, at)) at -= part.length;
    else return false;
    if (at < from) return false;
  }
  return true;
}
