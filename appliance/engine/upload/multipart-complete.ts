// CompleteMultipartUpload: check the list, write down in the upload what is to be committed, then
// roll forward (multipart-end.ts), which any process can do as well. So a Complete happens once,
// whoever crashes, and a repeated one gets the same answer for 48 h (C2).

import { hash } from 'node:crypto';
import { checksumOfParts, isCrc } from '../../model/checksum.ts';
import { FirnError } from '../../model/errors.ts';
import { newId, newLocationId, objectId } from '../../model/ids.ts';
import {
  OBJECT_BYTES_MAX,
  PARTS_INLINE_MAX,
  PARTS_MAX,
  PART_BYTES_MIN,
} from '../../model/limits.ts';
import type { Bucket } from '../../model/bucket.ts';
import type { Row } from '../../model/metadata-store.ts';
import type {
  Block,
  ChecksumAlgorithm,
  ObjectChecksum,
  ObjectDocument,
  Part,
  Upload,
} from '../../model/object.ts';
import type { CompleteUpload, PutAnswer } from '../../model/requests.ts';
import { needOfObject, withRoom } from '../object/claim-room.ts';
import { insertBlocks } from '../document/commit.ts';
import { checkWrite } from '../document/conditions.ts';
import type { Core } from '../document/core.ts';
import { openEnvelope } from '../bytes/envelope.ts';
import { listGarbage } from '../document/garbage.ts';
import { rollForward, versionOf } from './multipart-end.ts';
import { shownVersionId, subjectOf } from '../document/names.ts';
import { isEnded, noSuchUpload, partPages, readUpload } from '../document/upload-rows.ts';

/**
 * The object made of the parts, durable on return. A repeat call with the same parts answers the
 * same. InvalidPart, InvalidPartOrder, EntityTooSmall, PreconditionFailed leave the upload open.
 */
export async function completeUpload(core: Core, request: CompleteUpload): Promise<PutAnswer> {
  checkList(request);
  for (;;) {
    const { bucket, row } = await readUpload(core, request);
    const upload = row.value;
    await checkClientKey(core, upload, request);
    if (upload.state === 'completed') return repeated(bucket, upload, request);
    if (isEnded(upload.state)) throw noSuchUpload(request);
    if (upload.state === 'completing') {
      // Another Complete, under way or crashed: its end decides.
      await rollForward(core, upload);
      continue;
    }
    const completing = await choose(core, { bucket, upload, request });
    // Its bytes are counted already, as parts.
    const need = needOfObject(core, bucket, { key: request.key, bytes: 0 });
    const end = await withRoom(core, { bucket, need }, async () => {
      const begun = await begin(core, row, completing);
      return begun && rollForward(core, begun);
    });
    if (end === undefined) continue;
    if (end.outcome === 'completed') {
      return { bucket, version: end.version, versionId: shownVersionId(bucket, end.version) };
    }
    if (end.outcome === 'refused') throw end.error;
    throw noSuchUpload(request);
  }
}

/** Who completes an upload under SSE-C brings its key, as for each of its parts. */
async function checkClientKey(
  core: Core,
  { bucketId, key, encryption }: Upload,
  { clientKey }: CompleteUpload,
): Promise<void> {
  if (clientKey === undefined && encryption?.kind !== 'SSE-C') return;
  await openEnvelope(core.context, { object: objectId(bucketId, key), encryption, clientKey });
}

function checkList(request: CompleteUpload): void {
  const { parts } = request;
  if (parts.length === 0 || parts.length > PARTS_MAX) {
    throw new FirnError('MalformedXML', `An upload is completed from 1 to ${PARTS_MAX} parts`);
  }
  for (let i = 1; i < parts.length; i++) {
    if ((parts[i]?.number ?? 0) > (parts[i - 1]?.number ?? 0)) continue;
    throw new FirnError(
      'InvalidPartOrder',
      'The list of parts was not in ascending order. Parts must be ordered by part number.',
      { subject: subjectOf(request) },
    );
  }
}

/** S3's etag of a multipart object: MD5 over the parts' MD5s, and their number. */
function etagOf(etags: readonly string[]): string {
  return `${hash('md5', Buffer.from(etags.join(''), 'hex'))}-${etags.length}`;
}

const plainEtag = (etag: string): string => etag.replaceAll('"', '').toLowerCase();

function repeated(bucket: Bucket, upload: Upload, request: CompleteUpload): PutAnswer {
  const etag = etagOf(request.parts.map((part) => plainEtag(part.etag)));
  if (upload.result?.etag !== etag) throw noSuchUpload(request);
  const version = versionOf(upload, upload.result.versionId);
  return { bucket, version, versionId: shownVersionId(bucket, version) };
}

type Completing = NonNullable<Upload['completing']>;

interface Choosing {
  bucket: Bucket;
  upload: Upload;
  request: CompleteUpload;
}

/** Checks everything that can be checked before anything is written. */
async function choose(core: Core, of: Choosing): Promise<Completing> {
  const { bucket, upload, request } = of;
  const { context } = core;
  const chosen = await chosenParts(core, request);
  const sizeBytes = checkSizes(chosen, request);
  const checksum = checkChecksum(chosen, upload, request);
  const object = objectId(bucket.id, request.key);
  const row = await context.store.get<ObjectDocument>('objects', object);
  checkWrite(request.conditions, row?.value.versions[0], subjectOf(request));
  const completing: Completing = {
    // Begins with the upload's id, so that all of an upload's operations are found and forgotten
    // (C2).
    operation: `${upload.uploadId}-${newId(context.random).slice(0, 16)}`,
    // A part without bytes has nothing that a version could name.
    parts: chosen.filter((part) => part.sizeBytes > 0),
    bucket: bucket.name,
    isNull: bucket.versioning !== 'enabled',
    at: context.clock.now(),
    owner: request.owner,
    sizeBytes,
    etag: etagOf(chosen.map((part) => part.etag)),
    partCount: chosen.length,
  };
  if (checksum !== undefined) completing.checksum = checksum;
  const { ifMatch, ifNoneMatch } = request.conditions ?? {};
  if (ifMatch !== undefined || ifNoneMatch !== undefined) {
    completing.conditions = {};
    if (ifMatch !== undefined) completing.conditions.ifMatch = ifMatch;
    if (ifNoneMatch !== undefined) completing.conditions.ifNoneMatch = ifNoneMatch;
  }
  return completing;
}

async function chosenParts(core: Core, request: CompleteUpload): Promise<Part[]> {
  const wanted = new Map(request.parts.map((part) => [part.number, part]));
  const chosen: Part[] = [];
  for await (const rows of partPages(core.context.store, request.uploadId)) {
    for (const { value } of rows) {
      const asked = wanted.get(value.number);
      if (asked === undefined) continue;
      const sum = asked.checksum;
      const own = value.clientChecksum;
      const differs =
        sum !== undefined && own?.algorithm === sum.algorithm && own.value !== sum.value;
      if (plainEtag(asked.etag) !== value.etag || differs) throw invalidPart(value.number, request);
      wanted.delete(value.number);
      const { number, location, sizeBytes, etag, checksum, nonce } = value;
      const part: Part = { number, location, sizeBytes, etag, checksum };
      if (nonce !== undefined) part.nonce = nonce;
      if (own !== undefined) part.clientChecksum = own;
      chosen.push(part);
    }
  }
  for (const number of wanted.keys()) throw invalidPart(number, request);
  return chosen;
}

function invalidPart(number: number, request: CompleteUpload): FirnError {
  return new FirnError(
    'InvalidPart',
    `One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.`,
    { subject: subjectOf(request), details: { PartNumber: String(number) } },
  );
}

function checkSizes(chosen: readonly Part[], request: CompleteUpload): number {
  let total = 0;
  for (let i = 0; i < chosen.length; i++) {
    const { sizeBytes, number } = chosen[i] as Part;
    total += sizeBytes;
    if (sizeBytes >= PART_BYTES_MIN || i === chosen.length - 1) continue;
    throw new FirnError(
      'EntityTooSmall',
      'Your proposed upload is smaller than the minimum allowed object size.',
      {
        subject: subjectOf(request),
        details: {
          PartNumber: String(number),
          ProposedSize: String(sizeBytes),
          MinSizeAllowed: String(PART_BYTES_MIN),
        },
      },
    );
  }
  if (total > OBJECT_BYTES_MAX) {
    throw new FirnError('EntityTooLarge', 'The object would exceed the maximum allowed size');
  }
  const { objectSize } = request;
  if (objectSize !== undefined && objectSize !== total) {
    throw new FirnError('InvalidRequest', 'x-amz-mp-object-size does not match the parts', {
      subject: subjectOf(request),
    });
  }
  return total;
}

/** The object's checksum from those of its parts; compared with the client's own (BadDigest). */
function checkChecksum(
  chosen: readonly Part[],
  upload: Upload,
  request: CompleteUpload,
): ObjectChecksum | undefined {
  const stated = request.checksum;
  const declared = upload.checksumAlgorithm ?? stated?.algorithm;
  const algorithm = declared ?? commonCrc(chosen);
  if (algorithm === undefined) return undefined;
  const isWhole = declared === undefined || algorithm === 'CRC64NVME';
  const usual = isWhole ? 'FULL_OBJECT' : 'COMPOSITE';
  const type = upload.checksumType ?? request.checksumType ?? stated?.type ?? usual;
  const computed = checksumOfParts(algorithm, type, chosen);
  if (stated === undefined) return computed;
  if (computed === undefined || stated.algorithm !== algorithm) {
    throw new FirnError('InvalidRequest', 'The parts have no checksum to compare with', {
      subject: subjectOf(request),
    });
  }
  // A composite's number of parts is not always sent along.
  if (computed.value === stated.value || computed.value.startsWith(`${stated.value}-`)) {
    return computed;
  }
  throw new FirnError('BadDigest', `The ${algorithm} you specified did not match the parts`, {
    subject: subjectOf(request),
  });
}

/** Where nobody asked for a checksum: the CRC that all parts have, by S3's default or their own. */
function commonCrc(chosen: readonly Part[]): ChecksumAlgorithm | undefined {
  const algorithm = chosen[0]?.clientChecksum?.algorithm;
  if (algorithm === undefined || !isCrc(algorithm)) return undefined;
  const all = chosen.every(({ clientChecksum }) => clientChecksum?.algorithm === algorithm);
  return all ? algorithm : undefined;
}

/** Open → completing (C1). Undefined: the upload was changed meanwhile. */
async function begin(
  core: Core,
  row: Row<Upload>,
  completing: Completing,
): Promise<Upload | undefined> {
  const { context } = core;
  const upload: Upload = { ...row.value, state: 'completing', completing };
  const object = objectId(upload.bucketId, upload.key);
  let block: string | undefined;
  if (completing.parts.length > PARTS_INLINE_MAX) {
    block = newLocationId(context.clock, context.random);
    const value: Block = { format: 1, kind: 'parts', object, parts: completing.parts };
    await insertBlocks(context, [{ id: block, value }]);
    upload.completing = { ...completing, parts: [], partsBlock: block };
  }
  const { outcome } = await context.store.replace({
    table: 'uploads',
    id: row.id,
    expected: row.revision,
    value: upload,
  });
  if (outcome === 'done') return upload;
  if (block !== undefined) {
    await listGarbage(context, { locations: [], blocks: [block] }, { object, reason: 'lost' });
  }
  return undefined;
}
