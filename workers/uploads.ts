// Takes multipart uploads from wherever a crash left them to where they belong: completing ones are
// rolled forward, aborting ones ended, and 48 hours after its end an upload's row and its
// operations go (C2). Before that it ends deletions of buckets that a crash cut short: they hide
// keys that are there.

import { settleDeletions } from '../appliance/engine/account/buckets.ts';
import type { Core } from '../appliance/engine/document/core.ts';
import { settleUpload } from '../appliance/engine/upload/multipart-end.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { Upload } from '../appliance/model/object.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

const PAGE_ROWS = 500;
/** A Complete that is younger is still at work itself. */
const COMPLETING_MS_MIN = 10 * 60_000;

export class UploadsWorker implements Worker {
  readonly name = 'uploads';
  readonly tranquility = 1;
  readonly #core: Core;
  readonly #log: WorkerLog;

  constructor(core: Core, log: WorkerLog) {
    this.#core = core;
    this.#log = log;
  }

  leaseName(): string {
    return 'uploads';
  }

  async run(turn: Turn): Promise<void> {
    const { store } = this.#core.context;
    const counts = { looked: 0, settled: 0, gone: 0, failed: 0 };
    await turn.lease.check();
    let fault: unknown;
    // A bucket that can't be ended keeps no upload from it.
    await settleDeletions(this.#core).catch((error: unknown) => (fault = error));
    let after: string | undefined;
    for (;;) {
      const rows: Row<Upload>[] = await store.range<Upload>({
        table: 'uploads',
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const row of rows) {
        counts.looked += 1;
        if (this.#isAtWork(row.value)) continue;
        await turn.lease.check();
        try {
          if (await settleUpload(this.#core, row)) counts.gone += 1;
          counts.settled += 1;
        } catch (error) {
          // One upload that can't be settled now keeps no other from it.
          if (!isFirnError(error) || error.code === 'LeaseLost') throw error;
          counts.failed += 1;
          this.#log('warn', `an upload is not settled yet: ${error.message}`, {
            upload: row.value.uploadId,
          });
        }
      }
      turn.report(counts);
      if (rows.length < PAGE_ROWS) break;
      after = rows.at(-1)?.id;
      await turn.rest();
    }
    if (fault !== undefined) throw fault;
  }

  #isAtWork(upload: Upload): boolean {
    if (upload.state === 'open') return true;
    const at = upload.completing?.at ?? 0;
    const age = this.#core.context.clock.now() - at;
    return upload.state === 'completing' && age < COMPLETING_MS_MIN;
  }
}
