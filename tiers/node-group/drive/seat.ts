// One place of a group and the drive that stands there: whether it may be written or read now. The
// dangers: a drive that fails or hangs slows every write down (its breaker leaves it out for a
// while), a sync that failed is retried and lies (a file is never synced again after an error), a
// drive fills up to the last byte so that not even deletes work (writes stop at 95 %, workers' at
// 98 %).

import type { Drive, DriveUsage } from '../../../appliance/model/drive.ts';
import type { DriveState } from '../../../appliance/model/node-group.ts';
import type { Identity } from './identity.ts';

const READ_ERRORS_MAX = 3;
const READ_ERRORS_WINDOW_MS = 60_000;
/** Slower than its peers by this factor, for this long: left out. */
const SLOW_FACTOR = 5;
const SLOW_FLOOR_MS = 50;
const SLOW_FOR_MS = 60_000;

export interface SeatLimits {
  /** From here on people are told that it fills up. */
  warnShare: number;
  fullShare: number;
  reserveShare: number;
  breakerMs: number;
}

export class Seat {
  /** As configured. */
  readonly home: Drive;
  readonly position: number;
  identity: Identity | undefined;
  usage: DriveUsage | undefined;
  /** Written by this process since `usage` was looked at: a burst must not run past the brim. */
  takenBytes = 0;
  /** Errors since the start of this process. */
  errors = 0;
  readonly blocking = new BlockingReads();
  /** Smoothed ms of a durable write. */
  writeMs = 0;
  readonly #limits: SeatLimits;
  #drive: Drive;
  #goneAt = performance.now();
  #absence: { state: 'missing' | 'foreign'; note: string } | undefined = {
    state: 'missing',
    note: 'not opened yet',
  };
  #outUntil = 0;
  #outNote = '';
  #noSpaceUntil = 0;
  #readErrors: { at: number; where: string | undefined }[] = [];
  #slowSince = 0;

  constructor(drive: Drive, position: number, limits: SeatLimits) {
    this.home = drive;
    this.#drive = drive;
    this.position = position;
    this.#limits = limits;
  }

  arrived(identity: Identity): void {
    this.identity = identity;
    this.#absence = undefined;
  }

  /** The drive that stands here: as configured, or a spare. */
  get drive(): Drive {
    return this.#drive;
  }

  /** Another drive stands here from now on: what was open on the old one must be forgotten. */
  standIn(drive: Drive): void {
    this.#drive = drive;
  }

  /** How long nothing has been here that could be used; 0 while there is. */
  get missingMs(): number {
    return this.#absence?.state === 'missing' ? performance.now() - this.#goneAt : 0;
  }

  gone(state: 'missing' | 'foreign', note: string): void {
    if (this.present) this.#goneAt = performance.now();
    this.#absence = { state, note };
  }

  get present(): boolean {
    return this.#absence === undefined;
  }

  /**
   * False while it rests, and until it has been tried since: a drive that still hangs would else be
   * waited for, and keep a slot of memory for good, each time that a rest is over.
   */
  get trusted(): boolean {
    return this.present && this.#outUntil === 0;
  }

  /** May take new bytes. Workers may go on where requests must stop. */
  writable(reserve: boolean): boolean {
    return this.trusted && !this.#full(reserve);
  }

  /** Present but full: the answer to a write is InsufficientCapacity, not DriveUnavailable. */
  full(reserve: boolean): boolean {
    return this.trusted && this.#full(reserve);
  }

  #full(reserve: boolean): boolean {
    if (this.#noSpaceUntil !== 0 && this.#noSpaceUntil > performance.now()) return true;
    if (this.usage === undefined) return false;
    const share = reserve ? this.#limits.reserveShare : this.#limits.fullShare;
    const freeBytes = this.usage.freeBytes - this.takenBytes;
    return freeBytes < this.usage.capacityBytes * (1 - share);
  }

  get state(): DriveState {
    if (this.#absence !== undefined) return this.#absence.state;
    if (!this.trusted) return 'failing';
    if (this.#full(false)) return 'full';
    return this.identity?.healing === true ? 'healing' : 'up';
  }

  get note(): string {
    if (this.#absence !== undefined) return this.#absence.note;
    if (!this.trusted) return this.#outNote;
    if (this.#full(false)) return 'takes no new bytes: free room, or add a group';
    const notes: string[] = [];
    if (this.identity?.healing === true) notes.push('being refilled from the other drives');
    if (this.#drive !== this.home) notes.push(`a spare in the place of ${this.home.path}`);
    const used = this.#usedShare;
    if (used >= this.#limits.warnShare) {
      notes.push(`${Math.floor(used * 100)} % full: free room, or add a group`);
    }
    return notes.join('; ');
  }

  get #usedShare(): number {
    const { usage } = this;
    if (usage === undefined || usage.capacityBytes === 0) return 0;
    return 1 - usage.freeBytes / usage.capacityBytes;
  }

  /** A write or sync failed: whatever was in that file is lost to us, and the drive rests. */
  writeFailed(error: unknown): void {
    this.errors += 1;
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      this.#noSpaceUntil = performance.now() + this.#limits.breakerMs;
      return;
    }
    this.rest(`a write failed: ${error instanceof Error ? error.message : String(error)}`);
  }

  stalled(): void {
    this.errors += 1;
    this.rest('a write did not end in time');
  }

  /**
   * Reads may fail on one bad sector: a few in a minute are borne. `where`: of one place only the
   * first counts, as who repairs it must read it again.
   */
  readFailed(error: unknown, where?: string): void {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return;
    this.errors += 1;
    const note = `reads failed: ${error instanceof Error ? error.message : String(error)}`;
    // One that hangs would be waited for as long each time.
    if (code === 'ETIMEDOUT') this.rest(note);
    else this.#countReadError(note, where);
  }

  /** A read took so long that decoding from the others was done first. */
  overtaken(): void {
    this.#countReadError('reads did not end in time');
  }

  #countReadError(note: string, where?: string): void {
    const now = performance.now();
    this.#readErrors = this.#readErrors.filter(({ at }) => at > now - READ_ERRORS_WINDOW_MS);
    if (where !== undefined && this.#readErrors.some((one) => one.where === where)) return;
    this.#readErrors.push({ at: now, where });
    if (this.#readErrors.length >= READ_ERRORS_MAX) this.rest(note);
  }

  rest(note: string): void {
    this.#outUntil = performance.now() + this.#limits.breakerMs;
    this.#outNote = note;
    this.#readErrors = [];
  }

  /** True once the rest is over and the drive has not been tried since. */
  get dueForTrial(): boolean {
    return this.present && this.#outUntil !== 0 && this.#outUntil <= performance.now();
  }

  recovered(): void {
    this.#outUntil = 0;
    this.#outNote = '';
    this.#slowSince = 0;
    this.writeMs = 0;
  }

  wrote(ms: number): void {
    this.writeMs = this.writeMs === 0 ? ms : this.writeMs * 0.9 + ms * 0.1;
  }

  /** Compares with what the others take; long enough far above it, the drive rests. */
  judgeSlowness(peerMs: number): void {
    const now = performance.now();
    const slow = this.writeMs > SLOW_FLOOR_MS && this.writeMs > SLOW_FACTOR * peerMs;
    if (!slow) this.#slowSince = 0;
    else if (this.#slowSince === 0) this.#slowSince = now;
    else if (now - this.#slowSince > SLOW_FOR_MS) {
      this.rest(
        `writes take ${Math.round(this.writeMs)} ms, those of its peers ${Math.round(peerMs)}`,
      );
      this.writeMs = 0;
    }
  }
}

/** A blocking read this long came from the device, or this thread was not given the processor. */
const BLOCKED_MS_MAX = 2;
const BLOCKED_REST_MS_MAX = 5000;

/**
 * Whether this thread may read from a drive without leaving it: not for a while after a read that
 * took long, for longer when that happens again. (One pause of the scheduler must not cost five
 * seconds of slow reads, a cold HDD must not block this thread twice.)
 */
export class BlockingReads {
  #from = 0;
  #restMs = 0;
  #quick = 0;

  allowed(now: number): boolean {
    return this.#from <= now;
  }

  took(ms: number, now: number): void {
    if (ms <= BLOCKED_MS_MAX) {
      this.#quick += 1;
      if (this.#quick >= 1000) this.#restMs = 0;
      return;
    }
    this.#quick = 0;
    this.#restMs = this.#restMs === 0 ? 20 : Math.min(BLOCKED_REST_MS_MAX, this.#restMs * 4);
    this.#from = now + this.#restMs;
  }
}
