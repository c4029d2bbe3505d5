// What a caller of an action has of the condition keys of policies. Other than requests of S3 these
// have no headers that mean anything: the time, where it comes from, and who it is.

import type { AccessRequest } from '../../policies/access/policy.ts';
import type { Call } from './action.ts';

export function judged(
  call: Call,
  { action, resource }: { action: string; resource: string },
): AccessRequest {
  const { caller, settings, remoteAddress, isSecure, userAgent } = call;
  const values = new Map<string, () => string | undefined>([
    ['aws:currenttime', () => new Date(settings.clock.wall()).toISOString()],
    ['aws:epochtime', () => String(Math.floor(settings.clock.wall() / 1000))],
    ['aws:principalaccount', () => caller.account],
    ['aws:principalarn', () => caller.roleArn ?? caller.arn],
    ['aws:principaltype', () => (caller.kind === 'role' ? 'AssumedRole' : titleOf(caller.kind))],
    ['aws:requestedregion', () => settings.region],
    ['aws:securetransport', () => String(isSecure)],
    ['aws:sourceip', () => remoteAddress],
    ['aws:useragent', () => userAgent],
    ['aws:userid', () => (caller.kind === 'account' ? caller.account : undefined)],
    ['aws:viaawsservice', () => 'false'],
    ['iam:policyarn', () => call.params.get('PolicyArn')],
  ]);
  return {
    principal: caller,
    action,
    resource,
    lookup: (key) => caller.signer?.values?.get(key) ?? values.get(key)?.(),
  };
}

const titleOf = (kind: string): string => (kind === 'user' ? 'User' : 'Account');
