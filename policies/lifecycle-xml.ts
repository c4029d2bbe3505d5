// S3 lifecycle XML, read strictly: PutBucketLifecycleConfiguration takes what S3 takes and refuses
// what S3 refuses, by the same codes. The danger: a rule read wider than it was meant deletes. The
// way back is lifecycle-xml-writer.ts, to rules lifecycle-rules.ts.

import { createHash } from 'node:crypto';
import type { Bucket } from '../appliance/model/bucket.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { FirnError } from '../appliance/model/errors.ts';
import { KEY_BYTES_MAX } from '../appliance/model/limits.ts';
import { isTransitionTarget } from './classes.ts';
import { parseInstant } from './base/dates.ts';
import { isXmlText, malformed, XmlElement } from './xml-elements.ts';

/** A lifecycle configuration as S3 has it. */
export interface LifecycleConfiguration {
  rules: readonly LifecycleRule[];
  /** Legal, but probably not meant: for the log and for cost advice. */
  warnings: readonly string[];
}

export interface LifecycleRule {
  /** As given, or generated. */
  id: string;
  enabled: boolean;
  /** Legacy Prefix in Filter's place: kept as given. */
  legacyPrefix?: string;
  filter?: LifecycleFilter;
  transitions: readonly LifecycleTransition[];
  expiration?: { days?: number; date?: number; expiredObjectDeleteMarker?: boolean };
  noncurrentTransitions: readonly NoncurrentTransition[];
  noncurrentExpiration?: { days: number; newerVersions?: number };
  abortUploadDays?: number;
}

export interface LifecycleTransition {
  days?: number;
  /** Engine ms, midnight UTC. */
  date?: number;
  storageClass: string;
}

export interface NoncurrentTransition {
  days: number;
  newerVersions?: number;
  storageClass: string;
}

export interface LifecycleFilter {
  /** The conditions stood in an And. */
  and: boolean;
  prefix?: string;
  tags: readonly { key: string; value: string }[];
  sizeOver?: number;
  sizeUnder?: number;
}

export interface LifecycleXmlOptions {
  /** Storage class → tier: others are InvalidStorageClass. */
  classes: ReadonlyMap<string, string>;
  waterfall?: 'strict' | 'free';
  /**
   * Conditions side by side in a Filter: refused, as by S3 (default), or all of them must hold, as
   * with Ceph. Never wider than what was written.
   */
  combinedFilters?: boolean;
}

const LIFECYCLE_RULES_MAX = 1000;
const ID_LENGTH_MAX = 255;
const DAYS_MAX = 2 ** 31 - 1;
const NEWER_VERSIONS_MAX = 100;

/** Throws MalformedXML, InvalidArgument or InvalidStorageClass. */
export function parseLifecycleXml(
  xml: string,
  options: LifecycleXmlOptions,
): LifecycleConfiguration {
  const root = XmlElement.parse(xml, 'LifecycleConfiguration');
  const elements = root.many('Rule');
  root.end();
  if (elements.length === 0) throw malformed('a lifecycle configuration needs at least one Rule');
  if (elements.length > LIFECYCLE_RULES_MAX) {
    throw malformed(`more than ${LIFECYCLE_RULES_MAX} rules`);
  }
  const rules = elements.map((element, index) => parseRule(element, index, options));
  const ids = new Set<string>();
  for (const { id } of rules) {
    if (ids.has(id)) throw invalid('Rule ID must be unique', id);
    ids.add(id);
  }
  return { rules, warnings: rules.flatMap(warningsOf) };
}

/**
 * The header x-amz-transition-default-minimum-object-size; InvalidArgument if it is neither value.
 */
export function parseSizeFloor(
  header: string | undefined,
): NonNullable<Bucket['lifecycleSizeFloor']> {
  if (header === undefined || header === 'all_storage_classes_128K') {
    return 'all_storage_classes_128K';
  }
  if (header === 'varies_by_storage_class') return header;
  throw invalid(
    'x-amz-transition-default-minimum-object-size is all_storage_classes_128K or ' +
      'varies_by_storage_class',
    header,
  );
}

function invalid(message: string, subject: string): FirnError {
  return new FirnError('InvalidArgument', message, { subject });
}

function parseRule(
  element: XmlElement,
  index: number,
  options: LifecycleXmlOptions,
): LifecycleRule {
  const id = element.maybeText('ID') ?? '';
  if (id.length > ID_LENGTH_MAX) throw invalid(`ID is longer than ${ID_LENGTH_MAX}`, id);
  const status = element.one('Status').text();
  if (status !== 'Enabled' && status !== 'Disabled') {
    throw malformed('Status is Enabled or Disabled', status);
  }
  const legacyPrefix = element.maybeText('Prefix');
  const filterElement = element.maybe('Filter');
  if ((legacyPrefix === undefined) === (filterElement === undefined)) {
    throw malformed('a Rule has either Filter or Prefix');
  }
  const filter = filterElement && parseFilter(filterElement, options);
  const transitions = element.many('Transition').map((one) => parseTransition(one, options));
  const expiration = parseExpiration(element.maybe('Expiration'));
  const noncurrentTransitions = element
    .many('NoncurrentVersionTransition')
    .map((one) => ({ ...parseNoncurrent(one, 0, options), storageClass: classIn(one, options) }));
  const noncurrentElement = element.maybe('NoncurrentVersionExpiration');
  const noncurrentExpiration =
    noncurrentElement && parseNoncurrent(noncurrentElement, 1, undefined);
  const abort = element.maybe('AbortIncompleteMultipartUpload');
  const abortUploadDays = abort && days(abort.one('DaysAfterInitiation'), 1);
  abort?.end();
  element.end();
  const given = {
    enabled: status === 'Enabled',
    ...defined({ legacyPrefix: legacyPrefix && checkPrefix(legacyPrefix), filter }),
    ...(legacyPrefix === '' ? { legacyPrefix: '' } : {}),
    transitions,
    noncurrentTransitions,
    ...defined({ expiration, noncurrentExpiration, abortUploadDays }),
  };
  if (!isXmlText(id)) throw invalid('ID holds characters that XML has no form for', id);
  const rule: LifecycleRule = { id: id || generateId(given, index), ...given };
  checkRule(rule);
  return rule;
}

/** An object without its undefined fields. */
function defined<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** Of the content, so that the same request twice stores the same text. */
function generateId(rule: object, index: number): string {
  const text = JSON.stringify([index, rule]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}

function parseFilter(element: XmlElement, options: LifecycleXmlOptions): LifecycleFilter {
  const andElement = element.maybe('And');
  const inner = andElement && parsePredicates(andElement, true);
  andElement?.end();
  if (inner && countOf(inner) === 0) throw malformed('And is empty');
  const beside = parsePredicates(element, false);
  element.end();
  const count = countOf(beside);
  if (count + (inner ? 1 : 0) <= 1) return inner ?? beside;
  if (options.combinedFilters !== true) {
    throw malformed('a Filter holds one condition; And holds several');
  }
  return inner === undefined ? { ...beside, and: true } : bothOf(inner, beside);
}

function countOf({ prefix, tags, sizeOver, sizeUnder }: LifecycleFilter): number {
  return tags.length + [prefix, sizeOver, sizeUnder].filter((one) => one !== undefined).length;
}

/** One filter that holds where both do. */
function bothOf(a: LifecycleFilter, b: LifecycleFilter): LifecycleFilter {
  const [short, long] = [a.prefix ?? '', b.prefix ?? ''].sort((x, y) => x.length - y.length);
  if (!(long as string).startsWith(short as string)) throw malformed('no key has both prefixes');
  const tags = [...a.tags, ...b.tags];
  const keys = new Set(tags.map(({ key }) => key));
  if (keys.size < tags.length) throw invalid('a tag key stands twice in a filter', 'Tag');
  const sizeOver = Math.max(a.sizeOver ?? -1, b.sizeOver ?? -1);
  const sizeUnder = Math.min(a.sizeUnder ?? Infinity, b.sizeUnder ?? Infinity);
  if (sizeOver >= sizeUnder) throw invalid('no size lies between these bounds', `${sizeOver}`);
  return {
    and: true,
    tags,
    ...((a.prefix ?? b.prefix) === undefined ? {} : { prefix: long as string }),
    ...(sizeOver < 0 ? {} : { sizeOver }),
    ...(sizeUnder === Infinity ? {} : { sizeUnder }),
  };
}

function parsePredicates(element: XmlElement, and: boolean): LifecycleFilter {
  const prefix = element.maybeText('Prefix');
  const tags = element.many('Tag').map(parseTag);
  const keys = new Set(tags.map(({ key }) => key));
  if (keys.size < tags.length) throw invalid('a tag key stands twice in a filter', 'Tag');
  const sizeOver = size(element.maybe('ObjectSizeGreaterThan'));
  const sizeUnder = size(element.maybe('ObjectSizeLessThan'));
  if (sizeOver !== undefined && sizeUnder !== undefined && sizeOver >= sizeUnder) {
    throw invalid('ObjectSizeGreaterThan must be less than ObjectSizeLessThan', `${sizeOver}`);
  }
  if (prefix !== undefined) checkPrefix(prefix);
  return { and, tags, ...defined({ prefix, sizeOver, sizeUnder }) };
}

function parseTag(element: XmlElement): { key: string; value: string } {
  const key = element.one('Key').text();
  const value = element.one('Value').text();
  element.end();
  const sound = key !== '' && key.length <= 128 && value.length <= 256;
  if (!sound || !isXmlText(key) || !isXmlText(value)) {
    throw invalid('a tag has a key of 1 to 128 and a value of at most 256 characters', key);
  }
  return { key, value };
}

function checkPrefix(prefix: string): string {
  if (Buffer.byteLength(prefix) > KEY_BYTES_MAX) {
    throw invalid(`Prefix is longer than ${KEY_BYTES_MAX} bytes`, prefix);
  }
  if (!isXmlText(prefix)) throw invalid('Prefix holds characters XML has no form for', prefix);
  return prefix;
}

function parseTransition(element: XmlElement, options: LifecycleXmlOptions): LifecycleTransition {
  const daysElement = element.maybe('Days');
  const dateElement = element.maybe('Date');
  const storageClass = classIn(element, options);
  element.end();
  if ((daysElement === undefined) === (dateElement === undefined)) {
    throw malformed('a Transition has either Days or Date');
  }
  return {
    ...defined({
      days: daysElement && days(daysElement, 0),
      date: dateElement && date(dateElement),
    }),
    storageClass,
  };
}

function parseExpiration(element: XmlElement | undefined): LifecycleRule['expiration'] {
  if (element === undefined) return undefined;
  const daysElement = element.maybe('Days');
  const dateElement = element.maybe('Date');
  const marker = element.maybeText('ExpiredObjectDeleteMarker')?.trim();
  element.end();
  const given = [daysElement, dateElement, marker].filter((one) => one !== undefined);
  if (given.length !== 1) {
    throw malformed('Expiration has one of Days, Date and ExpiredObjectDeleteMarker');
  }
  if (marker !== undefined) {
    if (marker !== 'true' && marker !== 'false') {
      throw malformed('ExpiredObjectDeleteMarker is true or false', marker);
    }
    return { expiredObjectDeleteMarker: marker === 'true' };
  }
  return defined({
    days: daysElement && days(daysElement, 1),
    date: dateElement && date(dateElement),
  });
}

/** `options` undefined: an expiration, which names no class. */
function parseNoncurrent(
  element: XmlElement,
  least: number,
  options: LifecycleXmlOptions | undefined,
): { days: number; newerVersions?: number } {
  const age = days(element.one('NoncurrentDays'), least);
  const newer = element.maybe('NewerNoncurrentVersions');
  const newerVersions = newer && integer(newer, 1, NEWER_VERSIONS_MAX);
  if (options !== undefined) classIn(element, options);
  element.end();
  return { days: age, ...defined({ newerVersions }) };
}

function classIn(element: XmlElement, options: LifecycleXmlOptions): string {
  const name = element.one('StorageClass').text().trim();
  if (isTransitionTarget(name, options)) return name;
  throw new FirnError('InvalidStorageClass', 'no transition leads to this storage class', {
    subject: name,
    hint: `configured are ${[...options.classes.keys()].join(', ')}`,
  });
}

function days(element: XmlElement, least: number): number {
  return integer(element, least, DAYS_MAX);
}

function size(element: XmlElement | undefined): number | undefined {
  return element && integer(element, 0, Number.MAX_SAFE_INTEGER);
}

function integer(element: XmlElement, least: number, most: number): number {
  const text = element.text().trim();
  if (!/^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(text)) {
    throw malformed(`${element.name} is not a number`, text);
  }
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw invalid(`${element.name} is a whole number from ${least} to ${most}`, text);
}

function date(element: XmlElement): number {
  const text = element.text().trim();
  const at = parseInstant(text);
  if (at === undefined) throw invalid('Date is not an ISO 8601 date', text);
  if (at % DAY_MS !== 0) throw invalid("'Date' must be at midnight GMT", text);
  return at;
}

/** What only shows once a whole rule is read. */
function checkRule(rule: LifecycleRule): void {
  const { id, filter, transitions, expiration, noncurrentExpiration } = rule;
  const timed = [...transitions, ...(expiration ? [expiration] : [])];
  const actions = timed.length + rule.noncurrentTransitions.length;
  const isIdle = noncurrentExpiration === undefined && rule.abortUploadDays === undefined;
  if (actions === 0 && isIdle) throw malformed('a Rule needs at least one action', id);
  const dated = timed.some((one) => one.date !== undefined);
  if (dated && timed.some((one) => one.days !== undefined)) {
    throw invalid('Date and Days stand in one rule', id);
  }
  for (const list of [transitions, rule.noncurrentTransitions]) {
    const names = new Set(list.map(({ storageClass }) => storageClass));
    if (names.size < list.length) throw invalid('a rule moves to one class twice', id);
  }
  const tagged = (filter?.tags.length ?? 0) > 0;
  if (tagged && rule.abortUploadDays !== undefined) {
    throw invalid('AbortIncompleteMultipartUpload takes no tag filter', id);
  }
  if (tagged && expiration?.expiredObjectDeleteMarker !== undefined) {
    throw invalid('ExpiredObjectDeleteMarker takes no tag filter', id);
  }
  const sized = filter?.sizeOver !== undefined || filter?.sizeUnder !== undefined;
  if (sized && rule.abortUploadDays !== undefined) {
    throw invalid('AbortIncompleteMultipartUpload takes no size filter', id);
  }
  const counted = [...rule.noncurrentTransitions, noncurrentExpiration].some(
    (one) => one?.newerVersions !== undefined,
  );
  if (counted && filter === undefined) {
    throw invalid('NewerNoncurrentVersions needs a Filter', id);
  }
}

function warningsOf(rule: LifecycleRule): string[] {
  const warnings: string[] = [];
  const early = rule.transitions.filter(
    ({ days: age, storageClass }) =>
      (age ?? 30) < 30 && /^(STANDARD|ONEZONE)_IA$/.test(storageClass),
  );
  for (const { storageClass, days: age } of early) {
    warnings.push(`${rule.id}: ${storageClass} after ${age} days; clouds bill it from 30`);
  }
  const gone = rule.expiration?.days;
  for (const { storageClass, days: age } of rule.transitions) {
    if (gone !== undefined && age !== undefined && age >= gone) {
      warnings.push(`${rule.id}: expires after ${gone} days, before it reaches ${storageClass}`);
    }
  }
  return warnings;
}
