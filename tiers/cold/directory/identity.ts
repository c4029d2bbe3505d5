// Who a tier's directory belongs to. The dangers: a path that was mistyped, a mount that is missing
// today, two tiers over one directory, a disk of another store. In each of these a tier that just
// made itself at home would answer "missing" for everything it is asked for, and take new bytes
// where nobody will look for them. So a root says in firn-tier.json whose it is, and is only
// adopted while empty.

import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { mkdir } from 'node:fs/promises';
import type { Random } from '../../../appliance/model/clock.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { codeOf, linkOnce, removeIfThere, syncDirectory, writeDraft } from './files.ts';

export const IDENTITY_NAME = 'firn-tier.json';
const FORMAT = 1;

export interface TierIdentity {
  kind: 'firn-directory-tier';
  format: number;
  /** Name of the tier in the settings. */
  tier: string;
  /** Drawn once: tells two roots of one name apart. */
  root: string;
  /** The store that it was made for, where that is known. */
  store?: string;
}

export interface IdentityRequest {
  directory: string;
  tier: string;
  store: string | undefined;
  /** Makes itself at home in an empty directory; false: then the right one is not mounted. */
  founds: boolean;
  random: Random;
}

function foreign(directory: string, message: string, hint: string): FirnError {
  return new FirnError('DriveForeign', `${directory} ${message}`, { subject: directory, hint });
}

/** A directory that once was this tier's root and now is not: told apart from bytes that are gone. */
export function notItsRoot(tier: string, directory: string, cause?: unknown): FirnError {
  return new FirnError('TierUnavailable', `${tier}: ${directory} is not its root now`, {
    subject: directory,
    cause,
    hint: `is its file system mounted? Its root holds ${IDENTITY_NAME}`,
    retryable: true,
  });
}

/** Reads the identity, makes it in an empty directory, refuses everything else. */
export async function takeIdentity(request: IdentityRequest): Promise<TierIdentity> {
  const { directory, tier, store, founds } = request;
  if (founds) await mkdir(directory, { recursive: true, mode: 0o700 });
  if (!(await stat(directory)).isDirectory()) {
    throw foreign(directory, 'is not a directory', 'name a directory for this tier');
  }
  const standing = await readIdentity(directory);
  if (standing === undefined && !founds) throw notItsRoot(tier, directory);
  const identity = standing ?? (await found(request));
  if (identity.format !== FORMAT) {
    throw new FirnError('FormatUnknown', `${directory} is of format ${identity.format}`, {
      subject: directory,
      hint: 'this directory was made by a newer Firn',
    });
  }
  if (identity.tier !== tier) {
    throw foreign(
      directory,
      `belongs to the tier ${identity.tier}, not to ${tier}`,
      'give each tier a directory of its own; was a tier renamed in the settings?',
    );
  }
  if (store !== undefined && identity.store !== undefined && identity.store !== store) {
    throw foreign(
      directory,
      `belongs to the store ${identity.store}, not to ${store}`,
      'mount the right file system, or use an empty directory',
    );
  }
  return identity;
}

/** The identity that is there; undefined if there is none. Corrupt contents are refused. */
export async function readIdentity(directory: string): Promise<TierIdentity | undefined> {
  const path = join(directory, IDENTITY_NAME);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const identity = JSON.parse(text) as TierIdentity;
    if (identity.kind === 'firn-directory-tier') return identity;
  } catch {
    // Refused below like any other content.
  }
  throw foreign(directory, `has a damaged ${IDENTITY_NAME}`, 'bring that file back from a backup');
}

/** Makes the identity; whoever links it first has made it, the others read it. */
async function found(request: IdentityRequest): Promise<TierIdentity> {
  const { directory, tier, store, random } = request;
  const others = (await readdir(directory)).filter(
    (name) => !name.startsWith(`.${IDENTITY_NAME}`) && name !== 'lost+found',
  );
  if (others.length > 0 && (await readIdentity(directory)) === undefined) {
    throw foreign(
      directory,
      `is not empty and has no ${IDENTITY_NAME}`,
      'use an empty directory; an existing tier keeps that file in its root',
    );
  }
  const draw = (): string => Buffer.from(random.bytes(16)).toString('hex');
  const identity: TierIdentity = {
    kind: 'firn-directory-tier',
    format: FORMAT,
    tier,
    root: draw(),
    ...(store === undefined ? {} : { store }),
  };
  const draft = join(directory, `.${IDENTITY_NAME}.${draw()}`);
  await writeDraft(draft, Buffer.from(`${JSON.stringify(identity)}\n`, 'utf8'));
  try {
    await linkOnce(draft, join(directory, IDENTITY_NAME));
  } finally {
    await removeIfThere(draft);
  }
  await syncDirectory(directory);
  const standing = await readIdentity(directory);
  if (standing === undefined) throw new Error(`${directory}: the identity vanished`);
  return standing;
}
