// Buckets, accounts and key pairs.

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
}

export const ROOT_ACCOUNT = 'root';
