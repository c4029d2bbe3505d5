// What stands on a drive after a crash, made from its record. `advance(p)` takes in what happened
// before position p and folds what is durable into a base; `image(draw)` then chooses for
// everything else: kept, lost, or torn (sectors of it, in any mixture; or its length without its
// bytes). Writes that were never synced are chosen one by one, so a later one may stand where an
// earlier one is lost: that is reordering.

import {
  Inode,
  parentOf,
  patched,
  resized,
  type DriveSnapshot,
  type DriveStep,
  type Image,
} from './drive.ts';
import type { Seeded } from './random.ts';

export type CrashKind =
  /** The process is killed: what was done stands, what was in flight stands or not. */
  | 'kill'
  /** Power fails, and nothing that was not synced stands. */
  | 'lost'
  /** Power fails, and each piece that was not synced has its own fate. */
  | 'torn';

const SECTOR = 512;

type DataStep = Extract<DriveStep, { kind: 'write' | 'resize' }>;

interface FileReplay {
  base: Buffer;
  modifiedMs: number;
  tail: DataStep[];
  /** Steps that ended before this position are durable. */
  syncedBefore: number;
  /** Steps that ended before this one were dropped by a failed sync. */
  droppedBefore: number;
  /** The inode of states in which nothing is pending. */
  whole: Inode | undefined;
}

interface NameChange {
  inode: Inode | undefined;
  step: DriveStep;
}

export class DriveReplay {
  readonly #record: readonly DriveStep[];
  readonly #files = new Map<Inode, FileReplay>();
  readonly #names = new Map<string, Inode>();
  readonly #changes = new Map<string, NameChange[]>();
  readonly #directories = new Set<string>();
  readonly #directorySynced = new Map<string, number>();
  #open: DriveStep[] = [];
  #next = 0;
  #position = 0;
  /** Nothing is pending: one state. */
  settled = true;

  constructor(start: DriveSnapshot, record: readonly DriveStep[]) {
    this.#record = record;
    for (const [path, inode] of start.names) this.#names.set(path, inode);
    for (const [inode, { data, modifiedMs }] of start.files) this.#file(inode, data, modifiedMs);
    for (const directory of start.directories) this.#directories.add(directory);
  }

  #file(inode: Inode, base: Buffer = Buffer.alloc(0), modifiedMs = 0): FileReplay {
    let file = this.#files.get(inode);
    if (file === undefined) {
      file = {
        base,
        modifiedMs: modifiedMs === 0 ? inode.modifiedMs : modifiedMs,
        tail: [],
        syncedBefore: -1,
        droppedBefore: -1,
        whole: undefined,
      };
      this.#files.set(inode, file);
    }
    return file;
  }

  /** Goes on to position `p`; never back. */
  advance(p: number): void {
    this.#position = p;
    const ended: DriveStep[] = [];
    for (; this.#next < this.#record.length; this.#next += 1) {
      const step = this.#record[this.#next] as DriveStep;
      if (step.begin >= p) break;
      this.#open.push(step);
      this.#begin(step);
    }
    this.#open = this.#open.filter((step) => {
      if (step.end >= p) return true;
      ended.push(step);
      return false;
    });
    for (const step of ended.toSorted((a, b) => a.end - b.end)) this.#end(step);
    if (ended.length > 0) this.#fold();
    this.settled = this.#changes.size === 0 && this.#open.length === 0;
    if (this.settled) {
      for (const file of this.#files.values()) if (file.tail.length > 0) this.settled = false;
    }
  }

  #begin(step: DriveStep): void {
    if (step.kind === 'write' || step.kind === 'resize') {
      const file = this.#file(step.inode);
      file.tail.push(step);
      file.whole = undefined;
    } else if (step.kind === 'name') this.#pend(step);
  }

  #pend(step: Extract<DriveStep, { kind: 'name' }>): void {
    for (const [path, inode] of step.changes) {
      const changes = this.#changes.get(path);
      if (changes === undefined) this.#changes.set(path, [{ inode, step }]);
      else changes.push({ inode, step });
    }
  }

  #end(step: DriveStep): void {
    if (step.kind === 'sync') {
      const file = this.#file(step.inode);
      if (step.failed) file.droppedBefore = Math.max(file.droppedBefore, step.begin);
      else file.syncedBefore = Math.max(file.syncedBefore, step.begin);
    } else if (step.failed) {
      this.#forget(step);
    } else if (step.kind === 'directory') {
      const names = step.directory.split('/');
      for (let i = 1; i <= names.length; i += 1) {
        this.#directories.add(names.slice(0, i).join('/'));
      }
    } else if (step.kind === 'sync-directory') {
      this.#directorySynced.set(step.directory, step.begin);
    }
  }

  #forget(step: DriveStep): void {
    if (step.kind === 'write' || step.kind === 'resize') {
      const file = this.#file(step.inode);
      // A failed write may have left anything of it; a refused one (ENOSPC) leaves nothing durable.
      file.tail = file.tail.filter((one) => one !== step);
    }
    if (step.kind !== 'name') return;
    for (const [path, changes] of this.#changes) {
      const rest = changes.filter((one) => one.step !== step);
      if (rest.length === 0) this.#changes.delete(path);
      else this.#changes.set(path, rest);
    }
  }

  #isSafe(step: DataStep, file: FileReplay): boolean {
    if (step.end >= this.#position) return false;
    if (step.kind === 'write' && step.durable) return true;
    return step.end < file.syncedBefore && step.end >= file.droppedBefore;
  }

  #fold(): void {
    for (const file of this.#files.values()) {
      while (file.tail.length > 0) {
        const first = file.tail[0] as DataStep;
        if (!this.#isSafe(first, file)) break;
        file.base = applied(Buffer.from(file.base), first);
        if (first.kind === 'write') file.modifiedMs = first.ms;
        file.tail.shift();
        file.whole = undefined;
      }
    }
    for (const [path, changes] of this.#changes) {
      const synced = this.#directorySynced.get(parentOf(path)) ?? -1;
      while (changes.length > 0) {
        const first = changes[0] as NameChange;
        if (first.step.end >= synced) break;
        if (first.inode === undefined) this.#names.delete(path);
        else this.#names.set(path, first.inode);
        changes.shift();
      }
      if (changes.length === 0) this.#changes.delete(path);
    }
  }

  /** One state, as chance has it. `note` is told of each choice: equal notes, equal states. */
  image(kind: CrashKind, draw: Seeded, note: (choice: number) => void): Image {
    const inodes = new Map<Inode, Inode>();
    const chosen = (inode: Inode): Inode => {
      let own = inodes.get(inode);
      if (own === undefined) {
        own = this.#state(inode, kind, { draw, note });
        inodes.set(inode, own);
      }
      return own;
    };
    const names = new Map<string, Inode>();
    for (const [path, inode] of this.#names) {
      if (!this.#changes.has(path)) names.set(path, chosen(inode));
    }
    for (const [path, changes] of this.#changes) {
      let inode = this.#names.get(path);
      for (const change of changes) {
        const stands = change.step.end < this.#position;
        if (stays(kind, stands, draw) === false) {
          note(0);
          continue;
        }
        note(1);
        inode = change.inode;
      }
      if (inode !== undefined) names.set(path, chosen(inode));
    }
    const directories = new Set(this.#directories);
    for (const step of this.#open) {
      if (step.kind !== 'directory') continue;
      const made = draw.next() < 0.5;
      note(made ? 1 : 0);
      const parts = step.directory.split('/');
      if (made)
        for (let i = 1; i <= parts.length; i += 1) directories.add(parts.slice(0, i).join('/'));
    }
    return { names, directories };
  }

  #state(
    inode: Inode,
    kind: CrashKind,
    { draw, note }: { draw: Seeded; note: (choice: number) => void },
  ): Inode {
    const file = this.#file(inode);
    if (file.tail.length === 0) {
      file.whole ??= frozen(file.base, file.modifiedMs);
      return file.whole;
    }
    let data: Buffer = Buffer.from(file.base);
    let { modifiedMs } = file;
    for (const step of file.tail) {
      if (this.#isSafe(step, file)) data = applied(data, step);
      else {
        const stands = step.end < this.#position;
        data = fated(data, step, { kind, stands, draw, note });
      }
      if (step.kind === 'write' && step.ms > 0) modifiedMs = step.ms;
    }
    return frozen(data, modifiedMs);
  }
}

function frozen(data: Buffer, modifiedMs: number): Inode {
  const inode = new Inode(data, modifiedMs);
  inode.frozen = true;
  return inode;
}

function applied(data: Buffer, step: DataStep): Buffer {
  return step.kind === 'write' ? patched(data, step.at, step.bytes) : resized(data, step.size);
}

function stays(kind: CrashKind, stands: boolean, draw: Seeded): boolean {
  if (kind === 'lost') return false;
  if (kind === 'kill' && stands) return true;
  return draw.next() < 0.5;
}

interface Fate {
  kind: CrashKind;
  /** It had ended before the crash. */
  stands: boolean;
  draw: Seeded;
  note: (choice: number) => void;
}

function fated(data: Buffer, step: DataStep, { kind, stands, draw, note }: Fate): Buffer {
  if (kind === 'lost') return data;
  if (kind === 'kill' && stands) return applied(data, step);
  const luck = draw.below(10);
  note(luck);
  if (luck < 3) return data;
  if (luck < 6 || step.kind === 'resize') return applied(data, step);
  if (luck === 6) {
    // The length reached the medium, the bytes did not.
    const end = step.at + step.bytes.length;
    return end > data.length ? resized(data, end) : data;
  }
  const sectors = Math.ceil(step.bytes.length / SECTOR);
  const whole = luck === 7 ? draw.below(sectors + 1) : undefined;
  note(whole ?? 0);
  const kept: number[] = [];
  for (let i = 0; i < sectors; i += 1) {
    const isKept = whole === undefined ? draw.next() < 0.5 : i < whole;
    if (whole === undefined) note(isKept ? 1 : 0);
    if (isKept) kept.push(i);
  }
  const last = kept.at(-1);
  if (last === undefined) return data;
  const end = step.at + Math.min(step.bytes.length, (last + 1) * SECTOR);
  const out = end > data.length ? resized(data, end) : data;
  for (const i of kept) {
    out.set(step.bytes.subarray(i * SECTOR, (i + 1) * SECTOR), step.at + i * SECTOR);
  }
  return out;
}
