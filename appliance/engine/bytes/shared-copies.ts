// Moves of shared bytes within a tier (DEDUPE.md): a million versions that name one place must not
// become a million copies when its segment is compacted. The first version's bytes are copied, the
// copy may be shared from its birth, and the others find it by the hint, days later too, and swap
// to it as a PUT would: each by its own reference and its own commit. The danger is that of a PUT
// that shares, and answered by the same look.

import type { BlobLocation, Location } from '../../model/location.ts';
import type { Part, Version } from '../../model/object.ts';
import { findShared, offerContent } from './contents.ts';
import type { Core } from '../document/core.ts';
import { headOf, hold, type HeldLocation } from '../document/references.ts';

export interface SharedPlace {
  moving: { object: string; version: Version };
  part: Part;
  /** Where it moves to. */
  tier: string;
  avoidGroups?: ReadonlySet<number> | undefined;
}

export interface CopyOrShared {
  location: BlobLocation;
  /** Others name it too, and this object holds it; absent: its own fresh copy. */
  shared?: HeldLocation;
}

/** Of one batch: what moves at the same time waits for one copy. */
export class SharedCopies {
  readonly #core: Core;
  readonly #copying = new Map<string, Promise<CopyOrShared>>();

  constructor(core: Core) {
    this.#core = core;
  }

  /** Where the part's bytes are to be found by its version. A repeat may make another copy. */
  async copy(place: SharedPlace, copy: () => Promise<BlobLocation>): Promise<CopyOrShared> {
    const { context } = this.#core;
    const { part, tier, moving } = place;
    const { id } = part.location;
    // Into another tier each goes alone.
    if (part.location.tier !== tier) return { location: await copy() };
    const head = await headOf(context.store, id);
    if (head === undefined) return { location: await copy() };
    const copying = this.#copying.get(id);
    if (copying === undefined) {
      const first = this.#find(place, head.content, copy);
      this.#copying.set(id, first);
      return first;
    }
    // Its failure is not ours.
    const location = await copying.then(
      (found) => found.location,
      () => undefined,
    );
    const shared = location && (await hold(context, location.id, moving.object));
    return location && shared ? { location, shared } : { location: await copy() };
  }

  /** Where others have been moved to before, or a new copy that others will find. */
  async #find(
    place: SharedPlace,
    content: string,
    copy: () => Promise<BlobLocation>,
  ): Promise<CopyOrShared> {
    const { part, moving, tier } = place;
    const { checksum, sizeBytes } = part;
    const { object, version } = moving;
    const fits = (location: BlobLocation): boolean => isElsewhere(place, location);
    const found = await findShared(this.#core, {
      content,
      object,
      tier,
      sizeBytes,
      checksum,
      fits,
    });
    if (found !== undefined) return { location: found.location, shared: found.shared };
    const location = await copy();
    await offerContent(this.#core, { content, location, checksum, etag: version.etag, object });
    return { location };
  }
}

function isElsewhere({ part, avoidGroups }: SharedPlace, location: BlobLocation): boolean {
  if (location.id === part.location.id) return false;
  return avoidGroups === undefined || !avoidGroups.has(groupOf(location) ?? -1);
}

function groupOf(location: Location): number | undefined {
  return location.kind === 'segment' || location.kind === 'shards' ? location.group : undefined;
}
