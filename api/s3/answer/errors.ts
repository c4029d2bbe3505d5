// The one place that knows HTTP: code → status and message. What isn't in the table, or must not be
// shown, becomes InternalError with the request id and nothing else: no hint, no stack, no path of
// a drive ever reaches a client. A client's own mistake keeps the message of whoever found it.

import { isFirnError } from '../../../appliance/model/errors.ts';
import type { ErrorCode, FirnError, OwnCode, S3Code } from '../../../appliance/model/errors.ts';
import { element, xmlDocument } from '../xml/write.ts';

interface ErrorRow {
  status: number;
  message: string;
}

const row = (status: number, message: string): ErrorRow => ({ status, message });

const INTERNAL = row(500, 'We encountered an internal error. Please try again.');
const UNAVAILABLE = row(503, 'The service is unavailable for the moment. Please try again.');

/** How long a client is asked to wait before it tries again, seconds. */
const RETRY_AFTER_SECONDS = '2';

const S3_ERRORS: Record<S3Code, ErrorRow> = {
  AccessControlListNotSupported: row(400, 'The bucket does not allow ACLs.'),
  AccessDenied: row(403, 'Access Denied.'),
  AccessForbidden: row(403, 'CORS does not allow this request.'),
  AuthorizationHeaderMalformed: row(400, 'The authorization header is malformed.'),
  AuthorizationQueryParametersError: row(400, 'The authorization query parameters are malformed.'),
  BadDigest: row(400, 'The checksum you specified did not match what we received.'),
  BadRequest: row(400, 'The request is not valid.'),
  BucketAlreadyExists: row(409, 'The requested bucket name is not available.'),
  BucketAlreadyOwnedByYou: row(409, 'You own this bucket already.'),
  BucketNotEmpty: row(409, 'The bucket you tried to delete is not empty.'),
  ConditionalRequestConflict: row(
    409,
    'The conditional request met another one on the same key. Please try again.',
  ),
  EntityTooLarge: row(400, 'Your proposed upload exceeds the maximum allowed size.'),
  EntityTooSmall: row(400, 'Your proposed upload is smaller than the minimum allowed size.'),
  ExpiredToken: row(400, 'The provided token has expired.'),
  GlacierExpeditedRetrievalNotAvailable: row(
    503,
    'Expedited retrievals are not available now. Try again later.',
  ),
  IllegalLocationConstraintException: row(400, 'The location constraint is not this region.'),
  IllegalVersioningConfigurationException: row(400, 'The versioning configuration is invalid.'),
  IncompleteBody: row(400, 'You did not provide the number of bytes that you announced.'),
  IncorrectNumberOfFilesInPostRequest: row(400, 'A POST form needs exactly one file.'),
  InsufficientCapacity: row(503, 'There is not enough room to store this.'),
  InternalError: INTERNAL,
  InvalidAccessKeyId: row(403, 'The access key id you provided does not exist.'),
  InvalidArgument: row(400, 'Invalid argument.'),
  InvalidBucketAclWithBlockPublicAccessError: row(
    400,
    'The bucket cannot have public ACLs set with BlockPublicAccess enabled.',
  ),
  InvalidBucketAclWithObjectOwnership: row(
    400,
    'The bucket cannot have ACLs set with its object ownership.',
  ),
  InvalidBucketName: row(400, 'The specified bucket is not valid.'),
  InvalidBucketState: row(409, 'The request is not valid for the current state of the bucket.'),
  InvalidChunkSizeError: row(400, 'Only the last chunk may be smaller than 8192 bytes.'),
  InvalidDigest: row(400, 'The Content-MD5 or checksum you specified is not valid.'),
  InvalidEncryptionAlgorithmError: row(400, 'The encryption request you specified is not valid.'),
  InvalidLocationConstraint: row(400, 'The specified location constraint is not valid.'),
  InvalidObjectState: row(403, 'The operation is not valid for the storage class of the object.'),
  InvalidPart: row(400, 'One or more of the specified parts could not be found or do not match.'),
  InvalidPartOrder: row(400, 'The list of parts was not in ascending order.'),
  InvalidPolicyDocument: row(
    400,
    'The content of the form does not meet the conditions of its policy.',
  ),
  InvalidRange: row(416, 'The requested range is not satisfiable.'),
  InvalidRedirectLocation: row(
    400,
    "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
  ),
  InvalidRequest: row(400, 'Invalid request.'),
  InvalidRetentionPeriod: row(
    400,
    'The retention period must be a positive number of days or years.',
  ),
  InvalidStorageClass: row(400, 'The storage class you specified is not valid.'),
  InvalidTag: row(400, 'The tag provided was not a valid tag.'),
  InvalidTargetBucketForLogging: row(400, 'The target bucket for logging is not one of yours.'),
  InvalidTier: row(403, 'The retrieval tier is not supported for this storage class.'),
  InvalidToken: row(400, 'The provided token is malformed or otherwise invalid.'),
  InvalidURI: row(400, 'The URI could not be parsed, or names a key that is not allowed.'),
  'KMS.NotFoundException': row(400, 'The key does not exist.'),
  KeyTooLongError: row(400, 'Your key is too long.'),
  MalformedACLError: row(400, 'The XML you provided was not well-formed or not of the schema.'),
  MalformedPOSTRequest: row(
    400,
    'The body of the POST request is not well-formed multipart/form-data.',
  ),
  MalformedPolicy: row(400, 'The policy is not well-formed.'),
  MalformedTrailerError: row(400, 'The request contained trailing data that was not well-formed.'),
  MalformedXML: row(400, 'The XML you provided was not well-formed or not of the schema.'),
  MaxMessageLengthExceeded: row(400, 'Your request was too big.'),
  MaxPostPreDataLengthExceededError: row(400, 'The form fields before the file are too large.'),
  MetadataTooLarge: row(400, 'Your metadata headers exceed the maximum allowed size of 2 KB.'),
  MethodNotAllowed: row(405, 'The specified method is not allowed against this resource.'),
  MissingContentLength: row(411, 'You must provide the Content-Length HTTP header.'),
  MissingSecurityHeader: row(400, 'Your request is missing a required header.'),
  NoSuchBucket: row(404, 'The specified bucket does not exist.'),
  NoSuchBucketPolicy: row(404, 'The bucket policy does not exist.'),
  NoSuchCORSConfiguration: row(404, 'The CORS configuration does not exist.'),
  NoSuchConfiguration: row(404, 'The specified configuration does not exist.'),
  NoSuchKey: row(404, 'The specified key does not exist.'),
  NoSuchLifecycleConfiguration: row(404, 'The lifecycle configuration does not exist.'),
  NoSuchObjectLockConfiguration: row(404, 'The object has no object lock configuration.'),
  NoSuchPublicAccessBlockConfiguration: row(
    404,
    'The public access block configuration was not found.',
  ),
  NoSuchTagSet: row(404, 'There is no tag set.'),
  NoSuchUpload: row(404, 'The specified upload does not exist, or was completed or aborted.'),
  NoSuchVersion: row(404, 'The specified version does not exist.'),
  NoSuchWebsiteConfiguration: row(404, 'The bucket has no website configuration.'),
  NotImplemented: row(501, 'A header or operation you asked for is not implemented.'),
  NotModified: row(304, 'Not Modified.'),
  ObjectLockConfigurationNotFoundError: row(404, 'Object lock is not configured for this bucket.'),
  OwnershipControlsNotFoundError: row(404, 'The bucket ownership controls were not found.'),
  PreconditionFailed: row(412, 'At least one of the preconditions you specified did not hold.'),
  QuotaExceeded: row(403, 'The quota of the bucket or account is used up.'),
  ReplicationConfigurationNotFoundError: row(404, 'The replication configuration was not found.'),
  RequestHeaderSectionTooLarge: row(400, 'Your request header section exceeds the maximum size.'),
  RequestTimeTooSkewed: row(403, 'The difference between the request time and ours is too large.'),
  RequestTimeout: row(400, 'Your connection was idle or too slow for too long.'),
  RestoreAlreadyInProgress: row(409, 'Object restore is already in progress.'),
  ServerSideEncryptionConfigurationNotFoundError: row(
    404,
    'The encryption configuration was not found.',
  ),
  ServiceUnavailable: UNAVAILABLE,
  SignatureDoesNotMatch: row(403, 'The signature we calculated does not match the one you sent.'),
  SlowDown: row(503, 'Please reduce your request rate.'),
  TooManyBuckets: row(400, 'You have attempted to create more buckets than allowed.'),
  TooManyConfigurations: row(400, 'The bucket has as many configurations as are allowed.'),
  UnresolvableGrantByEmailAddress: row(
    400,
    'The e-mail address you provided does not match any account.',
  ),
  UserKeyMustBeSpecified: row(400, 'The POST form must name a key.'),
  XAmzContentSHA256Mismatch: row(400, 'x-amz-content-sha256 is not the hash of what we received.'),
};

/** Own codes that clients see under an S3 name. Those not here are InternalError. */
const OWN_ERRORS: Partial<Record<OwnCode, S3Code>> = {
  DriveUnavailable: 'ServiceUnavailable',
  GuardRail: 'SlowDown',
  MetadataUnavailable: 'ServiceUnavailable',
  TierOffline: 'InvalidObjectState',
  TierUnavailable: 'ServiceUnavailable',
};

/** Facts that travel as headers and not, or not only, as elements of the body. */
const DETAIL_HEADERS: Record<string, string> = {
  DeleteMarker: 'x-amz-delete-marker',
  VersionId: 'x-amz-version-id',
  Allow: 'Allow',
};
const HEADER_ONLY = new Set(['Allow', 'DeleteMarker', 'VersionId']);

/** An error as a client sees it. */
export interface VisibleError {
  code: S3Code;
  status: number;
  message: string;
  details: Record<string, string>;
  headers: string[];
  /** True when an operator should look: the request failed by our own fault. */
  fault: boolean;
}

function codeOf(code: ErrorCode): S3Code {
  if (Object.hasOwn(S3_ERRORS, code)) return code as S3Code;
  return OWN_ERRORS[code as OwnCode] ?? 'InternalError';
}

export function statusOf(code: S3Code): number {
  return S3_ERRORS[code].status;
}

export function visibleError(error: unknown): VisibleError {
  const known = isFirnError(error) ? error : undefined;
  const code = known === undefined ? 'InternalError' : codeOf(known.code);
  const { status, message } = S3_ERRORS[code];
  // Only a message that was written for this very code, about the client's own mistake, is shown.
  const own = status < 500 || status === 501;
  const shown = own && known !== undefined && known.code === code;
  const headers: string[] = [];
  if (status === 503) headers.push('Retry-After', RETRY_AFTER_SECONDS);
  const details: Record<string, string> = {};
  if (shown) addDetails(known, { headers, details });
  return {
    code,
    status,
    message: shown ? known.message : message,
    details,
    headers,
    fault: status >= 500 && status !== 501,
  };
}

function addDetails(
  error: FirnError,
  into: { headers: string[]; details: Record<string, string> },
): void {
  for (const [name, value] of Object.entries(error.details ?? {})) {
    const header = DETAIL_HEADERS[name];
    if (header !== undefined) into.headers.push(header, value);
    if (!HEADER_ONLY.has(name)) into.details[name] = value;
  }
  const size = error.details?.['ActualObjectSize'];
  if (size !== undefined) into.headers.push('Content-Range', `bytes */${size}`);
  if (error.code === 'NoSuchKey' && error.details?.['DeleteMarker'] === undefined) {
    into.headers.push('x-amz-delete-marker', 'false');
  }
}

/** The body of an error answer. `resource` is the raw path of the request. */
export function errorXml(error: VisibleError, resource: string, requestId: string): string {
  let content = element('Code', error.code) + element('Message', error.message);
  for (const [name, value] of Object.entries(error.details)) content += element(name, value);
  content += element('Resource', resource) + element('RequestId', requestId);
  return xmlDocument('Error', content, '');
}
