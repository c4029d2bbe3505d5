// Access keys of users, and of the account's root where no user is named: CreateAccessKey,
// ListAccessKeys, UpdateAccessKey, DeleteAccessKey. A secret is told once. A user makes keys only
// for whom its policies say, and root keys are made by the root alone.

import { FirnError } from '../../appliance/model/errors.ts';
import { element, optional, wrap } from '../s3/xml/write.ts';
import type { Action, Call } from './action.ts';
import { pageXml, time } from './answer.ts';
import { arnNamed, change, find } from './bearers.ts';
import { noSuchEntity, rootArn } from './names.ts';
import { validationError } from './params.ts';
import { userNameOf } from './users.ts';

const KEYS_MAX = 2;

interface KeyRow {
  accessKey: string;
  createdAt: number;
  /** Absent: true. */
  isActive?: boolean;
}

function keyXml(key: KeyRow & { secretKey?: string }, userName: string | undefined): string {
  return (
    optional('UserName', userName) +
    element('AccessKeyId', key.accessKey) +
    element('Status', key.isActive === false ? 'Inactive' : 'Active') +
    optional('SecretAccessKey', key.secretKey) +
    element('CreateDate', time(key.createdAt))
  );
}

const resource =
  (...parameters: string[]) =>
  (call: Call): string | Promise<string> => {
    for (const name of parameters) call.params.get(name);
    const user = userNameOf(call);
    return user === undefined ? rootArn(call.account) : arnNamed(call, 'user', user);
  };

export const createAccessKey: Action = {
  name: 'CreateAccessKey',
  service: 'iam',
  resource: resource(),
  async run(call) {
    const { account, settings } = call;
    const { identities, accounts } = settings;
    const name = userNameOf(call);
    if (name === undefined) {
      const made = await accounts.createKey({ account });
      return wrap('AccessKey', keyXml(made, account));
    }
    const accessKey = identities.newUserKeyName();
    const user = await change(call, { kind: 'user', name }, (one) => {
      if (one.keys.length < KEYS_MAX) return { ...one, keys: [...one.keys, accessKey] };
      throw new FirnError(
        'LimitExceeded',
        `Cannot exceed quota for AccessKeysPerUser: ${KEYS_MAX}`,
      );
    });
    const of = { accessKey, account, user: user.name, userId: user.id };
    return wrap('AccessKey', keyXml(await identities.insertUserKey(of), user.name));
  },
};

async function rootKeys({ account, settings }: Call): Promise<KeyRow[]> {
  const keys = await settings.accounts.listKeys(account);
  return keys.filter(({ revokedAt }) => revokedAt === undefined);
}

async function userKeys(call: Call, name: string): Promise<{ name: string; keys: KeyRow[] }> {
  const user = await find(call, 'user', name);
  const keys: KeyRow[] = [];
  for (const accessKey of user.keys) {
    const key = await call.settings.identities.getUserKey(accessKey);
    if (key?.userId === user.id) keys.push(key);
  }
  return { name: user.name, keys };
}

export const listAccessKeys: Action = {
  name: 'ListAccessKeys',
  service: 'iam',
  resource: resource('Marker', 'MaxItems'),
  async run(call) {
    const asked = userNameOf(call);
    const { name, keys } =
      asked === undefined
        ? { name: call.account, keys: await rootKeys(call) }
        : await userKeys(call, asked);
    const lower = ({ accessKey }: KeyRow): string => accessKey.toLowerCase();
    const ordered = keys.toSorted((a, b) => (lower(a) < lower(b) ? -1 : 1));
    const page = pageXml(call.params, ordered, {
      list: 'AccessKeyMetadata',
      name: lower,
      xml: ({ accessKey, createdAt, isActive = true }) =>
        keyXml({ accessKey, createdAt, isActive }, name),
    });
    return element('UserName', name) + page;
  },
};

/** Throws NoSuchEntity for a key of somebody else. */
async function ownKey(call: Call): Promise<{ accessKey: string; user: string | undefined }> {
  const accessKey = call.params.need('AccessKeyId');
  const user = userNameOf(call);
  const keys = user === undefined ? await rootKeys(call) : (await userKeys(call, user)).keys;
  if (!keys.some((key) => key.accessKey === accessKey)) throw noSuchEntity('access key', accessKey);
  return { accessKey, user };
}

export const updateAccessKey: Action = {
  name: 'UpdateAccessKey',
  service: 'iam',
  resource: resource('AccessKeyId', 'Status'),
  async run(call) {
    const status = call.params.need('Status');
    if (status !== 'Active' && status !== 'Inactive') {
      throw validationError('Status must be Active or Inactive.');
    }
    const isActive = status === 'Active';
    const { accessKey, user } = await ownKey(call);
    const { identities, accounts } = call.settings;
    if (user === undefined) await accounts.setKeyActive(accessKey, isActive);
    else await identities.changeUserKey(accessKey, (key) => ({ ...key, isActive }));
    return undefined;
  },
};

export const deleteAccessKey: Action = {
  name: 'DeleteAccessKey',
  service: 'iam',
  resource: resource('AccessKeyId'),
  async run(call) {
    const { identities, accounts } = call.settings;
    const name = userNameOf(call);
    if (name === undefined) {
      await accounts.revokeKey((await ownKey(call)).accessKey);
      return undefined;
    }
    const accessKey = call.params.need('AccessKeyId');
    const user = await find(call, 'user', name);
    // One whose row was never made is taken off its user's list all the same.
    if (!user.keys.includes(accessKey)) throw noSuchEntity('access key', accessKey);
    await identities.changeUserKey(accessKey, () => undefined);
    await change(call, { kind: 'user', name }, (one) => ({
      ...one,
      keys: one.keys.filter((key) => key !== accessKey),
    }));
    return undefined;
  },
};
