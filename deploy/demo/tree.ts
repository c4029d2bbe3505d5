// What the demo stores: real files of a tree, and where none is named, the first 3,000 files up to
// 64 KiB of the project's own node_modules by path plus three generated ones of 32 MiB. Each can be
// read again at any time, so that every byte can be compared at the end with where it came from.

import { open, readdir, stat } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import type { Source } from '../../appliance/cli/client/s3-client.ts';
import { FirnError } from '../../appliance/model/errors.ts';
import { compareUtf8 } from '../../appliance/model/ids.ts';
import { KEY_BYTES_MAX, KiB, MiB } from '../../appliance/model/limits.ts';

export interface DemoObject extends Source {
  key: string;
}

const SMALL_FILES = 3000;
const SMALL_FILE_BYTES_MAX = 64 * KiB;
const LARGE_FILES = 3;
const LARGE_FILE_BYTES = 32 * MiB;
const SEED = 20_261_124;

/** The tree's regular files in the order of their paths; links are left out. */
export async function treeObjects(folder: string): Promise<DemoObject[]> {
  let found: DemoObject[];
  try {
    found = await filesUnder(folder, {});
  } catch (cause) {
    const { code = 'error', path = folder } = cause as NodeJS.ErrnoException;
    throw new FirnError('UsageError', `cannot read ${path} (${code})`, {
      subject: folder,
      cause,
      hint: 'name a folder by --tree in which you may read everything',
    });
  }
  if (found.length > 0) return found;
  throw new FirnError('UsageError', `${folder} holds no file`, {
    subject: folder,
    hint: 'name a folder with files by --tree',
  });
}

/** The default: real small files, generated large ones. */
export async function defaultObjects(project: string): Promise<DemoObject[]> {
  const modules = join(project, 'node_modules');
  const small = await filesUnder(modules, {
    sizeMax: SMALL_FILE_BYTES_MAX,
    countMax: SMALL_FILES,
    prefix: 'node_modules/',
    // Not installed, but written by whichever tool runs just now.
    without: '.cache',
  });
  const large = Array.from({ length: LARGE_FILES }, (_, index) => generated(index + 1));
  return [...small, ...large];
}

interface Bounds {
  sizeMax?: number;
  countMax?: number;
  prefix?: string;
  /** A folder at the top that is left out. */
  without?: string;
}

/** Walks in the order of whole paths: `a-b` comes before `a/c`, as S3 lists them. */
async function filesUnder(folder: string, bounds: Bounds): Promise<DemoObject[]> {
  const objects: DemoObject[] = [];
  const countMax = bounds.countMax ?? Number.POSITIVE_INFINITY;
  const walk = async (at: string): Promise<void> => {
    const entries = await readdir(at, { withFileTypes: true });
    const named = entries
      .filter((entry) => entry.isFile() || entry.isDirectory())
      .map((entry) => ({ entry, sort: entry.isDirectory() ? `${entry.name}/` : entry.name }))
      .sort((a, b) => compareUtf8(a.sort, b.sort));
    for (const { entry } of named) {
      if (objects.length >= countMax) return;
      const path = join(at, entry.name);
      if (entry.isDirectory()) {
        if (at === folder && entry.name === bounds.without) continue;
        await walk(path);
        continue;
      }
      const { size } = await stat(path);
      const name = relative(folder, path).split(sep).join('/');
      const key = `${bounds.prefix ?? ''}${name}`;
      if (size > (bounds.sizeMax ?? Number.POSITIVE_INFINITY)) continue;
      if (Buffer.byteLength(key) > KEY_BYTES_MAX) continue;
      objects.push({
        key,
        sizeBytes: size,
        read: (offset, length) => stretch(path, offset, length),
      });
    }
  };
  await walk(folder);
  return objects;
}

async function stretch(path: string, offset: number, length: number): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const bytes = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    if (filled === length) return bytes;
    throw new FirnError('IncompleteBody', `${path} became shorter while it was read`, {
      subject: path,
      hint: 'give --tree a folder that nobody writes to',
    });
  } finally {
    await file.close();
  }
}

/** Bytes that no compressor shrinks, the same in every run: each MiB has its own seed. */
function generated(number: number): DemoObject {
  // The comparison reads in stretches of a network chunk: the MiB at hand serves the next ones.
  let held = { seed: -1, bytes: new Uint8Array() };
  const blockOf = (seed: number): Uint8Array => {
    if (held.seed !== seed) held = { seed, bytes: seededMiB(seed) };
    return held.bytes;
  };
  return {
    key: `generated/large-${number}.bin`,
    sizeBytes: LARGE_FILE_BYTES,
    read: async (offset, length) => {
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const at = offset + filled;
        const block = blockOf(SEED + number * 1000 + Math.floor(at / MiB));
        const part = block.subarray(at % MiB, Math.min(MiB, (at % MiB) + length - filled));
        bytes.set(part, filled);
        filled += part.length;
      }
      return bytes;
    },
  };
}

function seededMiB(seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(MiB / 4);
  let state = (Math.imul(seed, 0x9e3779b1) | 1) >>> 0;
  for (let index = 0; index < words.length; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state >>> 0;
  }
  return new Uint8Array(words.buffer);
}
