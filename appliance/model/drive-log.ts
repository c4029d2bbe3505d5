// How long the drives here have lived, and how many had to be replaced: what `firn durability`
// learns the failure rate from. The dangers: a rate that is believed because a young appliance was
// lucky, and a drive that is forgotten with what it would have said. So what was assumed weighs as
// much as one failure, and who was replaced is counted for good.

import type { DriveInfo } from './node-group.ts';

export interface LoggedDrive {
  /** Of its identity. */
  drive: string;
  group: number;
  position: number;
  /** Wall ms. */
  since: number;
  seen: number;
}

/** `data` of the checkpoint `drive-log/${tier}`. */
export interface DriveLog {
  drives: LoggedDrive[];
  /** Those that are no longer here. A group that left is not a failure. */
  gone: { years: number; replaced: number };
}

export const driveLogId = (tier: string): string => `drive-log/${tier}`;

export const NO_DRIVES: DriveLog = { drives: [], gone: { years: 0, replaced: 0 } };

const YEAR_MS = 8760 * 3_600_000;

const yearsOf = ({ since, seen }: LoggedDrive): number => Math.max(0, seen - since) / YEAR_MS;

/**
 * The log after a look at all drives of the tier. Another drive at a known one's place has replaced
 * it, whether it was dead or pulled because it warned: both are what makes people replace drives.
 */
export function observed(log: DriveLog, tier: readonly DriveInfo[], now: number): DriveLog {
  const present = tier.filter(({ drive }) => drive !== undefined);
  const ids = new Set(present.map(({ drive }) => drive));
  const groups = new Set(tier.map(({ group }) => group));
  const isTaken = ({ group, position }: LoggedDrive): boolean =>
    present.some((one) => one.group === group && one.position === position);
  const { gone } = log;
  let { years, replaced } = gone;
  const known = new Map<string, LoggedDrive>();
  for (const one of log.drives) {
    const isGone = !ids.has(one.drive) && (isTaken(one) || !groups.has(one.group));
    if (!isGone) known.set(one.drive, one);
    else {
      years += yearsOf(one);
      if (groups.has(one.group)) replaced += 1;
    }
  }
  for (const { drive = '', group, position } of present) {
    const since = known.get(drive)?.since ?? now;
    known.set(drive, { drive, group, position, since, seen: now });
  }
  return { drives: [...known.values()], gone: { years, replaced } };
}

export interface MeasuredRate {
  /** Share of drives that die within a year, 0 to 1. */
  afr: number;
  driveYears: number;
  replaced: number;
  /** What the assumption weighs beside that. */
  assumedYears: number;
}

/**
 * The failure rate from what was assumed and what was seen: deaths come as a Poisson process, its
 * rate has a gamma distribution of mean `assumedAfr` and shape 1 beforehand, and the mean after n
 * deaths in t drive-years is (1 + n) / (1 / assumed + t) (Gelman and others, Bayesian Data
 * Analysis, 2.6: the conjugate prior of a Poisson rate).
 */
export function measuredRate(log: DriveLog, assumedAfr: number): MeasuredRate {
  const assumedYears = 1 / -Math.log1p(-assumedAfr);
  const driveYears = log.gone.years + log.drives.reduce((sum, one) => sum + yearsOf(one), 0);
  const { replaced } = log.gone;
  const perYear = (1 + replaced) / (assumedYears + driveYears);
  return { afr: -Math.expm1(-perYear), driveYears, replaced, assumedYears };
}
