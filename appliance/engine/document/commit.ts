// The commit core: the one place where the document of a key is changed. Read it, change a draft,
// list what the change stops naming (B1), insert if absent or replace at the revision read (A1); a
// loser reads again (A4). The dangers: an acknowledged version that another writer's commit
// dropped, bytes named by a document after they were freed, bytes freed because a commit that never
// happened was thought to. About 3 µs beside the store's own time where nothing is in the way.

import assert from 'node:assert/strict';
import { FirnError, isFirnError, isInDoubt } from '../../model/errors.ts';
import { locationBirth } from '../../model/ids.ts';
import type { Location } from '../../model/location.ts';
import type { Change, CommitResult, Revision, Row } from '../../model/metadata-store.ts';
import type { Bucket } from '../../model/bucket.ts';
import { NOTHING, type Amount } from '../../model/quota.ts';
import type { ObjectDocument } from '../../model/object.ts';
import type { Garbage } from '../../model/records.ts';
import type { EngineContext } from './context.ts';
import { Draft, type Outcome } from './draft.ts';
import { listGarbage, listHeals } from './garbage.ts';
import { reread } from './history.ts';
import type { QuotaMeter } from './quota-meter.ts';
import type { HeldLocation } from './references.ts';
import type { Writers } from './writers.ts';

export interface CommitCore {
  readonly context: EngineContext;
  readonly writers: Writers;
  readonly quotas?: Pick<QuotaMeter, 'note'>;
}

export interface Commit<A> {
  /** Id of the document: objectId. */
  object: string;
  /** Why what it releases is garbage. */
  reason: Garbage['reason'];
  /**
   * Bytes written for this change: listed as lost unless the commit names them, or is in doubt
   * (B6). Those short of full redundancy are put on the heal list first.
   */
  fresh?: readonly Location[];
  /**
   * What the change newly names is held by its own upload, known to stand until this engine
   * instant: it takes the place of the age of the locations, which may be days (B3).
   */
  heldUntil?: number;
  /** What the change newly names may be this location too, however old: shared bytes (DEDUPE.md). */
  shared?: HeldLocation | undefined;
  /** Whose quotas count what the commit adds or takes out. */
  bucket?: Bucket;
  /** The request has conditions: past the bound of attempts the answer is 409 (A4). */
  conditional?: boolean;
  /**
   * Changes the draft, or throws what to answer; runs once an attempt, so it has no effects
   * elsewhere. Changing nothing commits nothing.
   */
  change(draft: Draft): A | Promise<A>;
}

export interface Committed<A> {
  answer: A;
  /** False: the change left the document as it was. */
  changed: boolean;
  /** The commit created the document (A6). */
  created: boolean;
  /** Versions that came, less those that went. */
  growth: Amount;
  /** Of the document as committed; undefined when removed or not changed. */
  revision: Revision | undefined;
}

const ATTEMPTS_MAX = 100;
/** From this attempt on a writer waits a random time, so that processes do not lose in step. */
const CALM_ATTEMPTS = 4;

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Changes the document of a key. On return the change is durable, once. Throws what `change`
 * throws, and: MetadataUnavailable when the store is away or the commit is in doubt (B6: nothing is
 * listed, the caller does not repeat), ServiceUnavailable when the fresh bytes became too old to be
 * named (B3), ConditionalRequestConflict or SlowDown when a hundred attempts lost.
 */
export async function commitObject<A>(core: CommitCore, commit: Commit<A>): Promise<Committed<A>> {
  const turn = core.writers.take(commit.object);
  if (turn !== undefined) await turn;
  let named = false;
  try {
    const healing = commit.fresh && listHeals(core.context, commit.fresh);
    if (healing !== undefined) await healing;
    const committed = await attemptUntilDone(core.context, commit);
    named = committed.changed;
    if (commit.bucket !== undefined && core.quotas !== undefined) {
      const noted = core.quotas.note(commit.bucket, committed.growth);
      if (noted !== undefined) await noted;
    }
    return committed;
  } catch (error) {
    // In doubt the bytes may be named: they are left to the sweep (B6).
    if (isInDoubt(error)) named = true;
    throw error;
  } finally {
    core.writers.give(commit.object);
    if (!named && commit.fresh !== undefined && commit.fresh.length > 0) {
      await listLost(core.context, commit.object, { locations: commit.fresh, blocks: [] });
    }
  }
}

/** Best effort by design: what could not be listed is found by the sweep (B5). */
async function listLost(
  context: EngineContext,
  object: string,
  lost: { locations: readonly Location[]; blocks: readonly string[] },
): Promise<void> {
  try {
    await listGarbage(context, lost, { object, reason: 'lost' });
  } catch (error) {
    if (!isFirnError(error)) throw error;
  }
}

async function attemptUntilDone<A>(
  context: EngineContext,
  commit: Commit<A>,
): Promise<Committed<A>> {
  for (let i = 0; i < ATTEMPTS_MAX; i++) {
    if (i > CALM_ATTEMPTS) {
      const share = (context.random.bytes(1)[0] ?? 0) / 256;
      await pause(share * Math.min(50, i));
    }
    const committed = await reread(commit.object, () => attempt(context, commit));
    if (committed !== undefined) return committed;
  }
  throw new FirnError(
    commit.conditional === true ? 'ConditionalRequestConflict' : 'SlowDown',
    'too many writers of this key at once',
    { subject: commit.object, retryable: true },
  );
}

/** Undefined: lost, try again. */
async function attempt<A>(
  context: EngineContext,
  commit: Commit<A>,
): Promise<Committed<A> | undefined> {
  const { store } = context;
  const row = await store.get<ObjectDocument>('objects', commit.object);
  const draft = new Draft(context, commit.object, row?.value);
  const answer = await commit.change(draft);
  const outcome = await draft.finish();
  if (outcome.kind === 'same') {
    // The answer rests on what was read, which may be another's change of this moment (D3).
    await store.settled();
    return { answer, changed: false, created: false, growth: NOTHING, revision: undefined };
  }
  const bound = namingBound(context, commit, outcome);
  if (outcome.blocks.length > 0) await insertBlocks(context, outcome.blocks);
  let notAfter = bound;
  const { released } = outcome;
  if (released.locations.length > 0 || released.blocks.length > 0) {
    const { object, reason } = commit;
    notAfter = Math.min(notAfter, await listGarbage(context, released, { object, reason }));
  }
  const result = await swap(context, { row, outcome, object: commit.object, notAfter });
  if (result.outcome === 'done') {
    const revision = outcome.kind === 'remove' ? undefined : result.revision;
    const { growth } = outcome;
    return { answer, changed: true, created: row === undefined, growth, revision };
  }
  context.count?.(result.outcome === 'expired' ? 'commit-expired' : 'commit-conflict');
  const blocks = outcome.blocks.map(({ id }) => id);
  if (blocks.length > 0) await listLost(context, commit.object, { locations: [], blocks });
  if (result.outcome === 'expired' && context.clock.now() > bound) throw tooOld(commit.object);
  return undefined;
}

/** The engine instant after which what the change newly names is too old to be named (B3). */
function namingBound<A>(context: EngineContext, commit: Commit<A>, outcome: Outcome): number {
  let bound = commit.heldUntil ?? Infinity;
  if (commit.heldUntil === undefined) {
    for (const id of outcome.named) {
      const isShared = id === commit.shared?.id;
      const until = isShared ? commit.shared?.until : locationBirth(id) + context.graceMs / 2;
      bound = Math.min(bound, until ?? 0);
    }
  }
  if (bound < context.clock.now()) throw tooOld(commit.object);
  return bound;
}

function tooOld(subject: string): FirnError {
  return new FirnError('ServiceUnavailable', 'the bytes took longer than half a grace to arrive', {
    subject,
    retryable: true,
    hint: 'upload in parts',
  });
}

/**
 * Blocks are durable before a document names them (A5). Their ids are fresh: a conflict is a bug.
 */
export async function insertBlocks(
  context: EngineContext,
  blocks: readonly Outcome['blocks'][number][],
): Promise<void> {
  const changes = blocks.map(({ id, value }): Change => ({
    kind: 'insert',
    table: 'blocks',
    id,
    value,
  }));
  const results = await context.store.bulk(changes);
  for (const { outcome } of results) assert.equal(outcome, 'done', 'ids of blocks are fresh (A3)');
}

function swap(
  context: EngineContext,
  next: {
    row: Row<ObjectDocument> | undefined;
    outcome: Outcome;
    object: string;
    notAfter: number;
  },
): Promise<CommitResult> {
  const { store } = context;
  const { row, outcome, object, notAfter } = next;
  const options = notAfter === Infinity ? undefined : { notAfter };
  if (row === undefined) return store.insert('objects', object, outcome.document, options);
  const expected = row.revision;
  if (outcome.kind === 'remove') return store.remove('objects', object, expected, options);
  return store.replace(
    { table: 'objects', id: object, expected, value: outcome.document },
    options,
  );
}
