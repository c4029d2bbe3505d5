// Rows of restores: found, changed, ended. Ids are in order of time, so that new requests are found
// by going on behind the last that is settled; a look over all of them, now and then, finds what
// that missed. A row that an operator has cancelled stays cancelled whatever a worker writes.

import type { MetadataStore, Row } from '../appliance/model/metadata-store.ts';
import type { RestoreRequest } from '../appliance/model/records.ts';

const PAGE_ROWS = 1000;
const SWAPS_MAX = 64;

export function isSettled(request: RestoreRequest): boolean {
  return request.settledAt !== undefined;
}

export async function* restoreRows(
  store: MetadataStore,
  after?: string,
): AsyncGenerator<Row<RestoreRequest>> {
  let from = after;
  for (;;) {
    const rows: Row<RestoreRequest>[] = await store.range<RestoreRequest>({
      table: 'restores',
      limit: PAGE_ROWS,
      ...(from === undefined ? {} : { after: from }),
    });
    yield* rows;
    if (rows.length < PAGE_ROWS) return;
    from = rows.at(-1)?.id;
  }
}

/**
 * Changes a row by compare-and-swap. `undefined` from `change` leaves it. Returns it as it stands
 * then; undefined when it is gone (withdrawn).
 */
export async function changeRestoreRow(
  store: MetadataStore,
  id: string,
  change: (request: RestoreRequest) => RestoreRequest | undefined,
): Promise<RestoreRequest | undefined> {
  for (let i = 0; i < SWAPS_MAX; i++) {
    const row = await store.get<RestoreRequest>('restores', id);
    if (row === undefined) return undefined;
    const changed = change(row.value);
    if (changed === undefined) return row.value;
    const isCancelled = row.value.state === 'cancelled';
    const value: RestoreRequest = isCancelled ? { ...changed, state: 'cancelled' } : changed;
    const result = await store.replace({ table: 'restores', id, expected: row.revision, value });
    if (result.outcome === 'done') return value;
  }
  return undefined;
}
