// Spares: empty directories that take the place of a drive that stays away, so that a group is not
// one failure poorer until somebody comes. A spare that was taken is a drive like any other: its
// identity says place and predecessor, the group's roster names it, and it is refilled. So who
// stands at a place is decided by what lies on the drives: after a restart, in every process, and
// whatever order they look in. The danger is one place with two drives: a spare gets its identity
// by link (one wins), and of two that claim a place the roster's is taken, else the configured one.

import type { Random } from '../../../appliance/model/clock.ts';
import type { Drive } from '../../../appliance/model/drive.ts';
import { newId } from '../../../appliance/model/ids.ts';
import {
  createIdentity,
  mismatch,
  readIdentity,
  readRoster,
  ROSTER_FILE,
  TEMPORARY,
  type Identity,
  type Place,
  type Roster,
} from './identity.ts';

const HARMLESS = new Set(['lost+found', TEMPORARY, ROSTER_FILE]);

type GroupPlace = Omit<Place, 'position'>;

export class Spares {
  readonly #drives: readonly Drive[];
  readonly #place: GroupPlace;
  readonly #random: Random;

  constructor(drives: readonly Drive[], place: GroupPlace, random: Random) {
    this.#drives = drives;
    this.#place = place;
    this.#random = random;
  }

  get none(): boolean {
    return this.#drives.length === 0;
  }

  /** The spares that say of themselves that they stand in this group. */
  async #taken(): Promise<{ drive: Drive; identity: Identity }[]> {
    const all = await Promise.all(
      this.#drives.map(async (drive) => {
        const identity = await identityOf(drive);
        if (identity === undefined) return undefined;
        const place = { ...this.#place, position: identity.position };
        return mismatch(drive, identity, place) === undefined ? { drive, identity } : undefined;
      }),
    );
    return all.filter((one) => one !== undefined);
  }

  async claims(position: number): Promise<boolean> {
    if (this.none) return false;
    return (await this.#taken()).some(({ identity }) => identity.position === position);
  }

  /** Which drive stands at each place: the configured one, or a spare that took it. */
  async resolve(homes: readonly Drive[]): Promise<readonly Drive[]> {
    const taken = this.none ? [] : await this.#taken();
    if (taken.length === 0) return homes;
    const roster = await newestRoster([...homes, ...taken.map(({ drive }) => drive)]);
    if (roster === undefined) return homes;
    return Promise.all(
      homes.map(async (home, position) => {
        const wanted = roster.places[position]?.drive;
        const here = taken.filter(({ identity }) => identity.position === position);
        const named = here.find(({ identity }) => identity.drive === wanted);
        if (named !== undefined) return named.drive;
        const heir = here.find(({ identity }) => identity.replaces === wanted);
        if (heir === undefined) return home;
        return (await identityOf(home))?.drive === wanted ? home : heir.drive;
      }),
    );
  }

  /**
   * Gives an empty spare the place of a drive that is gone; durable on return. False where there
   * is none to be had. A repeat, also by another process, finds the place claimed. `drives`: those
   * that stand in the group now.
   */
  async claim(position: number, drives: readonly Drive[]): Promise<boolean> {
    if (await this.claims(position)) return true;
    const roster = await newestRoster(drives);
    const place = roster?.places[position];
    if (place === undefined) return false;
    for (const spare of this.#drives) {
      if (!(await isEmpty(spare))) continue;
      // What was lost had a device of its own: a folder beside others would fail with them.
      if (place.own && !(await isAlone(spare, [...drives, ...this.#drives]))) continue;
      const identity: Identity = {
        format: 1,
        drive: newId(this.#random),
        ...this.#place,
        position,
        replaces: place.drive,
        healing: true,
      };
      await createIdentity(spare, identity);
      // Of two who wanted it for other places one has won.
      if ((await identityOf(spare))?.drive === identity.drive) return true;
    }
    return false;
  }
}

/** What stands there: a drive of a group, nothing yet, something else, or nothing that answers. */
export async function spareState(drive: Drive): Promise<'ready' | 'taken' | 'missing' | 'unfit'> {
  const names = await drive.list('').catch(() => undefined);
  if (names === undefined) return 'missing';
  if (names.every((name) => HARMLESS.has(name))) return 'ready';
  return (await identityOf(drive)) === undefined ? 'unfit' : 'taken';
}

async function identityOf(drive: Drive): Promise<Identity | undefined> {
  const found = await readIdentity(drive).catch(() => undefined);
  return found?.state === 'read' ? found.value : undefined;
}

async function newestRoster(drives: readonly Drive[]): Promise<Roster | undefined> {
  const all = await Promise.all(drives.map((drive) => readRoster(drive).catch(() => undefined)));
  let newest: Roster | undefined;
  for (const found of all) {
    if (found?.state !== 'read') continue;
    if (found.value.generation > (newest?.generation ?? 0)) newest = found.value;
  }
  return newest;
}

async function isEmpty(drive: Drive): Promise<boolean> {
  const names = await drive.list('').catch(() => undefined);
  return names !== undefined && names.every((name) => HARMLESS.has(name));
}

/** On a device that none of the others is on. */
async function isAlone(drive: Drive, others: readonly Drive[]): Promise<boolean> {
  const own = await drive.usage().catch(() => undefined);
  if (own === undefined) return false;
  const usages = await Promise.all(
    others.filter((other) => other !== drive).map((other) => other.usage().catch(() => undefined)),
  );
  return usages.every((usage) => usage?.device !== own.device);
}
