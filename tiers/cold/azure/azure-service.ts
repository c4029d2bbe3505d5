// Azure Blob Storage in RemoteTier's words: create-only by If-None-Match, block lists for large
// blobs, MD5 on every request. With access tier Archive a blob is uploaded online, read back, and
// only then archived. Archived bytes come back by copy to `staged/…` (the service's rehydration):
// the original stays as it is, so an expiring restore can never take the only copy with it, and no
// early-deletion fee arises. The service never ends such a copy: its end is in its metadata, kept
// by us.

import { createHash, randomBytes } from 'node:crypto';
import type {
  BlockBlobClient,
  ContainerClient,
  ContainerListBlobFlatSegmentResponse,
} from '@azure/storage-blob';
import { DAY_MS, type Clock } from '../../../appliance/model/clock.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { MiB } from '../../../appliance/model/limits.ts';
import type { ByteRange, StagePriority, StageStatus } from '../../../appliance/model/tier.ts';
import { missing, offline } from '../base/bodies.ts';
import { refusal } from '../base/calls.ts';
import { idOfName } from '../base/names.ts';
import type {
  BlobHead,
  BlobLabels,
  BlobPage,
  BlobService,
  BlobStream,
  BlobUpload,
  PutOutcome,
} from '../base/service.ts';

export type AzureAccessTier = 'Hot' | 'Cool' | 'Cold' | 'Archive';

export interface AzureServiceSettings {
  tier: string;
  prefix: string;
  accessTier: AzureAccessTier;
  partBytes: number | undefined;
  clock: Clock;
  /** Loads the SDK and makes the client: not before a tier is opened. */
  connect(): Promise<ContainerClient>;
}

/** What its client throws, as far as we look. */
interface AzureFailure {
  statusCode?: number;
  code?: string;
  message: string;
  details?: { errorCode?: string };
}

const STAGED = 'staged/';
/** Standard rehydration may take this long; a copy's days are counted from its latest readiness. */
const STAGING_MS_MAX = 15 * 3_600_000;
const PAGE_SIZE = 1000;

export class AzureService implements BlobService {
  readonly partBytes: number;
  readonly partsMax = 50_000;
  readonly priorities: readonly StagePriority[];
  readonly offlineAtOnce = false;
  readonly #settings: AzureServiceSettings;
  #container: ContainerClient | undefined;

  constructor(settings: AzureServiceSettings) {
    this.#settings = settings;
    this.partBytes = settings.partBytes ?? 8 * MiB;
    this.priorities = this.#archives ? ['Expedited', 'Standard'] : [];
  }

  async open(signal: AbortSignal): Promise<void> {
    this.#container ??= await this.#settings.connect();
    await this.#container.getProperties({ abortSignal: signal });
  }

  async close(): Promise<void> {
    this.#container = undefined;
    await Promise.resolve();
  }

  async head(name: string, signal: AbortSignal): Promise<BlobHead | undefined> {
    const found = await this.#properties(name, signal);
    if (found === undefined) return undefined;
    return {
      sizeBytes: found.contentLength ?? 0,
      checksum: found.metadata?.['firnxxh3'],
      stage: isArchived(found) ? await this.#stagedStatus(name, signal) : { state: 'ready' },
    };
  }

  async put(
    name: string,
    bytes: Buffer,
    labels: BlobLabels,
    signal: AbortSignal,
  ): Promise<PutOutcome> {
    return whetherTaken(
      this.#blob(name).upload(bytes, bytes.length, {
        ...this.#tierOption(name),
        conditions: { ifNoneMatch: '*' },
        metadata: metadataOf(labels),
        transactionalContentMD5: md5(bytes),
        abortSignal: signal,
      }),
    );
  }

  beginUpload(name: string): Promise<BlobUpload> {
    const blob = this.#blob(name);
    // Block ids of one blob are as long as one another; others' uploads of the name don't mix with
    // ours.
    const draw = randomBytes(6).toString('hex');
    const idOf = (number: number): string =>
      Buffer.from(`${draw}${String(number).padStart(6, '0')}`).toString('base64');
    let count = 0;
    return Promise.resolve({
      repeatable: true,
      part: async (number, bytes, signal) => {
        count = Math.max(count, number);
        const options = { transactionalContentMD5: md5(bytes), abortSignal: signal };
        await blob.stageBlock(idOf(number), bytes, bytes.length, options);
      },
      complete: (labels, signal) =>
        whetherTaken(
          blob.commitBlockList(
            Array.from({ length: count }, (_, i) => idOf(i + 1)),
            {
              ...this.#tierOption(name),
              conditions: { ifNoneMatch: '*' },
              metadata: metadataOf(labels),
              abortSignal: signal,
            },
          ),
        ),
      // Blocks that no list names are dropped by the service after a week; there is no call for it.
      abort: () => Promise.resolve(),
    });
  }

  async get(name: string, range: ByteRange, signal: AbortSignal): Promise<BlobStream> {
    try {
      return await this.#download(name, range, signal);
    } catch (error) {
      if (!this.#archives || codeOf(error) !== 'BlobArchived') throw error;
    }
    try {
      return await this.#download(`${STAGED}${name}`, range, signal);
    } catch (error) {
      if (isAbsent(error)) throw offline(this.#settings.tier, name);
      throw error;
    }
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    const options = { deleteSnapshots: 'include', abortSignal: signal } as const;
    if (this.#archives) await this.#blob(`${STAGED}${name}`).deleteIfExists(options);
    await this.#blob(name).deleteIfExists(options);
  }

  async listPage(token: string | undefined, signal: AbortSignal): Promise<BlobPage> {
    const { prefix } = this.#settings;
    if (token === undefined) await this.#dropExpired(signal);
    const pages = this.#connected()
      .listBlobsFlat({ prefix, abortSignal: signal })
      .byPage({
        maxPageSize: PAGE_SIZE,
        ...(token === undefined ? {} : { continuationToken: token }),
      });
    const { value } = (await pages.next()) as { value?: ContainerListBlobFlatSegmentResponse };
    const blobs = (value?.segment.blobItems ?? []).map((item) => ({
      name: item.name.slice(prefix.length),
      sizeBytes: item.properties.contentLength ?? 0,
    }));
    return { blobs, next: value?.continuationToken || undefined };
  }

  /** Starts the copy that rehydrates, or lengthens the life of one that is there. */
  async stage(
    name: string,
    { priority, days }: { priority: StagePriority; days: number },
    signal: AbortSignal,
  ): Promise<void> {
    const now = this.#settings.clock.now();
    const source = await this.#properties(name, signal);
    if (source !== undefined && !isArchived(source)) return;
    const copy = this.#blob(`${STAGED}${name}`);
    const held = await this.#properties(`${STAGED}${name}`, signal);
    const until = now + STAGING_MS_MAX + days * DAY_MS;
    if (held !== undefined && untilOf(held.metadata) > now) {
      if (isPending(held) || untilOf(held.metadata) >= until) return;
      await copy.setMetadata(
        { ...held.metadata, firnuntil: String(until) },
        { abortSignal: signal },
      );
      return;
    }
    await copy.deleteIfExists({ abortSignal: signal });
    await copy.beginCopyFromURL(this.#blob(name).url, {
      tier: 'Hot',
      rehydratePriority: priority === 'Expedited' ? 'High' : 'Standard',
      metadata: { firnuntil: String(until) },
      abortSignal: signal,
    });
  }

  async archive(name: string, signal: AbortSignal): Promise<void> {
    if (!this.#archives) return;
    await this.#blob(name).setAccessTier('Archive', { abortSignal: signal });
  }

  translate(error: unknown, subject: string): unknown {
    if (error instanceof FirnError) return error;
    const { tier } = this.#settings;
    const { statusCode, message } = error as AzureFailure;
    // Bytes that were changed on the way are sent again.
    const status = codeOf(error) === 'Md5Mismatch' ? 503 : statusCode;
    if (isAbsent(error)) return missing(tier, subject, error);
    if (codeOf(error) === 'BlobArchived') return offline(tier, subject);
    const reason = `${codeOf(error) ?? ''} ${message.split('\n')[0] ?? ''}`.trim();
    return refusal({ tier, subject, cause: error, status, reason });
  }

  get #archives(): boolean {
    return this.#settings.accessTier === 'Archive';
  }

  #connected(): ContainerClient {
    if (this.#container !== undefined) return this.#container;
    throw new FirnError('TierUnavailable', `${this.#settings.tier} is not open`);
  }

  #blob(name: string): BlockBlobClient {
    return this.#connected().getBlockBlobClient(`${this.#settings.prefix}${name}`);
  }

  /** Blobs go into the access tier; what is ours beside them stays in the account's own. */
  #tierOption(name: string): { tier?: string } {
    if (idOfName(name) === undefined) return {};
    return { tier: this.#archives ? 'Hot' : this.#settings.accessTier };
  }

  async #properties(name: string, signal: AbortSignal) {
    try {
      return await this.#blob(name).getProperties({ abortSignal: signal });
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  async #stagedStatus(name: string, signal: AbortSignal): Promise<StageStatus> {
    const copy = await this.#properties(`${STAGED}${name}`, signal);
    if (copy === undefined) return { state: 'offline' };
    const until = untilOf(copy.metadata);
    if (until <= this.#settings.clock.now()) return { state: 'offline' };
    return isPending(copy) ? { state: 'staging' } : { state: 'ready', until };
  }

  async #download(name: string, range: ByteRange, signal: AbortSignal): Promise<BlobStream> {
    const answer = await this.#blob(name).download(range.offset, range.length, {
      abortSignal: signal,
    });
    const body = answer.readableStreamBody as
      | (AsyncIterable<Buffer> & { destroy(): void })
      | undefined;
    if (body === undefined) throw new FirnError('TierUnavailable', 'an answer without a body');
    if (name.startsWith(STAGED) && untilOf(answer.metadata) <= this.#settings.clock.now()) {
      body.destroy();
      throw offline(this.#settings.tier, name);
    }
    const total = /\/(\d+)$/.exec(answer.contentRange ?? '')?.[1];
    return { body, totalBytes: total === undefined ? undefined : Number(total) };
  }

  /** Copies past their end are read by nobody and cost money: gone with the next listing. */
  async #dropExpired(signal: AbortSignal): Promise<void> {
    if (!this.#archives) return;
    const { prefix, clock } = this.#settings;
    const copies = this.#connected().listBlobsFlat({
      prefix: `${prefix}${STAGED}`,
      includeMetadata: true,
      abortSignal: signal,
    });
    for await (const { name, metadata } of copies) {
      if (untilOf(metadata) > clock.now()) continue;
      await this.#connected().getBlockBlobClient(name).deleteIfExists({ abortSignal: signal });
    }
  }
}

const md5 = (bytes: Buffer): Buffer => createHash('md5').update(bytes).digest();

function codeOf(error: unknown): string | undefined {
  const { code, details } = error as AzureFailure;
  return details?.errorCode ?? code;
}

/** 404 of the blob: that of the container is about the whole tier. */
function isAbsent(error: unknown): boolean {
  return (error as AzureFailure).statusCode === 404 && codeOf(error) !== 'ContainerNotFound';
}

async function whetherTaken(storing: Promise<unknown>): Promise<PutOutcome> {
  try {
    await storing;
    return 'stored';
  } catch (error) {
    const code = codeOf(error);
    // A block list of ours that is gone was committed by an earlier attempt, or dropped for
    // another's.
    const taken = ['BlobAlreadyExists', 'ConditionNotMet', 'BlobArchived', 'InvalidBlockList'];
    if (code !== undefined && taken.includes(code)) return 'taken';
    throw error;
  }
}

interface Properties {
  accessTier?: string;
  archiveStatus?: string;
  copyStatus?: string;
}

const isArchived = ({ accessTier, archiveStatus }: Properties): boolean =>
  accessTier === 'Archive' || Boolean(archiveStatus);

const isPending = (found: Properties): boolean =>
  isArchived(found) || found.copyStatus === 'pending';

const untilOf = (metadata: Record<string, string> | undefined): number =>
  Number(metadata?.['firnuntil'] ?? 0);

function metadataOf({ checksum, owner }: BlobLabels): Record<string, string> {
  return {
    firnbucket: owner.bucketId,
    firnkey: Buffer.from(owner.key, 'utf8').toString('base64url'),
    ...(checksum === undefined ? {} : { firnxxh3: checksum }),
  };
}
