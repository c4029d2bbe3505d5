// Buckets, accounts and key pairs.

import type { Acl, Ownership, PublicAccessBlock } from './access.ts';
import type { DefaultEncryption } from './encryption.ts';
import type { NotificationRule } from './notification.ts';

export interface Bucket {
  format: 1;
  /** See newBucketId. */
  id: string;
  name: string;
  /** Account id. */
  owner: string;
  createdAt: number;
  region: string;
  versioning: 'off' | 'enabled' | 'suspended';
  /** `deleting`: DeleteBucket is scanning (A6); no new key is taken. */
  state: 'live' | 'deleting';
  /** The lifecycle XML as it was put, compiled at evaluation (policies/lifecycle-xml.ts). */
  lifecycleXml?: string;
  /** x-amz-transition-default-minimum-object-size of that configuration. */
  lifecycleSizeFloor?: 'all_storage_classes_128K' | 'varies_by_storage_class';
  /** Absent: BucketOwnerEnforced, as all buckets were made once. */
  ownership?: Ownership;
  /** Absent: nobody but the owner. */
  acl?: Acl;
  /** Absent: nothing is blocked. */
  publicAccessBlock?: PublicAccessBlock;
  /** The bucket policy's JSON as it was put (policies/access). At most 20 KiB. */
  policy?: string;
  /** What a PUT gets that asks for no encryption. */
  encryption?: DefaultEncryption;
  /** Versioning is enabled and stays so. */
  objectLock?: ObjectLockConfiguration;
  tags?: Record<string, string>;
  /** Set by an operator (quota): refused beyond, warned about from 80 %. */
  quota?: Quota;
  /** Set by an operator: equal bytes are kept once (appliance/engine/DEDUPE.md). */
  dedupe?: boolean;
  /** Who is told of what happens to its objects. Absent: nobody. */
  notifications?: NotificationRule[];
  /** Where a line for each of its requests goes. Absent: nowhere. */
  logging?: BucketLogging;
  /**
   * Canonical XML of what is only looked at when it is asked for, by name of its subresource, and
   * `/id` behind it where a bucket has several: cors, website, replication,
   * accelerate, requestPayment, inventory/ID, analytics/ID, metrics/ID, intelligent-tiering/ID.
   */
  configurations?: Record<string, string>;
}

export type LockMode = 'GOVERNANCE' | 'COMPLIANCE';

export interface ObjectLockConfiguration {
  /** What a new version gets that asks for no retention. */
  default?: { mode: LockMode; days: number } | { mode: LockMode; years: number };
}

export interface BucketLogging {
  /** Name of a bucket of the same owner. */
  targetBucket: string;
  targetPrefix: string;
  /** Keys in folders by account, region, bucket and date, of the request or of the writing. */
  partitionedBy?: 'EventTime' | 'DeliveryTime';
}

/** Every version counts, and the parts of uploads under way; delete markers do not. */
export interface Quota {
  bytesMax?: number;
  objectsMax?: number;
}

/** Row of `accounts`, id = `account/${id}`. */
export interface Account {
  format: 1;
  id: string;
  displayName: string;
  email?: string;
  createdAt: number;
  /** May use the admin API. The root account can. */
  admin: boolean;
  /** Of all its buckets together. */
  quota?: Quota;
}

/** Row of `accounts`, id = `key/${accessKey}`. */
export interface KeyPair {
  format: 1;
  accessKey: string;
  account: string;
  /** The secret key sealed by the master key: base64 of nonce, tag, ciphertext (AES-256-GCM). */
  sealedSecret: string;
  createdAt: number;
  /** Wall ms at which it was revoked: refused since, whatever a host's clock says. */
  revokedAt?: number;
  /** Absent: true. Unlike a revocation this can be taken back (UpdateAccessKey). */
  isActive?: boolean;
}

export const ROOT_ACCOUNT = 'root';
