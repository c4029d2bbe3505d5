// From a directory to the drive that a person can pull: the device of its file system by number,
// partitions and logical devices followed down to whole drives by the system's own tree (Linux:
// /proc/self/mountinfo, /sys/dev/block, /sys/class/enclosure). Where the tree is not there, the
// answer is that nothing is known, never a guess: a wrong slot makes someone pull a living drive.

import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Logical devices over logical devices; a loop in that tree must end. */
const DEPTH_MAX = 8;

export interface DeviceTree {
  /** In front of /sys and /proc: '' but in tests. */
  root: string;
  /** Numbers of the device a path lies on, and the path with its links followed. */
  numbersOf(path: string): Promise<{ major: number; minor: number; real: string }>;
  /** Numbers of a device file; undefined where it is none. */
  deviceNumbers(file: string): Promise<{ major: number; minor: number } | undefined>;
}

const split = (device: number): { major: number; minor: number } => {
  // As glibc packs them: https://man7.org/linux/man-pages/man3/makedev.3.html
  const big = BigInt(device);
  const major = ((big >> 8n) & 0xfffn) | ((big >> 32n) & ~0xfffn);
  const minor = (big & 0xffn) | ((big >> 12n) & ~0xffn);
  return { major: Number(major), minor: Number(BigInt.asUintN(32, minor)) };
};

export const systemTree: DeviceTree = {
  root: '',
  async numbersOf(path) {
    const real = await realpath(path);
    return { ...split((await stat(real)).dev), real };
  },
  async deviceNumbers(file) {
    const found = await stat(file).catch(() => undefined);
    return found?.isBlockDevice() === true ? split(found.rdev) : undefined;
  },
};

export interface FoundDevice {
  /** The block device of the file system. */
  device: string;
  /** Names of the whole drives below it. */
  drives: string[];
}

/** Undefined where the path lies on no block device of this host: tmpfs, NFS, a pool. */
export async function deviceOf(tree: DeviceTree, path: string): Promise<FoundDevice | undefined> {
  const { major, minor, real } = await tree.numbersOf(path);
  const direct = await sysDirectory(tree, `${major}:${minor}`);
  const own = direct ?? (await byMountSource(tree, real));
  if (own === undefined) return undefined;
  const drives = await wholeDrives(tree, own, DEPTH_MAX);
  return { device: basename(own), drives: [...new Set(drives)].toSorted() };
}

function sysDirectory(tree: DeviceTree, numbers: string): Promise<string | undefined> {
  return realpath(join(tree.root, '/sys/dev/block', numbers)).catch(() => undefined);
}

/**
 * File systems such as btrfs show a number of their own; the mount's source names the device.
 */
async function byMountSource(tree: DeviceTree, real: string): Promise<string | undefined> {
  const text = await readFile(join(tree.root, '/proc/self/mountinfo'), 'utf8').catch(() => '');
  let best: { point: string; source: string } | undefined;
  for (const line of text.split('\n')) {
    // 36 35 98:0 /root /point rw,noatime shared:1 - btrfs /dev/sdb1 rw
    const [before = '', after = ''] = line.split(' - ');
    const point = unescaped(before.split(' ')[4] ?? '');
    const source = unescaped(after.split(' ')[1] ?? '');
    const isAbove = real === point || real.startsWith(point.endsWith('/') ? point : `${point}/`);
    // Of equals the later: it covers the other.
    if (point !== '' && isAbove && point.length >= (best?.point.length ?? 0)) {
      best = { point, source };
    }
  }
  if (best?.source.startsWith('/dev/') !== true) return undefined;
  const numbers = await tree.deviceNumbers(best.source);
  if (numbers === undefined) return undefined;
  return sysDirectory(tree, `${numbers.major}:${numbers.minor}`);
}

/** mountinfo writes space, tab, newline and backslash as octal. */
const unescaped = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));

async function wholeDrives(tree: DeviceTree, directory: string, depth: number): Promise<string[]> {
  if (depth === 0) return [];
  if (await isThere(join(directory, 'partition'))) {
    return wholeDrives(tree, dirname(directory), depth - 1);
  }
  const below = await names(join(directory, 'slaves'));
  if (below.length > 0) {
    const all = await Promise.all(
      below.map(async (name) => {
        const next = await realpath(join(directory, 'slaves', name)).catch(() => undefined);
        return next === undefined ? [] : wholeDrives(tree, next, depth - 1);
      }),
    );
    return all.flat();
  }
  const backing = await readFile(join(directory, 'loop/backing_file'), 'utf8').catch(() => '');
  if (backing.trim() !== '') {
    const under = await deviceOf(tree, backing.trim()).catch(() => undefined);
    return under?.drives ?? [];
  }
  return [basename(directory)];
}

const isThere = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

const names = (path: string): Promise<string[]> =>
  readdir(path).then(
    (list) => list.toSorted(),
    () => [],
  );

export interface Slot {
  /** As its enclosure calls it. */
  slot: string;
  /** Shell line that makes its light blink. */
  locate?: string;
}

/** Slots of every enclosure, by the name of the drive in them. */
export async function slotsOf(tree: DeviceTree): Promise<Map<string, Slot>> {
  const found = new Map<string, Slot>();
  const base = join(tree.root, '/sys/class/enclosure');
  for (const enclosure of await names(base)) {
    for (const component of await names(join(base, enclosure))) {
      const place = join(base, enclosure, component);
      for (const drive of await names(join(place, 'device/block'))) {
        const number = (await readFile(join(place, 'slot'), 'utf8').catch(() => '')).trim();
        const light = (await isThere(join(place, 'locate'))) ? join(place, 'locate') : undefined;
        found.set(drive, {
          slot: `${number === '' ? component : number} of enclosure ${enclosure}`,
          ...(light === undefined ? {} : { locate: `echo 1 > ${light}` }),
        });
      }
    }
  }
  return found;
}
