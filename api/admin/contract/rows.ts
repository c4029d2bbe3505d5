// Small reads of rows that several routes share, and the one form in which times leave the API.

import type { Bucket } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { MetadataStore, Row, Table } from '../../../appliance/model/metadata-store.ts';
import { formatInstant } from '../../../policies/base/dates.ts';

/** RFC 3339, UTC. */
export const timeOf = formatInstant;

export async function bucketByName(store: MetadataStore, name: string): Promise<Bucket> {
  const row = await store.get<Bucket>('buckets', name);
  if (row !== undefined && row.value.state === 'live') return row.value;
  throw new FirnError('NoSuchBucket', `there is no bucket ${name}`, {
    subject: name,
    hint: './firn bucket show lists them',
  });
}

const PAGE_ROWS = 1000;

/** Every row between the bounds, a page at a time. */
export async function* allRows<T>(
  store: MetadataStore,
  table: Table,
  bounds: { from?: string; to?: string } = {},
): AsyncGenerator<Row<T>> {
  let after: string | undefined;
  for (;;) {
    const start =
      after !== undefined ? { after } : bounds.from === undefined ? {} : { from: bounds.from };
    const page = await store.range<T>({
      table,
      ...start,
      ...(bounds.to === undefined ? {} : { to: bounds.to }),
      limit: PAGE_ROWS,
    });
    yield* page;
    if (page.length < PAGE_ROWS) return;
    after = page.at(-1)?.id;
  }
}

export async function allBuckets(store: MetadataStore): Promise<Bucket[]> {
  const buckets: Bucket[] = [];
  for await (const row of allRows<Bucket>(store, 'buckets')) {
    if (row.value.state === 'live') buckets.push(row.value);
  }
  return buckets;
}
