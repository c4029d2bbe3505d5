// What a body must be, from its headers alone: how it is coded, how long it is, what it must hash
// to. Everything that can be refused before a byte is read is refused here.

import {
  CHECKSUM_HEADERS,
  isChecksumAlgorithm,
  isChecksumValue,
} from '../../../appliance/model/checksum.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { ChecksumAlgorithm } from '../../../appliance/model/object.ts';
import { UNSIGNED_PAYLOAD } from '../../../appliance/model/signature.ts';
import type { RequestHeaders } from '../input/request-headers.ts';

export interface PayloadPlan {
  /** Of the object's bytes; undefined where only HTTP's own chunking tells. */
  sizeBytes: number | undefined;
  /** Hex SHA-256 that the bytes must have. */
  sha256: string | undefined;
  /** aws-chunked, and whether the chunks are signed. */
  chunked: { signed: boolean; trailers: readonly string[] | undefined } | undefined;
  /** The client's checksum: its value, or undefined where a trailer brings it or none was given. */
  checksum: { algorithm: ChecksumAlgorithm; value: string | undefined } | undefined;
  /** Content-MD5, hex. */
  contentMd5: string | undefined;
}

const ALGORITHM_OF_HEADER = new Map(
  Object.entries(CHECKSUM_HEADERS).map(([algorithm, header]) => [
    header,
    algorithm as ChecksumAlgorithm,
  ]),
);
/** Settings of the checksum, not checksums. */
const CHECKSUM_SETTINGS = new Set([
  'x-amz-checksum-algorithm',
  'x-amz-checksum-mode',
  'x-amz-checksum-type',
]);

/**
 * Throws MissingContentLength, InvalidDigest, InvalidRequest, InvalidArgument, NotImplemented
 * (a checksum that we could not verify).
 */
export function planPayload(
  headers: RequestHeaders,
  payloadHash: string,
  ignoresChecksums = false,
): PayloadPlan {
  const streaming = payloadHash.startsWith('STREAMING-');
  const withTrailer = payloadHash.endsWith('-TRAILER');
  const trailers = trailersOf(headers, withTrailer);
  return {
    sizeBytes: streaming ? decodedLength(headers) : contentLength(headers),
    sha256: streaming || payloadHash === UNSIGNED_PAYLOAD ? undefined : payloadHash,
    chunked: streaming
      ? { signed: payloadHash.startsWith('STREAMING-AWS4-'), trailers }
      : undefined,
    checksum: ignoresChecksums ? undefined : checksumOfHeaders(headers, trailers ?? []),
    contentMd5: contentMd5Of(headers),
  };
}

/** Of an upload form's file, by the form's fields: its size nobody says. */
export function planForm(headers: RequestHeaders): Pick<PayloadPlan, 'checksum' | 'contentMd5'> {
  return { checksum: checksumOfHeaders(headers, []), contentMd5: contentMd5Of(headers) };
}

function contentLength(headers: RequestHeaders): number | undefined {
  const text = headers['content-length'];
  if (text !== undefined) return Number(text);
  if (headers['transfer-encoding'] !== undefined) return undefined;
  throw new FirnError('MissingContentLength', 'You must provide the Content-Length HTTP header.');
}

function decodedLength(headers: RequestHeaders): number {
  const text = headers['x-amz-decoded-content-length'];
  if (text === undefined) {
    throw new FirnError(
      'MissingContentLength',
      'You must provide the x-amz-decoded-content-length HTTP header.',
    );
  }
  if (!/^\d{1,15}$/.test(text)) {
    throw new FirnError('InvalidArgument', 'x-amz-decoded-content-length must be a number.');
  }
  return Number(text);
}

function trailersOf(headers: RequestHeaders, withTrailer: boolean): string[] | undefined {
  const text = headers['x-amz-trailer'];
  if (!withTrailer) {
    if (text === undefined) return undefined;
    throw new FirnError('InvalidRequest', 'x-amz-trailer needs a payload with a trailer.');
  }
  return (text ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
}

function checksumOfHeaders(
  headers: RequestHeaders,
  trailers: readonly string[],
): PayloadPlan['checksum'] {
  let found: PayloadPlan['checksum'];
  const add = (name: string, value: string | undefined): void => {
    const algorithm = ALGORITHM_OF_HEADER.get(name);
    if (algorithm === undefined) {
      throw new FirnError('NotImplemented', `The checksum ${name} is not implemented.`);
    }
    if (found !== undefined) {
      throw new FirnError(
        'InvalidRequest',
        'Expecting a single x-amz-checksum- header. Multiple checksum types are not allowed.',
      );
    }
    if (value !== undefined) checkChecksumValue(algorithm, value);
    found = { algorithm, value };
  };
  for (const name in headers) {
    if (name.startsWith('x-amz-checksum-') && !CHECKSUM_SETTINGS.has(name)) {
      add(name, headers[name]);
    }
  }
  for (const name of trailers) if (name.startsWith('x-amz-checksum-')) add(name, undefined);
  const asked = headers[SDK_ALGORITHM]?.toUpperCase();
  if (asked === undefined || found?.algorithm === asked) return found;
  if (!isChecksumAlgorithm(asked) || found !== undefined) throw invalidValue(SDK_ALGORITHM);
  // Announced but not sent: we compute it, so that a later read can compare.
  return { algorithm: asked, value: undefined };
}

const SDK_ALGORITHM = 'x-amz-sdk-checksum-algorithm';
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/**
 * Throws unless the value can be a checksum of this algorithm: InvalidRequest where it is no
 * base64, BadDigest where it is, but of no such length: no bytes can have that sum.
 */
export function checkChecksumValue(algorithm: ChecksumAlgorithm, value: string): void {
  if (isChecksumValue(algorithm, value)) return;
  if (!BASE64.test(value)) throw invalidValue(CHECKSUM_HEADERS[algorithm]);
  throw new FirnError('BadDigest', `The ${algorithm} you specified did not match.`);
}

function invalidValue(name: string): FirnError {
  return new FirnError('InvalidRequest', `Value for ${name} header is invalid.`);
}

function contentMd5Of(headers: RequestHeaders): string | undefined {
  const text = headers['content-md5'];
  if (text === undefined) return undefined;
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== 16 || bytes.toString('base64') !== text) {
    throw new FirnError('InvalidDigest', 'The Content-MD5 you specified is not valid.');
  }
  return bytes.toString('hex');
}
