// What a cloud must be able to do for RemoteTier (remote-tier.ts), which does everything that is
// the same for all: names, checksums, retries, conflicts, resuming. An adapter only speaks its
// protocol. Its methods make one attempt, throw whatever their client throws, and are repeated by
// the caller; names are relative to the settings' prefix.

import type { ByteRange, StagePriority, StageStatus } from '../../../appliance/model/tier.ts';

/** Kept beside the bytes, so that a blob says what it is with no metadata left. */
export interface BlobLabels {
  /** XXH3-64; absent where bytes had to be sent before all of them were known. */
  checksum?: string;
  owner: { bucketId: string; key: string };
}

export interface BlobHead {
  sizeBytes: number;
  checksum: string | undefined;
  stage: StageStatus;
}

export interface BlobStream {
  body: AsyncIterable<Uint8Array>;
  /** Of the whole blob, where the answer says so. */
  totalBytes: number | undefined;
}

export interface BlobPage {
  blobs: { name: string; sizeBytes: number }[];
  /** Token of the next page. */
  next: string | undefined;
}

/** `taken`: the name is in use and was left as it is. */
export type PutOutcome = 'stored' | 'taken';

export interface BlobUpload {
  /** False: parts go one after another, each exactly once (the client repeats inside). */
  readonly repeatable: boolean;
  /** From 1. The bytes are ours until it resolves. */
  part(number: number, bytes: Buffer, signal: AbortSignal): Promise<void>;
  complete(labels: BlobLabels, signal: AbortSignal): Promise<PutOutcome>;
  /** Leaves nothing visible. */
  abort(): Promise<void>;
}

export interface BlobService {
  /** Bytes of a part where the size is unknown or small; parts never exceed `partsMax`. */
  readonly partBytes: number;
  readonly partsMax: number;
  /** Empty for services that are always online. Fastest first. */
  readonly priorities: readonly StagePriority[];
  /** put has bytes compared by a hash that the service checks, and they are offline at once. */
  readonly offlineAtOnce: boolean;

  open(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
  /** undefined: there is none. */
  head(name: string, signal: AbortSignal): Promise<BlobHead | undefined>;
  /** Stores unless the name is taken, where the service can tell. */
  put(name: string, bytes: Buffer, labels: BlobLabels, signal: AbortSignal): Promise<PutOutcome>;
  beginUpload(name: string, labels: BlobLabels, signal: AbortSignal): Promise<BlobUpload>;
  get(name: string, range: ByteRange, signal: AbortSignal): Promise<BlobStream>;
  /** Absent already: succeeds. */
  delete(name: string, signal: AbortSignal): Promise<void>;
  /** One page of the names below the settings' prefix; without a token the first. */
  listPage(token: string | undefined, signal: AbortSignal): Promise<BlobPage>;
  stage?(
    name: string,
    options: { priority: StagePriority; days: number },
    signal: AbortSignal,
  ): Promise<void>;
  /** Takes a blob offline once it was read back; repeats do no harm. */
  archive?(name: string, signal: AbortSignal): Promise<void>;

  /**
   * Its client's error in the port's words: TierMissing, TierOffline, or TierUnavailable (refusal).
   */
  translate(error: unknown, subject: string): unknown;
}
