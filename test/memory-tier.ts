// A Tier in memory, with the port's exact semantics and faults to order: blobs that vanish, bytes that
// rot, a put that fails, lanes that are not confirmed.

import type { Clock } from '../appliance/model/clock.ts';
import { FirnError } from '../appliance/model/errors.ts';
import type { BlobLocation } from '../appliance/model/location.ts';
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
} from '../appliance/model/tier.ts';
import { checksumOf } from '../tiers/checksum.ts';

export interface MemoryTierOptions {
  name: string;
  clock: Clock;
  retrieval?: Tier['retrieval'];
  kind?: 'shards' | 'remote';
  /** Bytes up to which a read is one array. */
  wholeBytes?: number;
  /** How long staging takes, engine ms. */
  stageMs?: number;
}

interface Blob {
  bytes: Uint8Array;
  owner: PutRequest['owner'];
  location: BlobLocation;
  readyAt?: number;
  readyUntil?: number;
}

const DAY_MS = 86_400_000;

export class MemoryTier implements Tier {
  readonly name: string;
  readonly retrieval: Tier['retrieval'];
  readonly capabilities: TierCapabilities;
  readonly blobs = new Map<string, Blob>();
  /** Ids whose bytes come back wrong: Corrupt, as a tier that verifies answers. */
  readonly rotten = new Set<string>();
  readonly #options: MemoryTierOptions;
  /** As node groups do, and clouds do not. */
  tellsOwners = false;
  /** Lanes to call unconfirmed in locations written from now on. */
  unconfirmed = 0;
  /** Called before each put and read. May throw, may wait. */
  before: ((action: 'put' | 'read' | 'delete', id: string) => void | Promise<void>) | undefined;

  constructor(options: MemoryTierOptions) {
    this.#options = options;
    this.name = options.name;
    this.retrieval = options.retrieval ?? 'immediate';
    const staged = this.retrieval === 'staged';
    this.capabilities = {
      createOnly: true,
      rangedRead: true,
      priorities: staged ? ['Expedited', 'Standard', 'Bulk'] : [],
    };
  }

  async open(): Promise<void> {}

  async close(): Promise<void> {}

  async put(request: PutRequest): Promise<Stored> {
    await this.before?.('put', request.id);
    const bytes = await whole(request.body);
    request.signal?.throwIfAborted();
    const there = this.blobs.get(request.id);
    if (there !== undefined && Buffer.compare(there.bytes, bytes) !== 0) {
      throw new FirnError('TierConflict', 'other bytes have this name', { subject: request.id });
    }
    const location = this.#location(request.id, bytes.length);
    this.blobs.set(request.id, { bytes, location, owner: request.owner });
    return { location, sizeBytes: bytes.length, checksum: checksumOf(bytes) };
  }

  async read(location: BlobLocation, options: ReadOptions = {}): Promise<Body> {
    await this.before?.('read', location.id);
    const blob = this.#blob(location);
    if (this.#status(blob).state !== 'ready') {
      throw new FirnError('TierOffline', 'not staged', { subject: location.id });
    }
    if (this.rotten.has(location.id)) {
      throw new FirnError('Corrupt', 'bytes are damaged', { subject: location.id });
    }
    const { offset = 0, length = blob.bytes.length } = options.range ?? {};
    const bytes = blob.bytes.slice(offset, offset + length);
    if (bytes.length <= (this.#options.wholeBytes ?? 64 * 1024)) return bytes;
    return chunksOf(bytes);
  }

  async delete(location: BlobLocation): Promise<void> {
    await this.before?.('delete', location.id);
    this.blobs.delete(location.id);
  }

  async verify(location: BlobLocation): Promise<{ checksum: string; sizeBytes: number }> {
    const bytes = await whole(await this.read(location));
    return { checksum: checksumOf(bytes), sizeBytes: bytes.length };
  }

  async stage(
    location: BlobLocation,
    options: { priority: StagePriority; days: number },
  ): Promise<void> {
    if (this.retrieval === 'immediate') return;
    const blob = this.#blob(location);
    const now = this.#options.clock.now();
    const readyAt = now + (this.#options.stageMs ?? 0);
    const isOver = blob.readyUntil !== undefined && now >= blob.readyUntil;
    blob.readyAt = isOver ? readyAt : Math.min(blob.readyAt ?? Infinity, readyAt);
    blob.readyUntil = blob.readyAt + options.days * DAY_MS;
  }

  async stageStatus(location: BlobLocation): Promise<StageStatus> {
    return this.#status(this.#blob(location));
  }

  async usage(): Promise<TierUsage> {
    let usedBytes = 0;
    for (const { bytes } of this.blobs.values()) usedBytes += bytes.length;
    return { capacityBytes: 0, usedBytes, blobs: this.blobs.size };
  }

  async *list(): AsyncIterable<ListedBlob> {
    for (const { location, bytes, owner } of this.blobs.values()) {
      const blob = { location, sizeBytes: bytes.length };
      yield this.tellsOwners ? { ...blob, owner } : blob;
    }
  }

  #location(id: string, length: number): BlobLocation {
    const { name } = this;
    if (this.#options.kind === 'remote') {
      return { kind: 'remote', id, tier: name, name: `blob-${id}`, length };
    }
    return {
      kind: 'shards',
      id,
      tier: name,
      group: 0,
      length,
      code: '4+2',
      stripeBytes: 1024 * 1024,
      empty: 0,
      unconfirmed: this.unconfirmed,
    };
  }

  #blob(location: BlobLocation): Blob {
    const blob = this.blobs.get(location.id);
    if (blob !== undefined) return blob;
    throw new FirnError('TierMissing', 'no such blob', { subject: location.id });
  }

  #status(blob: Blob): StageStatus {
    if (this.retrieval === 'immediate') return { state: 'ready' };
    const now = this.#options.clock.now();
    if (blob.readyAt === undefined || blob.readyUntil === undefined) return { state: 'offline' };
    if (now < blob.readyAt) return { state: 'staging', readyAt: blob.readyAt };
    if (now >= blob.readyUntil) return { state: 'offline' };
    return { state: 'ready', until: blob.readyUntil };
  }
}

/** Chunks in one buffer that is overwritten, as the port allows. */
async function* chunksOf(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(16 * 1024);
  for (let at = 0; at < bytes.length; at += buffer.length) {
    const chunk = bytes.subarray(at, at + buffer.length);
    buffer.set(chunk);
    yield buffer.subarray(0, chunk.length);
    buffer.fill(0xee);
  }
}

async function whole(body: Body): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return Uint8Array.from(body);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Uint8Array.from(Buffer.concat(chunks));
}
