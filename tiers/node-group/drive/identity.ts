// Who a drive is, and which drives make up a group. The dangers: two drives swapped, a drive of
// another appliance, or an old drive back at the place of the one that replaced it, would all serve
// or take bytes that belong elsewhere. Two small JSON files at the top of each drive (FORMAT.md):
// its identity, never changed but for `healing`, and a copy of the group's roster, replaced when a
// drive is.

import { FirnError } from '../../../appliance/model/errors.ts';
import { checksumOf } from '../../checksum.ts';
import type { Drive } from '../../../appliance/model/drive.ts';

export const IDENTITY_FILE = 'firn-drive.json';
export const ROSTER_FILE = 'firn-group.json';
export const TEMPORARY = 'tmp';
const FORMAT = 1;

export interface Identity {
  format: 1;
  /** Random, never used again: 32 hex digits. */
  drive: string;
  store: string;
  tier: string;
  group: number;
  position: number;
  code: string;
  /** The drive whose place this one took. */
  replaces?: string;
  /** What the place held before is still being rebuilt. */
  healing?: true;
}

export interface RosterPlace {
  drive: string;
  /** Alone on its device, or a mount point, when enrolled: an empty directory there is no drive. */
  own: boolean;
}

export interface Roster {
  format: 1;
  store: string;
  tier: string;
  group: number;
  /** Raised at each replacement; the highest of all copies holds. */
  generation: number;
  places: RosterPlace[];
}

/** One line of JSON and a checksum of it: a person can read it, a flipped bit is found. */
function seal(value: Identity | Roster): Buffer {
  const text = JSON.stringify(value);
  return Buffer.from(`${text}\n${checksumOf(Buffer.from(text))}\n`);
}

/** Undefined for bytes that fail their checksum. FormatUnknown for what a newer Firn wrote. */
function unseal(bytes: Uint8Array, subject: string): unknown {
  const [text, sum] = Buffer.from(bytes).toString('utf8').split('\n') as [string, string?];
  if (sum === undefined || checksumOf(Buffer.from(text)) !== sum) return undefined;
  const value = JSON.parse(text) as { format: number };
  if (value.format === FORMAT) return value;
  throw new FirnError('FormatUnknown', `Drive format ${value.format} is newer than this program`, {
    subject,
    hint: 'run the version of Firn that wrote it, or a newer one',
  });
}

export async function readWhole(drive: Drive, path: string): Promise<Buffer> {
  const file = await drive.open(path, { mode: 'read' });
  try {
    const { sizeBytes } = await file.stat();
    const bytes = Buffer.alloc(sizeBytes);
    return bytes.subarray(0, await file.read(bytes, 0));
  } finally {
    await file.close();
  }
}

export type Found<T> = { state: 'absent' } | { state: 'damaged' } | { state: 'read'; value: T };

async function readSealed<T>(drive: Drive, path: string): Promise<Found<T>> {
  let bytes: Buffer;
  try {
    bytes = await readWhole(drive, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { state: 'absent' };
    throw error;
  }
  const value = unseal(bytes, `${drive.path}/${path}`);
  return value === undefined ? { state: 'damaged' } : { state: 'read', value: value as T };
}

export const readIdentity = (drive: Drive): Promise<Found<Identity>> =>
  readSealed<Identity>(drive, IDENTITY_FILE);
export const readRoster = (drive: Drive): Promise<Found<Roster>> =>
  readSealed<Roster>(drive, ROSTER_FILE);

async function writeTemporary(drive: Drive, name: string, bytes: Uint8Array): Promise<string> {
  await drive.makeDirectory(TEMPORARY);
  const path = `${TEMPORARY}/${name}`;
  const file = await drive.open(path, { mode: 'create' });
  try {
    await file.write(bytes, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  return path;
}

/**
 * Gives an empty drive its identity, if it has none yet. Of two processes that try at once one wins
 * and both return; whose identity stands is to be read afterwards. Durable on return.
 */
export async function createIdentity(drive: Drive, identity: Identity): Promise<void> {
  const path = await writeTemporary(drive, `identity-${identity.drive}`, seal(identity));
  await drive.link(path, IDENTITY_FILE);
  await drive.syncDirectory('');
  await drive.remove(path);
}

/** Replaces a whole small file or leaves the old one; durable on return. `nonce` is fresh. */
async function replaceSealed(
  drive: Drive,
  to: { path: string; nonce: string },
  value: Identity | Roster,
): Promise<void> {
  const path = await writeTemporary(drive, `${to.path}-${to.nonce}`, seal(value));
  await drive.rename(path, to.path);
  await drive.syncDirectory('');
}

export const replaceIdentity = (drive: Drive, identity: Identity, nonce: string): Promise<void> =>
  replaceSealed(drive, { path: IDENTITY_FILE, nonce }, identity);
export const replaceRoster = (drive: Drive, roster: Roster, nonce: string): Promise<void> =>
  replaceSealed(drive, { path: ROSTER_FILE, nonce }, roster);

export function foreign(drive: Drive, message: string, hint: string): FirnError {
  return new FirnError('DriveForeign', `${drive.path}: ${message}`, { subject: drive.path, hint });
}

export interface Place {
  store: string;
  tier: string;
  group: number;
  position: number;
  code: string;
}

/** Why this identity can't stand at this place; undefined if it can. */
export function mismatch(drive: Drive, found: Identity, place: Place): FirnError | undefined {
  if (found.store !== place.store) {
    return foreign(
      drive,
      'this drive belongs to another Firn store',
      'give this tier its own drives, or start Firn on the data directory that these drives belong to ' +
        '(with its metadata lost: firn rebuild)',
    );
  }
  const stands = `group ${place.group}, position ${place.position} of tier ${place.tier}`;
  if (
    found.tier !== place.tier ||
    found.group !== place.group ||
    found.position !== place.position
  ) {
    return foreign(
      drive,
      `this drive is group ${found.group}, position ${found.position} of tier ${found.tier}, ` +
        `but is configured as ${stands}`,
      'put the drives (or the lines of the settings) back into their order',
    );
  }
  if (found.code !== place.code) {
    return foreign(
      drive,
      `this drive was written with code ${found.code}, the settings say ${place.code}`,
      `set code: ${found.code}; another code needs a new group`,
    );
  }
  return undefined;
}
