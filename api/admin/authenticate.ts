// Who asks? Every request under /v1 carries a SigV4 signature with service `firn`, and the whole
// body is bound by its SHA-256. Default deny: what this file does not let through reaches no route,
// so that an unknown path tells a stranger nothing either. The clock it trusts is wall time: a
// sandbox that advances the engine's clock must not make old signatures good.

import type { IncomingMessage } from 'node:http';
import { FirnError } from '../../appliance/model/errors.ts';
import {
  ALGORITHM,
  canonicalHeaderValue,
  canonicalQuery,
  canonicalRequest,
  decodeQuery,
  equalDigests,
  hmacHex,
  parseTimestamp,
  scopeText,
  sha256Hex,
  signingKey,
  stringToSign,
} from '../../appliance/model/signature.ts';
import type { AdminAccounts } from './contract/options.ts';

const SKEW_MS_MAX = 15 * 60_000;
export const ADMIN_SERVICE = 'firn';

interface Claim {
  accessKey: string;
  day: string;
  region: string;
  service: string;
  signedHeaders: string[];
  signature: string;
}

export interface AuthenticateOptions {
  accounts: Pick<AdminAccounts, 'secretOf' | 'getAccount'>;
  region: string;
  wall: () => number;
}

export interface SignedRequest {
  /** Account id of the admin that signed. */
  account: string;
  /** What the body must hash to: compared once it has been read. */
  bodySha256: string;
}

/** Throws the S3 code that fits; returns only for a valid signature of an admin account. */
export async function authenticate(
  request: IncomingMessage,
  options: AuthenticateOptions,
): Promise<SignedRequest> {
  const claim = parseClaim(request.headers.authorization);
  if (claim.service !== ADMIN_SERVICE || claim.region !== options.region) {
    throw new FirnError(
      'AuthorizationHeaderMalformed',
      `the signature is for ${claim.service} in ${claim.region}`,
      { hint: `sign for the service ${ADMIN_SERVICE} in the region ${options.region}` },
    );
  }
  const timestamp = headerOf(request, 'x-amz-date');
  checkDate(timestamp, claim.day, options.wall());
  const bodySha256 = headerOf(request, 'x-amz-content-sha256');
  if (!/^[0-9a-f]{64}$/.test(bodySha256)) {
    throw new FirnError('AccessDenied', 'the body must be signed', {
      hint: 'send x-amz-content-sha256 with the SHA-256 of the body in hex',
    });
  }
  checkSignedHeaders(request, claim.signedHeaders);
  const secretKey = await options.accounts.secretOf(claim.accessKey);
  if (secretKey === undefined) {
    throw new FirnError('InvalidAccessKeyId', 'there is no such access key, or it was revoked', {
      hint: './firn key list shows those there are',
    });
  }
  const expected = signatureOf(request, claim, { timestamp, bodySha256, ...secretKey });
  if (!equalDigests(expected, claim.signature)) {
    throw new FirnError('SignatureDoesNotMatch', 'the signature does not match the request', {
      hint: 'check the secret key, and that nothing between changes path, query or headers',
    });
  }
  const account = await options.accounts.getAccount(secretKey.account);
  if (account?.admin !== true) {
    throw new FirnError('AccessDenied', `the account ${secretKey.account} is no admin`, {
      hint: 'use a key pair of the root account, or of one made with --admin',
    });
  }
  return { account: account.id, bodySha256 };
}

/** Throws XAmzContentSHA256Mismatch unless these are the bytes that were signed. */
export function checkBody(signed: SignedRequest, body: Uint8Array): void {
  if (equalDigests(sha256Hex(body), signed.bodySha256)) return;
  throw new FirnError('XAmzContentSHA256Mismatch', 'the body is not the one that was signed', {
    hint: 'x-amz-content-sha256 is the SHA-256 of the exact bytes sent',
  });
}

const CREDENTIAL = String.raw`Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request`;
const SIGNED = String.raw`SignedHeaders=([a-z0-9;-]+),\s*Signature=([0-9a-f]{64})`;
const HEADER = new RegExp(String.raw`^${ALGORITHM}\s+${CREDENTIAL},\s*${SIGNED}$`);

function parseClaim(header: string | undefined): Claim {
  if (header === undefined) {
    throw new FirnError('AccessDenied', 'the request is not signed', {
      hint: `sign it by ${ALGORITHM} with service ${ADMIN_SERVICE} and an admin's key pair`,
    });
  }
  const match = HEADER.exec(header.trim());
  if (match === null) {
    throw new FirnError('AuthorizationHeaderMalformed', 'the Authorization header is not SigV4', {
      hint:
        `${ALGORITHM} Credential=KEY/DAY/REGION/${ADMIN_SERVICE}/aws4_request, ` +
        'SignedHeaders=…, Signature=…',
    });
  }
  const [, accessKey = '', day = '', region = '', service = '', signed = '', signature = ''] =
    match;
  return { accessKey, day, region, service, signedHeaders: signed.split(';'), signature };
}

function headerOf(request: IncomingMessage, name: string): string {
  const value = request.headers[name];
  return (Array.isArray(value) ? value.join(',') : value) ?? '';
}

function checkDate(timestamp: string, day: string, wall: number): void {
  const at = parseTimestamp(timestamp);
  if (at === undefined || timestamp.slice(0, 8) !== day) {
    throw new FirnError('AccessDenied', 'x-amz-date is missing or not of the day signed for', {
      hint: 'send it as YYYYMMDDTHHMMSSZ',
    });
  }
  if (Math.abs(at - wall) <= SKEW_MS_MAX) return;
  throw new FirnError('RequestTimeTooSkewed', 'the request is more than 15 minutes off', {
    hint: `the server's clock says ${new Date(wall).toISOString()}`,
  });
}

/** What decides the meaning of a request must be under the signature. */
function checkSignedHeaders(request: IncomingMessage, signed: readonly string[]): void {
  const names = new Set(signed);
  const required = ['host', ...Object.keys(request.headers).filter((h) => h.startsWith('x-amz-'))];
  const missing = required.filter((name) => !names.has(name));
  const sorted = signed.every((name, index) => index === 0 || (signed[index - 1] ?? '') < name);
  if (missing.length === 0 && sorted) return;
  throw new FirnError('AccessDenied', 'headers are missing from the signature', {
    hint: sorted ? `sign ${missing.join(', ')} too` : 'SignedHeaders are in order, each once',
  });
}

function signatureOf(
  request: IncomingMessage,
  claim: Claim,
  given: { timestamp: string; bodySha256: string; secretKey: string },
): string {
  const url = request.url ?? '/';
  const question = url.indexOf('?');
  const pairs = decodeQuery(question < 0 ? '' : url.slice(question + 1));
  if (pairs === undefined) {
    throw new FirnError('InvalidArgument', 'the query is not valid percent-encoding');
  }
  const canonical = canonicalRequest({
    method: request.method ?? 'GET',
    path: question < 0 ? url : url.slice(0, question),
    query: canonicalQuery(pairs),
    signedHeaders: claim.signedHeaders.join(';'),
    headerLines: claim.signedHeaders
      .map((name) => `${name}:${canonicalHeaderValue(headerOf(request, name))}\n`)
      .join(''),
    payloadHash: given.bodySha256,
  });
  return hmacHex(
    signingKey(given.secretKey, claim),
    stringToSign(given.timestamp, scopeText(claim), canonical),
  );
}
