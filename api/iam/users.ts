// Users: CreateUser, GetUser, ListUsers, UpdateUser, DeleteUser.

import { FirnError } from '../../appliance/model/errors.ts';
import type { User } from '../../appliance/model/identity.ts';
import { element, wrap } from '../s3/xml/write.ts';
import type { Action, Call } from './action.ts';
import { time, userXml } from './answer.ts';
import { arnNamed, arnOfParameter, arnsOfMove, change, find, listAction } from './bearers.ts';
import {
  arnOf,
  checkName,
  checkPath,
  nameOf,
  noSuchEntity,
  pathOf,
  rootArn,
  tagsOf,
} from './names.ts';
import { validationError } from './params.ts';

const taken = (name: string): FirnError =>
  new FirnError('EntityAlreadyExists', `User with name ${name} already exists.`);

/** The user that is named, or the one who asks; undefined for the root of the account. */
export function userNameOf({ params, caller }: Call): string | undefined {
  const given = params.get('UserName');
  if (given !== undefined) return checkName(given, 'user');
  if (caller.signer === undefined) return undefined;
  const own = caller.signer.values?.get('aws:username');
  if (typeof own === 'string') return own;
  throw validationError('Must specify UserName when calling with non-User credentials.');
}

export const createUser: Action = {
  name: 'CreateUser',
  service: 'iam',
  resource({ account, params }) {
    const name = nameOf(params, 'user');
    tagsOf(params);
    return arnOf({ account, kind: 'user', path: pathOf(params), name });
  },
  async run({ account, params, settings }) {
    const { identities, clock } = settings;
    const user: User = {
      format: 1,
      kind: 'user',
      account,
      id: identities.newId('user'),
      name: nameOf(params, 'user'),
      path: pathOf(params),
      createdAt: clock.now(),
      inline: {},
      attached: [],
      groups: [],
      keys: [],
    };
    const tags = tagsOf(params);
    if (tags !== undefined) user.tags = tags;
    if (!(await identities.insert(user))) throw taken(user.name);
    return wrap('User', userXml(user));
  },
};

export const getUser: Action = {
  name: 'GetUser',
  service: 'iam',
  resource(call) {
    const name = userNameOf(call);
    return name === undefined ? rootArn(call.account) : arnNamed(call, 'user', name);
  },
  async run(call) {
    const name = userNameOf(call);
    if (name !== undefined) return wrap('User', userXml(await find(call, 'user', name)));
    const { account, settings } = call;
    const createdAt = (await settings.accounts.getAccount(account))?.createdAt ?? 0;
    return wrap(
      'User',
      element('Path', '/') +
        element('UserName', account) +
        element('UserId', account) +
        element('Arn', rootArn(account)) +
        element('CreateDate', time(createdAt)),
    );
  },
};

export const listUsers = listAction('user', userXml);

/**
 * A new name is a new row: made before its keys are told and before the old one goes. Both have the
 * same id and policies in between, and the same call again finishes what a crash left.
 */
export const updateUser: Action = {
  name: 'UpdateUser',
  service: 'iam',
  resource: (call) => arnsOfMove(call, 'user', 'NewUserName'),
  async run(call) {
    const { account, params, settings } = call;
    const { identities } = settings;
    const name = nameOf(params, 'user');
    const newPath = params.get('NewPath');
    const newName = params.get('NewUserName');
    if (newPath !== undefined) checkPath(newPath);
    if (newName !== undefined) checkName(newName, 'user');
    const changed = await change(call, { kind: 'user', name }, (user) => ({
      ...user,
      path: newPath ?? user.path,
      name: newName?.toLowerCase() === name.toLowerCase() ? newName : user.name,
    }));
    if (newName === undefined || newName.toLowerCase() === name.toLowerCase()) return undefined;
    if (!(await identities.insert({ ...changed, name: newName }))) {
      const other = await identities.get('user', { account, name: newName });
      if (other?.id !== changed.id) throw taken(newName);
    }
    for (const accessKey of changed.keys) {
      await identities.changeUserKey(accessKey, (key) => ({ ...key, user: newName.toLowerCase() }));
    }
    await identities.remove('user', { account, name }, () => undefined);
    return undefined;
  },
};

export const deleteUser: Action = {
  name: 'DeleteUser',
  service: 'iam',
  resource: arnOfParameter('user'),
  async run({ account, params, settings }) {
    const name = nameOf(params, 'user');
    const removed = await settings.identities.remove('user', { account, name }, (user) => {
      const { keys, groups } = user;
      const isIdle = keys.length + groups.length === 0;
      if (isIdle && Object.keys(user.inline).length + user.attached.length === 0) return;
      throw new FirnError(
        'DeleteConflict',
        'Cannot delete entity, must delete its access keys and policies and remove it from groups first.',
      );
    });
    if (!removed) throw noSuchEntity('user', name);
    return undefined;
  },
};
