// Data keys at rest. Each object, or upload, has a random key of its own; it is kept only sealed by
// another: the store's master key (SSE-S3), a named key (SSE-KMS) or the key that the client brings
// with each request (SSE-C). The dangers: a key in the clear in a row, an envelope that is moved to
// another object or has its terms altered and still opens, and one wrapping key used so often that
// random nonces meet (2^32 under GCM). So the sealed key is bound to the object and to its terms,
// and what seals it is derived afresh from a salt of its own each time. About 20 µs a request.
// Format: ENCRYPTION.md.

import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
import type { Bucket } from '../../model/bucket.ts';
import type { Random } from '../../model/clock.ts';
import type { BoundKey, Encryption, EncryptionWish } from '../../model/encryption.ts';
import { FirnError } from '../../model/errors.ts';
import type { EngineContext } from '../document/context.ts';

export const KEY_BYTES = 32;
const FORMAT = 1;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const DERIVATION = 'firn data key 1';
/** Where each field of a sealed key begins. */
const NONCE_AT = 1 + SALT_BYTES;
const TAG_AT = NONCE_AT + NONCE_BYTES;
const KEY_AT = TAG_AT + TAG_BYTES;

function derived(wrappingKey: Uint8Array, salt: Uint8Array): Uint8Array {
  assert.equal(wrappingKey.length, KEY_BYTES, 'a wrapping key has 32 bytes');
  return new Uint8Array(hkdfSync('sha256', wrappingKey, salt, DERIVATION, KEY_BYTES));
}

/** The data key sealed, as base64. */
export function wrapKey(wrappingKey: Uint8Array, random: Random, key: BoundKey): string {
  assert.equal(key.dataKey.length, KEY_BYTES, 'a data key has 32 bytes');
  const salt = random.bytes(SALT_BYTES);
  const nonce = random.bytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', derived(wrappingKey, salt), nonce);
  cipher.setAAD(Buffer.from(key.boundTo, 'utf8'));
  const text = Buffer.concat([cipher.update(key.dataKey), cipher.final()]);
  const format = Uint8Array.of(FORMAT);
  return Buffer.concat([format, salt, nonce, cipher.getAuthTag(), text]).toString('base64');
}

/** The data key; undefined where another key sealed it, or anything about it was altered. */
export function unwrapKey(
  wrappingKey: Uint8Array,
  { sealedKey, boundTo }: { sealedKey: string; boundTo: string },
): Uint8Array | undefined {
  const bytes = Buffer.from(sealedKey, 'base64');
  if (bytes[0] !== undefined && bytes[0] > FORMAT) {
    throw new FirnError('FormatUnknown', `a data key is sealed in format ${bytes[0]}`, {
      hint: 'a newer Firn wrote it: run that one',
    });
  }
  if (bytes.length !== KEY_AT + KEY_BYTES || bytes[0] !== FORMAT) return undefined;
  const key = derived(wrappingKey, bytes.subarray(1, NONCE_AT));
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(NONCE_AT, TAG_AT), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(Buffer.from(boundTo, 'utf8'));
  decipher.setAuthTag(bytes.subarray(TAG_AT, KEY_AT));
  const text = decipher.update(bytes.subarray(KEY_AT));
  try {
    return Buffer.concat([text, decipher.final()]);
  } catch {
    // What GCM says of a wrong key and of altered bytes alike.
    return undefined;
  }
}

/** What a sealed key is bound to: the object's id and the terms that clients are told. */
function boundTo(object: string, terms: Omit<Encryption, 'sealedKey'>): string {
  const { kind, keyId = null, context = null, bucketKey = null } = terms;
  return JSON.stringify([object, kind, keyId, context, bucketKey]);
}

/** What a write gets: what it asks for, else its bucket's default, else nothing. */
export function wishOf(
  wish: EncryptionWish | undefined,
  { encryption }: Bucket,
): EncryptionWish | undefined {
  if (wish !== undefined || encryption === undefined) return wish;
  if (encryption.algorithm === 'AES256') return { kind: 'SSE-S3' };
  const { keyId, bucketKey } = encryption;
  return {
    kind: 'SSE-KMS',
    ...(keyId !== undefined && { keyId }),
    ...(bucketKey !== undefined && { bucketKey }),
  };
}

export interface NewEnvelope {
  encryption: Encryption;
  dataKey: Uint8Array;
}

/** A fresh data key for an object. KMS.NotFoundException, InvalidArgument without a key to take. */
export async function newEnvelope(
  context: EngineContext,
  object: string,
  wish: EncryptionWish,
): Promise<NewEnvelope> {
  const { random, masterKey } = context;
  const dataKey = random.bytes(KEY_BYTES);
  const terms = termsOf(context, wish);
  const key: BoundKey = { dataKey, boundTo: boundTo(object, terms) };
  const { keyId } = terms;
  let sealedKey: string;
  if (wish.kind === 'SSE-C') sealedKey = wrapKey(wish.clientKey, random, key);
  else if (keyId === undefined) sealedKey = wrapKey(masterKey, random, key);
  else sealedKey = await context.namedKeys.seal(keyId, key);
  return { encryption: { ...terms, sealedKey }, dataKey };
}

function termsOf(context: EngineContext, wish: EncryptionWish): Omit<Encryption, 'sealedKey'> {
  if (wish.kind !== 'SSE-KMS') return { kind: wish.kind };
  const keyId = wish.keyId ?? context.namedKeys.defaultKeyId;
  if (keyId === undefined) {
    throw new FirnError(
      'InvalidArgument',
      'No key is named for aws:kms, and there is no default.',
      {
        details: { ArgumentName: 'x-amz-server-side-encryption-aws-kms-key-id' },
        hint: 'name one by the request, the bucket or encryption.defaultKey',
      },
    );
  }
  return {
    kind: 'SSE-KMS',
    keyId,
    ...(wish.context !== undefined && { context: wish.context }),
    ...(wish.bucketKey !== undefined && { bucketKey: wish.bucketKey }),
  };
}

export interface Sealed {
  /** objectId. */
  object: string;
  /** Of the version or upload; undefined: its bytes lie as they came. */
  encryption: Encryption | undefined;
  /** What the request brought. */
  clientKey: Uint8Array | undefined;
}

/**
 * The data key of a version or upload; undefined where it has none. InvalidRequest for a client's
 * key that is missing, wrong or not asked for; KMS.NotFoundException; Corrupt for an envelope that
 * is not the one that was written.
 */
export async function openEnvelope(
  context: EngineContext,
  sealed: Sealed,
): Promise<Uint8Array | undefined> {
  const { object, encryption, clientKey } = sealed;
  if (encryption?.kind !== 'SSE-C' && clientKey !== undefined) {
    throw new FirnError(
      'InvalidRequest',
      'The encryption parameters are not applicable to this object.',
    );
  }
  if (encryption === undefined) return undefined;
  const { kind, sealedKey, keyId } = encryption;
  const of = { sealedKey, boundTo: boundTo(object, encryption) };
  switch (kind) {
    case 'SSE-C':
      return openByClient(of, clientKey);
    case 'SSE-S3':
      return unwrapKey(context.masterKey, of) ?? refuseAltered(object);
    case 'SSE-KMS':
      return keyId === undefined ? refuseAltered(object) : context.namedKeys.unseal(keyId, of);
    default:
      throw new FirnError('FormatUnknown', `an object is sealed by ${String(kind)}`, {
        subject: object,
        hint: 'a newer Firn wrote it: run that one',
      });
  }
}

function openByClient(
  of: { sealedKey: string; boundTo: string },
  clientKey: Uint8Array | undefined,
): Uint8Array {
  if (clientKey === undefined) {
    throw new FirnError(
      'InvalidRequest',
      'The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object.',
    );
  }
  const dataKey = unwrapKey(clientKey, of);
  if (dataKey !== undefined) return dataKey;
  throw new FirnError(
    'InvalidRequest',
    'The provided encryption parameters did not match the ones used originally.',
  );
}

function refuseAltered(subject: string): never {
  throw new FirnError('Corrupt', 'the sealed data key is not the one that was written', {
    subject,
    hint: 'restore the row from a metadata snapshot: without its data key the object is lost',
  });
}
