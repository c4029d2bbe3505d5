// Reads large objects back. Data lanes are read straight into place and every 64 KiB verified
// before a byte is handed out; a range touches only the blocks it needs. A lane that is missing,
// wrong or late is decoded, for just the columns wanted, from any k' others, and stays out for the
// rest of that read. Several stripes are read by one call a lane (64 MiB: 64 calls instead of 256).

import type { ShardLocation } from '../../../appliance/model/location.ts';
import type { ByteRange } from '../../../appliance/model/tier.ts';
import { LARGE_UNITS, type Slot } from '../codec/arena.ts';
import { roundToGroup } from '../codec/codec.ts';
import type { GroupContext } from '../group/context.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import type { OpenFile } from '../group/open-files.ts';
import { BLOCK_BYTES, type Geometry, type ShardFooter } from './format.ts';
import {
  LaneReads,
  throwFault,
  type Columns,
  type LaneRun,
  type LaneState,
  type Stretch,
} from './lane-reads.ts';

/** Bytes of one stripe from `from` on (offset within the stripe's data), and where they go. */
export interface Span {
  stripe: number;
  from: number;
  target: Buffer;
}

/** A span that was read. */
export interface Filled {
  /** The target, or other bytes where something may still write into that. */
  bytes: Buffer;
  /** Then the target may be used again; undefined: now. */
  busy: Promise<unknown> | undefined;
}

/** What a span takes from one lane, and where it goes. */
interface LanePart {
  span: number;
  stripe: number;
  lane: number;
  columns: Columns;
  /** Offset in the span's target. */
  at: number;
}

export class ShardReader {
  readonly #context: GroupContext;
  readonly #lanes: LaneReads;
  /** Runs that were given up and may still write into a slot. */
  readonly #late = new Map<Slot, LaneRun[]>();
  /** All runs into targets that had not ended when last looked at. */
  #running: LaneRun[] = [];

  constructor(context: GroupContext, location: ShardLocation) {
    this.#context = context;
    this.#lanes = new LaneReads(context, location);
  }

  get geometry(): Geometry {
    return this.#lanes.geometry;
  }

  get order(): LaneOrder {
    return this.#lanes.order;
  }

  /** Leaves a lane out from here on. */
  mark(lane: number, state: LaneState): void {
    this.#lanes.mark(lane, state);
  }

  footer(open: OpenFile, lane: number): Promise<ShardFooter | undefined> {
    return this.#lanes.footer(open, lane);
  }

  #partsOf({ stripe, from, target }: Span, span: number): LanePart[] {
    const width = this.geometry.widthOf(stripe);
    const parts: LanePart[] = [];
    const to = from + target.length;
    for (let place = Math.floor(from / width); place * width < to; place += 1) {
      const begin = Math.max(from, place * width);
      const end = Math.min(to, (place + 1) * width);
      parts.push({
        span,
        stripe,
        lane: this.order.data[place] as number,
        columns: { from: begin - place * width, to: end - place * width },
        at: begin - from,
      });
    }
    return parts;
  }

  /**
   * Fills the spans, which lie one behind another in the object. Errors as Tier.read; then `quiet`
   * tells when the targets may be used again.
   */
  async readSpans(spans: readonly Span[]): Promise<Filled[]> {
    const parts = spans.flatMap((span, i) => this.#partsOf(span, i));
    const byLane = new Map<number, LanePart[]>();
    const wanting: LanePart[] = [];
    for (const part of parts) {
      if (this.#lanes.shuns(part.lane)) wanting.push(part);
      else byLane.set(part.lane, [...(byLane.get(part.lane) ?? []), part]);
    }
    const runs: LaneRun[] = [];
    // Where others have to be read anyway, a lane is read once: with them.
    if (wanting.length > 0) wanting.splice(0, Infinity, ...parts);
    else for (const [lane, own] of byLane) runs.push(this.#startParts(lane, own, spans));
    this.#running.push(...runs);
    await this.#lanes.await(runs);
    this.#running = this.#running.filter(isBusy);
    throwFault(runs);
    for (const { lane, state } of runs) {
      if (state !== 'good') wanting.push(...(byLane.get(lane) as LanePart[]));
    }
    if (wanting.length === 0)
      return spans.map(({ target }) => ({ bytes: target, busy: undefined }));
    return this.#around(spans, { parts, wanting, late: runs.filter(isBusy) });
  }

  /** One call for all parts of a lane; parts that are not whole blocks are read beside their place. */
  #startParts(lane: number, parts: readonly LanePart[], spans: readonly Span[]): LaneRun {
    const copies: (() => void)[] = [];
    const taken: Buffer[] = [];
    const stretches = parts.map(({ span, stripe, columns, at }): Stretch => {
      const { target } = spans[span] as Span;
      const into = target.subarray(at, at + columns.to - columns.from);
      const whole = wholeBlocks(columns, this.geometry.widthOf(stripe));
      if (whole.from === columns.from && whole.to === columns.to) {
        return { stripe, columns, target: into };
      }
      const beside = takeBuffer(whole.to - whole.from);
      taken.push(beside);
      copies.push(() => {
        into.set(beside.subarray(columns.from - whole.from, columns.to - whole.from));
      });
      return { stripe, columns: whole, target: beside };
    });
    const run = this.#lanes.start(lane, stretches);
    if (copies.length === 0) return run;
    const decided = run.decided.then(() => {
      if (run.state === 'good' && !run.late) for (const copy of copies) copy();
    });
    run.decided = decided;
    // A read that hangs keeps its buffer for good.
    void Promise.all([decided, run.ended]).then(() => giveBuffers(taken));
    return run;
  }

  /** Decodes what is wanting. Bytes that a late read may still write are put elsewhere. */
  async #around(
    spans: readonly Span[],
    { parts, wanting, late }: { parts: LanePart[]; wanting: LanePart[]; late: LaneRun[] },
  ): Promise<Filled[]> {
    const busy = late.length === 0 ? undefined : Promise.all(late.map(({ ended }) => ended));
    const filled = spans.map(({ target }) => ({
      bytes: busy === undefined ? target : Buffer.allocUnsafeSlow(target.length),
      busy,
    }));
    if (busy !== undefined) {
      for (const part of parts) {
        if (wanting.includes(part)) continue;
        const [from, to] = [part.at, part.at + part.columns.to - part.columns.from];
        const { target } = spans[part.span] as Span;
        (filled[part.span] as Filled).bytes.set(target.subarray(from, to), from);
      }
    }
    await this.#decodeAll(wanting, filled);
    this.#lanes.overtook(late);
    return filled;
  }

  /** As many stripes at once as one slot holds, and memory allows. */
  async #decodeAll(wanting: readonly LanePart[], into: readonly Filled[]): Promise<void> {
    const { arena } = this.#context.codec;
    const stripes = [...new Set(wanting.map(({ stripe }) => stripe))];
    const widest = Math.max(...stripes.map((stripe) => this.geometry.widthOf(stripe)));
    while (stripes.length > 0) {
      const isWide = widest > arena.laneBytes(1);
      const wide = isWide || stripes.length > 1 ? arena.tryAcquire(LARGE_UNITS) : undefined;
      const slot = wide ?? (await arena.acquire(isWide ? LARGE_UNITS : 1));
      const batch = stripes.splice(0, Math.max(1, Math.floor(slot.laneBytes / widest)));
      try {
        await this.#decode(
          slot,
          wanting.filter(({ stripe }) => batch.includes(stripe)),
          into,
        );
      } finally {
        this.release(slot);
      }
    }
  }

  /** Where each stripe's columns lie in a slot. */
  #layOut(parts: readonly LanePart[]): Row[] {
    const rows: Row[] = [];
    let at = 0;
    for (const stripe of new Set(parts.map((part) => part.stripe))) {
      const own = parts.filter((part) => part.stripe === stripe);
      const from = Math.min(...own.map(({ columns }) => columns.from));
      const to = Math.max(...own.map(({ columns }) => columns.to));
      const columns = wholeBlocks({ from, to }, this.geometry.widthOf(stripe));
      rows.push({ stripe, columns, at });
      at += columns.to - columns.from;
    }
    return rows;
  }

  /** All parts from one set of k' lanes, read once. */
  async #decode(slot: Slot, parts: readonly LanePart[], into: readonly Filled[]): Promise<void> {
    const rows = this.#layOut(parts);
    const stretches = (lane: number): Stretch[] =>
      rows.map(({ stripe, columns, at }) => {
        const end = at + columns.to - columns.from;
        return { stripe, columns, target: (slot.lanes[lane] as Buffer).subarray(at, end) };
      });
    const have = await this.#gatherInto(slot, stretches);
    this.#rebuild(slot, { rows, parts, have });
    for (const part of parts) this.#copyOut(slot, { rows, part, into });
  }

  #rebuild(
    slot: Slot,
    of: { rows: readonly Row[]; parts: readonly LanePart[]; have: number },
  ): void {
    const { rows, parts, have } = of;
    const wanted = parts.reduce((mask, { lane }) => mask | (1 << lane), 0);
    const last = rows.at(-1) as Row;
    const bytes = last.at + last.columns.to - last.columns.from;
    const lanes = { have, empty: this.order.empty, want: wanted & ~have };
    this.#context.codec.rebuild(slot, lanes, { from: 0, bytes });
  }

  #copyOut(
    slot: Slot,
    { rows, part, into }: { rows: readonly Row[]; part: LanePart; into: readonly Filled[] },
  ): void {
    const row = rows.find(({ stripe }) => stripe === part.stripe) as Row;
    const from = row.at + part.columns.from - row.columns.from;
    const bytes = (slot.lanes[part.lane] as Buffer).subarray(
      from,
      from + part.columns.to - part.columns.from,
    );
    (into[part.span] as Filled).bytes.set(bytes, part.at);
  }

  /**
   * The same for one span, without leaving the thread, where all of it is likely in memory. False:
   * the target holds nothing of use.
   */
  readNow(span: Span): boolean {
    const parts = this.#partsOf(span, 0);
    const { stripe, target } = span;
    if (parts.some(({ lane }) => this.#lanes.shuns(lane))) return this.#decodeNow(parts, target);
    const width = this.geometry.widthOf(stripe);
    return parts.every(({ lane, columns, at }) => {
      const whole = wholeBlocks(columns, width);
      const into = target.subarray(at, at + columns.to - columns.from);
      if (whole.from === columns.from && whole.to === columns.to) {
        return this.#lanes.readNow(lane, { stripe, columns, target: into });
      }
      const beside = takeBuffer(whole.to - whole.from);
      const read = this.#lanes.readNow(lane, { stripe, columns: whole, target: beside });
      into.set(beside.subarray(columns.from - whole.from, columns.to - whole.from));
      giveBuffers([beside]);
      return read;
    });
  }

  #decodeNow(parts: readonly LanePart[], target: Buffer): boolean {
    const rows = this.#layOut(parts);
    const { stripe, columns } = rows[0] as Row;
    const { arena } = this.#context.codec;
    const bytes = columns.to - columns.from;
    const slot = arena.tryAcquire(bytes > arena.laneBytes(1) ? LARGE_UNITS : 1);
    if (slot === undefined) return false;
    try {
      const lanes = this.#lanes.candidates(0).slice(0, this.geometry.dataLanes);
      const read = lanes.every((lane) =>
        this.#lanes.readNow(lane, {
          stripe,
          columns,
          target: (slot.lanes[lane] as Buffer).subarray(0, bytes),
        }),
      );
      if (!read || lanes.length < this.geometry.dataLanes) return false;
      const have = lanes.reduce((mask, lane) => mask | (1 << lane), 0);
      this.#rebuild(slot, { rows, parts, have });
      const into = [{ bytes: target, busy: undefined }];
      for (const part of parts) this.#copyOut(slot, { rows, part, into });
      return true;
    } finally {
      arena.release(slot);
    }
  }

  /** Gives a slot back as soon as nothing reads into it any more. */
  release(slot: Slot): void {
    const { arena } = this.#context.codec;
    const late = this.#late.get(slot)?.filter(isBusy) ?? [];
    this.#late.delete(slot);
    if (late.length === 0) arena.release(slot);
    else void Promise.all(late.map(({ ended }) => ended)).then(() => arena.release(slot));
  }

  /** Resolves once nothing writes into any target. */
  async quiet(): Promise<void> {
    await Promise.all(this.#running.map(({ ended }) => ended));
  }

  /** Reads k' verified lanes of a stripe into a slot; which ones. Throws as Tier.read. */
  async gather(stripe: number, slot: Slot, columns: Columns): Promise<number> {
    return this.#gatherInto(slot, (lane) => {
      const target = (slot.lanes[lane] as Buffer).subarray(columns.from, columns.to);
      return [{ stripe, columns, target }];
    });
  }

  async #gatherInto(slot: Slot, stretches: (lane: number) => readonly Stretch[]): Promise<number> {
    const runs: LaneRun[] = [];
    try {
      const startLane = (lane: number): LaneRun => this.#lanes.start(lane, stretches(lane));
      return await this.#lanes.gather(startLane, runs);
    } finally {
      this.#late.set(slot, runs.filter(isBusy));
    }
  }

  /** Reads and verifies a stretch of one lane. The target stays the read's own if that is `down`. */
  async readLane(
    stripe: number,
    lane: number,
    what: { columns: Columns; target: Buffer },
  ): Promise<LaneState> {
    const run = this.#lanes.start(lane, [{ stripe, ...what }]);
    await run.decided;
    throwFault([run]);
    return run.state as LaneState;
  }

  /**
   * Finds out whether enough lanes can be opened before the first byte is promised. Throws as
   * Tier.read.
   */
  async probe(): Promise<void> {
    await this.#lanes.gather((lane) => this.#lanes.start(lane, []), []);
  }

  /** A range, whole, as bytes that the caller owns: for small ones. */
  async readRange(range: ByteRange): Promise<Buffer> {
    const out = Buffer.allocUnsafe(range.length);
    const spans: Span[] = [];
    for (let at = 0; at < range.length;) {
      const { stripe, from, length } = this.spanAt(range.offset + at, range.length - at);
      spans.push({ stripe, from, target: out.subarray(at, at + length) });
      at += length;
    }
    const [only] = spans;
    if (only !== undefined && spans.length === 1 && this.readNow(only)) return out;
    const filled = await this.readSpans(spans);
    if (filled.every(({ busy }) => busy === undefined)) return out;
    return Buffer.concat(filled.map(({ bytes }) => bytes));
  }

  /** What of a range lies in the stripe in which it begins. */
  spanAt(offset: number, length: number): { stripe: number; from: number; length: number } {
    const { stripeData } = this.geometry;
    const stripe = Math.floor(offset / stripeData);
    const from = offset - stripe * stripeData;
    return { stripe, from, length: Math.min(length, stripeData - from) };
  }
}

/**
 * Blocks around small ranges are read into buffers that are used again: fresh memory for each cost
 * a quarter of a range of 4 KiB, most of it in collecting it.
 */
const free: Buffer[] = [];
const FREE_MAX = 32;

function takeBuffer(bytes: number): Buffer {
  if (bytes > BLOCK_BYTES) return Buffer.allocUnsafe(bytes);
  return (free.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)).subarray(0, bytes);
}

/** Nothing reads into them, and nobody looks at them any more. */
function giveBuffers(buffers: readonly Buffer[]): void {
  for (const { buffer, byteOffset, byteLength } of buffers) {
    if (byteLength > BLOCK_BYTES || free.length >= FREE_MAX) continue;
    free.push(Buffer.from(buffer, byteOffset, BLOCK_BYTES));
  }
}

/** Columns of a stripe, and where they begin in each lane of a slot. */
interface Row {
  stripe: number;
  columns: Columns;
  at: number;
}

/** It may still write into its targets. */
const isBusy = ({ done }: LaneRun): boolean => !done;

/** Rounded out to what a checksum covers. */
function wholeBlocks(columns: Columns, width: number): Columns {
  const from = Math.floor(columns.from / BLOCK_BYTES) * BLOCK_BYTES;
  const to = Math.min(width, Math.ceil(columns.to / BLOCK_BYTES) * BLOCK_BYTES);
  return { from, to: Math.max(from, roundToGroup(to)) };
}
