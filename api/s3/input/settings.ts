// What the S3 application is given. Accounts are a port of two calls, so that where secrets live is
// nobody's business here.

import type { Ownership } from '../../../appliance/model/access.ts';
import type { Bucket } from '../../../appliance/model/bucket.ts';
import type { Clock, Random } from '../../../appliance/model/clock.ts';
import type { NamedKeys } from '../../../appliance/model/encryption.ts';
import type { Version } from '../../../appliance/model/object.ts';
import type { NotificationRule } from '../../../appliance/model/notification.ts';
import type { ObjectStore } from '../../../appliance/model/requests.ts';
import type { GivenLimits } from './admission.ts';
import type { AccessRequest, Principal, Verdict } from '../../../policies/access/policy.ts';

export interface Secret {
  /** Account id: what owns buckets. */
  account: string;
  secretKey: string;
  /** Where the key pair is not of its account's root. */
  signer?: Signer;
  /** Found by its token, which proved to be this key's. */
  isTemporary?: boolean;
}

/** An IAM user, or a session of a role: policies of its own bound it. */
export interface Signer {
  principal: Principal;
  /**
   * What its own policies say, bounds and session policies among them: what these do not allow is
   * `deny`, so that no grant reaches past them.
   */
  judge(request: AccessRequest): Verdict;
  /** Condition keys, in the evaluator's form, that only it has: aws:username, tags of its own. */
  values?: ReadonlyMap<string, string | readonly string[]>;
}

export interface Accounts {
  /**
   * Undefined for a key that doesn't exist or was revoked. Called for every request: cached there.
   * `token` is that of temporary credentials. Throws InvalidToken where it isn't this key's (any
   * token of a lasting key), ExpiredToken.
   */
  secretOf(accessKey: string, token?: string): Promise<Secret | undefined>;
  /** What lists show as the owner's name; the account id where there is none. */
  displayNameOf?(account: string): Promise<string | undefined>;
  /** Grantees of ACLs: the account with this id, or this email. */
  findAccount?(by: { id: string } | { email: string }): Promise<{ id: string } | undefined>;
}

/** How a bucket begins whose maker says nothing about it. */
export interface NewBuckets {
  ownership: Ownership;
  /** All four switches on. */
  blockPublicAccess: boolean;
}

/** One answered request, for metrics, access logs and the operator's eyes. */
export interface RequestRecord {
  requestId: string;
  /** S3's name of the operation; undefined where the request never got that far. */
  operation: string | undefined;
  method: string;
  bucket: string;
  status: number;
  /** S3 error code of a refusal. */
  code: string | undefined;
  account: string | undefined;
  durationMs: number;
  receivedBytes: number;
  sentBytes: number;
  /** The cause, where the fault is ours (5xx): log it, with its request id. */
  fault: unknown;
}

/** What a bucket may have told: the settings' webhooks and queues, by name. */
export interface NotificationTargets {
  webhooks: readonly string[];
  queues: readonly string[];
}

export interface S3Settings {
  engine: ObjectStore;
  accounts: Accounts;
  clock: Clock;
  random: Random;
  region: string;
  /** Accepted, kept and answered beside the region's own name. */
  locationConstraints?: readonly string[];
  /** Keys of SSE-KMS that a bucket may name as its default; where absent nothing is checked. */
  namedKeys?: Pick<NamedKeys, 'defaultKeyId' | 'has'>;
  /** Default: BucketOwnerEnforced, the public blocked. */
  newBuckets?: NewBuckets;
  /** Buckets are also hosts below it (bucket.DOMAIN). */
  domain?: string;
  /** Buckets with a website are shown to visitors as hosts below it; none where absent. */
  websiteDomain?: string;
  /** Storage class → tier: others are InvalidStorageClass. */
  classes: ReadonlyMap<string, string>;
  /** Whether transitions may also go up (policies/lifecycle-xml.ts); strict where absent. */
  waterfall?: 'strict' | 'free';
  /**
   * The value of x-amz-expiration of a current version; undefined where no rule will expire it.
   * Where absent: by the bucket's own lifecycle configuration (request/expiration.ts).
   */
  expirationOf?: (bucket: Bucket, key: string, version: Version) => string | undefined;
  /** Whom notification configurations may name. Nobody where absent. */
  notificationTargets?: NotificationTargets;
  /** Puts a test event on record for each target of a configuration. */
  testEvents?(bucket: string, rules: readonly NotificationRule[]): Promise<void>;
  /** Room of a bucket, shown to backup programs that ask for it; nothing is shown where absent. */
  capacityOf?(bucket: Bucket): Promise<{ capacityBytes: number; usedBytes: number }>;
  /** Between two objects of an access log; none are written where absent. */
  accessLogMs?: number;
  /** Something that an operator should see and no client can be told. */
  problem?(message: string, bucket: string): void;
  /** Never throws, never waits. */
  observe?(record: RequestRecord): void;
  /** A body that brings nothing for this long is RequestTimeout. 30 s where absent. */
  stallMs?: number;
  /** Who is let in; its own defaults where absent. */
  admission?: GivenLimits;
  /** How long a copy takes before its answer begins all the same. 5 s where absent. */
  patienceMs?: number;
}
