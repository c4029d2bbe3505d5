// What GetObject and HeadObject share: which bytes of which version are asked for, and what is said
// of them.

import { FirnError, isFirnError } from '../../../appliance/model/errors.ts';
import { PARTS_MAX } from '../../../appliance/model/limits.ts';
import type { GetObject, HeadAnswer } from '../../../appliance/model/requests.ts';
import { etagOf, rangeOf, readConditionsOf } from './conditions.ts';
import { clientKeyOf, refuseWish } from './encryption-headers.ts';
import { describeVersion, isOverride, pushChecksum } from './object-headers.ts';
import { integerParameter, versionIdOf, type Answer, type S3Request } from './request.ts';

/** Throws InvalidArgument, InvalidRequest, InvalidRange. */
export async function readOf(request: S3Request): Promise<GetObject> {
  const { headers, query } = request;
  const read: GetObject = { bucket: request.bucket, key: request.key, asksKey: true };
  refuseWish(headers);
  const clientKey = clientKeyOf(headers);
  if (clientKey !== undefined) read.clientKey = clientKey;
  const conditions = readConditionsOf(headers);
  if (conditions !== undefined) read.conditions = conditions;
  const range = rangeOf(headers['range']);
  if (range !== undefined) read.range = range;
  if (query.pairs.length > 0) addParameters(request, read);
  if (range !== undefined && headers['if-range'] !== undefined) {
    if (!(await isSame(request, read, headers['if-range']))) delete read.range;
  }
  return read;
}

function addParameters({ query, identity }: S3Request, read: GetObject): void {
  if (identity.kind === 'anonymous' && query.pairs.some(([name]) => isOverride(name))) {
    throw new FirnError(
      'InvalidRequest',
      'Request specific response headers cannot be used for anonymous GET requests.',
    );
  }
  const versionId = versionIdOf(query);
  if (versionId !== undefined) read.versionId = versionId;
  if (!query.has('partNumber')) return;
  if (read.range !== undefined) {
    throw new FirnError('InvalidRequest', 'Cannot specify both Range header and partNumber.');
  }
  read.partNumber = integerParameter(query, 'partNumber', {
    from: 1,
    to: PARTS_MAX,
    otherwise: 1,
  });
}

/** If-Range: a client that goes on with an old object must get all of the new one, not its tail. */
async function isSame(request: S3Request, read: GetObject, ifRange: string): Promise<boolean> {
  const { bucket, key, versionId } = read;
  const { version } = await request.settings.engine.headObject({
    bucket,
    key,
    ...(versionId !== undefined && { versionId }),
  });
  // Bytes of a range are only as good as a strong etag.
  if (ifRange.trim().startsWith('W/')) return false;
  if (etagOf(ifRange) === version.etag) return true;
  return Date.parse(ifRange) === Math.floor(version.lastModified / 1000) * 1000;
}

export function describeRead(request: S3Request, read: GetObject, answer: HeadAnswer): string[] {
  const headers = describeVersion(request, answer);
  const { version } = answer;
  if (read.partNumber !== undefined && version.partCount !== undefined) {
    headers.push('x-amz-mp-parts-count', String(version.partCount));
  }
  if (request.headers['x-amz-checksum-mode'] === 'ENABLED') {
    if (read.partNumber !== undefined && version.partCount !== undefined) {
      // The part's value, and the type that the object's has (S3).
      const { checksum } = version;
      const { partChecksum } = answer;
      if (partChecksum !== undefined) {
        pushChecksum(headers, { ...partChecksum, type: checksum?.type ?? partChecksum.type });
      }
    } else if (!answer.partial) pushChecksum(headers, version.checksum);
  }
  return headers;
}

const OF_NOT_MODIFIED = new Set([
  'ETag',
  'Last-Modified',
  'cache-control',
  'expires',
  'x-amz-version-id',
]);

/** 304 with the headers that a cache needs to go on with what it has; throws any other error. */
export async function notModified(
  request: S3Request,
  read: GetObject,
  error: unknown,
): Promise<Answer> {
  if (!isFirnError(error, 'NotModified')) throw error;
  const { bucket, key, versionId } = read;
  const answer = await request.settings.engine.headObject({
    bucket,
    key,
    ...(versionId !== undefined && { versionId }),
  });
  // What parameters of the request say in their place stands here as in the whole answer.
  const described = describeVersion(request, answer);
  const headers: string[] = [];
  for (let i = 0; i < described.length; i += 2) {
    const name = described[i] as string;
    if (OF_NOT_MODIFIED.has(name)) headers.push(name, described[i + 1] as string);
  }
  return { status: 304, headers };
}
