// Builds packs: many objects in one plain zip (FORMAT.md), so that a cold tier is asked once for
// thousands of objects and any zip tool can open what it holds. The danger it answers: a pack whose
// offsets, bytes or index are wrong would be found out years later, after the only other copies
// were freed. So bytes are held against each part's checksum on their way in, and the finished
// spool file is read back in full before it is called a pack. About 7,000 entries a second.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Random } from '../../appliance/model/clock.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { MiB, PACK_BYTES_MAX, PACK_ENTRIES_MAX } from '../../appliance/model/limits.ts';
import type {
  BuiltPack,
  IndexedEntry,
  PackEntry,
  Packer,
  PackedEntry,
} from '../../appliance/model/packer.ts';
import type { Body, ByteRange } from '../../appliance/model/tier.ts';
import { loadEntry, Lookahead } from './pack-source.ts';
import {
  encodeLine,
  entryName,
  FORMAT,
  FORMAT_CODED,
  HEAD_NAME,
  INDEX_NAME,
  readLines,
  type PackHead,
} from './pack-index.ts';
import { FILTER_NAME, filterOf } from './pack-filter.ts';
import { PackWriter } from './pack-writer.ts';
import { readFully, verifyPack, type ExpectedEntry } from './verify-pack.ts';
import { damaged } from './zip.ts';

/** Leftovers of a crash, of this or another process: no build takes that long. */
const SPOOL_AGE_MS_MAX = 48 * 3_600_000;
const BODY_CHUNK_BYTES = MiB;

export interface PackerSettings {
  /**
   * Made if absent. Needs room for two packs a concurrent build; nothing in it outlives its build.
   */
  spoolDirectory: string;
  random: Random;
}

export function buildPacker(settings: PackerSettings): Packer {
  return new ZipPacker(settings);
}

class ZipPacker implements Packer {
  readonly #settings: PackerSettings;
  #swept: Promise<void> | undefined;

  constructor(settings: PackerSettings) {
    this.#settings = settings;
  }

  async build(id: string, entries: readonly PackEntry[], signal?: AbortSignal): Promise<BuiltPack> {
    assert.ok(entries.length > 0 && entries.length <= PACK_ENTRIES_MAX, 'entries of a pack');
    const entryBytes = entries.reduce((sum, { version }) => sum + version.sizeBytes, 0);
    assert.ok(entryBytes <= PACK_BYTES_MAX, 'bytes of a pack');
    this.#swept ??= sweepSpool(this.#settings.spoolDirectory);
    await this.#swept;
    const suffix = Buffer.from(this.#settings.random.bytes(6)).toString('hex');
    const path = join(this.#settings.spoolDirectory, `${id}-${suffix}.pack`);
    const file = await open(path, 'wx+', 0o600);
    try {
      const built = await buildInto(file, { id, entries, entryBytes, signal });
      return new SpooledPack(path, file, built);
    } catch (error) {
      await file.close();
      await rm(path, { force: true });
      throw error;
    }
  }

  async *readIndex(
    sizeBytes: number,
    read: (range: ByteRange) => Promise<Body>,
  ): AsyncGenerator<IndexedEntry> {
    for await (const line of readLines(sizeBytes, read)) {
      if ('damagedLine' in line) throw damaged(`line ${line.damagedLine} of its index`);
      yield line;
    }
  }
}

interface BuildRequest {
  id: string;
  entries: readonly PackEntry[];
  entryBytes: number;
  signal: AbortSignal | undefined;
}

type Built = Pick<BuiltPack, 'id' | 'sizeBytes' | 'checksum' | 'entries'>;

async function buildInto(file: FileHandle, request: BuildRequest): Promise<Built> {
  const writer = new PackWriter(file);
  try {
    return await writeEntries(file, writer, request);
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

async function writeEntries(
  file: FileHandle,
  writer: PackWriter,
  { id, entries, entryBytes, signal }: BuildRequest,
): Promise<Built> {
  const expected: ExpectedEntry[] = [];
  const add = async (name: string, bytes: Uint8Array, sha256: string): Promise<number> => {
    const offset = await writer.append(name, bytes);
    expected.push({ name, offset, length: bytes.length, sha256 });
    return offset;
  };
  const filter = filterOf(id, entries);
  // Told before the first entry is read: that one may be coded, not that one is.
  const codec = entries.some((entry) => entry.compresses === true) ? 'zstd' : 'none';
  const head: PackHead = {
    kind: 'firn-pack',
    format: codec === 'none' ? FORMAT : FORMAT_CODED,
    id,
    codec,
    entries: entries.length,
    entryBytes,
    ...(filter === undefined ? {} : { filterBytes: filter.length }),
  };
  const headBytes = Buffer.from(`${JSON.stringify(head)}\n`, 'utf8');
  await add(HEAD_NAME, headBytes, sha256Of(headBytes));
  const packed: PackedEntry[] = [];
  const lines: string[] = [];
  const ahead = new Lookahead(entries, (entry) => loadEntry(entry, signal));
  try {
    for (const [position, entry] of entries.entries()) {
      signal?.throwIfAborted();
      const { bytes, sha256, codedBytes } = await ahead.next();
      const coded = codedBytes === undefined ? {} : { codec: 'zstd' as const, codedBytes };
      const offset = await add(entryName(position, coded.codec), bytes, sha256);
      const { bucket, bucketId, key, version } = entry;
      const versionId = version.id;
      const one = { bucketId, key, versionId, offset, length: bytes.length, sha256, ...coded };
      packed.push(one);
      lines.push(encodeLine(position, { bucket, ...one, version }));
    }
  } finally {
    await ahead.end();
  }
  if (filter !== undefined) await add(FILTER_NAME, filter, sha256Of(filter));
  const index = Buffer.from(lines.join(''), 'utf8');
  await add(INDEX_NAME, index, sha256Of(index));
  const { sizeBytes, checksum } = await writer.finish();
  await verifyPack(file, { sizeBytes, checksum, entries: expected });
  return { id, sizeBytes, checksum, entries: packed };
}

const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

class SpooledPack implements BuiltPack {
  readonly id: string;
  readonly sizeBytes: number;
  readonly checksum: string;
  readonly entries: PackedEntry[];
  readonly #path: string;
  readonly #file: FileHandle;
  #discarded: Promise<void> | undefined;

  constructor(path: string, file: FileHandle, built: Built) {
    this.#path = path;
    this.#file = file;
    this.id = built.id;
    this.sizeBytes = built.sizeBytes;
    this.checksum = built.checksum;
    this.entries = built.entries;
  }

  async *body(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < this.sizeBytes; at += BODY_CHUNK_BYTES) {
      yield await readFully(this.#file, at, Math.min(BODY_CHUNK_BYTES, this.sizeBytes - at));
    }
  }

  discard(): Promise<void> {
    this.#discarded ??= this.#remove();
    return this.#discarded;
  }

  async #remove(): Promise<void> {
    await this.#file.close();
    await rm(this.#path, { force: true });
  }
}

async function sweepSpool(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const name of await readdir(directory)) {
    if (!name.endsWith('.pack')) continue;
    const path = join(directory, name);
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw new FirnError('InternalError', `cannot look at ${path}`, { cause: error });
    });
    if (found !== undefined && Date.now() - found.mtimeMs > SPOOL_AGE_MS_MAX) {
      await rm(path, { force: true });
    }
  }
}
