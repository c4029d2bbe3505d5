// The facts that a `when:` condition may ask for: a whitelist, typed. A fact that is not known for
// a subject is undefined, and then no condition on it holds, nor its negation (conditions.ts).

import { daysSince } from './base/dates.ts';
import type { Facts } from './facts.ts';

export type FactType = 'string' | 'number' | 'boolean' | 'map';
export type FactValue = string | number | boolean | Readonly<Record<string, string>> | undefined;

export interface Moment {
  /** Engine ms, frozen for a pass. */
  now: number;
  dayMs: number;
}

export interface ConditionFact {
  type: FactType;
  meaning: string;
  read(facts: Facts, moment: Moment): FactValue;
}

const since = (at: number | undefined, moment: Moment): number | undefined =>
  at === undefined ? undefined : daysSince(at, moment.now, moment.dayMs);

/** When the subject's own age begins. */
export function bornAt(facts: Facts): number {
  return facts.subject === 'upload' ? facts.initiatedAt : facts.lastModified;
}

/** A delete marker has no size: no bound on one ever matches it. */
export function sizeOf(facts: Facts): number | undefined {
  return facts.subject === 'version' && facts.deleteMarker ? undefined : facts.sizeBytes;
}

/** True while a restored copy is readable; false for any other version; undefined for an upload. */
function isRestored(facts: Facts, now: number): boolean | undefined {
  if (facts.subject === 'upload') return undefined;
  return facts.restore?.state === 'ready' && (facts.restore.expiry ?? 0) > now;
}

export const CONDITION_FACTS: Readonly<Record<string, ConditionFact>> = {
  bucket: { type: 'string', meaning: 'name of the bucket', read: (facts) => facts.bucket },
  key: { type: 'string', meaning: 'key of the object', read: (facts) => facts.key },
  owner: { type: 'string', meaning: 'account id of the owner', read: (facts) => facts.owner },
  storageClass: {
    type: 'string',
    meaning: 'storage class shown now',
    read: (facts) => facts.storageClass,
  },
  tier: {
    type: 'string',
    meaning: 'tier of that storage class',
    read: (facts) => (facts.subject === 'version' ? facts.tier : undefined),
  },
  contentType: {
    type: 'string',
    meaning: 'content-type as it was put',
    read: (facts) => (facts.subject === 'version' ? facts.contentType : undefined),
  },
  sizeBytes: { type: 'number', meaning: 'bytes of the object', read: sizeOf },
  partCount: {
    type: 'number',
    meaning: 'parts, of an object made by multipart upload',
    read: (facts) => (facts.subject === 'version' ? facts.partCount : undefined),
  },
  ageDays: {
    type: 'number',
    meaning: 'whole days since LastModified (or start of the upload), as S3 counts them',
    read: (facts, moment) => since(bornAt(facts), moment),
  },
  idleDays: {
    type: 'number',
    meaning: 'whole days since the last read or write, where reads are recorded',
    read: (facts, moment) =>
      facts.subject === 'version' ? since(facts.lastAccessAt, moment) : undefined,
  },
  readDays: {
    type: 'number',
    meaning: 'whole days since the last recorded read',
    read: (facts, moment) =>
      facts.subject === 'version' ? since(facts.lastReadAt, moment) : undefined,
  },
  noncurrentDays: {
    type: 'number',
    meaning: 'whole days since a newer version was made; none for the current version',
    read: (facts, moment) =>
      facts.subject === 'version' ? since(facts.successorAt, moment) : undefined,
  },
  newerNoncurrent: {
    type: 'number',
    meaning: 'noncurrent versions newer than this one; none for the current version',
    read: (facts) => (facts.subject === 'version' ? facts.newerNoncurrent : undefined),
  },
  poolFill: {
    type: 'number',
    meaning: 'share of its tier in use, 0 to 1; none where the tier is unbounded',
    read: (facts) => (facts.subject === 'version' ? facts.poolFill : undefined),
  },
  isCurrent: {
    type: 'boolean',
    meaning: 'the version that a GET without version id answers',
    read: (facts) => (facts.subject === 'version' ? facts.isCurrent : undefined),
  },
  isNull: {
    type: 'boolean',
    meaning: 'written while versioning was off or suspended',
    read: (facts) => (facts.subject === 'version' ? facts.isNull : undefined),
  },
  isRestored: {
    type: 'boolean',
    meaning: 'a restored copy is readable now',
    read: (facts, moment) => isRestored(facts, moment.now),
  },
  tags: { type: 'map', meaning: 'tags; path `$.NAME`', read: (facts) => facts.tags },
  metadata: {
    type: 'map',
    meaning: 'x-amz-meta-*; path `$.name`, in lower case',
    read: (facts) => (facts.subject === 'version' ? facts.metadata : undefined),
  },
};

/** Facts that rules compile to but policy files may not name (rule-conditions.ts). */
export const INTERNAL_FACTS: Readonly<Record<string, ConditionFact>> = {
  ...CONDITION_FACTS,
  subject: { type: 'string', meaning: 'version or upload', read: (facts) => facts.subject },
  deleteMarker: {
    type: 'boolean',
    meaning: 'the version is a delete marker',
    read: (facts) => (facts.subject === 'version' ? facts.deleteMarker : undefined),
  },
  lone: {
    type: 'boolean',
    meaning: 'a delete marker with no version behind it',
    read: (facts) => (facts.subject === 'version' ? facts.lone : undefined),
  },
  now: { type: 'number', meaning: 'engine ms', read: (_facts, moment) => moment.now },
};

/** The one value that a path names in a map: the whole rest of the path is the name. */
export function valueAt(value: FactValue, path: string): string | undefined {
  const name = path.slice(2);
  if (typeof value !== 'object' || !Object.hasOwn(value, name)) return undefined;
  return value[name];
}
