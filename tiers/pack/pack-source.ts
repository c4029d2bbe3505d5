// Fetches the bytes to be packed. Each part's XXH3-64 is compared with the version's record while
// its bytes pass by, so that a rotten source is found now and not in the archive. A few entries are
// fetched ahead, because their bytes may come from far away; never more than AHEAD_BYTES are held.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { FirnError } from '../../appliance/model/errors.ts';
import { MiB, PACK_BYTES_TARGET } from '../../appliance/model/limits.ts';
import type { Part } from '../../appliance/model/object.ts';
import type { PackEntry } from '../../appliance/model/packer.ts';
import type { Body } from '../../appliance/model/tier.ts';
import { encodeFrames, sampleShrinks, savesEnough } from '../../appliance/model/zstd-frames.ts';
import { checksumOf } from '../checksum.ts';

const AHEAD_BYTES = 32 * MiB;
const AHEAD_ENTRIES = 8;

export interface LoadedEntry {
  /** As they go into the pack. */
  bytes: Uint8Array;
  sha256: string;
  /** Coded bytes of each part, where they are. */
  codedBytes?: number[];
}

const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function rotten(entry: PackEntry, what: string): FirnError {
  return new FirnError('Corrupt', `${what} while it was being packed`, {
    subject: `${entry.bucket}/${entry.key}`,
    hint: 'nothing was moved; heal the tier that holds the object, the pack is built without it',
  });
}

/**
 * The version's bytes as they go into the pack, every part compared; throws Corrupt naming the key
 * on any difference.
 */
export async function loadEntry(entry: PackEntry, signal?: AbortSignal): Promise<LoadedEntry> {
  const { version } = entry;
  assert.ok(version.sizeBytes <= PACK_BYTES_TARGET, 'a large object goes alone, not into a zip');
  assert.ok(version.partsBlock === undefined, 'a version of more than 64 parts goes alone');
  const partBytes = version.parts.reduce((sum, part) => sum + part.sizeBytes, 0);
  if (partBytes !== version.sizeBytes) throw rotten(entry, 'its parts do not add up to its size');
  const bytes = await collect(entry, await entry.open(), signal);
  let at = 0;
  for (const part of version.parts) {
    checkPart(entry, part, bytes.subarray(at, at + part.sizeBytes));
    at += part.sizeBytes;
  }
  const coded = entry.compresses === true ? await codedOf(version.parts, bytes) : undefined;
  return coded ?? { bytes, sha256: sha256Of(bytes) };
}

/** Each part coded by itself, so that it is read by itself; undefined where it does not pay. */
async function codedOf(
  parts: readonly Part[],
  plain: Uint8Array,
): Promise<LoadedEntry | undefined> {
  if (!sampleShrinks(plain)) return undefined;
  const chunks: Uint8Array[] = [];
  const codedBytes: number[] = [];
  let at = 0;
  for (const part of parts) {
    let bytes = 0;
    for await (const chunk of encodeFrames(plain.subarray(at, at + part.sizeBytes))) {
      chunks.push(chunk);
      bytes += chunk.length;
    }
    codedBytes.push(bytes);
    at += part.sizeBytes;
  }
  const bytes = Buffer.concat(chunks);
  if (!savesEnough(bytes.length, plain.length)) return undefined;
  return { bytes, sha256: sha256Of(bytes), codedBytes };
}

function checkPart(entry: PackEntry, part: Part, bytes: Uint8Array): void {
  if (checksumOf(bytes) !== part.checksum) {
    throw rotten(entry, `part ${part.number} does not match its checksum`);
  }
}

async function collect(
  entry: PackEntry,
  body: Body,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const { sizeBytes } = entry.version;
  if (body instanceof Uint8Array) {
    if (body.length !== sizeBytes) throw rotten(entry, `${body.length} of ${sizeBytes} bytes`);
    return body;
  }
  const bytes = Buffer.allocUnsafeSlow(sizeBytes);
  let at = 0;
  for await (const chunk of body) {
    signal?.throwIfAborted();
    if (at + chunk.length > sizeBytes) throw rotten(entry, `more than ${sizeBytes} bytes`);
    bytes.set(chunk, at);
    at += chunk.length;
  }
  if (at !== sizeBytes) throw rotten(entry, `${at} of ${sizeBytes} bytes`);
  return bytes;
}

/** Loads entries in order, a few ahead of the one asked for. */
export class Lookahead {
  readonly #entries: readonly PackEntry[];
  readonly #load: (entry: PackEntry) => Promise<LoadedEntry>;
  readonly #loading: Promise<LoadedEntry>[] = [];
  #started = 0;
  #taken = 0;
  #heldBytes = 0;

  constructor(entries: readonly PackEntry[], load: (entry: PackEntry) => Promise<LoadedEntry>) {
    this.#entries = entries;
    this.#load = load;
  }

  /** The next entry; asked for at most as often as there are entries. */
  async next(): Promise<LoadedEntry> {
    this.#fill();
    const loading = this.#loading.shift();
    assert.ok(loading !== undefined, 'no entry is left');
    const loaded = await loading;
    this.#heldBytes -= this.#sizeOf(this.#taken);
    this.#taken += 1;
    return loaded;
  }

  /**
   * Waits for what is under way, whatever becomes of it: nobody reads after the build has ended.
   */
  async end(): Promise<void> {
    await Promise.allSettled(this.#loading);
  }

  #sizeOf(index: number): number {
    return this.#entries[index]?.version.sizeBytes ?? 0;
  }

  #fill(): void {
    while (
      this.#started < this.#entries.length &&
      this.#loading.length < AHEAD_ENTRIES &&
      (this.#loading.length === 0 || this.#heldBytes + this.#sizeOf(this.#started) <= AHEAD_BYTES)
    ) {
      const loading = this.#load(this.#entries[this.#started] as PackEntry);
      loading.catch(() => undefined);
      this.#loading.push(loading);
      this.#heldBytes += this.#sizeOf(this.#started);
      this.#started += 1;
    }
  }
}
