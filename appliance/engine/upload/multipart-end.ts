// How a multipart upload ends: rolled forward to its object, or aborted; then its parts' rows go
// and what nobody names is listed (C4). Every step may be taken by several processes and after any
// crash. The dangers, each met by the model before it was met here: a second roll-forward that
// undoes an acknowledged DELETE (C2), 412 answered and the object committed all the same (C3), an
// abort that frees what a Complete has just named (C1).

import type { Bucket } from '../../model/bucket.ts';
import { FirnError, isFirnError } from '../../model/errors.ts';
import { afterPrefix, objectId } from '../../model/ids.ts';
import { UPLOAD_KEPT_MS } from '../../model/limits.ts';
import { minus, NOTHING, type Amount } from '../../model/quota.ts';
import type { Location } from '../../model/location.ts';
import type { Change, Row } from '../../model/metadata-store.ts';
import type { Block, Upload, Version } from '../../model/object.ts';
import type { UploadName } from '../../model/requests.ts';
import { commitObject } from '../document/commit.ts';
import { checkWrite } from '../document/conditions.ts';
import { confirmBucket } from '../document/confirm-bucket.ts';
import type { Core } from '../document/core.ts';
import type { Draft } from '../document/draft.ts';
import { emitEvent } from '../event/events.ts';
import { listGarbage } from '../document/garbage.ts';
import { carried } from '../document/names.ts';
import { withDefaultRetention } from '../document/protection.ts';
import {
  locationsOfPart,
  noSuchUpload,
  partPages,
  readUpload,
  uploadRowId,
} from '../document/upload-rows.ts';
import { putOnTop } from '../document/versions.ts';

type Completing = NonNullable<Upload['completing']>;

export type RolledForward =
  | { outcome: 'completed'; version: Version }
  /** A condition was false: the upload is open again (C3). */
  | { outcome: 'refused'; error: FirnError }
  /** The upload is not completing (any more), or its bucket is gone. */
  | { outcome: 'ended' };

const REFUSED = 'refused';

function rowIdOf(upload: Upload): string {
  return uploadRowId(objectId(upload.bucketId, upload.key), upload.uploadId);
}

/** The version that the upload makes, or made; without its parts once it is completed. */
export function versionOf(upload: Upload, versionId: string): Version {
  const { isNull } = upload.completing as Completing;
  return { ...fieldsOf(upload), id: versionId, isNull };
}

function fieldsOf(upload: Upload): Omit<Version, 'id' | 'isNull'> {
  const completing = upload.completing as Completing;
  const { at, sizeBytes, etag, parts, partsBlock, partCount, checksum, operation } = completing;
  const version: Omit<Version, 'id' | 'isNull'> = {
    ...carried(upload),
    ...(upload.encryption !== undefined && { encryption: upload.encryption }),
    deleteMarker: false,
    lastModified: at,
    sizeBytes,
    etag,
    parts,
    partCount,
    operation,
  };
  if (partsBlock !== undefined) version.partsBlock = partsBlock;
  if (checksum !== undefined) version.checksum = checksum;
  return version;
}

/**
 * Brings a completing upload to its end, by its Complete or by whoever finds it: idempotent, and
 * safe beside others that do the same. Throws MetadataUnavailable in doubt; a repeat call then goes
 * on.
 */
export async function rollForward(core: Core, known: Upload): Promise<RolledForward> {
  const { store, clock, graceMs } = core.context;
  // The upload stands now, so it and its recorded operation stand for 48 h: time enough (B3, C2).
  const heldUntil = clock.now() + graceMs / 2;
  const row = await store.get<Upload>('uploads', rowIdOf(known));
  const completing = row?.value.completing;
  if (row === undefined || completing === undefined) return { outcome: 'ended' };
  if (row.value.state === 'completed') {
    const version = versionOf(row.value, row.value.result?.versionId ?? '');
    return { outcome: 'completed', version };
  }
  if (row.value.state !== 'completing') return { outcome: 'ended' };
  const upload = row.value;
  const bucket = await core.buckets.fresh(completing.bucket);
  if (bucket?.value.id !== upload.bucketId) {
    await endAborted(core, row, undefined);
    return { outcome: 'ended' };
  }
  const object = objectId(upload.bucketId, upload.key);
  const subject = `${completing.bucket}/${upload.key}`;
  // It may have lain here since a crash: a null version that was put under protection meanwhile is
  // not replaced any more.
  const isNull = completing.isNull && bucket.value.versioning !== 'enabled';
  const committed = await commitObject(core, {
    object,
    reason: 'overwrite',
    heldUntil,
    change: (draft) => decide(draft, { upload, bucket: bucket.value, subject, isNull }),
  });
  const { answer } = committed;
  if (answer.refused !== undefined) {
    await reopen(core, row);
    return { outcome: 'refused', error: answer.refused };
  }
  const { versionId } = answer;
  try {
    // Never undone: another roller may have found the commit of this one and answered the client.
    const confirming = { bucket: bucket.value, object, created: false, versionId };
    await confirmBucket(core, confirming);
  } catch (error) {
    if (!isFirnError(error, 'NoSuchBucket')) throw error;
    // What was committed was taken back as any write is, and noted so.
    await core.quotas.note(bucket.value, committed.growth);
    await endAborted(core, row, bucket.value);
    return { outcome: 'ended' };
  }
  const made: Upload = { ...upload, completing: { ...completing, isNull: answer.isNull } };
  const version = versionOf(made, versionId);
  // Before the upload has ended: who takes it up from here tells again, so no answer is untold.
  if (answer.isThere) {
    const name = { bucket: bucket.value, key: upload.key };
    await emitEvent(core.context, 's3:ObjectCreated:CompleteMultipartUpload', { ...name, version });
  }
  const removed = await endCompleted(core, { ...row, value: made }, versionId);
  // Together: it was counted as parts until now, and never counts twice.
  await core.quotas.note(bucket.value, minus(committed.growth, removed));
  return { outcome: 'completed', version };
}

/**
 * Commits the version unless this operation was decided before; records what was decided (C2, C3).
 */
async function decide(
  draft: Draft,
  of: { upload: Upload; bucket: Bucket; subject: string; isNull: boolean },
): Promise<{ versionId: string; isNull: boolean; isThere: boolean; refused?: FirnError }> {
  const { upload, bucket, subject, isNull } = of;
  const { operation, conditions } = upload.completing as Completing;
  const before = draft.operation(operation);
  const none = { versionId: '', isNull, isThere: false };
  if (before === REFUSED) return { ...none, refused: refusal(undefined, subject) };
  if (before !== undefined) {
    const made = await draft.findById(before);
    return { versionId: before, isNull: made?.isNull ?? isNull, isThere: made !== undefined };
  }
  try {
    checkWrite(conditions, draft.current, subject);
  } catch (error) {
    if (!isFirnError(error)) throw error;
    draft.record(operation, REFUSED);
    return { ...none, refused: refusal(error, subject) };
  }
  const made = withDefaultRetention(bucket, fieldsOf(upload));
  const version = await putOnTop(draft, isNull ? 'off' : 'enabled', made);
  draft.record(operation, version.id);
  return { versionId: version.id, isNull, isThere: true };
}

function refusal(error: FirnError | undefined, subject: string): FirnError {
  const message = 'At least one of the pre-conditions you specified did not hold';
  return error ?? new FirnError('PreconditionFailed', message, { subject });
}

/** Completing → open, after the refusal is recorded (C3). The block is listed first (B1). */
async function reopen(core: Core, row: Row<Upload>): Promise<void> {
  const { completing, ...upload } = row.value;
  await listBlock(core, row.value, completing?.partsBlock);
  await swapUpload(core, row, { ...upload, state: 'open' });
}

async function listBlock(core: Core, upload: Upload, block: string | undefined): Promise<void> {
  if (block === undefined) return;
  const object = objectId(upload.bucketId, upload.key);
  const { uploadId } = upload;
  const listing = { object, uploadId, reason: 'upload' } as const;
  await listGarbage(core.context, { locations: [], blocks: [block] }, listing);
}

/** False: another process has changed the row; it, or the next look, goes on from there. */
async function swapUpload(core: Core, row: Row<Upload>, value: Upload): Promise<boolean> {
  const { id, revision } = row;
  const change = { table: 'uploads', id, expected: revision, value } as const;
  return (await core.context.store.replace(change)).outcome === 'done';
}

/** As dropParts; nothing where somebody else has ended the upload. */
async function endCompleted(core: Core, row: Row<Upload>, versionId: string): Promise<Amount> {
  const upload = row.value;
  const { partsBlock, parts, ...completing } = upload.completing as Completing;
  const kept = new Set(parts.map((part) => part.location.id));
  if (partsBlock !== undefined) {
    const block = await core.context.store.get<Block>('blocks', partsBlock);
    const named = block?.value.kind === 'parts' ? block.value.parts : [];
    for (const part of named) kept.add(part.location.id);
  }
  const ended: Upload = {
    ...upload,
    state: 'completed',
    endedAt: core.context.clock.now(),
    completing: { ...completing, parts: [] },
    result: { versionId, etag: completing.etag },
  };
  return (await swapUpload(core, row, ended)) ? dropParts(core, ended, kept) : NOTHING;
}

/**
 * Open or completing → aborting → aborted; its parts are listed in between. Without a bucket its
 * quotas hear of it when they are counted next.
 */
async function endAborted(core: Core, row: Row<Upload>, bucket: Bucket | undefined): Promise<void> {
  const { completing, ...upload } = row.value;
  // Its parts are those of the rows; its block is named by nobody else.
  await listBlock(core, row.value, completing?.partsBlock);
  const aborting: Upload = { ...upload, state: 'aborting', endedAt: core.context.clock.now() };
  if (!(await swapUpload(core, row, aborting))) return;
  await finishAbort(core, aborting, bucket);
}

async function finishAbort(core: Core, upload: Upload, bucket: Bucket | undefined): Promise<void> {
  const removed = await dropParts(core, upload);
  if (bucket !== undefined) await core.quotas.note(bucket, minus(NOTHING, removed));
  const row = await core.context.store.get<Upload>('uploads', rowIdOf(upload));
  if (row?.value.state !== 'aborting') return;
  await swapUpload(core, row, { ...row.value, state: 'aborted' });
}

/**
 * Lists what the rows of an ended upload name, replaced parts too, less what the version names
 * (C4), and removes the rows. Listing what a document names would be harmless (B4), and 10,000 rows
 * for nothing. Answers how much the rows held that this call removed: quotas count a row from its
 * writing to its removal, whatever becomes of its bytes.
 */
async function dropParts(
  core: Core,
  upload: Upload,
  kept: ReadonlySet<string> = new Set(),
): Promise<Amount> {
  const { context } = core;
  const object = objectId(upload.bucketId, upload.key);
  const { uploadId } = upload;
  let bytes = 0;
  for await (const rows of partPages(context.store, uploadId)) {
    const locations: Location[] = [];
    const removals: Change[] = [];
    for (const { id, revision, value } of rows) {
      removals.push({ kind: 'remove', table: 'parts', id, expected: revision });
      for (const location of locationsOfPart(value)) {
        if (!kept.has(location.id)) locations.push(location);
      }
    }
    const listing = { object, uploadId, reason: 'upload' } as const;
    if (locations.length > 0) await listGarbage(context, { locations, blocks: [] }, listing);
    // A row that changed meanwhile is its writer's to list and remove (C1).
    const results = await context.store.bulk(removals);
    for (const [i, { value }] of rows.entries()) {
      if (results[i]?.outcome === 'done') bytes += value.sizeBytes;
    }
  }
  return { bytes, objects: 0 };
}

/** Ends an open upload. NoSuchUpload when it has ended, also by a Complete that was under way. */
export async function abortUpload(core: Core, name: UploadName): Promise<void> {
  for (;;) {
    const { bucket, row } = await readUpload(core, name);
    switch (row.value.state) {
      case 'open':
        await endAborted(core, row, bucket);
        break;
      case 'completing':
        await rollForward(core, row.value);
        continue;
      case 'aborting':
        await finishAbort(core, row.value, bucket);
        return;
      case 'completed':
      case 'aborted':
        throw noSuchUpload(name);
    }
    const now = await core.context.store.get<Upload>('uploads', row.id);
    if (now?.value.state === 'aborted' || now === undefined) return;
  }
}

/**
 * For workers: takes an upload from wherever a crash left it to where it belongs. Open ones stay
 * open; 48 h after its end its operations are forgotten, then its row goes (C2). True: the row is
 * gone.
 */
export async function settleUpload(core: Core, row: Row<Upload>): Promise<boolean> {
  const upload = row.value;
  const { store, clock } = core.context;
  if (upload.state === 'open') return false;
  if (upload.state === 'completing') {
    await rollForward(core, upload);
    return false;
  }
  if (upload.state === 'aborting') await finishAbort(core, upload, undefined);
  // Rows that a crash between the end and this left behind; all are listed: what is named stays
  // (B4).
  else await dropParts(core, upload);
  if (upload.state === 'aborting' || clock.now() < (upload.endedAt ?? 0) + UPLOAD_KEPT_MS) {
    return false;
  }
  await commitObject(core, {
    object: objectId(upload.bucketId, upload.key),
    reason: 'upload',
    change: (draft) => draft.forgetOperationsOf(upload.uploadId),
  });
  return (await store.remove('uploads', row.id, row.revision)).outcome === 'done';
}

/** Ends every upload of a bucket that is being deleted (A6). */
export async function endUploadsOf(core: Core, bucket: Bucket): Promise<void> {
  const from = `${bucket.id}/`;
  const to = afterPrefix(from) as string;
  let after: string | undefined;
  for (;;) {
    const rows = await core.context.store.range<Upload>({
      table: 'uploads',
      ...(after === undefined ? { from } : { after }),
      to,
      limit: 100,
    });
    for (const row of rows) {
      if (row.value.state === 'open') await endAborted(core, row, bucket);
      else if (row.value.state === 'completing') await rollForward(core, row.value);
    }
    const last = rows.at(-1);
    if (last === undefined) return;
    after = last.id;
  }
}
