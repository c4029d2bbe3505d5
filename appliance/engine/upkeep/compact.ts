// Compaction: containers that hold mostly dead bytes are emptied of what still lives, by the one
// move protocol, and then freed whole. Both kinds, segments of a node group and packs, are treated
// alike: who lives in it is asked of every object's document afresh, never of counters. A segment
// goes only when no record in it is named by a document, an upload or a pack's row, when each is
// too old to become named (B3), and when no candidate row still holds one for a reader. The danger
// is a record that lives and was not seen: so no segment goes while a drive of its tier is not up,
// as records could be hidden there.

import { keyOfObjectId, locationBirth, objectId } from '../../model/ids.ts';
import type { Pack } from '../../model/location.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type {
  DriveInfo,
  NodeGroupTier,
  SegmentInfo,
  SegmentRecord,
} from '../../model/node-group.ts';
import type { ObjectDocument, Part, Version } from '../../model/object.ts';
import { listPack } from './collect.ts';
import type { Core } from '../document/core.ts';
import { listGarbage } from '../document/garbage.ts';
import { loadParts, reread } from '../document/history.ts';
import { inFlight } from '../document/in-flight.ts';
import { allVersions } from '../document/inventory.ts';
import {
  addMoves,
  moveVersions,
  noMoves,
  type MoveCounts,
  type MoveOptions,
  type MovingVersion,
} from '../move/move.ts';
import { namesOf, uploadsOf } from '../document/named.ts';
import { moveIntoPacks } from '../move/pack-move.ts';
import { lookAtPack } from '../move/pack-members.ts';
import { anyReferences, referencesOf } from '../document/references.ts';

/** Emptied below this share of living bytes. */
export const LIVE_SHARE_MIN = 0.5;
const LOOKS_IN_FLIGHT = 64;
const BATCH = 256;
/** Objects that share one record and are read at once, beside as many other records. */
const SHARERS_IN_FLIGHT = 8;
/** Gathered by one look at a segment beside its owners' own. */
const VERSIONS_MAX = 10_000;

export type CompactOptions = Pick<MoveOptions, 'lease' | 'signal' | 'avoidGroups'> & {
  /** Why; by default to compact. */
  kind?: MoveOptions['kind'];
  /** Emptied below this share of living bytes; by default half. */
  liveShareMin?: number;
  /** Bucket id → name. */
  names: ReadonlyMap<string, string>;
};

/**
 * kept: enough of it lives. emptied: what lived was moved out. freed: nothing lived. held: not yet.
 */
export type CompactOutcome = 'kept' | 'emptied' | 'freed' | 'held';

export interface Compacted {
  outcome: CompactOutcome;
  liveBytes: number;
  /** Of all records of the segment; 0 where it was not looked at. */
  bytes: number;
  moves: MoveCounts;
}

function compacted(outcome: CompactOutcome, liveBytes: number, moves = noMoves()): Compacted {
  return { outcome, liveBytes, bytes: 0, moves };
}

/**
 * Moves what lives in a pack into a new one when less than half does (or `anyway`), and hands a
 * pack in which nobody lives to the collector. TierOffline when it would have to be read and isn't
 * online.
 */
export async function compactPack(
  core: Core,
  pack: Pack,
  options: CompactOptions & { anyway?: boolean },
): Promise<Compacted> {
  const look = await lookAtPack(core, pack);
  const { liveBytes, live } = look;
  if (live.length === 0) {
    await listPack(core, pack);
    return compacted('freed', 0);
  }
  if (options.anyway !== true && liveBytes >= pack.entryBytes * LIVE_SHARE_MIN) {
    return compacted('kept', liveBytes);
  }
  const versions = live.map(({ object, version, parts }) =>
    movingOf(options.names, { object, version, parts }),
  );
  const moves = await moveIntoPacks(core, versions, {
    kind: 'compact',
    tier: pack.tier,
    ...options,
  });
  return compacted('emptied', liveBytes, moves);
}

function movingOf(
  names: ReadonlyMap<string, string>,
  of: { object: string; version: Version; parts: readonly Part[] },
): MovingVersion {
  const bucketId = of.object.slice(0, of.object.indexOf('/'));
  const bucket = names.get(bucketId) ?? '';
  return { ...of, bucket, bucketId, key: keyOfObjectId(of.object) };
}

/** What the records of one segment are to the metadata. */
interface SegmentLook {
  records: number;
  bytes: number;
  liveBytes: number;
  /** Versions with parts (or a restored copy) in it. */
  versions: MovingVersion[];
  /** Packs whose blob is a record. */
  packs: Pack[];
  /** Held by an upload, by a candidate's grace, or too young: no move helps. */
  held: number;
}

/** Empties or frees a settled segment. A repeat goes on. */
export async function compactSegment(
  core: Core,
  of: { tier: NodeGroupTier; info: SegmentInfo },
  options: CompactOptions,
): Promise<Compacted> {
  const { tier, info } = of;
  const { context } = core;
  if (!info.settled || info.openedAt > context.clock.now() - context.graceMs) {
    return compacted('held', 0);
  }
  const look = await lookAt(core, tier.records(info.group, info.segment), options);
  const { bytes, liveBytes } = look;
  if (liveBytes === 0) {
    const isHeld = look.held > 0 || !(await areAllSeen(tier, info.group));
    if (isHeld) return { ...compacted('held', 0), bytes };
    await options.lease.check();
    await tier.freeSegment(info.group, info.segment);
    return compacted('freed', 0);
  }
  if (liveBytes >= bytes * (options.liveShareMin ?? LIVE_SHARE_MIN)) {
    return { ...compacted('kept', liveBytes), bytes };
  }
  const moves = noMoves();
  const move = { kind: 'compact', tier: tier.name, ...options } as const;
  for (let at = 0; at < look.versions.length; at += BATCH) {
    options.signal?.throwIfAborted();
    addMoves(moves, await moveVersions(core, look.versions.slice(at, at + BATCH), move));
  }
  for (const pack of look.packs) {
    addMoves(moves, (await compactPack(core, pack, { ...options, anyway: true })).moves);
  }
  return { ...compacted('emptied', liveBytes, moves), bytes };
}

/** No record can be hidden: every drive of the group is there and whole. A full one is. */
async function areAllSeen(tier: NodeGroupTier, group: number): Promise<boolean> {
  const drives = await tier.drives();
  return drives.every((drive) => drive.group !== group || isWhole(drive.state));
}

const isWhole = (state: DriveInfo['state']): boolean => state === 'up' || state === 'full';

async function lookAt(
  core: Core,
  records: AsyncIterable<SegmentRecord>,
  options: CompactOptions,
): Promise<SegmentLook> {
  const look: SegmentLook = {
    records: 0,
    bytes: 0,
    liveBytes: 0,
    versions: [],
    packs: [],
    held: 0,
  };
  let page: SegmentRecord[] = [];
  for await (const record of records) {
    page.push(record);
    if (page.length < LOOKS_IN_FLIGHT) continue;
    await lookAtPage(core, page, { look, options });
    page = [];
  }
  await lookAtPage(core, page, { look, options });
  return look;
}

async function lookAtPage(
  core: Core,
  page: readonly SegmentRecord[],
  of: { look: SegmentLook; options: CompactOptions },
): Promise<void> {
  const { store } = core.context;
  const { look, options } = of;
  const named = new Set<string>();
  const movable = new Set<string>();
  const lookAtObject = async ([object, asked]: [string, Set<string>]): Promise<void> => {
    const names = await namesOf(store, object, await uploadsOf(store, object));
    const live = asked.intersection(names.locations);
    if (live.size === 0) return;
    for (const id of live) named.add(id);
    for (const { version, parts } of await versionsWith(core, object, live)) {
      look.versions.push(movingOf(options.names, { object, version, parts }));
      for (const { location } of parts) movable.add(location.id);
    }
  };
  await inFlight(LOOKS_IN_FLIGHT, [...askedOf(page)], lookAtObject);
  const shares = page.length > 0 && (await anyReferences(store));
  await inFlight(LOOKS_IN_FLIGHT, page, async (record) => {
    const { id } = record.location;
    let isShared = false;
    for await (const objects of shares ? sharersOf(store, record) : []) {
      isShared = true;
      // The others of very many are moved by a later look.
      if (named.has(id) && look.versions.length >= VERSIONS_MAX) break;
      const asked = objects.map((object): [string, Set<string>] => [object, new Set([id])]);
      await inFlight(SHARERS_IN_FLIGHT, asked, lookAtObject);
    }
    look.records += 1;
    look.bytes += record.length;
    if (!named.has(id)) {
      await lookAtUnnamed(core, record, { look, isShared });
      return;
    }
    look.liveBytes += record.length;
    if (!movable.has(id)) look.held += 1;
  });
}

/** Objects that have a reference to the record, but for its owner, in pages; all of them. */
async function* sharersOf(
  store: MetadataStore,
  { bucketId, key, location }: SegmentRecord,
): AsyncGenerator<string[]> {
  const owner = objectId(bucketId, key);
  for await (const rows of referencesOf(store, location.id)) {
    yield rows.map(({ value }) => value.object).filter((object) => object !== owner);
  }
}

/** Object → ids of its own records. */
function askedOf(page: readonly SegmentRecord[]): Map<string, Set<string>> {
  const asked = new Map<string, Set<string>>();
  for (const { bucketId, key, location } of page) {
    const object = objectId(bucketId, key);
    const ids = asked.get(object);
    if (ids === undefined) asked.set(object, new Set([location.id]));
    else ids.add(location.id);
  }
  return asked;
}

/**
 * A pack's blob lives by its row; anything else is dead, once it can't become named any more. While
 * it has references it may: it is listed, so that the collector ends them.
 */
async function lookAtUnnamed(
  core: Core,
  record: SegmentRecord,
  { look, isShared }: { look: SegmentLook; isShared: boolean },
): Promise<void> {
  const { context } = core;
  const { store, clock, graceMs } = context;
  const { id } = record.location;
  const pack = await store.get<Pack>('packs', id, { linearizable: true });
  if (pack !== undefined) {
    look.packs.push(pack.value);
    look.liveBytes += record.length;
    return;
  }
  const isListed = (await store.get('garbage', id)) !== undefined;
  const isYoung = locationBirth(id) > clock.now() - graceMs;
  if (isListed || isShared || isYoung) look.held += 1;
  if (isListed || isYoung || !isShared) return;
  const object = objectId(record.bucketId, record.key);
  await listGarbage(
    context,
    { locations: [record.location], blocks: [] },
    { object, reason: 'orphan' },
  );
}

/** Versions of the document with those of their parts (or restored copies) that the ids name. */
function versionsWith(
  core: Core,
  object: string,
  ids: ReadonlySet<string>,
): Promise<{ version: Version; parts: Part[] }[]> {
  const { store } = core.context;
  return reread(object, async () => {
    const row: Row<ObjectDocument> | undefined = await store.get<ObjectDocument>('objects', object);
    if (row === undefined) return [];
    const { revision, value: document } = row;
    const found: { version: Version; parts: Part[] }[] = [];
    const entry = { object, key: keyOfObjectId(object), revision, document };
    for (const version of await allVersions(store, entry)) {
      const parts = await loadParts(store, version);
      const copies = version.restore?.copy ?? [];
      const named = parts.filter((part) => ids.has(part.location.id));
      for (const [i, location] of copies.entries()) {
        const part = parts[i];
        if (part !== undefined && ids.has(location.id)) named.push({ ...part, location });
      }
      if (named.length > 0) found.push({ version, parts: named });
    }
    return found;
  });
}
