// Sessions: AssumeRole and GetCallerIdentity. A role is taken on by whom its trust policy names,
// and who has policies of its own must be allowed by these too, unless the trust policy of a role
// in the same account names that very user. What a session may do is what its role may at that
// moment, narrowed by the policies it was made with; its credentials are a sealed token, stored
// nowhere.

import { FirnError } from '../../appliance/model/errors.ts';
import type { Role } from '../../appliance/model/identity.ts';
import type { AccessRequest } from '../../policies/access/policy.ts';
import { normalKey } from '../../policies/access/patterns.ts';
import { element, wrap } from '../s3/xml/write.ts';
import type { Action, Call } from './action.ts';
import { time } from './answer.ts';
import { judged } from './caller-values.ts';
import { checkDocument, judgeTrust, managedDocument } from './documents.ts';
import { arnOf, rootArn } from './names.ts';
import { validationError } from './params.ts';

const SECONDS_MIN = 900;
const SECONDS_DEFAULT = 3600;
/** Of a session that a session made: or it would never end. */
const CHAINED_SECONDS_MAX = 3600;
const POLICIES_MAX = 10;
const ROLE_ARN =
  /^arn:aws:iam::([A-Za-z0-9._@+$-]{1,128}):role(\/(?:[!-.0-~]+\/)*)([\w+=,.@-]{1,64})$/;
const SESSION_NAME = /^[\w+=,.@-]{2,64}$/;

/** Whether the role is or isn't there, who may not take it on learns nothing else. */
const refused = (call: Call, arn: string): FirnError =>
  new FirnError(
    'AccessDenied',
    `User: ${call.caller.arn} is not authorized to perform: sts:AssumeRole on resource: ${arn}`,
  );

async function roleOf(call: Call, arn: string): Promise<Role | undefined> {
  const [, account, path, name] = ROLE_ARN.exec(arn) ?? [];
  if (account === undefined || name === undefined) throw validationError('RoleArn is not valid.');
  const role = await call.settings.identities.get('role', { account, name });
  return role?.path === path ? role : undefined;
}

function mayAssume(call: Call, role: Role): boolean {
  const { caller, params } = call;
  const resource = arnOf(role);
  const own = new Map([
    ['sts:rolesessionname', params.need('RoleSessionName')],
    ['sts:externalid', params.get('ExternalId')],
    ['sts:durationseconds', params.get('DurationSeconds')],
  ]);
  const base = judged(call, { action: 'sts:AssumeRole', resource, tags: role.tags });
  const request: AccessRequest = {
    ...base,
    lookup: (key) => own.get(normalKey(key)) ?? base.lookup(key),
  };
  const trusted = judgeTrust(role.trust, request);
  if (trusted === undefined || trusted === 'deny') return false;
  const { signer } = caller;
  if (signer === undefined) return trusted === 'allow';
  const allowed = signer.judge(request);
  if (allowed === 'deny') return false;
  return allowed === 'allow' || (trusted === 'allow' && role.account === caller.account);
}

const assumeRole: Action = {
  name: 'AssumeRole',
  service: 'sts',
  resource(call) {
    const { params } = call;
    for (const name of ['RoleArn', 'RoleSessionName', 'DurationSeconds', 'Policy']) {
      params.get(name);
    }
    params.get('ExternalId');
    params.members('PolicyArns', 'arn');
    return undefined;
  },
  async run(call) {
    const { params, settings } = call;
    const arn = params.need('RoleArn');
    const sessionName = params.need('RoleSessionName');
    if (!SESSION_NAME.test(sessionName)) {
      throw validationError('RoleSessionName must have 2 to 64 letters, digits or _+=,.@-');
    }
    const role = await roleOf(call, arn);
    if (role === undefined || !mayAssume(call, role)) throw refused(call, arn);
    const { policies, policyArns } = await narrowing(call, role);
    const issuedAt = settings.clock.wall();
    const session = settings.identities.sealSession({
      account: role.account,
      role: role.name.toLowerCase(),
      roleId: role.id,
      sessionName,
      policies,
      policyArns,
      issuedAt,
      expiresAt: issuedAt + secondsOf(call, role) * 1000,
    });
    const sessionArn = `arn:aws:sts::${role.account}:assumed-role/${role.name}/${sessionName}`;
    return (
      wrap(
        'Credentials',
        element('AccessKeyId', session.accessKey) +
          element('SecretAccessKey', session.secretKey) +
          element('SessionToken', session.token) +
          element('Expiration', time(session.expiresAt)),
      ) +
      wrap(
        'AssumedRoleUser',
        element('AssumedRoleId', `${role.id}:${sessionName}`) + element('Arn', sessionArn),
      ) +
      element('PackedPolicySize', 0)
    );
  },
};

function secondsOf({ params, caller }: Call, role: Role): number {
  const chained = caller.kind === 'role';
  const to = chained ? CHAINED_SECONDS_MAX : role.sessionSecondsMax;
  const asked = params.integer('DurationSeconds', { from: SECONDS_MIN, to });
  return asked ?? Math.min(SECONDS_DEFAULT, to);
}

async function narrowing(
  { params, settings }: Call,
  { account }: Role,
): Promise<{ policies: string[]; policyArns: string[] }> {
  const policy = params.get('Policy');
  const policies = policy === undefined ? [] : [checkDocument(policy, 'session')];
  const policyArns = params.members('PolicyArns', 'arn');
  if (policyArns.length > POLICIES_MAX) throw validationError('There are too many PolicyArns.');
  for (const arn of policyArns) {
    if ((await managedDocument(arn, account, settings.identities)) !== undefined) continue;
    throw new FirnError('MalformedPolicyDocument', `Policy ${arn} does not exist.`);
  }
  return { policies, policyArns };
}

/** Whoever signs may know who it is: no policy is asked. */
const getCallerIdentity: Action = {
  name: 'GetCallerIdentity',
  service: 'sts',
  resource: () => undefined,
  run({ account, caller }) {
    const id = caller.signer?.values?.get('aws:userid');
    const arn = caller.kind === 'account' ? rootArn(account) : caller.arn;
    return Promise.resolve(
      element('Arn', arn) +
        element('UserId', typeof id === 'string' ? id : account) +
        element('Account', account),
    );
  },
};

export const stsActions: Action[] = [assumeRole, getCallerIdentity];
