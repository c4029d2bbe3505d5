// Moves of shared bytes within a tier (DEDUPE.md): a million versions that name one place must not
// become a million copies when its segment is compacted. The first version's bytes are copied, the
// copy may be shared from its birth, and the others find it by the hint and swap to it, each by its
// own commit. The danger is the same as at a PUT, and smaller: only a copy younger than a quarter
// of a grace is shared here, which nothing can free before its sharers have committed or given up.

import { locationBirth } from '../model/ids.ts';
import type { BlobLocation, Location } from '../model/location.ts';
import type { Part, Version } from '../model/object.ts';
import type { Content } from '../model/records.ts';
import { offerContent, readsAs } from './contents.ts';
import type { Core } from './core.ts';
import { plainBytesOf } from './read-location.ts';
import { headOf, refer } from './references.ts';

export interface SharedPlace {
  moving: { object: string; version: Version };
  part: Part;
  /** Where it moves to. */
  tier: string;
  avoidGroups?: ReadonlySet<number> | undefined;
}

/** Of one batch: what moves at the same time waits for one copy. */
export class SharedCopies {
  readonly #core: Core;
  readonly #copying = new Map<string, Promise<BlobLocation>>();

  constructor(core: Core) {
    this.#core = core;
  }

  /**
   * Where the part's bytes are to be found by its version: a copy that others name too, or a fresh
   * one by `copy`. On return it has this object's reference.
   */
  async copy(place: SharedPlace, copy: () => Promise<BlobLocation>): Promise<BlobLocation> {
    const { store } = this.#core.context;
    const { part, tier } = place;
    const { id } = part.location;
    // Into another tier each goes alone.
    if (part.location.tier !== tier) return copy();
    const head = await headOf(store, id);
    if (head === undefined) return copy();
    let copying = this.#copying.get(id);
    const isFirst = copying === undefined;
    copying ??= this.#find(place, head.content, copy);
    this.#copying.set(id, copying);
    try {
      const location = await copying;
      await refer(this.#core.context, location.id, place.moving.object);
      return location;
    } catch (error) {
      if (isFirst) throw error;
      // Not its own failure.
      return await copy();
    }
  }

  /** The copy that somebody has made a moment ago, or a new one that others will find. */
  async #find(
    place: SharedPlace,
    content: string,
    copy: () => Promise<BlobLocation>,
  ): Promise<BlobLocation> {
    const { clock, graceMs, store } = this.#core.context;
    const { part, moving } = place;
    const { checksum } = part;
    const known = (await store.get<Content>('contents', content))?.value;
    const youngest = clock.now() - graceMs / 4;
    const isYoung = known !== undefined && locationBirth(known.location.id) >= youngest;
    if (isYoung && known.checksum === checksum && fits(place, known.location)) {
      if (await readsAs(this.#core, { location: known.location, checksum })) return known.location;
    }
    const location = await copy();
    const { object, version } = moving;
    const offered = { content, location, checksum, etag: version.etag, object };
    await offerContent(this.#core, offered);
    return location;
  }
}

function fits({ part, tier, avoidGroups }: SharedPlace, location: BlobLocation): boolean {
  if (location.id === part.location.id || location.tier !== tier) return false;
  if (plainBytesOf(location) !== part.sizeBytes) return false;
  return avoidGroups === undefined || !avoidGroups.has(groupOf(location) ?? -1);
}

function groupOf(location: Location): number | undefined {
  return location.kind === 'segment' || location.kind === 'shards' ? location.group : undefined;
}
