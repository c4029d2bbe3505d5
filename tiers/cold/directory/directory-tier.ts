// A cold tier in a directory: a big local pool, an NFS mount, a disk on the shelf. It is also the
// honest double of an archive service (`staged`), and what the embedded default uses. Promises: an
// acknowledged blob is synced with its name; names are never given twice; every byte read is
// verified; several processes and hosts may use one root. It does not protect against the loss of
// the device: that is the file system's part, or use two tiers.

import { randomUUID } from 'node:crypto';
import { open, opendir, rename, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock, Random } from '../../../appliance/model/clock.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { BlobLocation } from '../../../appliance/model/location.ts';
import type {
  Body,
  ListedBlob,
  PutRequest,
  ReadOptions,
  StagePriority,
  StageStatus,
  Stored,
  Tier,
  TierCapabilities,
  TierUsage,
} from '../../../appliance/model/tier.ts';
import { ChecksumStream } from '../../checksum.ts';
import {
  collectExactly,
  conflict,
  Meter,
  metered,
  missing,
  offline,
  rangeWithin,
  WHOLE_READ_BYTES_MAX,
  wrongLength,
} from '../base/bodies.ts';
import { blobName, idOfName, ownName, remoteLocation } from '../base/names.ts';
import { readLabel, readSpans, type Blob } from './blob-reader.ts';
import {
  codeOf,
  inPortWords,
  linkOnce,
  makeDirectory,
  removeIfThere,
  sweepDrafts,
  syncDirectory,
  writeDraft,
  writeFully,
} from './files.ts';
import { notItsRoot, readIdentity, takeIdentity } from './identity.ts';
import { encodeLabel, LABEL_SUFFIX, PIECE_BYTES, PieceSums, type LabelHeader } from './label.ts';
import { PRIORITIES, StageDesk } from './staging.ts';

export interface DirectoryTierSettings {
  kind: 'directory';
  name: string;
  /** Absolute. Made if absent; adopted only while empty. */
  directory: string;
  retrieval?: 'immediate' | 'staged' | undefined;
  /** How long Standard staging takes; Expedited a quarter, Bulk twice as long. Default 60. */
  stageSeconds?: number | undefined;
  /** Refuses a root that was made for another store. */
  storeId?: string | undefined;
  /** This store had it open before: then a place without identity is away, and never made anew. */
  isKnown?: boolean | undefined;
}

const SHELVES = ['packs', 'objects'] as const;

export class DirectoryTier implements Tier {
  readonly name: string;
  readonly retrieval: 'immediate' | 'staged';
  readonly capabilities: TierCapabilities;
  readonly #settings: DirectoryTierSettings;
  readonly #random: Random;
  readonly #drafts: string;
  readonly #desk: StageDesk;
  /** Shelves that this process knows to be durable. */
  readonly #shelves = new Set<string>();
  /** Of the identity at open. */
  #root: string | undefined;

  constructor(settings: DirectoryTierSettings, ports: { clock: Clock; random: Random }) {
    this.name = settings.name;
    this.retrieval = settings.retrieval ?? 'immediate';
    this.capabilities = {
      createOnly: true,
      rangedRead: true,
      priorities: this.retrieval === 'staged' ? PRIORITIES : [],
    };
    this.#settings = settings;
    this.#random = ports.random;
    this.#drafts = join(settings.directory, 'drafts');
    this.#desk = new StageDesk({
      directory: join(settings.directory, 'staged'),
      draftDirectory: this.#drafts,
      stageMs: (settings.stageSeconds ?? 60) * 1000,
      ...ports,
    });
  }

  async open(): Promise<void> {
    const { directory, storeId, isKnown } = this.#settings;
    try {
      const identity = await takeIdentity({
        directory,
        tier: this.name,
        store: storeId,
        founds: isKnown !== true,
        random: this.#random,
      });
      for (const each of [...SHELVES, 'staged', 'drafts']) {
        await makeDirectory(join(directory, each));
      }
      await sweepDrafts(this.#drafts);
      this.#root = identity.root;
    } catch (error) {
      throw inPortWords(error, this.name, directory);
    }
  }

  async close(): Promise<void> {
    this.#root = undefined;
    this.#shelves.clear();
    await Promise.resolve();
  }

  async put(request: PutRequest): Promise<Stored> {
    const name = blobName(request);
    this.#mustBeOpen();
    try {
      return await this.#put(request, { name, path: join(this.#settings.directory, name) });
    } catch (error) {
      throw inPortWords(error, this.name, name);
    }
  }

  async read(location: BlobLocation, options: ReadOptions = {}): Promise<Body> {
    const blob = this.#blob(location);
    const range = rangeWithin(location.length, options.range, blob.name);
    await this.#mustBeReadable(blob, location);
    const spans = this.#spans(blob, range, options.signal);
    if (range.length > WHOLE_READ_BYTES_MAX) return spans;
    return collectExactly(spans, range.length, blob.name);
  }

  async delete(location: BlobLocation): Promise<void> {
    const { path, name } = this.#blob(location);
    try {
      await this.#desk.forget(location.id);
      await removeIfThere(path);
      await removeIfThere(path + LABEL_SUFFIX);
      await syncDirectory(dirname(path)).catch((error: unknown) => {
        if (codeOf(error) !== 'ENOENT') throw error;
      });
    } catch (error) {
      throw inPortWords(error, this.name, name);
    }
  }

  /** Reads offline blobs too: this is the owner of the medium looking, not a client. */
  async verify(
    location: BlobLocation,
    signal?: AbortSignal,
  ): Promise<{ checksum: string; sizeBytes: number }> {
    const blob = this.#blob(location);
    await this.#mustBeThere(blob, location);
    const sum = new ChecksumStream();
    let sizeBytes = 0;
    for await (const bytes of this.#spans(blob, { offset: 0, length: location.length }, signal)) {
      sum.update(bytes);
      sizeBytes += bytes.length;
    }
    return { checksum: sum.digest(), sizeBytes };
  }

  async stage(
    location: BlobLocation,
    options: { priority: StagePriority; days: number },
  ): Promise<void> {
    if (this.retrieval === 'immediate') return;
    const blob = this.#blob(location);
    await this.#mustBeThere(blob, location);
    try {
      await this.#desk.stage(location.id, options);
    } catch (error) {
      throw inPortWords(error, this.name, blob.name);
    }
  }

  async stageStatus(location: BlobLocation): Promise<StageStatus> {
    if (this.retrieval === 'immediate') return { state: 'ready' };
    await this.#mustBeThere(this.#blob(location), location);
    return this.#desk.status(location.id);
  }

  /** Walks the root: about 10 µs a blob. */
  async usage(): Promise<TierUsage> {
    let usedBytes = 0;
    let blobs = 0;
    for await (const { sizeBytes } of this.list()) {
      usedBytes += sizeBytes;
      blobs += 1;
    }
    const { blocks, bsize } = await statfs(this.#settings.directory);
    return { capacityBytes: blocks * bsize, usedBytes, blobs };
  }

  async *list(): AsyncGenerator<ListedBlob> {
    for (const shelf of SHELVES) {
      const base = join(this.#settings.directory, shelf);
      for await (const folder of await opendir(base)) {
        for await (const { name: file } of await opendir(join(base, folder.name))) {
          const name = `${shelf}/${folder.name}/${file}`;
          if (idOfName(name) === undefined) continue;
          const found = await stat(join(base, folder.name, file)).catch((error: unknown) => {
            // Deleted while we walked.
            if (codeOf(error) === 'ENOENT') return undefined;
            throw inPortWords(error, this.name, name);
          });
          if (found === undefined) continue;
          yield { location: remoteLocation(this.name, name, found.size), sizeBytes: found.size };
        }
      }
    }
  }

  #mustBeOpen(): void {
    if (this.#root !== undefined) return;
    throw new FirnError('TierUnavailable', `${this.name} is not open`, { retryable: true });
  }

  #blob(location: BlobLocation): Blob {
    this.#mustBeOpen();
    const name = ownName(this.name, location);
    return { name, path: join(this.#settings.directory, name) };
  }

  async #put(request: PutRequest, blob: Blob): Promise<Stored> {
    const draft = join(this.#drafts, `${request.id}-${randomUUID()}`);
    try {
      const header = await this.#writeDraft(draft, request);
      await this.#name(draft, blob, header);
      return {
        location: remoteLocation(this.name, blob.name, header.sizeBytes),
        sizeBytes: header.sizeBytes,
        checksum: header.checksum,
      };
    } finally {
      await removeIfThere(draft);
      await removeIfThere(draft + LABEL_SUFFIX);
    }
  }

  /** Bytes and label, both synced, under draft names. */
  async #writeDraft(draft: string, request: PutRequest): Promise<LabelHeader> {
    const meter = new Meter(request);
    const sums = new PieceSums();
    await using file = await open(draft, 'wx', 0o600);
    let at = 0;
    for await (const chunk of metered(request, meter)) {
      sums.update(chunk);
      await writeFully(file, chunk, at);
      at += chunk.length;
    }
    const { sizeBytes, checksum } = meter.end();
    await file.datasync();
    const { id, owner } = request;
    const header = { id, tier: this.name, sizeBytes, checksum, pieceBytes: PIECE_BYTES, owner };
    await writeDraft(draft + LABEL_SUFFIX, encodeLabel(header, sums.end()));
    return header;
  }

  /**
   * Label first: it decides whose bytes the name is for. Then the bytes, then the directory is
   * synced.
   */
  async #name(draft: string, blob: Blob, header: LabelHeader): Promise<void> {
    const folder = dirname(blob.path);
    if (!this.#shelves.has(folder)) {
      await makeDirectory(folder);
      this.#shelves.add(folder);
    }
    if (!(await linkOnce(draft + LABEL_SUFFIX, blob.path + LABEL_SUFFIX))) {
      const standing = await readLabel(blob);
      if (standing.checksum !== header.checksum || standing.sizeBytes !== header.sizeBytes) {
        throw conflict(this.name, blob.name);
      }
    }
    if (!(await linkOnce(draft, blob.path)) && !(await this.#isWhole(blob, header.sizeBytes))) {
      // The same bytes by checksum, damaged since: ours are whole.
      await rename(draft, blob.path);
    }
    await syncDirectory(folder);
  }

  async #isWhole(blob: Blob, length: number): Promise<boolean> {
    try {
      let seen = 0;
      for await (const bytes of readSpans(blob, { offset: 0, length })) seen += bytes.length;
      return seen === length;
    } catch (error) {
      if (error instanceof FirnError && error.code === 'Corrupt') return false;
      throw error;
    }
  }

  async *#spans(
    blob: Blob,
    range: { offset: number; length: number },
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Buffer> {
    try {
      yield* readSpans(blob, range, signal);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') throw await this.#absent(blob, error);
      throw inPortWords(error, this.name, blob.name);
    }
  }

  async #mustBeReadable(blob: Blob, location: BlobLocation): Promise<void> {
    await this.#mustBeThere(blob, location);
    if (this.retrieval === 'immediate') return;
    const { state } = await this.#desk.status(location.id);
    if (state !== 'ready') throw offline(this.name, blob.name);
  }

  async #mustBeThere(blob: Blob, location: BlobLocation): Promise<void> {
    let size: number;
    try {
      ({ size } = await stat(blob.path));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') throw await this.#absent(blob, error);
      throw inPortWords(error, this.name, blob.name);
    }
    if (size !== location.length) throw wrongLength(blob.name, size, location.length);
  }

  /** Missing in our own root is an alarm; a root that is not there (mount gone) is not. */
  async #absent(blob: Blob, cause: unknown): Promise<FirnError> {
    const { directory } = this.#settings;
    const identity = await readIdentity(directory).catch(() => undefined);
    if (identity?.root === this.#root) return missing(this.name, blob.name, cause);
    return notItsRoot(this.name, directory, cause);
  }
}
