// Notes of what was deleted inside segments: freeing one small object frees nothing by itself, but
// a segment with many dead bytes is worth compacting. Notes are hints (not synced, on one drive,
// lost with it): too few of them delay a compaction, and what is dead is always decided by the
// objects' documents.

import type { SegmentLocation } from '../../../appliance/model/location.ts';
import type { DriveFile } from '../../../appliance/model/drive.ts';
import type { GroupContext } from '../group/context.ts';
import type { Seat } from '../drive/seat.ts';
import { readWhole } from '../drive/identity.ts';
import { SEGMENT_DIRECTORY } from '../segment/format.ts';
import { idsOnAny, type OnAny } from '../shard/find-shards.ts';

export const NOTES_DIRECTORY = 'dead';
const NOTE_BYTES = 20;
/** No process is named so. */
const FREED = '-freed~';
const FLUSH_MS = 250;
const PENDING_MAX = 4096;

export interface Dead {
  records: number;
  bytes: number;
}

export class DeadNotes {
  readonly #context: GroupContext;
  readonly #writer: string;
  #pending = new Map<string, Buffer[]>();
  #count = 0;
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> = Promise.resolve();

  /** `writer` names this process's own note files: no two processes append to one. */
  constructor(context: GroupContext, writer: string) {
    this.#context = context;
    this.#writer = writer;
  }

  add(location: SegmentLocation): void {
    const note = Buffer.alloc(NOTE_BYTES);
    note.write(location.id, 0, 16, 'hex');
    note.writeUInt32LE(location.length, 16);
    const notes = this.#pending.get(location.segment);
    if (notes === undefined) this.#pending.set(location.segment, [note]);
    else notes.push(note);
    this.#count += 1;
    if (this.#count >= PENDING_MAX) void this.flush();
    else this.#timer ??= setTimeout(() => void this.flush(), FLUSH_MS).unref();
  }

  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const pending = this.#pending;
    this.#pending = new Map();
    this.#count = 0;
    if (pending.size > 0) {
      this.#flushing = this.#flushing.then(() => this.#appendSomewhere(pending));
    }
    return this.#flushing;
  }

  /** On the first drive that takes them: one that is full is where they are needed most. */
  async #appendSomewhere(pending: ReadonlyMap<string, Buffer[]>): Promise<void> {
    for (const seat of this.#context.seats) {
      if (!seat.trusted) continue;
      try {
        // Noted twice, a location counts once.
        return await this.#append(seat, pending);
      } catch {
        continue;
      }
    }
  }

  async #append(seat: Seat, pending: ReadonlyMap<string, Buffer[]>): Promise<void> {
    await seat.drive.makeDirectory(NOTES_DIRECTORY);
    for (const [segment, notes] of pending) {
      const file = await openOrMake(seat, `${NOTES_DIRECTORY}/${segment}-${this.#writer}`);
      try {
        await file.write(notes, (await file.stat()).sizeBytes);
      } finally {
        await file.close();
      }
    }
  }

  /** Dead objects and their bytes by segment, each location counted once. */
  async read(): Promise<Map<string, Dead>> {
    await this.flush();
    const seen = new Map<string, Set<string>>();
    const dead = new Map<string, Dead>();
    for (const { seat, name } of await filesOf(this.#context)) {
      const bytes = await readWhole(seat.drive, `${NOTES_DIRECTORY}/${name}`).catch(() =>
        Buffer.alloc(0),
      );
      const segment = name.slice(0, 32);
      const ids = seen.get(segment) ?? new Set();
      seen.set(segment, ids);
      for (let at = 0; at + NOTE_BYTES <= bytes.length; at += NOTE_BYTES) {
        const id = bytes.toString('hex', at, at + 16);
        if (ids.has(id)) continue;
        ids.add(id);
        const sum = dead.get(segment) ?? { records: 0, bytes: 0 };
        sum.records += 1;
        sum.bytes += bytes.readUInt32LE(at + 16);
        dead.set(segment, sum);
      }
    }
    return dead;
  }

  /**
   * Says on every drive there is, durably, that nothing in a segment lives: from then on its files
   * may go one by one. Without it power lost on the way leaves a few of them, which look like a
   * segment that was lost.
   */
  async markFreed(segment: string): Promise<void> {
    for (const { drive, present } of this.#context.seats) {
      if (!present) continue;
      await drive.makeDirectory(NOTES_DIRECTORY);
      const made = drive.open(`${NOTES_DIRECTORY}/${segment}${FREED}`, { mode: 'create' });
      const file = await made.catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
      await file?.close();
      await drive.syncDirectory(NOTES_DIRECTORY);
    }
  }

  freed(): Promise<Set<string>> {
    return freedSegments(this.#context);
  }

  /** The segment is gone: so are its notes. */
  async forget(segment: string): Promise<void> {
    await this.flush();
    for (const { seat, name } of await filesOf(this.#context)) {
      if (!name.startsWith(segment)) continue;
      await seat.drive.remove(`${NOTES_DIRECTORY}/${name}`).catch(() => undefined);
    }
  }
}

/** Segments that were marked, and of which files may be left: nothing in them is anybody's loss. */
export async function freedSegments(context: GroupContext): Promise<Set<string>> {
  const names = (await filesOf(context)).map(({ name }) => name);
  return new Set(names.filter((name) => name.endsWith(FREED)).map((name) => name.slice(0, 32)));
}

/** Segments of which any of these drives has a file, in order, less those that were marked. */
export async function segmentsOn(context: GroupContext, seats: readonly Seat[]): Promise<OnAny> {
  const { names, unknown } = await idsOnAny(seats, SEGMENT_DIRECTORY);
  const freed = await freedSegments(context);
  return { names: names.filter((segment) => !freed.has(segment)), unknown };
}

async function filesOf(context: GroupContext): Promise<{ seat: Seat; name: string }[]> {
  const present = context.seats.filter((seat) => seat.present);
  const lists = await Promise.all(
    present.map(async (seat) => {
      const names = await seat.drive.list(NOTES_DIRECTORY).catch((): string[] => []);
      return names.map((name) => ({ seat, name }));
    }),
  );
  return lists.flat();
}

async function openOrMake(seat: Seat, path: string): Promise<DriveFile> {
  try {
    return await seat.drive.open(path, { mode: 'change' });
  } catch {
    return seat.drive.open(path, { mode: 'create' });
  }
}
