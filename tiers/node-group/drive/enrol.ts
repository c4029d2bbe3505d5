// Takes the drives of one group into use: recognises them, founds a new group, accepts a replaced
// drive, and refuses a foreign, swapped or old one before anything is read or written. Several
// processes do this at once on the same drives: each step is create-only or writes what every other
// would write.

import type { Random } from '../../../appliance/model/clock.ts';
import type { Drive } from '../../../appliance/model/drive.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { newId } from '../../../appliance/model/ids.ts';
import {
  createIdentity,
  foreign,
  IDENTITY_FILE,
  mismatch,
  readIdentity,
  readRoster,
  replaceRoster,
  ROSTER_FILE,
  TEMPORARY,
  type Identity,
  type Place,
  type Roster,
  type RosterPlace,
} from './identity.ts';

export interface Enrolment {
  random: Random;
  /** False: only looks (role primary): what would have to be written stays missing. */
  writes: boolean;
  /** True at start: directories on a shared device that are gone are made anew. */
  makesDirectories: boolean;
  /** True while running: a foreign drive is an answer instead of the end. */
  tolerant: boolean;
  /** The group is known to have been founded: empty drives all around are mounts that lack. */
  founded: boolean;
}

export type Enrolled =
  | { state: 'up' | 'healing'; identity: Identity }
  | { state: 'missing' | 'foreign'; note: string };

/** What stands at one place before anything is decided. */
type Finding =
  | { state: 'absent' }
  | { state: 'empty' }
  | { state: 'known'; identity: Identity; roster: Roster | undefined }
  | { state: 'broken'; note: string }
  | { state: 'foreign'; error: FirnError };

const HARMLESS = new Set(['lost+found', TEMPORARY]);

async function look(drive: Drive, place: Place): Promise<Finding> {
  let names: string[];
  let found: Awaited<ReturnType<typeof readIdentity>>;
  let roster: Awaited<ReturnType<typeof readRoster>>;
  try {
    names = await drive.list('');
    found = await readIdentity(drive);
    roster = await readRoster(drive);
  } catch (error) {
    if (error instanceof FirnError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { state: 'absent' };
    // One drive that can't be read is one that is away: the others serve.
    return { state: 'broken', note: message };
  }
  if (found.state === 'damaged') {
    return {
      state: 'broken',
      note: `${IDENTITY_FILE} is damaged: empty the directory, and the drive is rebuilt`,
    };
  }
  if (found.state === 'read') {
    const wrong = mismatch(drive, found.value, place);
    if (wrong !== undefined) return { state: 'foreign', error: wrong };
    const own = roster.state === 'read' ? roster.value : undefined;
    return { state: 'known', identity: found.value, roster: own };
  }
  // A roster alone: another process is founding the group, or its identity was deleted.
  if (names.every((name) => HARMLESS.has(name) || name === ROSTER_FILE)) return { state: 'empty' };
  const error = foreign(
    drive,
    'the directory is not empty and holds no Firn drive',
    `give this tier an empty directory, or bring ${IDENTITY_FILE} back`,
  );
  return { state: 'foreign', error };
}

/** Which places have a device of their own: an empty directory there means "not mounted". */
async function ownDevices(drives: readonly Drive[]): Promise<boolean[]> {
  const usages = await Promise.all(drives.map((drive) => drive.usage().catch(() => undefined)));
  return usages.map(
    (usage) =>
      usage !== undefined &&
      (usage.mounted || usages.filter((other) => other?.device === usage.device).length === 1),
  );
}

class GroupEnrolment {
  readonly #drives: readonly Drive[];
  readonly #place: Omit<Place, 'position'>;
  readonly #how: Enrolment;

  constructor(drives: readonly Drive[], place: Omit<Place, 'position'>, how: Enrolment) {
    this.#drives = drives;
    this.#place = place;
    this.#how = how;
  }

  /** Throws DriveForeign, FormatUnknown; a drive that is merely not there is an answer. */
  async enrol(): Promise<Enrolled[]> {
    for (let attempt = 0; ; attempt += 1) {
      const found = await Promise.all(
        this.#drives.map((drive, position) => look(drive, { ...this.#place, position })),
      );
      const roster = newestOf(found);
      if (roster !== undefined) this.#expose(found, roster);
      const wrong = found.find((one) => one.state === 'foreign');
      if (wrong?.state === 'foreign' && !this.#how.tolerant) throw wrong.error;
      const again =
        roster === undefined ? await this.#found(found) : await this.#renew(found, roster);
      if (!again) return this.#answers(found, roster);
      if (attempt === 8) {
        throw new FirnError('DriveUnavailable', 'The drives of a group keep changing', {
          subject: `${this.#place.tier}, group ${this.#place.group}`,
          hint: 'start one process alone once',
          retryable: true,
        });
      }
    }
  }

  #answers(found: readonly Finding[], roster: Roster | undefined): Enrolled[] {
    return found.map((one, position) => {
      if (one.state === 'known') {
        if (roster === undefined) return { state: 'missing', note: 'not yet taken into use' };
        const { identity } = one;
        return { state: identity.healing === true ? 'healing' : 'up', identity };
      }
      if (one.state === 'broken') return { state: 'missing', note: one.note };
      if (one.state === 'foreign') return { state: 'foreign', note: one.error.message };
      const own = roster?.places[position]?.own === true || this.#how.founded;
      const empty = own ? 'an empty directory where a device was mounted' : 'not yet replaced';
      const absent =
        'the directory is gone: mount the drive, or make an empty directory to replace it';
      return { state: 'missing', note: one.state === 'empty' ? empty : absent };
    });
  }

  #identityFor(position: number, more: Partial<Identity> = {}): Identity {
    return {
      format: 1,
      drive: newId(this.#how.random),
      ...this.#place,
      position,
      ...more,
    };
  }

  /** No roster anywhere: a new group, or one whose founding was interrupted. True: look again. */
  async #found(found: readonly Finding[]): Promise<boolean> {
    if (!this.#how.writes || found.some((one) => one.state === 'foreign')) return false;
    const broken = found.findIndex((one) => one.state === 'broken');
    if (broken >= 0) {
      const one = found[broken] as { note: string };
      const drive = this.#drives[broken] as Drive;
      throw new FirnError('DriveUnavailable', `${drive.path}: ${one.note}`, {
        subject: drive.path,
        hint: 'a new group needs all its drives once',
      });
    }
    if (found.every((one) => one.state === 'known')) {
      const own = await ownDevices(this.#drives);
      await this.#install({
        ...this.#rosterBase(),
        generation: 1,
        places: found.map((one, i) => ({ drive: one.identity.drive, own: own[i] === true })),
      });
      return true;
    }
    // All empty at once: nothing was mounted. A new group here would hide the bytes of the old one.
    if (this.#how.founded) return false;
    await Promise.all(
      found.map(async (one, position) => {
        if (one.state !== 'absent' && one.state !== 'empty') return;
        const drive = this.#drives[position] as Drive;
        if (one.state === 'absent') await drive.makeDirectory('');
        await createIdentity(drive, this.#identityFor(position));
      }),
    );
    return true;
  }

  #rosterBase(): Pick<Roster, 'format' | 'store' | 'tier' | 'group'> {
    const { store, tier, group } = this.#place;
    return { format: 1, store, tier, group };
  }

  /**
   * Old drives, back at places that others took: their identity is neither the roster's nor its
   * heir.
   */
  #expose(found: Finding[], roster: Roster): void {
    for (const [position, one] of found.entries()) {
      const place = roster.places[position] as RosterPlace;
      if (one.state !== 'known' || one.identity.drive === place.drive) continue;
      if (one.identity.replaces === place.drive) continue;
      const error = replacedLongAgo(this.#drives[position] as Drive);
      found[position] = { state: 'foreign', error };
    }
  }

  /** A roster stands: accepts replaced drives, brings stale copies up to date. True: look again. */
  async #renew(found: readonly Finding[], roster: Roster): Promise<boolean> {
    const places: RosterPlace[] = [...roster.places];
    const empty: number[] = [];
    for (const [position, one] of found.entries()) {
      const place = roster.places[position] as RosterPlace;
      if (one.state === 'known' && one.identity.drive !== place.drive) {
        places[position] = { drive: one.identity.drive, own: false };
      }
      const makes = this.#how.makesDirectories && !place.own;
      if (
        (one.state === 'empty' && (await this.#mayReplace(position, place))) ||
        (one.state === 'absent' && makes)
      ) {
        empty.push(position);
      }
    }
    if (!this.#how.writes) return false;
    if (empty.length > 0) {
      await Promise.all(empty.map((position) => this.#replace(position, roster)));
      return true;
    }
    if (places.some((place, i) => place !== roster.places[i])) {
      const own = await ownDevices(this.#drives);
      const renewed = places.map((place, i) =>
        place === roster.places[i] ? place : { ...place, own: own[i] === true },
      );
      await this.#install({ ...roster, generation: roster.generation + 1, places: renewed });
      return true;
    }
    await this.#install(roster, found);
    return false;
  }

  /** A place that had a device of its own takes a new drive only on a device of its own again. */
  async #mayReplace(position: number, place: RosterPlace): Promise<boolean> {
    return !place.own || (await ownDevices(this.#drives))[position] === true;
  }

  async #replace(position: number, roster: Roster): Promise<void> {
    const drive = this.#drives[position] as Drive;
    const { drive: replaces } = roster.places[position] as RosterPlace;
    await drive.makeDirectory('');
    await createIdentity(drive, this.#identityFor(position, { replaces, healing: true }));
  }

  /** Writes the roster to every drive that can take it and has another one (or all). */
  async #install(roster: Roster, found?: readonly Finding[]): Promise<void> {
    const text = JSON.stringify(roster);
    await Promise.all(
      this.#drives.map(async (drive, position) => {
        const one = found?.[position];
        if (found !== undefined && one?.state !== 'known') return;
        if (one?.state === 'known' && JSON.stringify(one.roster) === text) return;
        await replaceRoster(drive, roster, newId(this.#how.random)).catch((error: unknown) => {
          // A drive that can't take its copy now is out anyway; the others' copies hold.
          if (found === undefined && roster.generation === 1) throw error;
        });
      }),
    );
  }
}

function newestOf(found: readonly Finding[]): Roster | undefined {
  let newest: Roster | undefined;
  for (const one of found) {
    if (one.state !== 'known' || one.roster === undefined) continue;
    if (newest === undefined || one.roster.generation > newest.generation) newest = one.roster;
  }
  return newest;
}

function replacedLongAgo(drive: Drive): FirnError {
  return foreign(
    drive,
    'another drive has taken the place of this one since',
    'bring that drive back; or empty this directory, and it is refilled as a new drive',
  );
}

/**
 * Takes the drives of one group into use. DriveForeign, FormatUnknown; see the head of this file.
 */
export function enrol(
  drives: readonly Drive[],
  place: Omit<Place, 'position'>,
  how: Enrolment,
): Promise<Enrolled[]> {
  return new GroupEnrolment(drives, place, how).enrol();
}
