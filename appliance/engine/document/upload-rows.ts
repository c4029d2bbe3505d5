// Rows of uploads and their parts: names, reads, and what they name. The upload's row is the mutex
// of a multipart upload (C1): open → aborting → aborted, or open → completing → completed (or open
// again).

import { FirnError } from '../../model/errors.ts';
import { objectId } from '../../model/ids.ts';
import type { Bucket } from '../../model/bucket.ts';
import type { Location } from '../../model/location.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { Upload, UploadPart, UploadState } from '../../model/object.ts';
import type { UploadName } from '../../model/requests.ts';
import type { Core } from './core.ts';
import { checkKey, subjectOf } from './names.ts';

const UPLOAD_ID = /^[0-9a-f]{32}$/;
/** Part rows a page; a row is about 400 bytes. */
export const PART_PAGE = 1000;

/** Id of an upload's row: listed in order of keys. */
export function uploadRowId(object: string, uploadId: string): string {
  return `${object}\u0001${uploadId}`;
}

export function partRowId(uploadId: string, number: number): string {
  return `${uploadId}/${String(number).padStart(5, '0')}`;
}

export function noSuchUpload(name: { bucket: string; key: string; uploadId: string }): FirnError {
  return new FirnError(
    'NoSuchUpload',
    'The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.',
    { subject: subjectOf(name), details: { UploadId: name.uploadId } },
  );
}

/** The upload's row in whatever state. NoSuchUpload when there is none. */
export async function readUpload(
  core: Core,
  name: UploadName,
): Promise<{ bucket: Bucket; row: Row<Upload> }> {
  checkKey(name);
  const bucket = await core.buckets.live(name.bucket);
  if (!UPLOAD_ID.test(name.uploadId)) throw noSuchUpload(name);
  const id = uploadRowId(objectId(bucket.id, name.key), name.uploadId);
  const row = await core.context.store.get<Upload>('uploads', id);
  if (row === undefined) throw noSuchUpload(name);
  return { bucket, row };
}

/** True once nothing can be made of the upload's parts any more. */
export function isEnded(state: UploadState | undefined): boolean {
  return state !== 'open' && state !== 'completing';
}

/** Pages of the upload's part rows, by number. */
export async function* partPages(
  store: MetadataStore,
  uploadId: string,
  after = 0,
): AsyncGenerator<Row<UploadPart>[]> {
  let last = partRowId(uploadId, after);
  for (;;) {
    const rows = await store.range<UploadPart>({
      table: 'parts',
      after: last,
      to: `${uploadId}0`,
      limit: PART_PAGE,
    });
    if (rows.length > 0) yield rows;
    if (rows.length < PART_PAGE) return;
    last = (rows.at(-1) as Row<UploadPart>).id;
  }
}

/** Every location of a part's row: the current one and those it replaced (C1). */
export function locationsOfPart(part: UploadPart): Location[] {
  return [part.location, ...part.replaced];
}
