// The one protocol that moves bytes (protocol E): transition, pack, compaction, restore, promotion.
// Intent → copy to a fresh name → verify by reading back in full → list the old locations (B1) →
// one compare-and-swap a version (relocate.ts) → the collector frees what was listed after the
// grace. The danger it answers is the only copy of somebody's data lost at some crash point: in
// every phase the document names whole bytes, and whatever a crash leaves is a candidate or found
// by the sweep. Here are the parts that all moves share, and copies of single versions; packs are
// in pack-move.ts. Design and crash table: MOVES.md.

import { FirnError, isFirnError, type ErrorCode } from '../../model/errors.ts';
import { newId, newLocationId } from '../../model/ids.ts';
import { MiB } from '../../model/limits.ts';
import type { BlobLocation, Location } from '../../model/location.ts';
import type { LastAction, Part, Version } from '../../model/object.ts';
import type { Move } from '../../model/records.ts';
import type { Body, Stored, Tier } from '../../model/tier.ts';
import { tellingOf } from '../event/announce.ts';
import { codedBody, mayCompress } from '../bytes/compression.ts';
import type { Core } from '../document/core.ts';
import { listGarbage } from '../document/garbage.ts';
import { inFlight } from '../document/in-flight.ts';
import type { LeaseGuard } from '../document/lease.ts';
import { anyReferences, type HeldLocation } from '../document/references.ts';
import { relocate, type MoveOutcome, type Relocation } from './relocate.ts';
import { SharedCopies } from '../bytes/shared-copies.ts';
import { SpanReader } from '../bytes/span-reader.ts';

/** Commits of one batch at once: they share the store's group commits. */
export const COMMITS_IN_FLIGHT = 64;
/** Copies of one batch at once: small ones share a group commit, large ones fill a link. */
const COPIES_IN_FLIGHT = 32;
const LARGE_COPIES_IN_FLIGHT = 4;
const LARGE_BYTES_MIN = MiB;

/** One version to be moved, as it was read. */
export interface MovingVersion {
  bucket: string;
  bucketId: string;
  key: string;
  /** objectId. */
  object: string;
  version: Version;
  /** What is copied, in order: all parts of the version, or those of a compacted segment. */
  parts: readonly Part[];
  rule?: string;
  policyRevision?: string;
}

export interface MoveOptions {
  kind: Move['kind'];
  /** Name of the tier that takes the copies. */
  tier: string;
  /** New class of the versions; unchanged without. */
  storageClass?: string;
  /** Node groups that must take none of it: those that it empties. */
  avoidGroups?: ReadonlySet<number>;
  lease: LeaseGuard;
  runId?: string;
  signal?: AbortSignal;
}

export interface MoveProblem {
  object: string;
  versionId: string;
  code: ErrorCode;
}

/** What became of a batch. Bytes are those of moved versions. */
export interface MoveCounts {
  moved: number;
  bytes: number;
  /** Somebody else changed or moved the version first. */
  lost: number;
  /** The source is offline: staged by whoever wants it, moved by a later pass. */
  offline: number;
  /** Cannot be read right: a durability alarm each. */
  failed: number;
  packs: number;
  problems: MoveProblem[];
}

export function noMoves(): MoveCounts {
  return { moved: 0, bytes: 0, lost: 0, offline: 0, failed: 0, packs: 0, problems: [] };
}

export function addMoves(to: MoveCounts, more: MoveCounts): void {
  to.moved += more.moved;
  to.bytes += more.bytes;
  to.lost += more.lost;
  to.offline += more.offline;
  to.failed += more.failed;
  to.packs += more.packs;
  to.problems.push(...more.problems);
}

/** Counts a version that could not be copied; throws what concerns more than this version. */
export function countProblem(
  counts: MoveCounts,
  moving: Pick<MovingVersion, 'object' | 'version'>,
  error: unknown,
): void {
  const ours = isFirnError(error) ? error.code : undefined;
  if (ours === 'TierOffline') counts.offline += 1;
  else if (ours === 'Corrupt' || ours === 'TierMissing') counts.failed += 1;
  else throw error;
  counts.problems.push({ object: moving.object, versionId: moving.version.id, code: ours });
}

export function tierNamed(core: Core, name: string): Tier {
  const tier = core.context.tiers.get(name);
  if (tier !== undefined) return tier;
  throw new FirnError('TierUnavailable', `no tier "${name}" is configured`);
}

/** Tier of the version's bytes; undefined for an object without any. */
export function tierOfParts(parts: readonly Part[]): string | undefined {
  return parts[0]?.location.tier;
}

/**
 * Reads back what was put and compares it with what was sent (step 3). A tier that cannot read back
 * what it has just archived says TierOffline: then its put, which compared checksums, has to do.
 * Anything wrong lists the blob as garbage and throws Corrupt.
 */
export async function verifyStored(
  core: Core,
  stored: Stored,
  expected: { checksum: string; sizeBytes: number; object: string; signal?: AbortSignal },
): Promise<void> {
  const { location } = stored;
  const tier = tierNamed(core, location.tier);
  let found: { checksum: string; sizeBytes: number } = stored;
  try {
    found = await tier.verify(location, expected.signal);
  } catch (error) {
    if (!isFirnError(error)) throw error;
    if (error.code !== 'TierOffline') {
      if (error.code === 'Corrupt') await listCopies(core, [location], expected.object);
      throw error;
    }
  }
  const isSame = (one: { checksum: string; sizeBytes: number }): boolean =>
    one.checksum === expected.checksum && one.sizeBytes === expected.sizeBytes;
  if (isSame(stored) && isSame(found)) return;
  await listCopies(core, [location], expected.object);
  throw new FirnError('Corrupt', `${location.tier} did not keep what was sent to it`, {
    subject: location.id,
    hint: 'nothing was moved: the bytes are where they were',
  });
}

/** Copies that no document will name. */
export function listCopies(
  core: Core,
  locations: readonly Location[],
  object: string,
): Promise<number> {
  return listGarbage(core.context, { locations, blocks: [] }, { object, reason: 'lost' });
}

type CopyOptions = Pick<MoveOptions, 'tier' | 'signal' | 'avoidGroups'> & {
  spans: SpanReader;
  /** Coded if that pays. */
  compresses?: boolean;
  /** Copies of shared bytes stay shared. */
  shared?: SharedCopies;
};

/**
 * One part into a fresh blob of a tier, verified. What it throws leaves no blob unlisted or
 * unswept.
 */
export async function copyPart(
  core: Core,
  moving: Pick<MovingVersion, 'bucketId' | 'key' | 'object'>,
  part: Part,
  options: CopyOptions,
): Promise<BlobLocation> {
  const { context } = core;
  const { bucketId, key, object } = moving;
  const { avoidGroups } = options;
  const signal = options.signal === undefined ? {} : { signal: options.signal };
  const body = await options.spans.read(part.location, part.checksum);
  const coded =
    options.compresses === true
      ? await codedBody(core, part, body, { subject: object, ...signal })
      : undefined;
  const sent = coded?.body ?? body;
  // Of a coded stream nobody knows the length before its end.
  const known = coded === undefined ? part.sizeBytes : isInHand(sent) ? sent.length : undefined;
  const stored = await tierNamed(core, options.tier).put({
    id: newLocationId(context.clock, context.random),
    ...(known === undefined ? {} : { sizeBytes: known }),
    body: sent,
    owner: { bucketId, key },
    ...(avoidGroups === undefined ? {} : { avoidGroups }),
    ...signal,
  });
  const { checksum, sizeBytes } = coded?.sum() ?? part;
  await verifyStored(core, stored, { checksum, sizeBytes, object, ...signal });
  if (coded === undefined) return stored.location;
  return { ...stored.location, codec: 'zstd', plainBytes: part.sizeBytes };
}

function isInHand(body: Body): body is Uint8Array {
  return body instanceof Uint8Array;
}

/** All parts, one after another; what was copied before one of them failed is listed. */
async function copyParts(
  core: Core,
  moving: MovingVersion,
  options: CopyOptions,
): Promise<CopiedVersion> {
  const copies: BlobLocation[] = [];
  const compresses = mayCompress(core, options.tier, moving);
  const copyOf = (part: Part) => (): Promise<BlobLocation> =>
    copyPart(core, moving, part, { ...options, compresses });
  const [only] = moving.parts;
  if (options.shared !== undefined && only !== undefined && moving.parts.length === 1) {
    const place = { moving, part: only, tier: options.tier, avoidGroups: options.avoidGroups };
    const { location, shared } = await options.shared.copy(place, copyOf(only));
    return { moving, copies: [location], shared };
  }
  try {
    for (const part of moving.parts) copies.push(await copyOf(part)());
    return { moving, copies };
  } catch (error) {
    if (copies.length > 0) await listCopies(core, copies, moving.object);
    throw error;
  }
}

export interface CopiedVersion {
  moving: MovingVersion;
  copies: readonly Location[];
  /** The copy, where others name it too: never to be listed as lost. */
  shared?: HeldLocation | undefined;
}

/** Writes the intent (step 1). Its row is removed by endIntent or taken over by resume.ts. */
export async function beginIntent(
  core: Core,
  options: MoveOptions,
  more: Pick<Move, 'members'> & { pack?: string },
): Promise<{ id: string; move: Move; revision: string }> {
  const { context } = core;
  const { kind, tier, storageClass, lease, runId } = options;
  await lease.check();
  const id = newId(context.random);
  const move: Move = {
    format: 1,
    id,
    kind,
    phase: 'copying',
    tier,
    lease: { name: lease.name, epoch: lease.epoch },
    startedAt: context.clock.now(),
    ...more,
    ...(storageClass === undefined ? {} : { storageClass }),
    ...(runId === undefined ? {} : { runId }),
  };
  const inserted = await context.store.insert('moves', id, move);
  if (inserted.outcome !== 'done') throw new FirnError('LeaseLost', `move id ${id} is taken`);
  return { id, move, revision: inserted.revision };
}

/** The copies are durable and verified: commits may begin, and a crash goes on from here. */
export async function markCopied(
  core: Core,
  intent: { id: string; revision: string },
  move: Move,
): Promise<string> {
  const replaced = await core.context.store.replace({
    table: 'moves',
    id: intent.id,
    expected: intent.revision,
    value: { ...move, phase: 'copied' } satisfies Move,
  });
  if (replaced.outcome === 'done') return replaced.revision;
  throw new FirnError('LeaseLost', `move ${intent.id} was taken over`, { subject: intent.id });
}

export async function endIntent(core: Core, id: string): Promise<void> {
  const row = await core.context.store.get<Move>('moves', id);
  if (row !== undefined) await core.context.store.remove('moves', id, row.revision);
}

/** The copies of a batch, verified, with the intent at `copied`. */
export interface CopiedBatch {
  intent: { id: string };
  copied: CopiedVersion[];
  counts: MoveCounts;
}

/** Steps 1 to 3 for versions that are copied one by one (to a node group). */
export async function copyBatch(
  core: Core,
  batch: readonly MovingVersion[],
  options: MoveOptions,
): Promise<CopiedBatch> {
  const counts = noMoves();
  const members = batch.map(memberOf);
  const intent = await beginIntent(core, options, { members });
  const copied: CopiedVersion[] = [];
  const sources = batch.flatMap(({ parts }) => parts.map((part) => part.location));
  const spans = new SpanReader(core, sources, options.signal);
  const shared = (await anyReferences(core.context.store)) ? new SharedCopies(core) : undefined;
  const copying = { ...options, spans, ...(shared === undefined ? {} : { shared }) };
  const isLarge = batch.some(({ version }) => version.sizeBytes >= LARGE_BYTES_MIN);
  const limit = isLarge ? LARGE_COPIES_IN_FLIGHT : COPIES_IN_FLIGHT;
  try {
    await inFlight(limit, batch, async (moving) => {
      try {
        copied.push(await copyParts(core, moving, copying));
      } catch (error) {
        countProblem(counts, moving, error);
      }
    });
    await options.lease.check();
    const done = copied.map(({ moving, copies }) => ({ ...memberOf(moving), copy: [...copies] }));
    await markCopied(core, intent, { ...intent.move, members: done });
  } catch (error) {
    for (const { moving, copies, shared } of copied) {
      if (shared === undefined) await listCopies(core, copies, moving.object);
    }
    await endIntent(core, intent.id);
    throw error;
  }
  return { intent, copied, counts };
}

function memberOf(moving: MovingVersion): Move['members'][number] {
  const from = moving.parts.map((part) => part.location.id);
  const { object, version, rule } = moving;
  return { object, versionId: version.id, from, ...(rule === undefined ? {} : { rule }) };
}

/** Moves versions into a tier of blobs, each by its own commit. Returns what became of them. */
export async function moveVersions(
  core: Core,
  batch: readonly MovingVersion[],
  options: MoveOptions,
): Promise<MoveCounts> {
  const { intent, copied, counts } = await copyBatch(core, batch, options);
  await inFlight(COMMITS_IN_FLIGHT, copied, async ({ moving, copies, shared }) => {
    const outcome = await commitMove(core, moving, copies, { ...options, shared });
    countOutcome(counts, moving, outcome);
  });
  await endIntent(core, intent.id);
  return counts;
}

export function countOutcome(
  counts: MoveCounts,
  moving: MovingVersion,
  outcome: MoveOutcome,
): void {
  if (outcome === 'lost') {
    counts.lost += 1;
    return;
  }
  counts.moved += 1;
  counts.bytes += moving.parts.reduce((sum, part) => sum + part.sizeBytes, 0);
}

const ACTION: Partial<Record<Move['kind'], LastAction['action']>> = {
  transition: 'transition',
  promote: 'promote',
};

/** Step 4 for one version, with what explain and notifications tell; no copies: only its class. */
export async function commitMove(
  core: Core,
  moving: MovingVersion,
  copies: readonly Location[] | undefined,
  options: Pick<MoveOptions, 'kind' | 'tier' | 'storageClass' | 'runId'> &
    Pick<Relocation, 'shared'>,
): Promise<MoveOutcome> {
  const { object, version, parts } = moving;
  const from = parts.map((part) => part.location.id);
  const pairs = copies?.map((copy, i): [string, Location] => [from[i] as string, copy]);
  const last = lastAction(core, moving, options);
  const { storageClass: name } = options;
  const change = (): Promise<MoveOutcome> =>
    relocate(core, {
      object,
      versionId: version.id,
      copies: new Map(pairs),
      shared: options.shared,
      ...(name === undefined ? {} : { storageClass: { name, from } }),
      ...(last === undefined ? {} : { last }),
    });
  if (last === undefined) return change();
  const { action, at } = last;
  const told = { name: 's3:LifecycleTransition', proof: { kind: 'last', action, at } } as const;
  return tellingOf(
    core.context,
    { ...told, bucket: moving.bucket, object, version },
    { change, told: (outcome) => (outcome === 'moved' ? version : undefined) },
  );
}

function lastAction(
  core: Core,
  moving: MovingVersion,
  options: Pick<MoveOptions, 'kind' | 'tier' | 'runId'>,
): LastAction | undefined {
  const action = ACTION[options.kind];
  if (action === undefined) return undefined;
  const { rule, policyRevision } = moving;
  return {
    action,
    at: core.context.clock.now(),
    from: tierOfParts(moving.parts) ?? options.tier,
    to: options.tier,
    ...(rule === undefined ? {} : { rule }),
    ...(policyRevision === undefined ? {} : { policyRevision }),
    ...(options.runId === undefined ? {} : { runId: options.runId }),
  };
}

/**
 * Only the class changes: the bytes are in the class's tier already, or there are none. No intent
 * and no copy, so nothing to resume.
 */
export async function changeClass(
  core: Core,
  moving: MovingVersion,
  options: Pick<MoveOptions, 'kind' | 'tier' | 'storageClass' | 'runId'>,
): Promise<MoveOutcome> {
  return commitMove(core, moving, undefined, options);
}
