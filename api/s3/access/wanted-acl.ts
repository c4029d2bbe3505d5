// The ACL that a client asks for: a canned one, grants in headers, or a document. Grantees are
// resolved to accounts when the list is set, and an unknown one is refused: kept as text, it would
// become a grant to whoever next gets that id.

import {
  ACL_GRANTS_MAX,
  type Grant,
  type Grantee,
  type GranteeGroup,
  type Permission,
} from '../../../appliance/model/access.ts';
import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import { invalidArgument, type S3Request } from '../request/request.ts';
import { childrenOf, malformed, parseXml, textOf, type XmlElement } from '../xml/parse.ts';
import { ownersGrants } from './acl.ts';

export type CannedAcl =
  | 'private'
  | 'public-read'
  | 'public-read-write'
  | 'authenticated-read'
  | 'bucket-owner-read'
  | 'bucket-owner-full-control'
  | 'log-delivery-write';

export type WantedAcl = { canned: CannedAcl } | { grants: Grant[] };

const ON_OBJECTS: readonly CannedAcl[] = [
  'private',
  'public-read',
  'public-read-write',
  'authenticated-read',
  'bucket-owner-read',
  'bucket-owner-full-control',
];
const ON_BUCKETS: readonly CannedAcl[] = [
  'private',
  'public-read',
  'public-read-write',
  'authenticated-read',
  'log-delivery-write',
];

const GRANT_HEADERS: readonly (readonly [string, Permission])[] = [
  ['x-amz-grant-read', 'READ'],
  ['x-amz-grant-write', 'WRITE'],
  ['x-amz-grant-read-acp', 'READ_ACP'],
  ['x-amz-grant-write-acp', 'WRITE_ACP'],
  ['x-amz-grant-full-control', 'FULL_CONTROL'],
];

const GROUP_PREFIX = 'http://acs.amazonaws.com/groups/';
const GROUPS: Readonly<Record<string, GranteeGroup>> = {
  [`${GROUP_PREFIX}global/AllUsers`]: 'AllUsers',
  [`${GROUP_PREFIX}global/AuthenticatedUsers`]: 'AuthenticatedUsers',
  [`${GROUP_PREFIX}s3/LogDelivery`]: 'LogDelivery',
};

export function groupUri(group: GranteeGroup): string {
  return `${GROUP_PREFIX}${group === 'LogDelivery' ? 's3' : 'global'}/${group}`;
}

/** Some clients send the header without a value where they want none. */
function cannedNameOf(headers: RequestHeaders): string | undefined {
  return headers['x-amz-acl'] || undefined;
}

/** True where headers ask for a list: six look-ups, for every write. */
export function asksAcl(headers: RequestHeaders): boolean {
  if (cannedNameOf(headers) !== undefined) return true;
  return GRANT_HEADERS.some(([name]) => headers[name] !== undefined);
}

/** Throws InvalidArgument, InvalidRequest, UnresolvableGrantByEmailAddress. */
export async function aclOfHeaders(
  request: S3Request,
  headers: RequestHeaders,
  on: 'bucket' | 'object',
): Promise<WantedAcl | undefined> {
  const canned = cannedNameOf(headers);
  const grants: Grant[] = [];
  for (const [name, permission] of GRANT_HEADERS) {
    const value = headers[name];
    if (value === undefined) continue;
    if (canned !== undefined) {
      throw new FirnError(
        'InvalidRequest',
        'Specifying both Canned ACLs and Header Grants is not allowed.',
      );
    }
    for (const named of granteesOf(name, value)) {
      grants.push({ grantee: await resolved(request, named), permission });
    }
  }
  if (canned !== undefined) return { canned: cannedAcl(canned, on) };
  if (grants.length === 0) return undefined;
  if (grants.length > ACL_GRANTS_MAX) throw tooMany();
  return { grants };
}

function cannedAcl(name: string, on: 'bucket' | 'object'): CannedAcl {
  const known = on === 'bucket' ? ON_BUCKETS : ON_OBJECTS;
  // S3 takes those for objects on buckets too, where they say nothing.
  if (on === 'bucket' && name.startsWith('bucket-owner-')) return 'private';
  if ((known as readonly string[]).includes(name)) return name as CannedAcl;
  throw invalidArgument('there is no such canned ACL', 'x-amz-acl', name);
}

/** How a client names somebody. */
type Named = { id: string } | { email: string } | { uri: string };

/** Of trimmed text: two runs of blanks side by side would be tried in every division. */
const NAMED = /^(id|emailAddress|uri)\s*=\s*(?:"([^"]*)"|([^"\s]+))$/i;

function granteesOf(header: string, value: string): Named[] {
  const named = value.split(',', ACL_GRANTS_MAX + 1);
  if (named.length > ACL_GRANTS_MAX) throw tooMany();
  return named.map((one) => {
    const [, kind = '', quoted, bare = ''] = NAMED.exec(one.trim()) ?? [];
    const text = quoted ?? bare;
    switch (kind.toLowerCase()) {
      case 'id':
        return { id: text };
      case 'emailaddress':
        return { email: text };
      case 'uri':
        return { uri: text };
      default:
        throw invalidArgument('a grantee is id=, emailAddress= or uri=', header, value);
    }
  });
}

/** Throws InvalidArgument, UnresolvableGrantByEmailAddress. */
async function resolved(request: S3Request, named: Named): Promise<Grantee> {
  if ('uri' in named) {
    const group = Object.hasOwn(GROUPS, named.uri) ? GROUPS[named.uri] : undefined;
    if (group !== undefined) return { kind: 'group', group };
    throw invalidArgument('Invalid group uri', 'uri', named.uri);
  }
  const { settings, identity } = request;
  if ('id' in named && identity.kind !== 'anonymous' && named.id === identity.account) {
    return { kind: 'account', id: named.id };
  }
  const account = await settings.accounts.findAccount?.(named);
  if (account !== undefined) return { kind: 'account', id: account.id };
  if ('id' in named) throw invalidArgument('Invalid id', 'CanonicalUser/ID', named.id);
  throw new FirnError(
    'UnresolvableGrantByEmailAddress',
    'The e-mail address you provided does not match any account on record.',
    { details: { EmailAddress: named.email } },
  );
}

const tooMany = (): FirnError =>
  new FirnError('MalformedACLError', `An ACL has at most ${ACL_GRANTS_MAX} grants.`);

const PERMISSIONS = new Set(['FULL_CONTROL', 'WRITE', 'WRITE_ACP', 'READ', 'READ_ACP']);

/**
 * What a document asks for; it must name the owner that there is. Throws MalformedACLError,
 * AccessDenied, InvalidArgument, UnresolvableGrantByEmailAddress.
 */
export async function aclOfDocument(
  request: S3Request,
  bytes: Uint8Array,
  owner: string,
): Promise<WantedAcl> {
  const document = readDocument(bytes);
  // An owner never changes by this: a document that says so was made for something else.
  if (document.owner !== owner) throw new FirnError('AccessDenied', 'Access Denied.');
  const grants: Grant[] = [];
  for (const { named, permission } of document.grants) {
    const isOwner = 'id' in named && named.id === owner;
    const grantee: Grantee = isOwner
      ? { kind: 'account', id: owner }
      : await resolved(request, named);
    grants.push({ grantee, permission });
  }
  return { grants };
}

interface AclDocument {
  owner: string;
  grants: { named: Named; permission: Permission }[];
}

function readDocument(bytes: Uint8Array): AclDocument {
  try {
    const root = childrenOf(parseXml(bytes, 'AccessControlPolicy'), ['Owner', 'AccessControlList']);
    const owner = root.one('Owner');
    const list = root.one('AccessControlList');
    if (owner === undefined || list === undefined)
      throw malformed('an ACL has an Owner and a list');
    const id = textOf(childrenOf(owner, ['ID', 'DisplayName']).one('ID'));
    if (id === undefined) throw malformed('the Owner has no ID');
    const grants = childrenOf(list, [], ['Grant']).all('Grant').map(grantOf);
    if (grants.length > ACL_GRANTS_MAX) throw tooMany();
    return { owner: id, grants };
  } catch (cause) {
    if (!isFirnError(cause, 'MalformedXML')) throw cause;
    throw new FirnError('MalformedACLError', cause.message, { cause });
  }
}

function grantOf(grant: XmlElement): AclDocument['grants'][number] {
  const fields = childrenOf(grant, ['Grantee', 'Permission']);
  const grantee = fields.one('Grantee');
  const permission = textOf(fields.one('Permission'));
  if (grantee === undefined || permission === undefined || !PERMISSIONS.has(permission)) {
    throw malformed('a Grant has a Grantee and a Permission');
  }
  return { named: namedOf(grantee), permission: permission as Permission };
}

/** By what is in it: the type, an attribute, says the same once more. */
function namedOf(grantee: XmlElement): Named {
  const fields = childrenOf(grantee, ['ID', 'DisplayName', 'EmailAddress', 'URI']);
  const id = textOf(fields.one('ID'));
  const email = textOf(fields.one('EmailAddress'));
  const uri = textOf(fields.one('URI'));
  if ([id, email, uri].filter((one) => one !== undefined).length !== 1) {
    throw malformed('a Grantee has one ID, EmailAddress or URI');
  }
  if (id !== undefined) return { id };
  return email === undefined ? { uri: uri as string } : { email };
}

/** The grants that were asked for. */
export function grantsOf(
  wanted: WantedAcl,
  { owner, bucketOwner }: { owner: string; bucketOwner: string },
): Grant[] {
  if ('grants' in wanted) return wanted.grants;
  const grants = ownersGrants(owner);
  const group = (name: GranteeGroup, permission: Permission): void => {
    grants.push({ grantee: { kind: 'group', group: name }, permission });
  };
  const toBucketOwner = (permission: Permission): void => {
    if (bucketOwner === owner) return;
    grants.push({ grantee: { kind: 'account', id: bucketOwner }, permission });
  };
  switch (wanted.canned) {
    case 'private':
      break;
    case 'public-read':
      group('AllUsers', 'READ');
      break;
    case 'public-read-write':
      group('AllUsers', 'READ');
      group('AllUsers', 'WRITE');
      break;
    case 'authenticated-read':
      group('AuthenticatedUsers', 'READ');
      break;
    case 'bucket-owner-read':
      toBucketOwner('READ');
      break;
    case 'bucket-owner-full-control':
      toBucketOwner('FULL_CONTROL');
      break;
    case 'log-delivery-write':
      group('LogDelivery', 'WRITE');
      group('LogDelivery', 'READ_ACP');
      break;
  }
  return grants;
}
