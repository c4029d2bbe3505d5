// Step 6 of a move: what a crash left is taken up again by its phase. Until the copies were
// verified and the intent says `copied`, there is nothing to keep: the old locations serve, the
// blob is an orphan that the sweep finds (an unknown outcome is never guessed). From there on each
// member's document decides: still where it was copied from → its commit is made; moved → done;
// anything else → its copy is listed. Only intents of leases that are over are taken up, and a
// worker that was merely slow meets the swap.

import type { Bucket } from '../../model/bucket.ts';
import { BUCKET_ID_LENGTH, keyOfObjectId, locationBirth } from '../../model/ids.ts';
import type { Location, Pack, PackLocation } from '../../model/location.ts';
import type { Row } from '../../model/metadata-store.ts';
import type { ObjectDocument, PackMember, Part, Version } from '../../model/object.ts';
import type { Move } from '../../model/records.ts';
import type { Core } from '../document/core.ts';
import { findById, loadParts, reread } from '../document/history.ts';
import { inFlight } from '../document/in-flight.ts';
import { bucketNames } from '../document/inventory.ts';
import { isLeaseAlive, type LeaseGuard } from '../document/lease.ts';
import {
  commitMove,
  COMMITS_IN_FLIGHT,
  countOutcome,
  listCopies,
  noMoves,
  type MoveCounts,
  type MovingVersion,
} from './move.ts';
import { membersOf } from './pack-members.ts';
import { commitRestored } from './restore-run.ts';

const PAGE_ROWS = 100;

export interface ResumeOptions {
  lease: LeaseGuard;
  signal?: AbortSignal;
}

/** Takes up every intent whose lease is over. A repeat finds nothing. */
export async function resumeMoves(core: Core, options: ResumeOptions): Promise<MoveCounts> {
  const counts = noMoves();
  const { store } = core.context;
  let names: Map<string, string> | undefined;
  let after: string | undefined;
  for (;;) {
    options.signal?.throwIfAborted();
    const rows: Row<Move>[] = await store.range<Move>({
      table: 'moves',
      limit: PAGE_ROWS,
      ...(after === undefined ? {} : { after }),
    });
    for (const row of rows) {
      if (await isLeaseAlive(core.context, row.value.lease)) continue;
      await options.lease.check();
      names ??= await bucketNames(store);
      await resumeMove(core, row, { names, options, counts });
    }
    if (rows.length < PAGE_ROWS) return counts;
    after = rows.at(-1)?.id;
  }
}

interface Resuming {
  /** Bucket id → name. */
  names: ReadonlyMap<Bucket['id'], string>;
  options: ResumeOptions;
  counts: MoveCounts;
}

async function resumeMove(core: Core, row: Row<Move>, resuming: Resuming): Promise<void> {
  const { store } = core.context;
  const { lease } = resuming.options;
  // Ours from here on: whoever else looks finds a living lease.
  const mine: Move = { ...row.value, lease: { name: lease.name, epoch: lease.epoch } };
  const change = { table: 'moves', id: row.id, expected: row.revision, value: mine } as const;
  const taken = await store.replace(change);
  if (taken.outcome !== 'done') return;
  const pack = mine.pack === undefined ? undefined : await store.get<Pack>('packs', mine.pack);
  if (pack !== undefined) await resumePack(core, pack.value, mine, resuming);
  else if (mine.phase === 'copied') await resumeMembers(core, mine, resuming);
  await store.remove('moves', row.id, taken.revision);
}

async function resumePack(core: Core, pack: Pack, move: Move, resuming: Resuming): Promise<void> {
  for await (const members of membersOf(core, pack)) {
    await resuming.options.lease.check();
    await inFlight(COMMITS_IN_FLIGHT, members, async (member) => {
      const found = await findMoving(core, member, resuming);
      const copies = copiesIn(pack, member, found?.parts);
      await resumeOne(core, { member, found, copies, move }, resuming);
    });
  }
}

/** The member's locations; as one stretch where its parts are not known any more. */
function copiesIn(pack: Pack, member: PackMember, parts: readonly Part[] | undefined): Location[] {
  const of = (id: string, offset: number, length: number): PackLocation => ({
    kind: 'pack',
    id,
    tier: pack.tier,
    pack: pack.id,
    offset,
    length,
  });
  const plain = parts?.map((part) => part.sizeBytes) ?? [];
  const sizes = plain.length === 0 ? [] : (member.codedBytes ?? plain);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const isKnown = sizes.length === member.locations.length && plain.length === sizes.length;
  if (!isKnown || total !== member.length) {
    const [first] = member.locations;
    return first === undefined ? [] : [of(first, member.offset, member.length)];
  }
  let at = member.offset;
  return member.locations.map((id, i) => {
    const length = sizes[i] as number;
    at += length;
    const copy = of(id, at - length, length);
    // Whatever the list says of a codec goes on: one that is not known is refused by who reads.
    if (member.codec === undefined) return copy;
    return { ...copy, codec: member.codec, plainBytes: plain[i] as number };
  });
}

async function resumeMembers(core: Core, move: Move, resuming: Resuming): Promise<void> {
  await inFlight(COMMITS_IN_FLIGHT, move.members, async (member) => {
    const found = await findMoving(core, member, resuming);
    await resumeOne(core, { member, found, copies: member.copy ?? [], move }, resuming);
  });
}

interface Member {
  object: string;
  versionId: string;
  from: string[];
  rule?: string;
}

interface Found {
  moving: MovingVersion;
  /** All parts of the version as it is now. */
  parts: Part[];
}

function findMoving(core: Core, member: Member, resuming: Resuming): Promise<Found | undefined> {
  const { store } = core.context;
  const { object, versionId, rule } = member;
  return reread(object, async () => {
    const row = await store.get<ObjectDocument>('objects', object);
    const version = row && (await findById(store, row.value, versionId));
    if (version === undefined) return undefined;
    const parts = await loadParts(store, version);
    const bucketId = object.slice(0, BUCKET_ID_LENGTH);
    const bucket = resuming.names.get(bucketId) ?? '';
    const key = keyOfObjectId(object);
    const moving = {
      bucket,
      bucketId,
      key,
      object,
      version,
      parts: copiedFrom(version, parts, member),
    };
    return { moving: rule === undefined ? moving : { ...moving, rule }, parts };
  });
}

/** The parts that were copied, in the order of the copies; a restored copy counts as parts too. */
function copiedFrom(version: Version, parts: readonly Part[], member: Member): Part[] {
  const byId = new Map(parts.map((part) => [part.location.id, part]));
  version.restore?.copy?.forEach((location, i) => {
    const part = parts[i];
    if (part !== undefined) byId.set(location.id, { ...part, location });
  });
  return member.from.map((id) => byId.get(id)).filter((part) => part !== undefined);
}

async function resumeOne(
  core: Core,
  one: { member: Member; found: Found | undefined; copies: Location[]; move: Move },
  { counts }: Resuming,
): Promise<void> {
  const { member, found, copies, move } = one;
  const named = new Set(found?.parts.map((part) => part.location.id));
  for (const location of found?.moving.version.restore?.copy ?? []) named.add(location.id);
  const lost = copies.filter((location) => !named.has(location.id));
  // Committed already.
  if (lost.length === 0) return;
  const isWhole = found?.moving.parts.length === member.from.length;
  // What was copied too long ago is named by nobody any more (B3): the old bytes serve, and whoever
  // wanted it moved copies it again.
  const { clock, graceMs } = core.context;
  const oldest = clock.now() - graceMs / 2;
  const isYoung = copies.every(({ id }) => locationBirth(id) >= oldest);
  if (found !== undefined && isWhole && isYoung && copies.length === member.from.length) {
    if (move.kind === 'restore') {
      const requestId = found.moving.version.restore?.requestId ?? '';
      await commitRestored(core, { moving: found.moving, copies, requestId });
    } else {
      const outcome = await commitMove(core, found.moving, copies, move);
      countOutcome(counts, found.moving, outcome);
    }
    return;
  }
  await listCopies(core, lost, member.object);
}
