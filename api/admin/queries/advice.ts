// What a person standing in front of the rack should do. The dangers: someone pulls the wrong
// drive, or the right one while its groups can't spare it. What is pulled is a whole drive, so
// everything that lies on it counts: directories of several groups and tiers, and the metadata.

import type { DriveAnswer, PhysicalAnswer } from '../../../appliance/model/drive-answers.ts';

/** Signs that are written out; the table shows the figures. */
const SIGNS_SHOWN = 3;

/** In full use, and holding all they should. */
const WHOLE = new Set(['up', 'full']);

export const isWhole = (drive: { state: string }): boolean => WHOLE.has(drive.state);

export interface Rack {
  /** Of all tiers and groups. */
  drives: readonly DriveAnswer[];
  /** How many drives of a group may be lost; undefined: not known. */
  losableOf: (tier: string) => number | undefined;
  /** Names of the drives that the metadata lie on. */
  metadataOn: ReadonlySet<string>;
}

interface Group {
  tier: string;
  group: number;
  drives: readonly DriveAnswer[];
}

/** One line each; empty when there is nothing to do. */
export function adviceOf(group: Group, rack: Rack): string[] {
  return [
    ...sharedAdvice(group.drives),
    ...group.drives.flatMap((drive) => stateAdvice(drive, group, rack) ?? []),
    ...warnedIn(group.drives).map((physical) => warnedAdvice(physical, group, rack)),
  ];
}

const lies = (drive: DriveAnswer, name: string): boolean =>
  drive.physical.some((one) => one.name === name);

const positions = (drives: readonly DriveAnswer[]): string => {
  const list = drives.map(({ position }) => position);
  return list.length === 1 ? `drive ${list[0]}` : `drives ${list.join(', ')}`;
};

/** Drives that die together are one drive, whatever the code says. */
function sharedAdvice(drives: readonly DriveAnswer[]): string[] {
  const known = drives.filter(({ physical }) => physical.length > 0);
  const devices = Map.groupBy(known, ({ physical }) => physical.map(({ name }) => name).join(', '));
  return [...devices].flatMap(([name, own]) => {
    if (own.length < 2) return [];
    return own.length === drives.length
      ? `All ${own.length} drives lie on ${name}: losing it loses everything that is stored here.`
      : `${capital(positions(own))} lie on ${name} and die together.`;
  });
}

/** How it is found: slot, else serial number. */
function placeOf({ name, slot, serial }: PhysicalAnswer): string {
  const parts = [slot === null ? '' : `slot ${slot}`, serial === null ? '' : `serial ${serial}`];
  const known = parts.filter((part) => part !== '').join(', ');
  return known === '' ? name : `${name} (${known})`;
}

function stateAdvice(drive: DriveAnswer, group: Group, rack: Rack): string | undefined {
  const where = drive.physical.map(placeOf).join(' and ');
  const name = `${capital(positions([drive]))}${where === '' ? '' : ` on ${where}`}`;
  const room = roomText(group, rack);
  switch (drive.state) {
    case 'missing':
    case 'failing':
      return (
        `${name} is ${drive.state}: put it back, or an empty one in its place at ${drive.path}; ` +
        `it is refilled by itself.${room} Pull no other drive of this group before that.`
      );
    case 'foreign':
      return `${name} is another drive: put back the one that stood at ${drive.path}.${room}`;
    case 'full':
      return `${name} is full: free room, or add a group.`;
    default:
      return undefined;
  }
}

function roomText({ tier, drives }: Group, { losableOf }: Rack): string {
  const m = losableOf(tier);
  if (m === undefined) return '';
  const left = m - drives.filter((drive) => !isWhole(drive)).length;
  return left > 0 ? ` The group can lose ${left} more.` : ' The group can lose no more.';
}

function warnedIn(drives: readonly DriveAnswer[]): PhysicalAnswer[] {
  const warned = new Map<string, PhysicalAnswer>();
  for (const { physical, warnings } of drives) {
    for (const one of physical) {
      if (warnings.some(({ drive }) => drive === one.name)) warned.set(one.name, one);
    }
  }
  return [...warned.values()];
}

function warnedAdvice(physical: PhysicalAnswer, group: Group, rack: Rack): string {
  const { name, locate } = physical;
  const here = group.drives.filter((drive) => lies(drive, name));
  const signs = here
    .flatMap(({ warnings }) => warnings)
    .filter(({ drive }) => drive === name)
    .map(({ text }) => text);
  const unique = [...new Set(signs)];
  const rest = unique.length - SIGNS_SHOWN;
  const told = [...unique.slice(0, SIGNS_SHOWN), ...(rest > 0 ? [`${rest} more signs`] : [])];
  const light = locate === null ? '' : ` Its light: ${locate}`;
  const who = `Drive ${placeOf(physical)}, ${positions(here)} here,`;
  const what = `${who} warns of its end: ${told.join(', ')}.`;
  return `${what} ${verdict(name, group, rack)}${light}`;
}

/** Whether it can be spared by everybody who has something on it. */
function verdict(name: string, group: Group, rack: Rack): string {
  const touched = Map.groupBy(
    rack.drives.filter((drive) => lies(drive, name)),
    ({ tier, group: of }) => `${tier} group ${of}`,
  );
  for (const [where, on] of touched) {
    const { tier, group: of } = on[0] as DriveAnswer;
    const m = rack.losableOf(tier);
    if (m === undefined) return 'Whether it can be spared is not known.';
    if (on.length > m) {
      return (
        `Do not pull it: ${where} has ${on.length} drives on it and can lose ${m}. ` +
        'Copy what is stored there to somewhere else now.'
      );
    }
    const members = rack.drives.filter((drive) => drive.tier === tier && drive.group === of);
    const others = members.filter((drive) => !isWhole(drive) && !lies(drive, name)).length;
    if (others + on.length > m) {
      return (
        `Do not pull it yet: ${where} could not spare it. Wait until firn heal status says that ` +
        'the others are refilled.'
      );
    }
  }
  if (rack.metadataOn.has(name)) {
    return 'Do not pull it while Firn runs: the data folder, with its keys, lies on it.';
  }
  return `Replace it; it is safe to pull now.${roomText(group, rack)}`;
}

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
