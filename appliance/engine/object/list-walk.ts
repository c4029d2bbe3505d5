// Walking rows in key order for the three listings. A page of keys costs one range read; a common
// prefix costs one more, however many keys it hides: the walk jumps past it. Rows come in pages and
// are handled without a promise a row, which is what keeps a listing near the key-only scan.

import { BUCKET_ID_LENGTH, afterPrefix, compareUtf8, objectId } from '../../model/ids.ts';
import { KEY_BYTES_MAX, LIST_KEYS_MAX } from '../../model/limits.ts';
import type { MetadataStore, Row, Table } from '../../model/metadata-store.ts';

/** First page of a listing with a delimiter: the first key may hide all others. */
const DELIMITED_PAGE = 64;

export interface Walk {
  table: Table;
  bucketId: string;
  prefix: string;
  delimiter: string;
  /** Where to begin, in place of the prefix's start; as bounds of the store. */
  start?: { from: string } | { after: string };
  /** Rows wanted at most: a hint for the size of a page. */
  limit: number;
  /** Rows of `objects` as a plain LIST needs them (RangeQuery.listing). */
  listing?: boolean;
}

/** Rolls keys up into common prefixes. */
export class Roller {
  readonly #prefixLength: number;
  readonly #delimiter: string;
  /** The common prefix that the walk is inside of. */
  current: string | undefined;

  constructor(prefix: string, delimiter: string) {
    this.#prefixLength = prefix.length;
    this.#delimiter = delimiter;
  }

  /** The common prefix of this key, if it has one. */
  prefixOf(key: string): string | undefined {
    if (this.#delimiter === '') return undefined;
    const at = key.indexOf(this.#delimiter, this.#prefixLength);
    return at < 0 ? undefined : key.slice(0, at + this.#delimiter.length);
  }

  /** True if the key lies under the common prefix that was counted last. */
  isHidden(key: string): boolean {
    return this.current !== undefined && key.startsWith(this.current);
  }
}

/** Key of a row of `objects`. */
export function keyOfRow(id: string): string {
  return id.slice(BUCKET_ID_LENGTH + 1);
}

/**
 * Where a listing goes on behind `after`: behind the key, or behind the whole common prefix where
 * the key is one or lies in one. Undefined: nothing can follow.
 */
export function startBehind(
  walk: { bucketId: string; prefix: string; delimiter: string },
  after: string,
): { from: string } | { after: string } | undefined {
  const { bucketId, prefix, delimiter } = walk;
  const bound = boundedKey(after);
  if (compareUtf8(bound, prefix) < 0) return { from: objectId(bucketId, prefix) };
  if (bound.startsWith(prefix)) {
    const common = new Roller(prefix, delimiter).prefixOf(bound);
    if (common !== undefined) {
      const from = afterPrefix(objectId(bucketId, common));
      return from === undefined ? undefined : { from };
    }
  }
  return { after: objectId(bucketId, bound) };
}

/**
 * A marker cut to the length of the longest key, so that the store takes it as a bound. No key lies
 * between a longer marker and its first 1,024 bytes.
 */
export function boundedKey(marker: string): string {
  const clean = marker.includes('\0') ? marker.slice(0, marker.indexOf('\0')) : marker;
  if (clean.length <= KEY_BYTES_MAX / 3) return clean;
  let bytes = 0;
  let length = 0;
  for (const character of clean) {
    bytes += Buffer.byteLength(character);
    if (bytes > KEY_BYTES_MAX) break;
    length += character.length;
  }
  return clean.slice(0, length);
}

/** A prefix that no key can have: nothing is listed, and the store is not asked. */
export function isImpossiblePrefix(prefix: string): boolean {
  return prefix.includes('\0') || Buffer.byteLength(prefix) > KEY_BYTES_MAX;
}

/**
 * Pages of rows under the prefix. The caller sets `roller.current` while it goes through a page.
 */
export async function* pages<T>(
  store: MetadataStore,
  walk: Walk,
  roller: Roller,
): AsyncGenerator<Row<T>[]> {
  const { table, bucketId, prefix, listing = false } = walk;
  const low = objectId(bucketId, prefix);
  const to = afterPrefix(low) as string;
  const most = Math.min(walk.limit, LIST_KEYS_MAX) + 1;
  let limit = walk.delimiter === '' ? most : Math.min(most, DELIMITED_PAGE);
  let bound: { from: string } | { after: string } = walk.start ?? { from: low };
  for (;;) {
    const rows = await store.range<T>({ table, ...bound, to, limit, listing });
    yield rows;
    const last = rows.at(-1);
    if (last === undefined || rows.length < limit) return;
    if (roller.current !== undefined && roller.isHidden(keyOfRow(last.id))) {
      const from = afterPrefix(objectId(bucketId, roller.current));
      // What comes next may be a common prefix again: a small page.
      limit = Math.min(most, DELIMITED_PAGE);
      if (from === undefined || compareUtf8(from, to) >= 0) return;
      bound = { from };
    } else {
      limit = Math.min(most, limit * 4);
      bound = { after: last.id };
    }
  }
}
