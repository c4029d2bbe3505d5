// Writes one large object as a shard file a drive: bytes are copied from the socket's chunks
// straight into the lanes of a slot, each stripe coded and summed there while it is in the cache,
// and written from there. A slot takes as many stripes as fit its lanes, four where memory
// allows: a quarter of the calls, and a third less CPU a write. Several slots an object (one
// fills while others are written), one write in flight a file. The files stand under temporary
// names until all their bytes are durable; then they get their name, and the name is made durable
// too, because a synced file whose directory is not synced may come back nameless.

import { FirnError } from '../../../appliance/model/errors.ts';
import type { DriveFile } from '../../../appliance/model/drive.ts';
import { MiB } from '../../../appliance/model/limits.ts';
import type { ShardLocation } from '../../../appliance/model/location.ts';
import type { Stored } from '../../../appliance/model/tier.ts';
import { ChecksumStream } from '../../checksum.ts';
import { LARGE_UNITS, type Slot } from '../codec/arena.ts';
import { roundToGroup } from '../codec/codec.ts';
import { TEMPORARY } from '../drive/identity.ts';
import type { Seat } from '../drive/seat.ts';
import { awayNow, tooFewDrives, type GroupContext } from '../group/context.ts';
import { endsIn } from '../group/ends-in.ts';
import { inTime, type Peers } from '../group/in-time.ts';
import { settleLanes, type Durability, type LaneWrite } from '../group/durable.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import { DIRECT_FROM, STRIPE_BYTES, STRIPE_LARGE_BYTES, STRIPE_LARGE_FROM } from '../settings.ts';
import {
  blockTable,
  pieceBytes,
  shardDirectory,
  shardPath,
  writeFooter,
  writeHead,
} from './format.ts';

export interface ShardPut {
  id: string;
  owner: string;
  sizeBytes?: number | undefined;
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  signal?: AbortSignal | undefined;
}

interface Lane {
  lane: number;
  seat: Seat;
  file: DriveFile;
  temporary: string;
  /** End of what was written or is being written. */
  end: number;
  tail: Promise<void>;
  /** Past the page cache: each write is on its way to the drive by itself. */
  direct: boolean;
  /** Up to where a sync was begun. */
  syncEnd: number;
  /** The syncs begun before the last one; rejects with whichever failed. */
  synced: Promise<void>;
  tables: Buffer[];
  failed: boolean;
  named: boolean;
}

interface Flight {
  slot: Slot;
  outcome: Promise<Durability>;
}

/** Bytes stream in long bursts, where a drive may well pause for a moment. */
const STALL_FACTOR = 5;
const SLOTS_MAX = 3;
/** Units that nobody takes who could do with less: for small objects, and for who comes next. */
const UNITS_SPARED = 8;
/** Of a lane, in the page cache before they are sent to the drive. */
const SYNC_EARLY_BYTES = 2 * MiB;
let serial = 0;
/** Large objects being written by this process. */
let underWay = 0;

export class ShardWriter {
  readonly #context: GroupContext;
  readonly #put: ShardPut;
  /** Units that a stripe needs. */
  readonly #units: number;
  readonly #stripeBytes: number;
  readonly #width: number;
  readonly #sum = new ChecksumStream();
  #order!: LaneOrder;
  #away = 0;
  #lanes: Lane[] = [];
  #slot: Slot | undefined;
  #flights: Flight[] = [];
  #total = 0;
  /** Of the current slot, where each lane's piece of the current stripe begins. */
  #from = 0;
  /** Bytes in the current stripe. */
  #filled = 0;

  constructor(context: GroupContext, put: ShardPut) {
    this.#context = context;
    this.#put = put;
    const large = put.sizeBytes !== undefined && put.sizeBytes > STRIPE_LARGE_FROM;
    this.#units = large ? LARGE_UNITS : 1;
    this.#width = pieceBytes(large ? STRIPE_LARGE_BYTES : STRIPE_BYTES, context.code);
    this.#stripeBytes = this.#width * context.code.k;
  }

  /**
   * Resolves once k'+1 files and their names are durable. On a throw nothing stands under the name.
   */
  async run(): Promise<Stored> {
    underWay += 1;
    try {
      await this.#open();
      for await (const chunk of this.#put.chunks) await this.#add(chunk);
      this.#put.signal?.throwIfAborted();
      if (this.#put.sizeBytes !== undefined && this.#total !== this.#put.sizeBytes) {
        throw wrongLength(this.#put.sizeBytes, this.#total);
      }
      return await this.#finish();
    } catch (error) {
      await this.#undo();
      throw error;
    } finally {
      underWay -= 1;
      this.#leave();
    }
  }

  get #dataLanes(): number {
    return this.#order.data.length;
  }

  async #open(): Promise<void> {
    const { context, put } = { context: this.#context, put: this.#put };
    for (;;) {
      this.#away = awayNow(context);
      this.#order = context.orders.of(put.id, this.#away);
      const wanted = this.#order.positions
        .map((position, lane) => ({ lane, seat: context.seats[position] as Seat }))
        .filter(({ lane }) => ((this.#order.inUse >> lane) & 1) === 1);
      const peers: Peers = { done: 0, need: wanted.length / 2 };
      const made = await Promise.all(
        wanted.map(({ lane, seat }) => this.#create(lane, seat, peers)),
      );
      const lanes = made.filter((lane) => lane !== undefined);
      this.#lanes = lanes;
      if (lanes.length === wanted.length) return;
      await this.#undo();
    }
  }

  async #create(lane: number, seat: Seat, peers: Peers): Promise<Lane | undefined> {
    serial += 1;
    const temporary = `${TEMPORARY}/${this.#context.nonce}-${serial}`;
    try {
      const { directWrites, stallMs } = this.#context.settings;
      // Alone, a body would wait for the drives, which the cache does for it.
      const direct =
        directWrites && underWay > 1 && (this.#put.sizeBytes ?? DIRECT_FROM) >= DIRECT_FROM;
      const opening = seat.drive.open(temporary, { mode: 'create', direct });
      const late = async (file: DriveFile): Promise<void> => {
        await file.close();
        await seat.drive.remove(temporary);
      };
      const file = await inTime(opening, { ms: stallMs * STALL_FACTOR, peers, late });
      const [tail, synced] = [Promise.resolve(), Promise.resolve()];
      const more = { end: 0, syncEnd: 0, tables: [], failed: false, named: false };
      return { lane, seat, file, temporary, direct, tail, synced, ...more };
    } catch (error) {
      seat.writeFailed(error);
      return undefined;
    }
  }

  /**
   * Width of the current stripe's pieces; only a known size tells that it is the last, shorter one.
   */
  #currentWidth(): number {
    const { sizeBytes } = this.#put;
    if (sizeBytes === undefined) return this.#width;
    const rest = sizeBytes - (this.#total - this.#filled);
    return Math.min(this.#width, roundToGroup(rest / this.#dataLanes));
  }

  async #add(chunk: Uint8Array): Promise<void> {
    this.#put.signal?.throwIfAborted();
    const { sizeBytes } = this.#put;
    if (sizeBytes !== undefined && this.#total + chunk.length > sizeBytes) {
      throw wrongLength(sizeBytes, this.#total + chunk.length);
    }
    this.#sum.update(chunk);
    let at = 0;
    while (at < chunk.length) {
      if (this.#filled === this.#width * this.#dataLanes) this.#endStripe(this.#width);
      this.#slot ??= await this.#nextSlot();
      const width = this.#currentWidth();
      const place = Math.floor(this.#filled / width);
      const column = this.#filled - place * width;
      const count = Math.min(width - column, chunk.length - at);
      const lane = this.#slot.lanes[this.#order.data[place] as number] as Buffer;
      lane.set(chunk.subarray(at, at + count), this.#from + column);
      at += count;
      this.#filled += count;
      this.#total += count;
    }
  }

  async #nextSlot(): Promise<Slot> {
    const { arena } = this.#context.codec;
    const sizes = this.#goesOn ? [LARGE_UNITS, this.#units] : [this.#units];
    const spare = arena.unitsFree - UNITS_SPARED;
    if (this.#flights.length < SLOTS_MAX) {
      for (const units of sizes) {
        const slot = units <= spare ? arena.tryAcquire(units) : undefined;
        if (slot !== undefined) return slot;
      }
    }
    const landed = await this.#land();
    return landed ?? arena.acquire(this.#units);
  }

  /** More is to come than one stripe. */
  get #goesOn(): boolean {
    const { sizeBytes = this.#total + this.#stripeBytes } = this.#put;
    return sizeBytes - this.#total > this.#stripeBytes || this.#total > STRIPE_LARGE_BYTES;
  }

  /**
   * Waits for the oldest write of this object; its slot, unless a stalled drive still reads from
   * it.
   */
  async #land(): Promise<Slot | undefined> {
    const flight = this.#flights.shift();
    if (flight === undefined) return undefined;
    const outcome = await flight.outcome;
    const { arena } = this.#context.codec;
    const late = outcome.late !== 0;
    if (late) void outcome.settled.then(() => arena.release(flight.slot));
    try {
      this.#judge(outcome);
    } catch (error) {
      if (!late) arena.release(flight.slot);
      throw error;
    }
    return late ? undefined : flight.slot;
  }

  /** Drops lanes that failed or stall; throws when too few are left for an acknowledgement. */
  #judge(outcome: Durability): void {
    for (const lane of this.#lanes) {
      if (lane.failed) continue;
      const failure = outcome.failures.find((one) => one.lane === lane.lane);
      if (failure !== undefined) lane.seat.writeFailed(failure.error);
      else if ((outcome.late >> lane.lane) & 1) lane.seat.stalled();
      else continue;
      lane.failed = true;
    }
    const alive = this.#lanes.filter((lane) => !lane.failed).length;
    if (alive < this.#dataLanes + 1) {
      throw tooFewDrives(this.#context, alive, outcome.failures[0]?.error);
    }
  }

  /** Codes and sums a stripe; starts the slot's writes once no further one fits. */
  #endStripe(width: number): void {
    const slot = this.#slot as Slot;
    this.#code(slot, width);
    for (const lane of this.#lanes) {
      if (lane.failed) continue;
      const piece = slot.lanes[lane.lane] as Buffer;
      lane.tables.push(blockTable(piece.subarray(this.#from, this.#from + width)));
    }
    this.#from += width;
    this.#filled = 0;
    if (this.#from + this.#width > slot.laneBytes) this.#flush([]);
  }

  /** Starts the writes of the current slot; `behind` makes what follows the last one of a lane. */
  #flush(behind: ((lane: Lane) => Promise<void>)[]): void {
    const slot = this.#slot;
    const writes: LaneWrite[] = [];
    for (const lane of this.#lanes) {
      if (lane.failed) continue;
      const parts: Uint8Array[] = lane.end === 0 ? [this.#head(lane)] : [];
      if (slot !== undefined) parts.push((slot.lanes[lane.lane] as Buffer).subarray(0, this.#from));
      if (behind.length > 0) parts.push(this.#footer(lane));
      const start = lane.end;
      const sizeBytes = parts.reduce((sum, part) => sum + part.length, 0);
      lane.end += sizeBytes;
      lane.seat.takenBytes += sizeBytes;
      lane.tail = lane.tail.then(() => lane.file.write(parts, start));
      for (const step of behind) lane.tail = lane.tail.then(() => step(lane));
      writes.push({ lane: lane.lane, done: lane.tail });
      if (behind.length === 0) this.#syncEarly(lane);
    }
    const need = this.#dataLanes + 1;
    const outcome = settleLanes(writes, need, this.#context.settings.stallMs * STALL_FACTOR);
    this.#flights.push({ slot: slot ?? NO_SLOT, outcome });
    this.#slot = undefined;
    this.#from = 0;
  }

  /**
   * What lies in the page cache goes to the drive while the body still comes, not all of it behind
   * its end. No write waits for that; a sync that fails fails the lane at its end, as the kernel
   * tells of an error only once.
   */
  #syncEarly(lane: Lane): void {
    if (lane.direct || lane.end - lane.syncEnd < SYNC_EARLY_BYTES) return;
    lane.syncEnd = lane.end;
    const { synced } = lane;
    lane.synced = lane.tail.then(async () => {
      await synced;
      await lane.file.sync();
    });
    // Until the last one asks for it, a failure is nobody's unhandled one.
    lane.synced.catch(() => undefined);
  }

  #code(slot: Slot, width: number): void {
    const { code, codec } = this.#context;
    const end = this.#from + width;
    for (let lane = 0; lane < code.k; lane += 1) {
      const place = lane - (this.#order.data[0] as number);
      const held = place < 0 ? 0 : Math.min(width, Math.max(0, this.#filled - place * width));
      if (held < width) (slot.lanes[lane] as Buffer).fill(0, this.#from + held, end);
    }
    codec.encode(slot, width, this.#from);
  }

  #head(lane: Lane): Buffer {
    const { id, owner } = this.#put;
    const head = { id, lane: lane.lane, away: this.#away, stripeBytes: this.#stripeBytes, owner };
    return writeHead(head, this.#context.code);
  }

  #footer(lane: Lane): Buffer {
    const tail = {
      id: this.#put.id,
      lane: lane.lane,
      length: this.#total,
      checksum: this.#sum.digest64(),
    };
    return writeFooter(tail, Buffer.concat(lane.tables));
  }

  async #finish(): Promise<Stored> {
    const width = roundToGroup(this.#filled / this.#dataLanes);
    if (this.#filled > 0 && this.#put.sizeBytes === undefined) this.#layOut(width);
    const directory = shardDirectory(this.#put.id);
    const path = shardPath(this.#put.id);
    if (this.#filled > 0) this.#endStripe(width);
    this.#flush([
      (lane) => lane.synced,
      (lane) => lane.file.sync(),
      async (lane) => {
        await lane.seat.drive.makeDirectory(directory);
        await lane.seat.drive.rename(lane.temporary, path);
        lane.named = true;
        await lane.seat.drive.syncDirectory(directory);
      },
    ]);
    const { arena } = this.#context.codec;
    while (this.#flights.length > 0) {
      const slot = await this.#land();
      if (slot !== undefined) arena.release(slot);
    }
    return { location: this.#location(), sizeBytes: this.#total, checksum: this.#sum.digest() };
  }

  /**
   * A stream ended inside a stripe: its bytes are spread over all lanes once their number is known.
   */
  #layOut(width: number): void {
    if (width === this.#width) return;
    const slot = this.#slot as Slot;
    const rest = Buffer.allocUnsafe(this.#filled);
    for (const [place, lane] of this.#order.data.entries()) {
      const from = place * this.#width;
      if (from >= rest.length) break;
      const held = Math.min(this.#width, rest.length - from);
      rest.set((slot.lanes[lane] as Buffer).subarray(this.#from, this.#from + held), from);
    }
    for (const [place, lane] of this.#order.data.entries()) {
      const bytes = rest.subarray(place * width, (place + 1) * width);
      (slot.lanes[lane] as Buffer).set(bytes, this.#from);
    }
  }

  #location(): ShardLocation {
    let unconfirmed = this.#order.lost;
    for (const lane of this.#lanes) if (lane.failed) unconfirmed |= 1 << lane.lane;
    const location: ShardLocation = {
      kind: 'shards',
      id: this.#put.id,
      tier: this.#context.tier,
      group: this.#context.group,
      length: this.#total,
      code: this.#context.code.name,
      stripeBytes: this.#stripeBytes,
      empty: this.#order.empty,
      unconfirmed,
    };
    if (this.#away !== 0) location.away = this.#away;
    return location;
  }

  /** Removes what was made; the files are still open. */
  async #undo(): Promise<void> {
    await Promise.all(this.#flights.map(({ outcome }) => outcome));
    const { arena } = this.#context.codec;
    for (const { slot, outcome } of this.#flights) {
      void outcome.then((decided) => decided.settled).then(() => arena.release(slot));
    }
    this.#flights = [];
    if (this.#slot !== undefined) arena.release(this.#slot);
    this.#slot = undefined;
    const removals = this.#lanes.map(async (lane) => {
      const path = lane.named ? shardPath(this.#put.id) : lane.temporary;
      await lane.seat.drive.remove(path).catch(() => undefined);
      // What can't be removed now is a temporary file: swept at the next start.
    });
    // Who put this must hear of it, whatever a drive that hangs does.
    await endsIn(Promise.all(removals), this.#context.settings.stallMs);
    this.#leave();
    this.#lanes = [];
  }

  /** Closes each file once its last write has ended, however long a stalled one takes. */
  #leave(): void {
    for (const lane of this.#lanes) {
      const close = (): Promise<void> => lane.file.close().catch(() => undefined);
      void Promise.allSettled([lane.tail, lane.synced]).then(close);
    }
    this.#lanes = [];
  }
}

/** Stands for the slot of a write without bytes (an empty object); releasing it frees nothing. */
const NO_SLOT: Slot = { unit: 0, units: 0, base: 0, stride: 0, laneBytes: 0, lanes: [] };

function wrongLength(announced: number, seen: number): FirnError {
  return new FirnError('IncompleteBody', `${announced} bytes were announced, ${seen} came`, {
    retryable: false,
  });
}
