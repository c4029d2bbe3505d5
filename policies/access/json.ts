// The JSON of a policy, read so that no two readers can differ: a name that is there twice in one
// object would be Deny to one and Allow to another, and JSON.parse takes the last without a word.

import { FirnError } from '../../appliance/model/errors.ts';

const DEPTH_MAX = 20;
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g;

export function malformedPolicy(message: string, place?: string): FirnError {
  return new FirnError(
    'MalformedPolicy',
    message,
    place === undefined || place === '' ? {} : { details: { Detail: place } },
  );
}

/** Throws MalformedPolicy. */
export function parsePolicyJson(text: string): unknown {
  const refusal = 'Policies must be valid JSON and the first byte must be "{"';
  if (!text.startsWith('{')) throw malformedPolicy(refusal);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw malformedPolicy(refusal);
  }
  checkNames(text);
  return value;
}

/** Of text that is valid JSON: no name twice in an object, and no deeper than sense. */
function checkNames(text: string): void {
  const open: (Set<string> | undefined)[] = [];
  let last = '';
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === '{') open.push(new Set());
    else if (token === '[') open.push(undefined);
    else if (token === '}' || token === ']') open.pop();
    else if (token === ':') {
      const name = JSON.parse(last) as string;
      const names = open.at(-1);
      if (names?.has(name) === true) throw malformedPolicy(`Duplicate field ${name}`, name);
      names?.add(name);
    }
    if (open.length > DEPTH_MAX) throw malformedPolicy('The policy is nested too deeply');
    last = token;
  }
}
