// Secret keys at rest: AES-256-GCM under the master key, bound to the access key they belong to, so
// that a sealed secret can't be put into another account's row. A stolen copy of the metadata signs
// nothing.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Random } from '../../model/clock.ts';
import { FirnError } from '../../model/errors.ts';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
export const MASTER_KEY_BYTES = 32;

/** Base64 of nonce, tag, ciphertext. */
export function seal(
  masterKey: Uint8Array,
  random: Random,
  of: { text: string; owner: string },
): string {
  const nonce = random.bytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', masterKey, nonce);
  cipher.setAAD(Buffer.from(of.owner, 'utf8'));
  const text = Buffer.concat([cipher.update(of.text, 'utf8'), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64');
}

/** The text. SettingsInvalid when the key is another, or the row was altered. */
export function unseal(masterKey: Uint8Array, of: { sealed: string; owner: string }): string {
  const bytes = Buffer.from(of.sealed, 'base64');
  try {
    const decipher = createDecipheriv('aes-256-gcm', masterKey, bytes.subarray(0, NONCE_BYTES));
    decipher.setAAD(Buffer.from(of.owner, 'utf8'));
    decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
    const text = decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES));
    return Buffer.concat([text, decipher.final()]).toString('utf8');
  } catch (cause) {
    throw new FirnError('SettingsInvalid', 'a sealed secret does not open with this master key', {
      subject: of.owner,
      hint: 'masterKeyFile must name the key that this store was made with',
      cause,
    });
  }
}
