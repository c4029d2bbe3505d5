// What is kept of locations that several versions name: the bytes count for the first of them and
// are nothing for the others. For usage and cost; a figure, so a reference that comes or goes while
// it is counted may show only in the next.

import type { Location } from '../../model/location.ts';
import { LOCATION_ID_LENGTH } from '../../model/ids.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { Reference } from '../../model/records.ts';

const PAGE_ROWS = 10_000;

export class StoredOnce {
  /** Location id → whether it was counted. Only those with a second name: the others are many. */
  readonly #counted: Map<string, boolean>;

  private constructor(counted: Map<string, boolean>) {
    this.#counted = counted;
  }

  /** One pass over the references, if there are any. */
  static async load(store: MetadataStore): Promise<StoredOnce> {
    const counted = new Map<string, boolean>();
    let after: string | undefined;
    for (;;) {
      const rows: Row<Reference>[] = await store.range<Reference>({
        table: 'references',
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const { id } of rows) {
        if (id.length > LOCATION_ID_LENGTH) counted.set(id.slice(0, LOCATION_ID_LENGTH), false);
      }
      if (rows.length < PAGE_ROWS) return new StoredOnce(counted);
      after = rows.at(-1)?.id;
    }
  }

  /** A version that was counted names it: whoever let go of it, its bytes are not waiting. */
  isCounted(id: string): boolean {
    return this.#counted.get(id) === true;
  }

  /** Bytes as they lie, 0 where they were counted before. */
  bytesOf({ id, length }: Location): number {
    const wasCounted = this.#counted.get(id);
    if (wasCounted === undefined) return length;
    this.#counted.set(id, true);
    return wasCounted ? 0 : length;
  }
}
