// GetObjectAttributes: of the five things that can be told about an object those that are asked
// for, in one answer; also of what is archived. Two actions: to read the object, and this one.

import { LIST_KEYS_MAX } from '../../../appliance/model/limits.ts';
import type { Part } from '../../../appliance/model/object.ts';
import type { HeadAnswer } from '../../../appliance/model/requests.ts';
import { authorizeAction, confirmVersion } from '../access/authorize.ts';
import { checksumXml } from '../request/checksum-xml.ts';
import { clientKeyOf } from '../request/encryption-headers.ts';
import { httpDate } from '../request/object-headers.ts';
import { invalidArgument, versionIdHeader, versionIdOf } from '../request/request.ts';
import type { Answer, Operation, OwnedRequest } from '../request/request.ts';
import { element, optional, wrap, xmlDocument } from '../xml/write.ts';

const ATTRIBUTES = ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'] as const;
type Attribute = (typeof ATTRIBUTES)[number];
const NAMES = 'x-amz-object-attributes';
const PAGE = 'x-amz-max-parts';
const MARKER = 'x-amz-part-number-marker';

async function run(request: OwnedRequest): Promise<Answer> {
  const { bucket, key, owned, query, headers, settings } = request;
  const versionId = versionIdOf(query);
  const asked = attributesOf(headers[NAMES]);
  const page = {
    limit: Math.min(wholeNumber(request, PAGE, LIST_KEYS_MAX), LIST_KEYS_MAX),
    after: wholeNumber(request, MARKER, 0),
  };
  const read = versionId === undefined ? 's3:GetObject' : 's3:GetObjectVersion';
  const clientKey = clientKeyOf(headers);
  const answer = await settings.engine.headObject({
    bucket,
    key,
    known: owned,
    asksKey: true,
    asksParts: asked.has('ObjectParts'),
    ...(versionId !== undefined && { versionId }),
    ...(clientKey !== undefined && { clientKey }),
  });
  const { version } = answer;
  await confirmVersion(request, version);
  await authorizeAction(request, read, { bucket: owned, key, versionId, version });
  return {
    status: 200,
    headers: ['Last-Modified', httpDate(version.lastModified), ...versionIdHeader(answer)],
    xml: xmlDocument(
      'GetObjectAttributesResponse',
      (asked.has('ETag') ? element('ETag', version.etag) : '') +
        (asked.has('Checksum') && version.checksum !== undefined
          ? wrap('Checksum', checksumXml(version.checksum))
          : '') +
        (asked.has('ObjectParts') ? partsXml(answer, page) : '') +
        (asked.has('StorageClass') ? element('StorageClass', version.storageClass) : '') +
        (asked.has('ObjectSize') ? element('ObjectSize', version.sizeBytes) : ''),
    ),
  };
}

function attributesOf(header: string | undefined): Set<Attribute> {
  const asked = new Set<Attribute>();
  for (const name of (header ?? '').split(',')) {
    const attribute = ATTRIBUTES.find((known) => known === name.trim());
    if (attribute === undefined) {
      throw invalidArgument('it must name attributes of an object', NAMES, header ?? '');
    }
    asked.add(attribute);
  }
  return asked;
}

function wholeNumber({ headers }: OwnedRequest, name: string, otherwise: number): number {
  const text = headers[name];
  if (text === undefined) return otherwise;
  if (!/^\d{1,10}$/.test(text)) throw invalidArgument('it must be a whole number', name, text);
  return Number(text);
}

/** Only of what was uploaded in parts. */
function partsXml(answer: HeadAnswer, page: { limit: number; after: number }): string {
  const { partCount } = answer.version;
  if (partCount === undefined) return '';
  const { limit, after } = page;
  const behind = (answer.parts ?? []).filter(({ number }) => number > after);
  const shown = behind.slice(0, limit);
  return wrap(
    'ObjectParts',
    element('PartsCount', partCount) +
      element('PartNumberMarker', after) +
      optional('NextPartNumberMarker', shown.at(-1)?.number) +
      element('MaxParts', limit) +
      element('IsTruncated', behind.length > shown.length) +
      shown.map(partXml).join(''),
  );
}

function partXml(part: Part): string {
  return wrap(
    'Part',
    element('PartNumber', part.number) +
      element('Size', part.sizeBytes) +
      checksumXml(part.clientChecksum, false),
  );
}

export const getObjectAttributes: Operation = {
  name: 'GetObjectAttributes',
  method: 'GET',
  level: 'object',
  subresource: 'attributes',
  access: 'bucket',
  action: ({ query }) =>
    query.has('versionId') ? 's3:GetObjectVersionAttributes' : 's3:GetObjectAttributes',
  run,
};
