// ListObjects, both versions of it: current versions in key order. Delete markers and keys without
// a version are passed over, and a common prefix is one only if a key that shows lies under it.

import { NULL_VERSION } from '../../model/ids.ts';
import type { ObjectDocument } from '../../model/object.ts';
import type { ListAnswer, ListQuery } from '../../model/requests.ts';
import type { Core } from '../document/core.ts';
import {
  Roller,
  isImpossiblePrefix,
  keyOfRow,
  pages,
  startBehind,
  type Walk,
} from './list-walk.ts';

/** One page, as fresh as a GET. `next` is set only when something that shows follows. */
export async function listObjects(core: Core, query: ListQuery): Promise<ListAnswer> {
  const bucket = await core.buckets.live(query.bucket);
  const { prefix, delimiter, after, limit } = query;
  const answer: ListAnswer = { bucket, entries: [], prefixes: [], next: undefined };
  if (limit <= 0 || isImpossiblePrefix(prefix)) return answer;
  const walk: Walk = {
    table: 'objects',
    bucketId: bucket.id,
    prefix,
    delimiter,
    limit,
    listing: true,
  };
  if (after !== '') {
    const start = startBehind(walk, after);
    if (start === undefined) return answer;
    walk.start = start;
  }
  const roller = new Roller(prefix, delimiter);
  const { entries, prefixes } = answer;
  let last: string | undefined;
  for await (const rows of pages<ObjectDocument>(core.context.store, walk, roller)) {
    for (const { id, value } of rows) {
      const version = value.versions[0];
      if (version === undefined || version.deleteMarker) continue;
      const key = keyOfRow(id);
      if (roller.isHidden(key)) continue;
      if (entries.length + prefixes.length === limit) {
        answer.next = last as string;
        return answer;
      }
      const common = roller.prefixOf(key);
      roller.current = common;
      last = common ?? key;
      if (common === undefined) {
        const versionId = version.isNull ? NULL_VERSION : version.id;
        entries.push({ key, version, versionId, isLatest: true });
      } else {
        prefixes.push(common);
      }
    }
  }
  return answer;
}
