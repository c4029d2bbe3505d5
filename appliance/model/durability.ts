// How safe stored bytes are, computed for the drives as they stand, not asserted: a Markov chain of
// drives that fail and are refilled, per group. The danger it answers is a figure that nobody can
// check: "eleven nines" over six folders of one device is worth 1.8. Everything it assumes is an
// argument, so that whoever shows the figure can show what it stands on. Nines are those of a year:
// log10 of the mean years until bytes are lost.
//
// The chain is the one that RAID was introduced with (Patterson, Gibson and Katz 1988; Gibson and
// Patterson 1993, "Designing disk arrays for high data reliability"): states count what is gone,
// failures of what is left lead up, one repair at a time leads down. For a mirror it is the
// textbook's (3λ + μ) / 2λ². Its known weakness, failures that come together, is why device and
// host stand beside the figure.

const HOURS_A_YEAR = 8760;
/** Data sheets of drives: one sector in 10^15 bits read can't be read back. */
export const UNREADABLE_PER_BIT = 1e-15;
/** That rate holds where everything was read and repaired within this. */
export const SCRUB_DAYS = 14;

export interface GroupLayout {
  k: number;
  m: number;
  /** How many of the group's drives each device holds: [1, 1, 1, 1, 1, 1], or [6]. */
  drivesByDevice: readonly number[];
}

/**
 * Sizes of the failure domains of drives, by the devices that each lies on: drives that share any
 * device, be it through a volume over several, die together.
 */
export function domainSizes(devices: readonly (readonly string[])[]): number[] {
  const domains: { names: Set<string>; drives: number }[] = [];
  for (const names of devices) {
    const joined = { names: new Set(names), drives: 1 };
    for (const domain of domains.filter((one) => names.some((name) => one.names.has(name)))) {
      for (const name of domain.names) joined.names.add(name);
      joined.drives += domain.drives;
      domains.splice(domains.indexOf(domain), 1);
    }
    domains.push(joined);
  }
  return domains.map(({ drives }) => drives);
}

export interface Failures {
  /** Share of devices that die within a year, 0 to 1. */
  afr: number;
  /** From a drive's death until it is refilled: noticed, replaced, rebuilt. */
  repairHours: number;
  /** Of those, the rebuilding alone: a device with several drives takes it several times. */
  refillHours?: number;
}

export interface Reading {
  /** Bytes of ours on one drive. */
  driveBytes: number;
  /** Days since everything was last read back and repaired. */
  scrubAgeDays: number;
}

/** Failures an hour of one device: the share that is left after a year is 1 - afr. */
const hourlyRate = (afr: number): number => -Math.log1p(-afr) / HOURS_A_YEAR;

export interface Chain {
  /** Mean hours spent in a state each time it is entered are 1 / the sum of its rates. */
  states: number;
  /** Rate an hour from one state to another; the state `states` is loss, 0 is the start. */
  rates: { from: number; to: number; rate: number }[];
}

/**
 * Mean hours from state 0 until loss. Each state in turn is replaced by direct rates between those
 * that are left (Grassmann, Taksar and Heyman): no subtraction, so that 20 nines come out right in
 * doubles, where elimination by the textbook has lost every digit.
 */
export function meanHoursToLoss({ states, rates }: Chain): number {
  const width = states + 1;
  const rate = new Float64Array(states * width);
  const cost = new Float64Array(states).fill(1);
  const at = (from: number, to: number): number => rate[from * width + to] as number;
  for (const one of rates) rate[one.from * width + one.to] = at(one.from, one.to) + one.rate;
  for (let gone = states - 1; gone > 0; gone -= 1) {
    // Only states below `gone` and loss are left.
    const targets = [...Array.from({ length: gone }, (_, state) => state), states];
    const out = targets.reduce((sum, to) => sum + at(gone, to), 0);
    if (out === 0) return Infinity;
    for (let from = 0; from < gone; from += 1) {
      const share = at(from, gone) / out;
      if (share === 0) continue;
      for (const to of targets) {
        if (to !== from) rate[from * width + to] = at(from, to) + share * at(gone, to);
      }
      cost[from] = (cost[from] as number) + share * (cost[gone] as number);
    }
  }
  return (cost[0] as number) / at(0, states);
}

/**
 * Mean years until more drives of a group are gone at once than `bearable`. Devices fail each on
 * its own, with all drives on them; they are refilled one at a time, the fullest first.
 */
export function yearsUntilBeyond(
  bearable: number,
  drivesByDevice: readonly number[],
  { afr, repairHours, refillHours = 0 }: Failures,
): number {
  const sizes = [...new Set(drivesByDevice)].toSorted((a, b) => b - a);
  const totals = sizes.map((size) => drivesByDevice.filter((one) => one === size).length);
  const vectors: number[][] = [];
  const index = new Map<string, number>();
  const enter = (failed: number[]): number => {
    const lost = failed.reduce((sum, count, of) => sum + count * (sizes[of] as number), 0);
    if (lost > bearable) return -1;
    const key = failed.join();
    const known = index.get(key);
    if (known !== undefined) return known;
    vectors.push(failed);
    index.set(key, vectors.length - 1);
    return vectors.length - 1;
  };
  const change = (failed: readonly number[], of: number, by: number): number[] =>
    failed.map((count, place) => (place === of ? count + by : count));
  const rates: Chain['rates'] = [];
  enter(sizes.map(() => 0));
  const perHour = hourlyRate(afr);
  for (let from = 0; from < vectors.length; from += 1) {
    const failed = vectors[from] as number[];
    for (const [of, total] of totals.entries()) {
      const left = total - (failed[of] as number);
      if (left === 0) continue;
      rates.push({ from, to: enter(change(failed, of, 1)), rate: left * perHour });
    }
    const first = failed.findIndex((count) => count > 0);
    if (first < 0) continue;
    const hours = repairHours + ((sizes[first] as number) - 1) * refillHours;
    rates.push({ from, to: enter(change(failed, first, -1)), rate: 1 / hours });
  }
  const states = vectors.length;
  const known = rates.map((one) => (one.to < 0 ? { ...one, to: states } : one));
  return meanHoursToLoss({ states, rates: known }) / HOURS_A_YEAR;
}

/** Hosts that are lost with all their drives within a year: fire, theft, a power supply gone mad. */
export const HOST_LOST_PERCENT = 0.5;

/** Nines of what stands on one host alone, whatever its drives. */
export const HOST_NINES = ninesOf(1 / -Math.log1p(-HOST_LOST_PERCENT / 100));

export function ninesOf(years: number): number {
  return Math.max(0, Math.log10(years));
}

export interface GroupDurability {
  /** Mean years until the group's bytes are lost because too many devices died. */
  years: number;
  nines: number;
  /** Mean years until some object is lost: also by a sector that nobody could read in time. */
  anyObjectYears: number;
  anyObjectNines: number;
  /** Chance that refilling a drive with no redundancy left meets an unreadable sector. */
  unreadableChance: number;
  /** Devices that may die at once, whichever they are. */
  devicesLosable: number;
}

export function groupDurability(
  { k, m, drivesByDevice }: GroupLayout,
  failures: Failures,
  reading: Reading,
): GroupDurability {
  const years = yearsUntilBeyond(m, drivesByDevice, failures);
  const bits = 8 * k * reading.driveBytes;
  const age = Math.max(1, reading.scrubAgeDays / SCRUB_DAYS);
  const unreadableChance = -Math.expm1(-bits * UNREADABLE_PER_BIT * age);
  // With m drives gone every sector counts; how often that comes is the same chain, ended earlier.
  const critical = yearsUntilBeyond(m - 1, drivesByDevice, failures);
  const anyObjectYears = 1 / (1 / years + unreadableChance / critical);
  let devicesLosable = 0;
  let lost = 0;
  for (const size of drivesByDevice.toSorted((a, b) => b - a)) {
    lost += size;
    if (lost > m) break;
    devicesLosable += 1;
  }
  return {
    years,
    nines: ninesOf(years),
    anyObjectYears,
    anyObjectNines: ninesOf(anyObjectYears),
    unreadableChance,
    devicesLosable,
  };
}

/** Nines of bytes that stand whole on each of so many devices. */
export function copiesNines(devices: number, failures: Failures): number {
  if (devices === 0) return 0;
  const each = Array.from({ length: devices }, () => 1);
  return ninesOf(yearsUntilBeyond(devices - 1, each, failures));
}
