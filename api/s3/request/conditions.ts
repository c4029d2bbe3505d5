// Ranges and preconditions, read from headers. HTTP says of most malformed ones: as if they weren't
// there. A precondition that a writer meant and we can't read is refused instead.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { ReadConditions, WriteConditions } from '../../../appliance/model/requests.ts';
import type { ByteRange } from '../../../appliance/model/tier.ts';
import { invalidArgument } from './request.ts';
import type { RequestHeaders } from '../input/request-headers.ts';

/** Without quotes and the mark of a weak one; a list of several stays as it came. */
export function etagOf(text: string): string {
  const trimmed = text.trim();
  if (trimmed.includes(',')) return trimmed;
  const strong = trimmed.startsWith('W/') ? trimmed.slice(2) : trimmed;
  return strong.length > 1 && strong.startsWith('"') && strong.endsWith('"')
    ? strong.slice(1, -1)
    : strong;
}

function dateOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}

const READ_NAMES = {
  ifMatch: 'if-match',
  ifNoneMatch: 'if-none-match',
  ifModifiedSince: 'if-modified-since',
  ifUnmodifiedSince: 'if-unmodified-since',
} as const;
const COPY_PREFIX = 'x-amz-copy-source-';

/** `prefix` before each name: x-amz-copy-source- for the source of a copy. */
export function readConditionsOf(
  headers: RequestHeaders,
  prefix: '' | typeof COPY_PREFIX = '',
): ReadConditions | undefined {
  const ifMatch = headers[prefix + READ_NAMES.ifMatch];
  const ifNoneMatch = headers[prefix + READ_NAMES.ifNoneMatch];
  const ifModifiedSince = dateOf(headers[prefix + READ_NAMES.ifModifiedSince]);
  const ifUnmodifiedSince = dateOf(headers[prefix + READ_NAMES.ifUnmodifiedSince]);
  if (
    ifMatch === undefined &&
    ifNoneMatch === undefined &&
    ifModifiedSince === undefined &&
    ifUnmodifiedSince === undefined
  ) {
    return undefined;
  }
  const conditions: ReadConditions = {};
  if (ifMatch !== undefined) conditions.ifMatch = etagOf(ifMatch);
  if (ifNoneMatch !== undefined) conditions.ifNoneMatch = etagOf(ifNoneMatch);
  if (ifModifiedSince !== undefined) conditions.ifModifiedSince = ifModifiedSince;
  if (ifUnmodifiedSince !== undefined) conditions.ifUnmodifiedSince = ifUnmodifiedSince;
  return conditions;
}

export function writeConditionsOf(headers: RequestHeaders): WriteConditions | undefined {
  const ifMatch = headers['if-match'];
  const ifNoneMatch = headers['if-none-match'];
  if (ifMatch === undefined && ifNoneMatch === undefined) return undefined;
  const conditions: WriteConditions = {};
  if (ifMatch !== undefined) conditions.ifMatch = etagOf(ifMatch);
  if (ifNoneMatch !== undefined) conditions.ifNoneMatch = etagOf(ifNoneMatch);
  return conditions;
}

/** If-Match and its two companions of DELETE. Throws InvalidArgument on what can't be read. */
export function deleteConditionsOf(headers: RequestHeaders): WriteConditions | undefined {
  const date = headers['x-amz-if-match-last-modified-time'];
  const size = headers['x-amz-if-match-size'];
  const conditions = writeConditionsOf(headers) ?? {};
  if (date !== undefined) {
    const at = dateOf(date);
    if (at === undefined) {
      throw invalidArgument('not a date', 'x-amz-if-match-last-modified-time', date);
    }
    conditions.ifMatchLastModified = at;
  }
  if (size !== undefined) {
    if (!/^\d{1,15}$/.test(size)) throw invalidArgument('no size', 'x-amz-if-match-size', size);
    conditions.ifMatchSize = Number(size);
  }
  return Object.keys(conditions).length === 0 ? undefined : conditions;
}

const RANGE = /^bytes=(\d{0,15})-(\d{0,15})$/;
/** Far beyond any object, and far from where numbers stop being whole. */
const TO_THE_END = 2 ** 52;

/** One range of bytes; anything else (several ranges, 5-3, garbage) counts as no range at all. */
export function rangeOf(header: string | undefined): ByteRange | undefined {
  const match = header === undefined ? null : RANGE.exec(header.trim());
  if (match === null) return undefined;
  const [, first, last] = match as unknown as [string, string, string];
  if (first === '') {
    if (last === '') return undefined;
    const length = Number(last);
    // The last zero bytes: nothing can satisfy that.
    if (length === 0) {
      throw new FirnError('InvalidRange', 'The requested range is not satisfiable.');
    }
    return { offset: -length, length };
  }
  const offset = Number(first);
  if (last === '') return { offset, length: TO_THE_END };
  const length = Number(last) - offset + 1;
  return length < 1 ? undefined : { offset, length };
}

/** x-amz-copy-source-range: must be whole. Throws InvalidArgument. */
export function copyRangeOf(header: string | undefined): ByteRange | undefined {
  if (header === undefined) return undefined;
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(header);
  const offset = Number(match?.[1]);
  const length = Number(match?.[2]) - offset + 1;
  if (match === null || length < 1) {
    throw invalidArgument(
      'the range must be in the form bytes=first-last',
      'x-amz-copy-source-range',
      header,
    );
  }
  return { offset, length };
}
