// account and key: who owns buckets, and by which key pairs requests are signed.

import type { Command } from 'commander';
import type { AccountAnswer, KeyAnswer, NewKeyAnswer } from '../model/answers.ts';
import { encodeComponent } from '../model/signature.ts';
import { timeText } from './terminal/human.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
import type { Bench, VerbInput } from './verb.ts';

export function addAccountVerbs(program: Command, bench: Bench): void {
  const account = program.command('account').description('owners of buckets and objects');
  const create = account
    .command('create')
    .description('make an account')
    .requiredOption('--id <ID>', 'letters, digits, . _ and -')
    .requiredOption('--display-name <NAME>')
    .option('--email <EMAIL>')
    .option('--admin', 'may use the admin API')
    .option(...JSON_FLAG);
  examples(create, 'account create --id ana --display-name "Ana Ruiz" --email ana@example.org');
  act(create, bench, createAccountVerb);
  const list = account
    .command('list')
    .description('all accounts')
    .option(...JSON_FLAG);
  act(list, bench, listAccountsVerb);

  const key = program.command('key').description('key pairs that sign requests');
  const createKey = key
    .command('create')
    .description('make a key pair; its secret is shown once')
    .requiredOption('--account <ID>')
    .option('--access-key <KEY>', 'a given pair instead of a new one')
    .option('--secret-key <SECRET>', '(other users of this machine may see it while this runs)')
    .option(...JSON_FLAG);
  examples(createKey, 'key create --account ana');
  act(createKey, bench, createKeyVerb);
  const listKeys = key
    .command('list')
    .description('key pairs, without secrets')
    .option('--account <ID>')
    .option(...JSON_FLAG);
  act(listKeys, bench, listKeysVerb);
  const revoke = key
    .command('revoke')
    .argument('<ACCESS-KEY>')
    .description('refuse a key pair from now on, for good')
    .option(...JSON_FLAG);
  act(revoke, bench, async ({ session, args, flags }) => {
    const path = `/keys/${encodeComponent(args[0] ?? '')}`;
    const answer = await session.admin.call<KeyAnswer>({ method: 'DELETE', path });
    if (flags['json'] === true) session.json(answer);
    else session.print(`${answer.accessKey} of ${answer.account} is revoked.`);
    return 0;
  });
}

async function createAccountVerb({ session, flags }: VerbInput): Promise<number> {
  const email = textFlag(flags, 'email');
  const answer = await session.admin.call<AccountAnswer>({
    method: 'POST',
    path: '/accounts',
    body: {
      id: textFlag(flags, 'id'),
      displayName: textFlag(flags, 'displayName'),
      ...(email === undefined ? {} : { email }),
      ...(flags['admin'] === true ? { admin: true } : {}),
    },
  });
  if (flags['json'] === true) session.json(answer);
  else {
    session.print(`Account ${answer.id} (${answer.displayName}) is made.`);
    session.print(`A key pair for it: ./firn key create --account ${answer.id}`);
  }
  return 0;
}

async function listAccountsVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<{ accounts: AccountAnswer[] }>({
    method: 'GET',
    path: '/accounts',
  });
  if (flags['json'] === true) session.json(answer);
  else {
    session.table(
      [
        { title: 'ACCOUNT' },
        { title: 'NAME' },
        { title: 'EMAIL' },
        { title: 'ADMIN' },
        { title: 'MADE' },
      ],
      answer.accounts.map((one) => [
        one.id,
        one.displayName,
        one.email ?? '–',
        one.admin ? 'yes' : 'no',
        timeText(one.createdAt),
      ]),
    );
  }
  return 0;
}

async function createKeyVerb({ session, flags }: VerbInput): Promise<number> {
  const accessKey = textFlag(flags, 'accessKey');
  const secretKey = textFlag(flags, 'secretKey');
  const answer = await session.admin.call<NewKeyAnswer>({
    method: 'POST',
    path: '/keys',
    body: {
      account: textFlag(flags, 'account'),
      ...(accessKey === undefined ? {} : { accessKey }),
      ...(secretKey === undefined ? {} : { secretKey }),
    },
  });
  if (flags['json'] === true) session.json(answer);
  else {
    // As a profile of a credentials file: to be pasted as it is.
    session.print(
      `[${answer.account}]\naws_access_key_id = ${answer.accessKey}\n` +
        `aws_secret_access_key = ${answer.secretKey}`,
    );
    session.io.stderr.write('The secret is shown this once: keep it, for example in a profile.\n');
  }
  return 0;
}

async function listKeysVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<{ keys: KeyAnswer[] }>({
    method: 'GET',
    path: '/keys',
    query: { account: textFlag(flags, 'account') },
  });
  if (flags['json'] === true) session.json(answer);
  else {
    session.table(
      [{ title: 'ACCESS KEY' }, { title: 'ACCOUNT' }, { title: 'MADE' }, { title: 'REVOKED' }],
      answer.keys.map((one) => [
        one.accessKey,
        one.account,
        timeText(one.createdAt),
        one.revokedAt === null ? '' : timeText(one.revokedAt),
      ]),
    );
  }
  return 0;
}
