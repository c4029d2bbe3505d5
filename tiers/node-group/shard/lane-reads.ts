// Reads stretches of the lanes of one large object, verified, for as long as one read of it
// lasts. The danger is a drive that hangs: whoever waits for it waits for ever, and whoever does
// not must not touch the buffer that it may still write into. So a read that takes longer than
// twice the 95th percentile of recent ones is called late: others are asked beside it, its lane
// comes last from then on, and what it was given stays its own until it has ended.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { ShardLocation } from '../../../appliance/model/location.ts';
import type { Seat } from '../drive/seat.ts';
import { bits, type GroupContext } from '../group/context.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import { readEnds } from '../group/ends-in.ts';
import { isAbsent, noLanes, unreadable, type LaneStates } from '../group/missing.ts';
import type { OpenFile } from '../group/open-files.ts';
import {
  BLOCK_BYTES,
  blocksRight,
  geometryOf,
  readFooter,
  type Geometry,
  type ShardFooter,
} from './format.ts';

/** A stretch of one lane's piece: whole blocks, or up to the piece's end. */
export interface Columns {
  from: number;
  to: number;
}

export interface Stretch {
  stripe: number;
  columns: Columns;
  target: Buffer;
}

export type LaneState = 'good' | keyof LaneStates;

/** A read of one lane under way. */
export interface LaneRun {
  lane: number;
  /** Undefined while it runs. */
  state: LaneState | undefined;
  late: boolean;
  /** Nothing writes into its targets any more. */
  done: boolean;
  /** What nobody may take for damage: a format that is newer than this program. */
  fault: FirnError | undefined;
  decided: Promise<unknown>;
  /** Once nothing writes into its targets any more. Never rejects. */
  ended: Promise<unknown>;
}

/** Bytes touched this recently are likely in memory still. */
const WARM_MS = 60_000;
/** A read out of memory that takes longer than this is looked into. */
const QUICK_MS = 1;

export class LaneReads {
  readonly geometry: Geometry;
  readonly order: LaneOrder;
  readonly #context: GroupContext;
  readonly #location: ShardLocation;
  /** Lanes found wanting, and why. */
  readonly #bad = noLanes();
  #badMask = 0;
  /** Lanes that were late, or whose drive rests: read only if others don't suffice. */
  #slow = 0;

  constructor(context: GroupContext, location: ShardLocation) {
    this.#context = context;
    this.#location = location;
    this.order = context.orders.of(location.id, location.away ?? 0);
    this.geometry = geometryOf(location, context.code);
    for (const [lane, position] of this.order.positions.entries()) {
      const holds = (this.order.inUse | this.order.lost) >> lane;
      if ((holds & 1) === 0) continue;
      const seat = context.seats[position] as Seat;
      if (!seat.present) this.mark(lane, 'down');
      else if (!seat.trusted) this.#slow |= 1 << lane;
    }
  }

  /** Leaves a lane out from here on. */
  mark(lane: number, state: LaneState): void {
    this.#badMask |= 1 << lane;
    if (state !== 'good') this.#bad[state] |= 1 << lane;
  }

  /** True if a lane is better decoded than read. */
  shuns(lane: number): boolean {
    return (((this.#badMask | this.#slow) >> lane) & 1) === 1;
  }

  /** Which error says why the bytes can't be had, where only the lanes of `good` are right. */
  unreadable(good: number): Error {
    return unreadable(this.#location, { ...this.#bad, good }, this.geometry.dataLanes);
  }

  #seat(lane: number): Seat {
    return this.#context.seats[this.order.positions[lane] as number] as Seat;
  }

  /** Lanes to decode from: those the write was not sure of, resting and late ones come last. */
  candidates(taken: number): number[] {
    const usable = (this.order.inUse | this.order.lost) & ~this.#badMask & ~taken;
    const lanes: number[] = [];
    for (let lane = 0; usable >> lane !== 0; lane += 1) if ((usable >> lane) & 1) lanes.push(lane);
    const rank = (lane: number): number =>
      ((this.#location.unconfirmed >> lane) & 1) + 2 * ((this.#slow >> lane) & 1);
    return lanes.toSorted((a, b) => rank(a) - rank(b) || a - b);
  }

  /** Starts reading stretches of a lane that lie one behind another in its file. */
  start(lane: number, stretches: readonly Stretch[]): LaneRun {
    const seat = this.#seat(lane);
    const begun = performance.now();
    const reading = this.#read(lane, stretches, seat);
    const run: LaneRun = {
      lane,
      state: undefined,
      late: false,
      done: false,
      fault: undefined,
      decided: reading,
      ended: reading.then((state) => {
        run.done = true;
        this.#context.largeHedge.took(performance.now() - begun);
        // It was slow once, and does not hang.
        if (run.late && state === 'good' && seat.trusted) this.#slow &= ~(1 << lane);
      }),
    };
    run.decided = this.#decide(run, reading, seat);
    return run;
  }

  /** Waits for a read, but not for ever: the drive of one that hangs rests. */
  async #decide(run: LaneRun, reading: Promise<LaneState | FirnError>, seat: Seat): Promise<void> {
    const state = (await readEnds(this.#context, seat, reading)) ? await reading : 'down';
    if (state instanceof FirnError) run.fault = state;
    run.state = state instanceof FirnError ? 'damaged' : state;
    if (run.state !== 'good') this.mark(run.lane, run.state);
  }

  /** Resolves when all of them are decided, or those that are not have become late. */
  async await(runs: readonly LaneRun[]): Promise<void> {
    const open = runs.filter(({ state }) => state === undefined);
    const fresh = open.filter(({ late }) => !late);
    if (fresh.length === 0) {
      if (open.length > 0) await Promise.race(open.map(({ decided }) => decided));
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, this.#context.largeHedge.afterMs);
    });
    await Promise.race([Promise.all(fresh.map(({ decided }) => decided)), patience]);
    clearTimeout(timer);
    for (const run of fresh) {
      if (run.state !== undefined) continue;
      run.late = true;
      this.#slow |= 1 << run.lane;
    }
  }

  /** What was decoded around those of them that are late was done before them. */
  overtook(runs: readonly LaneRun[]): void {
    for (const { lane, state, late } of runs) {
      if (late && state === undefined) this.#seat(lane).overtaken();
    }
  }

  /** Reads and verifies; ends only when the drive is done. Never rejects. */
  async #read(
    lane: number,
    stretches: readonly Stretch[],
    seat: Seat,
  ): Promise<LaneState | FirnError> {
    const { shardFiles } = this.#context;
    let open: OpenFile;
    try {
      open = await shardFiles.use(seat.position, this.#location.id);
    } catch (error) {
      if (isAbsent(error)) return 'absent';
      seat.readFailed(error, this.#location.id);
      return 'down';
    }
    try {
      const targets = stretches.map(({ target }) => target);
      const bytes = targets.reduce((sum, { length }) => sum + length, 0);
      const at = this.#positionOf(stretches[0]);
      // At the file's end its footer comes with the same call.
      const reachesEnd = bytes > 0 && at + bytes === this.geometry.footerStart;
      const end = open.memo === undefined && reachesEnd ? this.#footerBuffer() : undefined;
      if (end === undefined && (await this.footer(open, lane)) === undefined) return 'damaged';
      if (bytes === 0) return 'good';
      const count = await readAll(open, end === undefined ? targets : [...targets, end], at);
      open.touchSpan(at, at + bytes, performance.now());
      if (count !== bytes + (end?.length ?? 0)) return 'damaged';
      const footer = end === undefined ? open.memo : this.#keepFooter(open, lane, end);
      if (footer === undefined) return 'damaged';
      const right = stretches.every((one) => this.#isRight(one, footer as ShardFooter));
      return right ? 'good' : 'damaged';
    } catch (error) {
      if (error instanceof FirnError) return error;
      seat.readFailed(error, this.#location.id);
      return 'down';
    } finally {
      shardFiles.release(open);
    }
  }

  #positionOf(stretch: Stretch | undefined): number {
    if (stretch === undefined) return this.geometry.footerStart;
    return this.geometry.startOf(stretch.stripe) + stretch.columns.from;
  }

  #footerBuffer(): Buffer {
    return Buffer.allocUnsafe(this.geometry.footerBytes);
  }

  #isRight({ stripe, columns, target }: Stretch, footer: ShardFooter): boolean {
    const first = this.geometry.blockOf(stripe) + columns.from / BLOCK_BYTES;
    return blocksRight(target, footer.table, first);
  }

  /**
   * Reads without leaving the thread where the bytes are likely in memory: at 256 KiB that costs no
   * more than to ask another thread, and the sum finds them in the cache. False: it was not done.
   */
  readNow(lane: number, stretch: Stretch): boolean {
    const seat = this.#seat(lane);
    const begun = performance.now();
    if (this.shuns(lane) || !seat.trusted || !seat.blocking.allowed(begun)) return false;
    const open = this.#context.shardFiles.peek(seat.position, this.#location.id);
    const footer = open?.memo as ShardFooter | undefined;
    if (open === undefined || footer === undefined) return false;
    const at = this.#positionOf(stretch);
    const { target } = stretch;
    const touched = Math.min(open.touchedAt(at), open.touchedAt(at + target.length - 1));
    if (begun - touched > WARM_MS) return false;
    try {
      const count = open.file.readNow(target, at);
      open.usedAt = performance.now();
      const ms = open.usedAt - begun;
      seat.blocking.took(ms > QUICK_MS && !devicesWereRead() ? 0 : ms, open.usedAt);
      // What is wrong is looked at again, and dealt with, by whoever reads it the long way.
      return count === target.length && this.#isRight(stretch, footer);
    } catch {
      return false;
    }
  }

  /**
   * The file's footer, read once while the file stays open. Undefined: not this object's, or
   * damaged.
   */
  async footer(open: OpenFile, lane: number): Promise<ShardFooter | undefined> {
    if (open.memo !== undefined) return open.memo as ShardFooter;
    const bytes = this.#footerBuffer();
    const count = await open.file.read(bytes, this.geometry.footerStart);
    return count === bytes.length ? this.#keepFooter(open, lane, bytes) : undefined;
  }

  #keepFooter(open: OpenFile, lane: number, bytes: Buffer): ShardFooter | undefined {
    const footer = readFooter(bytes);
    if (footer === undefined || footer.id !== this.#location.id || footer.lane !== lane) {
      return undefined;
    }
    if (footer.length !== this.geometry.length) return undefined;
    open.memo = footer;
    return footer;
  }

  /**
   * Starts lanes until k' of them are good, further ones for those that fail or are late: which are
   * good. `runs` gets all that were started. Throws as Tier.read.
   */
  async gather(startLane: (lane: number) => LaneRun, runs: LaneRun[]): Promise<number> {
    const need = this.geometry.dataLanes;
    let asked = 0;
    for (;;) {
      let have = 0;
      for (const { lane, state } of runs) if (state === 'good') have |= 1 << lane;
      throwFault(runs);
      if (bits(have) >= need) {
        this.overtook(runs);
        return have;
      }
      const hoped = runs.filter(({ state, late }) => state === undefined && !late).length;
      for (const lane of this.candidates(asked).slice(0, need - bits(have) - hoped)) {
        asked |= 1 << lane;
        runs.push(startLane(lane));
      }
      if (runs.every(({ state }) => state !== undefined)) throw this.unreadable(have);
      await this.await(runs);
    }
  }
}

export function throwFault(runs: readonly LaneRun[]): void {
  for (const { fault } of runs) if (fault !== undefined) throw fault;
}

let fsReadSeen = 0;

/**
 * Whether any device has been read from since this was last asked. If none was, a slow read out of
 * memory only had to wait for a processor, and nothing is to be learned about the drive.
 */
function devicesWereRead(): boolean {
  const { fsRead } = process.resourceUsage();
  const before = fsReadSeen;
  fsReadSeen = fsRead;
  return fsRead !== before;
}

/** Fills all targets, one behind another. Fewer bytes only at the file's end. */
async function readAll(open: OpenFile, targets: readonly Buffer[], at: number): Promise<number> {
  const [first] = targets;
  if (targets.length === 1) return open.file.read(first as Buffer, at);
  if (open.file.readParts !== undefined) return open.file.readParts(targets, at);
  let got = 0;
  for (const target of targets) {
    const count = await open.file.read(target, at + got);
    got += count;
    if (count < target.length) break;
  }
  return got;
}
