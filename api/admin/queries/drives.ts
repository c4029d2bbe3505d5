// The drives of every node group: what the tiers tell of them, what they say of themselves, and what
// a person standing in front of the rack should do about it. The danger it answers: someone pulls
// the wrong drive, or the right one while its group can't spare it.

import type {
  DriveAnswer,
  DrivesAnswer,
  PhysicalAnswer,
} from '../../../appliance/model/drive-answers.ts';
import type { PathHealth, PhysicalDrive } from '../../../appliance/model/drive-health.ts';
import { isNodeGroupTier, type DriveInfo } from '../../../appliance/model/node-group.ts';
import type { AdminOptions } from '../contract/options.ts';
import { timeOf } from '../contract/rows.ts';

type Sources = Pick<AdminOptions, 'tiers' | 'health' | 'codes' | 'driveReports'>;

/** Worst last: what one process has found out counts, though the others have not noticed yet. */
const STATES: readonly DriveInfo['state'][] = [
  'up',
  'healing',
  'full',
  'failing',
  'missing',
  'foreign',
];

const severity = ({ state }: DriveInfo): number => STATES.indexOf(state);

/**
 * The drives as all processes see them. This one only looks; a write that fails is known to the
 * process that wrote.
 */
export async function driveInfos({
  tiers,
  driveReports,
}: Pick<AdminOptions, 'tiers' | 'driveReports'>): Promise<DriveInfo[]> {
  const groups = [...tiers.values()].filter(isNodeGroupTier);
  const own = (await Promise.all(groups.map((tier) => tier.drives()))).flat();
  const others = (await driveReports?.()) ?? [];
  return own.map((drive) => {
    const same = others.flatMap(
      (list) => list.find(({ path, tier }) => path === drive.path && tier === drive.tier) ?? [],
    );
    const views = [drive, ...same].toSorted((a, b) => severity(b) - severity(a));
    const { state, note } = views[0] ?? drive;
    return { ...drive, state, note, errors: views.reduce((sum, { errors }) => sum + errors, 0) };
  });
}

export async function drivesOf(options: Sources): Promise<DriveAnswer[]> {
  const byPath = options.health?.report().byPath;
  return (await driveInfos(options)).map((drive) => ({
    tier: drive.tier,
    group: drive.group,
    position: drive.position,
    path: drive.path,
    state: drive.state,
    capacityBytes: drive.capacityBytes,
    usedBytes: Math.max(0, drive.capacityBytes - drive.freeBytes),
    errors: drive.errors,
    note: drive.note === '' ? null : drive.note,
    ...healthOf(byPath?.get(drive.path)),
  }));
}

function healthOf(
  health: PathHealth | undefined,
): Pick<DriveAnswer, 'device' | 'physical' | 'warnings'> {
  if (health === undefined) return { device: null, physical: [], warnings: [] };
  return {
    device: health.device === '' ? null : health.device,
    physical: health.drives.map(physicalOf),
    warnings: health.drives.flatMap(({ name, warnings }) =>
      warnings.map(({ level, sign, text }) => ({ level, sign, text, drive: name })),
    ),
  };
}

function physicalOf({ name, slot, locate, smart, silence, readAt }: PhysicalDrive): PhysicalAnswer {
  return {
    name,
    slot: slot ?? null,
    locate: locate ?? null,
    model: smart?.model ?? null,
    serial: smart?.serial ?? null,
    temperatureC: smart?.temperatureC ?? null,
    powerOnHours: smart?.powerOnHours ?? null,
    wearPercent: smart?.wearPercent ?? null,
    sparePercent: smart?.sparePercent ?? null,
    reallocatedSectors: smart?.reallocatedSectors ?? null,
    pendingSectors: smart?.pendingSectors ?? null,
    uncorrectableErrors: smart?.uncorrectableErrors ?? null,
    mediaErrors: smart?.mediaErrors ?? null,
    silence: silence?.text ?? null,
    readAt: readAt === undefined ? null : timeOf(readAt),
  };
}

/** In full use, and holding all they should. */
const WHOLE = new Set(['up', 'full']);

export const isWhole = (drive: { state: string }): boolean => WHOLE.has(drive.state);

export async function drivesAnswerOf(options: Sources): Promise<DrivesAnswer> {
  const drives = await drivesOf(options);
  const groups = Map.groupBy(drives, ({ tier, group }) => `${tier}\n${group}`);
  return {
    drives,
    groups: [...groups.values()].map((members) => groupOf(members, options.codes)),
    notes: [...(options.health?.report().notes ?? [])],
  };
}

function groupOf(
  drives: readonly DriveAnswer[],
  codes: Sources['codes'],
): DrivesAnswer['groups'][number] {
  const { tier, group } = drives[0] as DriveAnswer;
  const code = codes?.get(tier);
  const whole = drives.filter(isWhole).length;
  const losable = code === undefined ? null : code.m - (drives.length - whole);
  return {
    tier,
    group,
    code: code === undefined ? null : `${code.k}+${code.m}`,
    whole,
    losable,
    advice: [...sharedAdvice(drives), ...drives.flatMap((one) => adviceOf(one, losable) ?? [])],
  };
}

/** Drives that die together are one drive, whatever the code says. */
function sharedAdvice(drives: readonly DriveAnswer[]): string[] {
  const known = drives.filter(({ physical }) => physical.length > 0);
  const devices = Map.groupBy(known, ({ physical }) => physical.map(({ name }) => name).join(', '));
  return [...devices].flatMap(([name, own]) => {
    if (own.length < 2) return [];
    const all = own.length === drives.length;
    return [
      all
        ? `All ${own.length} drives lie on ${name}: losing it loses everything that is stored here.`
        : `Drives ${own.map(({ position }) => position).join(', ')} lie on ${name} and die together.`,
    ];
  });
}

/** How the drive is found in the rack: slot, else serial number, else its directory alone. */
function placeOf({ path, physical }: DriveAnswer): string {
  const known = physical
    .map(({ name, slot, serial }) =>
      [slot === null ? '' : `slot ${slot}`, serial === null ? '' : `serial ${serial}`, name]
        .filter((part) => part !== '')
        .join(', '),
    )
    .join('; ');
  return known === '' ? path : `${known}, ${path}`;
}

const spare = (losable: number): string =>
  losable > 0 ? `the group can lose ${losable} more` : 'the group can lose no more';

function adviceOf(drive: DriveAnswer, losable: number | null): string | undefined {
  const name = `drive ${drive.position} (${placeOf(drive)})`;
  const room = losable === null ? '' : ` ${capital(spare(losable))}.`;
  switch (drive.state) {
    case 'missing':
    case 'failing':
      return (
        `${capital(name)} is ${drive.state}: put it back, or an empty one in its place at ` +
        `${drive.path}; it is refilled by itself.${room} Pull no other drive of this group ` +
        'before that.'
      );
    case 'foreign':
      return `${capital(name)} is another drive: put back the one that stood there.${room}`;
    case 'full':
      return `${capital(name)} is full: free room, or add a group.`;
  }
  const [gravest] = drive.warnings;
  if (gravest === undefined) return undefined;
  const signs = drive.warnings.map(({ text }) => text).join(', ');
  const blink = drive.physical.find(({ locate }) => locate !== null)?.locate;
  const light = blink === undefined || blink === null ? '' : ` Its light: ${blink}`;
  if (drive.state === 'healing' || losable === null) {
    return `${capital(name)} warns of its end: ${signs}.${room}${light}`;
  }
  return losable > 0
    ? `Replace ${name}: ${signs}. It is safe to pull now: ${spare(losable)}.${light}`
    : `Do not pull ${name} yet, though it warns of its end (${signs}): ${spare(losable)}. ` +
        'Wait until firn heal status says that the others are refilled.';
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
