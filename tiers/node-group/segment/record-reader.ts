// Reads one small object back: one read of one drive, its own checksum and name verified. When that
// fails or the drive is away, the same stretch of the other lanes is read and decoded; the record's
// checksum proves the result, so no whole piece need be read. Only when that too fails are whole
// pieces verified one by one, which finds the right bytes as long as k lanes of the batch are
// right.

import type { SegmentLocation } from '../../../appliance/model/location.ts';
import { LARGE_UNITS } from '../codec/arena.ts';
import { roundToGroup } from '../codec/codec.ts';
import type { GroupContext } from '../group/context.ts';
import type { Seat } from '../drive/seat.ts';
import { endsIn } from '../group/ends-in.ts';
import { hedged } from '../group/hedge.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import { READ_STALL_FACTOR } from '../group/ends-in.ts';
import { noLanes, unreadable, type LaneStates } from '../group/missing.ts';
import type { OpenFile } from '../group/open-files.ts';
import {
  findHead,
  isHead,
  lanesInUse,
  loadLanes,
  readPiece,
  rebuildLanes,
  slotFor,
} from './batch.ts';
import { bodyOfRecord, parityBytes, PIECE_HEAD_BYTES, RECORD_HEAD_BYTES } from './format.ts';

/** Up to this size a read of bytes touched lately blocks this thread for a few µs: 4 against 20. */
const BLOCKING_BYTES_MAX = 16 * 1024;
const SLAB_BYTES = 128 * 1024;
const TOUCHED_MS_MAX = 60_000;

export class RecordReader {
  readonly #context: GroupContext;
  #slab = Buffer.alloc(0);
  #taken = 0;

  constructor(context: GroupContext) {
    this.#context = context;
  }

  /** The whole object, verified; the caller owns the bytes. Errors as Tier.read. */
  read(location: SegmentLocation): Promise<Buffer> {
    const order = this.#context.orders.of(location.segment, location.away ?? 0);
    const position = order.positions[location.lane] as number;
    const open = this.#context.segmentFiles.peek(position, location.segment);
    if (open !== undefined) {
      const body = this.#readNow(location, position, open);
      if (body !== undefined) return Promise.resolve(body);
    }
    return this.#read(location, order);
  }

  /** Small answers are cut from slabs: a buffer of its own costs more than the read (2 µs). */
  #slice(size: number): Buffer {
    if (this.#slab.length - this.#taken < size) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#taken = 0;
    }
    const bytes = this.#slab.subarray(this.#taken, this.#taken + size);
    this.#taken += (size + 7) & ~7;
    return bytes;
  }

  #readNow(location: SegmentLocation, position: number, open: OpenFile): Buffer | undefined {
    const size = RECORD_HEAD_BYTES + location.length;
    if (size > BLOCKING_BYTES_MAX) return undefined;
    const seat = this.#context.seats[position] as Seat;
    const at = location.batch + PIECE_HEAD_BYTES + location.offset;
    const begun = performance.now();
    if (begun - open.touchedAt(at) > TOUCHED_MS_MAX) return undefined;
    if (!seat.trusted || !seat.blocking.allowed(begun)) return undefined;
    const bytes = this.#slice(size);
    let count: number;
    try {
      count = open.file.readNow(bytes, at);
    } catch (error) {
      seat.readFailed(error, whereOf(location));
      return undefined;
    }
    open.usedAt = performance.now();
    seat.blocking.took(open.usedAt - begun, open.usedAt);
    return count === size ? bodyOfRecord(bytes, location) : undefined;
  }

  async #read(location: SegmentLocation, order: LaneOrder): Promise<Buffer> {
    const seat = this.#context.seats[order.positions[location.lane] as number] as Seat;
    if (seat.trusted) {
      const body = await hedged(
        {
          first: () => this.#direct(location, seat),
          second: () => this.#decoded(location, order),
          overtaken: () => seat.overtaken(),
          hopelessMs: READ_STALL_FACTOR * this.#context.settings.stallMs,
          hopeless: () => seat.rest('a read did not end in time'),
        },
        this.#context.hedge,
      );
      if (body !== undefined) return body;
    }
    const decoded = await this.#decoded(location, order);
    return decoded ?? this.#verified(location, order);
  }

  async #direct(location: SegmentLocation, seat: Seat): Promise<Buffer | undefined> {
    const { segmentFiles } = this.#context;
    let open: OpenFile;
    try {
      open = await segmentFiles.use(seat.position, location.segment);
    } catch (error) {
      seat.readFailed(error, whereOf(location));
      return undefined;
    }
    try {
      const bytes = Buffer.allocUnsafe(RECORD_HEAD_BYTES + location.length);
      const at = location.batch + PIECE_HEAD_BYTES + location.offset;
      const count = await open.file.read(bytes, at);
      open.touchSpan(at, at + bytes.length, performance.now());
      return count === bytes.length ? bodyOfRecord(bytes, location) : undefined;
    } catch (error) {
      seat.readFailed(error, whereOf(location));
      return undefined;
    } finally {
      segmentFiles.release(open);
    }
  }

  /** From the same stretch of other lanes, unverified but for the outcome. */
  async #decoded(location: SegmentLocation, order: LaneOrder): Promise<Buffer | undefined> {
    const { codec, code, seats } = this.#context;
    const from = Math.floor(location.offset / 64) * 64;
    const to = location.offset + RECORD_HEAD_BYTES + location.length;
    const span = { from, bytes: roundToGroup(to - from) };
    const candidates = (order.inUse | order.lost) & ~location.empty & ~(1 << location.lane);
    const need = bitsOfData(code.k, location.empty);
    const slot = await codec.arena.acquire(
      roundToGroup(to) > codec.arena.laneBytes(1) ? LARGE_UNITS : 1,
    );
    let asked: Asked[] = [];
    try {
      // Lanes that were not durable at the write come last, then those of drives that rest.
      const lanes = order.positions
        .map((_, lane) => lane)
        .filter((lane) => ((candidates >> lane) & 1) === 1)
        .map((lane) => ({ lane, seat: seats[order.positions[lane] as number] as Seat }))
        .filter(({ seat }) => seat.present)
        .toSorted((a, b) => rank(location, a) - rank(location, b) || a.lane - b.lane);
      const start = ({ lane, seat }: { lane: number; seat: Seat }): Promise<boolean> => {
        const target = (slot.lanes[lane] as Buffer).subarray(from, from + span.bytes);
        return this.#stretch(location, seat.position, { target, from });
      };
      asked = lanes.map((one) => ({ lane: one.lane, start: () => start(one), isLate: false }));
      const have = await this.#enough(asked, need);
      const want = 1 << location.lane;
      if (!codec.rebuild(slot, { have, empty: location.empty, want }, span)) return undefined;
      const lane = slot.lanes[location.lane] as Buffer;
      return bodyOfRecord(Buffer.from(lane.subarray(location.offset, to)), location);
    } finally {
      // A drive that hangs may still write into it.
      const left = asked.filter(({ done, isFine }) => done !== undefined && isFine === undefined);
      if (left.length === 0) codec.arena.release(slot);
      else void Promise.all(left.map(whenDone)).then(() => codec.arena.release(slot));
    }
  }

  /** Asks lanes until `need` are there, further ones for those that fail or are late: which. */
  async #enough(all: readonly Asked[], need: number): Promise<number> {
    const fresh = [...all];
    for (;;) {
      const under = all.filter(({ done, isFine }) => done !== undefined && isFine === undefined);
      const fine = all.filter(({ isFine }) => isFine === true);
      if (fine.length >= need) return fine.reduce((mask, { lane }) => mask | (1 << lane), 0);
      const hoped = under.filter(({ isLate }) => !isLate).length;
      for (const one of fresh.splice(0, Math.max(0, need - fine.length - hoped))) {
        one.done = one.start().then((isFine) => {
          one.isFine = isFine;
        });
        under.push(one);
      }
      if (under.length === 0) return 0;
      const waited = under.filter(({ isLate }) => !isLate);
      if (waited.length === 0) {
        await Promise.race(under.map(whenDone));
        continue;
      }
      const ms = 2 * this.#context.hedge.afterMs;
      if (await endsIn(Promise.all(waited.map(whenDone)), ms)) continue;
      for (const one of waited) one.isLate = one.isFine === undefined;
    }
  }

  /** Behind the end of a file all bytes count as zeros. */
  async #stretch(
    location: SegmentLocation,
    position: number,
    into: { target: Buffer; from: number },
  ): Promise<boolean> {
    const start = location.batch + PIECE_HEAD_BYTES + into.from;
    const at = { position, segment: location.segment, start };
    const count = await readPiece(this.#context, at, into.target);
    if (typeof count !== 'number') return false;
    into.target.fill(0, count);
    return true;
  }

  /** From whole pieces, each verified. */
  async #verified(location: SegmentLocation, order: LaneOrder): Promise<Buffer> {
    const { code, codec } = this.#context;
    const need = bitsOfData(code.k, location.empty);
    const found = await findHead(this.#context, {
      segment: location.segment,
      start: location.batch,
    });
    if (!isHead(found)) throw unreadable(location, await this.#traces(location, order), need);
    const slot = await slotFor(this.#context, found.head);
    try {
      const states = await loadLanes(this.#context, found, slot, lanesInUse(found) | order.lost);
      const want = 1 << location.lane;
      const right = (states.good & want) !== 0;
      if (!right && !rebuildLanes(this.#context, found, slot, { good: states.good, want })) {
        throw unreadable(location, states, need);
      }
      const lane = slot.lanes[location.lane] as Buffer;
      const end = location.offset + RECORD_HEAD_BYTES + location.length;
      if (end <= parityBytes(found.head.lengths)) {
        const body = bodyOfRecord(Buffer.from(lane.subarray(location.offset, end)), location);
        if (body !== undefined) return body;
      }
      // Right pieces with a wrong record: it was damaged before it was written.
      throw unreadable(location, { ...noLanes(), damaged: states.good }, need);
    } finally {
      codec.arena.release(slot);
    }
  }

  /** No head is right: is there anything at all where the pieces should be? */
  async #traces(location: SegmentLocation, order: LaneOrder): Promise<LaneStates> {
    const states = noLanes();
    await Promise.all(
      order.positions.map(async (position, lane) => {
        if (((order.inUse >> lane) & 1) === 0) return;
        const bytes = Buffer.alloc(TRACE_BYTES);
        const at = { position, segment: location.segment, start: location.batch };
        const count = await readPiece(this.#context, at, bytes);
        if (count === 'down') states.down |= 1 << lane;
        else if (count === 'absent' || bytes.readUInt32LE(0) === 0) states.absent |= 1 << lane;
        else states.damaged |= 1 << lane;
      }),
    );
    return states;
  }
}

const TRACE_BYTES = 4;

/** As seats count failed reads: asked for again and again, one bad sector stays one. */
const whereOf = ({ segment, batch }: SegmentLocation): string => `${segment}/${batch}`;

/** A lane whose stretch is or may be asked for. */
interface Asked {
  lane: number;
  start: () => Promise<boolean>;
  isLate: boolean;
  /** Never rejects; undefined: not asked. */
  done?: Promise<void>;
  /** Undefined until it is done. */
  isFine?: boolean;
}

const whenDone = ({ done }: Asked): Promise<void> => done ?? Promise.resolve();

const rank = (location: SegmentLocation, { lane, seat }: { lane: number; seat: Seat }): number =>
  ((location.unconfirmed >> lane) & 1) + (seat.trusted ? 0 : 2);

/** k' of this batch: data lanes that hold bytes. */
function bitsOfData(k: number, empty: number): number {
  let count = 0;
  for (let lane = 0; lane < k; lane += 1) if (((empty >> lane) & 1) === 0) count += 1;
  return count;
}
