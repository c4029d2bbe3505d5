// Many single-document changes in few commands. The server tells of a bulk only how many
// replacements matched and how many documents it removed; where that is fewer than were sent, the
// rows are read again. What then can't be told apart (ours, but overtaken since; or never ours) is
// called a conflict: whoever gets one reads the row anyway.

import { ObjectId, type AnyBulkWriteOperation, type Collection } from 'mongodb';
import type { Change, CommitResult } from '../../model/metadata-store.ts';
import { encodeDocument, type StoredDocument } from './document.ts';
import { insertAll } from './insert-queue.ts';

/** Changes in one command. */
export const BULK_MAX = 1000;

export type BulkOutcome = CommitResult | { doubt: unknown };
export type Planned = { change: Change; revision: ObjectId };

const CONFLICT: CommitResult = { outcome: 'conflict' };

/** One table's changes, at most BULK_MAX; one outcome each. Never rejects. */
export async function applyBulk(
  collection: Collection<StoredDocument>,
  planned: readonly Planned[],
): Promise<BulkOutcome[]> {
  const outcomes: BulkOutcome[] = planned.map(() => CONFLICT);
  const inserts: number[] = [];
  const others: number[] = [];
  planned.forEach(({ change }, at) => (change.kind === 'insert' ? inserts : others).push(at));
  await Promise.all([
    inserts.length > 0 && applyInserts(collection, planned, inserts, outcomes),
    others.length > 0 && applyOthers(collection, planned, others, outcomes),
  ]);
  return outcomes;
}

export function done(planned: Planned): CommitResult {
  const isRemoval = planned.change.kind === 'remove';
  return { outcome: 'done', revision: isRemoval ? '' : planned.revision.toHexString() };
}

async function applyInserts(
  collection: Collection<StoredDocument>,
  planned: readonly Planned[],
  places: number[],
  outcomes: BulkOutcome[],
): Promise<void> {
  const documents = placed(planned, places).map(documentOf);
  const results = await insertAll(collection, documents);
  places.forEach((at, nth) => {
    const result = results[nth];
    if (result === 'done') outcomes[at] = done(planned[at] as Planned);
    else if (typeof result === 'object') outcomes[at] = result;
  });
}

async function applyOthers(
  collection: Collection<StoredDocument>,
  planned: readonly Planned[],
  places: number[],
  outcomes: BulkOutcome[],
): Promise<void> {
  try {
    // A row that has another revision now will never have the expected one again (A2): it is out
    // already, and only rows that change within these milliseconds are left to be told apart.
    const before = await revisionsOf(collection, placed(planned, places));
    const due = places.filter((at) => {
      const { change } = planned[at] as Planned;
      return change.kind !== 'insert' && before.get(change.id) === change.expected;
    });
    if (due.length > 0) await send(collection, planned, due, outcomes);
  } catch (error) {
    for (const at of places) if (outcomes[at] === CONFLICT) outcomes[at] = { doubt: error };
  }
}

async function send(
  collection: Collection<StoredDocument>,
  planned: readonly Planned[],
  places: number[],
  outcomes: BulkOutcome[],
): Promise<void> {
  const all = placed(planned, places);
  const result = await collection.bulkWrite(all.map(operationOf), { ordered: false });
  const removals = all.filter(({ change }) => change.kind === 'remove');
  const removed = result.deletedCount;
  if (removed === removals.length && result.matchedCount === all.length - removals.length) {
    for (const at of places) outcomes[at] = done(planned[at] as Planned);
    return;
  }
  const after = await revisionsOf(collection, all);
  const absent = removals.filter(({ change }) => !after.has(change.id)).length;
  for (const at of places) {
    const each = planned[at] as Planned;
    const revision = after.get(each.change.id);
    const isOurs =
      each.change.kind === 'remove'
        ? revision === undefined && absent === removed
        : revision === each.revision.toHexString();
    if (isOurs) outcomes[at] = done(each);
  }
}

function placed(planned: readonly Planned[], places: number[]): Planned[] {
  return places.map((at) => planned[at] as Planned);
}

async function revisionsOf(
  collection: Collection<StoredDocument>,
  planned: readonly Planned[],
): Promise<Map<string, string>> {
  const ids = planned.map(({ change }) => change.id);
  const found = await collection
    .find({ _id: { $in: ids } }, { projection: { _revision: 1 } })
    .toArray();
  return new Map(found.map(({ _id, _revision }) => [_id, _revision.toHexString()]));
}

export function documentOf({ change, revision }: Planned): StoredDocument {
  return encodeDocument(change.id, revision, change.kind === 'remove' ? {} : change.value);
}

/** Matches nothing where `expected` is no revision of ours. */
export function filterOf(id: string, expected: string): { _id: string; _revision: ObjectId } {
  return { _id: id, _revision: ObjectId.isValid(expected) ? new ObjectId(expected) : NEVER };
}

const NEVER = new ObjectId('000000000000000000000000');

function operationOf(planned: Planned): AnyBulkWriteOperation<StoredDocument> {
  const { change } = planned;
  const filter = filterOf(change.id, change.kind === 'insert' ? '' : change.expected);
  if (change.kind === 'remove') return { deleteOne: { filter } };
  return { replaceOne: { filter, replacement: documentOf(planned) } };
}
