// How durability reads on a terminal: the worst in the first line, the figures, then everything
// that they stand on. Nobody is to see the figure without that.

import type { DurabilityAnswer } from '../../model/drive-answers.ts';
import { countText, durationText } from './human.ts';
import type { Screen } from './output.ts';
import { tableText } from './table.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const ninesText = (nines: number | null): string => (nines === null ? '–' : nines.toFixed(1));

const LEGEND =
  'NINES: a year, against losing a group; 8.5 is once in 300 million years. ANY OBJECT: against\n' +
  'losing even one, by bad sectors too. MAY DIE: devices at once, whichever they are.\n';

export function durabilityText(answer: DurabilityAnswer, to: Screen): string {
  const { paint } = to;
  const isBad = answer.tiers.some(({ groups }) => groups.some((one) => one.devicesLosable === 0));
  const parts = [
    `${isBad ? paint.red(answer.statement) : paint.bold(answer.statement)}\n`,
    figures(answer, to),
    paint.dim(LEGEND),
    list('It assumes', answer.assumptions.map(assumption), paint),
    list('What caps it', answer.caps, paint),
    list(
      'What would raise it',
      answer.raises.map(({ what, nines }) =>
        nines === null ? what : `${what}: ${ninesText(nines)} nines`,
      ),
      paint,
    ),
  ];
  return parts.filter((part) => part !== '').join('\n');
}

const assumption = ({ name, value, source }: DurabilityAnswer['assumptions'][number]): string =>
  `${name}: ${value} (${source})`;

function list(title: string, lines: readonly string[], paint: Screen['paint']): string {
  if (lines.length === 0) return '';
  return `${paint.bold(title)}\n${lines.map((line) => `  - ${line}\n`).join('')}`;
}

function figures({ tiers, metadata }: DurabilityAnswer, { paint }: Screen): string {
  const rows = tiers.flatMap(({ tier, code, groups }) =>
    groups.map((group) => [
      tier,
      String(group.group),
      code,
      countText(group.drives),
      countText(group.devices),
      countText(group.devicesLosable),
      ninesText(group.nines),
      ninesText(group.anyObjectNines),
      durationText(group.refillHours * HOUR_MS) + (group.refillMeasured ? '' : ' (assumed)'),
      group.scrubAgeDays === null ? 'never' : `${durationText(group.scrubAgeDays * DAY_MS)} ago`,
    ]),
  );
  const devices = metadata.devices === null ? '–' : countText(metadata.devices);
  const losable = metadata.devices === null ? '–' : countText(metadata.devices - 1);
  rows.push(['metadata', '', '', '', devices, losable, ninesText(metadata.nines), '', '', '']);
  return tableText(
    [
      { title: 'TIER' },
      { title: 'GROUP', align: 'right' },
      { title: 'CODE' },
      { title: 'DRIVES', align: 'right' },
      { title: 'DEVICES', align: 'right' },
      { title: 'MAY DIE', align: 'right' },
      { title: 'NINES', align: 'right' },
      { title: 'ANY OBJECT', align: 'right' },
      { title: 'REFILL', align: 'right' },
      { title: 'SCRUBBED', align: 'right' },
    ],
    rows,
    { bold: paint.bold },
  );
}
