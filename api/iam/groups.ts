// Groups, and who is in them.

import { FirnError } from '../../appliance/model/errors.ts';
import type { Group } from '../../appliance/model/identity.ts';
import { wrap } from '../s3/xml/write.ts';
import type { Action } from './action.ts';
import { groupXml, lowerName, pageXml, userXml } from './answer.ts';
import { arnOfParameter, change, find, listAction, taken, updateAction } from './bearers.ts';
import { arnOf, nameOf, noSuchEntity, pathOf } from './names.ts';

const GROUPS_MAX = 10;

export const createGroup: Action = {
  name: 'CreateGroup',
  service: 'iam',
  resource({ account, params }) {
    const name = nameOf(params, 'group');
    return arnOf({ account, kind: 'group', path: pathOf(params), name });
  },
  async run({ account, params, settings }) {
    const { identities, clock } = settings;
    const group: Group = {
      format: 1,
      kind: 'group',
      account,
      id: identities.newId('group'),
      name: nameOf(params, 'group'),
      path: pathOf(params),
      createdAt: clock.now(),
      inline: {},
      attached: [],
    };
    if (!(await identities.insert(group))) throw taken('group', group.name);
    return wrap('Group', groupXml(group));
  },
};

export const getGroup: Action = {
  name: 'GetGroup',
  service: 'iam',
  resource: arnOfParameter('group', 'Marker', 'MaxItems'),
  async run(call) {
    const { account, params, settings } = call;
    const group = await find(call, 'group', nameOf(params, 'group'));
    const all = await settings.identities.list('user', account);
    const users = all.filter(({ groups }) => groups.includes(lowerName(group)));
    const page = pageXml(params, users, { list: 'Users', name: lowerName, xml: userXml });
    return wrap('Group', groupXml(group)) + page;
  },
};

export const listGroups = listAction('group', groupXml);

export const updateGroup = updateAction('group', async (call, _group, { from, to }) => {
  const { identities } = call.settings;
  for (const user of await identities.list('user', call.account)) {
    if (!user.groups.includes(from)) continue;
    await identities.change('user', user, (one) => ({
      ...one,
      groups: [...new Set(one.groups.map((group) => (group === from ? to : group)))],
    }));
  }
});

export const deleteGroup: Action = {
  name: 'DeleteGroup',
  service: 'iam',
  resource: arnOfParameter('group'),
  async run({ account, params, settings }) {
    const { identities } = settings;
    const name = nameOf(params, 'group');
    const users = await identities.list('user', account);
    const hasMembers = users.some(({ groups }) => groups.includes(name.toLowerCase()));
    const removed = await identities.remove('group', { account, name }, (group) => {
      const policies = Object.keys(group.inline).length + group.attached.length;
      if (!hasMembers && policies === 0) return;
      throw new FirnError(
        'DeleteConflict',
        'Cannot delete entity, must remove its users and delete its policies first.',
      );
    });
    if (!removed) throw noSuchEntity('group', name);
    return undefined;
  },
};

export const addUserToGroup: Action = {
  name: 'AddUserToGroup',
  service: 'iam',
  resource(call) {
    nameOf(call.params, 'user');
    return arnOfParameter('group')(call);
  },
  async run(call) {
    const { params } = call;
    const group = lowerName(await find(call, 'group', nameOf(params, 'group')));
    await change(call, { kind: 'user', name: nameOf(params, 'user') }, (user) => {
      if (user.groups.includes(group)) return user;
      if (user.groups.length < GROUPS_MAX) return { ...user, groups: [...user.groups, group] };
      throw new FirnError('LimitExceeded', `Cannot exceed quota for GroupsPerUser: ${GROUPS_MAX}`);
    });
    return undefined;
  },
};

export const removeUserFromGroup: Action = {
  name: 'RemoveUserFromGroup',
  service: 'iam',
  resource(call) {
    nameOf(call.params, 'user');
    return arnOfParameter('group')(call);
  },
  async run(call) {
    const group = nameOf(call.params, 'group').toLowerCase();
    await change(call, { kind: 'user', name: nameOf(call.params, 'user') }, (user) => {
      if (!user.groups.includes(group)) throw noSuchEntity('user of the group', user.name);
      return { ...user, groups: user.groups.filter((one) => one !== group) };
    });
    return undefined;
  },
};

export const listGroupsForUser: Action = {
  name: 'ListGroupsForUser',
  service: 'iam',
  resource: arnOfParameter('user', 'Marker', 'MaxItems'),
  async run(call) {
    const { account, params, settings } = call;
    const user = await find(call, 'user', nameOf(params, 'user'));
    const groups: Group[] = [];
    for (const name of user.groups.toSorted()) {
      const group = await settings.identities.get('group', { account, name });
      if (group !== undefined) groups.push(group);
    }
    return pageXml(params, groups, { list: 'Groups', name: lowerName, xml: groupXml });
  },
};
