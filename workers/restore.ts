// Brings back what was asked for: rows of `restores`, one RestoreObject each or a batch by prefix.
// Each run looks at everything that is open, stages what is offline, copies what is online, and
// ends; while providers take their hours nothing waits in memory, and the next look goes on. Single
// requests are served between the pages of a batch, so that a million objects under a prefix hold
// nobody up.

import type { Core } from '../appliance/engine/document/core.ts';
import { inFlight } from '../appliance/engine/document/in-flight.ts';
import { inventoryPages, type InventoryRow } from '../appliance/engine/document/inventory.ts';
import { isArchived } from '../appliance/engine/document/names.ts';
import {
  addRestores,
  beginPending,
  endPending,
  findTarget,
  isWaiting,
  noRestores,
  RestoreRun,
  type RestoreCounts,
  type RestoreTarget,
  type StagedBlob,
} from '../appliance/engine/move/restore-run.ts';
import { findById, reread } from '../appliance/engine/document/history.ts';
import { objectId } from '../appliance/model/ids.ts';
import type { Restore, ObjectDocument } from '../appliance/model/object.ts';
import type { RestoreRequest } from '../appliance/model/records.ts';
import { changeRestoreRow, isSettled, restoreRows } from './restore-rows.ts';
import { addUsage } from './base/usage-rows.ts';
import type { Turn, Worker } from './base/worker.ts';

const SINGLES_AT_ONCE = 256;
const LOOKS_IN_FLIGHT = 64;
const MARKS_IN_FLIGHT = 64;
/** A single request's row is written before its version waits: this long it is left alone. */
const FRESH_MS = 60_000;

type Single = RestoreRequest & { scope: { key: string; versionId: string } };
type Batch = RestoreRequest & { scope: { prefix: string } };

export interface RestoreLook {
  /** Requests that still wait for providers. */
  waiting: number;
  /** Engine ms of the first promise among them. */
  nextAt: number | undefined;
}

export class RestoreWorker implements Worker {
  readonly name = 'restore';
  readonly tranquility = 0;
  readonly #core: Core;
  /** Told how the look ended: when to look again. */
  readonly #looked: (look: RestoreLook) => void;

  constructor(core: Core, looked: (look: RestoreLook) => void) {
    this.#core = core;
    this.#looked = looked;
  }

  leaseName(): string {
    return 'restore';
  }

  async run(turn: Turn): Promise<void> {
    const run = new RestoreRun(this.#core, {
      lease: turn.lease,
      signal: turn.signal,
      staged: (blob) => this.#meter(blob),
    });
    const work = new RestoreWork(this.#core, turn, run);
    this.#looked(await work.look());
  }

  /** A provider charges for the whole blob, once. */
  #meter(staged: StagedBlob): Promise<void> {
    const { bucket, tier, blob, storageClass } = staged;
    const { store, clock } = this.#core.context;
    const bytes = blob.length;
    const amount = { kind: 'retrieved', bucket, tier, storageClass, bytes, count: 1 } as const;
    return addUsage(store, clock.now(), amount);
  }
}

class RestoreWork {
  readonly #core: Core;
  readonly #turn: Turn;
  readonly #run: RestoreRun;
  readonly #total: RestoreCounts = noRestores();
  /** Id of the newest single request looked at. */
  #newest: string | undefined;

  constructor(core: Core, turn: Turn, run: RestoreRun) {
    this.#core = core;
    this.#turn = turn;
    this.#run = run;
  }

  async look(): Promise<RestoreLook> {
    const batches = await this.#singles(undefined);
    let waiting = this.#total.waiting;
    for (const batch of batches) {
      await this.#turn.rest();
      waiting += await this.#batch(batch);
    }
    return { waiting, nextAt: this.#total.nextAt };
  }

  /** Serves all open single requests behind `after`; returns the batches met. */
  async #singles(after: string | undefined): Promise<Batch[]> {
    const batches: Batch[] = [];
    let singles: Single[] = [];
    for await (const { id, value } of restoreRows(this.#core.context.store, after)) {
      this.#newest = id;
      if (isSettled(value)) continue;
      if ('prefix' in value.scope) batches.push(value as Batch);
      else singles.push(value as Single);
      if (singles.length < SINGLES_AT_ONCE) continue;
      await this.#serve(singles);
      singles = [];
      await this.#turn.rest();
    }
    if (singles.length > 0) await this.#serve(singles);
    return batches;
  }

  async #serve(singles: readonly Single[]): Promise<void> {
    const targets = await inFlight(LOOKS_IN_FLIGHT, singles, async (request) => {
      if (request.state === 'cancelled') return undefined;
      return findTarget(this.#core, this.#nameOf(request));
    });
    const found = targets.filter((target) => target !== undefined);
    const counts = await this.#run.restore(found);
    addRestores(this.#total, counts);
    await inFlight(LOOKS_IN_FLIGHT, singles, (request, i) =>
      this.#account(request, targets[i] !== undefined),
    );
    this.#turn.report({ ...this.#total, nextAt: this.#total.nextAt ?? 0 });
  }

  #nameOf({ id, scope }: Single) {
    const { bucket, bucketId, key, versionId } = scope;
    const object = objectId(bucketId, key);
    return { bucket, bucketId, object, versionId, requestId: id };
  }

  /** Writes into the request's row what its version says now. */
  async #account(request: Single, wasWaiting: boolean): Promise<void> {
    const { store, clock } = this.#core.context;
    const name = this.#nameOf(request);
    if (request.state === 'cancelled') await endPending(this.#core, name);
    const restore = await this.#restoreOf(name);
    const now = clock.now();
    const isOurs = restore?.requestId === request.id;
    if (isOurs && restore.state === 'pending') {
      if (request.state === 'staging') return;
      await changeRestoreRow(store, request.id, (row) => ({ ...row, state: 'staging' }));
      return;
    }
    if (isOurs && restore.state === 'ready') {
      const { expiry } = restore;
      await changeRestoreRow(store, request.id, (row) => ({
        ...row,
        state: 'done',
        counts: { ...row.counts, ready: 1 },
        finishedAt: now,
        settledAt: now,
        ...(expiry === undefined ? {} : { expiresAt: expiry }),
      }));
      return;
    }
    if (request.state === 'cancelled') {
      await changeRestoreRow(store, request.id, (row) => ({ ...row, settledAt: now }));
      return;
    }
    // Its version does not wait for it: not yet, or not any more.
    const isFresh = request.state === 'requested' && now - request.requestedAt < FRESH_MS;
    if (isFresh && !wasWaiting) return;
    await changeRestoreRow(store, request.id, (row) => ({
      ...row,
      state: 'failed',
      counts: { ...row.counts, failed: 1 },
      finishedAt: now,
      settledAt: now,
      error: wasWaiting
        ? 'the archived bytes could not be read, or the object was changed meanwhile'
        : 'the object was overwritten, deleted or asked for anew meanwhile',
    }));
  }

  #restoreOf(name: { object: string; versionId: string }): Promise<Restore | undefined> {
    const { store } = this.#core.context;
    return reread(name.object, async () => {
      const row = await store.get<ObjectDocument>('objects', name.object);
      if (row === undefined) return undefined;
      return (await findById(store, row.value, name.versionId))?.restore;
    });
  }

  /** One look at a batch; returns how many of its objects wait. */
  async #batch(batch: Batch): Promise<number> {
    if (batch.state === 'cancelled') {
      await this.#takeBack(batch);
      return 0;
    }
    if (batch.state === 'requested') await this.#mark(batch);
    const counts = noRestores();
    this.#run.refresh();
    for await (const page of this.#pages(batch)) {
      addRestores(counts, await this.#run.restore(await this.#targets(page, batch)));
      const row = await this.#progress(batch, counts);
      if (row?.state === 'cancelled') {
        await this.#takeBack(batch);
        return 0;
      }
      await this.#between();
    }
    addRestores(this.#total, { ...counts, waiting: 0 });
    if (counts.waiting === 0) await this.#finish(batch);
    return counts.waiting;
  }

  #pages(batch: Batch, after?: string): AsyncGenerator<InventoryRow[]> {
    const { bucketId, prefix } = batch.scope as { bucketId: string; prefix: string };
    const query = after === undefined ? { prefix } : { prefix, after };
    return inventoryPages(this.#core.context.store, bucketId, query);
  }

  /** Marks every archived current version under the prefix, a page at a time. */
  async #mark(batch: Batch): Promise<void> {
    const { store, clock } = this.#core.context;
    const { bucket } = batch.scope;
    for await (const page of this.#pages(batch, batch.cursor)) {
      let bytes = 0;
      const marked = await inFlight(MARKS_IN_FLIGHT, page, async ({ object, document }) => {
        const version = document.versions[0];
        if (version === undefined || version.deleteMarker) return false;
        if (!isArchived(this.#core.context, version.storageClass)) return false;
        // Marked by an earlier look that ended before it could count.
        if (!isWaiting(version.restore, batch.id)) {
          const isMarked = await beginPending(this.#core, { bucket, object, version }, batch);
          if (!isMarked) return false;
        }
        bytes += version.sizeBytes;
        return true;
      });
      const objects = marked.filter(Boolean).length;
      const cursor = page.at(-1)?.key;
      const row = await changeRestoreRow(store, batch.id, (old) => ({
        ...old,
        counts: {
          ...old.counts,
          objects: old.counts.objects + objects,
          bytes: old.counts.bytes + bytes,
        },
        ...(cursor === undefined ? {} : { cursor }),
      }));
      if (row === undefined || row.state === 'cancelled') return;
      await this.#between();
    }
    await changeRestoreRow(store, batch.id, ({ cursor: _done, ...row }) => ({
      ...row,
      state: 'staging',
      requestedAt: Math.min(row.requestedAt, clock.now()),
    }));
  }

  /** Between two pages: rests, and serves single requests that came meanwhile. */
  async #between(): Promise<void> {
    await this.#turn.rest();
    await this.#singles(this.#newest);
  }

  /** Those of a page that wait for this batch, their parts loaded. */
  async #targets(page: readonly InventoryRow[], batch: Batch): Promise<RestoreTarget[]> {
    const { bucket, bucketId } = batch.scope;
    const waiting = page.filter(({ document }) =>
      isWaiting(document.versions[0]?.restore, batch.id),
    );
    const targets = await inFlight(LOOKS_IN_FLIGHT, waiting, ({ object, document }) => {
      const versionId = document.versions[0]?.id ?? '';
      return findTarget(this.#core, { bucket, bucketId, object, versionId, requestId: batch.id });
    });
    return targets.filter((target) => target !== undefined);
  }

  #progress(batch: Batch, counts: RestoreCounts): Promise<RestoreRequest | undefined> {
    const { ready, failed } = counts;
    if (ready === 0 && failed === 0) {
      return changeRestoreRow(this.#core.context.store, batch.id, () => undefined);
    }
    counts.ready = 0;
    counts.failed = 0;
    return changeRestoreRow(this.#core.context.store, batch.id, (row) => ({
      ...row,
      state: 'copying',
      counts: {
        ...row.counts,
        ready: row.counts.ready + ready,
        failed: row.counts.failed + failed,
      },
    }));
  }

  async #finish(batch: Batch): Promise<void> {
    const { store, clock } = this.#core.context;
    const now = clock.now();
    await changeRestoreRow(store, batch.id, (row) => ({
      ...row,
      state: 'done',
      finishedAt: now,
      settledAt: now,
      // Expiry looks at once, and notes the date of the first copy.
      expiresAt: now,
    }));
  }

  /** Cancelled: what waits is idle again; what is readable stays so until its date. */
  async #takeBack(batch: Batch): Promise<void> {
    const { store, clock } = this.#core.context;
    for await (const page of this.#pages(batch)) {
      await inFlight(MARKS_IN_FLIGHT, page, async ({ object, document }) => {
        const version = document.versions[0];
        if (version === undefined || !isWaiting(version.restore, batch.id)) return;
        await endPending(this.#core, { object, versionId: version.id, requestId: batch.id });
      });
      await this.#turn.rest();
    }
    const now = clock.now();
    await changeRestoreRow(store, batch.id, (row) => ({ ...row, settledAt: now, expiresAt: now }));
  }
}
