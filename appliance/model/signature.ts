// AWS Signature Version 4, pure: what a signer and a verifier share. The CLI signs by it (services
// `firn` and `s3`), cold/s3 signs by it, api verifies by it. The danger: two sides that
// canonicalise a byte differently lock a user out, and one side that canonicalises too kindly lets
// a request in that nobody signed. So there is one canonical form, S3's: the path is encoded
// exactly once and never normalised (`//` and `..` stay), for every service. A verification costs
// about 8 µs, to which a signing key that isn't cached would add another 20.

import { createHmac, hash, timingSafeEqual } from 'node:crypto';

export const ALGORITHM = 'AWS4-HMAC-SHA256';
export const UNSIGNED_PAYLOAD = 'UNSIGNED-PAYLOAD';
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
/** S3's own bound of X-Amz-Expires: seven days. */
export const PRESIGN_SECONDS_MAX = 604_800;

const TERMINATOR = 'aws4_request';

/** What a signing key is good for. */
export interface SigningScope {
  /** YYYYMMDD, UTC. */
  day: string;
  region: string;
  service: string;
}

export interface SigningCredentials {
  accessKey: string;
  secretKey: string;
}

export interface RequestToSign extends SigningCredentials {
  method: string;
  /** As it goes into the Host header, with the port where that isn't the scheme's own. */
  host: string;
  /** Raw, as sent: starts with `/`, percent-encoded once (encodePath). */
  path: string;
  /** Raw, as sent, without the `?`. */
  query?: string;
  headers?: Record<string, string>;
  /** Hex SHA-256 of the body, or one of S3's keywords. */
  payloadHash: string;
  region: string;
  service: string;
  date: Date;
}

export interface UrlToSign extends Omit<RequestToSign, 'payloadHash'> {
  scheme: 'http' | 'https';
  expiresSeconds: number;
  /** S3's presigned URLs never bind the body. */
  payloadHash?: string;
}

/** Bytes that SigV4 leaves alone beyond encodeURIComponent's idea: `!'()*` must be escaped. */
const LEFT_BY_JAVASCRIPT = /[!'()*]/g;
const escapeOne = (char: string): string =>
  `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;

// What needs neither decoding nor encoding: most of what comes.
const PLAIN_PATH = /^[A-Za-z0-9\-._~/]*$/;
const PLAIN_QUERY_PART = /^[A-Za-z0-9\-._~]*$/;

/** Percent-encodes every UTF-8 byte but unreserved ones. Throws URIError on a lone surrogate. */
export function encodeComponent(text: string): string {
  return encodeURIComponent(text).replace(LEFT_BY_JAVASCRIPT, escapeOne);
}

/** Percent-encodes a decoded path, `/` left alone. Throws URIError on a lone surrogate. */
export function encodePath(path: string): string {
  if (PLAIN_PATH.test(path)) return path;
  return encodeComponent(path).replaceAll('%2F', '/');
}

const RAW_BYTE = /[\u0080-\u00ff]/g;

/**
 * Decodes percent-encoding once, strictly: undefined on a bad `%`, and on bytes that aren't UTF-8
 * (overlong forms, surrogates). Raw bytes above 0x7f, which Node hands out as Latin-1, count as
 * UTF-8.
 */
export function decodeComponent(raw: string): string | undefined {
  if (PLAIN_PATH.test(raw)) return raw;
  try {
    return decodeURIComponent(raw.replace(RAW_BYTE, escapeOne));
  } catch {
    return undefined;
  }
}

/**
 * Decodes a raw query into pairs in order, `+` as a space; undefined where a part doesn't decode.
 */
export function decodeQuery(raw: string): [name: string, value: string][] | undefined {
  const pairs: [string, string][] = [];
  if (raw === '') return pairs;
  for (const piece of raw.split('&')) {
    if (piece === '') continue;
    const equals = piece.indexOf('=');
    const name = decodeQueryPart(equals < 0 ? piece : piece.slice(0, equals));
    const value = equals < 0 ? '' : decodeQueryPart(piece.slice(equals + 1));
    if (name === undefined || value === undefined) return undefined;
    pairs.push([name, value]);
  }
  return pairs;
}

function decodeQueryPart(raw: string): string | undefined {
  if (PLAIN_QUERY_PART.test(raw)) return raw;
  return decodeComponent(raw.replaceAll('+', ' '));
}

/** The canonical query of decoded pairs: encoded, then sorted by name and value. */
export function canonicalQuery(pairs: readonly (readonly [string, string])[]): string {
  if (pairs.length === 0) return '';
  const encoded = pairs.map(
    ([name, value]) => [encodeQueryPart(name), encodeQueryPart(value)] as const,
  );
  encoded.sort((a, b) => compare(a[0], b[0]) || compare(a[1], b[1]));
  return encoded.map(([name, value]) => `${name}=${value}`).join('&');
}

const encodeQueryPart = (text: string): string =>
  PLAIN_QUERY_PART.test(text) ? text : encodeComponent(text);

// Encoded text is ASCII, so comparing UTF-16 units is comparing bytes.
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** A header value as it is signed: trimmed, inner runs of spaces made one. */
export function canonicalHeaderValue(value: string): string {
  const trimmed = value.trim();
  return trimmed.includes('  ') ? trimmed.replace(/ +/g, ' ') : trimmed;
}

export interface CanonicalParts {
  method: string;
  /** Encoded once. */
  path: string;
  /** From canonicalQuery. */
  query: string;
  /** Lower-case names, sorted, separated by `;`. */
  signedHeaders: string;
  /** For each signed header in that order: `name:value\n`. */
  headerLines: string;
  payloadHash: string;
}

export function canonicalRequest(parts: CanonicalParts): string {
  return `${parts.method}\n${parts.path}\n${parts.query}\n${parts.headerLines}\n${parts.signedHeaders}\n${parts.payloadHash}`;
}

/** `day/region/service/aws4_request`. */
export function scopeText(scope: SigningScope): string {
  return `${scope.day}/${scope.region}/${scope.service}/${TERMINATOR}`;
}

/**
 * `timestamp` is YYYYMMDDTHHMMSSZ; `scope` from scopeText; `canonical` from canonicalRequest, as
 * bytes where header values have any above 0x7f.
 */
export function stringToSign(
  timestamp: string,
  scope: string,
  canonical: string | Uint8Array,
): string {
  return `${ALGORITHM}\n${timestamp}\n${scope}\n${sha256Hex(canonical)}`;
}

export interface ChunkContext {
  timestamp: string;
  /** From scopeText. */
  scope: string;
  key: SigningKey;
}

/** Signature of one chunk of an aws-chunked body: each signs the one before it. */
export function chunkSignature(
  context: ChunkContext,
  previous: string,
  chunkSha256: string,
): string {
  return hmacHex(
    context.key,
    `AWS4-HMAC-SHA256-PAYLOAD\n${context.timestamp}\n${context.scope}\n${previous}\n${EMPTY_SHA256}\n${chunkSha256}`,
  );
}

/**
 * Signature over the trailing headers; `trailers` is `name:value\n` for each, in the order sent.
 */
export function trailerSignature(
  context: ChunkContext,
  previous: string,
  trailers: string,
): string {
  return hmacHex(
    context.key,
    `AWS4-HMAC-SHA256-TRAILER\n${context.timestamp}\n${context.scope}\n${previous}\n${sha256Hex(trailers)}`,
  );
}

const BLOCK_BYTES = 64;
const SHA256_BYTES = 32;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

/** A key of HMAC-SHA256 as its two padded blocks: what the inner and the outer hash begin with. */
export interface SigningKey {
  readonly inner: Uint8Array;
  readonly outer: Uint8Array;
}

/** `key` has at most 64 bytes. */
function padded(key: Uint8Array, pad: number): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES).fill(pad);
  for (const [at, byte] of key.entries()) block[at] = byte ^ pad;
  return block;
}

const innerText = Buffer.alloc(BLOCK_BYTES + 1024);
const outerText = Buffer.alloc(BLOCK_BYTES + SHA256_BYTES);

/**
 * HMAC-SHA256 as its definition has it, by two calls of `hash`: 1.7 µs against the 3.1 of
 * createHmac, whose object is most of that.
 */
export function hmacHex(key: SigningKey, text: string): string {
  let inner: Uint8Array;
  if (text.length * 3 <= innerText.length - BLOCK_BYTES) {
    innerText.set(key.inner, 0);
    inner = innerText.subarray(0, BLOCK_BYTES + innerText.write(text, BLOCK_BYTES, 'utf8'));
  } else {
    inner = Buffer.concat([key.inner, Buffer.from(text, 'utf8')]);
  }
  outerText.set(key.outer, 0);
  outerText.write(hash('sha256', inner, 'binary'), BLOCK_BYTES, 'latin1');
  return hash('sha256', outerText, 'hex');
}

export function sha256Hex(data: string | Uint8Array): string {
  return hash('sha256', data, 'hex');
}

const DIGEST = /^[0-9a-f]{64}$/;
const expectedBytes = Buffer.alloc(64);
const givenBytes = Buffer.alloc(64);

/**
 * Whether `given`, which may be anything, is the SHA-256 in hex that was expected: in time that does
 * not depend on where they differ.
 */
export function equalDigests(expected: string, given: string): boolean {
  // Another length would leave some of what was compared last, another alphabet may fold into hex.
  if (!DIGEST.test(given)) return false;
  expectedBytes.write(expected, 'latin1');
  givenBytes.write(given, 'latin1');
  return timingSafeEqual(expectedBytes, givenBytes);
}

const SIGNING_KEYS_MAX = 1024;
const signingKeys = new Map<string, SigningKey>();

/**
 * The key that signs a day's requests of one region and service. Cached: deriving takes four HMACs.
 * The cache is keyed by the secret itself, so a replaced secret can never be answered by an old
 * key.
 */
export function signingKey(secretKey: string, scope: SigningScope): SigningKey {
  const name = `${scopeText(scope)} ${secretKey}`;
  const known = signingKeys.get(name);
  if (known !== undefined) return known;
  let bytes = createHmac('sha256', `AWS4${secretKey}`).update(scope.day).digest();
  for (const step of [scope.region, scope.service, TERMINATOR]) {
    bytes = createHmac('sha256', bytes).update(step).digest();
  }
  const key = { inner: padded(bytes, INNER_PAD), outer: padded(bytes, OUTER_PAD) };
  if (signingKeys.size >= SIGNING_KEYS_MAX) signingKeys.clear();
  signingKeys.set(name, key);
  return key;
}

/** YYYYMMDDTHHMMSSZ. */
export function formatTimestamp(date: Date): string {
  return date.toISOString().replace(/[-:]|\.\d{3}/g, '');
}

let lastTimestamp = '';
let lastTimestampMs: number | undefined;

/**
 * Milliseconds since the epoch of a basic ISO 8601 timestamp; undefined unless it is exactly one.
 * The requests of a second carry the same one, so the last is remembered.
 */
export function parseTimestamp(text: string): number | undefined {
  if (text !== lastTimestamp) {
    lastTimestampMs = parseInstant(text);
    lastTimestamp = text;
  }
  return lastTimestampMs;
}

function parseInstant(text: string): number | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second] = match;
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`);
  // Date.parse takes 31 February for 3 March.
  return Number.isNaN(at) || formatTimestamp(new Date(at)) !== text ? undefined : at;
}

/** Never signed: hops and clients change these on the way. */
const UNSIGNED_HEADERS = new Set([
  'authorization',
  'connection',
  'expect',
  'transfer-encoding',
  'user-agent',
  'x-amzn-trace-id',
]);

function lowered(headers: Record<string, string> | undefined): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers ?? {})) result[name.toLowerCase()] = value;
  return result;
}

function headersToSign(
  headers: Record<string, string>,
): Pick<CanonicalParts, 'signedHeaders' | 'headerLines'> {
  const names = Object.keys(headers)
    .filter((name) => !UNSIGNED_HEADERS.has(name))
    .sort();
  return {
    signedHeaders: names.join(';'),
    headerLines: names
      .map((name) => `${name}:${canonicalHeaderValue(headers[name] as string)}\n`)
      .join(''),
  };
}

/**
 * The headers to send, names in lower case: those given, `host`, `x-amz-date`,
 * `x-amz-content-sha256` and `authorization`. Every header given is signed but for the few that
 * hops change. Pure: the same request at the same date gives the same headers.
 */
export function signRequest(request: RequestToSign): Record<string, string> {
  const timestamp = formatTimestamp(request.date);
  const headers = lowered(request.headers);
  delete headers['authorization'];
  headers['host'] = request.host;
  headers['x-amz-date'] = timestamp;
  headers['x-amz-content-sha256'] = request.payloadHash;
  const signed = headersToSign(headers);
  const scope = { ...request, day: timestamp.slice(0, 8) };
  const canonical = canonicalRequest({
    ...signed,
    method: request.method,
    path: request.path,
    query: canonicalRawQuery(request.query),
    payloadHash: request.payloadHash,
  });
  const signature = hmacHex(
    signingKey(request.secretKey, scope),
    stringToSign(timestamp, scopeText(scope), canonical),
  );
  headers['authorization'] =
    `${ALGORITHM} Credential=${request.accessKey}/${scopeText(scope)}, ` +
    `SignedHeaders=${signed.signedHeaders}, Signature=${signature}`;
  return headers;
}

/** What goes on from signRequest's headers to the chunk signatures of a streamed body. */
export function chunkContext(request: RequestToSign): ChunkContext {
  const timestamp = formatTimestamp(request.date);
  const scope = { ...request, day: timestamp.slice(0, 8) };
  return { timestamp, scope: scopeText(scope), key: signingKey(request.secretKey, scope) };
}

/**
 * A URL that carries its own signature for `expiresSeconds` (1 to 604,800). Headers given must be
 * sent exactly so by whoever uses it.
 */
export function presignUrl(request: UrlToSign): string {
  const timestamp = formatTimestamp(request.date);
  const headers = lowered(request.headers);
  headers['host'] = request.host;
  const signed = headersToSign(headers);
  const scope = { ...request, day: timestamp.slice(0, 8) };
  const pairs = decodeQuery(request.query ?? '');
  if (pairs === undefined) throw new TypeError('query is not valid percent-encoding');
  pairs.push(
    ['X-Amz-Algorithm', ALGORITHM],
    ['X-Amz-Credential', `${request.accessKey}/${scopeText(scope)}`],
    ['X-Amz-Date', timestamp],
    ['X-Amz-Expires', String(request.expiresSeconds)],
    ['X-Amz-SignedHeaders', signed.signedHeaders],
  );
  const query = canonicalQuery(pairs);
  const canonical = canonicalRequest({
    ...signed,
    method: request.method,
    path: request.path,
    query,
    payloadHash: request.payloadHash ?? UNSIGNED_PAYLOAD,
  });
  const signature = hmacHex(
    signingKey(request.secretKey, scope),
    stringToSign(timestamp, scopeText(scope), canonical),
  );
  return `${request.scheme}://${request.host}${request.path}?${query}&X-Amz-Signature=${signature}`;
}

function canonicalRawQuery(raw: string | undefined): string {
  const pairs = decodeQuery(raw ?? '');
  if (pairs === undefined) throw new TypeError('query is not valid percent-encoding');
  return canonicalQuery(pairs);
}
