// Which readings are a warning, and how grave. A drive is to be replaced while its group still has
// redundancy, so warnings come at the first sign: in studies of large fleets a drive with one such
// sign fails within weeks far more often than one without (Pinheiro, Weber, Barroso: Failure Trends
// in a Large Disk Drive Population, FAST 2007).
//
// | sign | from | grave from | why |
// |---|---|---|---|
// | failing | the drive says so | always | SMART status: the maker's own thresholds |
// | reallocated | 1 sector | two signs | 14 times likelier to fail in 60 days (FAST 2007) |
// | pending | 1 sector | two signs | 16 times, in the same study |
// | uncorrectable | 1 error | two signs | 21 to 39 times (offline and scan errors), same study |
// | wear | 90 % | 100 % | NVMe 1.4 figure 94: 100 is the endurance its maker promises |
// | spare | its threshold | always | NVMe 1.4: below it the drive may turn read-only |
// | critical-warning | any bit | spare, reliability, read-only | NVMe 1.4 figure 94, byte 0 |
// | media | 1 error | two signs | NVMe 1.4: data integrity errors that were not recovered |
// | temperature | 60 °C, spinning | never | the most that makers of such drives allow in use |
//
// ATA's attribute 188 (timeouts) is left out: makers pack several counts into its raw value.

import type { HealthWarning } from '../model/drive-health.ts';
import type { SmartAnswer } from './smart.ts';

const WEAR_WARNING_PERCENT = 90;
const WEAR_CRITICAL_PERCENT = 100;
const SPINNING_CELSIUS_MAX = 60;

/** Byte 0 of NVMe's health log, by bit. */
const NVME_BITS: readonly { critical: boolean; text: string }[] = [
  { critical: true, text: 'its spare blocks are below the threshold' },
  { critical: false, text: 'its temperature is outside its limits' },
  { critical: true, text: 'its reliability is degraded by media or internal errors' },
  { critical: true, text: 'it has become read-only' },
  { critical: false, text: 'the backup of its volatile memory has failed' },
  { critical: false, text: 'its persistent memory region has become read-only' },
];

const counted = (count: number, noun: string): string =>
  `${count} ${noun}${count === 1 ? '' : 's'}`;

function countWarnings({ reading }: SmartAnswer): HealthWarning[] {
  const signs: [string, number | undefined, (count: number) => string][] = [
    ['reallocated', reading?.reallocatedSectors, (n) => `${counted(n, 'sector')} reallocated`],
    [
      'pending',
      reading?.pendingSectors,
      (n) => `${counted(n, 'sector')} waiting to be reallocated`,
    ],
    ['uncorrectable', reading?.uncorrectableErrors, (n) => counted(n, 'uncorrectable error')],
    ['media', reading?.mediaErrors, (n) => counted(n, 'media error')],
  ];
  const found = signs.flatMap(([sign, count, text]) =>
    count === undefined || count === 0 ? [] : [{ sign, text: text(count) }],
  );
  const level = found.length > 1 ? 'critical' : 'warning';
  return found.map((one) => ({ level, ...one }));
}

function wearWarnings({ reading, criticalWarning }: SmartAnswer): HealthWarning[] {
  const warnings: HealthWarning[] = [];
  const { wearPercent, sparePercent, spareThresholdPercent } = reading ?? {};
  if (wearPercent !== undefined && wearPercent >= WEAR_WARNING_PERCENT) {
    warnings.push({
      level: wearPercent >= WEAR_CRITICAL_PERCENT ? 'critical' : 'warning',
      sign: 'wear',
      text: `${wearPercent} % of the endurance its maker promises is used`,
    });
  }
  const isShort =
    sparePercent !== undefined &&
    spareThresholdPercent !== undefined &&
    sparePercent <= spareThresholdPercent;
  if (isShort) {
    warnings.push({
      level: 'critical',
      sign: 'spare',
      text: `${sparePercent} % spare blocks left, ${spareThresholdPercent} % is the threshold`,
    });
  }
  for (const [bit, { critical, text }] of NVME_BITS.entries()) {
    if (((criticalWarning >> bit) & 1) === 0 || (bit === 0 && isShort)) continue;
    warnings.push({ level: critical ? 'critical' : 'warning', sign: 'critical-warning', text });
  }
  return warnings;
}

/** Gravest first; empty for a drive that has nothing to say against itself. */
export function judge(answer: SmartAnswer): HealthWarning[] {
  const warnings: HealthWarning[] = [];
  if (answer.reading?.passed === false) {
    warnings.push({
      level: 'critical',
      sign: 'failing',
      text: 'the drive says that it is failing',
    });
  }
  for (const name of answer.failingNow) {
    warnings.push({ level: 'critical', sign: 'failing', text: `${name} is below its threshold` });
  }
  warnings.push(...countWarnings(answer), ...wearWarnings(answer));
  const { temperatureC } = answer.reading ?? {};
  if (answer.spinning && temperatureC !== undefined && temperatureC >= SPINNING_CELSIUS_MAX) {
    warnings.push({ level: 'warning', sign: 'temperature', text: `${temperatureC} °C is too hot` });
  }
  return warnings.toSorted(
    (a, b) => Number(b.level === 'critical') - Number(a.level === 'critical'),
  );
}
