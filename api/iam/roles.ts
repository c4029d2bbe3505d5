// Roles: CreateRole, GetRole, ListRoles, UpdateRole, UpdateAssumeRolePolicy, DeleteRole.

import { FirnError } from '../../appliance/model/errors.ts';
import type { Role } from '../../appliance/model/identity.ts';
import { wrap } from '../s3/xml/write.ts';
import type { Action, Call } from './action.ts';
import { roleXml } from './answer.ts';
import { arnOfParameter, change, find, listAction, taken } from './bearers.ts';
import { checkDocument } from './documents.ts';
import { arnOf, nameOf, noSuchEntity, pathOf, tagsOf } from './names.ts';
import { validationError } from './params.ts';

const SESSION_SECONDS = { from: 3600, to: 43_200 };
const SESSION_SECONDS_DEFAULT = 3600;
const DESCRIPTION_MAX = 1000;

function descriptionOf({ params }: Call): string | undefined {
  const description = params.get('Description');
  if ((description?.length ?? 0) > DESCRIPTION_MAX) {
    throw validationError(`Description must have at most ${DESCRIPTION_MAX} characters.`);
  }
  return description;
}

export const createRole: Action = {
  name: 'CreateRole',
  service: 'iam',
  resource(call) {
    const { account, params } = call;
    for (const name of ['AssumeRolePolicyDocument', 'MaxSessionDuration']) params.get(name);
    descriptionOf(call);
    tagsOf(params);
    return arnOf({ account, kind: 'role', path: pathOf(params), name: nameOf(params, 'role') });
  },
  async run(call) {
    const { account, params, settings } = call;
    const { identities, clock } = settings;
    const seconds = params.integer('MaxSessionDuration', SESSION_SECONDS);
    const role: Role = {
      format: 1,
      kind: 'role',
      account,
      id: identities.newId('role'),
      name: nameOf(params, 'role'),
      path: pathOf(params),
      createdAt: clock.now(),
      inline: {},
      attached: [],
      trust: checkDocument(params.need('AssumeRolePolicyDocument'), 'trust'),
      sessionSecondsMax: seconds ?? SESSION_SECONDS_DEFAULT,
    };
    const description = descriptionOf(call);
    if (description !== undefined) role.description = description;
    const tags = tagsOf(params);
    if (tags !== undefined) role.tags = tags;
    if (await identities.insert(role)) return wrap('Role', roleXml(role));
    throw taken('role', role.name);
  },
};

export const getRole: Action = {
  name: 'GetRole',
  service: 'iam',
  resource: arnOfParameter('role'),
  async run(call) {
    return wrap('Role', roleXml(await find(call, 'role', nameOf(call.params, 'role'))));
  },
};

export const listRoles = listAction('role', roleXml);

export const updateRole: Action = {
  name: 'UpdateRole',
  service: 'iam',
  resource: arnOfParameter('role', 'Description', 'MaxSessionDuration'),
  async run(call) {
    const { params } = call;
    const seconds = params.integer('MaxSessionDuration', SESSION_SECONDS);
    const description = descriptionOf(call);
    await change(call, { kind: 'role', name: nameOf(params, 'role') }, (role) => ({
      ...role,
      ...(seconds !== undefined && { sessionSecondsMax: seconds }),
      ...(description !== undefined && { description }),
    }));
    return '';
  },
};

export const updateAssumeRolePolicy: Action = {
  name: 'UpdateAssumeRolePolicy',
  service: 'iam',
  resource: arnOfParameter('role', 'PolicyDocument'),
  async run(call) {
    const trust = checkDocument(call.params.need('PolicyDocument'), 'trust');
    const of = { kind: 'role', name: nameOf(call.params, 'role') } as const;
    await change(call, of, (role) => ({ ...role, trust }));
    return undefined;
  },
};

export const deleteRole: Action = {
  name: 'DeleteRole',
  service: 'iam',
  resource: arnOfParameter('role'),
  async run({ account, params, settings }) {
    const name = nameOf(params, 'role');
    const removed = await settings.identities.remove('role', { account, name }, (role) => {
      if (Object.keys(role.inline).length + role.attached.length === 0) return;
      throw new FirnError('DeleteConflict', 'Cannot delete entity, must delete policies first.');
    });
    if (!removed) throw noSuchEntity('role', name);
    return undefined;
  },
};
