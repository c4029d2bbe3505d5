// Looks after the drives of one group while a process runs: who is there, how full, who may be
// tried again, who is far slower than its peers. A drive that vanished takes its open files with
// it: a write to a file that was deleted with its directory would succeed and be nowhere.

import type { Random } from '../../../appliance/model/clock.ts';
import type { Drive, DriveUsage } from '../../../appliance/model/drive.ts';
import { newId } from '../../../appliance/model/ids.ts';
import { enrol, type Enrolled } from './enrol.ts';
import { IDENTITY_FILE, TEMPORARY, type Place } from './identity.ts';
import type { Seat } from './seat.ts';
import { Spares } from './spares.ts';

export interface WatchOptions {
  place: Omit<Place, 'position'>;
  random: Random;
  /** Founds groups and accepts replaced drives; false: only looks. */
  writes: boolean;
  probeMs: number;
  /** The group was founded before (enrol.ts). */
  founded: boolean;
  /** A drive is no longer the one that it was: forget what is open on it. */
  changed: (seat: Seat) => void;
  /** Empty drives that take the place of one that stays away. */
  spares: readonly Drive[];
  /** How long a drive must be missing for that; Infinity: this process gives none away. */
  spareAfterMs: number;
  /** Drives that must be there for that: with fewer the fault lies elsewhere. */
  peersMin: number;
  /** Before any process writes: directories that a group needs. */
  directories: readonly string[];
}

export class DriveWatch {
  readonly #seats: readonly Seat[];
  readonly #options: WatchOptions;
  readonly #identityTimes: number[];
  readonly #spares: Spares;
  readonly #looking = new Set<number>();
  #enrolling: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(seats: readonly Seat[], options: WatchOptions) {
    this.#seats = seats;
    this.#options = options;
    this.#identityTimes = seats.map(() => 0);
    this.#spares = new Spares(options.spares, options.place, options.random);
  }

  /** DriveForeign, FormatUnknown: then nothing was changed. Missing drives are no error. */
  async open(): Promise<void> {
    await this.#enrol(false);
    await this.look();
    this.#timer = setInterval(() => void this.look(), this.#options.probeMs).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #enrol(tolerant: boolean): Promise<void> {
    const { place, random, writes, founded } = this.#options;
    const drives = await this.#spares.resolve(this.#seats.map(({ home }) => home));
    for (const [position, drive] of drives.entries()) {
      const seat = this.#seats[position] as Seat;
      if (seat.drive === drive) continue;
      this.#options.changed(seat);
      seat.standIn(drive);
    }
    const how = { random, writes, makesDirectories: !tolerant, tolerant, founded };
    const found = await enrol(drives, place, how);
    for (const [position, one] of found.entries()) {
      const seat = this.#seats[position] as Seat;
      await this.#seat(seat, one).catch((error: unknown) => seat.gone('missing', messageOf(error)));
    }
  }

  async #seat(seat: Seat, one: Enrolled): Promise<void> {
    if ('note' in one) {
      if (seat.present) this.#options.changed(seat);
      seat.gone(one.state, one.note);
      return;
    }
    const before = seat.identity?.drive;
    if (before !== undefined && before !== one.identity.drive) {
      this.#options.changed(seat);
      // What the old one did is not held against it.
      seat.recovered();
    }
    // Before anybody may write to it.
    const directories = this.#options.writes ? this.#options.directories : [];
    let failure: unknown;
    for (const directory of directories) {
      await seat.drive.makeDirectory(directory).catch((error: unknown) => {
        failure ??= error;
      });
    }
    seat.usage = await seat.drive.usage();
    this.#identityTimes[seat.position] = (await seat.drive.stat(IDENTITY_FILE)).modifiedMs;
    seat.arrived(one.identity);
    // It may still be read.
    if (failure !== undefined) seat.writeFailed(failure);
  }

  /** One look at every drive; a drive that hangs holds up nobody else. */
  async look(): Promise<void> {
    const outcomes = await Promise.all(this.#seats.map((seat) => this.#lookAt(seat)));
    if (outcomes.includes('changed')) {
      this.#enrolling ??= this.#enrol(true)
        .catch(() => undefined)
        .finally(() => {
          this.#enrolling = undefined;
        });
      await this.#enrolling;
    }
    this.#compare();
  }

  async #lookAt(seat: Seat): Promise<'same' | 'changed' | 'busy'> {
    if (this.#looking.has(seat.position)) return 'busy';
    this.#looking.add(seat.position);
    try {
      if (!seat.present) return await this.#lookForAbsent(seat);
      const { modifiedMs } = await seat.drive.stat(IDENTITY_FILE);
      if (modifiedMs !== this.#identityTimes[seat.position]) return 'changed';
      seat.takenBytes = 0;
      seat.usage = await seat.drive.usage();
      if (seat.dueForTrial) await this.#tryAgain(seat);
      return 'same';
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'EIO') return 'same';
      this.#options.changed(seat);
      seat.gone('missing', messageOf(error));
      return 'changed';
    } finally {
      this.#looking.delete(seat.position);
    }
  }

  async #lookForAbsent(seat: Seat): Promise<'same' | 'changed'> {
    if (await this.#spareTakes(seat)) return 'changed';
    try {
      await seat.drive.list('');
      return 'changed';
    } catch {
      return 'same';
    }
  }

  /** True when a spare stands at the place of a drive that is away, or has just been put there. */
  async #spareTakes(seat: Seat): Promise<boolean> {
    if (this.#spares.none) return false;
    if (await this.#spares.claims(seat.position)) return true;
    const there = this.#seats.filter(({ present }) => present);
    const { spareAfterMs, peersMin } = this.#options;
    if (seat.missingMs <= spareAfterMs || there.length < peersMin) return false;
    return this.#spares.claim(
      seat.position,
      there.map(({ drive }) => drive),
    );
  }

  /** A drive that rested must write and sync a small file before it is trusted again. */
  async #tryAgain(seat: Seat): Promise<void> {
    const path = `${TEMPORARY}/trial-${newId(this.#options.random)}`;
    try {
      const file = await seat.drive.open(path, { mode: 'create' });
      try {
        await file.write(Buffer.alloc(4096, 1), 0);
        await file.sync();
      } finally {
        await file.close();
      }
      await seat.drive.remove(path);
      seat.recovered();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // Full is not failing: it may be read.
      if (code === 'ENOSPC' || code === 'EDQUOT') {
        seat.recovered();
        seat.writeFailed(error);
      } else seat.rest(`still failing: ${messageOf(error)}`);
    }
  }

  #compare(): void {
    for (const seat of this.#seats) {
      const peers = this.#seats
        .filter((other) => other !== seat && other.present && other.writeMs > 0)
        .map((other) => other.writeMs)
        .toSorted((a, b) => a - b);
      const median = peers[peers.length >> 1];
      if (median !== undefined && seat.present) seat.judgeSlowness(median);
    }
  }
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

/** Room by device: drives that share one share its room. */
export function roomOf(seats: readonly Seat[]): { capacityBytes: number; freeBytes: number } {
  const devices = new Map<string, DriveUsage>();
  for (const { usage } of seats) if (usage !== undefined) devices.set(usage.device, usage);
  let capacityBytes = 0;
  let freeBytes = 0;
  for (const usage of devices.values()) {
    capacityBytes += usage.capacityBytes;
    freeBytes += usage.freeBytes;
  }
  return { capacityBytes, freeBytes };
}
