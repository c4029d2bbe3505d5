// Encryption at rest, as a version carries it. Bytes are sealed before they reach a tier and opened
// after they leave it, so that moves, packs, scrub and heal handle sealed bytes only and never need
// a key. The danger: a key in a row, a log or a pack.

/** What a request, or the bucket's default, asks for. */
export type EncryptionWish =
  | { kind: 'SSE-S3' }
  | { kind: 'SSE-KMS'; keyId?: string; context?: string; bucketKey?: boolean }
  | { kind: 'SSE-C'; clientKey: Uint8Array };

/** How a version, or an upload, was sealed: no key in the clear. */
export interface Encryption {
  kind: 'SSE-S3' | 'SSE-KMS' | 'SSE-C';
  /** The data key, sealed by the store's, the named or the client's key: base64. */
  sealedKey: string;
  /** Name of the key that sealed it; of SSE-KMS. */
  keyId?: string;
  /** x-amz-server-side-encryption-context, base64 JSON as it came. */
  context?: string;
  bucketKey?: boolean;
  /** MD5 of the client's key, base64: which key to bring, not the key. Of SSE-C. */
  clientKeyMd5?: string;
}

/** Bucket default: what a PUT gets that asks for nothing. */
export interface DefaultEncryption {
  algorithm: 'AES256' | 'aws:kms';
  keyId?: string;
  bucketKey?: boolean;
}
