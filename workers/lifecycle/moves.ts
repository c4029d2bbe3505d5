// Gathers what a scan finds due to move and moves it in batches: versions of equal target and about
// equal end of life stand together in the order of their keys, so that a pack holds neighbours and
// dies at once. What goes to the landing tier (promotion) is copied one by one, everything else
// goes into packs; where only the class changes no byte is touched.

import type { Core } from '../../appliance/engine/document/core.ts';
import { inFlight } from '../../appliance/engine/document/in-flight.ts';
import type { LeaseGuard } from '../../appliance/engine/document/lease.ts';
import {
  addMoves,
  changeClass,
  COMMITS_IN_FLIGHT,
  countOutcome,
  moveVersions,
  noMoves,
  type MoveCounts,
  type MovingVersion,
} from '../../appliance/engine/move/move.ts';
import { moveIntoPacks } from '../../appliance/engine/move/pack-move.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import { MiB, PACK_BYTES_TARGET } from '../../appliance/model/limits.ts';
import { addUsage } from '../base/usage-rows.ts';
import type { WorkerLog } from '../base/worker.ts';

/** Versions and bytes gathered before everything is moved, full pack or not. */
const GATHERED_MAX = 60_000;
const GATHERED_BYTES_MAX = 512 * MiB;
const DIRECT_BATCH = 64;

export interface DueMove {
  moving: MovingVersion;
  storageClass: string;
  kind: 'transition' | 'promote';
  /** Month of the expected end, or '': packs hold what dies together. */
  endOfLife: string;
}

export interface MoveSettings {
  /** Tier that new bytes land in: the one that is not packed. */
  landing: string;
  lease: LeaseGuard;
  runId: string;
  signal: AbortSignal;
  log: WorkerLog;
}

/** The tier that new bytes land in. */
export function landingOf(core: Core): string {
  const { classes } = core.context;
  return classes.get('STANDARD') ?? [...classes.values()][0] ?? '';
}

function isAway(error: unknown): boolean {
  return (
    isFirnError(error, 'TierUnavailable') ||
    isFirnError(error, 'DriveUnavailable') ||
    isFirnError(error, 'InsufficientCapacity')
  );
}

interface Group {
  storageClass: string;
  kind: DueMove['kind'];
  tier: string;
  versions: MovingVersion[];
  bytes: number;
}

export class MoveBatches {
  readonly counts: MoveCounts = noMoves();
  /** Versions whose tier did not answer: the next pass tries again. */
  postponed = 0;
  readonly #core: Core;
  readonly #settings: MoveSettings;
  readonly #groups = new Map<string, Group>();
  #gathered = 0;
  #gatheredBytes = 0;

  constructor(core: Core, settings: MoveSettings) {
    this.#core = core;
    this.#settings = settings;
  }

  /** Nothing waits: a checkpoint may say that all before it is done. */
  get isEmpty(): boolean {
    return this.#gathered === 0;
  }

  /** Takes a version; moves its group when that fills a pack. */
  async add(due: DueMove): Promise<void> {
    const { moving, storageClass, kind, endOfLife } = due;
    const tier = this.#core.context.classes.get(storageClass);
    if (tier === undefined) return;
    const inPlace = moving.parts.every((part) => part.location.tier === tier);
    const name = `${storageClass}\n${kind}\n${inPlace ? 'class' : endOfLife}`;
    const group: Group = this.#groups.get(name) ?? {
      storageClass,
      kind,
      tier,
      versions: [],
      bytes: 0,
    };
    this.#groups.set(name, group);
    group.versions.push(moving);
    this.#gathered += 1;
    const { sizeBytes } = moving.version;
    if (!inPlace) {
      group.bytes += sizeBytes;
      this.#gatheredBytes += sizeBytes;
    }
    if (group.bytes >= PACK_BYTES_TARGET) await this.#move(name, group);
    else if (this.#gathered >= GATHERED_MAX || this.#gatheredBytes >= GATHERED_BYTES_MAX) {
      await this.flush();
    }
  }

  /** Moves everything gathered. On return nothing waits. */
  async flush(): Promise<void> {
    for (const [name, group] of this.#groups) await this.#move(name, group);
  }

  async #move(name: string, group: Group): Promise<void> {
    this.#groups.delete(name);
    this.#gathered -= group.versions.length;
    const { versions, tier } = group;
    const isInPlace = name.endsWith('\nclass');
    if (!isInPlace) this.#gatheredBytes -= group.bytes;
    let moved: MoveCounts;
    try {
      moved = isInPlace ? await this.#reclass(group) : await this.#copy(group);
    } catch (error) {
      if (!isAway(error)) throw error;
      // One cloud that is down keeps no other tier's moves, and no deletion, from being done.
      this.postponed += versions.length;
      this.#settings.log('warn', `moves into ${tier} are postponed: ${(error as Error).message}`);
      return;
    }
    addMoves(this.counts, moved);
    const [first] = versions;
    if (first === undefined || isInPlace) return;
    const { store, clock } = this.#core.context;
    await addUsage(store, clock.now(), {
      kind: 'moved',
      bucket: first.bucket,
      tier,
      storageClass: group.storageClass,
      bytes: moved.bytes,
      count: moved.moved,
    });
  }

  async #reclass(group: Group): Promise<MoveCounts> {
    const counts = noMoves();
    const { lease, runId } = this.#settings;
    const { kind, tier, storageClass, versions } = group;
    for (let at = 0; at < versions.length; at += 1000) {
      await lease.check();
      await inFlight(COMMITS_IN_FLIGHT, versions.slice(at, at + 1000), async (moving) => {
        const outcome = await changeClass(this.#core, moving, { kind, tier, storageClass, runId });
        countOutcome(counts, moving, outcome);
      });
    }
    return counts;
  }

  async #copy(group: Group): Promise<MoveCounts> {
    const { lease, runId, signal, landing } = this.#settings;
    const { kind, tier, storageClass, versions } = group;
    const options = { kind, tier, storageClass, lease, runId, signal };
    if (tier !== landing) return moveIntoPacks(this.#core, versions, options);
    const counts = noMoves();
    for (let at = 0; at < versions.length; at += DIRECT_BATCH) {
      signal.throwIfAborted();
      const batch = versions.slice(at, at + DIRECT_BATCH);
      addMoves(counts, await moveVersions(this.#core, batch, options));
    }
    return counts;
  }
}
