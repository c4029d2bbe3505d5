// Restores: bring staged bytes online at the provider, copy them into the landing tier as a
// temporary copy, and say so in the version. The dangers: one pack paid for a thousand times
// because a thousand objects in it were asked for; the copy of a version that was overwritten
// meanwhile shown as the new one; a restore that is "in progress" for ever after a crash. So each
// blob is staged once however many ask, a commit happens only while the version still waits for
// this very request, and everything found out is found again by looking: at the version, at the
// provider. Nothing of it lives in memory only.

import { keyOfObjectId } from '../../model/ids.ts';
import { MiB } from '../../model/limits.ts';
import type { BlobLocation, Location } from '../../model/location.ts';
import type { ObjectDocument, Restore, Version } from '../../model/object.ts';
import type { StagePriority, StageStatus, Tier } from '../../model/tier.ts';
import { tellingOf } from '../event/announce.ts';
import type { Core } from '../document/core.ts';
import { findById, loadParts, reread } from '../document/history.ts';
import { inFlight } from '../document/in-flight.ts';
import type { LeaseGuard } from '../document/lease.ts';
import {
  COMMITS_IN_FLIGHT,
  copyBatch,
  countProblem,
  endIntent,
  noMoves,
  tierOfParts,
  type MovingVersion,
} from './move.ts';
import { landingTier } from '../document/names.ts';
import { changeRestore } from './relocate.ts';
import { isRequestOver } from '../object/request-restore.ts';
import { restoreExpiry } from '../object/restore-dates.ts';

const BATCH_VERSIONS = 256;
const BATCH_BYTES = 256 * MiB;
const LOOKS_IN_FLIGHT = 16;
/** What we need the provider's copy for: to make our own. */
const STAGE_DAYS = 1;
const SPEED: Record<StagePriority, number> = { Bulk: 0, Standard: 1, Expedited: 2 };

/** A version that waits for a request. */
export interface RestoreTarget {
  moving: MovingVersion;
  requestId: string;
  priority: StagePriority;
}

export interface StagedBlob {
  tier: string;
  blob: BlobLocation;
  priority: StagePriority;
  /** Name of the bucket that asked first. */
  bucket: string;
  storageClass: string;
}

export interface RestoreOptions {
  lease: LeaseGuard;
  signal?: AbortSignal;
  /** Told of each retrieval that the provider was asked for: what it will charge. */
  staged?: (blob: StagedBlob) => Promise<void>;
}

export interface RestoreCounts {
  ready: number;
  readyBytes: number;
  /** Not online yet. */
  waiting: number;
  /** Cannot be read; no longer pending, so that a client may ask again. */
  failed: number;
  /** Overwritten, deleted, cancelled, or made ready by somebody else. */
  gone: number;
  /** Engine ms at which the provider promised the first of those waiting; undefined: no promise. */
  nextAt: number | undefined;
}

export function noRestores(): RestoreCounts {
  return { ready: 0, readyBytes: 0, waiting: 0, failed: 0, gone: 0, nextAt: undefined };
}

export function addRestores(to: RestoreCounts, more: RestoreCounts): void {
  to.ready += more.ready;
  to.readyBytes += more.readyBytes;
  to.waiting += more.waiting;
  to.failed += more.failed;
  to.gone += more.gone;
  if (more.nextAt !== undefined) to.nextAt = Math.min(to.nextAt ?? Infinity, more.nextAt);
}

/** The version with its parts if it still waits for the request; undefined otherwise. */
export function findTarget(
  core: Core,
  of: { bucket: string; bucketId: string; object: string; versionId: string; requestId: string },
): Promise<RestoreTarget | undefined> {
  const { store } = core.context;
  const { bucket, bucketId, object, versionId, requestId } = of;
  return reread(object, async () => {
    const row = await store.get<ObjectDocument>('objects', object);
    if (row === undefined) return undefined;
    const version = await findById(store, row.value, versionId);
    if (version === undefined || !isWaiting(version.restore, requestId)) return undefined;
    const key = keyOfObjectId(object);
    const parts = await loadParts(store, version);
    const moving = { bucket, bucketId, key, object, version, parts };
    return { moving, requestId, priority: (version.restore as Restore).tier };
  });
}

export function isWaiting(restore: Restore | undefined, requestId: string): boolean {
  return restore?.state === 'pending' && restore.requestId === requestId;
}

/** Looks at providers for one run of a worker; what it remembers only saves repeats. */
export class RestoreRun {
  readonly #core: Core;
  readonly #options: RestoreOptions;
  /** One look at a blob's status until refresh(), however many wait for it. */
  readonly #looks = new Map<string, Promise<StageStatus>>();
  /** Priority last asked for, by blob. */
  readonly #asked = new Map<string, StagePriority>();

  constructor(core: Core, options: RestoreOptions) {
    this.#core = core;
    this.#options = options;
  }

  /** Statuses grow old: call before each look at the same targets. */
  refresh(): void {
    this.#looks.clear();
  }

  /**
   * Stages what is offline and copies what is online. On return each target is ready, waiting,
   * failed or gone. A repeat with targets found afresh goes on where this one ended.
   */
  async restore(targets: readonly RestoreTarget[]): Promise<RestoreCounts> {
    const counts = noRestores();
    const online: RestoreTarget[] = [];
    // Fastest first: they are the ones that somebody pays for.
    const sorted = targets.toSorted((a, b) => SPEED[b.priority] - SPEED[a.priority]);
    await inFlight(LOOKS_IN_FLIGHT, sorted, async (target) => {
      try {
        if (await this.#isOnline(target, counts)) online.push(target);
        else counts.waiting += 1;
      } catch (error) {
        await this.#fail(target, error, counts);
      }
    });
    for (const batch of batchesOf(online)) {
      this.#options.signal?.throwIfAborted();
      await this.#copy(batch, counts);
    }
    return counts;
  }

  async #isOnline(target: RestoreTarget, counts: RestoreCounts): Promise<boolean> {
    let isOnline = true;
    for (const part of target.moving.parts) {
      const { tier, blob } = await this.#core.locations.place(part.location);
      if (tier.retrieval === 'immediate') continue;
      const status = await this.#stage(tier, blob, target);
      if (status.state === 'ready') continue;
      isOnline = false;
      const readyAt = status.state === 'staging' ? status.readyAt : undefined;
      if (readyAt !== undefined) counts.nextAt = Math.min(counts.nextAt ?? Infinity, readyAt);
    }
    return isOnline;
  }

  #look(tier: Tier, blob: BlobLocation): Promise<StageStatus> {
    let look = this.#looks.get(blob.id);
    look ??= tier.stageStatus(blob).then((status) => {
      if (status.state === 'offline') this.#asked.delete(blob.id);
      return status;
    });
    this.#looks.set(blob.id, look);
    return look;
  }

  /** The blob's status, staged if it was offline, hastened if this target is in more of a hurry. */
  async #stage(tier: Tier, blob: BlobLocation, target: RestoreTarget): Promise<StageStatus> {
    const { priority, moving } = target;
    const status = await this.#look(tier, blob);
    if (status.state === 'ready') return status;
    const asked = this.#asked.get(blob.id);
    if (asked !== undefined && SPEED[asked] >= SPEED[priority]) return status;
    // No await before this: of many that wait for one blob a single one asks. Staging since before
    // this run it may be slower than is wanted now; a repeat raises the priority or does nothing.
    this.#asked.set(blob.id, priority);
    await this.#options.lease.check();
    await tier.stage(blob, { priority, days: STAGE_DAYS });
    if (status.state === 'offline') {
      const { bucket, version } = moving;
      const { storageClass } = version;
      await this.#options.staged?.({ tier: tier.name, blob, priority, bucket, storageClass });
    }
    this.#looks.delete(blob.id);
    return tier.stageStatus(blob);
  }

  async #copy(batch: readonly RestoreTarget[], counts: RestoreCounts): Promise<void> {
    const [first] = batch as [RestoreTarget];
    const byVersion = new Map(batch.map((target) => [target.moving, target]));
    const options = {
      kind: 'restore',
      tier: landingTier(this.#core.context, first.moving.version.storageClass),
      lease: this.#options.lease,
      ...(this.#options.signal === undefined ? {} : { signal: this.#options.signal }),
    } as const;
    const {
      intent,
      copied,
      counts: moves,
    } = await copyBatch(
      this.#core,
      batch.map((target) => target.moving),
      options,
    );
    await inFlight(COMMITS_IN_FLIGHT, copied, async ({ moving, copies }) => {
      const { requestId } = byVersion.get(moving) as RestoreTarget;
      const isReady = await commitRestored(this.#core, { moving, copies, requestId });
      if (!isReady) {
        counts.gone += 1;
        return;
      }
      counts.ready += 1;
      counts.readyBytes += moving.version.sizeBytes;
    });
    await endIntent(this.#core, intent.id);
    // Taken offline again between look and read: the next look stages it once more.
    counts.waiting += moves.offline;
    for (const problem of moves.problems) {
      const target = batch.find(({ moving }) => moving.version.id === problem.versionId);
      if (target === undefined || problem.code === 'TierOffline') continue;
      await this.#giveUp(target);
      counts.failed += 1;
    }
  }

  async #fail(target: RestoreTarget, error: unknown, counts: RestoreCounts): Promise<void> {
    const moves = noMoves();
    countProblem(moves, target.moving, error);
    if (moves.offline > 0) {
      counts.waiting += 1;
      return;
    }
    await this.#giveUp(target);
    counts.failed += 1;
  }

  async #giveUp({ moving, requestId }: RestoreTarget): Promise<void> {
    await endPending(this.#core, {
      object: moving.object,
      versionId: moving.version.id,
      requestId,
    });
  }
}

function batchesOf(targets: readonly RestoreTarget[]): RestoreTarget[][] {
  const batches: RestoreTarget[][] = [];
  let open: RestoreTarget[] = [];
  let bytes = 0;
  for (const target of targets) {
    const { sizeBytes } = target.moving.version;
    if (open.length > 0 && (open.length >= BATCH_VERSIONS || bytes + sizeBytes > BATCH_BYTES)) {
      batches.push(open);
      open = [];
      bytes = 0;
    }
    open.push(target);
    bytes += sizeBytes;
  }
  if (open.length > 0) batches.push(open);
  return batches;
}

/** True: the copy is readable until its date. False: nobody waits for it any more; it is listed. */
export async function commitRestored(
  core: Core,
  of: { moving: MovingVersion; copies: readonly Location[]; requestId: string },
): Promise<boolean> {
  const { context } = core;
  const { moving, copies, requestId } = of;
  const at = context.clock.now();
  const { object, version, bucket } = moving;
  const change = (): Promise<boolean> =>
    changeRestore(core, {
      object,
      versionId: version.id,
      reason: 'restore-expiry',
      fresh: copies,
      change(restore, now): Restore | undefined {
        if (restore === undefined || !isWaiting(restore, requestId)) return undefined;
        // The id says which version; that its bytes are the same is what its ETag says once more.
        if (now.etag !== version.etag) return undefined;
        const expiry = restoreExpiry(at, restore.days, context.restoreDayMs);
        return { ...restore, state: 'ready', expiry, copy: [...copies] };
      },
      last: {
        action: 'restore',
        at,
        from: tierOfParts(moving.parts) ?? '',
        to: copies[0]?.tier ?? '',
      },
    });
  const proof = { kind: 'last', action: 'restore', at } as const;
  return tellingOf(
    context,
    { name: 's3:ObjectRestore:Completed', bucket, object, version, proof },
    { change, told: (isReady) => (isReady ? version : undefined) },
  );
}

/** Takes a pending mark back: the version is archived and idle again. True if it was there. */
export function endPending(
  core: Core,
  of: { object: string; versionId: string; requestId: string },
): Promise<boolean> {
  const { object, versionId, requestId } = of;
  return changeRestore(core, {
    object,
    versionId,
    reason: 'restore-expiry',
    change: (restore) => (isWaiting(restore, requestId) ? 'none' : undefined),
  });
}

/**
 * Marks a version as waiting for a batch's request. False: it is restored, or waits, already; one
 * that waits for a request which is over is taken over.
 */
export async function beginPending(
  core: Core,
  of: { bucket: string; object: string; version: Version },
  request: { id: string; tier: StagePriority; days: number },
): Promise<boolean> {
  const { context } = core;
  const { bucket, object, version } = of;
  const now = context.clock.now();
  const { id: requestId, tier, days } = request;
  const waiting = version.restore?.state === 'pending' ? version.restore : undefined;
  const isInVain = waiting !== undefined && (await isRequestOver(core, waiting));
  const change = (): Promise<boolean> =>
    changeRestore(core, {
      object,
      versionId: version.id,
      reason: 'restore-expiry',
      change(restore): Restore | undefined {
        const isTakenOver = isInVain && restore?.requestId === waiting.requestId;
        if (restore?.state === 'pending' && !isTakenOver) return undefined;
        if (restore?.state === 'ready' && (restore.expiry ?? 0) > now) return undefined;
        return { state: 'pending', requestId, tier, days, requestedAt: now };
      },
    });
  const proof = { kind: 'restore', requestId } as const;
  return tellingOf(
    context,
    { name: 's3:ObjectRestore:Post', bucket, object, version, proof },
    { change, told: (isMarked) => (isMarked ? version : undefined) },
  );
}
