// Conditional requests. A wrong answer here is a lost update, so each is one pure function over the
// version that the compare-and-swap is about to replace (A4), and S3's precedence is RFC 9110's:
// If-Match over If-Unmodified-Since, If-None-Match over If-Modified-Since. Dates compare by
// seconds: HTTP dates have no finer grain.

import { FirnError } from '../../model/errors.ts';
import type { Version } from '../../model/object.ts';
import type { ReadConditions, WriteConditions } from '../../model/requests.ts';

const seconds = (ms: number): number => Math.floor(ms / 1000);

/** `condition`: an etag with or without quotes, '*', or a list of etags. */
function matches(condition: string, etag: string): boolean {
  if (condition === '*' || condition === etag) return true;
  return condition.split(',').some((one) => {
    const plain = one
      .trim()
      .replace(/^W\//, '')
      .replace(/^"(.*)"$/, '$1');
    return plain === etag || plain === '*';
  });
}

function preconditionFailed(subject: string, condition: string): FirnError {
  return new FirnError(
    'PreconditionFailed',
    'At least one of the pre-conditions you specified did not hold',
    { subject, details: { Condition: condition } },
  );
}

/** For GET and HEAD: NotModified or PreconditionFailed where a condition says so. */
export function checkRead(
  conditions: ReadConditions | undefined,
  version: Version,
  subject: string,
): void {
  if (conditions === undefined) return;
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = conditions;
  const at = seconds(version.lastModified);
  if (ifMatch !== undefined) {
    if (!matches(ifMatch, version.etag)) throw preconditionFailed(subject, 'If-Match');
  } else if (ifUnmodifiedSince !== undefined && at > seconds(ifUnmodifiedSince)) {
    throw preconditionFailed(subject, 'If-Unmodified-Since');
  }
  if (ifNoneMatch !== undefined) {
    if (matches(ifNoneMatch, version.etag)) throw notModified(subject, version);
  } else if (ifModifiedSince !== undefined && at <= seconds(ifModifiedSince)) {
    throw notModified(subject, version);
  }
}

function notModified(subject: string, version: Version): FirnError {
  return new FirnError('NotModified', 'Not Modified', {
    subject,
    details: { ETag: version.etag, LastModified: String(version.lastModified) },
  });
}

/** For the source of a copy: S3 answers 412 also where a GET would answer 304. */
export function checkCopySource(
  conditions: ReadConditions | undefined,
  version: Version,
  subject: string,
): void {
  try {
    checkRead(conditions, version, subject);
  } catch (error) {
    if (!(error instanceof FirnError) || error.code !== 'NotModified') throw error;
    throw preconditionFailed(subject, 'x-amz-copy-source-if-none-match');
  }
}

/** For PUT, Copy and Complete, against the current version. If-Match without one: NoSuchKey. */
export function checkWrite(
  conditions: WriteConditions | undefined,
  current: Version | undefined,
  subject: string,
): void {
  if (conditions === undefined) return;
  const { ifMatch, ifNoneMatch } = conditions;
  const shown = current?.deleteMarker === true ? undefined : current;
  if (ifMatch !== undefined) {
    if (shown === undefined) {
      throw new FirnError('NoSuchKey', 'The specified key does not exist.', { subject });
    }
    if (!matches(ifMatch, shown.etag)) throw preconditionFailed(subject, 'If-Match');
  }
  if (ifNoneMatch !== undefined && shown !== undefined && matches(ifNoneMatch, shown.etag)) {
    throw preconditionFailed(subject, 'If-None-Match');
  }
}

/**
 * For DELETE, against the version meant (the current one, or that of the version id). Absent:
 * nothing to check. A delete marker has no etag, size or date that could match: only `*` passes.
 */
export function checkDelete(
  conditions: WriteConditions | undefined,
  version: Version | undefined,
  subject: string,
): void {
  if (conditions === undefined || version === undefined) return;
  const { ifMatch, ifMatchSize, ifMatchLastModified } = conditions;
  const marker = version.deleteMarker;
  if (ifMatch !== undefined && ifMatch !== '*' && (marker || !matches(ifMatch, version.etag))) {
    throw preconditionFailed(subject, 'If-Match');
  }
  if (ifMatchSize !== undefined && (marker || ifMatchSize !== version.sizeBytes)) {
    throw preconditionFailed(subject, 'x-amz-if-match-size');
  }
  if (ifMatchLastModified === undefined) return;
  if (marker || seconds(ifMatchLastModified) !== seconds(version.lastModified)) {
    throw preconditionFailed(subject, 'x-amz-if-match-last-modified-time');
  }
}

/** True if the request has any condition at all. */
export function isConditional(conditions: WriteConditions | undefined): boolean {
  if (conditions === undefined) return false;
  return Object.values(conditions).some((value) => value !== undefined);
}
