// The drives of every node group: what the tiers tell of them, what they say of themselves, and
// what to do.

import type {
  DriveAnswer,
  DrivesAnswer,
  PhysicalAnswer,
} from '../../../appliance/model/drive-answers.ts';
import type { PathHealth, PhysicalDrive } from '../../../appliance/model/drive-health.ts';
import { domainSizes } from '../../../appliance/model/durability.ts';
import {
  isNodeGroupTier,
  type DriveInfo,
  type SpareInfo,
} from '../../../appliance/model/node-group.ts';
import type { AdminOptions } from '../contract/options.ts';
import { timeOf } from '../contract/rows.ts';
import { adviceOf, isWhole, type Rack } from './advice.ts';

type Sources = Pick<AdminOptions, 'tiers' | 'health' | 'codes' | 'driveReports' | 'metadataPath'>;

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

function devicesOf(drives: readonly DriveAnswer[]): number | null {
  if (drives.some(({ physical }) => physical.length === 0)) return null;
  return domainSizes(drives.map(({ physical }) => physical.map(({ name }) => name))).length;
}

export async function drivesAnswerOf(options: Sources): Promise<DrivesAnswer> {
  const drives = await drivesOf(options);
  const { codes, health, metadataPath = '' } = options;
  const metadata = health?.report().byPath.get(metadataPath)?.drives ?? [];
  const rack: Rack = {
    drives,
    losableOf: (tier) => codes?.get(tier)?.m,
    metadataOn: new Set(metadata.map(({ name }) => name)),
  };
  const groups = Map.groupBy(drives, ({ tier, group }) => `${tier}\n${group}`);
  return {
    drives,
    groups: [...groups.values()].map((members) => {
      const { tier, group } = members[0] as DriveAnswer;
      const code = codes?.get(tier);
      const whole = members.filter(isWhole).length;
      return {
        tier,
        group,
        code: code === undefined ? null : `${code.k}+${code.m}`,
        whole,
        devices: devicesOf(members),
        losable: code === undefined ? null : code.m - (members.length - whole),
        advice: adviceOf({ tier, group, drives: members }, rack),
      };
    }),
    notes: [...(await sparesIn(options.tiers)), ...(health?.report().notes ?? [])],
  };
}

const SPARE_TEXTS: Record<SpareInfo['state'], string> = {
  ready: 'stands ready',
  taken: '',
  missing: 'does not answer: mount it, or make the directory; until then it can replace nothing',
  unfit: 'is not empty: it can replace nothing before it is',
};

/** Those in use are drives of a group, and stand among them. */
async function sparesIn(tiers: Sources['tiers']): Promise<string[]> {
  const groups = [...tiers.values()].filter(isNodeGroupTier);
  const spares = (await Promise.all(groups.map((tier) => tier.spares()))).flat();
  return spares
    .filter(({ state }) => state !== 'taken')
    .map(({ tier, path, state }) => `Spare of the tier ${tier}: ${path} ${SPARE_TEXTS[state]}.`);
}
