// Finds what lies in given node groups of a tier and moves it to the others: drains and rebalances.
// A walk over everything that can name bytes, in the order of the protocol (uploads before
// documents, since a Complete takes names from the one to the other; then packs), a page at a time,
// so that a worker can rest and go on by a cursor. All moves are those of move.ts. The danger: a
// group called empty while something names it; so what can't be read or moved counts as found.

import { isFirnError } from '../../model/errors.ts';
import type { InGroup } from '../../model/groups.ts';
import { BUCKET_ID_LENGTH, keyOfObjectId } from '../../model/ids.ts';
import { MiB } from '../../model/limits.ts';
import type { Location, Pack } from '../../model/location.ts';
import type { Row } from '../../model/metadata-store.ts';
import type { ObjectDocument, Part, Upload, Version } from '../../model/object.ts';
import { compactPack } from './compact.ts';
import type { Core } from '../document/core.ts';
import { loadParts, reread } from '../document/history.ts';
import { inFlight } from '../document/in-flight.ts';
import { allVersions } from '../document/inventory.ts';
import {
  moveVersions,
  type MoveCounts,
  type MoveOptions,
  type MovingVersion,
} from '../move/move.ts';
import { moveUploadParts } from '../move/move-parts.ts';
import { holdsParts } from '../document/named.ts';
import { anyReferences, hasReferences } from '../document/references.ts';
import { partPages } from '../document/upload-rows.ts';

const PAGE_ROWS = 200;
const BATCH = 256;
const BATCH_BYTES = 64 * MiB;
const PROBLEMS_MAX = 20;
const LOOKS_IN_FLIGHT = 64;
/** In one page: so many drives are away that it is better to wait. */
const UNAVAILABLE_MAX = 50;
/** About one version, upload or pack: the others go on. */
const PASSING = new Set(['Corrupt', 'FormatUnknown', 'TierMissing', 'DriveUnavailable']);

export interface Evacuation {
  tier: string;
  /** Group → bytes that may leave it: Infinity where it is emptied. */
  sources: ReadonlyMap<number, number>;
  /** Groups that take none of it. */
  avoidGroups?: ReadonlySet<number>;
  /** Only counts. */
  counts?: boolean;
}

export interface Evacuated {
  /** Where to go on; undefined: that was all. */
  next: string | undefined;
  /** By group: what names it, seen before anything moved; and what was moved. */
  found: Map<number, InGroup>;
  moved: Map<number, InGroup>;
  failed: number;
  problems: string[];
}

export type EvacuateOptions = Pick<MoveOptions, 'lease' | 'signal'> & {
  /** Bucket id → name. */
  names: ReadonlyMap<string, string>;
  /** Called behind each batch: rests, renews, throws when asked to stop. */
  between?: () => Promise<void>;
};

interface Walk {
  core: Core;
  task: Evacuation;
  options: EvacuateOptions;
  result: Evacuated;
}

const TABLES = ['uploads', 'objects', 'packs'] as const;

/**
 * One page from the cursor ('': the beginning). Throws what concerns more than one version
 * (InsufficientCapacity, LeaseLost, MetadataUnavailable); what was moved stays moved.
 */
export async function evacuatePage(
  core: Core,
  task: Evacuation,
  cursor: string,
  options: EvacuateOptions,
): Promise<Evacuated> {
  const colon = cursor.indexOf(':');
  const table = cursor === '' ? TABLES[0] : (cursor.slice(0, colon) as (typeof TABLES)[number]);
  const after = cursor.slice(colon + 1);
  const result: Evacuated = {
    next: undefined,
    found: new Map(),
    moved: new Map(),
    failed: 0,
    problems: [],
  };
  const walk: Walk = { core, task, options, result };
  const rows: Row<unknown>[] = await core.context.store.range<unknown>({
    table,
    limit: PAGE_ROWS,
    ...(after === '' ? {} : { after }),
  });
  if (table === 'uploads') await ofUploads(walk, rows as Row<Upload>[]);
  else if (table === 'objects') await ofObjects(walk, rows as Row<ObjectDocument>[]);
  else await ofPacks(walk, rows as Row<Pack>[]);
  if (rows.length === PAGE_ROWS) result.next = `${table}:${rows.at(-1)?.id ?? ''}`;
  else {
    const following = TABLES[TABLES.indexOf(table) + 1];
    result.next = following === undefined ? undefined : `${following}:`;
  }
  return result;
}

/** The group of a location, if it lies in one that gives. */
function sourceOf({ tier, sources }: Evacuation, location: Location): number | undefined {
  if (location.kind !== 'segment' && location.kind !== 'shards') return undefined;
  if (location.tier !== tier || !sources.has(location.group)) return undefined;
  return location.group;
}

function add(to: Map<number, InGroup>, group: number, more: InGroup): void {
  const { objects, bytes } = to.get(group) ?? { objects: 0, bytes: 0 };
  to.set(group, { objects: objects + more.objects, bytes: bytes + more.bytes });
}

/** False once a group has given what it was to give, with what is on its way. */
function mayLeave({ task, result }: Walk, group: number, onItsWay = 0): boolean {
  const bytes = (result.moved.get(group)?.bytes ?? 0) + onItsWay;
  return task.counts !== true && bytes < (task.sources.get(group) ?? 0);
}

function failed({ result }: Walk, subject: string, error: unknown): void {
  if (!isFirnError(error) || !PASSING.has(error.code)) throw error;
  result.failed += 1;
  if (error.code === 'DriveUnavailable' && result.failed > UNAVAILABLE_MAX) throw error;
  if (result.problems.length < PROBLEMS_MAX) result.problems.push(`${subject}: ${error.code}`);
}

async function ofUploads(walk: Walk, rows: readonly Row<Upload>[]): Promise<void> {
  const { core, task, options, result } = walk;
  for (const row of rows) {
    if (!holdsParts(row.value)) continue;
    let isIn = false;
    let leaves = false;
    for await (const parts of partPages(core.context.store, row.value.uploadId)) {
      for (const { value } of parts) {
        for (const location of [value.location, ...value.replaced]) {
          const group = sourceOf(task, location);
          if (group === undefined) continue;
          isIn = true;
          leaves ||= mayLeave(walk, group);
          add(result.found, group, { objects: 1, bytes: location.length });
        }
      }
    }
    if (!isIn || !leaves) continue;
    try {
      const moved = await moveUploadParts(core, row, {
        kind: 'rebalance',
        tier: task.tier,
        leaves: (location) => sourceOf(task, location) !== undefined,
        ...(task.avoidGroups === undefined ? {} : { avoidGroups: task.avoidGroups }),
        ...options,
      });
      for (const location of moved) {
        const group = sourceOf(task, location) ?? -1;
        add(result.moved, group, { objects: 1, bytes: location.length });
      }
    } catch (error) {
      failed(walk, `upload ${row.value.uploadId}`, error);
    }
  }
}

async function ofObjects(walk: Walk, rows: readonly Row<ObjectDocument>[]): Promise<void> {
  let batch: MovingVersion[] = [];
  let bytes = 0;
  const onItsWay = new Map<number, number>();
  const flush = async (): Promise<void> => {
    const moving = batch;
    batch = [];
    bytes = 0;
    onItsWay.clear();
    if (moving.length > 0) await moveBatch(walk, moving);
  };
  for (const row of rows) {
    walk.options.signal?.throwIfAborted();
    let found: MovingVersion[] = [];
    try {
      found = await versionsIn(walk, row);
    } catch (error) {
      failed(walk, row.id, error);
    }
    const shared = await sharedAmong(walk, found);
    for (const moving of found) {
      if (moving.parts.some(({ location }) => shared.has(location.id))) continue;
      const group = sourceOf(walk.task, (moving.parts[0] as Part).location) ?? -1;
      const before = onItsWay.get(group) ?? 0;
      if (!mayLeave(walk, group, before)) continue;
      batch.push(moving);
      const more = moving.parts.reduce((sum, { location }) => sum + location.length, 0);
      onItsWay.set(group, before + more);
      bytes += more;
      if (batch.length >= BATCH || bytes >= BATCH_BYTES) await flush();
    }
  }
  await flush();
}

/**
 * Ids that a rebalance leaves where they are: shared bytes leave a group only when all who share
 * them have moved, so a few that do would only copy them. A drain takes all.
 */
async function sharedAmong(
  { core, task }: Walk,
  found: readonly MovingVersion[],
): Promise<Set<string>> {
  const shared = new Set<string>();
  const { store } = core.context;
  const ids: string[] = [];
  for (const { parts } of found) {
    for (const { location } of parts) {
      const group = sourceOf(task, location);
      if (group !== undefined && task.sources.get(group) !== Infinity) ids.push(location.id);
    }
  }
  if (ids.length === 0 || task.counts === true || !(await anyReferences(store))) return shared;
  await inFlight(LOOKS_IN_FLIGHT, ids, async (id) => {
    if (await hasReferences(store, id)) shared.add(id);
  });
  return shared;
}

async function moveBatch(walk: Walk, leaving: readonly MovingVersion[]): Promise<void> {
  const { core, task, options, result } = walk;
  const move = {
    kind: 'rebalance',
    tier: task.tier,
    ...(task.avoidGroups === undefined ? {} : { avoidGroups: task.avoidGroups }),
    ...options,
  } as const;
  let counts: MoveCounts;
  try {
    counts = await moveVersions(core, leaving, move);
  } catch (error) {
    // One that too few drives are left for must not keep the others in a group that is dying.
    if (!isFirnError(error, 'DriveUnavailable')) throw error;
    const [only] = leaving;
    if (leaving.length === 1 && only !== undefined) return failed(walk, only.object, error);
    for (const one of leaving) await moveBatch(walk, [one]);
    return;
  }
  const { problems, failed: unread } = counts;
  result.failed += unread;
  const stuck = new Set(problems.map(({ object, versionId }) => `${object}\n${versionId}`));
  for (const { object, code } of problems) {
    if (result.problems.length < PROBLEMS_MAX) result.problems.push(`${object}: ${code}`);
  }
  for (const { object, version, parts } of leaving) {
    if (stuck.has(`${object}\n${version.id}`)) continue;
    for (const part of parts) {
      const group = sourceOf(task, part.location);
      if (group === undefined) continue;
      add(result.moved, group, { objects: 1, bytes: part.location.length });
    }
  }
  await options.between?.();
}

/**
 * What a document names in the groups that give, cut so that no copy of one move takes long: a
 * version of 10,000 parts is moved some parts at a time.
 */
async function versionsIn(walk: Walk, row: Row<ObjectDocument>): Promise<MovingVersion[]> {
  const { core, task, options, result } = walk;
  const { store } = core.context;
  const bucketId = row.id.slice(0, BUCKET_ID_LENGTH);
  const key = keyOfObjectId(row.id);
  const shared = { bucket: options.names.get(bucketId) ?? '', bucketId, key, object: row.id };
  let first: Row<ObjectDocument> | undefined = row;
  const found = await reread(row.id, async () => {
    const read = first ?? (await store.get<ObjectDocument>('objects', row.id));
    first = undefined;
    if (read === undefined) return [];
    const entry = { object: row.id, key, revision: read.revision, document: read.value };
    const all: { version: Version; parts: Part[] }[] = [];
    for (const version of await allVersions(store, entry)) {
      const parts = await partsIn(core, task, version);
      if (parts.length > 0) all.push({ version, parts });
    }
    return all;
  });
  const moving: MovingVersion[] = [];
  for (const { version, parts } of found) {
    for (const part of parts) {
      const group = sourceOf(task, part.location) as number;
      add(result.found, group, { objects: 1, bytes: part.location.length });
    }
    for (const some of cut(task, parts)) moving.push({ ...shared, version, parts: some });
  }
  return moving;
}

async function partsIn(core: Core, task: Evacuation, version: Version): Promise<Part[]> {
  if (version.deleteMarker) return [];
  const parts = await loadParts(core.context.store, version);
  const found = parts.filter(({ location }) => sourceOf(task, location) !== undefined);
  for (const [i, location] of (version.restore?.copy ?? []).entries()) {
    const part = parts[i];
    if (part === undefined || sourceOf(task, location) === undefined) continue;
    found.push({ ...part, location });
  }
  return found;
}

/** Runs of parts of one group, each at most a batch. */
function cut(task: Evacuation, parts: readonly Part[]): Part[][] {
  const runs: Part[][] = [];
  let bytes = 0;
  for (const part of parts) {
    const open = runs.at(-1);
    const first = open?.[0];
    const isSame =
      first !== undefined && sourceOf(task, first.location) === sourceOf(task, part.location);
    if (open !== undefined && isSame && bytes + part.sizeBytes <= BATCH_BYTES) {
      open.push(part);
      bytes += part.sizeBytes;
    } else {
      runs.push([part]);
      bytes = part.sizeBytes;
    }
  }
  return runs;
}

async function ofPacks(walk: Walk, rows: readonly Row<Pack>[]): Promise<void> {
  const { core, task, options, result } = walk;
  for (const { value: pack } of rows) {
    const group = sourceOf(task, pack.blob);
    if (group === undefined) continue;
    options.signal?.throwIfAborted();
    // Nobody in it: it waits for its grace, and names nothing any more.
    const isDead = pack.deadBytes >= pack.entryBytes && pack.entryBytes > 0;
    if (isDead) continue;
    const one: InGroup = { objects: 1, bytes: pack.sizeBytes };
    if (!mayLeave(walk, group)) {
      add(result.found, group, one);
      continue;
    }
    try {
      const { outcome } = await compactPack(core, pack, {
        ...options,
        anyway: true,
        kind: 'rebalance',
        ...(task.avoidGroups === undefined ? {} : { avoidGroups: task.avoidGroups }),
      });
      if (outcome === 'freed') continue;
      add(result.found, group, one);
      add(result.moved, group, one);
      await options.between?.();
    } catch (error) {
      add(result.found, group, one);
      failed(walk, `pack ${pack.id}`, error);
    }
  }
}
