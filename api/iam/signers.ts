// Whose key pair signed a request, and what bounds it: the port that S3 asks for every request. The
// root's keys first, which are nearly all. A user's rights, and those of a session's role, are read
// afresh each time, so that what is taken away is gone with the next request; and a session never
// has more than its role has at that moment.

import type { Accounts } from '../../appliance/engine/account/accounts.ts';
import type { Identities } from '../../appliance/engine/account/identities.ts';
import type { Clock } from '../../appliance/model/clock.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import type { Bearer, RoleSession, User } from '../../appliance/model/identity.ts';
import type { AccessRequest, Verdict } from '../../policies/access/policy.ts';
import type { S3Settings, Secret, Signer } from '../s3/input/settings.ts';
import { documentsOf, judgeDocuments, managedDocument } from './documents.ts';
import { arnOf } from './names.ts';

interface From {
  accounts: Accounts;
  identities: Identities;
  clock: Clock;
}

export function accountsWithIdentities(from: From): S3Settings['accounts'] {
  const { accounts, identities } = from;
  return {
    async secretOf(accessKey, token) {
      if (token !== undefined) return secretOfSession(accessKey, token, from);
      return (await accounts.secretOf(accessKey)) ?? (await secretOfUser(accessKey, identities));
    },
    displayNameOf: (account) => accounts.displayNameOf(account),
    findAccount: (by) => accounts.findAccount(by),
  };
}

async function secretOfUser(
  accessKey: string,
  identities: Identities,
): Promise<Secret | undefined> {
  const key = await identities.openUserKey(accessKey);
  if (key === undefined) return undefined;
  const { account, secretKey } = key;
  const user = await identities.get('user', { account, name: key.user });
  // Another of the same name doesn't inherit it, and a key that its user has not is none.
  if (user === undefined || user.id !== key.userId || !user.keys.includes(accessKey)) {
    return undefined;
  }
  return { account, secretKey, signer: await signerOfUser(user, identities) };
}

export async function signerOfUser(user: User, identities: Identities): Promise<Signer> {
  const { account, name, id } = user;
  const documents = await documentsOf(user, identities);
  for (const group of user.groups) {
    const found = await identities.get('group', { account, name: group });
    if (found === undefined) documents.push(undefined);
    else documents.push(...(await documentsOf(found, identities)));
  }
  return {
    principal: { kind: 'user', account, arn: arnOf(user) },
    judge: (request) => judgeDocuments(documents, request),
    values: valuesOf(user, [
      ['aws:username', name],
      ['aws:userid', id],
    ]),
  };
}

async function secretOfSession(
  accessKey: string,
  token: string,
  { identities, clock }: From,
): Promise<Secret> {
  const session = identities.openSession(accessKey, token);
  if (session === undefined) throw invalidToken();
  if (clock.wall() >= session.expiresAt) {
    throw new FirnError('ExpiredToken', 'The provided token has expired.');
  }
  const signer = await signerOfSession(session, identities);
  if (signer === undefined) throw invalidToken();
  const { account, secretKey } = session;
  return { account, secretKey, signer, isTemporary: true };
}

const invalidToken = (): FirnError =>
  new FirnError('InvalidToken', 'The provided token is malformed or otherwise invalid.');

async function signerOfSession(
  session: RoleSession,
  identities: Identities,
): Promise<Signer | undefined> {
  const { account, sessionName, policies, policyArns } = session;
  const role = await identities.get('role', { account, name: session.role });
  if (role === undefined || role.id !== session.roleId) return undefined;
  const documents = await documentsOf(role, identities);
  const narrowing: (string | undefined)[] = [];
  for (const arn of policyArns) narrowing.push(await managedDocument(arn, account, identities));
  const isNarrowed = policies.length + policyArns.length > 0;
  const judge = (request: AccessRequest): Verdict => {
    const ofRole = judgeDocuments(documents, request);
    if (ofRole === 'deny' || !isNarrowed) return ofRole;
    const ofSession = [
      judgeDocuments(policies, request, 'session'),
      judgeDocuments(narrowing, request),
    ];
    // What these do not allow is denied, whoever else allows it: no grant reaches past them.
    return ofSession.includes('allow') && !ofSession.includes('deny') ? ofRole : 'deny';
  };
  return {
    principal: {
      kind: 'role',
      account,
      arn: `arn:aws:sts::${account}:assumed-role/${role.name}/${sessionName}`,
      roleArn: arnOf(role),
    },
    judge,
    values: valuesOf(role, [
      ['aws:userid', `${role.id}:${sessionName}`],
      ['aws:tokenissuetime', new Date(session.issuedAt).toISOString()],
    ]),
  };
}

function valuesOf({ tags = {} }: Bearer, own: [string, string][]): Map<string, string> {
  const ofTags = Object.entries(tags).map(([key, value]): [string, string] => [
    `aws:principaltag/${key}`,
    value,
  ]);
  return new Map([...ofTags, ...own]);
}
