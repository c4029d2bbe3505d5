// Encryption at rest, as a version carries it. Bytes are sealed before they reach a tier and opened
// after they leave it, so that moves, packs, scrub and heal handle sealed bytes only and never need
// a key. The danger: a key in a row, a log or a pack. Formats: appliance/engine/ENCRYPTION.md.

/** What a request, or the bucket's default, asks for. */
export type EncryptionWish =
  | { kind: 'SSE-S3' }
  /** Without a key id: the default key. */
  | { kind: 'SSE-KMS'; keyId?: string; context?: string; bucketKey?: boolean }
  /** 32 bytes, used and forgotten. */
  | { kind: 'SSE-C'; clientKey: Uint8Array };

/** How a version, or an upload, was sealed: no key in the clear. */
export interface Encryption {
  kind: 'SSE-S3' | 'SSE-KMS' | 'SSE-C';
  /**
   * The data key, sealed by the store's, the named or the client's key: base64. It is all that
   * tells whether a client brought the right key; the key and its digest are nowhere.
   */
  sealedKey: string;
  /** Name of the key that sealed it; of SSE-KMS. */
  keyId?: string;
  /** x-amz-server-side-encryption-context, base64 JSON as it came. */
  context?: string;
  bucketKey?: boolean;
}

/** Bucket default: what a PUT gets that asks for nothing. */
export interface DefaultEncryption {
  algorithm: 'AES256' | 'aws:kms';
  keyId?: string;
  bucketKey?: boolean;
}

/** A data key, and the one thing it may belong to: sealed for that, it opens for no other. */
export interface BoundKey {
  dataKey: Uint8Array;
  boundTo: string;
}

/** The port of keys with names (SSE-KMS): data keys go in and come out, a named key never does. */
export interface NamedKeys {
  /** What SSE-KMS means where no key is named; undefined: such a request is refused. */
  readonly defaultKeyId: string | undefined;
  has(keyId: string): boolean;
  /** Base64. KMS.NotFoundException for a name that is not there. */
  seal(keyId: string, key: BoundKey): Promise<string>;
  /** KMS.NotFoundException as above; Corrupt where it was altered or belongs to something else. */
  unseal(keyId: string, sealed: { sealedKey: string; boundTo: string }): Promise<Uint8Array>;
}
