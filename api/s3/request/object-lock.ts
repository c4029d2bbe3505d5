// Object lock as requests say it: headers of a new version, and the XML of bucket configuration,
// retention and legal hold. Every value is exact (GOVERNANCE, not governance): a lock that a client
// believes to have set and we read as none loses what it meant to keep.

import type { Bucket, LockMode, ObjectLockConfiguration } from '../../../appliance/model/bucket.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import type { Retention, VersionAttributes } from '../../../appliance/model/object.ts';
import type { RequestHeaders } from '../input/request-headers.ts';
import { childrenOf, integerOf, malformed, parseXml, textOf } from '../xml/parse.ts';
import { element, wrap, xmlDocument } from '../xml/write.ts';
import { timeText } from './listing.ts';
import { invalidArgument } from './request.ts';

const MODE = 'x-amz-object-lock-mode';
const UNTIL = 'x-amz-object-lock-retain-until-date';
const HOLD = 'x-amz-object-lock-legal-hold';
const BYPASS = 'x-amz-bypass-governance-retention';

/** A hundred years, as S3 has it. */
const DEFAULT_DAYS_MAX = 36_500;
const DEFAULT_YEARS_MAX = 100;

export type Lock = Pick<VersionAttributes, 'legalHold' | 'retention'>;

function isMode(text: string | undefined): text is LockMode {
  return text === 'GOVERNANCE' || text === 'COMPLIANCE';
}

// A date alone, and local times, are refused: a day early is a record lost.
const DATE_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)$/;

/** Engine ms of ISO 8601 with a time and a zone; undefined where it isn't one. */
function instantOf(text: string): number | undefined {
  const trimmed = text.trim();
  const at = DATE_TIME.test(trimmed) ? Date.parse(trimmed) : Number.NaN;
  return Number.isNaN(at) ? undefined : at;
}

/** Throws InvalidRequest unless object lock is on. */
export function requireLockable(bucket: Bucket): void {
  if (bucket.objectLock !== undefined) return;
  throw new FirnError('InvalidRequest', 'Bucket is missing Object Lock Configuration');
}

/**
 * The lock that the headers of a PUT, copy, upload or form ask for; empty where they ask for none.
 * Throws InvalidArgument, InvalidRequest (the bucket has no object lock).
 */
export function lockOfHeaders(
  headers: RequestHeaders,
  { bucket, now }: { bucket: Bucket; now: number },
): Lock {
  const mode = headers[MODE];
  const date = headers[UNTIL];
  const hold = headers[HOLD];
  if (mode === undefined && date === undefined && hold === undefined) return NO_LOCK;
  requireLockable(bucket);
  const lock: Lock = {};
  if (mode !== undefined || date !== undefined) {
    if (mode === undefined || date === undefined) {
      const absent = mode === undefined ? MODE : UNTIL;
      throw invalidArgument(`${MODE} and ${UNTIL} must both be supplied`, absent, '');
    }
    if (!isMode(mode)) throw invalidArgument('unknown wormMode directive', MODE, mode);
    const until = instantOf(date);
    if (until === undefined) throw invalidArgument('it must be ISO 8601', UNTIL, date);
    requireFuture(until, { now, name: UNTIL, date });
    lock.retention = { mode, until };
  }
  if (hold !== undefined) {
    if (hold !== 'ON' && hold !== 'OFF') {
      throw invalidArgument('Legal Hold must be either of ON or OFF', HOLD, hold);
    }
    lock.legalHold = hold === 'ON';
  }
  return lock;
}

const NO_LOCK: Lock = {};
Object.freeze(NO_LOCK);

function requireFuture(
  until: number,
  { now, name, date }: { now: number; name: string; date: string },
): void {
  if (until > now) return;
  throw invalidArgument('the retain until date must be in the future', name, date);
}

export function asksForBypass(headers: RequestHeaders): boolean {
  return headers[BYPASS]?.trim().toLowerCase() === 'true';
}

/** What conditions of access policies are asked about: a lock that a body says. */
export function lockValues({ retention, legalHold }: Lock): Record<string, string> {
  const values: Record<string, string> = {};
  if (retention !== undefined) {
    values['s3:object-lock-mode'] = retention.mode;
    values['s3:object-lock-retain-until-date'] = timeText(retention.until);
  }
  if (legalHold !== undefined) values['s3:object-lock-legal-hold'] = legalHold ? 'ON' : 'OFF';
  return values;
}

/** What GET and HEAD say of a version's lock. */
export function pushLockHeaders(into: string[], { retention, legalHold }: Lock): void {
  if (retention !== undefined) {
    into.push(MODE, retention.mode, UNTIL, timeText(retention.until));
  }
  if (legalHold !== undefined) into.push(HOLD, legalHold ? 'ON' : 'OFF');
}

/** Undefined: take it off. Throws MalformedXML, InvalidArgument. */
export function retentionOfXml(bytes: Uint8Array, now: number): Retention | undefined {
  const fields = childrenOf(parseXml(bytes, 'Retention'), ['Mode', 'RetainUntilDate']);
  const mode = textOf(fields.one('Mode'));
  const date = textOf(fields.one('RetainUntilDate'));
  if (mode === undefined && date === undefined) return undefined;
  if (!isMode(mode)) throw malformed('Mode must be GOVERNANCE or COMPLIANCE');
  const until = date === undefined ? undefined : instantOf(date);
  if (until === undefined) throw malformed('RetainUntilDate must be a date of ISO 8601');
  requireFuture(until, { now, name: 'RetainUntilDate', date: date as string });
  return { mode, until };
}

export function retentionXml({ mode, until }: Retention): string {
  const content = element('Mode', mode) + element('RetainUntilDate', timeText(until));
  return xmlDocument('Retention', content);
}

/** Throws MalformedXML. */
export function legalHoldOfXml(bytes: Uint8Array): boolean {
  const status = textOf(childrenOf(parseXml(bytes, 'LegalHold'), ['Status']).one('Status'));
  if (status !== 'ON' && status !== 'OFF') throw malformed('Status must be ON or OFF');
  return status === 'ON';
}

export function legalHoldXml(isOn: boolean): string {
  return xmlDocument('LegalHold', element('Status', isOn ? 'ON' : 'OFF'));
}

/** Throws MalformedXML, InvalidRetentionPeriod. */
export function lockConfigurationOfXml(bytes: Uint8Array): ObjectLockConfiguration {
  const root = parseXml(bytes, 'ObjectLockConfiguration');
  const fields = childrenOf(root, ['ObjectLockEnabled', 'Rule']);
  if (textOf(fields.one('ObjectLockEnabled')) !== 'Enabled') {
    throw malformed('ObjectLockEnabled must be Enabled');
  }
  const rule = fields.one('Rule');
  if (rule === undefined) return {};
  const retention = childrenOf(rule, ['DefaultRetention']).one('DefaultRetention');
  if (retention === undefined) throw malformed('a Rule has a DefaultRetention');
  const parts = childrenOf(retention, ['Mode', 'Days', 'Years']);
  const mode = textOf(parts.one('Mode'));
  if (!isMode(mode)) throw malformed('Mode must be GOVERNANCE or COMPLIANCE');
  const days = integerOf(parts.one('Days'));
  const years = integerOf(parts.one('Years'));
  if ((days === undefined) === (years === undefined)) {
    throw malformed('a DefaultRetention has either Days or Years');
  }
  if (days !== undefined) return { default: { mode, days: period(days, DEFAULT_DAYS_MAX) } };
  return { default: { mode, years: period(years as number, DEFAULT_YEARS_MAX) } };
}

function period(value: number, max: number): number {
  if (value >= 1 && value <= max) return value;
  throw new FirnError(
    'InvalidRetentionPeriod',
    `Default retention period must be a whole number from 1 to ${max}.`,
  );
}

export function lockConfigurationXml({ default: rule }: ObjectLockConfiguration): string {
  let content = element('ObjectLockEnabled', 'Enabled');
  if (rule !== undefined) {
    const length = 'days' in rule ? element('Days', rule.days) : element('Years', rule.years);
    content += wrap('Rule', wrap('DefaultRetention', element('Mode', rule.mode) + length));
  }
  return xmlDocument('ObjectLockConfiguration', content);
}
