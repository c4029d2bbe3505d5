// UploadPart, UploadPartCopy and ListParts. A part's row is written only under an open upload, and
// the upload is looked at again behind it (C1). The danger: a part that arrives while the upload
// ends, and whose bytes then nobody names and nobody frees, or that is freed while the object names
// it.

import { FirnError, isInDoubt } from '../../model/errors.ts';
import { locationBirth, objectId } from '../../model/ids.ts';
import { PARTS_MAX, PUT_BYTES_MAX } from '../../model/limits.ts';
import { DEFAULT_CHECKSUM, newChecksum, type RunningChecksum } from '../../model/checksum.ts';
import type { Bucket } from '../../model/bucket.ts';
import type { BlobLocation } from '../../model/location.ts';
import type { CommitResult, Row } from '../../model/metadata-store.ts';
import type { Upload, UploadPart } from '../../model/object.ts';
import type {
  ListPartsAnswer,
  PartAnswer,
  PutPart,
  ReadConditions,
  UploadName,
  VersionName,
} from '../../model/requests.ts';
import type { Body, ByteRange } from '../../model/tier.ts';
import { withinRoom, withRoom, type Need } from '../object/claim-room.ts';
import { checkCopySource } from '../document/conditions.ts';
import type { Core } from '../document/core.ts';
import { openEnvelope, type NewEnvelope } from '../bytes/envelope.ts';
import { findObject, requireOnline } from '../object/get.ts';
import { listGarbage, listHeals } from '../document/garbage.ts';
import { landingTier, shownVersionId, subjectOf } from '../document/names.ts';
import type { Claim } from '../document/quota-meter.ts';
import { readVersion } from '../object/read-version.ts';
import { storeBytes } from '../bytes/store-bytes.ts';
import {
  PART_PAGE,
  isEnded,
  locationsOfPart,
  noSuchUpload,
  partRowId,
  readUpload,
  uploadRowId,
} from '../document/upload-rows.ts';

/**
 * The part, durable on return. A repeat call with the same number replaces it. InvalidRequest
 * without the client's key that the upload was begun with.
 */
export async function putPart(core: Core, request: PutPart): Promise<PartAnswer> {
  const { number } = request;
  if (!Number.isInteger(number) || number < 1 || number > PARTS_MAX) {
    throw new FirnError(
      'InvalidArgument',
      `Part number must be an integer between 1 and ${PARTS_MAX}, inclusive`,
      { details: { ArgumentName: 'partNumber', ArgumentValue: String(number) } },
    );
  }
  const { bucket, row } = await readUpload(core, request);
  if (row.value.state !== 'open') throw noSuchUpload(request);
  const { body, sizeBytes } = request;
  const known = body instanceof Uint8Array ? body.length : sizeBytes;
  const need: Need = {
    bytes: known ?? 0,
    objects: 0,
    async replaces() {
      const id = partRowId(request.uploadId, number);
      const old = await core.context.store.get<UploadPart>('parts', id);
      return { bytes: old?.value.sizeBytes ?? 0, objects: 0 };
    },
  };
  return withRoom(core, { bucket, need }, (claim) => {
    const claimed = known === undefined ? claim : undefined;
    return storePart(core, request, { bucket, upload: row.value, claimed });
  });
}

async function storePart(
  core: Core,
  request: PutPart,
  of: { bucket: Bucket; upload: Upload; claimed: Claim | undefined },
): Promise<PartAnswer> {
  const { context } = core;
  const { bucket, upload } = of;
  const { key, sizeBytes, contentMd5, signal, number } = request;
  const object = objectId(bucket.id, key);
  const envelope = await envelopeOf(core, upload, request);
  const summed = new SummedBody(upload, request);
  const { stored, ...bytes } = await storeBytes(context, {
    tier: landingTier(context, upload.storageClass),
    bucketId: bucket.id,
    key,
    body: of.claimed === undefined ? summed.body : withinRoom(summed.body, of.claimed),
    sizeBytes,
    contentMd5,
    signal,
    keepsEmpty: true,
    envelope,
  });
  if (stored === undefined) throw new FirnError('InternalError', 'a part without a place');
  const { location, checksum } = stored;
  const part: UploadPart = {
    format: 1,
    uploadId: request.uploadId,
    number,
    location,
    sizeBytes: bytes.sizeBytes,
    etag: bytes.etag,
    checksum,
    lastModified: context.clock.now(),
    replaced: [],
  };
  if (bytes.nonce !== undefined) part.nonce = bytes.nonce;
  const clientChecksum = summed.checksum();
  if (clientChecksum !== undefined) part.clientChecksum = clientChecksum;
  const written = await writePart(core, { part, location, object, bucket });
  await requireStanding(core, { ...request, object, written, bucketRow: bucket });
  if (envelope === undefined) return written.value;
  return { ...written.value, encryption: envelope.encryption };
}

/** All parts of an upload are sealed by its one data key. */
async function envelopeOf(
  core: Core,
  { bucketId, key, encryption }: Upload,
  { clientKey, asksEncryption }: PutPart,
): Promise<NewEnvelope | undefined> {
  if (encryption === undefined && asksEncryption === true) {
    throw new FirnError('InvalidArgument', 'The upload was begun without encryption.');
  }
  if (encryption === undefined && clientKey === undefined) return undefined;
  const object = objectId(bucketId, key);
  const dataKey = await openEnvelope(core.context, { object, encryption, clientKey });
  return encryption && dataKey && { encryption, dataKey };
}

/**
 * A part's checksum: of the kind that the upload asks for, else the client's own, else S3's default
 * (an upload of FULL_OBJECT type combines them).
 */
class SummedBody {
  readonly body: Body;
  readonly #request: PutPart;
  readonly #running: RunningChecksum | undefined;

  constructor(upload: Upload, request: PutPart) {
    this.#request = request;
    const own = request.checksumAlgorithm;
    const wanted = upload.checksumAlgorithm ?? own ?? DEFAULT_CHECKSUM;
    this.#running = wanted === own ? undefined : newChecksum(wanted);
    this.body =
      this.#running === undefined || request.body instanceof Uint8Array
        ? request.body
        : summing(request.body, this.#running);
  }

  /** After the body has ended. */
  checksum(): UploadPart['clientChecksum'] {
    const running = this.#running;
    if (running === undefined) return this.#request.checksum?.();
    if (this.#request.body instanceof Uint8Array) running.update(this.#request.body);
    return { algorithm: running.algorithm, type: 'FULL_OBJECT', value: running.digest() };
  }
}

async function* summing(
  body: AsyncIterable<Uint8Array>,
  running: RunningChecksum,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    running.update(chunk);
    yield chunk;
  }
}

interface NewPart {
  part: UploadPart;
  location: BlobLocation;
  object: string;
  bucket: Bucket;
}

/** Inserts the part's row or replaces it; a replaced part's location stays in the row (C1). */
async function writePart(core: Core, made: NewPart): Promise<Row<UploadPart>> {
  const { store, graceMs } = core.context;
  const { part, location } = made;
  const id = partRowId(part.uploadId, part.number);
  // B3: a row names only what is young.
  const options = { notAfter: locationBirth(location.id) + graceMs / 2 };
  try {
    await listHeals(core.context, [location]);
    for (;;) {
      const old = await store.get<UploadPart>('parts', id);
      let value = part;
      let result: CommitResult;
      if (old === undefined) {
        result = await store.insert('parts', id, value, options);
      } else {
        value = { ...part, replaced: locationsOfPart(old.value) };
        const expected = old.revision;
        result = await store.replace({ table: 'parts', id, expected, value }, options);
      }
      if (result.outcome === 'done') {
        const bytes = part.sizeBytes - (old?.value.sizeBytes ?? 0);
        await core.quotas.note(made.bucket, { bytes, objects: 0 });
        return { id, revision: result.revision, value };
      }
      if (result.outcome === 'expired') {
        throw new FirnError('RequestTimeout', 'the part took longer than half a grace to arrive');
      }
    }
  } catch (error) {
    // In doubt it may be named: left to the sweep (B6).
    if (!isInDoubt(error)) await release(core, made, [location]);
    throw error;
  }
}

async function release(
  core: Core,
  of: { object: string; part: { uploadId: string } },
  locations: UploadPart['replaced'],
): Promise<void> {
  const { object } = of;
  const listing = { object, uploadId: of.part.uploadId, reason: 'lost' } as const;
  await listGarbage(core.context, { locations, blocks: [] }, listing);
}

/** C1, second half: an upload that has ended meanwhile will not look at this row again. */
async function requireStanding(
  core: Core,
  written: UploadName & { object: string; written: Row<UploadPart>; bucketRow: Bucket },
): Promise<void> {
  const { store } = core.context;
  const { object, uploadId } = written;
  const upload = await store.get<Upload>('uploads', uploadRowId(object, uploadId));
  if (!isEnded(upload?.value.state)) return;
  const row = written.written;
  await release(core, { object, part: row.value }, locationsOfPart(row.value));
  const { outcome } = await store.remove('parts', row.id, row.revision);
  if (outcome === 'done') {
    await core.quotas.note(written.bucketRow, { bytes: -row.value.sizeBytes, objects: 0 });
  }
  throw noSuchUpload(written);
}

export interface CopyPart extends UploadName {
  number: number;
  source: VersionName;
  range?: ByteRange;
  sourceConditions?: ReadConditions;
  signal?: AbortSignal;
  /** SSE-C: the keys of the upload and of the source. */
  clientKey?: Uint8Array;
  sourceClientKey?: Uint8Array;
  asksEncryption?: boolean;
}

/** A part made of another object's bytes. InvalidRange when the range is not within them. */
export async function copyPart(core: Core, request: CopyPart): Promise<PartAnswer> {
  const { source, range, sourceConditions, sourceClientKey, ...name } = request;
  // Before the source is opened: nobody would close it.
  const { row } = await readUpload(core, request);
  if (row.value.state !== 'open') throw noSuchUpload(request);
  const { bucket, object, version, parts } = await findObject(core, source, { parts: true });
  checkCopySource(sourceConditions, version, subjectOf(source));
  const fromCopy = requireOnline(core.context, version, subjectOf(source));
  const wanted = range ?? { offset: 0, length: version.sizeBytes };
  if (wanted.offset < 0 || wanted.offset + wanted.length > version.sizeBytes) {
    throw new FirnError('InvalidRange', 'The specified copy range is invalid for the source', {
      subject: subjectOf(source),
      details: { ActualObjectSize: String(version.sizeBytes) },
    });
  }
  if (wanted.length > PUT_BYTES_MAX) {
    throw new FirnError('InvalidRequest', 'The specified copy source is larger than the maximum');
  }
  const { encryption } = version;
  const sealed = { object, encryption, clientKey: sourceClientKey };
  const dataKey = await openEnvelope(core.context, sealed);
  const { signal } = request;
  const reading = { object, version, parts, fromCopy, dataKey, range: wanted, signal };
  const body = await readVersion(core, reading);
  let answer: PartAnswer;
  try {
    answer = await putPart(core, { ...name, body, sizeBytes: wanted.length });
  } catch (error) {
    await endUnread(body);
    throw error;
  }
  const sourceVersionId = shownVersionId(bucket, version);
  return sourceVersionId === undefined ? answer : { ...answer, sourceVersionId };
}

/** A stream that nobody has begun to read holds its source open; once begun, it can be ended. */
async function endUnread(body: Body): Promise<void> {
  if (body instanceof Uint8Array) return;
  const source = body[Symbol.asyncIterator]();
  await source.next().catch(() => undefined);
  await source.return?.();
}

/** Parts of an open upload above the number `after`. */
export async function listParts(
  core: Core,
  query: UploadName & { after: number; limit: number },
): Promise<ListPartsAnswer> {
  const { row } = await readUpload(core, query);
  if (isEnded(row.value.state)) throw noSuchUpload(query);
  const limit = Math.min(query.limit, PART_PAGE);
  if (limit <= 0) return { upload: row.value, parts: [], next: undefined };
  const after = Math.min(Math.max(query.after, 0), 99_999);
  const rows = await core.context.store.range<UploadPart>({
    table: 'parts',
    after: partRowId(query.uploadId, after),
    to: `${query.uploadId}0`,
    limit: limit + 1,
  });
  const parts = rows.slice(0, limit).map(({ value }) => value);
  return { upload: row.value, parts, next: rows.length > limit ? parts.at(-1)?.number : undefined };
}
