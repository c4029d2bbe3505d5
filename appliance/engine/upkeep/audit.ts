// What is named and not there. The sweep finds bytes without a name; the other way round a lost
// record shows only when somebody reads it, perhaps years later: a scrub goes by what drives hold,
// and what is gone from all of them it never meets. Before the sweep gathers all names the drives
// tell which segments there are, and of which large objects enough files; while it gathers them it
// asks the filters of some segments, others each time, whether they can hold what documents name
// in them. Who is not there, or whom a filter denies, is only suspected: the document is read
// afresh and the bytes are asked for, so that nothing that moved or was deleted meanwhile is called
// lost. A group none of whose drives is there tells nothing: it is left out.

import { isFirnError } from '../../model/errors.ts';
import { locationBirth } from '../../model/ids.ts';
import type { Location, SegmentLocation, ShardLocation } from '../../model/location.ts';
import type { NodeGroupTier, SegmentFilter } from '../../model/node-group.ts';
import type { Core } from '../document/core.ts';
import { IdSet } from '../document/id-set.ts';
import { namesOf, uploadsOf } from '../document/named.ts';

/** A filter of 64,000 records is 200 KiB: at most 25 MiB while a sweep runs. */
const SEGMENTS_MAX = 128;
/** Looked at one by one; more of them is one alarm anyway. */
const SUSPECTS_MAX = 1000;

interface Suspect {
  location: SegmentLocation | ShardLocation;
  object: string;
}

const groupOf = (tier: string, group: number): string => `${tier}/${group}`;

const nameOf = (tier: string, group: number, segment: string): string =>
  `${tier}/${group}/${segment}`;

export class Audit {
  readonly #core: Core;
  readonly #filters = new Map<string, SegmentFilter>();
  readonly #suspects = new Map<string, Suspect>();
  /** Names of all groups that could be looked at, and of all their segments. */
  readonly #groups = new Set<string>();
  readonly #segments = new Set<string>();
  readonly #shards: IdSet;
  /** What is younger may have been written while the drives were looked at. */
  #begunAt = 0;
  asked = 0;

  constructor(core: Core) {
    this.#core = core;
    this.#shards = new IdSet(Buffer.from(core.context.random.bytes(4)).readUInt32LE(0));
  }

  /**
   * Before any name is read: notes what the drives hold, chooses segments by chance and loads their
   * filters; those without one are left out.
   */
  async begin(tiers: readonly NodeGroupTier[]): Promise<void> {
    const all: { tier: NodeGroupTier; group: number; segment: string; draw: number }[] = [];
    this.#begunAt = this.#core.context.clock.now();
    for (const tier of tiers) {
      for (const { group, state } of await tier.drives()) {
        const isThere = state === 'up' || state === 'full';
        if (isThere) this.#groups.add(groupOf(tier.name, group));
      }
      for await (const ids of tier.wholeShards()) for (const id of ids) this.#shards.add(id);
      for await (const { group, segment, settled } of tier.segments()) {
        this.#segments.add(nameOf(tier.name, group, segment));
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
    if (location.kind !== 'segment' && location.kind !== 'shards') return;
    if (this.#mayBeThere(location) || this.#suspects.size >= SUSPECTS_MAX) return;
    this.#suspects.set(location.id, { location, object });
  }

  #mayBeThere(location: SegmentLocation | ShardLocation): boolean {
    const { tier, group, id } = location;
    if (!this.#groups.has(groupOf(tier, group))) return true;
    if (locationBirth(id) >= this.#begunAt) return true;
    if (location.kind === 'shards') {
      this.asked += 1;
      return this.#shards.has(id);
    }
    const name = nameOf(tier, group, location.segment);
    if (!this.#segments.has(name)) return false;
    const filter = this.#filters.get(name);
    if (filter === undefined) return true;
    this.asked += 1;
    return filter.mayHoldId(id);
  }

  /**
   * What is lost indeed: still named, and not to be read. Rests behind each suspect, which is read
   * whole, and throws when asked to stop.
   */
  async end({ rest, signal }: { rest: () => Promise<void>; signal: AbortSignal }) {
    const lost: string[] = [];
    for (const { location, object } of this.#suspects.values()) {
      signal.throwIfAborted();
      const { store } = this.#core.context;
      const names = await namesOf(store, object, await uploadsOf(store, object));
      if (!names.locations.has(location.id)) continue;
      try {
        await this.#core.context.tiers.get(location.tier)?.verify(location, signal);
      } catch (error) {
        const isLost = isFirnError(error, 'TierMissing') || isFirnError(error, 'Corrupt');
        if (isLost) lost.push(`${object} (${location.tier}/${location.id})`);
      }
      await rest();
    }
    return lost;
  }
}
