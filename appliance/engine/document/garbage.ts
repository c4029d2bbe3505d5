// Bytes are freed late (protocol B). What a commit stops naming is listed here before that commit
// (B1), with an instant before which no collector touches it. The danger: bytes freed while a
// reader, or a writer that lost and tried again, still holds their name. One row a location,
// whoever listed it first; listing it again only ever moves the instant further away.

import { FirnError } from '../../model/errors.ts';
import { LISTED_AGE_MS_MAX } from '../../model/limits.ts';
import type { Location } from '../../model/location.ts';
import type { Change, CommitResult } from '../../model/metadata-store.ts';
import { needsHeal } from '../../model/node-group.ts';
import type { Garbage, Heal } from '../../model/records.ts';
import type { EngineContext } from './context.ts';

export interface Released {
  locations: readonly Location[];
  /** Ids of rows of `blocks`. */
  blocks: readonly string[];
}

export interface Listing {
  /** objectId of the document that may still name it. */
  object: string;
  uploadId?: string;
  reason: Garbage['reason'];
}

const BULK_MAX = 1000;
const RAISES_MAX = 16;

export function garbageOfBlock(block: string): string {
  return `block/${block}`;
}

/**
 * How long a commit may rest on its listing (B2); shorter where debug settings shorten the grace.
 */
export function listedAgeMs(context: EngineContext): number {
  return Math.min(LISTED_AGE_MS_MAX, context.graceMs / 4);
}

/**
 * Lists candidates, durably on return. Returns the engine instant up to which a commit that stops
 * naming them may happen (B2). A repeat call raises `notBefore` and takes a question back, nothing
 * else. A condemned row is left: its bytes are named by no committed document, so the commit that
 * lists it must lose.
 */
export async function listGarbage(
  context: EngineContext,
  released: Released,
  listing: Listing,
): Promise<number> {
  const now = context.clock.now();
  const rows: { id: string; value: Garbage }[] = [];
  const shared = { format: 1, notBefore: now + context.graceMs, ...listing } as const;
  for (const location of released.locations) {
    rows.push({ id: location.id, value: { ...shared, location } });
  }
  for (const block of released.blocks) {
    rows.push({ id: garbageOfBlock(block), value: { ...shared, block } });
  }
  for (let at = 0; at < rows.length; at += BULK_MAX) {
    const some = rows.slice(at, at + BULK_MAX);
    const changes = some.map(({ id, value }): Change => ({
      kind: 'insert',
      table: 'garbage',
      id,
      value,
    }));
    const results = await apply(context, changes);
    for (let i = 0; i < some.length; i++) {
      const row = some[i];
      if (row !== undefined && results[i]?.outcome !== 'done') await raise(context, row);
    }
  }
  return now + listedAgeMs(context);
}

/**
 * A single insert may share a command with those of other requests (MongoDB); a bulk is its own.
 */
async function apply(
  context: EngineContext,
  changes: readonly Change[],
): Promise<readonly CommitResult[]> {
  const only = changes[0];
  if (changes.length !== 1 || only?.kind !== 'insert') return context.store.bulk(changes);
  return [await context.store.insert(only.table, only.id, only.value)];
}

/** The row stands already: move its instant, by compare-and-swap (B1). */
async function raise(context: EngineContext, row: { id: string; value: Garbage }): Promise<void> {
  for (let i = 0; i < RAISES_MAX; i++) {
    const old = await context.store.get<Garbage>('garbage', row.id);
    if (old === undefined) {
      const inserted = await context.store.insert('garbage', row.id, row.value);
      if (inserted.outcome === 'done') return;
      continue;
    }
    const { questioned, ...before } = old.value;
    const isLater = questioned !== true && before.notBefore >= row.value.notBefore;
    if (before.condemned === true || isLater) return;
    const notBefore = Math.max(before.notBefore, row.value.notBefore);
    const value: Garbage = { ...before, notBefore };
    const replaced = await context.store.replace({
      table: 'garbage',
      id: row.id,
      expected: old.revision,
      value,
    });
    if (replaced.outcome === 'done') return;
  }
  throw tooFast(row.id);
}

/** Somebody else's swaps of one row won again and again. */
export function tooFast(subject: string): FirnError {
  return new FirnError('SlowDown', 'the row of a candidate changes too fast', {
    subject,
    retryable: true,
  });
}

/**
 * Puts locations that were written short of full redundancy on the heal list, before the commit
 * that names them: an acknowledged write that is one drive from loss is never without its row.
 */
export function listHeals(
  context: EngineContext,
  locations: readonly Location[],
): Promise<unknown> | undefined {
  const changes: Change[] = [];
  for (const location of locations) {
    if (location.kind === 'pack' || location.kind === 'remote' || !needsHeal(location)) continue;
    const value: Heal = { format: 1, location, since: context.clock.now(), attempts: 0 };
    changes.push({ kind: 'insert', table: 'heals', id: location.id, value });
  }
  // A conflict: the row stands already.
  return changes.length === 0 ? undefined : context.store.bulk(changes);
}
