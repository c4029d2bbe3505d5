// What a request claims about who signed it: read from the Authorization header or the query,
// checked for form only. Nothing here is believed yet.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { S3Code } from '../../../appliance/model/errors.ts';
import {
  ALGORITHM,
  PRESIGN_SECONDS_MAX,
  parseTimestamp,
  scopeText,
  type SigningScope,
} from '../../../appliance/model/signature.ts';
import { ECDSA_ALGORITHM, ecdsaScopeText } from '../../../appliance/model/signature-ecdsa.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import type { Query } from '../input/target.ts';

/** What a client's requests of a day have in common. */
export interface Credential {
  readonly accessKey: string;
  /** Of ECDSA the region is empty: the region set of the request says where it counts. */
  readonly scope: SigningScope;
  readonly scopeText: string;
  /** Lower-case names, as signed. */
  readonly signedHeaders: readonly string[];
  /** The same, separated by `;`. */
  readonly signedNames: string;
}

export type Algorithm = typeof ALGORITHM | typeof ECDSA_ALGORITHM;

export interface Claim {
  kind: 'header' | 'presigned';
  algorithm: Algorithm;
  credential: Credential;
  signature: string;
  /** YYYYMMDDTHHMMSSZ. */
  timestamp: string;
  /** The same in milliseconds. */
  at: number;
  /** Presigned: how long from `at`. */
  expiresSeconds: number;
  /** Of temporary credentials; signed like the rest of its place. */
  token: string | undefined;
}

const QUERY_NAMES = [
  'X-Amz-Algorithm',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-SignedHeaders',
  'X-Amz-Signature',
] as const;

/** Lower-case names of query parameters that belong to the signature itself. */
export const AUTH_PARAMETERS: ReadonlySet<string> = new Set([
  ...QUERY_NAMES.map((name) => name.toLowerCase()),
  'x-amz-security-token',
  'x-amz-region-set',
  'x-amz-content-sha256',
]);

/**
 * The claim of a request; AccessDenied where it makes none. Throws InvalidArgument (two claims, an
 * unknown scheme), AuthorizationHeaderMalformed, AuthorizationQueryParametersError.
 */
export function readClaim(headers: RequestHeaders, query: Query): Claim {
  const authorization = headers['authorization'];
  const inQuery = query.pairs.length > 0 && query.pairs.some(isSignatureParameter);
  if (authorization !== undefined && inQuery) {
    throw new FirnError('InvalidArgument', 'Only one authentication mechanism is allowed.');
  }
  if (inQuery) return claimOfQuery(query);
  if (authorization !== undefined) return claimOfHeader(authorization, headers);
  throw new FirnError('AccessDenied', 'Access Denied.');
}

function isSignatureParameter([name]: readonly [string, string]): boolean {
  return (
    name === 'X-Amz-Signature' ||
    name === 'X-Amz-Credential' ||
    name === 'X-Amz-Algorithm' ||
    name === 'AWSAccessKeyId'
  );
}

const HEADER_FORM =
  /^AWS4-(?:HMAC|ECDSA-P256)-SHA256 +Credential=([^, ]+) *, *SignedHeaders=([^, ]+) *, *Signature=([^, ]+)$/;

const SIGNATURE_HEX = /^[0-9a-f]{64}$/;
const SIGNATURE_CHARACTERS = 64;

/** Credentials as headers spell them, up to `Signature=`: 2 µs to take apart, 0.1 to find. */
const known = new Map<string, Credential>();
const KNOWN_MAX = 1000;
const KNOWN_CHARACTERS_MAX = 500;

function claimOfHeader(authorization: string, headers: RequestHeaders): Claim {
  const end = authorization.length - SIGNATURE_CHARACTERS;
  let signature = authorization.slice(end);
  let credential = SIGNATURE_HEX.test(signature)
    ? known.get(authorization.slice(0, end))
    : undefined;
  let algorithm: Algorithm = ALGORITHM;
  if (credential === undefined) {
    ({ algorithm, credential, signature } = takeApart(authorization));
  }
  const { timestamp, at } = dateOf(headers);
  if (credential.scope.day !== timestamp.slice(0, 8)) {
    throw malformedHeader(`the credential's date is not that of the request`);
  }
  const token = headers['x-amz-security-token'];
  const signed = { algorithm, credential, signature, timestamp, at };
  return { kind: 'header', ...signed, expiresSeconds: 0, token };
}

function takeApart(authorization: string): Pick<Claim, 'algorithm' | 'credential' | 'signature'> {
  const algorithm = algorithmOf(authorization.split(' ', 1)[0] as string);
  const match = HEADER_FORM.exec(authorization);
  if (match === null) {
    throw malformedHeader('it must hold Credential, SignedHeaders and Signature');
  }
  const [, text, signedNames, signature] = match as unknown as [string, string, string, string];
  const named = { text, signedNames, algorithm };
  const credential = credentialOf(named, 'AuthorizationHeaderMalformed');
  const before = authorization.slice(0, -signature.length);
  const isKept = algorithm === ALGORITHM && SIGNATURE_HEX.test(signature);
  if (isKept && before.length <= KNOWN_CHARACTERS_MAX) {
    if (known.size >= KNOWN_MAX) known.clear();
    known.set(before, credential);
  }
  return { algorithm, credential, signature };
}

function claimOfQuery(query: Query): Claim {
  const values: string[] = [];
  for (const name of QUERY_NAMES) {
    const found = query.pairs.filter((pair) => pair[0] === name);
    const value = found[0]?.[1];
    if (found.length !== 1 || value === undefined || value === '') {
      if (name === 'X-Amz-Algorithm' && query.has('AWSAccessKeyId')) algorithmOf('AWS');
      throw malformedQuery(`${name} must be there once`);
    }
    values.push(value);
  }
  const [scheme, text, timestamp, expires, signedNames, signature] = values as [
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const algorithm = algorithmOf(scheme);
  const at = parseTimestamp(timestamp);
  if (at === undefined) throw malformedQuery('X-Amz-Date must be in the form YYYYMMDDTHHMMSSZ');
  const expiresSeconds = /^\d{1,9}$/.test(expires) ? Number(expires) : 0;
  if (expiresSeconds < 1 || expiresSeconds > PRESIGN_SECONDS_MAX) {
    throw new FirnError(
      'AccessDenied',
      `X-Amz-Expires must be from 1 to ${PRESIGN_SECONDS_MAX} seconds.`,
    );
  }
  const named = { text, signedNames, algorithm };
  const credential = credentialOf(named, 'AuthorizationQueryParametersError');
  if (credential.scope.day !== timestamp.slice(0, 8)) {
    throw malformedQuery(`the credential's date is not that of X-Amz-Date`);
  }
  const token = tokenOf(query);
  const signed = { algorithm, credential, signature, timestamp, at };
  return { kind: 'presigned', ...signed, expiresSeconds, token };
}

function tokenOf(query: Query): string | undefined {
  const found = query.pairs.filter(([name]) => name === 'X-Amz-Security-Token');
  if (found.length > 1) throw malformedQuery('X-Amz-Security-Token must be there once');
  return found[0]?.[1];
}

function algorithmOf(scheme: string): Algorithm {
  if (scheme === ALGORITHM || scheme === ECDSA_ALGORITHM) return scheme;
  if (scheme === 'AWS') {
    throw new FirnError(
      'InvalidRequest',
      `The authorization mechanism you have provided is not supported. Please use ${ALGORITHM}.`,
    );
  }
  throw new FirnError('InvalidArgument', 'Unsupported authorization type.');
}

function credentialOf(
  { text, signedNames, algorithm }: { text: string; signedNames: string; algorithm: Algorithm },
  code: S3Code,
): Credential {
  const parts = text.split('/');
  const terminator = parts.pop();
  const service = parts.pop();
  const isEcdsa = algorithm === ECDSA_ALGORITHM;
  const region = isEcdsa ? '' : parts.pop();
  const day = parts.pop();
  // An access key may hold slashes: what is left is all its own.
  const accessKey = parts.join('/');
  // Identities are of no region, and some clients name none for them.
  const hasPlace = isEcdsa || Boolean(region) || service === 'iam' || service === 'sts';
  if (accessKey === '' || !day || !hasPlace || !service || terminator !== 'aws4_request') {
    throw new FirnError(
      code,
      'The credential is malformed: expecting KEY/YYYYMMDD/REGION/SERVICE/aws4_request.',
    );
  }
  const scope = { day, region: region ?? '', service };
  const signedHeaders = signedNames.split(';');
  const placeText = isEcdsa ? ecdsaScopeText(scope) : scopeText(scope);
  return { accessKey, scope, scopeText: placeText, signedHeaders, signedNames };
}

/** x-amz-date, else Date. */
function dateOf(headers: RequestHeaders): { timestamp: string; at: number } {
  const own = headers['x-amz-date'];
  const timestamp = own ?? basicForm(headers['date']);
  const at = timestamp === undefined ? undefined : parseTimestamp(timestamp);
  if (timestamp === undefined || at === undefined) {
    throw new FirnError('AccessDenied', 'A valid Date or x-amz-date header is required.');
  }
  return { timestamp, at };
}

function basicForm(date: string | undefined): string | undefined {
  if (date === undefined || parseTimestamp(date) !== undefined) return date;
  const at = Date.parse(date);
  if (Number.isNaN(at)) return undefined;
  return new Date(at).toISOString().replace(/[-:]|\.\d{3}/g, '');
}

export function malformedHeader(reason: string, details?: Record<string, string>): FirnError {
  return new FirnError(
    'AuthorizationHeaderMalformed',
    `The authorization header is malformed; ${reason}.`,
    details === undefined ? {} : { details },
  );
}

export function malformedQuery(reason: string, details?: Record<string, string>): FirnError {
  return new FirnError(
    'AuthorizationQueryParametersError',
    `Error in the authorization query parameters; ${reason}.`,
    details === undefined ? {} : { details },
  );
}
