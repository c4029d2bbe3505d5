// What every drive owes node groups, and a drive in memory that keeps what was not synced apart:
// power can be cut at any instant (each unsynced write is then kept, torn or lost by a seeded draw,
// each unsynced name kept or lost), writes and syncs can fail, hang, run out of room or be ignored.
// The same suite runs on it and on a real directory, so that the fake stays true.

import type { ExecutionContext, TestFn } from 'ava';
import type {
  Drive,
  DriveFile,
  DriveOpenMode,
  DriveStat,
  DriveUsage,
} from '../../appliance/model/drive.ts';

/** A small seeded generator: the same seed, the same run. */
export class Seeded {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761 + 1) >>> 0 || 1;
  }

  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    this.#state >>>= 0;
    return this.#state / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.next() * count);
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }
}

interface Unsynced {
  position: number;
  bytes: Uint8Array;
}

class Node {
  now: Buffer = Buffer.alloc(0);
  durable: Buffer = Buffer.alloc(0);
  unsynced: Unsynced[] = [];
  modifiedMs = Date.now();
  /** A sync failed: what it would have kept is gone, and a second sync must not claim otherwise. */
  poisoned = false;
}

export interface Fault {
  operation: 'write' | 'sync' | 'read' | 'open';
  /** Errno name, or 'HANG'. */
  code: string;
  /** Only paths that begin so. */
  path?: string;
  /** How often; default: always. */
  times?: number;
}

const SECTOR = 512;

function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${path}`), { code });
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

function patched(base: Buffer, position: number, bytes: Uint8Array): Buffer {
  const end = position + bytes.length;
  const out = end > base.length ? Buffer.concat([base, Buffer.alloc(end - base.length)]) : base;
  out.set(bytes, position);
  return out;
}

/** The medium: survives crashes; SimulatedDrive is one life of a drive on it. */
export class Medium {
  readonly names = new Map<string, Node>();
  readonly durableNames = new Map<string, Node>();
  readonly directories = new Set<string>();
  capacityBytes = 1e12;
  faults: Fault[] = [];
  powered = true;
  syncs = 0;
  writes = 0;
  /** Called when a write has ended: a test may let something happen right then. */
  wrote: (path: string) => void = () => undefined;
  syncsAfterError = 0;
  ignoresSync = false;
  ignoresDirectorySync = false;

  get usedBytes(): number {
    let used = 0;
    for (const node of new Set(this.names.values())) used += node.now.length;
    return used;
  }

  /** Power is gone and back: the seeded draw decides about everything that was not synced. */
  crash(draw: Seeded): void {
    for (const node of new Set([...this.names.values(), ...this.durableNames.values()])) {
      for (const { position, bytes } of node.unsynced) {
        const luck = draw.next();
        if (luck < 0.4) continue;
        const sectors = Math.ceil(bytes.length / SECTOR);
        const kept = luck < 0.7 ? bytes : bytes.subarray(0, draw.below(sectors + 1) * SECTOR);
        node.durable = patched(node.durable, position, kept);
      }
      node.unsynced = [];
      node.now = Buffer.from(node.durable);
    }
    const all = new Set([...this.names.keys(), ...this.durableNames.keys()]);
    for (const path of all) {
      const [now, durable] = [this.names.get(path), this.durableNames.get(path)];
      const kept = now === durable || draw.next() < 0.5 ? now : durable;
      if (kept === undefined) this.names.delete(path);
      else this.names.set(path, kept);
    }
    this.durableNames.clear();
    for (const [path, node] of this.names) this.durableNames.set(path, node);
    this.powered = true;
  }
}

class SimulatedFile implements DriveFile {
  readonly #drive: SimulatedDrive;
  readonly #node: Node;
  readonly #path: string;
  readonly #durable: boolean;
  #closed = false;

  constructor(drive: SimulatedDrive, node: Node, how: { path: string; durable: boolean }) {
    this.#drive = drive;
    this.#node = node;
    this.#path = how.path;
    this.#durable = how.durable;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    await this.#drive.turn('read', this.#path);
    return this.readNow(target, position);
  }

  readNow(target: Uint8Array, position: number): number {
    if (this.#closed) throw errno('EBADF', this.#path);
    const bytes = this.#node.now.subarray(position, position + target.length);
    target.set(bytes);
    return bytes.length;
  }

  async write(bytes: Uint8Array | readonly Uint8Array[], position: number): Promise<void> {
    const { medium } = this.#drive;
    const all = bytes instanceof Uint8Array ? [bytes] : bytes;
    await this.#drive.turn('write', this.#path);
    if (this.#closed) throw errno('EBADF', this.#path);
    let at = position;
    for (const part of all) {
      const grows = Math.max(0, at + part.length - this.#node.now.length);
      if (medium.usedBytes + grows > medium.capacityBytes) throw errno('ENOSPC', this.#path);
      const copy = Uint8Array.from(part);
      this.#node.now = patched(this.#node.now, at, copy);
      if (this.#durable && !medium.ignoresSync) {
        this.#node.durable = patched(this.#node.durable, at, copy);
      } else this.#node.unsynced.push({ position: at, bytes: copy });
      at += part.length;
    }
    this.#node.modifiedMs = Date.now();
    medium.writes += 1;
    medium.wrote(this.#path);
  }

  async sync(): Promise<void> {
    const { medium } = this.#drive;
    if (this.#node.poisoned) medium.syncsAfterError += 1;
    try {
      await this.#drive.turn('sync', this.#path);
    } catch (error) {
      this.#node.poisoned = true;
      this.#node.unsynced = [];
      throw error;
    }
    medium.syncs += 1;
    if (medium.ignoresSync) return;
    this.#node.unsynced = [];
    this.#node.durable = Buffer.from(this.#node.now);
  }

  async resize(sizeBytes: number): Promise<void> {
    await this.#drive.turn('write', this.#path);
    const { now } = this.#node;
    const more = sizeBytes - now.length;
    this.#node.now =
      more > 0 ? Buffer.concat([now, Buffer.alloc(more)]) : Buffer.from(now.subarray(0, sizeBytes));
  }

  async stat(): Promise<DriveStat> {
    return this.#drive.stat(this.#path);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.resolve();
  }
}

export class SimulatedDrive implements Drive {
  readonly path: string;
  readonly medium: Medium;
  readonly #life: Medium['names'];

  constructor(path: string, medium: Medium) {
    this.path = path;
    this.medium = medium;
    this.#life = medium.names;
  }

  /** One turn of the event loop, in which faults strike; without power nothing ever returns. */
  async turn(operation: Fault['operation'], path: string): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve));
    if (!this.medium.powered) await new Promise(() => undefined);
    for (const fault of this.medium.faults) {
      if (fault.operation !== operation || !path.startsWith(fault.path ?? '')) continue;
      if (fault.times !== undefined) {
        if (fault.times === 0) continue;
        fault.times -= 1;
      }
      if (fault.code === 'HANG') await new Promise(() => undefined);
      throw errno(fault.code, path);
    }
  }

  #node(path: string): Node {
    const node = this.#life.get(path);
    if (node === undefined) throw errno('ENOENT', path);
    return node;
  }

  async open(
    path: string,
    options: { mode: DriveOpenMode; durable?: boolean },
  ): Promise<DriveFile> {
    await this.turn('open', path);
    if (options.mode === 'create') {
      if (this.#life.has(path)) throw errno('EEXIST', path);
      const parent = parentOf(path);
      if (parent !== '' && !this.medium.directories.has(parent)) throw errno('ENOENT', path);
      this.#life.set(path, new Node());
    }
    return new SimulatedFile(this, this.#node(path), { path, durable: options.durable === true });
  }

  async list(directory: string): Promise<string[]> {
    await this.turn('open', directory);
    if (directory !== '' && !this.medium.directories.has(directory)) {
      throw errno('ENOENT', directory);
    }
    const prefix = directory === '' ? '' : `${directory}/`;
    const all = [...this.#life.keys(), ...this.medium.directories];
    const below = all.filter((path) => path.startsWith(prefix) && path !== directory);
    return [...new Set(below.map((path) => path.slice(prefix.length).split('/')[0] as string))];
  }

  async stat(path: string): Promise<DriveStat> {
    const node = this.#node(path);
    const { modifiedMs } = node;
    return { sizeBytes: node.now.length, allocatedBytes: node.now.length, modifiedMs };
  }

  async rename(from: string, to: string): Promise<void> {
    await this.turn('open', to);
    this.#life.set(to, this.#node(from));
    this.#life.delete(from);
  }

  async link(from: string, to: string): Promise<boolean> {
    await this.turn('open', to);
    if (this.#life.has(to)) return false;
    this.#life.set(to, this.#node(from));
    return true;
  }

  async remove(path: string): Promise<void> {
    await this.turn('open', path);
    this.#life.delete(path);
  }

  async makeDirectory(directory: string): Promise<void> {
    await this.turn('open', directory);
    const names = directory.split('/').filter((name) => name !== '');
    for (let i = 1; i <= names.length; i += 1) {
      this.medium.directories.add(names.slice(0, i).join('/'));
    }
  }

  async syncDirectory(directory: string): Promise<void> {
    await this.turn('sync', directory);
    if (this.medium.ignoresDirectorySync) return;
    const inside = (path: string): boolean => parentOf(path) === directory;
    for (const path of this.medium.durableNames.keys()) {
      if (inside(path) && !this.#life.has(path)) this.medium.durableNames.delete(path);
    }
    for (const [path, node] of this.#life) {
      if (inside(path)) this.medium.durableNames.set(path, node);
    }
  }

  async usage(): Promise<DriveUsage> {
    const { capacityBytes, usedBytes } = this.medium;
    const freeBytes = Math.max(0, capacityBytes - usedBytes);
    return { capacityBytes, freeBytes, device: 'simulated', mounted: false };
  }
}

const bytesOf = (text: string): Uint8Array => Buffer.from(text);

/** The suite. `make` gives a drive whose directory is there and empty. */
export function driveContract(
  test: TestFn,
  name: string,
  make: () => Promise<{ drive: Drive; cleanup(): Promise<void> }>,
): void {
  const check = (
    title: string,
    use: (t: ExecutionContext, drive: Drive) => Promise<void>,
  ): void => {
    test.serial(`${name}: ${title}`, async (t) => {
      const made = await make();
      try {
        await use(t, made.drive);
      } finally {
        await made.cleanup();
      }
    });
  };
  const codeOf = async (action: Promise<unknown>): Promise<string> =>
    action.then(
      () => 'none',
      (error: unknown) => String((error as NodeJS.ErrnoException).code),
    );

  check(
    'bytes written are the bytes read, wherever and however they were given',
    async (t, drive) => {
      await drive.makeDirectory('a/b');
      for (const durable of [false, true]) {
        const path = `a/b/file-${durable}`;
        const file = await drive.open(path, { mode: 'create', durable });
        await file.write([bytesOf('head'), bytesOf(''), bytesOf('-body')], 0);
        await file.write(bytesOf('tail'), 12);
        await file.sync();
        await file.close();
        await file.close();
        const again = await drive.open(path, { mode: 'read' });
        const target = Buffer.alloc(20, 0xff);
        t.is(await again.read(target, 0), 16, 'a short count is the end of the file');
        t.is(target.toString('latin1', 0, 16), 'head-body\0\0\0tail', 'a hole reads as zeros');
        t.is(again.readNow(target.subarray(0, 4), 12), 4);
        t.is(target.toString('latin1', 0, 4), 'tail');
        t.is(await again.read(target, 16), 0);
        t.is((await again.stat()).sizeBytes, 16);
        await again.close();
      }
      t.deepEqual((await drive.list('a/b')).toSorted(), ['file-false', 'file-true']);
      t.deepEqual(await drive.list(''), ['a']);
    },
  );

  check('a name is taken by one, however many try', async (t, drive) => {
    await drive.makeDirectory('tmp');
    const make1 = async (path: string): Promise<void> => {
      const file = await drive.open(path, { mode: 'create' });
      await file.close();
    };
    await make1('tmp/1');
    await make1('tmp/2');
    t.is(await codeOf(make1('tmp/1')), 'EEXIST');
    const won = await Promise.all([drive.link('tmp/1', 'here'), drive.link('tmp/2', 'here')]);
    t.is(won.filter(Boolean).length, 1);
    await make1('tmp/3');
    await drive.rename('tmp/3', 'here');
    t.is(await codeOf(drive.stat('tmp/3')), 'ENOENT');
    await drive.syncDirectory('');
  });

  check('what is absent is told, and removing it twice is no error', async (t, drive) => {
    t.is(await codeOf(drive.open('nothing', { mode: 'read' })), 'ENOENT');
    t.is(await codeOf(drive.open('nothing', { mode: 'change' })), 'ENOENT');
    t.is(await codeOf(drive.open('no/where', { mode: 'create' })), 'ENOENT');
    t.is(await codeOf(drive.list('nowhere')), 'ENOENT');
    t.is(await codeOf(drive.stat('nothing')), 'ENOENT');
    await drive.remove('nothing');
    await drive.makeDirectory('there');
    await drive.makeDirectory('there');
  });

  check(
    'a file grows and shrinks without being written, and an open one outlives its name',
    async (t, drive) => {
      const file = await drive.open('file', { mode: 'create' });
      await file.write(bytesOf('abcdef'), 0);
      await file.resize(3);
      await file.resize(5);
      await file.sync();
      await drive.remove('file');
      const target = Buffer.alloc(8);
      t.is(await file.read(target, 0), 5);
      t.is(target.toString('latin1', 0, 5), 'abc\0\0');
      await file.close();
      const { capacityBytes, freeBytes } = await drive.usage();
      t.true(capacityBytes >= freeBytes && freeBytes > 0);
    },
  );
}
