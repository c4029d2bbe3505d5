// ListObjectVersions: every version and delete marker, keys in order, newest first in each. A page
// may end inside a key; the marker it hands out is the version's own id, also for the null version,
// because "null" says nothing of its place once it has been replaced.

import { NULL_VERSION, compareUtf8, objectId } from '../../model/ids.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { HistoryRef, ObjectDocument, Version } from '../../model/object.ts';
import type { ListVersionsAnswer, ListVersionsQuery } from '../../model/requests.ts';
import type { Core } from '../document/core.ts';
import { findVersion, loadVersions, reread } from '../document/history.ts';
import {
  Roller,
  boundedKey,
  isImpossiblePrefix,
  keyOfRow,
  pages,
  startBehind,
  type Walk,
} from './list-walk.ts';

/** One page. With `afterVersionId`, the rest of the key `after` comes first. */
export async function listVersions(
  core: Core,
  query: ListVersionsQuery,
): Promise<ListVersionsAnswer> {
  const bucket = await core.buckets.live(query.bucket);
  const { prefix, delimiter, limit } = query;
  const answer: ListVersionsAnswer = {
    bucket,
    entries: [],
    prefixes: [],
    next: undefined,
    nextVersionId: undefined,
  };
  if (limit <= 0 || isImpossiblePrefix(prefix)) return answer;
  const walk: Walk = { table: 'objects', bucketId: bucket.id, prefix, delimiter, limit };
  const roller = new Roller(prefix, delimiter);
  if (query.after !== '') {
    const start = startOf(walk, query, roller);
    if (start === undefined) return answer;
    walk.start = start;
  }
  const listing = new Listing(core, query, answer, roller);
  for await (const rows of pages<ObjectDocument>(core.context.store, walk, roller)) {
    for (const row of rows) {
      const progress = listing.add(row);
      if (progress === 'more') continue;
      if (progress === 'full' || (await progress) === 'full') return answer;
    }
  }
  return answer;
}

function startOf(
  walk: Walk,
  query: ListVersionsQuery,
  roller: Roller,
): { from: string } | { after: string } | undefined {
  const { after, afterVersionId, prefix } = query;
  const inside =
    afterVersionId !== undefined &&
    afterVersionId !== '' &&
    compareUtf8(after, prefix) >= 0 &&
    roller.prefixOf(after) === undefined;
  if (inside) return { from: objectId(walk.bucketId, boundedKey(after)) };
  return startBehind(walk, after);
}

type Progress = 'more' | 'full';

/** Fills the answer, row by row. */
class Listing {
  readonly #core: Core;
  readonly #query: ListVersionsQuery;
  readonly #answer: ListVersionsAnswer;
  readonly #roller: Roller;
  /** What was added last: where the next page begins, if there is one. */
  #last: { next: string; versionId: string | undefined } | undefined;

  constructor(core: Core, query: ListVersionsQuery, answer: ListVersionsAnswer, roller: Roller) {
    this.#core = core;
    this.#query = query;
    this.#answer = answer;
    this.#roller = roller;
  }

  /**
   * A promise only for a key whose versions are not all at hand. `full`: the answer is complete.
   */
  add(row: Row<ObjectDocument>): Progress | Promise<Progress> {
    const { versions, history } = row.value;
    const key = keyOfRow(row.id);
    if (versions.length === 0 || this.#roller.isHidden(key)) return 'more';
    const common = this.#roller.prefixOf(key);
    this.#roller.current = common;
    if (common !== undefined) return this.#addPrefix(common);
    const { after, afterVersionId } = this.#query;
    const marked = key === after && afterVersionId !== '' ? afterVersionId : undefined;
    if (history.length === 0 && marked !== NULL_VERSION) {
      return this.#addVersions(key, behind(versions, marked), versions[0]);
    }
    return this.#addWithHistory(row, key, marked);
  }

  #isFull(): boolean {
    const { entries, prefixes } = this.#answer;
    if (entries.length + prefixes.length < this.#query.limit) return false;
    this.#answer.next = this.#last?.next;
    this.#answer.nextVersionId = this.#last?.versionId;
    return true;
  }

  #addPrefix(common: string): Progress {
    if (this.#isFull()) return 'full';
    this.#answer.prefixes.push(common);
    this.#last = { next: common, versionId: undefined };
    return 'more';
  }

  #addVersions(key: string, versions: Version[], latest: Version | undefined): Progress {
    for (const version of versions) {
      if (this.#isFull()) return 'full';
      const versionId = version.isNull ? NULL_VERSION : version.id;
      this.#answer.entries.push({ key, version, versionId, isLatest: version === latest });
      this.#last = { next: key, versionId: version.id };
    }
    return 'more';
  }

  /** Versions in the document and, as far as the page reaches, in its blocks (A5). */
  async #addWithHistory(
    row: Row<ObjectDocument>,
    key: string,
    marked: string | undefined,
  ): Promise<Progress> {
    const { entries, prefixes } = this.#answer;
    const room = this.#query.limit - entries.length - prefixes.length + 1;
    const { store } = this.#core.context;
    let document: ObjectDocument | undefined = row.value;
    const versions = await reread(row.id, async () => {
      document ??= (await store.get<ObjectDocument>('objects', row.id))?.value;
      const read = document;
      document = undefined;
      return read === undefined ? [] : collect(store, read, { marked, room });
    });
    return this.#addVersions(key, versions, marked === undefined ? versions[0] : undefined);
  }
}

/** At least `room` versions behind the marked one, if there are so many. May throw BlockMissing. */
async function collect(
  store: MetadataStore,
  document: ObjectDocument,
  wanted: { marked: string | undefined; room: number },
): Promise<Version[]> {
  let { marked } = wanted;
  if (marked === NULL_VERSION) {
    marked = (await findVersion(store, document, NULL_VERSION))?.id;
    // Replaced since: nobody knows which versions were listed behind it. S3's markers are ids of
    // ours.
    if (marked === undefined) return [];
  }
  const versions = behind(document.versions, marked);
  const { history } = document;
  for (let i = 0; i < history.length && versions.length < wanted.room; i++) {
    const newestOfNext = history[i + 1]?.newest;
    if (marked !== undefined && newestOfNext !== undefined && newestOfNext >= marked) continue;
    versions.push(...behind(await loadVersions(store, (history[i] as HistoryRef).block), marked));
  }
  return versions;
}

/**
 * The versions behind the marked one, in an array of the caller's. Ids begin with the key's
 * sequence, so also a mark that is gone has its place.
 */
function behind(versions: readonly Version[], marked: string | undefined): Version[] {
  if (marked === undefined) return [...versions];
  return versions.filter((version) => version.id < marked);
}
