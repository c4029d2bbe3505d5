// Accounts and key pairs. A secret key leaves Firn exactly once: in the answer that made it.

import { z } from 'zod';
import type { KeyInfo } from '../../../appliance/engine/account/accounts.ts';
import type { AccountAnswer, KeyAnswer } from '../../../appliance/model/answers.ts';
import type { Account } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { route } from '../contract/route.ts';
import type { Route } from '../contract/route.ts';
import { timeOf } from '../contract/rows.ts';
import {
  accountAnswer,
  accountsAnswer,
  keyAnswer,
  keysAnswer,
  newKeyAnswer,
} from '../contract/schemas.ts';

const accountId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._$-]{0,127}$/, 'letters, digits, . _ $ and -, at most 128');

const answerOfAccount = (account: Account): AccountAnswer => ({
  id: account.id,
  displayName: account.displayName,
  email: account.email ?? null,
  admin: account.admin,
  createdAt: timeOf(account.createdAt),
});

const answerOfKey = (key: KeyInfo): KeyAnswer => ({
  accessKey: key.accessKey,
  account: key.account,
  createdAt: timeOf(key.createdAt),
  revokedAt: key.revokedAt === undefined ? null : timeOf(key.revokedAt),
});

export const accountRoutes: readonly Route[] = [
  route({
    id: 'createAccount',
    method: 'POST',
    path: '/accounts',
    summary: 'Make an account, the owner of buckets and objects',
    tag: 'accounts',
    status: 201,
    body: z.strictObject({
      id: accountId,
      displayName: z.string().min(1).max(200),
      email: z.string().max(320).optional(),
      admin: z.boolean().default(false),
    }),
    answer: accountAnswer,
    handle: async ({ options, body }) =>
      answerOfAccount(
        await options.accounts.createAccount({
          id: body.id,
          displayName: body.displayName,
          admin: body.admin,
          ...(body.email === undefined ? {} : { email: body.email }),
        }),
      ),
  }),
  route({
    id: 'listAccounts',
    method: 'GET',
    path: '/accounts',
    summary: 'All accounts',
    tag: 'accounts',
    answer: accountsAnswer,
    handle: async ({ options }) => ({
      accounts: (await options.accounts.listAccounts()).map(answerOfAccount),
    }),
  }),
  route({
    id: 'createKey',
    method: 'POST',
    path: '/keys',
    summary: 'Make a key pair for an account; the only answer that shows its secret',
    tag: 'accounts',
    status: 201,
    body: z.strictObject({
      account: accountId,
      accessKey: z
        .string()
        .regex(/^[A-Za-z0-9._-]{3,128}$/, '3 to 128 letters, digits, . _ and -')
        .optional(),
      secretKey: z.string().min(8).max(256).optional(),
    }),
    answer: newKeyAnswer,
    handle: async ({ options, body }) => {
      if ((body.accessKey === undefined) !== (body.secretKey === undefined)) {
        throw new FirnError('InvalidArgument', 'a key pair is given whole or not at all', {
          hint: 'give accessKey and secretKey, or neither: then a pair is made',
        });
      }
      const { account, accessKey, secretKey } = body;
      const given =
        accessKey === undefined || secretKey === undefined ? {} : { accessKey, secretKey };
      const made = await options.accounts.createKey({ account, ...given });
      return { ...answerOfKey(made), secretKey: made.secretKey };
    },
  }),
  route({
    id: 'listKeys',
    method: 'GET',
    path: '/keys',
    summary: 'Key pairs, without their secrets',
    tag: 'accounts',
    query: z.strictObject({ account: accountId.optional() }),
    answer: keysAnswer,
    handle: async ({ options, query }) => ({
      keys: (await options.accounts.listKeys(query.account)).map(answerOfKey),
    }),
  }),
  route({
    id: 'revokeKey',
    method: 'DELETE',
    path: '/keys/:accessKey',
    summary: 'Refuse a key pair from now on, for good',
    tag: 'accounts',
    answer: keyAnswer,
    handle: async ({ options, params }) => {
      const accessKey = params['accessKey'] ?? '';
      await options.accounts.revokeKey(accessKey);
      const key = (await options.accounts.listKeys()).find((one) => one.accessKey === accessKey);
      if (key !== undefined) return answerOfKey(key);
      throw new FirnError('NoSuchKey', `there is no access key ${accessKey}`);
    },
  }),
];
