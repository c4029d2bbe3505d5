// Empties and frees containers that hold mostly dead bytes: segments of node groups, and packs
// in tiers that are read at once. Reading a segment costs 64 MiB a drive, so one is looked at
// only when it is known to be mostly dead: by the notes of what was deleted (its size is known
// by the heads of its batches), or by the sweep, which sees once a day what lives in each (what
// a crashed PUT left is in no note). Where no sweep ran for a week it is read. The deadest come
// first: they cost nothing and give the most. The danger is a full drive: then segments that are
// a fifth dead are emptied too, out of the reserve that only workers write to; without room
// nothing is moved, and what is wholly dead is freed all the same. Packs of staged tiers are
// never emptied, as that would cost a retrieval: they go when nothing lives.

import { compactPack, compactSegment, LIVE_SHARE_MIN } from '../appliance/engine/upkeep/compact.ts';
import type { Core } from '../appliance/engine/document/core.ts';
import { bucketNames } from '../appliance/engine/document/inventory.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import { isFirnError } from '../appliance/model/errors.ts';
import type { Pack } from '../appliance/model/location.ts';
import type { Row } from '../appliance/model/metadata-store.ts';
import type { Checkpoint } from '../appliance/model/records.ts';
import type { NodeGroupTier, SegmentInfo } from '../appliance/model/node-group.ts';
import { readCheckpoint, removeCheckpoint, saveCheckpoint } from './base/checkpoints.ts';
import type { ClockGuard } from './base/clock-guard.ts';
import { segmentRowId, sweptRowId } from './segment-rows.ts';
import type { Turn, Worker, WorkerLog } from './base/worker.ts';

const PAGE_ROWS = 500;
const SEGMENTS_PAGE = 64;
/** About what a record has beside the object's bytes. */
const HEAD_BYTES = 64;
const LOOK_AGAIN_MS = 7 * DAY_MS;
/** Of groups with a full drive: emptied below this share of living bytes. */
const LIVE_SHARE_FULL = 0.8;

export interface CompactSettings {
  guard: ClockGuard;
  log: WorkerLog;
  /** Days that a provider charges for at least: a younger pack is left alone. */
  minimumDays: (tier: string) => number;
}

export class CompactWorker implements Worker {
  readonly name = 'compact';
  readonly tranquility = 2;
  readonly #core: Core;
  readonly #tiers: readonly NodeGroupTier[];
  readonly #settings: CompactSettings;

  constructor(core: Core, tiers: readonly NodeGroupTier[], settings: CompactSettings) {
    this.#core = core;
    this.#tiers = tiers;
    this.#settings = settings;
  }

  leaseName(): string {
    return 'compact';
  }

  async run(turn: Turn): Promise<void> {
    const names = await bucketNames(this.#core.context.store);
    const counts: Record<string, number> = { looked: 0, emptied: 0, freed: 0, moved: 0 };
    const pass: Pass = { turn, names, counts };
    for (const tier of await this.#fullFirst()) {
      const noRoom = { seen: false };
      for (const due of await this.#due(tier, turn)) {
        await this.#settings.guard.check();
        await this.#segment(due, pass, noRoom);
        await turn.rest();
      }
    }
    await this.#packs(pass);
  }

  /** Whether a drive is so full that compaction can't wait for its hour. */
  async isNeeded(): Promise<boolean> {
    for (const tier of this.#tiers) if ((await fullGroups(tier)).size > 0) return true;
    return false;
  }

  async #fullFirst(): Promise<NodeGroupTier[]> {
    const all = this.#tiers.map(async (tier) => ({ tier, full: (await fullGroups(tier)).size }));
    return (await Promise.all(all)).toSorted((a, b) => b.full - a.full).map(({ tier }) => tier);
  }

  /** Segments worth a look, the deadest first. */
  async #due(tier: NodeGroupTier, turn: Turn): Promise<Due[]> {
    const full = await fullGroups(tier);
    const swept = await readCheckpoint(this.#core.context.store, sweptRowId(tier.name));
    const sweptAt = swept?.updatedAt ?? 0;
    const due: Due[] = [];
    let looked = 0;
    for await (const info of tier.segments()) {
      looked += 1;
      if (looked % SEGMENTS_PAGE === 0) await turn.rest();
      if (!info.settled) continue;
      const liveShareMin = full.has(info.group) ? LIVE_SHARE_FULL : LIVE_SHARE_MIN;
      const one = await this.#isDue({ tier, info, liveShareMin }, sweptAt);
      if (one !== undefined) due.push(one);
    }
    return due.toSorted((a, b) => a.liveShare - b.liveShare);
  }

  /** `sweptAt`: up to then all documents were counted, and what is mostly dead was marked. */
  async #isDue(
    of: Pick<Due, 'tier' | 'info' | 'liveShareMin'>,
    sweptAt: number,
  ): Promise<Due | undefined> {
    const { store, clock, graceMs } = this.#core.context;
    const { tier, info, liveShareMin } = of;
    const row = segmentRowId(tier.name, info);
    const last = await readCheckpoint(store, row);
    const at = clock.now();
    // Its records have at least about as many bytes as its log is long: less dead is surely less
    // than half. The exact sum is walked for once.
    let bytes = last?.counts['bytes'] ?? 0;
    const dead = info.deadBytes + info.deadRecords * HEAD_BYTES;
    const mayBe = dead > info.extentBytes * (1 - liveShareMin) * 0.75;
    if (bytes === 0 && mayBe) {
      bytes = await tier.recordBytes(info.group, info.segment);
      const counts = { ...last?.counts, bytes };
      const cursor = last?.cursor ?? 'unseen';
      await saveCheckpoint(store, row, { at: last?.updatedAt ?? info.openedAt, cursor, counts });
    }
    // Until it was looked at its bytes are those of whole records.
    const heads = last?.counts['liveBytes'] === undefined ? info.deadRecords * HEAD_BYTES : 0;
    const newlyDead = info.deadBytes + heads - (last?.counts['deadBytes'] ?? 0);
    const lived = last?.counts['liveBytes'] ?? bytes;
    const liveShare = bytes === 0 ? 1 : Math.max(0, lived - newlyDead) / bytes;
    // Kept for want of room, or before the drives were full.
    const isNew = newlyDead > 0 || last?.cursor === 'kept' || last?.cursor === 'swept';
    const isDead = bytes > 0 && isNew && liveShare < liveShareMin;
    // Emptied before, or held: what was moved out is dead once its grace is over.
    const waits = last?.cursor === 'emptied' || last?.cursor === 'held';
    const isEmpty = waits && at - last.updatedAt > graceMs;
    const lookedAt = Math.max(last?.updatedAt ?? info.openedAt, sweptAt);
    const isOld = at - lookedAt >= LOOK_AGAIN_MS;
    return isDead || isEmpty || isOld ? { ...of, row, last, liveShare } : undefined;
  }

  async #segment(due: Due, pass: Pass, noRoom: { seen: boolean }): Promise<void> {
    const { store, clock } = this.#core.context;
    const { row, last, info, liveShareMin } = due;
    const { lease, signal } = pass.turn;
    const { names } = pass;
    try {
      // Without room to move to, only what is wholly dead.
      const options = { lease, signal, names, liveShareMin: noRoom.seen ? 0 : liveShareMin };
      const done = await compactSegment(this.#core, due, options);
      const { outcome, bytes, liveBytes, moves } = done;
      count(pass, outcome, moves.moved);
      if (outcome === 'freed') {
        await removeCheckpoint(store, row);
        return;
      }
      const isWaiting = outcome === 'held' && last?.cursor === 'emptied';
      const cursor = isWaiting ? 'emptied' : outcome;
      const counts = { deadBytes: info.deadBytes, ...(bytes > 0 ? { bytes, liveBytes } : {}) };
      await saveCheckpoint(store, row, { at: clock.now(), cursor, counts });
    } catch (error) {
      if (!isFirnError(error) || !PASSING.has(error.code)) throw error;
      noRoom.seen ||= error.code === 'InsufficientCapacity';
      this.#settings.log('warn', `segment ${info.segment} is not compacted: ${error.message}`);
    }
  }

  async #packs(pass: Pass): Promise<void> {
    const { store } = this.#core.context;
    let after: string | undefined;
    for (;;) {
      const rows: Row<Pack>[] = await store.range<Pack>({
        table: 'packs',
        limit: PAGE_ROWS,
        ...(after === undefined ? {} : { after }),
      });
      for (const { value } of rows) {
        if (this.#isWorthIt(value)) await this.#pack(value, pass);
      }
      pass.turn.report(pass.counts);
      if (rows.length < PAGE_ROWS) return;
      after = rows.at(-1)?.id;
      await pass.turn.rest();
    }
  }

  #isWorthIt(pack: Pack): boolean {
    const { tiers, clock } = this.#core.context;
    if (pack.deadBytes >= pack.entryBytes && pack.entryBytes > 0) return true;
    if (pack.deadBytes < pack.entryBytes * LIVE_SHARE_MIN) return false;
    if (tiers.get(pack.tier)?.retrieval !== 'immediate') return false;
    const age = clock.now() - pack.createdAt;
    return age >= this.#settings.minimumDays(pack.tier) * DAY_MS;
  }

  async #pack(pack: Pack, pass: Pass): Promise<void> {
    const { lease, signal } = pass.turn;
    try {
      await this.#settings.guard.check();
      const options = { lease, signal, names: pass.names };
      const { outcome, moves } = await compactPack(this.#core, pack, options);
      count(pass, outcome, moves.moved);
    } catch (error) {
      if (!isFirnError(error) || error.code === 'LeaseLost') throw error;
      this.#settings.log('warn', `pack ${pack.id} is not compacted: ${error.message}`);
    }
    await pass.turn.rest();
  }
}

/** A segment worth a look. */
interface Due {
  tier: NodeGroupTier;
  info: SegmentInfo;
  liveShareMin: number;
  /** Its checkpoint: counts are those of the last look. */
  row: string;
  last: Checkpoint | undefined;
  /** At most, by what is noted dead. */
  liveShare: number;
}

/** About one segment, not about the work: the next one may do. */
const PASSING = new Set(['InsufficientCapacity', 'DriveUnavailable', 'Corrupt', 'InvalidRequest']);

async function fullGroups(tier: NodeGroupTier): Promise<Set<number>> {
  const drives = await tier.drives();
  return new Set(drives.filter(({ state }) => state === 'full').map(({ group }) => group));
}

interface Pass {
  turn: Turn;
  names: ReadonlyMap<string, string>;
  counts: Record<string, number>;
}

function count(pass: Pass, outcome: string, moved: number): void {
  const { counts } = pass;
  counts['looked'] = (counts['looked'] ?? 0) + 1;
  counts[outcome] = (counts[outcome] ?? 0) + 1;
  counts['moved'] = (counts['moved'] ?? 0) + moved;
  pass.turn.report(counts);
}
