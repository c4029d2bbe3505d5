// Policy documents of identities: checked when they are put, compiled once by their text, and asked
// together. What can't be read, or isn't there any more, denies: it might have been a Deny.

import { FirnError, isFirnError } from '../../appliance/model/errors.ts';
import type { Identities } from '../../appliance/engine/account/identities.ts';
import type { Bearer } from '../../appliance/model/identity.ts';
import { parsePolicy } from '../../policies/access/document.ts';
import { compilePolicy, evaluate, type CompiledPolicy } from '../../policies/access/evaluate.ts';
import type { AccessRequest, PolicyKind, Verdict } from '../../policies/access/policy.ts';
import { builtInDocument, policyNameOf } from './managed-policies.ts';
import { arnOf } from './names.ts';

/** AWS's limits of one document. */
const BYTES_MAX: Record<Exclude<PolicyKind, 'bucket'>, number> = {
  identity: 10_240,
  session: 2048,
  trust: 2048,
};

const COMPILED_MAX = 2000;
const compiled = new Map<string, CompiledPolicy | 'unreadable'>();

/** Throws MalformedPolicyDocument. */
export function checkDocument(text: string, kind: Exclude<PolicyKind, 'bucket'>): string {
  try {
    parsePolicy(text, { kind, bytesMax: BYTES_MAX[kind] });
    return text;
  } catch (error) {
    if (!isFirnError(error, 'MalformedPolicy')) throw error;
    const place = error.details?.['Detail'];
    throw new FirnError(
      'MalformedPolicyDocument',
      place === undefined ? error.message : `${error.message} (${place})`,
    );
  }
}

function compiledOf(text: string, kind: Exclude<PolicyKind, 'bucket'>): CompiledPolicy | undefined {
  const name = `${kind} ${text}`;
  let known = compiled.get(name);
  if (known === undefined) {
    known = compile(text, kind);
    if (compiled.size >= COMPILED_MAX) compiled.clear();
    compiled.set(name, known);
  }
  return known === 'unreadable' ? undefined : known;
}

function compile(text: string, kind: Exclude<PolicyKind, 'bucket'>): CompiledPolicy | 'unreadable' {
  try {
    return compilePolicy(parsePolicy(text, { kind, bytesMax: BYTES_MAX[kind] }));
  } catch (error) {
    if (isFirnError(error, 'MalformedPolicy')) return 'unreadable';
    throw error;
  }
}

/** Documents that are asked as one: any Deny is final; undefined among them is one that is lost. */
export function judgeDocuments(
  texts: readonly (string | undefined)[],
  request: AccessRequest,
  kind: 'identity' | 'session' = 'identity',
): Verdict {
  let verdict: Verdict;
  for (const text of texts) {
    const policy = text === undefined ? undefined : compiledOf(text, kind);
    if (policy === undefined) return 'deny';
    const one = evaluate(policy, request);
    if (one === 'deny') return 'deny';
    verdict ??= one;
  }
  return verdict;
}

/** What a role's trust policy says of who asks. */
export function judgeTrust(text: string, request: AccessRequest): Verdict {
  const policy = compiledOf(text, 'trust');
  return policy === undefined ? 'deny' : evaluate(policy, request);
}

/** All documents of a bearer, its own and those attached. */
export async function documentsOf(
  bearer: Pick<Bearer, 'account' | 'inline' | 'attached'>,
  identities: Identities,
): Promise<(string | undefined)[]> {
  const { account, inline, attached } = bearer;
  const documents: (string | undefined)[] = Object.values(inline);
  for (const arn of attached) documents.push(await managedDocument(arn, account, identities));
  return documents;
}

/** The default version; undefined where there is no such policy. */
export async function managedDocument(
  arn: string,
  account: string,
  identities: Identities,
): Promise<string | undefined> {
  const builtIn = builtInDocument(arn);
  if (builtIn !== undefined) return builtIn;
  const name = policyNameOf(arn, account);
  if (name === undefined) return undefined;
  const policy = await identities.get('policy', { account, name });
  // Rows know names without case and path: another spelling is another ARN, and names nothing.
  if (policy === undefined || arnOf(policy) !== arn) return undefined;
  return policy.versions.find(({ id }) => id === policy.defaultVersion)?.document;
}
