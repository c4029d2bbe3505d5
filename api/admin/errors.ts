// The admin API's one table from error code to HTTP status. What is not in it is a fault of ours:
// it is answered as InternalError with the request id and nothing else, and logged in full.

import type { ErrorAnswer } from '../../appliance/model/answers.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import type { ErrorCode } from '../../appliance/model/errors.ts';

const STATUS: Partial<Record<ErrorCode, number>> = {
  AccessDenied: 403,
  AuthorizationHeaderMalformed: 400,
  BucketNotEmpty: 409,
  Corrupt: 500,
  FormatUnknown: 500,
  GuardRail: 409,
  InvalidAccessKeyId: 403,
  InvalidArgument: 400,
  InvalidBucketName: 400,
  InvalidObjectState: 409,
  InvalidRequest: 400,
  InvalidStorageClass: 400,
  InvalidTier: 400,
  LeaseLost: 409,
  MalformedXML: 400,
  MaxMessageLengthExceeded: 413,
  MetadataUnavailable: 503,
  MethodNotAllowed: 405,
  NoSuchBucket: 404,
  NoSuchKey: 404,
  NoSuchVersion: 404,
  NotImplemented: 501,
  PlanStale: 409,
  PolicyInvalid: 400,
  PreconditionFailed: 412,
  RequestTimeTooSkewed: 403,
  ServiceUnavailable: 503,
  SettingsInvalid: 400,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  TierUnavailable: 503,
  UsageError: 400,
  XAmzContentSHA256Mismatch: 400,
};

export interface AnsweredError {
  status: number;
  answer: ErrorAnswer;
  /** True where the cause is ours and belongs into the log. */
  internal: boolean;
}

/** Never shows more of an unknown error than that it happened. */
export function answerOf(error: unknown, requestId: string): AnsweredError {
  if (isFirnError(error)) {
    const status = STATUS[error.code];
    if (status !== undefined && status !== 500) {
      const { code, message, hint } = error;
      return { status, answer: { code, message, ...(hint ? { hint } : {}) }, internal: false };
    }
  }
  return {
    status: 500,
    answer: {
      code: 'InternalError',
      message: `something went wrong inside Firn (request ${requestId})`,
      hint: `its log says what, under the request id ${requestId}`,
    },
    internal: true,
  };
}
