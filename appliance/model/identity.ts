// Users, groups, roles and managed policies of an account, and sessions of roles: what bounds a
// request whose key pair is not of its account's root. Pure shapes; what policies mean is
// policies/access. Rows of `accounts`, one document each, so that every change is one commit.

export type IdentityKind = 'user' | 'group' | 'role' | 'policy';

/** What all have; row id `KIND/ACCOUNT/NAME`, the name in lower case: names differ by more. */
export interface Named {
  format: 1;
  kind: IdentityKind;
  account: string;
  /** Never used again, also not for one of the same name. */
  id: string;
  /** As it was written. */
  name: string;
  /** `/` or `/team/`. */
  path: string;
  createdAt: number;
  tags?: Record<string, string>;
}

/** What policies may be put into, and attached to. */
export interface Bearer extends Named {
  /** Policy documents (JSON) by name. */
  inline: Record<string, string>;
  /** ARNs of managed policies. */
  attached: string[];
}

export interface User extends Bearer {
  kind: 'user';
  /** Names in lower case. */
  groups: string[];
  /** Access keys; a name whose row is missing was never finished, or is gone. */
  keys: string[];
}

export interface Group extends Bearer {
  kind: 'group';
}

export interface Role extends Bearer {
  kind: 'role';
  /** Who may take it on: a trust policy (JSON). */
  trust: string;
  description?: string;
  sessionSecondsMax: number;
}

export interface PolicyVersion {
  /** v1, v2, … */
  id: string;
  document: string;
  createdAt: number;
}

export interface ManagedPolicy extends Named {
  kind: 'policy';
  description?: string;
  /** At most five. */
  versions: PolicyVersion[];
  defaultVersion: string;
  /** Of the last version that was made; its number is never used again. */
  lastVersion: number;
  updatedAt: number;
}

export interface IdentityKinds {
  user: User;
  group: Group;
  role: Role;
  policy: ManagedPolicy;
}

/**
 * Row `user-key/ACCESSKEY`: not `key/`, so that whatever asks for an account's own key pair (the
 * admin API) can't be given one of a user.
 */
export interface UserKey {
  format: 1;
  accessKey: string;
  account: string;
  /** In lower case. */
  user: string;
  /** The key dies with this very user. */
  userId: string;
  sealedSecret: string;
  createdAt: number;
  isActive: boolean;
}

/** What a session token holds, sealed by the master key. There is no row of it. */
export interface RoleSession {
  format: 1;
  accessKey: string;
  secretKey: string;
  account: string;
  /** In lower case. */
  role: string;
  roleId: string;
  sessionName: string;
  /** A policy (JSON) that narrows it, and ARNs of managed ones. */
  policies: string[];
  policyArns: string[];
  issuedAt: number;
  /** Wall ms. */
  expiresAt: number;
}
