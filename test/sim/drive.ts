// A drive in memory that keeps apart what is durable and what is not. While it records, each change
// is a step of the scheduler; `replay.ts` makes of the record what power failure leaves. Strict
// where file systems differ: data is durable by a sync of its file that began after the write
// ended, a name by a sync of its directory, and nothing else (an fsync of a new file does not keep
// its name). A failed sync marks pages clean: no later sync brings back what it dropped.

import type {
  Drive,
  DriveFile,
  DriveOpenMode,
  DriveStat,
  DriveUsage,
} from '../../appliance/model/drive.ts';
import type { Scheduler, Step } from './scheduler.ts';

export class Inode {
  data: Buffer;
  modifiedMs: number;
  /** Shared by many states: whoever writes has taken the wrong one. */
  frozen = false;
  /** The bytes are another's too: copied before they are changed. */
  lent = false;

  constructor(data: Buffer, modifiedMs: number) {
    this.data = data;
    this.modifiedMs = modifiedMs;
  }
}

/** What stands on a drive at one instant. */
export interface Image {
  names: Map<string, Inode>;
  directories: Set<string>;
}

/** An image, with the bytes of its files as they were then. */
export interface DriveSnapshot extends Image {
  files: Map<Inode, { data: Buffer; modifiedMs: number }>;
}

export function snapshotOf({ names, directories }: Image): DriveSnapshot {
  const files = new Map<Inode, { data: Buffer; modifiedMs: number }>();
  for (const inode of names.values()) {
    files.set(inode, { data: Buffer.from(inode.data), modifiedMs: inode.modifiedMs });
  }
  return { names: new Map(names), directories: new Set(directories), files };
}

export const emptyImage = (): Image => ({ names: new Map(), directories: new Set() });

/** Own files, so that what is done to them through a drive is done to nobody else's. */
export function thawed(image: Image): Image {
  const known = new Map<Inode, Inode>();
  const names = new Map<string, Inode>();
  for (const [path, inode] of image.names) {
    let own = known.get(inode);
    if (own === undefined) {
      own = new Inode(inode.data, inode.modifiedMs);
      own.lent = true;
      known.set(inode, own);
    }
    names.set(path, own);
  }
  return { names, directories: new Set(image.directories) };
}

/** Bytes of a file that may be changed at hand, past its drive. */
export function bytesOfFile(inode: Inode): Buffer {
  if (inode.lent) inode.data = Buffer.from(inode.data);
  inode.lent = false;
  return inode.data;
}

export type DriveStep = Step &
  (
    | { kind: 'write'; inode: Inode; at: number; bytes: Uint8Array; durable: boolean; ms: number }
    | { kind: 'resize'; inode: Inode; size: number }
    | { kind: 'sync'; inode: Inode }
    | { kind: 'name'; changes: [path: string, inode: Inode | undefined][] }
    | { kind: 'directory'; directory: string }
    | { kind: 'sync-directory'; directory: string }
  );

type Body = DriveStep extends infer S ? (S extends Step ? Omit<S, keyof Step> : never) : never;

export interface DriveFault {
  operation: 'write' | 'sync' | 'read' | 'open';
  /** Errno name, or 'HANG'. */
  code: string;
  /** Only paths that begin so. */
  path?: string;
  /** How often; default: always. */
  times?: number;
}

/** What a drive (or the code above it) may get wrong, for mutants. */
export interface DriveLies {
  sync?: boolean;
  directorySync?: boolean;
  /** A write keeps only so many bytes and says nothing. */
  shortBytes?: number;
}

export interface DriveOptions {
  /** Position in its group, for names of points. */
  position: number;
  lanes: number;
  now: () => number;
  device?: string;
}

const SYSTEM_MS = 1;

export function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${path}`), { code });
}

export const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** Bytes put into a copy that is long enough, or in place where that is allowed. */
export function patched(base: Buffer, at: number, bytes: Uint8Array): Buffer {
  const end = at + bytes.length;
  const out = end > base.length ? Buffer.concat([base, Buffer.alloc(end - base.length)]) : base;
  out.set(bytes, at);
  return out;
}

export function resized(base: Buffer, size: number): Buffer {
  if (size <= base.length) return Buffer.from(base.subarray(0, size));
  return Buffer.concat([base, Buffer.alloc(size - base.length)]);
}

class SimFile implements DriveFile {
  readonly #drive: SimDrive;
  readonly #inode: Inode;
  readonly #path: string;
  readonly #durable: boolean;
  #closed = false;

  constructor(drive: SimDrive, inode: Inode, how: { path: string; durable: boolean }) {
    this.#drive = drive;
    this.#inode = inode;
    this.#path = how.path;
    this.#durable = how.durable;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    if (this.#drive.strikes('read', this.#path)) await new Promise(() => undefined);
    return this.readNow(target, position);
  }

  readNow(target: Uint8Array, position: number): number {
    if (this.#closed) throw errno('EBADF', this.#path);
    const { data } = this.#inode;
    const count = Math.max(0, Math.min(target.length, data.length - position));
    if (count > 0) target.set(data.subarray(position, position + count));
    return count;
  }

  async write(bytes: Uint8Array | readonly Uint8Array[], position: number): Promise<void> {
    if (this.#closed) throw errno('EBADF', this.#path);
    const parts = bytes instanceof Uint8Array ? [bytes] : bytes;
    const copy = Buffer.concat(parts);
    const kept = copy.subarray(0, this.#drive.lies.shortBytes ?? copy.length);
    const inode = this.#inode;
    const durable = this.#durable && this.#drive.lies.sync !== true;
    const body: Body = { kind: 'write', inode, at: position, bytes: kept, durable, ms: 0 };
    await this.#drive.change('write', this.#path, body, () => {
      if (Buffer.compare(Buffer.concat(parts), copy) !== 0) {
        throw new Error(`bytes changed while they were written: ${this.#path}`);
      }
      this.#drive.fits(position + kept.length - inode.data.length, this.#path);
      this.#alter(() => patched(inode.data, position, kept));
      body.ms = inode.modifiedMs;
    });
  }

  async sync(): Promise<void> {
    await this.#drive.change('sync', this.#path, { kind: 'sync', inode: this.#inode }, () => {});
  }

  async resize(sizeBytes: number): Promise<void> {
    const body: Body = { kind: 'resize', inode: this.#inode, size: sizeBytes };
    await this.#drive.change('write', this.#path, body, () =>
      this.#alter(() => resized(this.#inode.data, sizeBytes)),
    );
  }

  #alter(next: () => Buffer): void {
    if (this.#inode.frozen) throw new Error(`a state that only is read was written: ${this.#path}`);
    this.#own();
    this.#inode.data = next();
    this.#inode.modifiedMs = this.#drive.now();
  }

  #own(): void {
    if (!this.#inode.lent) return;
    this.#inode.data = Buffer.from(this.#inode.data);
    this.#inode.lent = false;
  }

  async stat(): Promise<DriveStat> {
    const { data, modifiedMs } = this.#inode;
    return { sizeBytes: data.length, allocatedBytes: data.length, modifiedMs };
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}

export class SimDrive implements Drive {
  readonly path: string;
  image: Image;
  /** Undefined: changes happen at once and are not recorded. */
  scheduler: Scheduler | undefined;
  readonly record: DriveStep[] = [];
  faults: DriveFault[] = [];
  lies: DriveLies = {};
  gone = false;
  capacityBytes = Infinity;
  readonly #options: DriveOptions;

  constructor(path: string, image: Image, options: DriveOptions) {
    this.path = path;
    this.image = image;
    this.#options = options;
  }

  now(): number {
    return this.#options.now() + SYSTEM_MS;
  }

  /** A fault that is due strikes: throws, or true where nothing ever returns. */
  strikes(operation: DriveFault['operation'], path: string): boolean {
    if (this.gone) throw errno('ENOENT', path);
    for (const fault of this.faults) {
      if (fault.operation !== operation || !path.startsWith(fault.path ?? '')) continue;
      if (fault.times !== undefined) {
        if (fault.times === 0) continue;
        fault.times -= 1;
      }
      if (fault.code === 'HANG') return true;
      throw errno(fault.code, path);
    }
    return false;
  }

  fits(more: number, path: string): void {
    if (this.capacityBytes === Infinity || more <= 0) return;
    if (this.#usedBytes() + more > this.capacityBytes) throw errno('ENOSPC', path);
  }

  #usedBytes(): number {
    let used = 0;
    for (const inode of new Set(this.image.names.values())) used += inode.data.length;
    return used;
  }

  /** One change: a step of the scheduler where there is one. */
  async change(
    operation: DriveFault['operation'],
    path: string,
    body: Body,
    effect: () => void,
  ): Promise<void> {
    const { scheduler } = this;
    if (scheduler === undefined || !scheduler.recording) {
      if (this.strikes(operation, path)) await new Promise(() => undefined);
      effect();
      return;
    }
    const name = `${scheduler.phase}/${this.#label(body.kind, path)}`;
    const step = { ...body, name, begin: 0, end: Infinity, failed: false } as DriveStep;
    this.record.push(step);
    const hangs = this.faults.some(
      (fault) =>
        fault.code === 'HANG' && fault.operation === operation && path.startsWith(fault.path ?? ''),
    );
    await scheduler.step(
      step,
      () => {
        this.strikes(operation, path);
        effect();
        if (step.kind === 'write' && body.kind === 'write') step.ms = body.ms;
      },
      hangs,
    );
  }

  #label(kind: Body['kind'], path: string): string {
    const { position, lanes } = this.#options;
    const id = /[0-9a-f]{32}$/.exec(path)?.[0];
    const room = path.startsWith('segments')
      ? 'segment'
      : path.startsWith('shards')
        ? 'shard'
        : path.startsWith('tmp')
          ? 'temporary'
          : path.startsWith('dead')
            ? 'note'
            : path.startsWith('journal') || path.startsWith('snapshot')
              ? path.split('/')[0]
              : 'drive';
    if (id === undefined || path.startsWith('tmp')) return `${room}-${kind}/drive-${position}`;
    const lane = (position - (Number.parseInt(id.slice(24), 16) % lanes) + lanes) % lanes;
    return `${room}-${kind}/lane-${lane}`;
  }

  #inode(path: string): Inode {
    const inode = this.image.names.get(path);
    if (inode === undefined) throw errno('ENOENT', path);
    return inode;
  }

  async open(
    path: string,
    options: { mode: DriveOpenMode; durable?: boolean },
  ): Promise<DriveFile> {
    const how = { path, durable: options.durable === true };
    if (options.mode !== 'create') {
      if (this.strikes('open', path)) await new Promise(() => undefined);
      return new SimFile(this, this.#inode(path), how);
    }
    const inode = new Inode(Buffer.alloc(0), this.now());
    await this.change('open', path, { kind: 'name', changes: [[path, inode]] }, () => {
      if (this.image.names.has(path)) throw errno('EEXIST', path);
      this.#needsParent(path);
      this.image.names.set(path, inode);
    });
    return new SimFile(this, inode, how);
  }

  #needsParent(path: string): void {
    const parent = parentOf(path);
    if (parent !== '' && !this.image.directories.has(parent)) throw errno('ENOENT', path);
  }

  async list(directory: string): Promise<string[]> {
    if (this.strikes('open', directory)) await new Promise(() => undefined);
    if (directory !== '' && !this.image.directories.has(directory)) {
      throw errno('ENOENT', directory);
    }
    const prefix = directory === '' ? '' : `${directory}/`;
    const names = new Set<string>();
    for (const all of [this.image.names.keys(), this.image.directories]) {
      for (const path of all) {
        if (path === directory || !path.startsWith(prefix)) continue;
        names.add(path.slice(prefix.length).split('/')[0] as string);
      }
    }
    return [...names];
  }

  async stat(path: string): Promise<DriveStat> {
    if (this.strikes('open', path)) await new Promise(() => undefined);
    const { data, modifiedMs } = this.#inode(path);
    return { sizeBytes: data.length, allocatedBytes: data.length, modifiedMs };
  }

  async rename(from: string, to: string): Promise<void> {
    const changes: [string, Inode | undefined][] = [
      [to, this.image.names.get(from)],
      [from, undefined],
    ];
    await this.change('open', to, { kind: 'name', changes }, () => {
      this.#needsParent(to);
      this.image.names.set(to, this.#inode(from));
      this.image.names.delete(from);
    });
  }

  async link(from: string, to: string): Promise<boolean> {
    if (this.image.names.has(to)) return false;
    let won = false;
    const body: Body = { kind: 'name', changes: [] };
    await this.change('open', to, body, () => {
      if (this.image.names.has(to)) return;
      body.changes.push([to, this.#inode(from)]);
      this.image.names.set(to, this.#inode(from));
      won = true;
    });
    return won;
  }

  async remove(path: string): Promise<void> {
    if (!this.image.names.has(path)) {
      this.strikes('open', path);
      return;
    }
    await this.change('open', path, { kind: 'name', changes: [[path, undefined]] }, () => {
      this.image.names.delete(path);
    });
  }

  async makeDirectory(directory: string): Promise<void> {
    const names = directory.split('/').filter((name) => name !== '');
    const all = names.map((_, i) => names.slice(0, i + 1).join('/'));
    if (all.every((one) => this.image.directories.has(one))) {
      if (this.strikes('open', directory)) await new Promise(() => undefined);
      return;
    }
    await this.change('open', directory, { kind: 'directory', directory }, () => {
      for (const one of all) this.image.directories.add(one);
    });
  }

  async syncDirectory(directory: string): Promise<void> {
    if (this.lies.directorySync === true) return;
    await this.change('sync', directory, { kind: 'sync-directory', directory }, () => {});
  }

  async usage(): Promise<DriveUsage> {
    if (this.strikes('open', '')) await new Promise(() => undefined);
    const capacityBytes = Math.min(this.capacityBytes, 1e15);
    const used = this.capacityBytes === Infinity ? 0 : this.#usedBytes();
    const device = this.#options.device ?? this.path;
    return { capacityBytes, freeBytes: Math.max(0, capacityBytes - used), device, mounted: false };
  }
}
