// Events of changes that a worker makes. A client that got no answer asks again, and its repeat
// tells (events.ts); after a worker's death nobody repeats a commit that stands, and its event
// would be lost for good. So where a bucket asks for the event, a row says before the commit what
// is about to be done and how to see that it was; it goes once the event is on record. A row that
// stays behind is settled by a look at the object: done, the event is told late; not done for long,
// nobody is coming. Buckets that ask for nothing pay nothing.

import { FirnError, isFirnError, isInDoubt } from '../../model/errors.ts';
import type { AnnouncedRow, EventName, ToldVersion } from '../../model/event-sink.ts';
import { keyOfObjectId, newRequestId } from '../../model/ids.ts';
import type { Row } from '../../model/metadata-store.ts';
import type { ObjectDocument, Version } from '../../model/object.ts';
import type { Bucket } from '../../model/bucket.ts';
import type { EngineContext } from '../document/context.ts';
import { emitEvent } from './events.ts';
import { findById, reread } from '../document/history.ts';
import { allVersions } from '../document/inventory.ts';

const PREFIX = 'announced/';
const PREFIX_END = 'announced0';
/** Wall ms: a worker that lives has told by then. */
const UNTOLD_MS = 60_000;
/** Wall ms: a commit that has not come by then is not coming. */
const GIVEN_UP_MS = 3_600_000;
const PAGE_ROWS = 100;

export interface Announcement {
  name: EventName;
  /** A name where its row is not at hand. */
  bucket: Bucket | string;
  /** objectId. */
  object: string;
  /**
   * The version that the change is about, as it is before; a marker comes on top of it. A function
   * where it would have to be read for this.
   */
  version: Version | (() => Promise<Version | undefined>);
  /** How it is seen that the change was made. */
  proof: AnnouncedRow['proof'];
}

/**
 * Makes a change whose event must not be lost. `told` picks the version that the event tells of
 * from the answer, undefined where nothing changed. On return the event is on record. Throws as
 * `change` does, and MetadataUnavailable where the event can't be put on record: then it is told
 * later.
 */
export async function tellingOf<A>(
  context: EngineContext,
  of: Announcement,
  { change, told }: { change: () => Promise<A>; told: (answer: A) => ToldVersion | undefined },
): Promise<A> {
  const withdraw = await announce(context, of);
  const answer = await change().catch(async (error: unknown) => {
    // In doubt the row stays: whoever settles it looks.
    if (isFirnError(error) && !isInDoubt(error)) await withdraw?.();
    throw error;
  });
  const version = told(answer);
  const { name, bucket, object } = of;
  if (version !== undefined) {
    await emitEvent(context, name, { bucket, key: keyOfObjectId(object), version });
  }
  await withdraw?.();
  return answer;
}

/** Undefined: nobody asks for it. */
async function announce(
  context: EngineContext,
  { name, bucket, object, version, proof }: Announcement,
): Promise<(() => Promise<void>) | undefined> {
  const { clock, random, store, events } = context;
  if (!(await events.asks({ name, key: keyOfObjectId(object) }, bucket))) return undefined;
  const found = typeof version === 'function' ? await version() : version;
  // Gone already: there is nothing to change.
  if (found === undefined) return undefined;
  const id = PREFIX + newRequestId(clock, random);
  const { isNull, sizeBytes, etag, owner, lastModified } = found;
  const value: AnnouncedRow = {
    format: 1,
    at: clock.wall(),
    name,
    bucket: typeof bucket === 'string' ? bucket : bucket.name,
    object,
    version: { id: found.id, isNull, sizeBytes, etag, owner, lastModified },
    proof,
  };
  const inserted = await store.insert('events', id, value);
  if (inserted.outcome !== 'done') {
    throw new FirnError('MetadataUnavailable', 'an event could not be announced', { subject: id });
  }
  return async () => {
    await store.remove('events', id, inserted.revision);
  };
}

/** True if a row stands that a dead worker may have left. Cheap: it is asked twice a second. */
export async function isAnyUntold({ store, clock }: EngineContext): Promise<boolean> {
  const [oldest] = await store.range<AnnouncedRow>({
    table: 'events',
    from: PREFIX,
    to: PREFIX_END,
    limit: 1,
  });
  return oldest !== undefined && oldest.value.at + UNTOLD_MS <= clock.wall();
}

/**
 * Tells what dead workers left untold. A repeat tells of one again only if it died between telling
 * and removing: listeners bear that. An object that can't be looked at holds back no other's event:
 * its fault is thrown once all were seen to, and after an hour its event is given up as well.
 * MetadataUnavailable at once.
 */
export async function settleAnnounced(context: EngineContext): Promise<void> {
  const { store } = context;
  const faults: unknown[] = [];
  let after: string | undefined;
  for (;;) {
    const rows: Row<AnnouncedRow>[] = await store.range<AnnouncedRow>({
      table: 'events',
      ...(after === undefined ? { from: PREFIX } : { after }),
      to: PREFIX_END,
      limit: PAGE_ROWS,
    });
    for (const row of rows) {
      await settleOne(context, row).catch((error: unknown) => {
        if (isInDoubt(error)) throw error;
        faults.push(error);
      });
    }
    if (rows.length < PAGE_ROWS) break;
    after = rows.at(-1)?.id;
  }
  if (faults.length > 0) throw faults[0];
}

async function settleOne(context: EngineContext, row: Row<AnnouncedRow>): Promise<void> {
  const { store, clock } = context;
  const ageMs = clock.wall() - row.value.at;
  if (ageMs < UNTOLD_MS) return;
  try {
    const version = await changedVersion(context, row.value);
    if (version === undefined && ageMs < GIVEN_UP_MS) return;
    if (version !== undefined) {
      const { name, bucket, object } = row.value;
      await emitEvent(context, name, { bucket, key: keyOfObjectId(object), version });
    }
  } catch (error) {
    const isGivenUp = isFirnError(error, 'Corrupt') && ageMs >= GIVEN_UP_MS;
    if (isGivenUp) await store.remove('events', row.id, row.revision);
    throw error;
  }
  await store.remove('events', row.id, row.revision);
}

/** The version that the event tells of; undefined: the change was not made, or not yet. */
function changedVersion(
  { store }: EngineContext,
  { object, version, proof }: AnnouncedRow,
): Promise<ToldVersion | undefined> {
  return reread(object, async () => {
    const row = await store.get<ObjectDocument>('objects', object);
    if (proof.kind === 'marker') {
      if (row === undefined) return undefined;
      const { revision, value: document } = row;
      const inDocument = { object, key: keyOfObjectId(object), revision, document };
      return (await allVersions(store, inDocument)).find(
        ({ operation }) => operation === proof.operation,
      );
    }
    const now = row && (await findById(store, row.value, version.id));
    if (proof.kind === 'gone') return now === undefined ? version : undefined;
    if (now === undefined) return undefined;
    const isDone =
      proof.kind === 'last'
        ? now.last?.action === proof.action && now.last.at === proof.at
        : now.restore?.requestId === proof.requestId;
    return isDone ? now : undefined;
  });
}
