// Ends restored copies whose date has come, found by the requests that made them; the lifecycle
// scan finds those whose request is gone. Rows of requests go a while after the last of their
// copies.

import type { Core } from '../appliance/engine/document/core.ts';
import { inFlight } from '../appliance/engine/document/in-flight.ts';
import { allVersions, inventoryPages } from '../appliance/engine/document/inventory.ts';
import { findById, reread } from '../appliance/engine/document/history.ts';
import { expireRestore, isLapsed } from '../appliance/engine/move/restore-expire.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { objectId } from '../appliance/model/ids.ts';
import type { ObjectDocument, Version } from '../appliance/model/object.ts';
import type { RestoreRequest } from '../appliance/model/records.ts';
import type { ClockGuard } from './base/clock-guard.ts';
import { changeRestoreRow, isSettled, restoreRows } from './restore-rows.ts';
import type { Turn, Worker } from './base/worker.ts';

const IN_FLIGHT = 64;
/** How long `firn restore status` can still tell of a restore. */
const KEPT_MS = 30 * DAY_MS;

export class RestoreExpiry implements Worker {
  readonly name = 'restore-expiry';
  readonly tranquility = 1;
  readonly #core: Core;
  readonly #guard: ClockGuard;

  constructor(core: Core, guard: ClockGuard) {
    this.#core = core;
    this.#guard = guard;
  }

  leaseName(): string {
    return 'restore-expiry';
  }

  async run(turn: Turn): Promise<void> {
    const { store, clock } = this.#core.context;
    const counts = { looked: 0, ended: 0 };
    for await (const { id, revision, value } of restoreRows(store)) {
      counts.looked += 1;
      if (!isSettled(value)) continue;
      const now = clock.now();
      if (value.expiresAt === undefined) {
        if ((value.settledAt ?? now) + KEPT_MS < now) await store.remove('restores', id, revision);
        continue;
      }
      if (value.expiresAt > now) continue;
      await this.#guard.check();
      const { ended, next } = await this.#end(value, turn);
      counts.ended += ended;
      turn.report(counts);
      await changeRestoreRow(store, id, ({ expiresAt: _past, ...row }) =>
        next === undefined ? row : { ...row, expiresAt: next },
      );
    }
  }

  /** Ends what is over; `next`: when the first of the others will be. */
  async #end(
    request: RestoreRequest,
    turn: Turn,
  ): Promise<{ ended: number; next: number | undefined }> {
    const { scope } = request;
    const { bucket, bucketId } = scope;
    let ended = 0;
    let next: number | undefined;
    const one = async (object: string, version: Version | undefined): Promise<void> => {
      if (version?.restore?.state !== 'ready' || version.restore.requestId !== request.id) return;
      if (isLapsed(version, this.#core.context.clock.now())) {
        if (await expireRestore(this.#core, { bucket, object, version })) ended += 1;
      } else if (version.restore.expiry !== undefined) {
        next = Math.min(next ?? Infinity, version.restore.expiry);
      }
    };
    if ('key' in scope) {
      const object = objectId(bucketId, scope.key);
      await one(object, await this.#version(object, scope.versionId));
      await turn.rest();
      return { ended, next };
    }
    const { store } = this.#core.context;
    for await (const page of inventoryPages(store, bucketId, { prefix: scope.prefix })) {
      await inFlight(IN_FLIGHT, page, async (row) => {
        // A restored version may have been overwritten since: old ones too.
        for (const version of await allVersions(store, row)) await one(row.object, version);
      });
      await turn.rest();
    }
    return { ended, next };
  }

  #version(object: string, versionId: string): Promise<Version | undefined> {
    const { store } = this.#core.context;
    return reread(object, async () => {
      const row = await store.get<ObjectDocument>('objects', object);
      return row && findById(store, row.value, versionId);
    });
  }
}
