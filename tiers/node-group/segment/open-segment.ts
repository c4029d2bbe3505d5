// One segment that this process appends to: a file a drive, of a size fixed at its start (the drive
// then has no length to record at each sync), batch by batch, each write durable on return. It ends
// at its size, at its age, and at the first write that a drive missed: behind a gap nothing is ever
// written, so a walk over the batches never has to guess.

import type { DriveFile } from '../../../appliance/model/drive.ts';
import { newLocationId } from '../../../appliance/model/ids.ts';
import type { Slot } from '../codec/arena.ts';
import { awayNow, bits, type GroupContext } from '../group/context.ts';
import type { Seat } from '../drive/seat.ts';
import { FilterEntries } from '../../filter.ts';
import { writeFilter } from './owner-filter.ts';
import { inTime, type Peers } from '../group/in-time.ts';
import { settleLanes, type Durability, type LaneWrite } from '../group/durable.ts';
import type { LaneOrder } from '../group/lane-order.ts';
import type { OpenFile } from '../group/open-files.ts';
import { checksum64 } from '../../checksum.ts';
import {
  bodyBytes,
  nextStart,
  parityBytes,
  PIECE_HEAD_BYTES,
  SEGMENT_DIRECTORY,
  writePieceHead,
  type PieceHead,
} from './format.ts';

export const segmentPath = (id: string): string => `${SEGMENT_DIRECTORY}/${id}`;

export class OpenSegment {
  readonly id: string;
  readonly away: number;
  readonly order: LaneOrder;
  /** Wall ms. */
  readonly openedAt: number;
  /** Which drives stood at the places when it was opened, by lane. */
  readonly #drives: readonly (string | undefined)[];
  /** For the filter beside it, which says what it cannot hold. */
  readonly entries = new FilterEntries();
  /** Bytes of records ever placed in each lane: ties go to the emptier one. */
  readonly filled: number[];
  readonly #context: GroupContext;
  /** By lane; undefined where the drive was away. */
  readonly #files: readonly (OpenFile | undefined)[];
  #start = 0;
  #batch = 0;
  #writing: Promise<unknown> = Promise.resolve();
  #sealed = false;

  private constructor(
    context: GroupContext,
    made: { id: string; away: number; order: LaneOrder; files: (OpenFile | undefined)[] },
  ) {
    this.#context = context;
    this.id = made.id;
    this.away = made.away;
    this.order = made.order;
    this.#files = made.files;
    this.openedAt = context.clock.wall();
    this.#drives = made.order.positions.map((position) => context.seats[position]?.identity?.drive);
    this.filled = new Array<number>(context.code.k).fill(0);
  }

  /** Makes the files on all drives that can be written; their names are durable on return. */
  static async open(context: GroupContext): Promise<OpenSegment> {
    for (;;) {
      const away = awayNow(context);
      const id = newLocationId(context.clock, context.random);
      const order = context.orders.of(id, away);
      const peers: Peers = { done: 0, need: bits(order.inUse) / 2 };
      const made = await Promise.all(
        order.positions.map(async (position, lane) => {
          if (((order.inUse >> lane) & 1) === 0) return undefined;
          const seat = context.seats[position] as Seat;
          const making = OpenSegment.#create(context, seat, id);
          const late = async (file: DriveFile): Promise<void> => {
            await file.close();
            await seat.drive.remove(segmentPath(id));
          };
          return inTime(making, { ms: context.settings.stallMs, peers, late }).catch(
            (error: unknown) => {
              seat.writeFailed(error);
              return undefined;
            },
          );
        }),
      );
      const whole = made.every((file, lane) => (file !== undefined) === inMask(order.inUse, lane));
      const files = made.map((file, lane) =>
        file === undefined
          ? undefined
          : context.segmentFiles.adopt(order.positions[lane] as number, id, file),
      );
      if (whole) return new OpenSegment(context, { id, away, order, files });
      context.segmentFiles.dropEverywhere(id);
      for (const [lane, file] of files.entries()) {
        if (file === undefined) continue;
        context.segmentFiles.release(file);
        const seat = context.seats[order.positions[lane] as number] as Seat;
        await seat.drive.remove(segmentPath(id)).catch((error: unknown) => seat.writeFailed(error));
      }
    }
  }

  static async #create(context: GroupContext, seat: Seat, id: string): Promise<DriveFile> {
    const file = await seat.drive.open(segmentPath(id), { mode: 'create', durable: true });
    try {
      await file.resize(context.settings.segmentBytes);
      await file.sync();
      await seat.drive.syncDirectory(SEGMENT_DIRECTORY);
      return file;
    } catch (error) {
      await file.close().catch(() => undefined);
      throw error;
    }
  }

  /** Offset of the next batch. */
  get start(): number {
    return this.#start;
  }

  /**
   * Bytes of records that a lane of the next batch may hold: the seal's piece must fit behind it.
   */
  get roomBytes(): number {
    return this.#context.settings.segmentBytes - this.#start - 2 * PIECE_HEAD_BYTES - 1024;
  }

  /**
   * False when one of its drives may not be written now, was replaced since (its file here is
   * nowhere), or when a drive that was away is back.
   */
  get fits(): boolean {
    const { seats, reserve } = this.#context;
    return this.order.positions.every((position, lane) => {
      const seat = seats[position] as Seat;
      const ready = seat.writable(reserve);
      if (!inMask(this.order.inUse, lane)) return !ready;
      return ready && seat.identity?.drive === this.#drives[lane];
    });
  }

  get ageMs(): number {
    return this.#context.clock.wall() - this.openedAt;
  }

  /**
   * Codes and writes a batch that stands in the slot's data lanes; `lengths` = bytes of records in
   * each. Resolves when durability is decided (durable.ts); the slot is the caller's until
   * `settled`.
   */
  async write(slot: Slot, lengths: number[]): Promise<Durability> {
    const { code, codec, settings } = this.#context;
    const parity = parityBytes(lengths);
    let inData = 0;
    for (let lane = 0; lane < code.k; lane += 1) {
      const length = lengths[lane] as number;
      if (length > 0) inData += 1;
      if (length < parity) (slot.lanes[lane] as Buffer).fill(0, length, parity);
    }
    codec.encode(slot, parity);
    const writes: LaneWrite[] = [];
    for (let lane = 0; lane < code.n; lane += 1) {
      if (!inMask(this.order.inUse, lane)) continue;
      if (lane < code.k && lengths[lane] === 0) continue;
      writes.push({ lane, done: this.#writePiece(slot, lane, lengths) });
    }
    const outcome = settleLanes(writes, inData + 1, settings.stallMs);
    this.#writing = outcome;
    this.#start = nextStart({ start: this.#start, lengths });
    this.#batch += 1;
    return outcome;
  }

  #writePiece(slot: Slot, lane: number, lengths: number[]): Promise<void> {
    const { code, codec, seats } = this.#context;
    const head: PieceHead = this.#head(lane, lengths);
    const length = bodyBytes(head, lane, code);
    const piece = codec.arena.piece(slot, lane, length);
    head.bodyChecksum = checksum64(piece.subarray(PIECE_HEAD_BYTES));
    writePieceHead(piece, head, code);
    const open = this.#files[lane] as OpenFile;
    const seat = seats[this.order.positions[lane] as number] as Seat;
    const start = this.#start;
    const begun = performance.now();
    // Its user until the write has ended: a file closed under a queued write could be another by
    // then.
    open.users += 1;
    const { segmentFiles } = this.#context;
    return open.file.write(piece, start).then(
      () => {
        const now = performance.now();
        seat.wrote(now - begun);
        seat.takenBytes += piece.length;
        open.touchSpan(start, start + piece.length, now);
        segmentFiles.release(open);
      },
      (error: unknown) => {
        segmentFiles.release(open);
        throw error;
      },
    );
  }

  #head(lane: number, lengths: number[]): PieceHead {
    return {
      lane,
      seal: false,
      away: this.away,
      batch: this.#batch,
      segment: this.id,
      start: this.#start,
      lengths,
      bodyChecksum: 0n,
    };
  }

  /**
   * Ends it: a last piece says so, and the files are cut behind it. Only a courtesy to those who
   * walk the segment (a crash leaves none and the walk finds the end), so what fails here fails
   * silently. Repeat calls do nothing.
   */
  async seal(): Promise<void> {
    if (this.#sealed) return;
    this.#sealed = true;
    await this.#writing;
    const { code, seats, segmentFiles } = this.#context;
    const lengths = new Array<number>(code.k).fill(0);
    await Promise.all(
      this.#files.map(async (open, lane) => {
        if (open === undefined) return;
        const piece = Buffer.alloc(PIECE_HEAD_BYTES);
        const head = { ...this.#head(lane, lengths), seal: true };
        writePieceHead(piece, { ...head, bodyChecksum: checksum64(new Uint8Array(0)) }, code);
        try {
          const seat = seats[this.order.positions[lane] as number] as Seat;
          if (!seat.trusted) return;
          if (this.#batch === 0) return await seat.drive.remove(segmentPath(this.id));
          await open.file.write(piece, this.#start);
          await open.file.resize(this.#start + PIECE_HEAD_BYTES);
        } catch {
          return;
        } finally {
          segmentFiles.release(open);
        }
      }),
    );
    await writeFilter(this.#context, this.id, this.entries);
  }
}

export const inMask = (mask: number, lane: number): boolean => ((mask >> lane) & 1) === 1;
