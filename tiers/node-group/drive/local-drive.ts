// A drive that is a directory of this host. The dangers it answers: a short write taken for a whole
// one (measured: raw writes acknowledge 100 of 4,096 bytes when a drive fills up), a name that is
// lost after power failure because only the file was synced, and a file opened durable that is not.
// Files opened durable use O_DSYNC: one call writes and syncs (a third less CPU than fdatasync
// behind the write).

import fs from 'node:fs';
import { dirname, join } from 'node:path';
import type {
  Drive,
  DriveFile,
  DriveOpenMode,
  DriveStat,
  DriveUsage,
} from '../../../appliance/model/drive.ts';

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL } = fs.constants;
/** Absent on some platforms: there a sync follows each write. */
const O_DSYNC = (fs.constants as { O_DSYNC?: number }).O_DSYNC;
const O_DIRECT = (fs.constants as { O_DIRECT?: number }).O_DIRECT;
/** What is written directly: whole sectors, and so many that it is worth a call of its own. */
const SECTOR_BYTES = 512;
const DIRECT_BYTES_MIN = 256 * 1024;

const FLAGS: Record<DriveOpenMode, number> = {
  read: O_RDONLY,
  change: O_RDWR,
  create: O_RDWR | O_CREAT | O_EXCL,
};

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void;

function call<T>(start: (done: Done<T>) => void): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    start((error, value) =>
      error === null || error === undefined ? resolve(value) : reject(error),
    );
  });
}

function perform(start: (done: fs.NoParamCallback) => void): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    start((error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}

const statOf = (stats: fs.Stats): DriveStat => ({
  sizeBytes: stats.size,
  allocatedBytes: stats.blocks * 512,
  modifiedMs: stats.mtimeMs,
});

class LocalFile implements DriveFile {
  readonly #fd: number;
  readonly #syncs: boolean;
  /** The same file past the page cache; undefined once the device has refused that. */
  #direct: number | undefined;
  #closed = false;

  constructor(fd: number, more: { syncs: boolean; direct?: number | undefined }) {
    this.#fd = fd;
    this.#syncs = more.syncs;
    this.#direct = more.direct;
  }

  read(target: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) => {
      let got = 0;
      const next = (error: Error | null, count: number): void => {
        if (error !== null) return reject(error);
        got += count;
        if (count === 0 || got === target.length) return resolve(got);
        fs.read(this.#fd, target, got, target.length - got, position + got, next);
      };
      fs.read(this.#fd, target, 0, target.length, position, next);
    });
  }

  async readParts(targets: readonly Uint8Array[], position: number): Promise<number> {
    const total = targets.reduce((sum, { length }) => sum + length, 0);
    let got = await call<number>((done) => fs.readv(this.#fd, targets, position, done));
    if (got === total || got === 0) return got;
    // Cut short by a signal, or at the end of the file: each of the rest by itself.
    let start = 0;
    for (const target of targets) {
      const rest = target.subarray(Math.min(target.length, Math.max(0, got - start)));
      start += target.length;
      if (rest.length === 0) continue;
      const count = await this.read(rest, position + got);
      got += count;
      if (count < rest.length) break;
    }
    return got;
  }

  readNow(target: Uint8Array, position: number): number {
    let got = 0;
    while (got < target.length) {
      const count = fs.readSync(this.#fd, target, got, target.length - got, position + got);
      if (count === 0) break;
      got += count;
    }
    return got;
  }

  async write(bytes: Uint8Array | readonly Uint8Array[], position: number): Promise<void> {
    const parts = bytes instanceof Uint8Array ? [bytes] : bytes;
    if (this.#direct !== undefined) await this.#writeEach(parts, position);
    else if (bytes instanceof Uint8Array) await this.#writeAll(bytes, position);
    else await this.#writeGathered(parts, position);
    if (this.#syncs) await this.sync();
  }

  /** What suits goes past the page cache, the rest through it: the kernel keeps both coherent. */
  async #writeEach(parts: readonly Uint8Array[], position: number): Promise<void> {
    let at = position;
    for (const part of parts) {
      if (!(await this.#writeDirect(part, at))) await this.#writeAll(part, at);
      at += part.length;
    }
  }

  /** False if that can't be done here. */
  async #writeDirect(part: Uint8Array, position: number): Promise<boolean> {
    const fd = this.#direct;
    const fits = (part.byteOffset | part.length | position) % SECTOR_BYTES === 0;
    if (fd === undefined || !fits || part.length < DIRECT_BYTES_MIN) return false;
    try {
      const put = await call<number>((done) => fs.write(fd, part, 0, part.length, position, done));
      if (put < part.length) await this.#writeAll(part.subarray(put), position + put);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error;
      // Another size of sector than this one: through the cache from here on.
      this.#direct = undefined;
      await perform((done) => fs.close(fd, done));
      return false;
    }
  }

  #writeAll(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      let put = 0;
      const next = (error: Error | null, count: number): void => {
        if (error !== null) return reject(error);
        put += count;
        if (put >= bytes.length) return resolve();
        fs.write(this.#fd, bytes, put, bytes.length - put, position + put, next);
      };
      fs.write(this.#fd, bytes, 0, bytes.length, position, next);
    });
  }

  async #writeGathered(parts: readonly Uint8Array[], position: number): Promise<void> {
    const total = parts.reduce((sum, part) => sum + part.length, 0);
    const put = await call<number>((done) => fs.writev(this.#fd, parts, position, done));
    if (put === total) return;
    let skip = put;
    let at = position + put;
    for (const part of parts) {
      const rest = part.subarray(Math.min(skip, part.length));
      skip -= part.length - rest.length;
      if (rest.length > 0) await this.#writeAll(rest, at);
      at += rest.length;
    }
  }

  sync(): Promise<void> {
    return perform((done) => fs.fdatasync(this.#fd, done));
  }

  resize(sizeBytes: number): Promise<void> {
    return perform((done) => fs.ftruncate(this.#fd, sizeBytes, done));
  }

  async stat(): Promise<DriveStat> {
    return statOf(await call<fs.Stats>((done) => fs.fstat(this.#fd, done)));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const direct = this.#direct;
    if (direct !== undefined) await perform((done) => fs.close(direct, done));
    await perform((done) => fs.close(this.#fd, done));
  }
}

export class LocalDrive implements Drive {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  #at(path: string): string {
    return path === '' ? this.path : `${this.path}/${path}`;
  }

  async open(
    path: string,
    options: { mode: DriveOpenMode; durable?: boolean; direct?: boolean },
  ): Promise<DriveFile> {
    const durable = options.durable === true;
    const flags = FLAGS[options.mode] | (durable ? (O_DSYNC ?? 0) : 0);
    const fd = await call<number>((done) => fs.open(this.#at(path), flags, 0o640, done));
    const direct = options.direct === true ? await this.#openDirect(path, durable) : undefined;
    return new LocalFile(fd, { syncs: durable && O_DSYNC === undefined, direct });
  }

  /** Undefined on a file system that knows no such thing. */
  async #openDirect(path: string, durable: boolean): Promise<number | undefined> {
    if (O_DIRECT === undefined) return undefined;
    const flags = O_RDWR | O_DIRECT | (durable ? (O_DSYNC ?? 0) : 0);
    return call<number>((done) => fs.open(this.#at(path), flags, done)).catch(() => undefined);
  }

  list(directory: string): Promise<string[]> {
    return call<string[]>((done) => fs.readdir(this.#at(directory), done));
  }

  async stat(path: string): Promise<DriveStat> {
    return statOf(await call<fs.Stats>((done) => fs.stat(this.#at(path), done)));
  }

  rename(from: string, to: string): Promise<void> {
    return perform((done) => fs.rename(this.#at(from), this.#at(to), done));
  }

  async link(from: string, to: string): Promise<boolean> {
    try {
      await perform((done) => fs.link(this.#at(from), this.#at(to), done));
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  async remove(path: string): Promise<void> {
    try {
      await perform((done) => fs.unlink(this.#at(path), done));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }

  async makeDirectory(directory: string): Promise<void> {
    const made = await call<string | undefined>((done) =>
      fs.mkdir(this.#at(directory), { recursive: true, mode: 0o750 }, done),
    );
    // Every directory that gained a name is synced, from the new one's parent up to the first made.
    if (made === undefined) return;
    for (let path = this.#at(directory); path.length >= made.length; path = dirname(path)) {
      await syncPath(dirname(path));
    }
  }

  syncDirectory(directory: string): Promise<void> {
    return syncPath(this.#at(directory));
  }

  async usage(): Promise<DriveUsage> {
    const [room, own, above] = await Promise.all([
      call<fs.StatsFs>((done) => fs.statfs(this.path, done)),
      call<fs.Stats>((done) => fs.stat(this.path, done)),
      call<fs.Stats>((done) => fs.stat(join(this.path, '..'), done)),
    ]);
    // As df counts: what is reserved for root is neither used nor free.
    const used = room.blocks - room.bfree;
    return {
      capacityBytes: (used + room.bavail) * room.bsize,
      freeBytes: room.bavail * room.bsize,
      device: String(own.dev),
      mounted: own.dev !== above.dev,
    };
  }
}

async function syncPath(path: string): Promise<void> {
  const fd = await call<number>((done) => fs.open(path, O_RDONLY, done));
  try {
    await perform((done) => fs.fsync(fd, done));
  } finally {
    await perform((done) => fs.close(fd, done));
  }
}
