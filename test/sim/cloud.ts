// A cold tier in memory whose changes are steps of the scheduler: after a crash what it has
// acknowledged is there, and what was in flight is there whole or not at all.

import type { BlobLocation } from '../../appliance/model/location.ts';
import type { Body, PutRequest, StagePriority, Stored } from '../../appliance/model/tier.ts';
import { MemoryTier, type MemoryTierOptions } from '../memory-tier.ts';
import { checksumOf } from '../../tiers/checksum.ts';
import type { Seeded } from './random.ts';
import type { Scheduler, Step } from './scheduler.ts';

type Blobs = MemoryTier['blobs'];
type Blob = Blobs extends Map<string, infer B> ? B : never;

export type CloudStep = Step & { id: string; blob: Blob | undefined };

/** What a tier may get wrong, for mutants. */
export interface CloudLies {
  /** It keeps other bytes than it was sent, and says nothing. */
  damages?: boolean;
}

export class SimCloud extends MemoryTier {
  scheduler: Scheduler | undefined;
  readonly record: CloudStep[] = [];
  lies: CloudLies = {};
  readonly options: MemoryTierOptions;

  constructor(options: MemoryTierOptions, blobs?: Blobs) {
    super(options);
    this.options = options;
    for (const [id, blob] of blobs ?? []) this.blobs.set(id, { ...blob });
  }

  override async put(request: PutRequest): Promise<Stored> {
    const bytes = await whole(request.body);
    await this.#step('put', request.id, async () => {
      const stored = await super.put({ ...request, body: bytes });
      if (this.lies.damages === true && bytes.length > 0) {
        const blob = this.blobs.get(request.id) as Blob;
        blob.bytes = Uint8Array.from(bytes);
        blob.bytes[bytes.length >> 1] = (blob.bytes[bytes.length >> 1] as number) ^ 1;
      }
      return stored;
    });
    const there = this.blobs.get(request.id) as Blob;
    return { ...(await super.put({ ...request, body: there.bytes })), ...checked(bytes) };
  }

  override async delete(location: BlobLocation): Promise<void> {
    await this.#step('delete', location.id, () => super.delete(location));
  }

  override async stage(
    location: BlobLocation,
    options: { priority: StagePriority; days: number },
  ): Promise<void> {
    await this.#step('stage', location.id, () => super.stage(location, options));
  }

  async #step(what: string, id: string, effect: () => Promise<unknown>): Promise<void> {
    const { scheduler } = this;
    if (scheduler === undefined || !scheduler.recording) {
      await effect();
      return;
    }
    const name = `${scheduler.phase}/cloud-${what}/${this.name}`;
    const step: CloudStep = { name, begin: 0, end: Infinity, failed: false, id, blob: undefined };
    this.record.push(step);
    await scheduler.step(step, () => undefined);
    await effect();
    const blob = this.blobs.get(id);
    step.blob = blob === undefined ? undefined : { ...blob };
  }
}

const checked = (bytes: Uint8Array): Pick<Stored, 'sizeBytes' | 'checksum'> => ({
  sizeBytes: bytes.length,
  checksum: checksumOf(bytes),
});

async function whole(body: Body): Promise<Uint8Array> {
  if (body instanceof Uint8Array) return Uint8Array.from(body);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(Buffer.from(chunk));
  return Uint8Array.from(Buffer.concat(chunks));
}

export class CloudReplay {
  readonly #blobs: Blobs;
  readonly #record: readonly CloudStep[];
  #next = 0;
  #open: CloudStep[] = [];
  settled = true;

  constructor(start: Blobs, record: readonly CloudStep[]) {
    this.#blobs = new Map(start);
    this.#record = record;
  }

  advance(p: number): void {
    for (; this.#next < this.#record.length; this.#next += 1) {
      const step = this.#record[this.#next] as CloudStep;
      if (step.begin >= p) break;
      this.#open.push(step);
    }
    const ended = this.#open.filter((step) => step.end < p).toSorted((a, b) => a.end - b.end);
    this.#open = this.#open.filter((step) => step.end >= p);
    for (const step of ended) {
      if (step.blob === undefined) this.#blobs.delete(step.id);
      else this.#blobs.set(step.id, step.blob);
    }
    this.settled = this.#open.length === 0;
  }

  blobs(draw: Seeded, note: (choice: number) => void): Blobs {
    const blobs = new Map(this.#blobs);
    for (const step of this.#open) {
      const kept = draw.next() < 0.5;
      note(kept ? 1 : 0);
      if (!kept) continue;
      if (step.blob === undefined) blobs.delete(step.id);
      else blobs.set(step.id, step.blob);
    }
    return blobs;
  }
}
