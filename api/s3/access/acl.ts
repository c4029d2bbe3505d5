// What an access control list gives to whom. A list speaks of accounts and groups, never of users:
// those are bounded by their own policies besides. The danger is a list that is read wider than it
// was meant: what stands in neither table below, no ACL can give.

import type { Acl, Grant, Permission } from '../../../appliance/model/access.ts';
import type { Bucket } from '../../../appliance/model/bucket.ts';
import { isEnforced } from '../request/ownership.ts';
import type { Asker } from './principal.ts';

/** Actions that a bucket's list can give. Who may write may also end what it began to write. */
const BUCKET_PERMISSIONS: Readonly<Record<string, Permission>> = {
  's3:ListBucket': 'READ',
  's3:ListBucketVersions': 'READ',
  's3:ListBucketMultipartUploads': 'READ',
  's3:PutObject': 'WRITE',
  's3:DeleteObject': 'WRITE',
  's3:AbortMultipartUpload': 'WRITE',
  's3:ListMultipartUploadParts': 'WRITE',
  's3:GetBucketAcl': 'READ_ACP',
  's3:PutBucketAcl': 'WRITE_ACP',
};

/** Actions that a version's own list can give: who owns the version decides, not the bucket's. */
const OBJECT_PERMISSIONS: Readonly<Record<string, Permission>> = {
  's3:GetObject': 'READ',
  's3:GetObjectVersion': 'READ',
  's3:GetObjectTorrent': 'READ',
  's3:GetObjectVersionTorrent': 'READ',
  's3:GetObjectAcl': 'READ_ACP',
  's3:GetObjectVersionAcl': 'READ_ACP',
  's3:PutObjectAcl': 'WRITE_ACP',
  's3:PutObjectVersionAcl': 'WRITE_ACP',
};

/** No list can give these, yet they show what the object's owner alone may show. */
const OWNERS_OWN = new Set(['s3:GetObjectAttributes', 's3:GetObjectVersionAttributes']);

/** True where the owner of the object says who may, and not that of the bucket. */
export function isObjectOwners(action: string): boolean {
  return Object.hasOwn(OBJECT_PERMISSIONS, action) || OWNERS_OWN.has(action);
}

/** True where the lists of bucket and version give it. Never under enforced ownership. */
export function isGranted(
  action: string,
  asker: Asker,
  { bucket, acl, owner }: { bucket: Bucket; acl: Acl | undefined; owner: string },
): boolean {
  if (isEnforced(bucket)) return false;
  const ignoresPublic = bucket.publicAccessBlock?.ignorePublicAcls === true;
  const ofObject = permissionIn(OBJECT_PERMISSIONS, action);
  if (ofObject !== undefined) {
    return gives({ acl, owner }, { permission: ofObject, asker, ignoresPublic });
  }
  const ofBucket = permissionIn(BUCKET_PERMISSIONS, action);
  if (ofBucket === undefined) return false;
  return gives(bucket, { permission: ofBucket, asker, ignoresPublic });
}

function permissionIn(
  table: Readonly<Record<string, Permission>>,
  action: string,
): Permission | undefined {
  return Object.hasOwn(table, action) ? table[action] : undefined;
}

function gives(
  { acl, owner }: { acl?: Acl | undefined; owner: string },
  { permission, asker, ignoresPublic }: GrantQuestion,
): boolean {
  const grants = acl?.grants ?? ownersGrants(owner);
  return grants.some((grant) => {
    if (grant.permission !== permission && grant.permission !== 'FULL_CONTROL') return false;
    if (isPublicGrant(grant) && ignoresPublic) return false;
    return isGrantee(grant, asker);
  });
}

interface GrantQuestion {
  permission: Permission;
  asker: Asker;
  ignoresPublic: boolean;
}

function isGrantee({ grantee }: Grant, asker: Asker): boolean {
  const isSigned = asker.kind !== 'anonymous' && asker.kind !== 'service';
  if (grantee.kind === 'account') return isSigned && grantee.id === asker.account;
  if (grantee.group === 'AllUsers') return true;
  return grantee.group === 'AuthenticatedUsers' && isSigned;
}

export function ownersGrants(owner: string): Grant[] {
  return [{ grantee: { kind: 'account', id: owner }, permission: 'FULL_CONTROL' }];
}

/** Of anybody, or of anybody with a key: both count as the public, as S3 has it. */
function isPublicGrant({ grantee }: Grant): boolean {
  return grantee.kind === 'group' && grantee.group !== 'LogDelivery';
}

export function isPublicAcl(acl: Acl | undefined): boolean {
  return acl?.grants.some(isPublicGrant) === true;
}

/** True where the list gives somebody else than the owner anything. */
export function givesOthers(acl: Acl | undefined, owner: string): boolean {
  return (
    acl?.grants.some(({ grantee }) => grantee.kind === 'group' || grantee.id !== owner) === true
  );
}

/** As it is kept: a list that says what holds without one is none. */
export function keptAcl(grants: Grant[], owner: string): Acl | undefined {
  const [first] = grants;
  const isOwners =
    grants.length === 1 &&
    first?.permission === 'FULL_CONTROL' &&
    first.grantee.kind === 'account' &&
    first.grantee.id === owner;
  return isOwners ? undefined : { grants };
}
