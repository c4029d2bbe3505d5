// Who may reach a bucket or an object: access control lists, ownership, and the four switches that
// keep the public out. Pure shapes; who decides by them is api/s3/access. The danger: a list that
// is stored in one meaning and read in another opens a bucket to the world.

export type Permission = 'FULL_CONTROL' | 'WRITE' | 'WRITE_ACP' | 'READ' | 'READ_ACP';

/** AllUsers: anybody, also unsigned. AuthenticatedUsers: any account of this store. */
export type GranteeGroup = 'AllUsers' | 'AuthenticatedUsers' | 'LogDelivery';

export type Grantee = { kind: 'account'; id: string } | { kind: 'group'; group: GranteeGroup };

export interface Grant {
  grantee: Grantee;
  permission: Permission;
}

/** The owner is the bucket's or version's `owner`. */
export interface Acl {
  /** In the order given: that is how S3 shows them. At most 100. */
  grants: Grant[];
}

export const ACL_GRANTS_MAX = 100;

/**
 * BucketOwnerEnforced: no ACLs, all objects are the bucket owner's. `unset`: as ObjectWriter, but
 * nobody ever said so (S3 of before 2023; a bucket without ownership controls).
 */
export type Ownership = 'BucketOwnerEnforced' | 'BucketOwnerPreferred' | 'ObjectWriter' | 'unset';

export interface PublicAccessBlock {
  /** Refuse to set public ACLs. */
  blockPublicAcls: boolean;
  /** Public grants of ACLs count for nothing. */
  ignorePublicAcls: boolean;
  /** Refuse to set a public bucket policy. */
  blockPublicPolicy: boolean;
  /** A public policy lets in only the bucket's own account. */
  restrictPublicBuckets: boolean;
}
