// IAM and STS: whoever has a key pair of a user or a session never has more than its policies say,
// also while it changes them. The dangers: a restricting policy that a derived credential leaves
// behind, a token that outlives its role or is made by a client, an action that reaches into
// another account, and a secret that is told twice.

import { createHash, randomInt } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { buildIam } from '../api/iam/build.ts';
import { ACTIONS } from '../api/iam/actions.ts';
import { Accounts } from '../appliance/engine/account/accounts.ts';
import { Identities } from '../appliance/engine/account/identities.ts';
import { signRequest } from '../appliance/model/signature.ts';
import { accountsWithIdentities } from '../api/iam/signers.ts';
import { cryptoRandom, seeded } from './engine-harness.ts';
import { MemoryMetadataStore } from './memory-store.ts';
import { MovableClock, startEndpoint, type Endpoint } from './s3-caller.ts';

interface Keys {
  accessKey: string;
  secretKey: string;
  token?: string;
}

interface Rig {
  endpoint: Endpoint;
  clock: { offsetMs: number };
  root: Keys;
  other: Keys;
  store: MemoryMetadataStore;
  accounts: Accounts;
  close(): Promise<void>;
}

const ROOT = { accessKey: 'AKROOT', secretKey: 'root-secret-key' };
const OTHER = { accessKey: 'AKOTHER', secretKey: 'other-secret-key' };

async function start(): Promise<Rig> {
  const wall = { offsetMs: 0 };
  const clock = { wall: () => Date.now() + wall.offsetMs, now: () => Date.now() + wall.offsetMs };
  const store = new MemoryMetadataStore(new MovableClock());
  const masterKey = Buffer.alloc(32, 7);
  const context = { store, clock, random: cryptoRandom, masterKey, staleMs: 0 };
  const accounts = new Accounts(context);
  for (const [id, keys] of [
    ['owner', ROOT],
    ['stranger', OTHER],
  ] as const) {
    await accounts.createAccount({ id, displayName: id });
    await accounts.createKey({ account: id, ...keys });
  }
  const identities = new Identities(context);
  const iam = buildIam({ accounts, identities, clock, region: 'eu-test-1' });
  const endpoint = await startEndpoint({ ...iam, clock } as Parameters<typeof startEndpoint>[0]);
  return {
    endpoint,
    clock: wall,
    root: ROOT,
    other: OTHER,
    store,
    accounts,
    close: () => endpoint.close(),
  };
}

interface Reply {
  status: number;
  text: string;
  code: string | undefined;
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

async function send(
  rig: Rig,
  as: Keys,
  to: { method: string; path: string; query?: string; service: string; body?: string },
): Promise<Reply> {
  const { host, port } = rig.endpoint;
  const body = to.body ?? '';
  const payloadHash = sha256(body);
  const headers: Record<string, string> = {};
  if (to.service === 's3') headers['x-amz-content-sha256'] = payloadHash;
  else headers['content-type'] = 'application/x-www-form-urlencoded; charset=utf-8';
  if (as.token !== undefined) headers['x-amz-security-token'] = as.token;
  const signed = signRequest({
    method: to.method,
    host,
    path: to.path,
    query: to.query ?? '',
    headers,
    payloadHash,
    region: to.service === 's3' ? 'eu-test-1' : 'us-east-1',
    service: to.service,
    date: new Date(Date.now() + rig.clock.offsetMs),
    accessKey: as.accessKey,
    secretKey: as.secretKey,
  });
  const query = to.query === undefined || to.query === '' ? '' : `?${to.query}`;
  const response = await fetch(`http://127.0.0.1:${port}${to.path}${query}`, {
    method: to.method,
    headers: { ...headers, ...signed },
    ...(to.method === 'GET' || to.method === 'HEAD' ? {} : { body }),
  });
  const text = await response.text();
  return { status: response.status, text, code: /<Code>([^<]*)</.exec(text)?.[1] };
}

function act(
  rig: Rig,
  as: Keys,
  action: string,
  params: Record<string, string> = {},
): Promise<Reply> {
  const service = ['AssumeRole', 'GetCallerIdentity'].includes(action) ? 'sts' : 'iam';
  const body = new URLSearchParams({ Action: action, Version: '2010-05-08', ...params }).toString();
  return send(rig, as, { method: 'POST', path: '/', service, body });
}

const s3 = (rig: Rig, as: Keys, method: string, path: string, query = ''): Promise<Reply> =>
  send(rig, as, { method, path, query, service: 's3' });

const tag = (reply: Reply, name: string): string =>
  new RegExp(`<${name}>([^<]*)</${name}>`).exec(reply.text)?.[1] ?? '';

const policy = (...statements: Record<string, unknown>[]): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: statements.map((one) => ({ Effect: 'Allow', Resource: '*', ...one })),
  });

const trust = (principal: string): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { AWS: principal } },
  });

async function newUser(rig: Rig, name: string, document?: string): Promise<Keys> {
  await act(rig, rig.root, 'CreateUser', { UserName: name });
  if (document !== undefined) await put(rig, name, document);
  const made = await act(rig, rig.root, 'CreateAccessKey', { UserName: name });
  return { accessKey: tag(made, 'AccessKeyId'), secretKey: tag(made, 'SecretAccessKey') };
}

const put = (rig: Rig, UserName: string, PolicyDocument: string): Promise<Reply> =>
  act(rig, rig.root, 'PutUserPolicy', { UserName, PolicyName: 'own', PolicyDocument });

async function assume(rig: Rig, as: Keys, params: Record<string, string> = {}): Promise<Keys> {
  const reply = await act(rig, as, 'AssumeRole', {
    RoleArn: 'arn:aws:iam::owner:role/worker',
    RoleSessionName: 'session',
    ...params,
  });
  return {
    accessKey: tag(reply, 'AccessKeyId') || `${reply.status} ${reply.code}`,
    secretKey: tag(reply, 'SecretAccessKey'),
    token: tag(reply, 'SessionToken'),
  };
}

async function newRole(rig: Rig, principal: string, document: string): Promise<void> {
  const RoleName = 'worker';
  const AssumeRolePolicyDocument = trust(principal);
  await act(rig, rig.root, 'CreateRole', { RoleName, AssumeRolePolicyDocument });
  await act(rig, rig.root, 'PutRolePolicy', {
    RoleName,
    PolicyName: 'own',
    PolicyDocument: document,
  });
}

function using(name: string, run: (t: ExecutionContext, rig: Rig) => Promise<void>): void {
  test(name, async (t) => {
    const rig = await start();
    try {
      await run(t, rig);
    } finally {
      await rig.close();
    }
  });
}

using('a user may do what its policies say, nothing before, and nothing after', async (t, rig) => {
  const ann = await newUser(rig, 'ann');
  t.is((await s3(rig, ann, 'GET', '/bucket')).code, 'AccessDenied');
  await put(rig, 'ann', policy({ Action: 's3:ListBucket' }));
  t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200);
  t.is((await s3(rig, ann, 'PUT', '/bucket/key')).code, 'AccessDenied');
  await put(rig, 'ann', policy({ Action: 's3:*' }, { Effect: 'Deny', Action: 's3:ListBucket' }));
  t.is((await s3(rig, ann, 'GET', '/bucket')).code, 'AccessDenied');
  t.is((await s3(rig, ann, 'PUT', '/bucket/key')).status, 200);
  await act(rig, rig.root, 'DeleteUserPolicy', { UserName: 'ann', PolicyName: 'own' });
  t.is((await s3(rig, ann, 'GET', '/bucket/key')).code, 'AccessDenied');
  t.is((await s3(rig, ann, 'GET', '/')).code, 'AccessDenied', 'lists of buckets too');
});

using('a user of one account does nothing in another without both sides', async (t, rig) => {
  const ann = await newUser(rig, 'ann', policy({ Action: 's3:*' }));
  t.is((await s3(rig, ann, 'GET', '/foreign')).code, 'AccessDenied');
  const grant = JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: { AWS: 'arn:aws:iam::owner:root' },
        Action: 's3:ListBucket',
        Resource: 'arn:aws:s3:::foreign',
      },
    ],
  });
  await rig.endpoint.engine.updateBucket('foreign', (bucket) => ({ ...bucket, policy: grant }));
  t.is((await s3(rig, ann, 'GET', '/foreign')).status, 200);
  await put(rig, 'ann', policy({ Action: 's3:GetObject' }));
  t.is((await s3(rig, ann, 'GET', '/foreign')).code, 'AccessDenied', 'delegated, and not given on');
});

using(
  'groups and managed policies count, and a Deny of one outweighs the others',
  async (t, rig) => {
    const ann = await newUser(rig, 'ann');
    const { root } = rig;
    await act(rig, root, 'CreateGroup', { GroupName: 'readers' });
    const full = 'arn:aws:iam::aws:policy/AmazonS3FullAccess';
    await act(rig, root, 'AttachGroupPolicy', { GroupName: 'readers', PolicyArn: full });
    await act(rig, root, 'AddUserToGroup', { GroupName: 'readers', UserName: 'ann' });
    t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200);
    const made = await act(rig, root, 'CreatePolicy', {
      PolicyName: 'no-lists',
      PolicyDocument: policy({ Effect: 'Deny', Action: 's3:ListBucket' }),
    });
    const PolicyArn = tag(made, 'Arn');
    await act(rig, root, 'AttachUserPolicy', { UserName: 'ann', PolicyArn });
    t.is((await s3(rig, ann, 'GET', '/bucket')).code, 'AccessDenied');
    t.is((await act(rig, root, 'DeletePolicy', { PolicyArn })).code, 'DeleteConflict');
    const harmless = policy({ Action: 's3:ListBucket' });
    await act(rig, root, 'CreatePolicyVersion', {
      PolicyArn,
      PolicyDocument: harmless,
      SetAsDefault: 'true',
    });
    t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200, 'the default version decides');
    await act(rig, root, 'RemoveUserFromGroup', { GroupName: 'readers', UserName: 'ann' });
    t.is((await s3(rig, ann, 'PUT', '/bucket/key')).code, 'AccessDenied');
    t.regex((await act(rig, root, 'ListEntitiesForPolicy', { PolicyArn })).text, /ann/);
  },
);

using('a managed policy that is lost denies: it might have been a Deny', async (t, rig) => {
  const ann = await newUser(rig, 'ann', policy({ Action: 's3:*' }));
  const made = await act(rig, rig.root, 'CreatePolicy', {
    PolicyName: 'gone',
    PolicyDocument: policy({ Action: 's3:*' }),
  });
  const PolicyArn = tag(made, 'Arn');
  await act(rig, rig.root, 'AttachUserPolicy', { UserName: 'ann', PolicyArn });
  t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200);
  const row = await rig.store.get('accounts', 'policy/owner/gone');
  await rig.store.remove('accounts', 'policy/owner/gone', row?.revision ?? '');
  t.is((await s3(rig, ann, 'GET', '/bucket')).code, 'AccessDenied');
});

using('keys: told once, switched off at once, and not inherited by a namesake', async (t, rig) => {
  const ann = await newUser(rig, 'ann', policy({ Action: 's3:*' }));
  const { root } = rig;
  t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200);
  const of = { UserName: 'ann', AccessKeyId: ann.accessKey };
  await act(rig, root, 'UpdateAccessKey', { ...of, Status: 'Inactive' });
  t.is((await s3(rig, ann, 'GET', '/bucket')).code, 'InvalidAccessKeyId');
  await act(rig, root, 'UpdateAccessKey', { ...of, Status: 'Active' });
  t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200);
  t.is(await rig.accounts.secretOf(ann.accessKey), undefined, 'what opens the admin API');
  const shown = await act(rig, root, 'ListAccessKeys', { UserName: 'ann' });
  t.true(shown.text.includes(ann.accessKey));
  t.false(shown.text.includes(ann.secretKey));
  await act(rig, root, 'UpdateUser', { UserName: 'ann', NewUserName: 'Anna' });
  t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200, 'the key goes with its user');
  t.is((await act(rig, root, 'DeleteUser', { UserName: 'anna' })).code, 'DeleteConflict');
  await act(rig, root, 'DeleteAccessKey', { ...of, UserName: 'anna' });
  t.is((await s3(rig, ann, 'GET', '/bucket')).code, 'InvalidAccessKeyId');
  await newUser(rig, 'bob', policy({ Action: 's3:*' }));
  t.is((await act(rig, root, 'CreateAccessKey', { UserName: 'bob' })).status, 200);
  t.is((await act(rig, root, 'CreateAccessKey', { UserName: 'bob' })).code, 'LimitExceeded');
  const stolen = JSON.stringify([
    ...(await rig.store.range({ table: 'accounts', from: 'u', limit: 100 })),
  ]);
  t.false(stolen.includes(ann.secretKey), 'sealed at rest');
});

using('a group that gets another name keeps its members and what they may', async (t, rig) => {
  const ann = await newUser(rig, 'ann');
  const { root } = rig;
  await act(rig, root, 'CreateGroup', { GroupName: 'readers' });
  const PolicyDocument = policy({ Action: 's3:*' });
  const given = { GroupName: 'readers', PolicyName: 'p', PolicyDocument };
  await act(rig, root, 'PutGroupPolicy', given);
  await act(rig, root, 'AddUserToGroup', { GroupName: 'readers', UserName: 'ann' });
  t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200);
  const renamed = { GroupName: 'readers', NewGroupName: 'Editors', NewPath: '/desk/' };
  t.is((await act(rig, root, 'UpdateGroup', renamed)).status, 200);
  t.is((await s3(rig, ann, 'GET', '/bucket')).status, 200);
  t.is((await act(rig, root, 'GetGroup', { GroupName: 'readers' })).code, 'NoSuchEntity');
  const shown = await act(rig, root, 'GetGroup', { GroupName: 'editors' });
  t.regex(shown.text, /group\/desk\/Editors<.*<UserName>ann</s);
});

using('nobody gives itself what it has not, nor acts in another account', async (t, rig) => {
  const ann = await newUser(rig, 'ann', policy({ Action: 's3:*' }));
  const values: Record<string, string> = { PolicyArn: 'arn:aws:iam::owner:policy/p' };
  for (const { name, service } of ACTIONS) {
    if (service === 'sts') continue;
    // Told what is missing, until only the caller's rights are left to ask.
    const params: Record<string, string> = {};
    let reply = await act(rig, ann, name, params);
    for (let i = 0; i < 9 && reply.code === 'ValidationError'; i += 1) {
      const [, missing = ''] = /must contain the parameter (\w+)/.exec(reply.text) ?? [];
      params[missing] = values[missing] ?? 'ann';
      reply = await act(rig, ann, name, params);
    }
    t.is(reply.code, 'AccessDenied', `${name} ${reply.text}`);
  }
  t.is(
    (await act(rig, ann, 'CreateAccessKey')).code,
    'AccessDenied',
    'not of the root, nor its own',
  );
  await put(rig, 'ann', policy({ Action: 'iam:*', Resource: 'arn:aws:iam::owner:user/ann' }));
  t.is((await act(rig, ann, 'GetUser')).status, 200);
  t.is((await act(rig, ann, 'GetUser', { UserName: 'bob' })).code, 'AccessDenied');
  t.is((await act(rig, ann, 'CreateUser', { UserName: 'bob' })).code, 'AccessDenied');
  t.is((await act(rig, rig.other, 'GetUser', { UserName: 'ann' })).code, 'NoSuchEntity');
  t.is((await act(rig, rig.other, 'ListUsers')).text.includes('ann'), false);
});

using(
  'a managed policy has one ARN: no other case or path of its name reaches it',
  async (t, rig) => {
    const own = 'arn:aws:iam::owner:policy/dev/*';
    const ann = await newUser(rig, 'ann', policy({ Action: 'iam:*', Resource: own }));
    const made = await act(rig, rig.root, 'CreatePolicy', {
      PolicyName: 'Admin',
      PolicyDocument: policy({ Effect: 'Deny', Action: 's3:*' }),
    });
    t.is(made.status, 200, made.text);
    const arn = tag(made, 'Arn');
    const PolicyDocument = policy({ Action: '*' });
    for (const PolicyArn of ['Admin', 'admin'].map(
      (name) => `arn:aws:iam::owner:policy/dev/${name}`,
    )) {
      const more: Record<string, Record<string, string>> = {
        CreatePolicyVersion: { PolicyDocument, SetAsDefault: 'true' },
        SetDefaultPolicyVersion: { VersionId: 'v1' },
        DeletePolicyVersion: { VersionId: 'v1' },
        DeletePolicy: {},
        GetPolicy: {},
        GetPolicyVersion: { VersionId: 'v1' },
        ListPolicyVersions: {},
        ListEntitiesForPolicy: {},
      };
      for (const [action, params] of Object.entries(more)) {
        const reply = await act(rig, ann, action, { PolicyArn, ...params });
        t.is(reply.code, 'NoSuchEntity', `${action} ${reply.text}`);
      }
      // Or it would be attached under a name that nobody finds, and removed from under its bearer.
      const attached = await act(rig, rig.root, 'AttachUserPolicy', { UserName: 'ann', PolicyArn });
      t.is(attached.code, 'NoSuchEntity');
    }
    const kept = await act(rig, rig.root, 'GetPolicy', { PolicyArn: arn });
    t.is(tag(kept, 'DefaultVersionId'), 'v1');
  },
);

using(
  'conditions see the tags of what an action is about, and those that it asks for',
  async (t, rig) => {
    const deny = (key: string): Record<string, unknown> => ({
      Effect: 'Deny',
      Action: 'iam:*',
      Condition: { StringEquals: { [key]: 'yes' } },
    });
    const document = policy(
      { Action: 'iam:*' },
      deny('aws:ResourceTag/keep'),
      deny('aws:RequestTag/keep'),
    );
    const ann = await newUser(rig, 'ann', document);
    const tags = { 'Tags.member.1.Key': 'keep', 'Tags.member.1.Value': 'yes' };
    t.is((await act(rig, ann, 'CreateUser', { UserName: 'x', ...tags })).code, 'AccessDenied');
    t.is((await act(rig, rig.root, 'CreateUser', { UserName: 'kept', ...tags })).status, 200);
    for (const action of ['DeleteUser', 'CreateAccessKey', 'GetUser']) {
      t.is((await act(rig, ann, action, { UserName: 'kept' })).code, 'AccessDenied', action);
      t.is((await act(rig, ann, action, { UserName: 'KEPT' })).code, 'AccessDenied', action);
    }
    t.is((await act(rig, ann, 'CreateUser', { UserName: 'free' })).status, 200);
    t.is((await act(rig, ann, 'DeleteUser', { UserName: 'free' })).status, 200);
  },
);

using('nobody is renamed or moved into a name that the caller may not handle', async (t, rig) => {
  const own = ['arn:aws:iam::owner:user/dev/*', 'arn:aws:iam::owner:group/dev/*'];
  const ann = await newUser(rig, 'ann', policy({ Action: 'iam:*', Resource: own }));
  t.is((await act(rig, ann, 'CreateUser', { UserName: 'bob', Path: '/dev/' })).status, 200);
  t.is((await act(rig, ann, 'CreateGroup', { GroupName: 'all', Path: '/dev/' })).status, 200);
  const moves: [string, Record<string, string>][] = [
    ['UpdateUser', { UserName: 'bob', NewPath: '/' }],
    ['UpdateUser', { UserName: 'bob', NewPath: '/ops/', NewUserName: 'chief' }],
    ['UpdateGroup', { GroupName: 'all', NewPath: '/' }],
  ];
  for (const [action, params] of moves) {
    t.is((await act(rig, ann, action, params)).code, 'AccessDenied', JSON.stringify(params));
  }
  const renamed = await act(rig, ann, 'UpdateUser', { UserName: 'bob', NewUserName: 'bert' });
  t.is(renamed.status, 200, renamed.text);
  const bert = await act(rig, ann, 'GetUser', { UserName: 'bert' });
  t.is(tag(bert, 'Arn'), 'arn:aws:iam::owner:user/dev/bert');
});

using('a session has what its role has, narrowed by its policy, until it ends', async (t, rig) => {
  await newRole(rig, 'owner', policy({ Action: 's3:*' }));
  const session = await assume(rig, rig.root);
  t.is((await s3(rig, session, 'GET', '/bucket')).status, 200);
  const identity = await act(rig, session, 'GetCallerIdentity');
  t.is(tag(identity, 'Arn'), 'arn:aws:sts::owner:assumed-role/worker/session');
  const narrow = await assume(rig, rig.root, {
    Policy: policy({ Action: ['s3:ListBucket', 'iam:*'] }),
  });
  t.is((await s3(rig, narrow, 'GET', '/bucket')).status, 200);
  t.is((await s3(rig, narrow, 'PUT', '/bucket/key')).code, 'AccessDenied');
  t.is(
    (await act(rig, narrow, 'ListUsers')).code,
    'AccessDenied',
    'a session policy gives nothing',
  );
  const open = JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: '*',
        Action: 's3:PutObject',
        Resource: 'arn:aws:s3:::bucket/*',
      },
    ],
  });
  await rig.endpoint.engine.updateBucket('bucket', (bucket) => ({ ...bucket, policy: open }));
  t.is(
    (await s3(rig, narrow, 'PUT', '/bucket/key')).code,
    'AccessDenied',
    'no grant reaches past it',
  );
  await act(rig, rig.root, 'DeleteRolePolicy', { RoleName: 'worker', PolicyName: 'own' });
  t.is((await s3(rig, session, 'GET', '/bucket')).code, 'AccessDenied', 'taken away at once');
  rig.clock.offsetMs = 3601 * 1000;
  t.is((await s3(rig, session, 'GET', '/bucket')).code, 'ExpiredToken');
});

using('a token is of one key pair, whole, and dies with its role', async (t, rig) => {
  await newRole(rig, 'owner', policy({ Action: 's3:*' }));
  const [one, two] = [await assume(rig, rig.root), await assume(rig, rig.root)];
  const at = (keys: Keys): Promise<string | undefined> =>
    s3(rig, keys, 'GET', '/bucket').then((reply) => reply.code);
  t.is(await at(one), undefined);
  t.is(await at({ ...one, token: two.token ?? '' }), 'InvalidToken');
  t.is(await at({ ...one, token: '' }), 'InvalidToken');
  t.is(await at({ accessKey: one.accessKey, secretKey: one.secretKey }), 'InvalidAccessKeyId');
  t.is(await at({ ...rig.root, token: one.token ?? '' }), 'InvalidToken');
  t.is(await at({ ...one, secretKey: two.secretKey }), 'SignatureDoesNotMatch');
  const bytes = Buffer.from(one.token ?? '', 'base64');
  for (let i = 0; i < bytes.length; i += 7) {
    const bent = Buffer.from(bytes);
    bent[i] = (bent[i] as number) ^ 1;
    t.is(await at({ ...one, token: bent.toString('base64') }), 'InvalidToken');
  }
  await act(rig, rig.root, 'DeleteRolePolicy', { RoleName: 'worker', PolicyName: 'own' });
  await act(rig, rig.root, 'DeleteRole', { RoleName: 'worker' });
  await newRole(rig, 'owner', policy({ Action: 's3:*' }));
  t.is(await at(one), 'InvalidToken', 'not inherited by a role of the same name');
});

using('a role is taken on by whom it trusts, and who may', async (t, rig) => {
  await newRole(rig, 'arn:aws:iam::owner:user/ann', policy({ Action: 's3:*' }));
  const ann = await newUser(rig, 'ann');
  const bob = await newUser(rig, 'bob', policy({ Action: '*' }));
  t.true((await assume(rig, ann)).accessKey.startsWith('FIRT'), 'named itself, in its own account');
  t.is((await assume(rig, bob)).accessKey, '403 AccessDenied');
  t.is((await assume(rig, rig.root)).accessKey, '403 AccessDenied');
  t.is((await assume(rig, rig.other)).accessKey, '403 AccessDenied');
  await put(rig, 'ann', policy({ Effect: 'Deny', Action: 'sts:AssumeRole' }));
  t.is((await assume(rig, ann)).accessKey, '403 AccessDenied');
  const update = (principal: string): Promise<Reply> =>
    act(rig, rig.root, 'UpdateAssumeRolePolicy', {
      RoleName: 'worker',
      PolicyDocument: trust(principal),
    });
  await update('stranger');
  t.true((await assume(rig, rig.other)).accessKey.startsWith('FIRT'));
  await update('owner');
  t.true(
    (await assume(rig, bob)).accessKey.startsWith('FIRT'),
    'delegated, and allowed by its own',
  );
  await put(rig, 'bob', policy({ Action: 's3:*' }));
  t.is((await assume(rig, bob)).accessKey, '403 AccessDenied');
  const missing = { RoleArn: 'arn:aws:iam::owner:role/none' };
  t.is(
    (await assume(rig, bob, missing)).accessKey,
    '403 AccessDenied',
    'whether it is there or not',
  );
  t.is(
    (await assume(rig, rig.root, { DurationSeconds: '43200' })).accessKey,
    '400 ValidationError',
  );
});

using('what an action does not know, or can not be signed, is refused', async (t, rig) => {
  const { root } = rig;
  const boundary = {
    UserName: 'ann',
    PermissionsBoundary: 'arn:aws:iam::aws:policy/IAMFullAccess',
  };
  t.is((await act(rig, root, 'CreateUser', boundary)).code, 'ValidationError');
  t.is(
    (await act(rig, root, 'GetUser', { UserName: 'ann' })).code,
    'NoSuchEntity',
    'nothing was made',
  );
  t.is((await act(rig, root, 'SimulatePrincipalPolicy')).code, 'InvalidAction');
  t.is((await act(rig, root, 'CreateUser', { UserName: '../x' })).code, 'ValidationError');
  t.is((await act(rig, root, 'CreateUser', { UserName: '__proto__' })).code, 'ValidationError');
  await act(rig, root, 'CreateUser', { UserName: 'ann' });
  t.is((await act(rig, root, 'CreateUser', { UserName: 'ANN' })).code, 'EntityAlreadyExists');
  t.is((await put(rig, 'ann', '{"Statement":[]}')).code, 'MalformedPolicyDocument');
  t.is(
    (await put(rig, 'ann', policy({ Principal: '*', Action: '*' }))).code,
    'MalformedPolicyDocument',
  );
  const bad = { accessKey: root.accessKey, secretKey: 'guess' };
  t.is((await act(rig, bad, 'ListUsers')).code, 'SignatureDoesNotMatch');
  t.is((await act(rig, { ...bad, accessKey: 'NOBODY' }, 'ListUsers')).code, 'InvalidClientTokenId');
  const { port } = rig.endpoint;
  const unsigned = await fetch(`http://127.0.0.1:${port}/`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: 'Action=ListUsers',
  });
  t.is(unsigned.status, 403);
  const long = 'x'.repeat(400 * 1024);
  t.is((await act(rig, root, 'CreateUser', { UserName: long })).code, 'MaxMessageLengthExceeded');
  const wrongService = await send(rig, root, {
    method: 'GET',
    path: '/bucket',
    service: 'iam',
  });
  t.is(wrongService.status, 400, 'a signature for iam opens no bucket');
});

using('lists are ordered without regard to case, and paged', async (t, rig) => {
  for (const name of ['Ad', 'aa', 'ac', 'Ab'])
    await act(rig, rig.root, 'CreateUser', { UserName: name });
  const names: string[] = [];
  for (let marker: string | undefined = ''; marker !== undefined;) {
    const reply = await act(rig, rig.root, 'ListUsers', {
      MaxItems: '1',
      ...(marker !== '' && { Marker: marker }),
    });
    names.push(tag(reply, 'UserName'));
    marker = tag(reply, 'IsTruncated') === 'true' ? tag(reply, 'Marker') : undefined;
  }
  t.deepEqual(names, ['aa', 'Ab', 'ac', 'Ad']);
});

test('a session never has more than its role, whatever policies it was made with', async (t) => {
  const seed = randomInt(2 ** 31);
  t.log(`seed ${seed}`);
  const next = seeded(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] as T;
  const clock = new MovableClock();
  const store = new MemoryMetadataStore(clock);
  const masterKey = Buffer.alloc(32, 7);
  const context = { store, clock, random: cryptoRandom, masterKey, staleMs: 0 };
  const identities = new Identities(context);
  const port = accountsWithIdentities({ accounts: new Accounts(context), identities, clock });
  const actions = ['s3:GetObject', 's3:PutObject', 's3:ListBucket', 'iam:CreateUser'];
  const resources = ['arn:aws:s3:::a', 'arn:aws:s3:::a/x', 'arn:aws:s3:::b/y'];
  const random = (): string =>
    policy(
      ...Array.from({ length: 1 + Math.floor(next() * 3) }, () => ({
        Effect: pick(['Allow', 'Allow', 'Deny']),
        [pick(['Action', 'Action', 'NotAction'])]: pick([...actions, 's3:*', '*', 's3:Get*']),
        Resource: pick([...resources, '*', 'arn:aws:s3:::a*']),
      })),
    );
  const seen = { allowed: 0, narrowed: 0 };
  for (let i = 0; i < 300; i += 1) {
    const of = { format: 1, kind: 'role', account: 'owner', path: '/', createdAt: 0 } as const;
    const role = {
      ...of,
      id: `R${i}`,
      name: `r${i}`,
      trust: trust('owner'),
      sessionSecondsMax: 900,
    };
    await identities.insert({ ...role, inline: { own: random() }, attached: [] });
    const base = { account: 'owner', role: role.name, roleId: role.id, sessionName: 's' };
    const at = { issuedAt: clock.wall(), expiresAt: clock.wall() + 900_000, policyArns: [] };
    const plain = identities.sealSession({ ...base, ...at, policies: [] });
    const narrow = identities.sealSession({ ...base, ...at, policies: [random()] });
    const whole = (await port.secretOf(plain.accessKey, plain.token))?.signer;
    const less = (await port.secretOf(narrow.accessKey, narrow.token))?.signer;
    if (whole === undefined || less === undefined) return t.fail('a session of a standing role');
    for (const action of actions) {
      for (const resource of resources) {
        const asked = { action, resource, lookup: () => undefined };
        const parent = whole.judge({ ...asked, principal: whole.principal });
        const child = less.judge({ ...asked, principal: less.principal });
        const place = `${action} ${resource} ${JSON.stringify(narrow.policies)}`;
        if (child === 'allow') t.is(parent, 'allow', place);
        if (parent === 'deny') t.is(child, 'deny', place);
        if (parent === 'allow') seen.allowed += 1;
        if (parent === 'allow' && child === 'deny') seen.narrowed += 1;
      }
    }
  }
  t.true(seen.allowed > 100 && seen.narrowed > 50, JSON.stringify(seen));
  return undefined;
});
