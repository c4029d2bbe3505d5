// The one error class of operating errors. A broken invariant is an assertion, never a FirnError; a
// lost compare-and-swap is a value, never an exception. Only the table in api/s3 knows HTTP: here a
// code is a name, and S3's own names are used wherever S3 has one for the case.

/** Codes that S3 clients see under these very names (api/s3/answer/errors.ts: status). */
export type S3Code =
  | 'AccessControlListNotSupported'
  | 'AccessDenied'
  | 'AccessForbidden'
  | 'AuthorizationHeaderMalformed'
  | 'AuthorizationQueryParametersError'
  | 'BadDigest'
  | 'BadRequest'
  | 'BucketAlreadyExists'
  | 'BucketAlreadyOwnedByYou'
  | 'BucketNotEmpty'
  | 'ConditionalRequestConflict'
  | 'EntityTooLarge'
  | 'EntityTooSmall'
  | 'ExpiredToken'
  | 'GlacierExpeditedRetrievalNotAvailable'
  | 'IllegalLocationConstraintException'
  | 'IllegalVersioningConfigurationException'
  | 'IncompleteBody'
  | 'IncorrectNumberOfFilesInPostRequest'
  | 'InsufficientCapacity'
  | 'InternalError'
  | 'InvalidAccessKeyId'
  | 'InvalidArgument'
  | 'InvalidBucketAclWithBlockPublicAccessError'
  | 'InvalidBucketAclWithObjectOwnership'
  | 'InvalidBucketName'
  | 'InvalidBucketState'
  | 'InvalidChunkSizeError'
  | 'InvalidDigest'
  | 'InvalidEncryptionAlgorithmError'
  | 'InvalidLocationConstraint'
  | 'InvalidObjectState'
  | 'InvalidPart'
  | 'InvalidPartOrder'
  | 'InvalidPolicyDocument'
  | 'InvalidRange'
  | 'InvalidRedirectLocation'
  | 'InvalidRequest'
  | 'InvalidRetentionPeriod'
  | 'InvalidStorageClass'
  | 'InvalidTag'
  | 'InvalidTargetBucketForLogging'
  | 'InvalidTier'
  | 'InvalidToken'
  | 'InvalidURI'
  | 'KMS.NotFoundException'
  | 'KeyTooLongError'
  | 'MalformedACLError'
  | 'MalformedPOSTRequest'
  | 'MalformedPolicy'
  | 'MalformedTrailerError'
  | 'MalformedXML'
  | 'MaxMessageLengthExceeded'
  | 'MaxPostPreDataLengthExceededError'
  | 'MetadataTooLarge'
  | 'MethodNotAllowed'
  | 'MissingContentLength'
  | 'MissingSecurityHeader'
  | 'NoSuchBucket'
  | 'NoSuchBucketPolicy'
  | 'NoSuchCORSConfiguration'
  | 'NoSuchConfiguration'
  | 'NoSuchKey'
  | 'NoSuchLifecycleConfiguration'
  | 'NoSuchObjectLockConfiguration'
  | 'NoSuchPublicAccessBlockConfiguration'
  | 'NoSuchTagSet'
  | 'NoSuchUpload'
  | 'NoSuchVersion'
  | 'NoSuchWebsiteConfiguration'
  | 'NotImplemented'
  | 'NotModified'
  | 'ObjectLockConfigurationNotFoundError'
  | 'OwnershipControlsNotFoundError'
  | 'PreconditionFailed'
  | 'QuotaExceeded'
  | 'ReplicationConfigurationNotFoundError'
  | 'RequestHeaderSectionTooLarge'
  | 'RequestTimeTooSkewed'
  | 'RequestTimeout'
  | 'RestoreAlreadyInProgress'
  | 'ServerSideEncryptionConfigurationNotFoundError'
  | 'ServiceUnavailable'
  | 'SignatureDoesNotMatch'
  | 'SlowDown'
  | 'TooManyBuckets'
  | 'TooManyConfigurations'
  | 'UnresolvableGrantByEmailAddress'
  | 'UserKeyMustBeSpecified'
  | 'XAmzContentSHA256Mismatch';

/** Codes that clients of the identity API see (api/iam), beside some of S3's. */
export type IdentityCode =
  | 'DeleteConflict'
  | 'EntityAlreadyExists'
  | 'InvalidAction'
  | 'InvalidClientTokenId'
  | 'InvalidInput'
  | 'LimitExceeded'
  | 'MalformedPolicyDocument'
  | 'MissingAuthenticationToken'
  | 'NoSuchEntity'
  | 'ValidationError';

/** Codes of Firn's own. Those that reach an S3 client do so as the S3 code in brackets. */
export type OwnCode =
  | 'Corrupt' // bytes fail their checksum beyond what the code can repair (InternalError)
  | 'DriveForeign' // a drive directory belongs to another group, position or store
  | 'DriveUnavailable' // too few drives answer (ServiceUnavailable)
  | 'FormatUnknown' // written by a newer Firn
  | 'GuardRail' // an apply or restore passes a limit that an operator set
  | 'LeaseLost' // another worker holds this lease now
  | 'MetadataUnavailable' // no store, no majority, or in doubt (ServiceUnavailable)
  | 'PlanStale' // the plan's hash is not of what is there now
  | 'PolicyInvalid' // a policy file or lifecycle XML breaks a rule
  | 'SettingsInvalid' // configuration
  | 'TierConflict' // a name holds other bytes already
  | 'TierMissing' // bytes that a tier acknowledged are not there: a durability alarm (InternalError)
  | 'TierOffline' // staged bytes asked for before they were staged (InvalidObjectState)
  | 'TierUnavailable' // a cloud does not answer (ServiceUnavailable)
  | 'UsageError'; // a command was called wrongly

export type ErrorCode = S3Code | IdentityCode | OwnCode;

export interface FirnErrorOptions {
  /** What it happened to: a bucket/key, a drive path, a policy file with line. */
  subject?: string;
  /** What the reader can do about it. */
  hint?: string;
  cause?: unknown;
  /** True when the same call may succeed later without anything else being changed. */
  retryable?: boolean;
  /** Further elements of the S3 error body, for example StorageClass. */
  details?: Record<string, string>;
}

export class FirnError extends Error {
  readonly code: ErrorCode;
  readonly subject: string | undefined;
  readonly hint: string | undefined;
  readonly retryable: boolean;
  readonly details: Record<string, string> | undefined;

  constructor(code: ErrorCode, message: string, options: FirnErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'FirnError';
    this.code = code;
    this.subject = options.subject;
    this.hint = options.hint;
    this.retryable = options.retryable ?? false;
    this.details = options.details;
  }
}

/**
 * True: it can't be said whether the change was made. It may stand, or may yet come (B6). Every
 * metadata store says so by this one code; who meets it repeats, frees and takes back nothing.
 */
export function isInDoubt(error: unknown): error is FirnError {
  return isFirnError(error, 'MetadataUnavailable');
}

export function isFirnError(error: unknown, code?: ErrorCode): error is FirnError {
  return error instanceof FirnError && (code === undefined || error.code === code);
}
