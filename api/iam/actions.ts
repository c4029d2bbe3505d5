// IAM and STS on the S3 port: one form, one action, one XML answer. Every action takes this one
// way: who signed, whether the caller's own policies allow it on that very resource, and only then
// what it does. The danger: a key pair that gives itself more than it has. So nobody acts outside
// the caller's account, users and sessions do only what a policy of theirs allows, and a parameter
// that an action does not know is refused, never skipped.

import { FirnError, isFirnError } from '../../appliance/model/errors.ts';
import type { Actions, ActionsAnswer, ActionsRequest } from '../s3/actions.ts';
import { addressOfSocket } from '../s3/access/condition-values.ts';
import { askerOf } from '../s3/access/principal.ts';
import { visibleError } from '../s3/answer/errors.ts';
import { element, wrap, XML_DECLARATION } from '../s3/xml/write.ts';
import {
  createAccessKey,
  deleteAccessKey,
  listAccessKeys,
  updateAccessKey,
} from './access-keys.ts';
import type { Action, Call, IamSettings } from './action.ts';
import { attachmentActions } from './attachments.ts';
import { judged, tagsOfArn } from './caller-values.ts';
import {
  addUserToGroup,
  createGroup,
  deleteGroup,
  getGroup,
  listGroups,
  listGroupsForUser,
  removeUserFromGroup,
  updateGroup,
} from './groups.ts';
import { inlinePolicyActions } from './inline-policies.ts';
import { Params } from './params.ts';
import { policyActions } from './policies.ts';
import {
  createRole,
  deleteRole,
  getRole,
  listRoles,
  updateAssumeRolePolicy,
  updateRole,
} from './roles.ts';
import { stsActions } from './sts.ts';
import { getAccountSummary, listOpenIdConnectProviders } from './summary.ts';
import { createUser, deleteUser, getUser, listUsers, updateUser } from './users.ts';

/** All there are; what isn't here is InvalidAction. */
export const ACTIONS: readonly Action[] = [
  createUser,
  getUser,
  listUsers,
  updateUser,
  deleteUser,
  createAccessKey,
  listAccessKeys,
  updateAccessKey,
  deleteAccessKey,
  createGroup,
  getGroup,
  listGroups,
  updateGroup,
  deleteGroup,
  addUserToGroup,
  removeUserFromGroup,
  listGroupsForUser,
  createRole,
  getRole,
  listRoles,
  updateRole,
  updateAssumeRolePolicy,
  deleteRole,
  ...inlinePolicyActions,
  ...policyActions,
  ...attachmentActions,
  getAccountSummary,
  listOpenIdConnectProviders,
  ...stsActions,
];

const byName = new Map(ACTIONS.map((action) => [action.name, action]));

const NAMESPACES = {
  iam: 'https://iam.amazonaws.com/doc/2010-05-08/',
  sts: 'https://sts.amazonaws.com/doc/2011-06-15/',
};

type Service = keyof typeof NAMESPACES;

interface Progress {
  service: Service;
  operation: string | undefined;
  account: string | undefined;
}

/** Never rejects. */
export function buildActions(settings: IamSettings): Actions {
  return async (request) => {
    const progress: Progress = { service: 'iam', operation: undefined, account: undefined };
    try {
      return await answer(request, settings, progress);
    } catch (error) {
      return refusal(error, request.id, progress);
    }
  };
}

/** What is answered to a change may rest on what was only read: also that must be durable (D3). */
async function run(action: Action, call: Call): Promise<string | undefined> {
  try {
    return await action.run(call);
  } finally {
    if (!/^(?:Get|List|Assume|Simulate)/.test(action.name))
      await call.settings.identities.settled();
  }
}

async function answer(
  request: ActionsRequest,
  settings: IamSettings,
  progress: Progress,
): Promise<ActionsAnswer> {
  const identity = await request.identify();
  progress.account = identity.account;
  const params = new Params(await request.body());
  const name = params.need('Action');
  const action = byName.get(name);
  if (action === undefined) {
    throw new FirnError('InvalidAction', `Could not find operation ${name.slice(0, 100)}.`);
  }
  progress.service = action.service;
  progress.operation = `${action.service}:${action.name}`;
  const { incoming } = request;
  const call: Call = {
    params,
    caller: askerOf(identity),
    accessKey: identity.accessKey,
    account: identity.account,
    settings,
    remoteAddress: addressOfSocket(incoming),
    isSecure: (incoming.socket as { encrypted?: boolean }).encrypted === true,
    userAgent: incoming.headers['user-agent'],
  };
  await allow(call, action);
  const result = await run(action, call);
  const xml =
    (result === undefined ? '' : wrap(`${name}Result`, result)) +
    wrap('ResponseMetadata', element('RequestId', request.id));
  const { account, operation } = progress;
  return {
    status: 200,
    xml: document(`${name}Response`, xml, action.service),
    operation,
    account,
    code: undefined,
  };
}

/** Throws AccessDenied; ValidationError for what the action does not know. */
async function allow(call: Call, action: Action): Promise<void> {
  const { caller, params } = call;
  const resource = await action.resource(call);
  params.checkAllSeen();
  if (caller.kind === 'anonymous') throw new FirnError('AccessDenied', 'Access Denied.');
  const { signer } = caller;
  if (signer === undefined || resource === undefined) return;
  const name = `${action.service}:${action.name}`;
  for (const one of typeof resource === 'string' ? [resource] : resource) {
    const tags = await tagsOfArn(call, one);
    if (signer.judge(judged(call, { action: name, resource: one, tags })) === 'allow') continue;
    throw new FirnError(
      'AccessDenied',
      `User: ${caller.arn} is not authorized to perform: ${name} on resource: ${one}`,
    );
  }
}

const document = (name: string, content: string, service: Service): string =>
  `${XML_DECLARATION}<${name} xmlns="${NAMESPACES[service]}">${content}</${name}>`;

const STATUS: Partial<Record<string, number>> = {
  DeleteConflict: 409,
  EntityAlreadyExists: 409,
  InvalidAction: 400,
  InvalidClientTokenId: 403,
  InvalidInput: 400,
  LimitExceeded: 409,
  MalformedPolicyDocument: 400,
  MissingAuthenticationToken: 403,
  NoSuchEntity: 404,
  ValidationError: 400,
};

/** S3's own names of what these services call otherwise. */
const RENAMED: Partial<Record<string, string>> = { InvalidAccessKeyId: 'InvalidClientTokenId' };

function refusal(error: unknown, id: string, progress: Progress): ActionsAnswer {
  const own = isFirnError(error) ? STATUS[error.code] : undefined;
  const visible =
    own === undefined
      ? visibleError(error)
      : {
          status: own,
          code: (error as FirnError).code,
          message: (error as FirnError).message,
          fault: false,
        };
  const code = RENAMED[visible.code] ?? visible.code;
  const body = wrap(
    'Error',
    element('Type', visible.status < 500 ? 'Sender' : 'Receiver') +
      element('Code', code) +
      element('Message', visible.message),
  );
  const { account, operation, service } = progress;
  return {
    status: visible.status,
    xml: document('ErrorResponse', body + element('RequestId', id), service),
    operation,
    account,
    code,
    ...(visible.fault && { fault: error }),
  };
}
