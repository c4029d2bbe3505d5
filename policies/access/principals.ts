// Whom a statement names, read and matched. An account is named by its id, or by the ARN of its
// root; users, roles and sessions by their ARN, whole: `*` inside one is refused, as it would grow
// with every user that is made later.

import { malformedPolicy } from './json.ts';
import type { Principal, PrincipalSet } from './policy.ts';

const ACCOUNT_ID = /^[A-Za-z0-9._@+$-]{1,128}$/;
const ROOT_ARN = /^arn:aws:iam::([A-Za-z0-9._@+$-]{1,128}):root$/;
const IDENTITY_ARN =
  /^arn:aws:(?:iam::[A-Za-z0-9._@+$-]{0,128}:(?:user|role)|sts::[A-Za-z0-9._@+$-]{1,128}:(?:assumed-role|federated-user))\/[!-)+->@-~]{1,600}$/;
const SERVICE = /^[a-z0-9.-]{1,128}$/;

const refused = (value: string): Error => malformedPolicy('Invalid principal in policy', value);

/** `element`: the value of Principal or NotPrincipal. Throws MalformedPolicy. */
export function parsePrincipals(element: unknown): PrincipalSet {
  const set: PrincipalSet = { isEverybody: false, accounts: [], arns: [], services: [] };
  if (element === '*') return { ...set, isEverybody: true };
  if (typeof element !== 'object' || element === null || Array.isArray(element)) {
    throw refused(typeof element === 'string' ? element : 'Principal');
  }
  const entries = Object.entries(element as Record<string, unknown>);
  if (entries.length === 0) throw refused('Principal');
  for (const [kind, value] of entries) {
    for (const name of textsOf(value)) addPrincipal(set, kind, name);
  }
  return set;
}

function addPrincipal(set: PrincipalSet, kind: string, name: string): void {
  if (kind === 'AWS' && name === '*') set.isEverybody = true;
  else if (kind === 'AWS' && ROOT_ARN.test(name)) {
    set.accounts.push((ROOT_ARN.exec(name) as unknown as [string, string])[1]);
  } else if (kind === 'AWS' && ACCOUNT_ID.test(name)) set.accounts.push(name);
  else if (kind === 'AWS' && IDENTITY_ARN.test(name)) set.arns.push(name);
  // An account's canonical id is its id here.
  else if (kind === 'CanonicalUser' && ACCOUNT_ID.test(name)) set.accounts.push(name);
  else if (kind === 'Service' && SERVICE.test(name)) set.services.push(name);
  else throw refused(name);
}

function textsOf(value: unknown): string[] {
  const values: unknown[] = Array.isArray(value) ? value : [value];
  if (values.length === 0) throw refused('Principal');
  return values.map((one) => {
    if (typeof one !== 'string') throw refused('Principal');
    return one;
  });
}

/** whole: this very principal is named. account: only its account is. */
export function matchPrincipal(
  set: PrincipalSet,
  principal: Principal,
): 'whole' | 'account' | undefined {
  if (principal.kind === 'service') {
    return set.services.includes(principal.arn) ? 'whole' : undefined;
  }
  if (set.isEverybody) return 'whole';
  if (principal.kind === 'anonymous') return undefined;
  if (set.arns.includes(principal.arn)) return 'whole';
  if (principal.roleArn !== undefined && set.arns.includes(principal.roleArn)) return 'whole';
  if (!set.accounts.includes(principal.account)) return undefined;
  return principal.kind === 'account' ? 'whole' : 'account';
}
