// The keys of SSE-KMS, from the operator's file. The danger: a key that is lost or replaced by
// another of the same name takes every object with it that it sealed; so a name once used is
// remembered in the store with a proof of its key, and a start with another key, or without it, is
// refused before it serves. The file is text, a line a key, closed by a sum: a torn or edited line
// is found at the start and not at the first GET. Reading and writing it is config.ts's.
// Format: ENCRYPTION.md.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Random } from '../../model/clock.ts';
import type { BoundKey, NamedKeys } from '../../model/encryption.ts';
import { FirnError } from '../../model/errors.ts';
import type { MetadataStore } from '../../model/metadata-store.ts';
import { KEY_BYTES, unwrapKey, wrapKey } from './envelope.ts';

const MAGIC = 'firn-named-keys';
const VERSION = 1;
const LINE = /^key ([A-Za-z0-9._:/-]{1,128}) ([0-9a-f]{64})$/;

const sumOf = (text: string): string => createHash('sha256').update(text).digest('hex');

/** The file's text. */
export function writeKeys(keys: ReadonlyMap<string, Uint8Array>): string {
  let text = `${MAGIC} ${VERSION}\n`;
  for (const [keyId, key] of keys) text += `key ${keyId} ${Buffer.from(key).toString('hex')}\n`;
  return `${text}sum ${sumOf(text)}\n`;
}

/** The keys of a file. SettingsInvalid where it is not whole, FormatUnknown where it is newer. */
export function readKeys(text: string, subject: string): Map<string, Uint8Array> {
  const bad = (why: string): FirnError =>
    new FirnError('SettingsInvalid', `the file of named keys ${why}`, {
      subject,
      hint: 'bring it back from a copy: objects under its keys are read with them only',
    });
  const [head, ...lines] = text.split('\n');
  const [magic, version] = (head ?? '').split(' ');
  if (magic !== MAGIC) throw bad('is no such file');
  if (version !== String(VERSION)) {
    throw new FirnError('FormatUnknown', `the file of named keys has version ${version}`, {
      subject,
    });
  }
  const end = text.lastIndexOf('sum ');
  if (lines.at(-1) !== '' || end < 0 || text.slice(end) !== `sum ${sumOf(text.slice(0, end))}\n`) {
    throw bad('does not match its sum');
  }
  const keys = new Map<string, Uint8Array>();
  for (const line of lines.slice(0, -2)) {
    const [, keyId, hex] = LINE.exec(line) ?? [];
    if (keyId === undefined || hex === undefined) throw bad('has a line that is no key');
    if (keys.has(keyId)) throw bad(`names ${keyId} twice`);
    keys.set(keyId, Buffer.from(hex, 'hex'));
  }
  return keys;
}

export interface KeyFile {
  keys: ReadonlyMap<string, Uint8Array>;
  defaultKeyId?: string | undefined;
  random: Random;
}

/** Named keys out of a file, in memory as long as the process. */
export class FileKeys implements NamedKeys {
  readonly defaultKeyId: string | undefined;
  readonly #keys: ReadonlyMap<string, Uint8Array>;
  readonly #random: Random;

  constructor({ keys, defaultKeyId, random }: KeyFile) {
    this.#keys = keys;
    this.#random = random;
    this.defaultKeyId = defaultKeyId;
    if (defaultKeyId === undefined || keys.has(defaultKeyId)) return;
    throw new FirnError('SettingsInvalid', `there is no key ${defaultKeyId} to be the default`, {
      subject: 'encryption.defaultKey',
      hint: 'add it to encryption.keys: the next start makes it',
    });
  }

  has(keyId: string): boolean {
    return this.#keys.has(keyId);
  }

  async seal(keyId: string, key: BoundKey): Promise<string> {
    return await Promise.resolve(wrapKey(this.#key(keyId), this.#random, key));
  }

  async unseal(keyId: string, sealed: { sealedKey: string; boundTo: string }): Promise<Uint8Array> {
    const dataKey = await Promise.resolve(unwrapKey(this.#key(keyId), sealed));
    if (dataKey !== undefined) return dataKey;
    throw new FirnError('Corrupt', 'the sealed data key is not the one that was written', {
      subject: keyId,
      hint: 'restore the row from a metadata snapshot',
    });
  }

  #key(keyId: string): Uint8Array {
    const key = this.#keys.get(keyId);
    if (key !== undefined) return key;
    throw new FirnError('KMS.NotFoundException', `Key '${keyId}' does not exist`);
  }
}

interface KeyProof {
  format: 1;
  sealedKey: string;
}

const proofRow = (keyId: string): string => `named-key/${keyId}`;
/** What a proof seals: no secret. */
const PROOF: Uint8Array = new Uint8Array(KEY_BYTES);

/** What looks at proofs: before any tier is open. */
export interface ProofContext {
  store: MetadataStore;
  random: Random;
}

/** Names without a key that the store has a proof of: they were in use, and are lost. */
export async function lostKeys(
  { store }: ProofContext,
  wanted: readonly string[],
  keys: ReadonlyMap<string, Uint8Array>,
): Promise<string[]> {
  const lost: string[] = [];
  for (const keyId of wanted) {
    if (keys.has(keyId)) continue;
    if ((await store.get<KeyProof>('settings', proofRow(keyId))) !== undefined) lost.push(keyId);
  }
  return lost;
}

/**
 * Proves that each key is the one that this store knows by its name, or makes it so for a new name.
 * Call before anything is served. SettingsInvalid otherwise.
 */
export async function proveKeys(
  { store, random }: ProofContext,
  keys: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  for (const [keyId, key] of keys) {
    const id = proofRow(keyId);
    const sealedKey = wrapKey(key, random, { dataKey: PROOF, boundTo: id });
    const made = await store.insert('settings', id, { format: 1, sealedKey } satisfies KeyProof);
    if (made.outcome === 'done') continue;
    const row = await store.get<KeyProof>('settings', id);
    const sealed = { sealedKey: row?.value.sealedKey ?? '', boundTo: id };
    const found = unwrapKey(key, sealed);
    if (found !== undefined && timingSafeEqual(found, PROOF)) continue;
    throw new FirnError('SettingsInvalid', `key ${keyId} is not the one this store was used with`, {
      subject: keyId,
      hint: 'encryption.keyRingFile must be the file that the first host made: copy it from there',
    });
  }
}
