// Object lock: which versions may not be removed, and how a lock may change. Draft asks here at
// every removal and every change of a lock, inside the compare-and-swap, so that no path (delete,
// overwrite of a null version, lifecycle, copy, a late Complete) has a way around it. The danger is
// a record that was promised to be kept and is gone: so what can't be understood counts as locked
// for ever. Costs two comparisons a removal.

import { DAY_MS } from '../../model/clock.ts';
import type { Bucket, LockMode } from '../../model/bucket.ts';
import { FirnError } from '../../model/errors.ts';
import type { Retention, Version, VersionAttributes } from '../../model/object.ts';

/**
 * What whoever removes a version may take away. unprotected: what no lock holds. governed: also
 * what is under retention in GOVERNANCE mode. unacknowledged: what no client was ever told of.
 */
export type Permit = 'governed' | 'unacknowledged' | 'unprotected';

type Locked = Pick<VersionAttributes, 'legalHold' | 'retention'>;

/** Also true of a value that is neither true nor false: a hold that can't be read holds. */
function isHeld({ legalHold }: Locked): boolean {
  return legalHold !== undefined && legalHold !== false;
}

/** The mode that is in force; one that can't be read is the strictest, and never lapses. */
function modeInForce({ retention }: Locked, now: number): LockMode | undefined {
  if (retention === undefined) return undefined;
  const { mode, until } = (retention ?? {}) as Partial<Retention>;
  const isReadable = (mode === 'GOVERNANCE' || mode === 'COMPLIANCE') && Number.isFinite(until);
  if (!isReadable) return 'COMPLIANCE';
  return (until as number) > now ? mode : undefined;
}

/** True while the version may not be removed by who has no special right to. */
export function isProtected(version: Locked, now: number): boolean {
  return isHeld(version) || modeInForce(version, now) !== undefined;
}

function locked(object: string): FirnError {
  return new FirnError('AccessDenied', 'Access Denied because object protected by object lock.', {
    subject: object,
  });
}

/** Throws AccessDenied unless the version may be removed at this instant. */
export function requireRemovable(
  version: Version,
  { permit, now, object }: { permit: Permit; now: number; object: string },
): void {
  if (version.retention === undefined && version.legalHold === undefined) return;
  if (permit === 'unacknowledged') return;
  const mode = modeInForce(version, now);
  const isFree = mode === undefined || (mode === 'GOVERNANCE' && permit === 'governed');
  if (isHeld(version) || !isFree) throw locked(object);
}

/**
 * Throws AccessDenied unless `next` may take the place of the locks that `version` has: the same or
 * longer in the same mode always; anything else only once it has lapsed, or for who may pass over
 * GOVERNANCE. A hold goes only by being said to be off.
 */
export function requireRelockable(
  version: Version,
  next: Locked,
  { mayBypass, now, object }: { mayBypass: boolean; now: number; object: string },
): void {
  const old = version.retention;
  const mode = modeInForce(version, now);
  if (isHeld(version) && next.legalHold === undefined) throw locked(object);
  if (mode === undefined || isSame(old, next.retention)) return;
  if (mode === 'GOVERNANCE' && mayBypass) return;
  const { retention } = next;
  const keeps =
    retention?.mode === mode &&
    old?.mode === mode &&
    Number.isFinite(retention.until) &&
    retention.until >= old.until;
  if (!keeps) throw locked(object);
}

/** One that can't be read is only like itself. */
function isSame(one: Retention | undefined, other: Retention | undefined): boolean {
  if (!one || !other) return one === other;
  return one === other || (one.mode === other.mode && one.until === other.until);
}

/** Whether both are locked alike: what only moves bytes must leave it so. */
export function isLockedAlike(one: Locked, other: Locked): boolean {
  return one.legalHold === other.legalHold && isSame(one.retention, other.retention);
}

/**
 * `version` as it enters the bucket: under the bucket's default where it asks for nothing. Throws
 * FormatUnknown where that can't be read.
 */
export function withDefaultRetention<V extends Locked>(
  bucket: Pick<Bucket, 'objectLock'>,
  version: V & { lastModified: number },
): V {
  const rule = bucket.objectLock?.default;
  if (rule === undefined || version.retention !== undefined) return version;
  return { ...version, retention: retentionFrom(rule, version.lastModified) };
}

type DefaultRule = NonNullable<NonNullable<Bucket['objectLock']>['default']>;

/** Refused by a rule that can't be read: what came in unlocked could be removed. */
function retentionFrom(rule: DefaultRule, at: number): Retention {
  const { mode } = rule;
  const end = new Date(at);
  if ('years' in rule) end.setUTCFullYear(end.getUTCFullYear() + rule.years);
  const until = 'years' in rule ? end.getTime() : at + rule.days * DAY_MS;
  if ((mode === 'GOVERNANCE' || mode === 'COMPLIANCE') && until > at) return { mode, until };
  throw new FirnError('FormatUnknown', "the bucket's default retention can't be read", {
    hint: 'put its object lock configuration again',
  });
}
