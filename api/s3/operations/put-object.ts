// PutObject: the hot path of writes. A body up to 256 KiB reaches the engine whole and verified, a
// larger one as a stream that throws before its last piece if anything about it is wrong.

import type { PutObject } from '../../../appliance/model/requests.ts';
import { letGo } from '../body/let-go.ts';
import { accessOfNewObject, type NewAccess } from '../access/new-object.ts';
import { lockOf } from '../access/object-lock.ts';
import { writeConditionsOf } from '../request/conditions.ts';
import { encryptionWishOf, pushWritten } from '../request/encryption-headers.ts';
import {
  etagHeader,
  metadataOf,
  pushChecksum,
  pushExpiration,
  storageClassOf,
  storedHeadersOf,
  tagsOf,
} from '../request/object-headers.ts';
import {
  invalidArgument,
  newVersionIdHeader,
  type Answer,
  type Operation,
  type OwnedRequest,
} from '../request/request.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const { headers, query } = request;
  for (const name of ['partNumber', 'versionId']) {
    const value = query.get(name);
    if (value !== undefined) throw invalidArgument(`${name} has no place here`, name, value);
  }
  const access = await accessOfNewObject(request);
  const put = Object.assign(newVersionOf(request, access), await lockOf(request));
  const conditions = writeConditionsOf(headers);
  if (conditions !== undefined) put.conditions = conditions;
  const { body, sizeBytes, contentMd5, checksum } = await request.payload.open();
  if (request.form !== undefined) put.event = 's3:ObjectCreated:Post';
  put.body = body;
  // Whole, and the bucket looked at since: by whoever let it in, or after the body was waited for.
  if (body instanceof Uint8Array) put.known = request.owned;
  put.checksum = checksum;
  if (sizeBytes !== undefined) put.sizeBytes = sizeBytes;
  if (contentMd5 !== undefined) put.contentMd5 = contentMd5;
  const answer = await request.settings.engine.putObject(put);
  // Only of one that is stored: who gave up may have left it with a drive's queue.
  if (body instanceof Uint8Array) letGo(body);
  const answered = ['ETag', etagHeader(answer.version.etag)];
  answered.push(...newVersionIdHeader(answer));
  pushChecksum(answered, answer.version.checksum);
  pushWritten(answered, answer.version.encryption, headers);
  pushExpiration(answered, request, answer);
  return { status: 200, headers: answered };
}

const NOTHING = new Uint8Array(0);

function newVersionOf(request: OwnedRequest, { owner, acl }: NewAccess): PutObject {
  const { headers } = request;
  const put: PutObject = {
    bucket: request.bucket,
    key: request.key,
    owner,
    storageClass: storageClassOf(request),
    headers: storedHeadersOf(headers),
    metadata: metadataOf(headers),
    body: NOTHING,
  };
  if (acl !== undefined) put.acl = acl;
  const tags = tagsOf(headers);
  if (tags !== undefined) put.tags = tags;
  const encryption = encryptionWishOf(headers);
  if (encryption !== undefined) put.encryption = encryption;
  return put;
}

export const putObject: Operation = {
  name: 'PutObject',
  method: 'PUT',
  level: 'object',
  access: 'bucket',
  action: 's3:PutObject',
  run,
};
