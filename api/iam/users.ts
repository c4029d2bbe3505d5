// Users: CreateUser, GetUser, ListUsers, UpdateUser, DeleteUser.

import { FirnError } from '../../appliance/model/errors.ts';
import type { User } from '../../appliance/model/identity.ts';
import { element, wrap } from '../s3/xml/write.ts';
import type { Action, Call } from './action.ts';
import { time, userXml } from './answer.ts';
import { arnNamed, arnOfParameter, find, listAction, taken, updateAction } from './bearers.ts';
import { arnOf, checkName, nameOf, noSuchEntity, pathOf, rootArn, tagsOf } from './names.ts';
import { validationError } from './params.ts';

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
    if (!(await identities.insert(user))) throw taken('user', user.name);
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

export const updateUser = updateAction('user', async ({ settings }, { keys }, { to }) => {
  for (const accessKey of keys) {
    await settings.identities.changeUserKey(accessKey, (key) => ({ ...key, user: to }));
  }
});

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
