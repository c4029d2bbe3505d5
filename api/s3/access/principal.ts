// Who asks, as policies and ACLs name it. The one seam between signatures and access: an account's
// root, an IAM user or a session of a role (both bounded by policies of their own, `signer`), or
// nobody. The danger: two places that tell these apart differently.

import type { Principal } from '../../../policies/access/policy.ts';
import type { Signer } from '../input/settings.ts';
import type { Identity } from '../signature/verify.ts';

export interface Asker extends Principal {
  /** Where its own policies bound it: not for the root of an account, and not for nobody. */
  signer?: Signer;
}

const known = new WeakMap<Identity, Asker>();

export function askerOf(identity: Identity): Asker {
  let asker = known.get(identity);
  if (asker === undefined) {
    asker = newAsker(identity);
    known.set(identity, asker);
  }
  return asker;
}

function newAsker({ kind, account, signer }: Identity): Asker {
  if (kind === 'anonymous') return { kind: 'anonymous', account: '', arn: '' };
  if (signer !== undefined) return { ...signer.principal, signer };
  return { kind: 'account', account, arn: `arn:aws:iam::${account}:root` };
}

/** The root of the account that owns the bucket: nothing bounds it but a Deny of its own policy. */
export function isRootOf(owner: string, { kind, account, signer }: Identity): boolean {
  return kind !== 'anonymous' && signer === undefined && account === owner;
}
