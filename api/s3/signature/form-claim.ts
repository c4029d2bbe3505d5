// Who signed an upload form: the signature is over the policy alone, in fields of the form, and
// what the policy says holds every other field (form-policy.ts). A form without a policy is
// nobody's.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { FirnError } from '../../../appliance/model/errors.ts';
import {
  ALGORITHM,
  equalDigests,
  hmacHex,
  parseTimestamp,
  PRESIGN_SECONDS_MAX,
  signingKey,
  UNSIGNED_PAYLOAD,
} from '../../../appliance/model/signature.ts';
import type { S3Settings } from '../input/settings.ts';
import { ANY_SIZE, checkFormPolicy, parseFormPolicy } from './form-policy.ts';
import type { FormFields, SizeRange } from './form-policy.ts';
import { ANONYMOUS, type Identity } from './verify.ts';

/** As requests have it. */
const SKEW_MS_MAX = 15 * 60_000;

/** Fields that say who signed; `x-amz-security-token` belongs to both kinds. */
const OWN_FIELDS = ['x-amz-algorithm', 'x-amz-credential', 'x-amz-date', 'x-amz-signature'];
const OLD_FIELDS = ['awsaccesskeyid', 'signature'];

/** Not what an object is stored with. */
export const FORM_AUTH_FIELDS: ReadonlySet<string> = new Set([
  ...OWN_FIELDS,
  ...OLD_FIELDS,
  'policy',
  'x-amz-security-token',
  'x-amz-content-sha256',
]);

export interface VerifiedForm {
  identity: Identity;
  /** What the file's size must be within. */
  size: SizeRange;
}

/**
 * Resolves to the form's signer, whose policy every field keeps, or to nobody. `fields` as for
 * checkFormPolicy. Throws InvalidArgument, InvalidPolicyDocument, AccessDenied, InvalidAccessKeyId,
 * SignatureDoesNotMatch.
 */
export async function verifyForm(
  fields: FormFields,
  settings: Pick<S3Settings, 'accounts' | 'clock' | 'region'>,
): Promise<VerifiedForm> {
  const policy = fields.get('policy');
  const isOwn = OWN_FIELDS.some((name) => fields.has(name));
  const isOld = OLD_FIELDS.some((name) => fields.has(name));
  if (policy === undefined) {
    if (isOwn || isOld || fields.has('x-amz-security-token')) throw missing('policy');
    return { identity: nobody(), size: ANY_SIZE };
  }
  if (isOwn && isOld) {
    throw new FirnError('InvalidArgument', 'Only one authentication mechanism is allowed.');
  }
  const signed = isOld ? oldClaim(fields) : ownClaim(fields, settings);
  const { accessKey } = signed;
  const token = fields.get('x-amz-security-token');
  const secret = await settings.accounts.secretOf(accessKey, token);
  if (secret === undefined) {
    throw new FirnError(
      'InvalidAccessKeyId',
      'The access key id you provided does not exist in our records.',
      { details: { AWSAccessKeyId: accessKey } },
    );
  }
  if ((token !== undefined) !== (secret.isTemporary === true)) {
    throw new FirnError('InvalidToken', 'The provided token is malformed or otherwise invalid.');
  }
  if (!signed.isSigned(secret.secretKey, policy)) {
    throw new FirnError(
      'SignatureDoesNotMatch',
      'The request signature we calculated does not match the signature you provided. Check your key and signing method.',
      { details: { AWSAccessKeyId: accessKey, StringToSign: policy } },
    );
  }
  const parsed = parseFormPolicy(policy);
  checkFormPolicy(parsed, fields, settings.clock.wall());
  const identity: Identity = {
    account: secret.account,
    accessKey,
    kind: 'form',
    signer: secret.signer,
    payloadHash: UNSIGNED_PAYLOAD,
    chunks: undefined,
  };
  return { identity, size: parsed.size };
}

function nobody(): Identity {
  const kind = 'anonymous';
  return {
    account: ANONYMOUS,
    accessKey: '',
    kind,
    payloadHash: UNSIGNED_PAYLOAD,
    chunks: undefined,
  };
}

interface FormClaim {
  accessKey: string;
  isSigned(secretKey: string, policy: string): boolean;
}

function missing(name: string): FirnError {
  return new FirnError('InvalidArgument', `Bucket POST must contain a field named '${name}'.`, {
    details: { ArgumentName: name, ArgumentValue: '' },
  });
}

function needed(fields: FormFields, name: string): string {
  const value = fields.get(name);
  if (value === undefined || value === '') throw missing(name);
  return value;
}

const CREDENTIAL = /^(.+)\/(\d{8})\/([^/]+)\/s3\/aws4_request$/;

function ownClaim(
  fields: FormFields,
  { clock, region }: Pick<S3Settings, 'clock' | 'region'>,
): FormClaim {
  const [algorithm, text, date, signature] = OWN_FIELDS.map((name) => needed(fields, name)) as [
    string,
    string,
    string,
    string,
  ];
  if (algorithm !== ALGORITHM) {
    throw new FirnError('InvalidArgument', `x-amz-algorithm must be ${ALGORITHM}.`);
  }
  const [, accessKey, day, place] = CREDENTIAL.exec(text) ?? [];
  if (accessKey === undefined || day === undefined || place !== region) {
    throw new FirnError(
      'InvalidArgument',
      `The credential must be in the form KEY/YYYYMMDD/${region}/s3/aws4_request.`,
      { details: { ArgumentName: 'x-amz-credential', ArgumentValue: text } },
    );
  }
  const at = parseTimestamp(date);
  if (at === undefined || !date.startsWith(day)) {
    throw new FirnError('InvalidArgument', 'x-amz-date must be that of the credential.');
  }
  const age = clock.wall() - at;
  // Signing keys are made by day, and S3's own are of no use after seven.
  if (age < -SKEW_MS_MAX || age > PRESIGN_SECONDS_MAX * 1000) {
    throw new FirnError('AccessDenied', 'The form was signed too long ago, or is not yet valid.');
  }
  const scope = { day, region, service: 's3' };
  return {
    accessKey,
    isSigned: (secretKey, policy) =>
      equalDigests(hmacHex(signingKey(secretKey, scope), policy), signature),
  };
}

/**
 * The older way to sign a form, which many makers of forms still use and S3 still takes: HMAC-SHA1
 * of the policy. Here, and nowhere else: of requests it would sign too little.
 */
function oldClaim(fields: FormFields): FormClaim {
  const accessKey = needed(fields, 'awsaccesskeyid');
  const text = needed(fields, 'signature');
  const given = Buffer.from(text, 'base64');
  return {
    accessKey,
    isSigned(secretKey, policy) {
      const expected = createHmac('sha1', secretKey).update(policy, 'utf8').digest();
      const isWhole = given.length === expected.length && given.toString('base64') === text;
      return isWhole && timingSafeEqual(given, expected);
    },
  };
}
