// `firn durability`: the model's figure for the drives as they stand, and everything that it
// stands on. The danger it answers is a claim: a figure without its assumptions, or one that
// leaves out what really loses data, makes people keep no second copy. So the first line says the
// worst, and what is assumed, what is measured and what is not in the figure are parts of the
// answer.

import type { DurabilityAnswer } from '../../../appliance/model/drive-answers.ts';
import { DAY_MS } from '../../../appliance/model/clock.ts';
import {
  copiesNines,
  domainSizes,
  groupDurability,
  HOST_LOST_PERCENT,
  HOST_NINES,
  ninesOf,
  SCRUB_DAYS,
  UNREADABLE_PER_BIT,
  yearsUntilBeyond,
  type Failures,
} from '../../../appliance/model/durability.ts';
import {
  driveLogId,
  measuredRate,
  NO_DRIVES,
  type DriveLog,
  type MeasuredRate,
} from '../../../appliance/model/drive-log.ts';
import { MiB } from '../../../appliance/model/limits.ts';
import type { DriveInfo } from '../../../appliance/model/node-group.ts';
import type { Checkpoint } from '../../../appliance/model/records.ts';
import type { AdminOptions, DurabilitySettings, GroupCode } from '../contract/options.ts';
import { timeOf } from '../contract/rows.ts';
import { isWhole } from './advice.ts';
import { driveInfos } from './drives.ts';
import { lastPass, upkeepOf } from './heal.ts';

const DEFAULTS: DurabilitySettings = { afrPercent: 1.5, replaceHours: 24 };
/** Where no drive was refilled yet: what one spinning drive takes beside other work. */
const REFILL_BYTES_PER_SECOND = 50 * MiB;
/** A refill of less says nothing about the pace of a whole drive. */
const MEASURED_BYTES_MIN = 64 * MiB;

type Tier = DurabilityAnswer['tiers'][number];
type Group = Tier['groups'][number];

interface Pace {
  bytesPerSecond: number;
  isMeasured: boolean;
}

/** Bytes a second that a replaced drive took, the median of those refilled lately. */
async function paceOf(options: AdminOptions, tier: string, k: number): Promise<Pace> {
  const { ended } = await upkeepOf(options, 'heal', tier);
  const paces = ended
    // Of each k + 1 bytes k were read, for one that was written.
    .map((one) => ({ bytes: one.bytes / (k + 1), seconds: (one.endedAt - one.startedAt) / 1000 }))
    .filter(({ bytes, seconds }) => bytes >= MEASURED_BYTES_MIN && seconds > 0)
    .map(({ bytes, seconds }) => bytes / seconds)
    .toSorted((a, b) => a - b);
  const median = paces[paces.length >> 1];
  return { bytesPerSecond: median ?? REFILL_BYTES_PER_SECOND, isMeasured: median !== undefined };
}

/** Below it the log of drives says nothing yet. */
const DRIVE_YEARS_MIN = 0.1;
/** Past it more drives die than makers promise. */
const OLD_YEARS = 5;

async function rateOf(options: AdminOptions, tier: string): Promise<MeasuredRate> {
  const row = await options.store.get<Checkpoint>('checkpoints', driveLogId(tier));
  const log = (row?.value.data as DriveLog | undefined) ?? NO_DRIVES;
  return measuredRate(log, (options.durability ?? DEFAULTS).afrPercent / 100);
}

/**
 * How many of the drives each device holds. Partitions of one drive, and logical devices over it,
 * count as one device where the system tells.
 */
function drivesByDevice(drives: readonly DriveInfo[], health: AdminOptions['health']): number[] {
  const byPath = health?.report().byPath;
  return domainSizes(
    drives.map(({ path, device }) => {
      const physical = byPath?.get(path)?.drives.map(({ name }) => name) ?? [];
      // One that is away now stood on a device of its own.
      return physical.length > 0 ? physical : [device === '' ? path : `#${device}`];
    }),
  );
}

interface GroupInput {
  group: number;
  drives: readonly DriveInfo[];
  code: GroupCode;
  pace: Pace;
  scrubAgeDays: number | null;
  settings: DurabilitySettings;
  rate: MeasuredRate;
  byDevice: readonly number[];
}

/** Until an empty drive stands in a dead one's place: a spare, or a person. */
const replaceHoursOf = ({ code, settings }: Pick<GroupInput, 'code' | 'settings'>): number =>
  (code.spares ?? 0) > 0
    ? Math.min(settings.replaceHours, code.spareAfterHours ?? 0)
    : settings.replaceHours;

const failuresOf = (input: GroupInput, driveBytes: number): Failures => {
  const { rate, pace } = input;
  const refillHours = driveBytes / pace.bytesPerSecond / 3600;
  return {
    afr: rate.afr,
    // A drive that is refilled in no time at all still has to be looked at.
    repairHours: Math.max(0.01, replaceHoursOf(input) + refillHours),
    refillHours,
  };
};

/** Full drives are counted: the figure must not sink while people fill what they bought. */
const driveBytesOf = (drives: readonly DriveInfo[], byDevice: readonly number[]): number => {
  const most = Math.max(0, ...drives.map(({ capacityBytes }) => capacityBytes));
  return most / Math.max(1, ...byDevice);
};

function groupOf(input: GroupInput): Group {
  const { group, drives, code, pace, scrubAgeDays, byDevice } = input;
  const driveBytes = driveBytesOf(drives, byDevice);
  const failures = failuresOf(input, driveBytes);
  // What was never read back is as old as it may be: a year is taken.
  const reading = { driveBytes, scrubAgeDays: scrubAgeDays ?? 365 };
  const found = groupDurability({ ...code, drivesByDevice: byDevice }, failures, reading);
  return {
    group,
    nines: found.nines,
    anyObjectNines: found.anyObjectNines,
    yearsUntilLoss: found.years,
    drives: drives.length,
    devices: byDevice.length,
    devicesLosable: found.devicesLosable,
    drivesDown: drives.filter((drive) => !isWhole(drive)).length,
    driveBytes,
    refillHours: failures.refillHours ?? 0,
    refillBytesPerSecond: pace.bytesPerSecond,
    refillMeasured: pace.isMeasured,
    scrubAgeDays,
  };
}

interface Looked {
  tier: Tier;
  inputs: GroupInput[];
}

async function tierOf(
  options: AdminOptions,
  name: string,
  drives: readonly DriveInfo[],
): Promise<Looked | undefined> {
  const code = options.codes?.get(name);
  if (code === undefined) return undefined;
  const settings = options.durability ?? DEFAULTS;
  const pace = await paceOf(options, name, code.k);
  const rate = await rateOf(options, name);
  const { ended } = await upkeepOf(options, 'scrub', name);
  const inputs = [...Map.groupBy(drives, ({ group }) => group)].map(([group, members]) => {
    const part = lastPass(ended, [group])?.[0];
    const ageMs = part === undefined ? undefined : options.clock.wall() - part.endedAt;
    return {
      group,
      drives: members,
      code,
      pace,
      settings,
      rate,
      scrubAgeDays: ageMs === undefined ? null : Math.max(0, ageMs / DAY_MS),
      byDevice: drivesByDevice(members, options.health),
    };
  });
  const groups = inputs.map(groupOf);
  const nines = Math.min(...groups.map((one) => one.nines));
  const { afr, driveYears, replaced: drivesReplaced } = rate;
  const measured = { afrPercent: 100 * afr, driveYears, drivesReplaced };
  const tier = { tier: name, code: `${code.k}+${code.m}`, nines, ...measured, groups };
  return { tier, inputs };
}

function metadataOf(
  options: AdminOptions,
  drives: readonly DriveInfo[],
  tiers: readonly Tier[],
): DurabilityAnswer['metadata'] {
  const { afrPercent: assumed, replaceHours } = options.durability ?? DEFAULTS;
  const store = options.store.name;
  if (store === 'mongo') {
    return {
      store,
      devices: null,
      nines: null,
      note: 'MongoDB keeps it: its replica set needs as many members on hosts of their own',
    };
  }
  const paths = new Set(options.metadataDrives?.());
  const holders = drives.filter(({ path }) => paths.has(path));
  const afrPercent = tiers.find(({ tier }) => tier === holders[0]?.tier)?.afrPercent ?? assumed;
  const devices = holders.length > 0 ? drivesByDevice(holders, options.health).length : 1;
  const note =
    holders.length > 0
      ? `the journal is whole on ${holders.length} drives, on ` +
        `${devices} device${devices === 1 ? '' : 's'}`
      : 'LMDB in the data folder, one copy';
  const repairHours = Math.max(1, replaceHours);
  return {
    store,
    devices,
    nines: copiesNines(devices, { afr: afrPercent / 100, repairHours }),
    note,
  };
}

export async function durabilityOf(options: AdminOptions): Promise<DurabilityAnswer> {
  const infos = await driveInfos(options);
  const byTier = Map.groupBy(infos, ({ tier }) => tier);
  const looked: Looked[] = [];
  for (const [name, drives] of byTier) {
    const one = await tierOf(options, name, drives);
    if (one !== undefined) looked.push(one);
  }
  const tiers = looked.map(({ tier }) => tier);
  const metadata = metadataOf(options, infos, tiers);
  const figures = [...tiers.map(({ nines }) => nines), metadata.nines ?? Infinity];
  return {
    at: timeOf(options.clock.wall()),
    nines: metadata.nines === null || tiers.length === 0 ? null : Math.min(...figures),
    statement: statementOf(tiers, metadata),
    hosts: 1,
    hostNines: HOST_NINES,
    tiers,
    metadata,
    assumptions: assumptionsOf(options, looked),
    caps: capsOf(options, tiers, metadata),
    raises: raisesOf(looked, metadata),
  };
}

const spanText = (hours: number): string =>
  hours < 1 ? `${Math.ceil(hours * 60)} min` : `${hours.toFixed(1)} h`;

const figure = (nines: number): string => nines.toFixed(1);

/** The worst first, in one sentence. */
function statementOf(tiers: readonly Tier[], metadata: DurabilityAnswer['metadata']): string {
  const onOne = tiers.flatMap(({ tier, groups }) =>
    groups.filter(({ devicesLosable }) => devicesLosable === 0).map((group) => ({ tier, group })),
  );
  const [first] = onOne;
  if (first !== undefined) {
    const { tier, group } = first;
    const more = onOne.length === 1 ? '' : `, and so with ${onOne.length - 1} more of its kind`;
    const lie =
      group.devices === 1
        ? `all ${group.drives} drives of ${tier} group ${group.group} lie on one device`
        : `the ${group.drives} drives of ${tier} group ${group.group} lie on ` +
          `${group.devices} devices`;
    return (
      `One device can take everything with it: ${lie}${more}. ` +
      `Parity protects nothing there: ${figure(group.nines)} nines a year, as one bare drive.`
    );
  }
  const data = Math.min(...tiers.map(({ nines }) => nines));
  if (metadata.nines !== null && metadata.nines < data) {
    return (
      `Objects are safer than what names them: metadata stands on ${metadata.devices} ` +
      `device${metadata.devices === 1 ? '' : 's'}, ${figure(metadata.nines)} nines a year; ` +
      `objects ${figure(data)}.`
    );
  }
  if (tiers.length === 0) return 'There is no node group to compute anything for.';
  return (
    `${figure(data)} nines a year against devices that fail each on its own. All of them stand in ` +
    'one host: nothing survives losing it with its drives.'
  );
}

function rateText(
  { tier, afrPercent, driveYears, drivesReplaced }: Tier,
  rate: MeasuredRate | undefined,
  settings: DurabilitySettings,
): DurabilityAnswer['assumptions'][number] {
  const isMeasured = driveYears >= DRIVE_YEARS_MIN;
  return {
    name: `drives of ${tier} that die in a year`,
    value: `${afrPercent.toFixed(2)} %`,
    source: isMeasured
      ? `measured: ${drivesReplaced} replaced in ${driveYears.toFixed(1)} drive-years here, beside ` +
        `${settings.afrPercent} % of the settings, which weigh ` +
        `${(rate?.assumedYears ?? 0).toFixed(0)} drive-years`
      : 'durability.afrPercent of the settings; too few drive-years here to measure it',
  };
}

function assumptionsOf(
  options: AdminOptions,
  looked: readonly Looked[],
): DurabilityAnswer['assumptions'] {
  const settings = options.durability ?? DEFAULTS;
  const tiers = looked.map(({ tier }) => tier);
  const groups = tiers.flatMap((tier) => tier.groups.map((group) => ({ tier: tier.tier, group })));
  const [slowest] = groups.toSorted((a, b) => b.group.refillHours - a.group.refillHours);
  const rows = [
    ...looked.map(({ tier, inputs }) => rateText(tier, inputs[0]?.rate, settings)),
    {
      name: 'until an empty drive stands in its place',
      value: `${settings.replaceHours} h`,
      source: 'durability.replaceHours of the settings',
    },
  ];
  for (const { tier, inputs } of looked) {
    const { spares = 0, spareAfterHours = 0 } = inputs[0]?.code ?? {};
    if (spares === 0) continue;
    rows.push({
      name: `until a spare stands in its place in ${tier.tier}`,
      value: spanText(spareAfterHours),
      source: `spares of the settings: ${spares}, and new ones once they are used`,
    });
  }
  if (slowest !== undefined) {
    const { refillBytesPerSecond, refillHours, refillMeasured } = slowest.group;
    rows.push({
      name: 'refilling a full drive',
      value: `${spanText(refillHours)} at ${(refillBytesPerSecond / MiB).toFixed(0)} MiB/s`,
      source: refillMeasured ? 'measured: drives that were refilled here' : 'assumed: none was yet',
    });
  }
  rows.push({
    name: 'sectors that can not be read',
    value: `1 in 10^${-Math.log10(UNREADABLE_PER_BIT)} bits, read back within ${SCRUB_DAYS} days`,
    source: 'data sheets of drives; more where the last full scrub is older',
  });
  for (const { tier, group } of groups) {
    rows.push({
      name: `last full scrub of ${tier} group ${group.group}`,
      value: group.scrubAgeDays === null ? 'never' : `${group.scrubAgeDays.toFixed(1)} days ago`,
      source: group.scrubAgeDays === null ? 'counted as a year' : 'measured',
    });
  }
  rows.push({
    name: 'devices fail',
    value: 'each on its own',
    source: 'the model: a Markov chain, one drive refilled at a time',
  });
  return rows;
}

function capsOf(
  options: AdminOptions,
  tiers: readonly Tier[],
  metadata: DurabilityAnswer['metadata'],
): string[] {
  const caps: string[] = [];
  for (const { tier, groups } of tiers) {
    for (const { group, drives, devices, devicesLosable, drivesDown } of groups) {
      if (devices < drives) {
        caps.push(
          `${tier} group ${group}: ${drives} drives on ${devices} ` +
            `device${devices === 1 ? '' : 's'}, ` +
            (devicesLosable === 0
              ? 'none of which may die.'
              : `${devicesLosable} of which may die at once.`),
        );
      }
      if (drivesDown > 0) {
        caps.push(
          `${tier} group ${group}: ${drivesDown} drive${drivesDown === 1 ? ' is' : 's are'} not ` +
            'whole now; until refilled the group is worth less than the figure.',
        );
      }
    }
  }
  if (metadata.nines !== null && metadata.devices === 1) {
    caps.push(`Metadata: ${metadata.note}. Lose that device and no object has its name.`);
  } else if (metadata.nines === null) caps.push(`Metadata is not computed: ${metadata.note}.`);
  caps.push(
    'One host holds all of it. Where its drives are lost with it (fire, theft, a power supply gone ' +
      `mad; ${HOST_LOST_PERCENT} % a year is usual) nothing is left: no claim above ` +
      `${figure(HOST_NINES)} nines holds against that. Drives that outlive it serve in another.`,
  );
  const others = [...options.tiers.keys()].filter(
    (name) => !tiers.some((one) => one.tier === name),
  );
  if (others.length > 0) {
    caps.push(
      `What lies in ${others.join(', ')} is as safe as those directories and services are: ` +
        'nothing is computed for it.',
    );
  }
  caps.push(
    'Keys: master.key and key-ring stand in one place each. Without them sealed objects are ' +
      'lost: keep copies apart from the data.',
  );
  caps.push(
    'Common causes are in no figure here: fire, theft, ransomware, an operator, a bad batch, ' +
      'a bug. If one of them comes once in 100,000 years, no claim above 5.0 nines holds.',
  );
  const told = [...(options.health?.report().byPath.values() ?? [])].flatMap(
    ({ drives }) => drives,
  );
  const oldest = Math.max(0, ...told.map(({ smart }) => smart?.powerOnHours ?? 0)) / 8760;
  if (oldest > OLD_YEARS) {
    caps.push(
      `The oldest drive has run for ${oldest.toFixed(1)} years: past ${OLD_YEARS} more die than ` +
        'is assumed.',
    );
  }
  const warned = told.filter(({ warnings }) => warnings.length > 0);
  const names = [...new Set(warned.map(({ name }) => name))];
  if (names.length > 0) {
    caps.push(`Drives that warn of their end fail far sooner than assumed: ${names.join(', ')}.`);
  }
  return caps;
}

/** What the weakest group would be worth if one thing were otherwise. */
function raisesOf(
  looked: readonly Looked[],
  metadata: DurabilityAnswer['metadata'],
): DurabilityAnswer['raises'] {
  const all = looked.flatMap(({ tier, inputs }) =>
    inputs.map((input, at) => ({ tier: tier.tier, input, group: tier.groups[at] as Group })),
  );
  const [weakest] = all.toSorted((a, b) => a.group.nines - b.group.nines);
  if (weakest === undefined) return [];
  const { input, group } = weakest;
  const { code } = input;
  const name = `${weakest.tier} group ${group.group}`;
  const single = Array.from({ length: code.k + code.m }, () => 1);
  const failures = failuresOf(input, group.driveBytes);
  const raises: DurabilityAnswer['raises'] = [];
  if (group.devices < group.drives) {
    const nines = ninesOf(yearsUntilBeyond(code.m, single, failures));
    raises.push({ what: `a device of its own for each drive of ${name}`, nines });
  }
  if (metadata.devices === 1) {
    const what =
      'metadata on more devices: the journal goes where hot drives have devices of their own';
    raises.push({ what, nines: null });
  }
  if (replaceHoursOf(input) > 1 && group.devicesLosable > 0) {
    const sooner = { ...failures, repairHours: 0.25 + (failures.refillHours ?? 0) };
    const nines = ninesOf(yearsUntilBeyond(code.m, input.byDevice, sooner));
    raises.push({ what: `a spare drive in the settings (spares) of ${weakest.tier}`, nines });
  }
  if (code.m < 4) {
    const wide = Array.from({ length: 12 }, () => 1);
    const nines = ninesOf(yearsUntilBeyond(4, wide, failures));
    raises.push({ what: 'code 8+4 over twelve devices', nines });
  }
  if ((group.scrubAgeDays ?? 365) > SCRUB_DAYS) {
    raises.push({
      what: `a full scrub now (./firn run scrub), then every ${SCRUB_DAYS} days`,
      nines: null,
    });
  }
  raises.push({ what: 'a second copy elsewhere: it alone answers common causes', nines: null });
  return raises;
}
