// Moves into warm and cold go through packs: one blob for thousands of small objects, so that a
// cloud is asked (and paid) once for all of them. A pack is built and verified in a spool file, put
// under its own id, read back in full, and only then gets its row in `packs`; after that each
// member is moved by a commit of its own. The danger: a document that names a pack nobody can find.
// So the row stands before any document names it, and what a crash leaves behind is a pack whose
// members resume.ts commits, or a blob without a row, which the sweep lists. A member that changed
// meanwhile loses, and its bytes in the pack are dead from the start.

import type { Clock } from '../../model/clock.ts';
import { FirnError, isFirnError } from '../../model/errors.ts';
import { locationBirth, newLocationId } from '../../model/ids.ts';
import { PACK_BYTES_TARGET, PACK_ENTRIES_MAX, PARTS_INLINE_MAX } from '../../model/limits.ts';
import type { Pack, PackLocation } from '../../model/location.ts';
import type { Block, PackMember, Part, Version } from '../../model/object.ts';
import type { BuiltPack, PackEntry } from '../../model/packer.ts';
import type { Body, Stored } from '../../model/tier.ts';
import { encodeFrames } from '../../model/zstd-frames.ts';
import { checkedPlain, mayCompress, shrinksAlone } from '../bytes/compression.ts';
import type { Core } from '../document/core.ts';
import { inFlight } from '../document/in-flight.ts';
import { packObject } from '../document/named.ts';
import {
  addMoves,
  beginIntent,
  commitMove,
  COMMITS_IN_FLIGHT,
  countOutcome,
  countProblem,
  endIntent,
  listCopies,
  markCopied,
  noMoves,
  tierNamed,
  verifyStored,
  type MoveCounts,
  type MoveOptions,
  type MovingVersion,
} from './move.ts';
import { SpanReader } from '../bytes/span-reader.ts';

/** Members listed by one block: about 250 KB. */
const MEMBERS_PER_BLOCK = 1000;
/** What is this large goes alone, layout plain: packing it would save nothing. */
const ALONE_BYTES_MIN = PACK_BYTES_TARGET / 4;

export function goesAlone(version: Version, parts: readonly Part[]): boolean {
  return version.sizeBytes >= ALONE_BYTES_MIN || parts.length > PARTS_INLINE_MAX;
}

/** Cuts versions into packs, in the order given: neighbours stay together. */
export function groupIntoPacks(versions: readonly MovingVersion[]): MovingVersion[][] {
  const packs: MovingVersion[][] = [];
  let open: MovingVersion[] = [];
  let openBytes = 0;
  for (const moving of versions) {
    const { version, parts } = moving;
    if (goesAlone(version, parts)) {
      packs.push([moving]);
      continue;
    }
    if (openBytes + version.sizeBytes > PACK_BYTES_TARGET || open.length >= PACK_ENTRIES_MAX) {
      packs.push(open);
      open = [];
      openBytes = 0;
    }
    open.push(moving);
    openBytes += version.sizeBytes;
  }
  if (open.length > 0) packs.push(open);
  return packs;
}

/**
 * Moves versions that have bytes into packs of a tier. On return each is moved, or counted as what
 * kept it. Throws what concerns the whole batch (LeaseLost, TierUnavailable, MetadataUnavailable);
 * then what was moved stays moved, and a repeat with versions read afresh goes on.
 */
export async function moveIntoPacks(
  core: Core,
  versions: readonly MovingVersion[],
  options: MoveOptions,
): Promise<MoveCounts> {
  const counts = noMoves();
  for (const members of groupIntoPacks(versions)) {
    options.signal?.throwIfAborted();
    addMoves(counts, await moveOnePack(core, members, options));
  }
  return counts;
}

/** A pack's bytes on their way, and where each member's begin. */
interface Source {
  layout: Pack['layout'];
  members: MovingVersion[];
  /** Of each member's bytes, in the order of members. */
  offsets: number[];
  /** Coded bytes of each member's parts; undefined for a member whose bytes lie as they are. */
  coded: (readonly number[] | undefined)[];
  /** Undefined until a coded body has passed. */
  sizeBytes: number | undefined;
  /** Undefined where only the tier computes it (plain), or until a coded body has passed. */
  checksum: string | undefined;
  body(): Body;
  discard(): Promise<void>;
  /** What kept the one version of a plain pack from being read. */
  unreadable?: unknown;
}

async function moveOnePack(
  core: Core,
  wanted: readonly MovingVersion[],
  options: MoveOptions,
): Promise<MoveCounts> {
  const { context } = core;
  const counts = noMoves();
  // Before the first byte: the ages that B3 asks for are those of the copy's beginning.
  const id = newLocationId(context.clock, context.random);
  const bornAt = locationBirth(id);
  const intent = await beginIntent(core, options, { members: [], pack: id });
  let source: Source | undefined;
  let stored: Stored | undefined;
  try {
    source = await openSource(core, id, { wanted, counts, options });
    if (source === undefined) {
      await endIntent(core, intent.id);
      return counts;
    }
    stored = await putPack(core, id, source, options);
    const members = locateMembers(core, { pack: id, tier: options.tier, bornAt }, source);
    await insertPack(core, { id, source, stored, members });
    await options.lease.check();
    await markCopied(core, intent, intent.move);
    await commitMembers(core, members, options, counts);
    await endIntent(core, intent.id);
    counts.packs += 1;
    return counts;
  } catch (error) {
    await abandon(core, intent.id, { id, stored });
    const [only] = source?.members ?? [];
    if (source?.unreadable === undefined || only === undefined) throw error;
    countProblem(counts, only, source.unreadable);
    return counts;
  } finally {
    await source?.discard();
  }
}

/**
 * Up to the row of the pack a failed move leaves nothing to resume; from there on resume.ts goes
 * on.
 */
async function abandon(
  core: Core,
  intent: string,
  pack: { id: string; stored: Stored | undefined },
): Promise<void> {
  const row = await core.context.store.get<Pack>('packs', pack.id);
  if (row !== undefined) return;
  if (pack.stored !== undefined) {
    await listCopies(core, [pack.stored.location], packObject(pack.id));
  }
  await endIntent(core, intent);
}

interface SourceRequest {
  wanted: readonly MovingVersion[];
  counts: MoveCounts;
  options: MoveOptions;
}

/** Undefined: none of the versions could be read; each is counted. */
async function openSource(
  core: Core,
  id: string,
  { wanted, counts, options }: SourceRequest,
): Promise<Source | undefined> {
  const [first] = wanted;
  if (wanted.length === 1 && first !== undefined && goesAlone(first.version, first.parts)) {
    const { tier, signal } = options;
    const more = signal === undefined ? {} : { signal };
    if (await shrinksAlone(core, first, { tier, ...more })) return aloneCoded(core, first, signal);
    return alone(core, first, signal);
  }
  let members = [...wanted];
  while (members.length > 0) {
    const failures = new Map<MovingVersion, unknown>();
    const sources = members.flatMap(({ parts }) => parts.map((part) => part.location));
    const spans = new SpanReader(core, sources, options.signal);
    try {
      const entries = members.map((moving) => ({
        ...entryOf(moving, { failures, spans, options }),
        compresses: mayCompress(core, options.tier, moving),
      }));
      const built = await core.context.packer.build(id, entries, options.signal);
      return zipSource(members, built);
    } catch (error) {
      const rotten = members.filter((moving) => failures.has(moving) || isAbout(error, moving));
      if (rotten.length === 0) throw error;
      for (const moving of rotten) countProblem(counts, moving, failures.get(moving) ?? error);
      members = members.filter((moving) => !rotten.includes(moving));
    }
  }
  return undefined;
}

/** The packer names the key whose bytes did not match. */
function isAbout(error: unknown, moving: MovingVersion): boolean {
  return isFirnError(error, 'Corrupt') && error.subject === `${moving.bucket}/${moving.key}`;
}

interface Opening {
  failures: Map<MovingVersion, unknown>;
  spans: SpanReader;
  options: MoveOptions;
}

function entryOf(moving: MovingVersion, { failures, spans, options }: Opening): PackEntry {
  const { bucket, bucketId, key } = moving;
  const { partsBlock: _listed, ...rest } = moving.version;
  const version: Version = { ...rest, parts: [...moving.parts] };
  // What the index tells is the version as it will be: a rebuild from packs shows the same class.
  if (options.storageClass !== undefined) version.storageClass = options.storageClass;
  return {
    bucket,
    bucketId,
    key,
    version,
    async open() {
      try {
        const [only] = moving.parts;
        if (moving.parts.length === 1 && only !== undefined) {
          return await spans.read(only.location, only.checksum);
        }
        return bytesOf(moving, failures, spans);
      } catch (error) {
        failures.set(moving, error);
        throw error;
      }
    },
  };
}

function readPart(core: Core, part: Part, signal?: AbortSignal): Promise<Body> {
  const more = signal === undefined ? {} : { signal };
  return core.locations.read(part.location, { checksum: part.checksum, ...more });
}

/** The parts' bytes behind one another; a failure is noted against the version. */
async function* bytesOf(
  moving: MovingVersion,
  failures: Map<MovingVersion, unknown>,
  spans: SpanReader,
): AsyncGenerator<Uint8Array> {
  try {
    for (const part of moving.parts) {
      const body = await spans.read(part.location, part.checksum);
      if (body instanceof Uint8Array) yield body;
      else yield* body;
    }
  } catch (error) {
    failures.set(moving, error);
    throw error;
  }
}

function zipSource(members: MovingVersion[], built: BuiltPack): Source {
  return {
    layout: 'zip',
    members,
    offsets: built.entries.map((entry) => entry.offset),
    coded: built.entries.map((entry) => entry.codedBytes),
    sizeBytes: built.sizeBytes,
    checksum: built.checksum,
    body: () => built.body(),
    discard: () => built.discard(),
  };
}

/** Exactly the version's bytes, each part held against its checksum as it passes. */
function alone(core: Core, moving: MovingVersion, signal?: AbortSignal): Source {
  const [only] = moving.parts;
  const source: Source = {
    layout: 'plain',
    members: [moving],
    offsets: [0],
    coded: [undefined],
    sizeBytes: moving.version.sizeBytes,
    checksum: moving.parts.length === 1 ? only?.checksum : undefined,
    async *body() {
      try {
        yield* checkedParts(core, moving, signal);
      } catch (error) {
        source.unreadable = error;
        throw error;
      }
    },
    discard: () => Promise.resolve(),
  };
  return source;
}

async function* checkedParts(
  core: Core,
  moving: MovingVersion,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const subject = `${moving.bucket}/${moving.key}`;
  for (const part of moving.parts) {
    yield* checkedPlain(core, part, await readPart(core, part, signal), subject);
  }
}

/** The parts coded one behind another: what is told of the whole is known at the end. */
function aloneCoded(core: Core, moving: MovingVersion, signal?: AbortSignal): Source {
  const subject = `${moving.bucket}/${moving.key}`;
  const source: Source = {
    layout: 'plain',
    members: [moving],
    offsets: [0],
    coded: [undefined],
    sizeBytes: undefined,
    checksum: undefined,
    async *body() {
      const sum = core.context.checksums.open();
      const coded: number[] = [];
      try {
        for (const part of moving.parts) {
          let bytes = 0;
          const plain = checkedPlain(core, part, await readPart(core, part, signal), subject);
          for await (const chunk of encodeFrames(plain)) {
            sum.update(chunk);
            bytes += chunk.length;
            yield chunk;
          }
          coded.push(bytes);
        }
      } catch (error) {
        source.unreadable = error;
        throw error;
      }
      source.coded = [coded];
      source.sizeBytes = coded.reduce((all, bytes) => all + bytes, 0);
      source.checksum = sum.digest();
    },
    discard: () => Promise.resolve(),
  };
  return source;
}

/** Steps 2 and 3: on return the tier holds the pack, and gave every byte back as it was sent. */
async function putPack(
  core: Core,
  id: string,
  source: Source,
  options: MoveOptions,
): Promise<Stored> {
  const { lease, signal, tier, avoidGroups } = options;
  await lease.check();
  const [first] = source.members as [MovingVersion];
  const isPlain = source.layout === 'plain';
  const { sizeBytes } = source;
  const stored = await tierNamed(core, tier).put({
    id,
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    body: source.body(),
    owner: { bucketId: first.bucketId, key: isPlain ? first.key : '' },
    // Of unknown length: it is coded, and says so to people.
    ...(isPlain ? { name: sizeBytes === undefined ? `${first.key}.zst` : first.key } : {}),
    ...(avoidGroups === undefined ? {} : { avoidGroups }),
    ...(signal === undefined ? {} : { signal }),
  });
  await verifyStored(core, stored, {
    checksum: source.checksum ?? stored.checksum,
    sizeBytes: source.sizeBytes ?? stored.sizeBytes,
    object: packObject(id),
    ...(signal === undefined ? {} : { signal }),
  });
  return stored;
}

interface LocatedMember {
  moving: MovingVersion;
  copies: PackLocation[];
  row: PackMember;
}

/**
 * Ids of the copies carry the instant at which the pack was begun: B3 asks for the first byte's
 * age.
 */
function locateMembers(
  core: Core,
  { pack, tier, bornAt }: { pack: string; tier: string; bornAt: number },
  source: Source,
): LocatedMember[] {
  const { clock, random } = core.context;
  const birth: Clock = { wall: () => clock.wall(), now: () => bornAt };
  return source.members.map((moving, i) => {
    const offset = source.offsets[i] as number;
    const codedBytes = source.coded[i];
    let at = offset;
    const copies = moving.parts.map((part, index): PackLocation => {
      const id = newLocationId(birth, random);
      const length = codedBytes === undefined ? part.sizeBytes : (codedBytes[index] as number);
      at += length;
      const copy: PackLocation = { kind: 'pack', id, tier, pack, offset: at - length, length };
      return codedBytes === undefined
        ? copy
        : { ...copy, codec: 'zstd', plainBytes: part.sizeBytes };
    });
    const row: PackMember = {
      object: moving.object,
      versionId: moving.version.id,
      from: moving.parts.map((part) => part.location.id),
      locations: copies.map((copy) => copy.id),
      offset,
      length: at - offset,
      ...(codedBytes === undefined ? {} : { codec: 'zstd', codedBytes: [...codedBytes] }),
      ...(moving.rule === undefined ? {} : { rule: moving.rule }),
    };
    return { moving, copies, row };
  });
}

/** The lists of members, then the row: on return every location in the pack can be read. */
async function insertPack(
  core: Core,
  pack: { id: string; source: Source; stored: Stored; members: LocatedMember[] },
): Promise<void> {
  const { store, clock, random } = core.context;
  const { id, source, stored, members } = pack;
  const blocks: string[] = [];
  for (let at = 0; at < members.length; at += MEMBERS_PER_BLOCK) {
    const some = members.slice(at, at + MEMBERS_PER_BLOCK).map(({ row }) => row);
    const value: Block = { format: 1, kind: 'members', object: packObject(id), members: some };
    const block = newLocationId(clock, random);
    blocks.push(block);
    const inserted = await store.insert('blocks', block, value);
    if (inserted.outcome !== 'done') throw taken(block);
  }
  const row: Pack = {
    format: 1,
    id,
    tier: stored.location.tier,
    layout: source.layout,
    blob: stored.location,
    sizeBytes: stored.sizeBytes,
    entries: members.length,
    entryBytes: members.reduce((sum, member) => sum + member.row.length, 0),
    deadBytes: 0,
    createdAt: clock.now(),
    checksum: stored.checksum,
    members: blocks,
  };
  const inserted = await store.insert('packs', id, row);
  if (inserted.outcome !== 'done') throw taken(id);
}

function taken(id: string): FirnError {
  return new FirnError('TierConflict', `a fresh id is taken already`, { subject: id });
}

async function commitMembers(
  core: Core,
  members: readonly LocatedMember[],
  options: MoveOptions,
  counts: MoveCounts,
): Promise<void> {
  await inFlight(COMMITS_IN_FLIGHT, members, async ({ moving, copies }) => {
    countOutcome(counts, moving, await commitMove(core, moving, copies, options));
  });
}
