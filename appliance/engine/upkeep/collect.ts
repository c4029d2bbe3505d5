// The collector (B4): the only code that frees bytes. For a candidate past its grace it reads the
// upload and then the object's document afresh; whatever is named by either is kept and its row
// dropped. What is not named is condemned by a compare-and-swap of the row, and only then exactly
// that location goes, never a prefix, never "everything else". The danger it answers: the bytes of
// a living object, gone. A crash between two steps leaves a condemned row, which the next pass
// frees again: freeing what is gone already succeeds. What several documents may name is judged by
// sharing.ts.

import { isFirnError } from '../../model/errors.ts';
import type { Location, Pack } from '../../model/location.ts';
import type { Revision, Row } from '../../model/metadata-store.ts';
import type { Garbage } from '../../model/records.ts';
import type { Core } from '../document/core.ts';
import { inFlight } from '../document/in-flight.ts';
import type { LeaseGuard } from '../document/lease.ts';
import { tierNamed } from '../move/move.ts';
import { namesOf, packObject, packOfObject, type Names } from '../document/named.ts';
import { lookAtPack } from '../move/pack-members.ts';
import {
  anyReferences,
  hasReferences,
  removeHint,
  removeReferences,
} from '../document/references.ts';
import { judge } from './sharing.ts';

const PAGE_ROWS = 512;
/**
 * Looks at once: on MongoDB a linearizable read waits for a journal flush, 64 of them for the same
 * one.
 */
const LOOKS_IN_FLIGHT = 64;
const SWAPS_MAX = 16;

export interface CollectOptions {
  lease: LeaseGuard;
  signal?: AbortSignal;
}

export interface CollectCounts {
  /** Rows read. */
  looked: number;
  /** Not past their grace. */
  waiting: number;
  /** Named after all: kept. */
  named: number;
  freed: number;
  freedBytes: number;
  /** Somebody else listed or condemned it meanwhile, or a tier is away: a later pass. */
  postponed: number;
  /** What may name it can't be read, so it counts as named: a durability alarm each. */
  unreadable: number;
}

export function noCollect(): CollectCounts {
  return { looked: 0, waiting: 0, named: 0, freed: 0, freedBytes: 0, postponed: 0, unreadable: 0 };
}

/** One page of candidates behind `after`. `next` undefined: that was the last one. */
export async function collectPage(
  core: Core,
  after: string | undefined,
  options: CollectOptions,
): Promise<{ next: string | undefined; counts: CollectCounts }> {
  const { store, clock } = core.context;
  const counts = noCollect();
  const rows = await store.range<Garbage>({
    table: 'garbage',
    limit: PAGE_ROWS,
    ...(after === undefined ? {} : { after }),
  });
  const now = clock.now();
  const groups = new Map<string, Row<Garbage>[]>();
  for (const row of rows) {
    counts.looked += 1;
    if (row.value.condemned !== true && row.value.notBefore > now) {
      counts.waiting += 1;
      continue;
    }
    const group = groups.get(row.value.object);
    if (group === undefined) groups.set(row.value.object, [row]);
    else group.push(row);
  }
  const shares = groups.size > 0 && (await anyReferences(store));
  await inFlight(LOOKS_IN_FLIGHT, [...groups], async ([object, group]) => {
    options.signal?.throwIfAborted();
    await collectGroup(core, object, { group, shares, options, counts });
  });
  const next = rows.length < PAGE_ROWS ? undefined : rows.at(-1)?.id;
  return { next, counts };
}

interface Pass {
  options: CollectOptions;
  counts: CollectCounts;
  /** Some locations may be named by several documents. */
  shares: boolean;
}

interface Group extends Pass {
  group: readonly Row<Garbage>[];
}

/** All candidates of one document: one look serves them all. */
async function collectGroup(core: Core, object: string, one: Group): Promise<void> {
  const { group, counts } = one;
  let names: Promise<Names> | undefined;
  const look = (): Promise<Names> => {
    const undecided = group.filter((row) => row.value.condemned !== true);
    const uploads = new Set(undecided.flatMap((row) => row.value.uploadId ?? []));
    names ??= namesOf(core.context.store, object, uploads);
    return names;
  };
  for (const row of group) {
    try {
      await collectRow(core, row, { ...one, look });
    } catch (error) {
      // A tier that is away keeps its condemned rows, a damaged document all of its candidates: no
      // reason to keep the bytes of all others for ever. Everything else is no matter of one row.
      if (isUnreadable(error)) counts.unreadable += 1;
      else if (isAway(error)) counts.postponed += 1;
      else throw error;
    }
  }
}

function isUnreadable(error: unknown): boolean {
  return isFirnError(error, 'Corrupt') || isFirnError(error, 'FormatUnknown');
}

function isAway(error: unknown): boolean {
  return (
    isFirnError(error, 'TierUnavailable') ||
    isFirnError(error, 'DriveUnavailable') ||
    // The index of a pack without lists of members can't be read now.
    isFirnError(error, 'TierOffline')
  );
}

async function collectRow(
  core: Core,
  row: Row<Garbage>,
  one: Pass & { look: () => Promise<Names> },
): Promise<void> {
  const { options, counts, shares } = one;
  const { store } = core.context;
  const { id, value } = row;
  let { revision } = row;
  const isShared = shares && value.location !== undefined && (await hasReferences(store, id));
  if (value.condemned !== true) {
    if (await isNamed(core, value, await one.look())) {
      await store.remove('garbage', id, revision);
      counts.named += 1;
      return;
    }
    const condemned = isShared ? await judgeShared(core, row, one) : await condemn(core, row, one);
    if (condemned === undefined) return;
    revision = condemned;
  }
  await options.lease.check();
  if (isShared) await removeHint(store, id);
  // Others are freed meanwhile: the sum is read only after the wait.
  const freedBytes = await free(core, value);
  counts.freedBytes += freedBytes;
  // The row goes last: while it stands nobody shares what is gone.
  if (isShared) await removeReferences(store, id);
  await store.remove('garbage', id, revision);
  counts.freed += 1;
}

/** The row's new revision; undefined: not now. */
async function condemn(
  core: Core,
  { id, revision, value }: Row<Garbage>,
  { options, counts }: Pass,
): Promise<Revision | undefined> {
  // The sweep has found it, but nobody knows whose it was: only its second pass condemns it.
  if (value.object === '') {
    counts.waiting += 1;
    return undefined;
  }
  await options.lease.check();
  const condemned: Garbage = { ...value, condemned: true };
  const change = { table: 'garbage', id, expected: revision, value: condemned } as const;
  const result = await core.context.store.replace(change);
  if (result.outcome === 'done') return result.revision;
  counts.postponed += 1;
  return undefined;
}

async function judgeShared(
  core: Core,
  row: Row<Garbage>,
  { options, counts }: Pass,
): Promise<Revision | undefined> {
  const verdict = await judge(core.context, row, options.lease);
  if (typeof verdict === 'object') return verdict.condemned;
  if (verdict === 'kept') counts.named += 1;
  else if (verdict === 'waits') counts.waiting += 1;
  else counts.postponed += 1;
  return undefined;
}

async function isNamed(core: Core, garbage: Garbage, names: Names): Promise<boolean> {
  if (garbage.block !== undefined) return names.blocks.has(garbage.block);
  const { location } = garbage;
  if (location === undefined) return false;
  // The sweep can't tell a pack's blob from an object's: the row of a pack speaks for it.
  if (garbage.reason === 'orphan' && location.kind !== 'pack') {
    const packRow = await core.context.store.get('packs', location.id, { linearizable: true });
    if (packRow !== undefined) return true;
  }
  if (!names.locations.has(location.id)) return false;
  const pack = packOfObject(garbage.object);
  if (pack === undefined) return true;
  // A pack's blob is named by its row for as long as anything in it lives.
  return isPackAlive(core, pack);
}

/**
 * Also puts right what its row says about dead bytes, so that it is not looked at for nothing
 * again.
 */
async function isPackAlive(core: Core, id: string): Promise<boolean> {
  const row = await core.context.store.get<Pack>('packs', id, { linearizable: true });
  if (row === undefined) return false;
  const look = await lookAtPack(core, row.value);
  if (look.live.length === 0) return false;
  await setDeadBytes(core, id, () => Math.max(0, row.value.entryBytes - look.liveBytes));
  return true;
}

/** Frees exactly what the row names; returns the bytes. A repeat succeeds. */
async function free(core: Core, garbage: Garbage): Promise<number> {
  const { store } = core.context;
  if (garbage.block !== undefined) {
    await removeRow(core, 'blocks', garbage.block);
    return 0;
  }
  const { location } = garbage;
  if (location === undefined) return 0;
  if (location.kind === 'pack') {
    await addDeadBytes(core, location);
    return 0;
  }
  await tierNamed(core, location.tier).delete(location);
  // It may still wait to be made whole again.
  if (location.kind !== 'remote') await removeRow(core, 'heals', location.id);
  const pack = packOfObject(garbage.object);
  if (pack !== undefined) {
    const row = await store.get<Pack>('packs', pack);
    for (const block of row?.value.members ?? []) await removeRow(core, 'blocks', block);
    await removeRow(core, 'packs', pack);
  }
  return location.length;
}

async function removeRow(
  core: Core,
  table: 'blocks' | 'heals' | 'packs',
  id: string,
): Promise<void> {
  const { store } = core.context;
  for (let i = 0; i < SWAPS_MAX; i++) {
    const row = await store.get(table, id);
    if (row === undefined) return;
    if ((await store.remove(table, id, row.revision)).outcome === 'done') return;
  }
}

/**
 * Bytes inside a pack are freed with it: until then they are counted. A crash may count a member
 * twice; the count only says when to look, never what to free.
 */
async function addDeadBytes(core: Core, location: Extract<Location, { kind: 'pack' }>) {
  const pack = await setDeadBytes(core, location.pack, (row) =>
    Math.min(row.entryBytes, row.deadBytes + location.length),
  );
  if (pack !== undefined && pack.deadBytes >= pack.entryBytes) await listPack(core, pack);
}

async function setDeadBytes(
  core: Core,
  id: string,
  deadBytes: (pack: Pack) => number,
): Promise<Pack | undefined> {
  const { store } = core.context;
  for (let i = 0; i < SWAPS_MAX; i++) {
    const row = await store.get<Pack>('packs', id);
    if (row === undefined) return undefined;
    const value: Pack = { ...row.value, deadBytes: deadBytes(row.value) };
    if (value.deadBytes === row.value.deadBytes) return value;
    const result = await store.replace({ table: 'packs', id, expected: row.revision, value });
    if (result.outcome === 'done') return value;
  }
  return undefined;
}

/**
 * The blob of a pack in which nothing seems to live becomes a candidate of its own: whether that is
 * so is looked at when its turn comes. A grace from now: the last of its members may have gone a
 * moment ago and have readers, and of a pack just made none may have been committed yet (B3).
 * Listed already, it keeps its instant: nothing in it can come back to life.
 */
export async function listPack(core: Core, pack: Pack): Promise<void> {
  const { store, clock, graceMs } = core.context;
  const value: Garbage = {
    format: 1,
    location: pack.blob,
    object: packObject(pack.id),
    notBefore: clock.now() + graceMs,
    reason: 'move',
  };
  await store.insert('garbage', pack.blob.id, value);
}
