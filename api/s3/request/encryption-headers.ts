// Encryption as requests ask for it and answers tell it, one reader for every operation and for
// forms. The dangers: two wishes at once of which one is quietly dropped, a key of the wrong length
// that is padded, and a client's key that comes back in an answer, an error or a log: no value of a
// key's header is ever repeated here, and of its digest only one that was proved right.

import { hash } from 'node:crypto';
import type { Encryption, EncryptionWish } from '../../../appliance/model/encryption.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import { invalidArgument } from './request.ts';

const METHOD = 'x-amz-server-side-encryption';
const KEY_ID = 'x-amz-server-side-encryption-aws-kms-key-id';
const CONTEXT = 'x-amz-server-side-encryption-context';
const BUCKET_KEY = 'x-amz-server-side-encryption-bucket-key-enabled';

interface ClientHeaders {
  algorithm: string;
  key: string;
  md5: string;
}

function clientHeaders(prefix: string): ClientHeaders {
  const name = `${prefix}server-side-encryption-customer-`;
  return { algorithm: `${name}algorithm`, key: `${name}key`, md5: `${name}key-md5` };
}

const OWN = clientHeaders('x-amz-');
const SOURCE = clientHeaders('x-amz-copy-source-');
const CLIENT_KEY_BYTES = 32;
const CONTEXT_BYTES_MAX = 4096;

/** What a write asks for; undefined: nothing. Throws InvalidArgument and the like (400), 501. */
export function encryptionWishOf(headers: RequestHeaders): EncryptionWish | undefined {
  const method = headers[METHOD];
  const clientKey = clientKeyOf(headers);
  if (method === undefined) {
    for (const name of [KEY_ID, CONTEXT]) {
      if (headers[name] !== undefined) {
        throw refused(`${METHOD} must be aws:kms where ${name} is given`, name);
      }
    }
    return clientKey && { kind: 'SSE-C', clientKey };
  }
  if (clientKey !== undefined) {
    throw refused('Server Side Encryption with Customer provided key is incompatible', METHOD);
  }
  if (method === 'aws:kms') return kmsWishOf(headers);
  if (method === 'aws:kms:dsse') {
    throw new FirnError('NotImplemented', 'Encryption in two layers is not implemented.');
  }
  if (method !== 'AES256') {
    throw invalidArgument('the encryption method specified is not supported', METHOD, method);
  }
  for (const name of [KEY_ID, CONTEXT]) {
    if (headers[name] !== undefined) {
      throw refused(`${name} has no place beside ${METHOD}: AES256`, name);
    }
  }
  return { kind: 'SSE-S3' };
}

function kmsWishOf(headers: RequestHeaders): EncryptionWish {
  const keyId = headers[KEY_ID];
  const context = headers[CONTEXT];
  const bucketKey = headers[BUCKET_KEY];
  if (keyId === '') throw refused('the id of a key must not be empty', KEY_ID);
  if (context !== undefined) checkContext(context);
  if (bucketKey !== undefined && bucketKey !== 'true' && bucketKey !== 'false') {
    throw invalidArgument('it must be true or false', BUCKET_KEY, bucketKey);
  }
  return {
    kind: 'SSE-KMS',
    ...(keyId !== undefined && { keyId }),
    ...(context !== undefined && { context }),
    ...(bucketKey !== undefined && { bucketKey: bucketKey === 'true' }),
  };
}

/** Base64 of a JSON object whose values are texts. */
function checkContext(context: string): void {
  const bytes = Buffer.from(context, 'base64');
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch {
    value = undefined;
  }
  const isMap =
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((one) => typeof one === 'string');
  if (isMap && bytes.length <= CONTEXT_BYTES_MAX && bytes.toString('base64') === context) return;
  throw refused('it must be base64 of a JSON object of texts', CONTEXT);
}

/** The key of an object under SSE-C that the request brings for it. Throws as S3 does. */
export function clientKeyOf(headers: RequestHeaders): Uint8Array | undefined {
  return keyBy(headers, OWN);
}

/** The key of a copy's source. */
export function sourceClientKeyOf(headers: RequestHeaders): Uint8Array | undefined {
  return keyBy(headers, SOURCE);
}

function keyBy(headers: RequestHeaders, names: ClientHeaders): Uint8Array | undefined {
  const algorithm = headers[names.algorithm];
  const text = headers[names.key];
  const md5 = headers[names.md5];
  if (algorithm === undefined && text === undefined && md5 === undefined) return undefined;
  const needs =
    'Requests specifying Server Side Encryption with Customer provided keys must provide';
  if (algorithm === undefined) {
    throw refused(`${needs} a valid encryption algorithm`, names.algorithm);
  }
  if (algorithm !== 'AES256') {
    throw new FirnError(
      'InvalidEncryptionAlgorithmError',
      'The encryption request you specified is not valid. The valid value is AES256.',
      { details: { ArgumentName: names.algorithm } },
    );
  }
  if (text === undefined) throw refused(`${needs} an appropriate secret key`, names.key);
  if (md5 === undefined) {
    throw refused(`${needs} the client calculated MD5 of the secret key`, names.md5);
  }
  const key = Buffer.from(text, 'base64');
  if (key.length !== CLIENT_KEY_BYTES || key.toString('base64') !== text) {
    throw refused('The secret key was invalid for the specified algorithm', names.key);
  }
  if (hash('md5', key, 'base64') !== md5) {
    throw refused(
      'The calculated MD5 hash of the key did not match the hash that was provided',
      names.md5,
    );
  }
  return key;
}

/** A refusal that names the header and never its value. */
function refused(reason: string, name: string): FirnError {
  return new FirnError('InvalidArgument', `${reason}.`, { details: { ArgumentName: name } });
}

/** How an object is encrypted is not for its readers to say. */
export function refuseWish(headers: RequestHeaders): void {
  for (const name of [METHOD, KEY_ID, CONTEXT, BUCKET_KEY]) {
    if (headers[name] !== undefined) {
      throw refused(`${name} is not applicable to this kind of request`, name);
    }
  }
}

/** A part is sealed as its upload was begun; this says that it must not lie in the clear. */
export function asksEncryption(headers: RequestHeaders): boolean {
  return headers[METHOD] !== undefined;
}

/** Tells how a version, or an upload, is encrypted. `headers`: of a request that proved its key. */
export function pushEncryption(
  into: string[],
  encryption: Encryption | undefined,
  headers: RequestHeaders,
): void {
  if (encryption === undefined) return;
  const { kind, keyId, bucketKey } = encryption;
  if (kind === 'SSE-C') {
    const md5 = headers[OWN.md5];
    into.push(OWN.algorithm, 'AES256');
    if (md5 !== undefined) into.push(OWN.md5, md5);
    return;
  }
  into.push(METHOD, kind === 'SSE-S3' ? 'AES256' : 'aws:kms');
  if (keyId !== undefined) into.push(KEY_ID, keyId);
  if (bucketKey === true) into.push(BUCKET_KEY, 'true');
}

/** As above, for the answer to a write: also what it was bound to. */
export function pushWritten(
  into: string[],
  encryption: Encryption | undefined,
  headers: RequestHeaders,
): void {
  pushEncryption(into, encryption, headers);
  if (encryption?.context !== undefined) into.push(CONTEXT, encryption.context);
}
