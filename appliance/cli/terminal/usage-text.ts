// How usage reads on a terminal; also what the demo shows after each step of its clock.

import type { UsageAnswer } from '../../model/answers.ts';
import { countText, sizeText } from './human.ts';
import type { Screen } from './output.ts';
import { tableText } from './table.ts';

export function usageText(usage: UsageAnswer, to: Screen): string {
  const { isTTY, columns } = to.io.stdout;
  const options = { bold: to.paint.bold, ...(isTTY ? { columns } : {}) };
  const stored = tableText(
    [
      { title: 'BUCKET', shrink: true },
      { title: 'CLASS' },
      { title: 'TIER' },
      { title: 'OBJECTS', align: 'right' },
      { title: 'BYTES', align: 'right' },
      { title: 'STORED', align: 'right' },
    ],
    usage.buckets.map((one) => [
      one.bucket,
      one.storageClass,
      one.tier,
      countText(one.objects),
      sizeText(one.bytes),
      one.storedBytes === null ? '–' : sizeText(one.storedBytes),
    ]),
    options,
  );
  const groups = groupsText(usage, options);
  return `${stored}\n${tiersText(usage, options)}${groups === '' ? '' : `\n${groups}`}`;
}

interface TextOptions {
  bold: (text: string) => string;
  columns?: number;
}

/** Groups and their drives: raw bytes, redundancy included, as du counts them. */
function groupsText(usage: UsageAnswer, options: TextOptions): string {
  const rows = usage.tiers.flatMap(({ tier, groups = [] }) =>
    groups.flatMap((one) => [
      [
        `${tier} group ${one.group}`,
        sizeText(one.heldBytes),
        one.liveBytes === null ? '–' : sizeText(one.liveBytes),
        sizeText(one.deadBytes),
        sizeText(one.redundancyBytes),
        sizeText(one.journalBytes),
        sizeText(one.otherBytes),
        sizeText(one.freeBytes),
        sizeText(one.capacityBytes),
        one.state === 'active' ? '' : one.state,
      ],
      ...one.drives.map((drive) => [
        `  drive ${drive.position}`,
        sizeText(drive.heldBytes),
        ...Array.from({ length: 5 }, () => ''),
        sizeText(drive.freeBytes),
        sizeText(drive.capacityBytes),
        drive.path,
      ]),
    ]),
  );
  if (rows.length === 0) return '';
  return tableText(
    [
      { title: 'RAW' },
      { title: 'HELD', align: 'right' },
      { title: 'LIVE', align: 'right' },
      { title: 'DEAD', align: 'right' },
      { title: 'PARITY', align: 'right' },
      { title: 'JOURNAL', align: 'right' },
      { title: 'OTHER', align: 'right' },
      { title: 'FREE', align: 'right' },
      { title: 'OF', align: 'right' },
      { title: 'NOTE', shrink: true },
    ],
    rows,
    options,
  );
}

/** Tiers alone: stored bytes with their redundancy, and what of them is left to be freed. */
export function tiersText(
  usage: UsageAnswer,
  options: { bold: (text: string) => string; columns?: number; indent?: string },
): string {
  return tableText(
    [
      { title: 'TIER' },
      { title: 'READ' },
      { title: 'BLOBS', align: 'right' },
      { title: 'USED', align: 'right' },
      { title: 'OF', align: 'right' },
      { title: 'FULL', align: 'right' },
      { title: 'NOTE', shrink: true },
    ],
    usage.tiers.map((tier) => [
      tier.tier,
      tier.retrieval === 'staged' ? 'after restore' : 'at once',
      countText(tier.blobs),
      sizeText(tier.usedBytes),
      tier.capacityBytes === 0 ? 'unbounded' : sizeText(tier.capacityBytes),
      tier.capacityBytes === 0
        ? '–'
        : `${((tier.usedBytes / tier.capacityBytes) * 100).toFixed(0)} %`,
      tier.error ?? '',
    ]),
    options,
  );
}
