// Who lives in a pack. The pack's row lists what was packed into it; only each object's document
// says whether it still names those bytes. The answer decides about the end of a whole pack, so
// every document is read afresh and none is taken from a scan.

import type { Location, Pack, PackLocation } from '../../model/location.ts';
import type { Block, ObjectDocument, PackMember, Part, Version } from '../../model/object.ts';
import { FirnError } from '../../model/errors.ts';
import { objectId } from '../../model/ids.ts';
import type { Core } from '../document/core.ts';
import { findById, loadParts, reread } from '../document/history.ts';
import { inFlight } from '../document/in-flight.ts';

const READS_IN_FLIGHT = 64;

/** A member whose version still has bytes in the pack. */
export interface LiveMember {
  object: string;
  version: Version;
  /** All parts of the version, loaded. */
  parts: Part[];
  /** Of its parts in the pack, as they lie there. */
  bytes: number;
}

export interface PackLook {
  live: LiveMember[];
  liveBytes: number;
  looked: number;
}

function isIn(location: Location, pack: string): location is PackLocation {
  return location.kind === 'pack' && location.pack === pack;
}

/**
 * Everybody that was packed, in pages: from the lists that the row names, or from the pack's own
 * index where it names none (rebuilt from packs). Then a pack that is offline throws TierOffline.
 */
export async function* membersOf(core: Core, pack: Pack): AsyncGenerator<PackMember[]> {
  const { store, packer } = core.context;
  if (pack.members !== undefined) {
    for (const id of pack.members) {
      const row = await store.get<Block>('blocks', id);
      // Missing, it must not look like a pack in which nobody lives.
      if (row?.value.kind !== 'members') throw unlisted(pack, `block ${id} is missing`);
      yield row.value.members;
    }
    return;
  }
  const { tier } = await core.locations.place(placeholder(pack));
  let page: PackMember[] = [];
  const read = (range: { offset: number; length: number }) => tier.read(pack.blob, { range });
  for await (const entry of packer.readIndex(pack.sizeBytes, read)) {
    const { bucketId, key, versionId, offset, length } = entry;
    const object = objectId(bucketId, key);
    page.push({ object, versionId, from: [], locations: [], offset, length });
    if (page.length < READS_IN_FLIGHT) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}

function unlisted(pack: Pack, why: string): FirnError {
  return new FirnError('Corrupt', `who lives in pack ${pack.id} is not known: ${why}`, {
    subject: pack.id,
    hint: 'nothing of it is freed; restore the row from a metadata snapshot',
  });
}

function placeholder(pack: Pack): PackLocation {
  return { kind: 'pack', id: pack.id, tier: pack.tier, pack: pack.id, offset: 0, length: 0 };
}

/** Looks at every member's document. */
export async function lookAtPack(core: Core, pack: Pack): Promise<PackLook> {
  const look: PackLook = { live: [], liveBytes: 0, looked: 0 };
  for await (const page of membersOf(core, pack)) {
    const found = await inFlight(READS_IN_FLIGHT, page, (member) =>
      liveMember(core, pack.id, member),
    );
    look.looked += page.length;
    for (const one of found) {
      if (one === undefined) continue;
      look.live.push(one);
      look.liveBytes += one.bytes;
    }
  }
  if (look.looked !== pack.entries) {
    throw unlisted(pack, `${look.looked} of ${pack.entries} members are listed`);
  }
  return look;
}

function liveMember(core: Core, pack: string, member: PackMember): Promise<LiveMember | undefined> {
  const { store } = core.context;
  return reread(member.object, async () => {
    const row = await store.get<ObjectDocument>('objects', member.object, { linearizable: true });
    if (row === undefined) return undefined;
    const version = await findById(store, row.value, member.versionId);
    if (version === undefined) return undefined;
    const parts = await loadParts(store, version);
    const inside = parts.filter((part) => isIn(part.location, pack));
    if (inside.length === 0) return undefined;
    const bytes = inside.reduce((sum, { location }) => sum + location.length, 0);
    return { object: member.object, version, parts, bytes };
  });
}
