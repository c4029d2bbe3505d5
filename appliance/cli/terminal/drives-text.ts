// How drives read on a terminal: a table a group, what to do below it. A column that no drive of
// the group has anything for is left out: six folders of a laptop have no temperature.

import type { DriveAnswer, DrivesAnswer, PhysicalAnswer } from '../../model/drive-answers.ts';
import { barText } from './bar.ts';
import { countOf, countText, sizeText } from './human.ts';
import type { Screen } from './output.ts';
import { shorten, tableText, type Column } from './table.ts';

const BAR_CELLS = 8;
const MODEL_COLUMNS = 24;

interface DriveColumn extends Column {
  of: (drive: DriveAnswer) => string;
  /** Left out where it is empty for all. */
  optional?: boolean;
}

/** Of all drives under one directory (a mirror has several), the same figures side by side. */
const each = (
  drive: DriveAnswer,
  of: (physical: PhysicalAnswer) => string | number | null,
  unit = '',
): string =>
  drive.physical
    .map((physical) => of(physical))
    .map((value) => (value === null ? '' : `${value}${unit}`))
    .filter((text) => text !== '')
    .join(', ');

/** Sectors of what spins, errors and spare of flash. */
function mediaText(physical: PhysicalAnswer): string | null {
  const parts = [
    [physical.reallocatedSectors, 'realloc'],
    [physical.pendingSectors, 'pending'],
    [physical.mediaErrors, 'errors'],
  ] as const;
  const counts = parts.flatMap(([count, name]) =>
    count === null ? [] : [`${countText(count)} ${name}`],
  );
  if (physical.sparePercent !== null) counts.push(`${physical.sparePercent} % spare`);
  return counts.length === 0 ? null : counts.join(', ');
}

const share = ({ usedBytes, capacityBytes }: DriveAnswer): number =>
  capacityBytes === 0 ? 0 : usedBytes / capacityBytes;

const COLUMNS: readonly DriveColumn[] = [
  { title: 'DRIVE', align: 'right', of: ({ position }) => String(position) },
  { title: 'STATE', of: ({ state }) => state },
  { title: 'DEVICE', of: deviceText, optional: true },
  { title: 'SLOT', of: (drive) => each(drive, ({ slot }) => slot), optional: true },
  {
    title: 'MODEL',
    of: (drive) =>
      shorten(
        each(drive, ({ model }) => model),
        MODEL_COLUMNS,
      ),
    optional: true,
  },
  { title: 'SERIAL', of: (drive) => each(drive, ({ serial }) => serial), optional: true },
  {
    title: 'TEMP',
    align: 'right',
    of: (drive) => each(drive, ({ temperatureC }) => temperatureC, ' °C'),
    optional: true,
  },
  {
    title: 'WEAR',
    align: 'right',
    of: (drive) => each(drive, ({ wearPercent }) => wearPercent, ' %'),
    optional: true,
  },
  { title: 'MEDIA', of: (drive) => each(drive, mediaText), optional: true },
  {
    title: 'USED',
    of: (drive) =>
      drive.capacityBytes === 0
        ? '–'
        : `${barText(share(drive), BAR_CELLS)} ${sizeText(drive.usedBytes)}`,
  },
  {
    title: 'FREE',
    align: 'right',
    of: ({ capacityBytes, usedBytes }) =>
      capacityBytes === 0 ? '–' : sizeText(capacityBytes - usedBytes),
  },
  { title: 'ERRORS', align: 'right', of: ({ errors }) => countText(errors) },
  { title: 'PATH', shrink: true, of: ({ path }) => path },
  { title: 'NOTE', of: ({ note }) => note ?? '', optional: true },
];

function deviceText({ device, physical }: DriveAnswer): string {
  const names = physical.map(({ name }) => name).join(', ');
  if (device === null) return names;
  return names === '' || names === device ? device : `${device} on ${names}`;
}

/** Every group with its drives; what must be done; what is not known, last. */
export function drivesText(answer: DrivesAnswer, to: Screen): string {
  const { paint } = to;
  if (answer.drives.length === 0) return 'There are no drives: no tier is of kind node-group.\n';
  const parts = answer.groups.map((group) => groupText(answer, group, to));
  const down = answer.drives.filter(({ state }) => state !== 'up').length;
  if (down > 0) parts.push(paint.red(`${countOf(down, 'drive')} not up.\n`));
  if (answer.notes.length > 0) {
    parts.push(answer.notes.map((note) => paint.dim(`${note}\n`)).join(''));
  }
  return parts.join('\n');
}

function groupText(
  answer: DrivesAnswer,
  group: DrivesAnswer['groups'][number],
  { io, paint }: Screen,
): string {
  const drives = answer.drives.filter(
    (drive) => drive.tier === group.tier && drive.group === group.group,
  );
  const columns = COLUMNS.filter(
    ({ of, optional }) => optional !== true || drives.some((drive) => of(drive) !== ''),
  );
  const { isTTY, columns: width } = io.stdout;
  const text = tableText(
    columns,
    drives.map((drive) => columns.map(({ of }) => of(drive))),
    { indent: '  ', bold: paint.bold, ...(isTTY ? { columns: width } : {}) },
  );
  const [title = '', ...rows] = text.trimEnd().split('\n');
  const lines = rows.map((row, at) => painted(row, drives[at] as DriveAnswer, paint));
  const advice = group.advice.map((line) => `  ${paint.bold('→')} ${line}`);
  return `${[headText(group, drives.length, paint), title, ...lines, ...advice].join('\n')}\n`;
}

function painted(row: string, drive: DriveAnswer, paint: Screen['paint']): string {
  const { state, warnings, note } = drive;
  const isGrave = warnings.some(({ level }) => level === 'critical');
  if (isGrave || !['up', 'healing', 'full'].includes(state)) return paint.red(row);
  return warnings.length > 0 || state !== 'up' || note !== null ? paint.yellow(row) : row;
}

function headText(
  { tier, group, code, whole, devices, losable }: DrivesAnswer['groups'][number],
  drives: number,
  paint: Screen['paint'],
): string {
  const name = paint.bold(`${tier} group ${group}`);
  const state = whole === drives ? `all ${drives} drives whole` : `${whole} of ${drives} whole`;
  const parts = [name, ...(code === null ? [] : [code]), state];
  const isShared = devices !== null && devices < drives;
  if (devices === 1) parts.push(paint.red('on 1 device: nothing survives losing it'));
  else if (isShared) parts.push(paint.red(`on ${countOf(devices, 'device')}`));
  if (losable !== null && devices !== 1) {
    const text =
      losable > 0
        ? `can lose ${losable} more${isShared ? ` drive${losable === 1 ? '' : 's'}` : ''}`
        : losable === 0
          ? 'can lose no more'
          : 'too few drives are whole';
    parts.push(losable > 0 ? text : paint.red(text));
  }
  return parts.join(' · ');
}
