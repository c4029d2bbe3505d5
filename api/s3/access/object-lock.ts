// Who may lock, see a lock and pass over one: each is an action of its own, beside that of the
// operation. The engine keeps the lock itself (engine/document/protection.ts). The danger is a key
// pair that may only write, and yet locks what it wrote for a hundred years, or unlocks it.

import type { Version } from '../../../appliance/model/object.ts';
import type { HeadAnswer } from '../../../appliance/model/requests.ts';
import {
  asksForBypass,
  lockOfHeaders,
  pushLockHeaders,
  type Lock,
} from '../request/object-lock.ts';
import type { OwnedRequest } from '../request/request.ts';
import { authorizeAction, isAllowed } from './authorize.ts';

/** What a new version is locked by, as the asker may. Throws as lockOfHeaders, AccessDenied. */
export async function lockOf(request: OwnedRequest): Promise<Lock> {
  const { headers, owned: bucket, key, settings } = request;
  const lock = lockOfHeaders(headers, { bucket, now: settings.clock.now() });
  if (lock.retention !== undefined) {
    await authorizeAction(request, 's3:PutObjectRetention', { bucket, key, isNew: true });
  }
  if (lock.legalHold !== undefined) {
    await authorizeAction(request, 's3:PutObjectLegalHold', { bucket, key, isNew: true });
  }
  return lock;
}

/**
 * True where the request asks to pass over GOVERNANCE, and may. Throws AccessDenied where it asks
 * and may not: never on to an operation that then does something else than was asked.
 */
export async function bypassesGovernance(
  request: OwnedRequest,
  version: { key: string; versionId: string | undefined },
): Promise<boolean> {
  if (!asksForBypass(request.headers)) return false;
  const resource = { bucket: request.owned, ...version };
  await authorizeAction(request, 's3:BypassGovernanceRetention', resource);
  return true;
}

/** Whether there is anything to say: what nobody locked waits for nothing. */
export function isLocked({ version }: HeadAnswer): boolean {
  return version.retention !== undefined || version.legalHold !== undefined;
}

/** The lock's headers, each for who may ask for it. */
export async function pushLock(
  into: string[],
  request: OwnedRequest,
  { version }: HeadAnswer,
): Promise<void> {
  const shown: Lock = {};
  if (version.retention !== undefined && (await mayRead(request, 'Retention', version))) {
    shown.retention = version.retention;
  }
  if (version.legalHold !== undefined && (await mayRead(request, 'LegalHold', version))) {
    shown.legalHold = version.legalHold;
  }
  pushLockHeaders(into, shown);
}

function mayRead(
  request: OwnedRequest,
  what: 'Retention' | 'LegalHold',
  version: Version,
): Promise<boolean> {
  const { owned: bucket, key, query } = request;
  const resource = { bucket, key, versionId: query.get('versionId'), version };
  return isAllowed(request, `s3:GetObject${what}`, resource);
}
