// The beginning of a multipart upload: one row. Nothing of the object exists until it is completed.

import { FirnError } from '../../model/errors.ts';
import { newId, objectId } from '../../model/ids.ts';
import type { Upload } from '../../model/object.ts';
import type { CreateUpload } from '../../model/requests.ts';
import { noSuchBucket } from '../document/bucket-rows.ts';
import type { Core } from '../document/core.ts';
import { newEnvelope, wishOf } from '../bytes/envelope.ts';
import { carried, checkKey, checkMetadata, landingTier } from '../document/names.ts';
import { uploadRowId } from '../document/upload-rows.ts';

/** An open upload, durable on return. A repeat call makes another one. */
export async function createUpload(core: Core, request: CreateUpload): Promise<Upload> {
  const { context } = core;
  checkKey(request);
  checkMetadata(request.metadata);
  landingTier(context, request.storageClass);
  checkChecksumType(request);
  const bucket = await core.buckets.live(request.bucket);
  const { key, checksumAlgorithm, checksumType } = request;
  const upload: Upload = {
    format: 1,
    uploadId: newId(context.random),
    bucketId: bucket.id,
    key,
    state: 'open',
    initiatedAt: context.clock.now(),
    ...carried(request),
  };
  if (checksumAlgorithm !== undefined) upload.checksumAlgorithm = checksumAlgorithm;
  if (checksumType !== undefined) upload.checksumType = checksumType;
  if (request.said !== undefined) upload.said = request.said;
  const object = objectId(bucket.id, key);
  const wish = wishOf(request.encryption, bucket);
  if (wish !== undefined) upload.encryption = (await newEnvelope(context, object, wish)).encryption;
  const id = uploadRowId(object, upload.uploadId);
  const result = await context.store.insert('uploads', id, upload);
  // As A6: a deletion that did not see this row has not begun, or this look sees it.
  const now = await core.buckets.fresh(bucket.name);
  if (now?.value.id === bucket.id && now.value.state === 'live') return upload;
  if (result.outcome === 'done') await context.store.remove('uploads', id, result.revision);
  throw noSuchBucket(bucket.name);
}

function checkChecksumType(request: CreateUpload): void {
  const { checksumAlgorithm, checksumType } = request;
  if (checksumType === undefined) return;
  const fits =
    checksumType === 'FULL_OBJECT'
      ? checksumAlgorithm?.startsWith('CRC') === true
      : checksumAlgorithm !== undefined && checksumAlgorithm !== 'CRC64NVME';
  if (fits) return;
  throw new FirnError(
    'InvalidRequest',
    `The ${checksumType} checksum type cannot be used with the ${checksumAlgorithm ?? 'missing'} checksum algorithm`,
  );
}
