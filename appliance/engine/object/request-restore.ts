// RestoreObject, the request's side; workers stage and copy (restore-*.ts). The request's row is
// written before the version says `pending`: a crash in between leaves a row that no version names,
// which the worker drops, and never a version that waits for a request nobody has. The danger is
// S3's state table: a second retrieval paid for, or a live copy cut short by a repeat.

import { FirnError } from '../../model/errors.ts';
import { newRequestId } from '../../model/ids.ts';
import type { Bucket } from '../../model/bucket.ts';
import type { Restore, Version } from '../../model/object.ts';
import type { RestoreRequest } from '../../model/records.ts';
import type { RestoreAnswer, RestoreObject } from '../../model/requests.ts';
import type { StagePriority } from '../../model/tier.ts';
import { commitObject } from '../document/commit.ts';
import type { EngineContext } from '../document/context.ts';
import type { Core } from '../document/core.ts';
import type { Draft } from '../document/draft.ts';
import { emitEvent } from '../event/events.ts';
import { findObject, invalidState, liveRestore } from './get.ts';
import { isArchived, subjectOf } from '../document/names.ts';
import { restoreExpiry } from './restore-dates.ts';

/** S3 offers no Expedited retrieval for this class. */
const NO_EXPEDITED = 'DEEP_ARCHIVE';
/** Each repeat means that another request has changed the version's state in between. */
const ATTEMPTS_MAX = 20;
const SPEED: Record<StagePriority, number> = { Bulk: 0, Standard: 1, Expedited: 2 };

/**
 * started (202): a worker will bring a copy. upgraded (202): the one under way is asked for faster.
 * extended (200): the live copy's end is counted anew from now, and may come nearer. Durable on
 * return. InvalidObjectState for classes that are online, RestoreAlreadyInProgress for a repeat at
 * the same or a lower speed.
 */
export async function restoreObject(core: Core, request: RestoreObject): Promise<RestoreAnswer> {
  const subject = subjectOf(request);
  if (!Number.isInteger(request.days) || request.days < 1) {
    throw new FirnError('InvalidArgument', 'Days must be a positive number', {
      details: { ArgumentName: 'Days', ArgumentValue: String(request.days) },
    });
  }
  for (let i = 0; i < ATTEMPTS_MAX; i++) {
    const answer = await attempt(core, request);
    if (answer === 'busy') {
      throw new FirnError('RestoreAlreadyInProgress', 'Object restore is already in progress', {
        subject,
      });
    }
    if (answer !== 'again') return answer;
  }
  throw new FirnError('SlowDown', 'the state of this restore changes too fast', {
    subject,
    retryable: true,
  });
}

type Decision = RestoreAnswer | 'busy' | 'again';

async function attempt(core: Core, request: RestoreObject): Promise<Decision> {
  const { context } = core;
  const { bucket, object, version } = await findObject(core, request);
  if (!isArchived(context, version.storageClass)) throw invalidState(version, subjectOf(request));
  checkTier(context, version, request.tier);
  const asked = await writeRequest(core, { request, bucket, version });
  const { answer } = await commitObject(core, {
    object,
    reason: 'restore-expiry',
    change: (draft) => decide(context, draft, { request, version, asked }),
  });
  if (asked !== undefined && answer !== asked.wanted) await withdraw(core, asked);
  if (answer === 'started' || answer === 'upgraded') {
    await emitEvent(context, 's3:ObjectRestore:Post', { bucket, key: request.key, version });
  }
  return answer;
}

function checkTier(context: EngineContext, version: Version, tier: StagePriority): void {
  if (tier !== 'Expedited') return;
  const name = context.classes.get(version.storageClass) ?? '';
  const priorities = context.tiers.get(name)?.capabilities.priorities ?? [];
  if (version.storageClass !== NO_EXPEDITED && priorities.includes(tier)) return;
  throw new FirnError('InvalidTier', 'Retrieval option is not supported by this storage class', {
    details: { StorageClass: version.storageClass, Tier: tier },
  });
}

/** The row written for this request: a new one, or that of the restore under way, made faster. */
interface Asked {
  id: string;
  wanted: 'started' | 'upgraded';
  /** Id of a request that the version waits for in vain: taken over. */
  instead?: string;
}

async function writeRequest(
  core: Core,
  of: { request: RestoreObject; bucket: Bucket; version: Version },
): Promise<Asked | undefined> {
  const { clock, random, store } = core.context;
  const { request, bucket, version } = of;
  const { restore } = version;
  if (liveRestore(core.context, version) !== undefined) return undefined;
  const pending = restore?.state === 'pending' ? restore : undefined;
  const isWaiting = pending !== undefined && !(await isRequestOver(core, pending));
  if (isWaiting) {
    if (SPEED[request.tier] <= SPEED[pending.tier]) return undefined;
    return hasten(core, pending, request.tier);
  }
  const id = newRequestId(clock, random);
  const row: RestoreRequest = {
    format: 1,
    id,
    scope: {
      bucket: bucket.name,
      bucketId: bucket.id,
      key: request.key,
      versionId: version.id,
    },
    tier: request.tier,
    days: request.days,
    requestedAt: clock.now(),
    requestedBy: request.owner,
    state: 'requested',
    counts: { objects: 1, bytes: version.sizeBytes, ready: 0, failed: 0 },
  };
  await store.insert('restores', id, row);
  const asked: Asked = { id, wanted: 'started' };
  return pending === undefined ? asked : { ...asked, instead: pending.requestId };
}

/**
 * True once no worker looks at the request any more. The version may still wait for it: a batch by
 * prefix serves current versions, and this one was overwritten while it waited.
 */
export async function isRequestOver(core: Core, restore: Restore): Promise<boolean> {
  const row = await core.context.store.get<RestoreRequest>('restores', restore.requestId);
  return row === undefined || row.value.settledAt !== undefined;
}

/**
 * Raises the speed of the request under way; of a batch by prefix only this version's own is
 * raised.
 */
async function hasten(core: Core, restore: Restore, tier: StagePriority): Promise<Asked> {
  const { store } = core.context;
  for (;;) {
    const row = await store.get<RestoreRequest>('restores', restore.requestId);
    const isOwn = row !== undefined && 'versionId' in row.value.scope;
    if (!isOwn || SPEED[row.value.tier] >= SPEED[tier]) break;
    const value: RestoreRequest = { ...row.value, tier };
    const { id, revision } = row;
    const result = await store.replace({ table: 'restores', id, expected: revision, value });
    if (result.outcome === 'done') break;
  }
  return { id: restore.requestId, wanted: 'upgraded' };
}

/**
 * S3's state table, inside the commit. `again`: the state has changed since the row was written.
 */
async function decide(
  context: EngineContext,
  draft: Draft,
  of: { request: RestoreObject; version: Version; asked: Asked | undefined },
): Promise<Decision> {
  const { request, asked } = of;
  const requestId = asked?.id;
  const version = await draft.findById(of.version.id);
  if (version === undefined) return 'again';
  const now = context.clock.now();
  const { restore } = version;
  const live = liveRestore(context, version);
  if (live !== undefined) {
    const expiry = restoreExpiry(now, request.days, context.restoreDayMs);
    await draft.replace({ ...version, restore: { ...live, days: request.days, expiry } });
    return 'extended';
  }
  if (restore?.state === 'pending' && restore.requestId !== asked?.instead) {
    if (SPEED[request.tier] <= SPEED[restore.tier]) return 'busy';
    if (requestId !== restore.requestId) return 'again';
    await draft.replace({ ...version, restore: { ...restore, tier: request.tier } });
    return 'upgraded';
  }
  // A lapsed copy is no longer named: it is listed by this commit (B1).
  if (requestId === undefined || requestId === restore?.requestId) return 'again';
  const { tier, days } = request;
  const pending: Restore = { state: 'pending', requestId, tier, days, requestedAt: now };
  await draft.replace({ ...version, restore: pending });
  return 'started';
}

/**
 * Takes a new row back that came to nothing; a worker that has seen it finds no version naming it.
 */
async function withdraw(core: Core, asked: Asked): Promise<void> {
  if (asked.wanted !== 'started') return;
  const { store } = core.context;
  const row = await store.get<RestoreRequest>('restores', asked.id);
  if (row !== undefined) await store.remove('restores', row.id, row.revision);
}
