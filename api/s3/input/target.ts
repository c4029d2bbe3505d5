// From the raw request line to bucket and key, once and strictly. The danger: two readers of one
// URL that decode it differently, so that one is authorised and another served (path traversal,
// double decoding). Here it is decoded exactly once; everything that isn't plainly a bucket and a
// key is refused; keys are opaque text and never become paths of files.

import { FirnError } from '../../../appliance/model/errors.ts';
import { KEY_BYTES_MAX } from '../../../appliance/model/limits.ts';
import { decodeComponent, decodeQuery } from '../../../appliance/model/signature.ts';

export type Level = 'service' | 'bucket' | 'object';

export interface Target {
  level: Level;
  bucket: string;
  key: string;
  /** As sent, percent-encoded. */
  rawPath: string;
  /** The whole path decoded once: what the canonical request encodes again. */
  path: string;
  query: Query;
}

/** Parameters in the order sent; of a repeated one the first counts, everywhere. */
export class Query {
  readonly pairs: readonly (readonly [string, string])[];

  constructor(pairs: readonly (readonly [string, string])[]) {
    this.pairs = pairs;
  }

  get(name: string): string | undefined {
    for (const pair of this.pairs) if (pair[0] === name) return pair[1];
    return undefined;
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }
}

const NO_QUERY = new Query([]);

const invalidUri = (message: string): FirnError => new FirnError('InvalidURI', message);

/** Splits the URL. Throws InvalidURI, KeyTooLongError, InvalidBucketName. */
export function parseTarget(url: string, host: string, domain: string | undefined): Target {
  if (!url.startsWith('/')) throw invalidUri('The request line must hold a path.');
  if (url.includes('#')) throw invalidUri('A fragment has no place in a request.');
  const mark = url.indexOf('?');
  const rawPath = mark < 0 ? url : url.slice(0, mark);
  const query = mark < 0 ? NO_QUERY : parseQuery(url.slice(mark + 1));
  const path = decodeComponent(rawPath);
  if (path === undefined) throw invalidUri('The path is not valid percent-encoded UTF-8.');
  const own = domain === undefined ? undefined : bucketOfHost(host, domain);
  const names =
    own === undefined ? namesOfPath(rawPath) : { bucket: own, rawKey: rawPath.slice(1) };
  if (names.bucket === undefined) {
    return { level: 'service', bucket: '', key: '', rawPath, path, query };
  }
  checkBucketName(names.bucket);
  const key = decodeComponent(names.rawKey) as string;
  if (key === '') return { level: 'bucket', bucket: names.bucket, key, rawPath, path, query };
  checkKey(key);
  return { level: 'object', bucket: names.bucket, key, rawPath, path, query };
}

function parseQuery(raw: string): Query {
  const pairs = decodeQuery(raw);
  if (pairs === undefined) throw invalidUri('The query is not valid percent-encoded UTF-8.');
  return new Query(pairs);
}

function namesOfPath(rawPath: string): { bucket: string | undefined; rawKey: string } {
  if (rawPath === '/') return { bucket: undefined, rawKey: '' };
  const slash = rawPath.indexOf('/', 1);
  if (slash < 0) return { bucket: decodeComponent(rawPath.slice(1)), rawKey: '' };
  return { bucket: decodeComponent(rawPath.slice(1, slash)), rawKey: rawPath.slice(slash + 1) };
}

/** The bucket that a request seems to be about, before anything of it is checked; '' for none. */
export function bucketNamed(url: string, host: string, domain: string | undefined): string {
  const own = domain === undefined ? undefined : bucketOfHost(host, domain);
  if (own !== undefined) return own;
  const end = url.slice(1, 65).search(/[/?]/);
  return url.slice(1, end < 0 ? 65 : end + 1);
}

function bucketOfHost(host: string, domain: string): string | undefined {
  const colon = host.lastIndexOf(':');
  const name = (colon < 0 ? host : host.slice(0, colon)).toLowerCase();
  return name.endsWith(`.${domain}`) ? name.slice(0, -domain.length - 1) : undefined;
}

/** Whether a bucket of this host would be a website. */
export function isBelow(host: string | undefined, domain: string | undefined): boolean {
  return domain !== undefined && bucketOfHost(host ?? '', domain) !== undefined;
}

const BUCKET_NAME = /^[a-z0-9](?:[a-z0-9-]|\.(?![.-])){1,61}[a-z0-9]$/;
const RESERVED =
  /^(?:xn--|sthree-|amzn-s3-demo-)|(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$|-\./;
const IP_ADDRESS = /^\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}$/;

export function isBucketName(name: string): boolean {
  return BUCKET_NAME.test(name) && !RESERVED.test(name) && !IP_ADDRESS.test(name);
}

export function checkBucketName(name: string): void {
  if (isBucketName(name)) return;
  throw new FirnError('InvalidBucketName', 'The specified bucket is not valid.', {
    details: { BucketName: name },
  });
}

// Names such as `a..b` and `...` are fine: only whole segments mean something to other programs.
const DOT_SEGMENT = /(?:^|\/)\.\.?(?:\/|$)/;

/** Throws KeyTooLongError or InvalidURI. */
export function checkKey(key: string): void {
  if (key.length > KEY_BYTES_MAX / 3 && Buffer.byteLength(key) > KEY_BYTES_MAX) {
    throw new FirnError('KeyTooLongError', 'Your key is too long.', {
      details: { Size: String(Buffer.byteLength(key)), MaxSizeAllowed: String(KEY_BYTES_MAX) },
    });
  }
  if (key.includes('\0')) throw invalidUri('A key must not contain NUL.');
  if (key.includes('.') && DOT_SEGMENT.test(key)) {
    throw invalidUri('A key must not have . or .. as a segment.');
  }
}
