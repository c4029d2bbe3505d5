// CompleteMultipartUpload: makes one object of the parts listed, once; a repeat answers the same.

import { CHECKSUM_ALGORITHMS, CHECKSUM_HEADERS } from '../../../appliance/model/checksum.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { MiB, PARTS_MAX } from '../../../appliance/model/limits.ts';
import type { ObjectChecksum } from '../../../appliance/model/object.ts';
import type { CompleteUpload } from '../../../appliance/model/requests.ts';
import { checkChecksumValue } from '../body/payload-plan.ts';
import { checksumOfFields, checksumXml, CHECKSUM_ELEMENTS } from '../request/checksum-xml.ts';
import { clientKeyOf, pushEncryption } from '../request/encryption-headers.ts';
import { etagOf, writeConditionsOf } from '../request/conditions.ts';
import { checksumTypeOf, etagHeader, pushExpiration } from '../request/object-headers.ts';
import {
  invalidArgument,
  newVersionIdHeader,
  type Answer,
  type Operation,
  type OwnedRequest,
} from '../request/request.ts';
import { uploadNameOf } from '../request/upload-name.ts';
import { childrenOf, integerOf, malformed, parseXml, textOf } from '../xml/parse.ts';
import type { XmlElement } from '../xml/parse.ts';
import { element, xmlDocument } from '../xml/write.ts';

/** 10,000 parts with their checksums. */
const BODY_BYTES_MAX = 4 * MiB;

async function run(request: OwnedRequest): Promise<Answer> {
  const name = uploadNameOf(request);
  const { bucket, key } = request;
  const whole = wholeOf(request);
  const clientKey = clientKeyOf(request.headers);
  // Checksum headers speak of the object here, not of this body.
  const bytes = await request.payload.gather(BODY_BYTES_MAX, { checksums: 'ignored' });
  const answer = await request.settings.engine.completeUpload({
    ...name,
    ...whole,
    ...(clientKey !== undefined && { clientKey }),
    owner: request.identity.account,
    parts: partsOf(parseXml(bytes, 'CompleteMultipartUpload')),
  });
  const { version } = answer;
  const answered: string[] = [];
  answered.push(...newVersionIdHeader(answer));
  pushExpiration(answered, request, answer);
  pushEncryption(answered, version.encryption, request.headers);
  return {
    status: 200,
    headers: answered,
    xml: xmlDocument(
      'CompleteMultipartUploadResult',
      element('Location', locationOf(request)) +
        element('Bucket', bucket) +
        element('Key', key) +
        element('ETag', etagHeader(version.etag)) +
        checksumXml(version.checksum),
    ),
  };
}

/** The object's URL, by the way that the client came: through a proxy too, and with either style. */
function locationOf({ headers, incoming }: OwnedRequest): string {
  const encrypted = (incoming.socket as { encrypted?: boolean }).encrypted === true;
  const isSecure = encrypted || headers['x-forwarded-proto'] === 'https';
  const path = (incoming.url as string).split('?', 1)[0] as string;
  return `${isSecure ? 'https' : 'http'}://${headers['host']}${path}`;
}

/** What headers say about the whole object. */
function wholeOf({ headers }: OwnedRequest): Partial<CompleteUpload> {
  const conditions = writeConditionsOf(headers);
  const checksumType = checksumTypeOf(headers);
  const checksum = checksumOf(headers, checksumType ?? 'FULL_OBJECT');
  const size = headers['x-amz-mp-object-size'];
  if (size !== undefined && !/^\d{1,15}$/.test(size)) {
    throw invalidArgument('it must be a number of bytes', 'x-amz-mp-object-size', size);
  }
  return {
    ...(conditions !== undefined && { conditions }),
    ...(checksumType !== undefined && { checksumType }),
    ...(checksum !== undefined && { checksum }),
    ...(size !== undefined && { objectSize: Number(size) }),
  };
}

function checksumOf(
  headers: OwnedRequest['headers'],
  type: ObjectChecksum['type'],
): ObjectChecksum | undefined {
  const found = CHECKSUM_ALGORITHMS.filter(
    (algorithm) => headers[CHECKSUM_HEADERS[algorithm]] !== undefined,
  );
  const algorithm = found[0];
  if (algorithm === undefined) return undefined;
  if (found.length > 1) throw new FirnError('InvalidRequest', 'Expecting a single checksum.');
  const value = headers[CHECKSUM_HEADERS[algorithm]] as string;
  const [sum, count] = value.split('-', 2) as [string, string | undefined];
  checkChecksumValue(algorithm, sum);
  return { algorithm, type: count === undefined ? type : 'COMPOSITE', value };
}

function partsOf(root: XmlElement): CompleteUpload['parts'] {
  const parts = childrenOf(root, [], ['Part']).all('Part');
  if (parts.length === 0) throw malformed('there must be at least one part');
  if (parts.length > PARTS_MAX) {
    throw invalidArgument(`at most ${PARTS_MAX} parts`, 'parts', String(parts.length));
  }
  const asked: CompleteUpload['parts'] = [];
  for (const part of parts) {
    const fields = childrenOf(part, ['PartNumber', 'ETag', ...CHECKSUM_ELEMENTS]);
    const number = integerOf(fields.one('PartNumber'));
    const etag = textOf(fields.one('ETag'));
    if (number === undefined || etag === undefined) {
      throw malformed('a part must have PartNumber and ETag');
    }
    if (number < 1 || number > PARTS_MAX) {
      throw invalidArgument('it must be 1 to 10000', 'PartNumber', String(number));
    }
    const previous = asked.at(-1)?.number ?? 0;
    if (number < previous) {
      throw new FirnError('InvalidPartOrder', 'The list of parts was not in ascending order.');
    }
    // A part that was sent twice and noted down twice: as with the bytes, the last one counts.
    if (number === previous) asked.pop();
    const checksum = checksumOfFields(fields);
    asked.push({ number, etag: etagOf(etag), ...(checksum !== undefined && { checksum }) });
  }
  return asked;
}

export const completeMultipartUpload: Operation = {
  name: 'CompleteMultipartUpload',
  method: 'POST',
  level: 'object',
  subresource: 'uploadId',
  isSlow: true,
  access: 'bucket',
  action: 's3:PutObject',
  run,
};
