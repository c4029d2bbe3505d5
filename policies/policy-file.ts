// Reads policy files: YAML, `version: 1`, strict. Unknown fields, warnings, quoted numbers and empty
// conditions are refused with file, line, column and remedy, because a filter that was dropped in
// silence widens a delete.

import type { Rule } from './rule.ts';

/** Throws PolicyInvalid; its subject is `file:line:column` of the first problem, its message all. */
export function parsePolicyFile(_file: string, _text: string): Rule[] {
  throw new Error('not yet');
}

/** JSON Schema of a policy file, for editors. */
export function policyFileJsonSchema(): object {
  throw new Error('not yet');
}
