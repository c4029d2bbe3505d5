// Every version of every key, in key order, for scans, plans, meters, quotes and the sweep. Pages
// of documents; nothing is held open between two of them, so a pass over a hundred million keys
// keeps no old view of the store alive. Old versions in blocks are read only where asked for (A5).

import {
  BUCKET_ID_LENGTH,
  afterPrefix,
  compareUtf8,
  keyOfObjectId,
  objectId,
} from '../../model/ids.ts';
import type { Bucket } from '../../model/bucket.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { ObjectDocument, Version } from '../../model/object.ts';
import { loadVersions, reread } from './history.ts';

const PAGE_ROWS = 500;
const BUCKETS_PER_PAGE = 1000;

export interface InventoryQuery {
  /** Only keys with this beginning. */
  prefix?: string;
  /** Exclusive: keys above this. */
  after?: string;
  /** Exclusive: keys below this. */
  before?: string;
  pageRows?: number;
}

export interface InventoryRow {
  /** objectId. */
  object: string;
  key: string;
  revision: string;
  document: ObjectDocument;
}

/** Buckets in order of their names, those being deleted too. */
export async function* allBuckets(store: MetadataStore): AsyncGenerator<Bucket> {
  let after: string | undefined;
  for (;;) {
    const rows: Row<Bucket>[] = await store.range<Bucket>({
      table: 'buckets',
      limit: BUCKETS_PER_PAGE,
      ...(after === undefined ? {} : { after }),
    });
    for (const row of rows) yield row.value;
    if (rows.length < BUCKETS_PER_PAGE) return;
    after = rows.at(-1)?.id;
  }
}

/** Bucket id → name. */
export async function bucketNames(store: MetadataStore): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  for await (const bucket of allBuckets(store)) names.set(bucket.id, bucket.name);
  return names;
}

/** Pages of a bucket's documents that hold versions; a page may be short or, rarely, empty. */
export async function* inventoryPages(
  store: MetadataStore,
  bucketId: string,
  query: InventoryQuery = {},
): AsyncGenerator<InventoryRow[]> {
  const { prefix = '', pageRows = PAGE_ROWS } = query;
  const end = prefix === '' ? undefined : afterPrefix(prefix);
  const ends = [end, query.before].filter((one) => one !== undefined);
  const to =
    ends.length === 0
      ? afterBucket(bucketId)
      : objectId(
          bucketId,
          ends.reduce((a, b) => (compareUtf8(a, b) < 0 ? a : b)),
        );
  let bound: { from: string } | { after: string } =
    query.after !== undefined && compareUtf8(query.after, prefix) >= 0
      ? { after: objectId(bucketId, query.after) }
      : { from: objectId(bucketId, prefix) };
  for (;;) {
    const rows: Row<ObjectDocument>[] = await store.range<ObjectDocument>({
      table: 'objects',
      ...bound,
      to,
      limit: pageRows,
    });
    const page: InventoryRow[] = [];
    for (const { id, revision, value } of rows) {
      if (value.versions.length === 0) continue;
      page.push({ object: id, key: keyOfObjectId(id), revision, document: value });
    }
    yield page;
    if (rows.length < pageRows) return;
    bound = { after: (rows.at(-1) as Row<ObjectDocument>).id };
  }
}

/** Documents one by one. */
export async function* inventory(
  store: MetadataStore,
  bucketId: string,
  query: InventoryQuery = {},
): AsyncGenerator<InventoryRow> {
  for await (const page of inventoryPages(store, bucketId, query)) yield* page;
}

/** All versions of a document, newest first, those in blocks too. */
export async function allVersions(store: MetadataStore, row: InventoryRow): Promise<Version[]> {
  if (row.document.history.length === 0) return row.document.versions;
  let { document } = row;
  let isFirst = true;
  return reread(row.object, async () => {
    // A missing block: the document changed since the page was read.
    if (!isFirst) {
      document = (await store.get<ObjectDocument>('objects', row.object))?.value ?? EMPTY;
    }
    isFirst = false;
    const versions = [...document.versions];
    for (const { block } of document.history) versions.push(...(await loadVersions(store, block)));
    return versions;
  });
}

const EMPTY: ObjectDocument = { format: 1, sequence: 0, versions: [], history: [] };

/** Above every object id of the bucket: '0' is the code point behind '/'. */
function afterBucket(bucketId: string): string {
  return `${bucketId.slice(0, BUCKET_ID_LENGTH)}0`;
}
