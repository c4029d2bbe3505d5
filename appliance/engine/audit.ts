// What is named and not there. The sweep finds bytes without a name; the other way round a lost
// record shows only when somebody reads it, perhaps years later. While the sweep gathers all names
// it asks the filters of some segments whether they can hold what documents name in them: a filter
// that says no is sure. Only then the document is read afresh and the bytes are asked for, so that
// nothing that moved or was deleted meanwhile is called lost. Every sweep asks other segments.

import { isFirnError } from '../model/errors.ts';
import type { Location, SegmentLocation } from '../model/location.ts';
import type { NodeGroupTier, SegmentFilter } from '../model/node-group.ts';
import type { Core } from './core.ts';
import { namesOf, uploadsOf } from './named.ts';

/** A filter of 64,000 records is 200 KiB: at most 25 MiB while a sweep runs. */
const SEGMENTS_MAX = 128;
/** Looked at one by one; more of them is one alarm anyway. */
const SUSPECTS_MAX = 1000;

interface Suspect {
  location: SegmentLocation;
  object: string;
}

const nameOf = (tier: string, group: number, segment: string): string =>
  `${tier}/${group}/${segment}`;

export class Audit {
  readonly #core: Core;
  readonly #filters = new Map<string, SegmentFilter>();
  readonly #suspects = new Map<string, Suspect>();
  asked = 0;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Chooses segments by chance and loads their filters; those without one are left out. */
  async begin(tiers: readonly NodeGroupTier[]): Promise<void> {
    const all: { tier: NodeGroupTier; group: number; segment: string; draw: number }[] = [];
    for (const tier of tiers) {
      for await (const { group, segment, settled } of tier.segments()) {
        const draw = Buffer.from(this.#core.context.random.bytes(4)).readUInt32LE(0);
        if (settled) all.push({ tier, group, segment, draw });
      }
    }
    const some = all.toSorted((a, b) => a.draw - b.draw).slice(0, SEGMENTS_MAX);
    for (const { tier, group, segment } of some) {
      const filter = await tier.filterOf(group, segment);
      if (filter !== undefined) this.#filters.set(nameOf(tier.name, group, segment), filter);
    }
  }

  see(location: Location, object: string): void {
    if (location.kind !== 'segment') return;
    const { tier, group, segment, id } = location;
    const filter = this.#filters.get(nameOf(tier, group, segment));
    if (filter === undefined) return;
    this.asked += 1;
    if (filter.mayHoldId(id) || this.#suspects.size >= SUSPECTS_MAX) return;
    this.#suspects.set(id, { location, object });
  }

  /** What is lost indeed: still named, and not to be read. */
  async end(): Promise<string[]> {
    const lost: string[] = [];
    for (const { location, object } of this.#suspects.values()) {
      const { store } = this.#core.context;
      const names = await namesOf(store, object, await uploadsOf(store, object));
      if (!names.locations.has(location.id)) continue;
      try {
        await this.#core.context.tiers.get(location.tier)?.verify(location);
      } catch (error) {
        const isLost = isFirnError(error, 'TierMissing') || isFirnError(error, 'Corrupt');
        if (isLost) lost.push(`${object} (${location.tier}/${location.id})`);
      }
    }
    return lost;
  }
}
