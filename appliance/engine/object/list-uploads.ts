// ListMultipartUploads: uploads that have not ended, in order of keys, those of one key by id.

import { BUCKET_ID_LENGTH, compareUtf8, objectId } from '../../model/ids.ts';
import type { Upload } from '../../model/object.ts';
import type { ListUploadsAnswer, ListUploadsQuery } from '../../model/requests.ts';
import type { Core } from '../document/core.ts';
import {
  Roller,
  boundedKey,
  isImpossiblePrefix,
  pages,
  startBehind,
  type Walk,
} from './list-walk.ts';
import { isEnded, uploadRowId } from '../document/upload-rows.ts';

/** \u0001 and the upload's id. */
const TAIL_LENGTH = 33;
/** Above every upload's id. */
const AFTER_IDS = '~';

/** One page. `afterUploadId` counts only together with `after` (S3). */
export async function listUploads(core: Core, query: ListUploadsQuery): Promise<ListUploadsAnswer> {
  const bucket = await core.buckets.live(query.bucket);
  const { prefix, delimiter, limit } = query;
  const answer: ListUploadsAnswer = { bucket, uploads: [], prefixes: [], next: undefined };
  if (limit <= 0 || isImpossiblePrefix(prefix)) return answer;
  const walk: Walk = { table: 'uploads', bucketId: bucket.id, prefix, delimiter, limit };
  const roller = new Roller(prefix, delimiter);
  if (query.after !== '') {
    const start = startOf(walk, query, roller);
    if (start === undefined) return answer;
    walk.start = start;
  }
  const { uploads, prefixes } = answer;
  let last: ListUploadsAnswer['next'];
  for await (const rows of pages<Upload>(core.context.store, walk, roller)) {
    for (const { id, value } of rows) {
      if (isEnded(value.state)) continue;
      const key = id.slice(BUCKET_ID_LENGTH + 1, -TAIL_LENGTH);
      // A prefix that ends in \u0001 also begins the rows of the key before it.
      if (roller.isHidden(key) || !key.startsWith(prefix)) continue;
      if (uploads.length + prefixes.length === limit) {
        answer.next = last;
        return answer;
      }
      const common = roller.prefixOf(key);
      roller.current = common;
      last = { key: common ?? key, uploadId: common === undefined ? value.uploadId : '' };
      if (common === undefined) uploads.push(value);
      else prefixes.push(common);
    }
  }
  return answer;
}

function startOf(
  walk: Walk,
  query: ListUploadsQuery,
  roller: Roller,
): { from: string } | { after: string } | undefined {
  const { after, afterUploadId, prefix } = query;
  const common = after.startsWith(prefix) ? roller.prefixOf(after) : undefined;
  if (common !== undefined || compareUtf8(after, prefix) < 0) return startBehind(walk, after);
  const object = objectId(walk.bucketId, boundedKey(after));
  const behind = afterUploadId === undefined || afterUploadId === '' ? AFTER_IDS : afterUploadId;
  return { after: uploadRowId(object, behind.slice(0, TAIL_LENGTH)) };
}
