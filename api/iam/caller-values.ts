// What a caller of an action has of the condition keys of policies. Other than requests of S3 these
// have no headers that mean anything: the time, where it comes from, and who it is.

import type { AccessRequest } from '../../policies/access/policy.ts';
import type { Call } from './action.ts';
import { arnOf, tagsOf } from './names.ts';

type Tags = Readonly<Record<string, string>> | undefined;

/** `tags`: of what the action is about, where that is there and has some. */
export function judged(
  call: Call,
  { action, resource, tags }: { action: string; resource: string; tags: Tags },
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
    lookup: (key) =>
      caller.signer?.values?.get(key) ?? values.get(key)?.() ?? ofTags(key, call, tags),
  };
}

function ofTags(key: string, { params }: Call, tags: Tags): string | string[] | undefined {
  if (key === 'aws:tagkeys') return Object.keys(tagsOf(params) ?? {});
  const slash = key.indexOf('/');
  if (slash < 0) return undefined;
  const name = key.slice(slash + 1);
  const asked = key.slice(0, slash);
  const isOfResource = asked === 'aws:resourcetag' || asked === 'iam:resourcetag';
  const found = isOfResource ? tags : asked === 'aws:requesttag' ? tagsOf(params) : undefined;
  return found !== undefined && Object.hasOwn(found, name) ? found[name] : undefined;
}

const IDENTITY_ARN = /^arn:aws:iam::[^:/]+:(user|role|policy)\/(?:.*\/)?([^/]+)$/;

/** Of the identity of the caller's account that has this ARN. */
export async function tagsOfArn({ account, settings }: Call, arn: string): Promise<Tags> {
  const [, kind, name] = IDENTITY_ARN.exec(arn) ?? [];
  if (kind === undefined || name === undefined) return undefined;
  const place = { account, name };
  const found = await settings.identities.get(kind as 'user' | 'role' | 'policy', place);
  return found !== undefined && arnOf(found) === arn ? found.tags : undefined;
}

const titleOf = (kind: string): string => (kind === 'user' ? 'User' : 'Account');
