// Moves parts of uploads that have not ended, for a group that is emptied. A part's row names its
// bytes until the upload ends, the replaced ones too (C1, C4), because a Complete that has read the
// row may be about to write their names into the upload. The danger is that Complete: so the old
// location stays in the row until the upload's own row has been written anew. A Complete that read
// before then loses its compare-and-swap and reads again; only behind it the old bytes are listed.

import { locationBirth, objectId } from '../../model/ids.ts';
import type { BlobLocation, Location } from '../../model/location.ts';
import type { Row } from '../../model/metadata-store.ts';
import type { Upload, UploadPart } from '../../model/object.ts';
import type { Core } from '../document/core.ts';
import { listGarbage, listHeals } from '../document/garbage.ts';
import { copyPart, listCopies, type MoveOptions } from './move.ts';
import { SpanReader } from '../bytes/span-reader.ts';
import { isEnded, locationsOfPart, partPages } from '../document/upload-rows.ts';

export interface MovePartsOptions extends Pick<
  MoveOptions,
  'kind' | 'tier' | 'avoidGroups' | 'lease' | 'signal'
> {
  /** Whether bytes at this place are to move. */
  leaves(location: Location): boolean;
}

/**
 * Moves what the rows of an open upload name. Answers the old locations that no row names any more;
 * of an upload that is completing, none. A repeat goes on. Throws as copies do: what was moved
 * stays moved, and a copy that nobody names is listed.
 */
export async function moveUploadParts(
  core: Core,
  upload: Row<Upload>,
  options: MovePartsOptions,
): Promise<Location[]> {
  const { store } = core.context;
  if (upload.value.state !== 'open') return [];
  for await (const rows of partPages(store, upload.value.uploadId)) {
    for (const row of rows) {
      options.signal?.throwIfAborted();
      if (options.leaves(row.value.location)) await movePart(core, upload, row, options);
    }
  }
  // The fence: whoever had read the rows before this can't complete with what they said.
  const fresh = await store.get<Upload>('uploads', upload.id);
  if (fresh?.value.state !== 'open') return [];
  await options.lease.check();
  const { id, revision: expected, value } = fresh;
  const fenced = await store.replace({ table: 'uploads', id, expected, value });
  if (fenced.outcome !== 'done') return [];
  const moved: Location[] = [];
  for await (const rows of partPages(store, upload.value.uploadId)) {
    for (const row of rows) moved.push(...(await dropReplaced(core, upload, row, options)));
  }
  return moved;
}

/** A verified copy takes the place of the part's bytes in its row; the old ones stay named there. */
async function movePart(
  core: Core,
  upload: Row<Upload>,
  row: Row<UploadPart>,
  options: MovePartsOptions,
): Promise<void> {
  const { store, graceMs } = core.context;
  const { bucketId, key } = upload.value;
  const object = objectId(bucketId, key);
  const spans = new SpanReader(core, [], options.signal);
  const copy: BlobLocation = await copyPart(core, { bucketId, key, object }, row.value, {
    ...options,
    spans,
  });
  await listHeals(core.context, [copy]);
  await options.lease.check();
  const value: UploadPart = { ...row.value, location: copy, replaced: locationsOfPart(row.value) };
  const written = await store.replace(
    { table: 'parts', id: row.id, expected: row.revision, value },
    { notAfter: locationBirth(copy.id) + graceMs / 2 },
  );
  if (written.outcome !== 'done') {
    await listCopies(core, [copy], object);
    return;
  }
  // C1, second half: an upload that has ended meanwhile will not look at this row again.
  const standing = await store.get<Upload>('uploads', upload.id);
  if (!isEnded(standing?.value.state)) return;
  const listing = { object, uploadId: upload.value.uploadId, reason: 'lost' } as const;
  await listGarbage(core.context, { locations: locationsOfPart(value), blocks: [] }, listing);
  await store.remove('parts', row.id, written.revision);
}

/** Behind the fence: the row stops naming what was replaced in the places that are emptied. */
async function dropReplaced(
  core: Core,
  upload: Row<Upload>,
  row: Row<UploadPart>,
  options: MovePartsOptions,
): Promise<Location[]> {
  const gone = row.value.replaced.filter((location) => options.leaves(location));
  if (gone.length === 0) return [];
  const { bucketId, key, uploadId } = upload.value;
  const listing = { object: objectId(bucketId, key), uploadId, reason: 'move' } as const;
  const notAfter = await listGarbage(core.context, { locations: gone, blocks: [] }, listing);
  const replaced = row.value.replaced.filter((location) => !options.leaves(location));
  const value: UploadPart = { ...row.value, replaced };
  const change = { table: 'parts', id: row.id, expected: row.revision, value } as const;
  const { outcome } = await core.context.store.replace(change, { notAfter });
  return outcome === 'done' ? gone : [];
}
