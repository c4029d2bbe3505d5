// Headers that travel with an object, both ways: what a writer may say (stored headers, metadata,
// tags, class) and what a reader is told. The danger: a header that asks for something we don't do
// and is silently ignored (a client believes its bytes are encrypted), and a stored value that
// becomes another header on its way out.

import { isUtf8 } from 'node:buffer';
import { CHECKSUM_HEADERS, isChecksumAlgorithm } from '../../../appliance/model/checksum.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { METADATA_BYTES_MAX } from '../../../appliance/model/limits.ts';
import type {
  ChecksumAlgorithm,
  ObjectChecksum,
  Restore,
  StoredHeader,
  Version,
} from '../../../appliance/model/object.ts';
import type { HeadAnswer, NewVersion } from '../../../appliance/model/requests.ts';
import { decodeQuery } from '../../../appliance/model/signature.ts';
import { pushEncryption } from './encryption-headers.ts';
import { invalidArgument, type S3Request } from './request.ts';
import { objectTagsOf } from './tags.ts';
import type { RequestHeaders } from '../input/request-headers.ts';

const STORED_HEADERS: readonly StoredHeader[] = [
  'content-type',
  'cache-control',
  'content-disposition',
  'content-encoding',
  'content-language',
  'expires',
  'x-amz-website-redirect-location',
];
const META_PREFIX = 'x-amz-meta-';

/** Prefixes of headers that ask for what isn't there yet: refused, never ignored. */
const UNIMPLEMENTED = ['x-amz-write-offset-bytes', 'x-amz-mfa'];

/** Throws NotImplemented. */
export function refuseUnimplemented(headers: RequestHeaders): void {
  for (const name in headers) {
    if (name.startsWith('x-amz-') && UNIMPLEMENTED.some((prefix) => name.startsWith(prefix))) {
      throw new FirnError('NotImplemented', `The header ${name} is not implemented.`);
    }
  }
}

// What node:http would refuse to write, and what would start another header.
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/;

/** A header value as text: its bytes are UTF-8 where they can be, else Latin-1. */
function textOfHeader(value: string): string {
  if (!/[\u0080-\u00ff]/.test(value)) return value;
  const bytes = Buffer.from(value, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : value;
}

/** The value as node:http writes it: each UTF-8 byte a Latin-1 character. */
export function headerOfText(value: string): string {
  return /[\u0080-\uffff]/.test(value) ? Buffer.from(value, 'utf8').toString('latin1') : value;
}

function checked(name: string, value: string): string {
  if (CONTROL.test(value)) throw invalidArgument('a header holds control characters', name, value);
  return value;
}

export function storedHeadersOf(headers: RequestHeaders): NewVersion['headers'] {
  const stored: NewVersion['headers'] = {};
  for (const name of STORED_HEADERS) {
    const value = headers[name];
    if (value === undefined) continue;
    const text = name === 'content-encoding' ? withoutChunked(value) : value;
    if (text !== '') stored[name] = checked(name, textOfHeader(text));
  }
  const redirect = headers[REDIRECT];
  if (redirect !== undefined) checkRedirect(redirect);
  return stored;
}

const REDIRECT = 'x-amz-website-redirect-location';
const REDIRECT_BYTES_MAX = 2048;

/** Where a visitor of a website is sent: a page, never a script. */
function checkRedirect(location: string): void {
  if (location.length <= REDIRECT_BYTES_MAX && /^(?:\/|https?:\/\/)/.test(location)) return;
  throw new FirnError(
    'InvalidRedirectLocation',
    "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
  );
}

/** aws-chunked is about the way here, wherever it stands and however often. */
function withoutChunked(value: string): string {
  if (!value.includes('aws-chunked')) return value;
  const codings = value.split(',').map((coding) => coding.trim());
  return codings.filter((coding) => coding !== 'aws-chunked' && coding !== '').join(',');
}

/**
 * What can be the name of a header. One that came in a presigned URL may hold anything, and a name
 * that can't be written would make its object unreadable.
 */
const HEADER_NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;

/** x-amz-meta-*, without that prefix. Throws MetadataTooLarge, InvalidArgument. */
export function metadataOf(headers: RequestHeaders): Record<string, string> {
  const metadata: Record<string, string> = {};
  let bytes = 0;
  for (const name in headers) {
    if (!name.startsWith(META_PREFIX)) continue;
    const key = name.slice(META_PREFIX.length);
    const value = checked(name, textOfHeader(headers[name] as string));
    bytes += Buffer.byteLength(key) + Buffer.byteLength(value);
    if (!HEADER_NAME.test(key) || key === '__proto__') {
      throw invalidArgument('bad metadata name', name, value);
    }
    metadata[key] = value;
  }
  if (bytes > METADATA_BYTES_MAX) {
    throw new FirnError('MetadataTooLarge', 'Your metadata headers exceed 2 KB.', {
      details: { Size: String(bytes), MaxSizeAllowed: String(METADATA_BYTES_MAX) },
    });
  }
  return metadata;
}

/** x-amz-tagging: a query string. Throws InvalidTag, InvalidArgument. */
export function tagsOf(headers: RequestHeaders): Record<string, string> | undefined {
  const text = headers['x-amz-tagging'];
  if (text === undefined) return undefined;
  const pairs = decodeQuery(text);
  if (pairs === undefined) throw invalidArgument('bad encoding', 'x-amz-tagging', text);
  return objectTagsOf(pairs);
}

/** x-amz-storage-class, STANDARD without. Throws InvalidStorageClass. */
export function storageClassOf(request: S3Request): string {
  const name = request.headers['x-amz-storage-class'] ?? 'STANDARD';
  if (request.settings.classes.has(name)) return name;
  throw new FirnError('InvalidStorageClass', 'The storage class you specified is not valid.', {
    details: { StorageClassRequested: name },
  });
}

export function checksumAlgorithmOf(headers: RequestHeaders): ChecksumAlgorithm | undefined {
  const name = headers['x-amz-checksum-algorithm'];
  if (name === undefined) return undefined;
  const algorithm = name.toUpperCase();
  if (isChecksumAlgorithm(algorithm)) return algorithm;
  throw new FirnError('InvalidRequest', 'The checksum algorithm is not supported.');
}

export function checksumTypeOf(headers: RequestHeaders): ObjectChecksum['type'] | undefined {
  const name = headers['x-amz-checksum-type'];
  if (name === undefined || name === 'FULL_OBJECT' || name === 'COMPOSITE') return name;
  throw new FirnError('InvalidRequest', 'The checksum type must be FULL_OBJECT or COMPOSITE.');
}

export function pushChecksum(into: string[], checksum: ObjectChecksum | undefined): void {
  if (checksum === undefined) return;
  into.push(CHECKSUM_HEADERS[checksum.algorithm], checksum.value);
  into.push('x-amz-checksum-type', checksum.type);
}

export function etagHeader(etag: string): string {
  return `"${etag}"`;
}

let lastSecond = -1;
let lastSecondText = '';

/** RFC 1123, whole seconds. Of many requests a second most show the same. */
export function httpDate(ms: number): string {
  const second = Math.floor(ms / 1000);
  if (second !== lastSecond) {
    lastSecondText = new Date(second * 1000).toUTCString();
    lastSecond = second;
  }
  return lastSecondText;
}

export function restoreHeader(restore: Restore): string {
  if (restore.state === 'pending' || restore.expiry === undefined) {
    return 'ongoing-request="true"';
  }
  const date = new Date(restore.expiry).toUTCString();
  return `ongoing-request="false", expiry-date="${date}"`;
}

/** response-* parameters: only a signed request may set them (read-object.ts). */
const OVERRIDES: readonly (readonly [StoredHeader, string])[] = [
  ['content-type', 'response-content-type'],
  ['cache-control', 'response-cache-control'],
  ['content-disposition', 'response-content-disposition'],
  ['content-encoding', 'response-content-encoding'],
  ['content-language', 'response-content-language'],
  ['expires', 'response-expires'],
];

export function isOverride(parameter: string): boolean {
  return OVERRIDES.some(([, name]) => name === parameter);
}

function answeredHeaders(request: S3Request, version: Version): Version['headers'] {
  const { query } = request;
  if (query.pairs.length === 0) return version.headers;
  let headers = version.headers;
  for (const [name, parameter] of OVERRIDES) {
    const value = query.get(parameter);
    if (value !== undefined) headers = { ...headers, [name]: checked(parameter, value) };
  }
  return headers;
}

/** What GET and HEAD say about a version. Content-Length is the writer's. */
export function describeVersion(request: S3Request, answer: HeadAnswer): string[] {
  const { version } = answer;
  const headers = [
    'Accept-Ranges',
    'bytes',
    'ETag',
    etagHeader(version.etag),
    'Last-Modified',
    httpDate(version.lastModified),
  ];
  const stored = answeredHeaders(request, version);
  headers.push('Content-Type', headerOfText(stored['content-type'] ?? 'binary/octet-stream'));
  for (const name in stored) {
    if (name === 'content-type') continue;
    headers.push(name, headerOfText(stored[name as StoredHeader] as string));
  }
  for (const name in version.metadata) {
    headers.push(META_PREFIX + name, headerOfText(version.metadata[name] as string));
  }
  if (answer.versionId !== undefined) headers.push('x-amz-version-id', answer.versionId);
  if (version.storageClass !== 'STANDARD') {
    headers.push('x-amz-storage-class', version.storageClass);
  }
  if (answer.restore !== undefined) headers.push('x-amz-restore', restoreHeader(answer.restore));
  if (version.tags !== undefined) pushTaggingCount(headers, version.tags);
  pushEncryption(headers, version.encryption, request.headers);
  if (answer.partial) headers.push('Content-Range', contentRange(answer));
  pushExpiration(headers, request, answer);
  return headers;
}

function pushTaggingCount(into: string[], tags: Record<string, string>): void {
  const count = Object.keys(tags).length;
  if (count > 0) into.push('x-amz-tagging-count', String(count));
}

function contentRange({ range, version }: HeadAnswer): string {
  return `bytes ${range.offset}-${range.offset + range.length - 1}/${version.sizeBytes}`;
}

/** x-amz-expiration, where a rule will expire this version; of a named version nobody says. */
export function pushExpiration(
  into: string[],
  request: S3Request,
  answer: Pick<HeadAnswer, 'bucket' | 'version'>,
): void {
  if (request.query.has('versionId')) return;
  const value = request.settings.expirationOf?.(answer.bucket, request.key, answer.version);
  if (value !== undefined) into.push('x-amz-expiration', value);
}
