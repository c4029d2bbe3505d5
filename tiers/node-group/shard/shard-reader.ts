// Reads large objects back. Data lanes are read straight into place and every 64 KiB verified
// before a byte is handed out; a range touches only the blocks it needs. A lane that is missing or
// wrong is decoded, for just the columns wanted, from any k' others, and stays out for the rest of
// that read.

import type { ShardLocation } from '../../../appliance/model/location.ts';
import type { ByteRange } from '../../../appliance/model/tier.ts';
import { LARGE_UNITS, type Slot } from '../codec/arena.ts';
import { roundToGroup } from '../codec/codec.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { allEnded } from '../group/all-ended.ts';
import type { Seat } from '../drive/seat.ts';
import { bits, type GroupContext } from '../group/context.ts';
import type { LaneOrder } from '../group/lane-order.ts';
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
interface Columns {
  from: number;
  to: number;
}

/** A read may take as many times the stall time of a write. */
const READ_STALL_FACTOR = 5;

/** What a span takes from one lane, and where it goes. */
interface LanePart {
  lane: number;
  columns: Columns;
  into: Buffer;
}

export type LaneState = 'good' | keyof LaneStates;

export class ShardReader {
  readonly geometry: Geometry;
  readonly #context: GroupContext;
  readonly #location: ShardLocation;
  readonly order: LaneOrder;
  /** Lanes found wanting by this reader, and why. */
  readonly #bad = noLanes();
  #badMask = 0;
  /** Lanes of drives whose breaker is open: read only if others don't suffice. */
  #resting = 0;
  /** Reads given up on: they may still write into what they were given. */
  readonly #stuck: Promise<unknown>[] = [];

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
      else if (!seat.trusted) this.#resting |= 1 << lane;
    }
  }

  /** Leaves a lane out from here on. */
  mark(lane: number, state: LaneState): void {
    this.#badMask |= 1 << lane;
    if (state !== 'good') this.#bad[state] |= 1 << lane;
  }

  /** Lanes that could not be read where they should be. */
  get states(): Readonly<LaneStates> {
    return this.#bad;
  }

  /**
   * Fills `target` with the bytes of one stripe from `from` on (offsets within the stripe's data).
   * Errors as Tier.read.
   */
  async readSpan(stripe: number, from: number, target: Buffer): Promise<void> {
    const width = this.geometry.widthOf(stripe);
    const parts: LanePart[] = [];
    const to = from + target.length;
    for (let place = Math.floor(from / width); place * width < to; place += 1) {
      const begin = Math.max(from, place * width);
      const end = Math.min(to, (place + 1) * width);
      parts.push({
        lane: this.order.data[place] as number,
        columns: { from: begin - place * width, to: end - place * width },
        into: target.subarray(begin - from, end - from),
      });
    }
    const shunned = this.#badMask | this.#resting;
    if (parts.some(({ lane }) => (shunned >> lane) & 1)) return this.#decode(stripe, parts);
    const wrong: LanePart[] = [];
    // All have ended before anybody may reuse the target.
    await allEnded(
      parts.map(async (part) => {
        if (!(await this.#readPart(stripe, width, part))) wrong.push(part);
      }),
    );
    if (wrong.length > 0) await this.#decode(stripe, wrong);
  }

  async #readPart(stripe: number, width: number, part: LanePart): Promise<boolean> {
    const { lane, columns, into } = part;
    const whole = wholeBlocks(columns, width);
    const exact = whole.from === columns.from && whole.to === columns.to;
    const target = exact ? into : Buffer.allocUnsafe(whole.to - whole.from);
    const state = await this.readLane(stripe, lane, { columns: whole, target });
    if (state !== 'good') {
      this.mark(lane, state);
      return false;
    }
    if (!exact) into.set(target.subarray(columns.from - whole.from, columns.to - whole.from));
    return true;
  }

  /** All parts from one set of k' lanes, read once. */
  async #decode(stripe: number, parts: readonly LanePart[]): Promise<void> {
    const { codec } = this.#context;
    const whole = wholeBlocks(
      {
        from: Math.min(...parts.map(({ columns }) => columns.from)),
        to: Math.max(...parts.map(({ columns }) => columns.to)),
      },
      this.geometry.widthOf(stripe),
    );
    const large = whole.to > codec.arena.laneBytes(1);
    const slot = await codec.arena.acquire(large ? LARGE_UNITS : 1);
    try {
      const have = await this.gather(stripe, slot, whole);
      const wanted = parts.reduce((mask, { lane }) => mask | (1 << lane), 0);
      const lanes = { have, empty: this.order.empty, want: wanted & ~have };
      codec.rebuild(slot, lanes, { from: whole.from, bytes: whole.to - whole.from });
      for (const { lane, columns, into } of parts) {
        into.set((slot.lanes[lane] as Buffer).subarray(columns.from, columns.to));
      }
    } finally {
      this.release(slot);
    }
  }

  /** True once a read was given up on: no buffer that this reader was given may be used again. */
  get isStuck(): boolean {
    return this.#stuck.length > 0;
  }

  /** Gives a slot back as soon as nothing reads into it any more. */
  release(slot: Slot): void {
    const { arena } = this.#context.codec;
    if (this.#stuck.length === 0) arena.release(slot);
    else void Promise.allSettled(this.#stuck).then(() => arena.release(slot));
  }

  /** Waits for a read, but not for ever: a drive that hangs rests, and the caller may come again. */
  async #timely<T>(read: Promise<T>, seat: Seat): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        this.#stuck.push(read);
        seat.rest('a read did not end in time');
        reject(
          new FirnError('DriveUnavailable', 'A drive does not answer', {
            subject: seat.drive.path,
            hint: 'try again: its bytes are decoded from the others then',
            retryable: true,
          }),
        );
      }, this.#context.settings.stallMs * READ_STALL_FACTOR);
    });
    try {
      return await Promise.race([read, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Reads k' verified lanes of a stripe into a slot; which ones. Throws as Tier.read. */
  async gather(stripe: number, slot: Slot, columns: Columns): Promise<number> {
    const need = this.geometry.dataLanes;
    let have = 0;
    while (bits(have) < need) {
      const next = this.#candidates(have).slice(0, need - bits(have));
      if (next.length === 0) {
        throw unreadable(this.#location, { ...this.#bad, good: have }, need);
      }
      const states = await allEnded(
        next.map((other) => {
          const target = (slot.lanes[other] as Buffer).subarray(columns.from, columns.to);
          return this.readLane(stripe, other, { columns, target });
        }),
      );
      for (const [i, other] of next.entries()) {
        if (states[i] === 'good') have |= 1 << other;
        else this.mark(other, states[i] as LaneState);
      }
    }
    return have;
  }

  /** Lanes to decode from: those the write was not sure of and resting drives come last. */
  #candidates(taken: number): number[] {
    const usable = (this.order.inUse | this.order.lost) & ~this.#badMask & ~taken;
    const lanes: number[] = [];
    for (let lane = 0; usable >> lane !== 0; lane += 1) if ((usable >> lane) & 1) lanes.push(lane);
    const rank = (lane: number): number => {
      const seat = this.#context.seats[this.order.positions[lane] as number] as Seat;
      return ((this.#location.unconfirmed >> lane) & 1) + (seat.trusted ? 0 : 1);
    };
    return lanes.toSorted((a, b) => rank(a) - rank(b) || a - b);
  }

  /** Reads and verifies a stretch of one lane. */
  async readLane(
    stripe: number,
    lane: number,
    what: { columns: Columns; target: Buffer },
  ): Promise<LaneState> {
    const { shardFiles, seats } = this.#context;
    const position = this.order.positions[lane] as number;
    const seat = seats[position] as Seat;
    let open: OpenFile;
    try {
      open = await shardFiles.use(position, this.#location.id);
    } catch (error) {
      if (isAbsent(error)) return 'absent';
      seat.readFailed(error);
      return 'down';
    }
    try {
      const footer = await this.#timely(this.footer(open, lane), seat);
      if (footer === undefined) return 'damaged';
      if (what.target.length === 0) return 'good';
      const at = this.geometry.startOf(stripe) + what.columns.from;
      const count = await this.#timely(open.file.read(what.target, at), seat);
      const first = this.geometry.blockOf(stripe) + what.columns.from / BLOCK_BYTES;
      const right = count === what.target.length && blocksRight(what.target, footer.table, first);
      return right ? 'good' : 'damaged';
    } catch (error) {
      if (error instanceof FirnError) throw error;
      seat.readFailed(error);
      return 'down';
    } finally {
      shardFiles.release(open);
    }
  }

  /**
   * The file's footer, read once while the file stays open. Undefined: not this object's, or
   * damaged.
   */
  async footer(open: OpenFile, lane: number): Promise<ShardFooter | undefined> {
    if (open.memo !== undefined) return open.memo as ShardFooter;
    const { footerBytes, footerStart, length } = this.geometry;
    const bytes = Buffer.allocUnsafe(footerBytes);
    if ((await open.file.read(bytes, footerStart)) !== footerBytes) return undefined;
    const footer = readFooter(bytes);
    if (footer === undefined || footer.id !== this.#location.id || footer.lane !== lane) {
      return undefined;
    }
    if (footer.length !== length) return undefined;
    open.memo = footer;
    return footer;
  }

  /**
   * Finds out whether enough lanes can be opened before the first byte is promised. Throws as
   * Tier.read.
   */
  async probe(): Promise<void> {
    const need = this.geometry.dataLanes;
    let good = 0;
    for (;;) {
      const next = this.#candidates(good).slice(0, need - bits(good));
      if (next.length === 0) {
        if (bits(good) >= need) return;
        throw unreadable(this.#location, { ...this.#bad, good }, need);
      }
      const none = { columns: { from: 0, to: 0 }, target: Buffer.alloc(0) };
      const states = await allEnded(next.map((lane) => this.readLane(0, lane, none)));
      for (const [i, lane] of next.entries()) {
        if (states[i] === 'good') good |= 1 << lane;
        else this.mark(lane, states[i] as LaneState);
      }
    }
  }

  /** A range, whole, as bytes that the caller owns: for small ones. */
  async readRange(range: ByteRange): Promise<Buffer> {
    const out = Buffer.allocUnsafe(range.length);
    for (let at = 0; at < range.length;) {
      const { stripe, from, length } = this.spanAt(range.offset + at, range.length - at);
      await this.readSpan(stripe, from, out.subarray(at, at + length));
      at += length;
    }
    return out;
  }

  /** What of a range lies in the stripe in which it begins. */
  spanAt(offset: number, length: number): { stripe: number; from: number; length: number } {
    const { stripeData } = this.geometry;
    const stripe = Math.floor(offset / stripeData);
    const from = offset - stripe * stripeData;
    return { stripe, from, length: Math.min(length, stripeData - from) };
  }
}

/** Rounded out to what a checksum covers. */
function wholeBlocks(columns: Columns, width: number): Columns {
  const from = Math.floor(columns.from / BLOCK_BYTES) * BLOCK_BYTES;
  const to = Math.min(width, Math.ceil(columns.to / BLOCK_BYTES) * BLOCK_BYTES);
  return { from, to: Math.max(from, roundToGroup(to)) };
}
