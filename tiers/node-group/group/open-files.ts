// Files of a group that stay open between reads: opening costs more than a small read. Bounded,
// least recently used out first; a file in use is closed by its last user. A file whose name is
// removed stays readable through it, which is harmless: every read checks whose bytes it got.

import type { DriveFile } from '../../../appliance/model/drive.ts';
import type { Seat } from '../drive/seat.ts';

const WARM_CHUNK_BYTES = 256 * 1024;

export class OpenFile {
  readonly file: DriveFile;
  users = 0;
  usedAt = 0;
  /** When each chunk was last read or written here: likely still in the page cache. */
  #warm: number[] = [];
  dropped = false;
  /** What a reader learned from the file and wants to keep as long as it is open. */
  memo: unknown;

  constructor(file: DriveFile) {
    this.file = file;
  }

  touchSpan(from: number, to: number, now: number): void {
    const last = Math.floor((to - 1) / WARM_CHUNK_BYTES);
    for (let at = Math.floor(from / WARM_CHUNK_BYTES); at <= last; at += 1) this.#warm[at] = now;
  }

  touchedAt(position: number): number {
    return this.#warm[Math.floor(position / WARM_CHUNK_BYTES)] ?? -Infinity;
  }
}

export class OpenFiles {
  readonly #seats: readonly Seat[];
  readonly #pathOf: (id: string) => string;
  readonly #filesMax: number;
  /** One map a drive, in order of last use. */
  readonly #open: Map<string, OpenFile>[];
  readonly #opening: Map<string, Promise<OpenFile>>[];

  constructor(seats: readonly Seat[], pathOf: (id: string) => string, filesMax: number) {
    this.#seats = seats;
    this.#pathOf = pathOf;
    this.#filesMax = filesMax;
    this.#open = seats.map(() => new Map());
    this.#opening = seats.map(() => new Map());
  }

  /** The open file without counting as its user: for what ends before anything else can run. */
  peek(position: number, id: string): OpenFile | undefined {
    return this.#open[position]?.get(id);
  }

  /** Opens or finds it; the caller is its user until release. ENOENT where there is none. */
  async use(position: number, id: string): Promise<OpenFile> {
    const open = this.#open[position] as Map<string, OpenFile>;
    let found = open.get(id);
    if (found === undefined) {
      const opening = this.#opening[position] as Map<string, Promise<OpenFile>>;
      let begun = opening.get(id);
      if (begun === undefined) {
        begun = this.#start(position, id).finally(() => opening.delete(id));
        opening.set(id, begun);
      }
      found = await begun;
      // So many were opened meanwhile that this one is out again already.
      if (found.dropped) return this.use(position, id);
    } else {
      open.delete(id);
      open.set(id, found);
    }
    found.users += 1;
    found.usedAt = performance.now();
    return found;
  }

  async #start(position: number, id: string): Promise<OpenFile> {
    const seat = this.#seats[position] as Seat;
    const file = await seat.drive.open(this.#pathOf(id), { mode: 'read' });
    return this.#enter(position, id, file);
  }

  #enter(position: number, id: string, file: DriveFile): OpenFile {
    const entered = new OpenFile(file);
    entered.usedAt = performance.now();
    const open = this.#open[position] as Map<string, OpenFile>;
    open.set(id, entered);
    if (open.size > this.#filesMax) {
      const oldest = open.keys().next().value as string;
      this.drop(position, oldest);
    }
    return entered;
  }

  release(file: OpenFile): void {
    file.users -= 1;
    if (file.users === 0 && file.dropped) void file.file.close().catch(() => undefined);
  }

  /** Takes over a file that a writer has open; the writer stays its user. */
  adopt(position: number, id: string, file: DriveFile): OpenFile {
    const entered = this.#enter(position, id, file);
    entered.users += 1;
    return entered;
  }

  /** Forgets one file: closed now, or by its last user. */
  drop(position: number, id: string): void {
    const open = this.#open[position] as Map<string, OpenFile>;
    const found = open.get(id);
    if (found === undefined) return;
    open.delete(id);
    found.dropped = true;
    if (found.users === 0) void found.file.close().catch(() => undefined);
  }

  dropEverywhere(id: string): void {
    for (const seat of this.#seats) this.drop(seat.position, id);
  }

  /** Of one drive: it was replaced, or went away. */
  dropDrive(position: number): void {
    for (const id of (this.#open[position] as Map<string, OpenFile>).keys()) {
      this.drop(position, id);
    }
  }

  /** Closes what nobody used since: so that room of removed files is freed. */
  dropIdle(before: number): void {
    for (const [position, open] of this.#open.entries()) {
      for (const [id, file] of open) {
        if (file.users === 0 && file.usedAt < before) this.drop(position, id);
      }
    }
  }

  close(): void {
    for (const seat of this.#seats) this.dropDrive(seat.position);
  }
}
