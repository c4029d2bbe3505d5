// Small file systems of their own for system tests: ext4 in a file over a loop device, one a drive,
// that can be filled, remounted read-only and cut off as by a power failure. Needs root. What was
// mounted here is unmounted by dispose(), and when the test process ends in any other way; nothing
// else is ever touched.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

const MiB = 1024 * 1024;

/** ioctl EXT4_IOC_SHUTDOWN, 2: nothing that is not on the device yet ever gets there. */
const POWER_OFF = `
import fcntl, os, struct, sys
files = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
for file in files:
    fcntl.ioctl(file, 0x8004587D, struct.pack('I', 2))
`;

const run = (program: string, ...args: string[]): string =>
  execFileSync(program, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });

const firstLines = (error: unknown): string => {
  const { message, stderr } = error as { message: string; stderr?: string };
  const text = stderr === undefined || stderr === '' ? message : stderr;
  return text.trim().split('\n').slice(0, 2).join(' ');
};

const living = new Set<LoopDrives>();
process.on('exit', () => {
  for (const one of living) one.dispose();
});

export class LoopDrives {
  /** Where images and mount points are; removed by dispose. */
  readonly directory: string;
  readonly #images = new Map<string, string>();
  readonly #mounted = new Set<string>();

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), 'firn-loop-'));
    living.add(this);
  }

  /** A fresh file system of this size at `name` below the directory; its path. */
  make(name: string, sizeBytes: number): string {
    const image = join(this.directory, `${name.replaceAll('/', '-')}.image`);
    const path = join(this.directory, name);
    run('truncate', '-s', String(sizeBytes), image);
    run('mkfs.ext4', '-q', '-F', '-m', '0', '-E', 'nodiscard', image);
    mkdirSync(path, { recursive: true });
    this.#images.set(path, image);
    this.mount(path);
    return path;
  }

  mount(path: string): void {
    // The loop device is let go of with the mount: none is left behind.
    run('mount', '-o', 'loop,errors=remount-ro', this.#images.get(path) as string, path);
    this.#mounted.add(path);
  }

  unmount(path: string): void {
    run('umount', path);
    this.#mounted.delete(path);
  }

  /** It finds an error in itself and is read-only from then on, whoever has files open. */
  turnReadOnly(path: string): void {
    const device = basename(run('findmnt', '-n', '-o', 'SOURCE', path).trim());
    writeFileSync(`/sys/fs/ext4/${device}/trigger_fs_error`, 'firn test');
  }

  /** Unmounted, checked, mounted again. */
  repair(path: string): void {
    this.unmount(path);
    try {
      run('e2fsck', '-f', '-p', this.#images.get(path) as string);
    } catch (error) {
      // 1: errors were corrected.
      if ((error as { status?: number }).status !== 1) throw error;
    }
    this.mount(path);
  }

  /** No more room for anybody; answers how it is freed again. */
  fill(path: string): () => void {
    const file = join(path, 'of-somebody-else');
    for (const block of ['1M', '4k']) {
      try {
        run('dd', 'if=/dev/zero', `of=${file}-${block}`, `bs=${block}`, 'conv=fsync');
      } catch {
        // Full, as it should be.
      }
    }
    return () => {
      for (const block of ['1M', '4k']) rmSync(`${file}-${block}`, { force: true });
    };
  }

  /** All of them at once lose what they had not synced, and answer nothing more until remounted. */
  powerOff(paths: readonly string[]): void {
    const script = join(this.directory, 'power-off.py');
    writeFileSync(script, POWER_OFF);
    run('python3', script, ...paths);
  }

  /** Safe twice. Processes that use them should have ended. */
  dispose(): void {
    living.delete(this);
    for (const path of this.#mounted) {
      try {
        run('umount', '-l', path);
      } catch {
        // Gone already.
      }
    }
    this.#mounted.clear();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/** Why there are no loop drives here; undefined: there are. Also proves the power switch. */
export function whyNoLoopDrives(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may mount';
  const loops = new LoopDrives();
  try {
    const path = loops.make('probe', 8 * MiB);
    loops.powerOff([path]);
    loops.unmount(path);
    loops.mount(path);
    return undefined;
  } catch (error) {
    return firstLines(error);
  } finally {
    loops.dispose();
  }
}

/** Why system calls can't be made to fail here; undefined: they can. */
export function whyNoInjection(): string | undefined {
  if (process.getuid?.() !== 0) return 'only root may trace other processes';
  try {
    const args = ['-f', '-o', '/dev/null', '-e', 'inject=fsync:error=EIO', 'true'];
    run('strace', ...args);
    return undefined;
  } catch (error) {
    return firstLines(error);
  }
}
