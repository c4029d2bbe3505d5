// Many single-document changes in few commands. The server tells of a bulk only how many replacements
// matched and how many documents it removed; where that is fewer than were asked for, the rows are read
// again. What then can't be told apart (ours, but overtaken since; or never ours) is called a conflict:
// whoever gets one reads the row anyway.

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
  const documents = places.map((at) => documentOf(planned[at] as Planned));
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
  const all = places.map((at) => planned[at] as Planned);
  const operations = all.map(operationOf);
  let matched: number;
  let removed: number;
  try {
    const result = await collection.bulkWrite(operations, { ordered: false });
    matched = result.matchedCount;
    removed = result.deletedCount;
  } catch (error) {
    for (const at of places) outcomes[at] = { doubt: error };
    return;
  }
  const removals = all.filter(({ change }) => change.kind === 'remove').length;
  if (matched === all.length - removals && removed === removals) {
    for (const at of places) outcomes[at] = done(planned[at] as Planned);
    return;
  }
  try {
    const held = await revisionsOf(collection, all);
    const absent = all.filter(({ change }) => isRemovedOf(change, held)).length;
    places.forEach((at, nth) => {
      const each = all[nth] as Planned;
      const revision = held.get(each.change.id);
      const isOurs =
        each.change.kind === 'remove'
          ? revision === undefined && absent === removed
          : revision === each.revision.toHexString();
      outcomes[at] = isOurs ? done(each) : CONFLICT;
    });
  } catch (error) {
    for (const at of places) outcomes[at] = { doubt: error };
  }
}

function isRemovedOf(change: Change, held: ReadonlyMap<string, string>): boolean {
  return change.kind === 'remove' && !held.has(change.id);
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
