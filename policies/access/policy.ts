// What an access policy says and what a request asks, as plain shapes. Nothing here decides.

/**
 * bucket: of a bucket, names who. identity: of a user, group or role, and managed ones. session:
 * narrows one session. trust: who may take on a role.
 */
export type PolicyKind = 'bucket' | 'identity' | 'session' | 'trust';

export interface AccessPolicy {
  kind: PolicyKind;
  /** 2012-10-17: `${…}` stands for a value of the request. Before that it was text. */
  hasVariables: boolean;
  statements: Statement[];
}

export interface Statement {
  sid?: string;
  effect: 'Allow' | 'Deny';
  /** Absent in identity and session policies: whoever they are attached to. */
  principals?: PrincipalSet & Negatable;
  actions: TextSet;
  /** Absent in trust policies: the role itself. */
  resources?: TextSet;
  conditions: Condition[];
}

interface Negatable {
  /** NotPrincipal, NotAction, NotResource: everything but these. */
  isNegated: boolean;
}

export interface TextSet extends Negatable {
  patterns: string[];
}

export interface PrincipalSet {
  /** `*`: anybody, also unsigned. Not services. */
  isEverybody: boolean;
  /** By id, or the ARN of an account's root. */
  accounts: string[];
  /** ARNs of users, roles and sessions of roles, whole. */
  arns: string[];
  /** Names such as logging.s3.amazonaws.com. */
  services: string[];
}

export interface Condition {
  /** Without quantifier and IfExists. */
  operator: string;
  quantifier?: 'every' | 'some';
  passesIfAbsent: boolean;
  /** Lower case up to a slash; the key of a tag behind it is as it was written. */
  key: string;
  values: string[];
}

/** Who asks, as policies name it. */
export interface Principal {
  /** account: the root of one, which no policy of its own bounds. */
  kind: 'anonymous' | 'account' | 'user' | 'role' | 'service';
  account: string;
  /** arn:aws:iam::ACCOUNT:root or user/NAME, arn:aws:sts::…; of a service its name. */
  arn: string;
  /** Of a session of a role: the role. */
  roleArn?: string;
}

export interface AccessRequest {
  principal: Principal;
  /** s3:GetObject. */
  action: string;
  /** arn:aws:s3:::bucket/key. */
  resource: string;
  /** A value of the request, asked for only where a condition needs it. The key as Condition's. */
  lookup: (key: string) => string | readonly string[] | undefined;
}

/**
 * deny: a statement says Deny, and that is final. allow: one allows this very principal.
 * delegated: one allows the account of a user or role, whose own policies must allow too.
 * undefined: none speaks of it.
 */
export type Verdict = 'deny' | 'allow' | 'delegated' | undefined;
