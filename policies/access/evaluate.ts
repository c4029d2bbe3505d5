// The decision of one policy. Compiled once, asked often: about 2 µs of 20 statements. The dangers,
// each one a hole that some store had: an Allow that is read before the Deny behind it; a Not…
// element that is read as its opposite; an empty list that is "all". So every statement is looked
// at until one denies, and what is not there matches nothing.

import { arnMatcher } from './arns.ts';
import { compileConditions, type Test } from './conditions.ts';
import { matcherOf, tokensOf, type Matcher } from './patterns.ts';
import type { AccessPolicy, AccessRequest, PrincipalSet, Statement, Verdict } from './policy.ts';
import { matchPrincipal } from './principals.ts';

interface CompiledStatement {
  isDeny: boolean;
  /** Exact actions, lower case; the rest are patterns. */
  actions: ReadonlySet<string>;
  actionPatterns: readonly Matcher[];
  isNotAction: boolean;
  principals: (PrincipalSet & { isNegated: boolean }) | undefined;
  resources: readonly Matcher[] | undefined;
  isNotResource: boolean;
  tests: readonly Test[];
}

export interface CompiledPolicy {
  readonly policy: AccessPolicy;
  readonly statements: readonly CompiledStatement[];
}

export function compilePolicy(policy: AccessPolicy): CompiledPolicy {
  const { hasVariables } = policy;
  return { policy, statements: policy.statements.map((one) => compiled(one, hasVariables)) };
}

function compiled(statement: Statement, hasVariables: boolean): CompiledStatement {
  const { actions, resources, principals, effect } = statement;
  const lower = actions.patterns.map((pattern) => pattern.toLowerCase());
  const wild = lower.filter((pattern) => /[*?]/.test(pattern));
  return {
    isDeny: effect === 'Deny',
    actions: new Set(lower.filter((pattern) => !/[*?]/.test(pattern))),
    actionPatterns: wild.map((pattern) =>
      matcherOf(tokensOf(pattern, { hasVariables: false, hasWildcards: true })),
    ),
    isNotAction: actions.isNegated,
    principals,
    resources: resources?.patterns.map((pattern) => arnMatcher(pattern, hasVariables)),
    isNotResource: resources?.isNegated === true,
    tests: compileConditions(statement, hasVariables),
  };
}

const nothing = (): undefined => undefined;

/** What this policy says of the request. Throws nothing, changes nothing. */
export function evaluate(compiledPolicy: CompiledPolicy, request: AccessRequest): Verdict {
  const action = request.action.toLowerCase();
  let verdict: Verdict;
  for (const statement of compiledPolicy.statements) {
    // What another statement can't better, unless it denies, isn't asked for.
    if (verdict === 'allow' && !statement.isDeny) continue;
    if (!coversAction(statement, action)) continue;
    const whom = coversPrincipal(statement, request);
    if (whom === undefined) continue;
    if (!coversResource(statement, request)) continue;
    if (!statement.tests.every((test) => test(request.lookup))) continue;
    if (statement.isDeny) return 'deny';
    verdict = whom === 'whole' ? 'allow' : 'delegated';
  }
  return verdict;
}

function coversAction(statement: CompiledStatement, action: string): boolean {
  const isNamed =
    statement.actions.has(action) ||
    statement.actionPatterns.some((pattern) => pattern(action, nothing) === true);
  return isNamed !== statement.isNotAction;
}

function coversPrincipal(
  { principals, isDeny }: CompiledStatement,
  { principal }: AccessRequest,
): 'whole' | 'account' | undefined {
  if (principals === undefined) return 'whole';
  const whom = matchPrincipal(principals, principal);
  if (!principals.isNegated) return whom;
  // Spared is only who is named itself: a user isn't by its account. Nobody is allowed so.
  return isDeny && whom !== 'whole' ? 'whole' : undefined;
}

function coversResource(statement: CompiledStatement, request: AccessRequest): boolean {
  const { resources, isNotResource, isDeny } = statement;
  if (resources === undefined) return true;
  let named: boolean | undefined = false;
  for (const matcher of resources) {
    const one = matcher(request.resource, request.lookup);
    if (one === true) return !isNotResource;
    if (one === undefined) named = undefined;
  }
  // A name that depends on what the request has not counts against the asker.
  return named === undefined ? isDeny : isNotResource;
}
