// CopyObject. The source is parsed once, and what was parsed is what is authorised and read. A copy
// of an object onto itself is how metadata and storage class are changed; without any change it is
// refused.

import type { CopyObject } from '../../../appliance/model/requests.ts';
import { writeConditionsOf } from '../request/conditions.ts';
import { copySourceOf } from '../access/copy-source.ts';
import { accessOfNewObject } from '../access/new-object.ts';
import { lockOf } from '../access/object-lock.ts';
import { encryptionWishOf, pushWritten, sourceClientKeyOf } from '../request/encryption-headers.ts';
import { timeText } from '../request/listing.ts';
import {
  checksumAlgorithmOf,
  etagHeader,
  metadataOf,
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
import { abortSignalOf } from '../request/abort-signal.ts';
import { checksumXml } from '../request/checksum-xml.ts';
import { element, xmlDocument } from '../xml/write.ts';

async function run(request: OwnedRequest): Promise<Answer> {
  const replacesMetadata = directiveOf(request, 'x-amz-metadata-directive');
  const replacesTags = directiveOf(request, 'x-amz-tagging-directive');
  const from = await copySourceOf(request, { takesTags: !replacesTags });
  const { source, conditions: sourceConditions } = from;
  // Onto itself nothing comes from elsewhere, and tags that stay are no change.
  const isOntoItself =
    source.bucket === request.bucket &&
    source.key === request.key &&
    source.versionId === undefined;
  const judgedTags = isOntoItself ? undefined : from.tags;
  const { owner, acl } = await accessOfNewObject(request);
  const attributes = { ...(await lockOf(request)), ...(acl !== undefined && { acl }) };
  const { headers } = request;
  const conditions = writeConditionsOf(headers);
  const checksumAlgorithm = checksumAlgorithmOf(headers);
  const redirectLocation = storedHeadersOf(headers)['x-amz-website-redirect-location'];
  const encryption = encryptionWishOf(headers);
  const sourceClientKey = sourceClientKeyOf(headers);
  const copy: CopyObject = {
    bucket: request.bucket,
    key: request.key,
    source,
    owner,
    attributes,
    ...(headers['x-amz-storage-class'] !== undefined && { storageClass: storageClassOf(request) }),
    signal: abortSignalOf(request),
    ...(sourceConditions !== undefined && { sourceConditions }),
    ...(conditions !== undefined && { conditions }),
    ...(checksumAlgorithm !== undefined && { checksumAlgorithm }),
    ...(encryption !== undefined && { encryption }),
    ...(sourceClientKey !== undefined && { sourceClientKey }),
    ...(redirectLocation !== undefined && { redirectLocation }),
    ...(judgedTags !== undefined && { replaceTags: { ...judgedTags } }),
    ...(replacesTags && { replaceTags: tagsOf(headers) ?? {} }),
    ...(replacesMetadata && {
      replaceMetadata: { headers: storedHeadersOf(headers), metadata: metadataOf(headers) },
    }),
  };
  const answer = await request.settings.engine.copyObject(copy);
  const answered: string[] = [];
  answered.push(...newVersionIdHeader(answer));
  if (answer.sourceVersionId !== undefined) {
    answered.push('x-amz-copy-source-version-id', answer.sourceVersionId);
  }
  pushExpiration(answered, request, answer);
  const { version } = answer;
  pushWritten(answered, version.encryption, headers);
  return {
    status: 200,
    headers: answered,
    xml: xmlDocument(
      'CopyObjectResult',
      element('LastModified', timeText(version.lastModified)) +
        element('ETag', etagHeader(version.etag)) +
        checksumXml(version.checksum),
    ),
  };
}

/** True for REPLACE. */
function directiveOf(request: OwnedRequest, name: string): boolean {
  const value = request.headers[name] ?? 'COPY';
  if (value === 'REPLACE') return true;
  if (value === 'COPY') return false;
  throw invalidArgument('it must be COPY or REPLACE', name, value);
}

export const copyObject: Operation = {
  name: 'CopyObject',
  method: 'PUT',
  level: 'object',
  copies: true,
  isSlow: true,
  access: 'bucket',
  action: 's3:PutObject',
  run,
};
