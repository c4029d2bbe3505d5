// What the admin API answers about drives, healing and durability; rules as in answers.ts.

import type { RunAnswer } from './answers.ts';

export interface DriveAnswer {
  tier: string;
  group: number;
  position: number;
  path: string;
  state: string;
  capacityBytes: number;
  usedBytes: number;
  errors: number;
  note: string | null;
  /** Block device of its file system; null: none of this host. */
  device: string | null;
  /** Whole drives under it, mostly one; what could not be read is null. */
  physical: PhysicalAnswer[];
  /** Gravest first. */
  warnings: { level: 'warning' | 'critical'; sign: string; text: string; drive: string }[];
}

/** A drive that a person can pull, and what it says of itself. */
export interface PhysicalAnswer {
  name: string;
  slot: string | null;
  /** A shell line that makes its light blink. */
  locate: string | null;
  model: string | null;
  serial: string | null;
  temperatureC: number | null;
  powerOnHours: number | null;
  wearPercent: number | null;
  sparePercent: number | null;
  reallocatedSectors: number | null;
  pendingSectors: number | null;
  uncorrectableErrors: number | null;
  mediaErrors: number | null;
  /** Why it tells nothing. */
  silence: string | null;
  readAt: string | null;
}

export interface DrivesAnswer {
  drives: DriveAnswer[];
  groups: {
    tier: string;
    group: number;
    /** k+m; null: not known. */
    code: string | null;
    /** Drives that hold all they should. */
    whole: number;
    /** Whole drives of the host that they lie on; null: not known of all. */
    devices: number | null;
    /** How many more drives may go without loss; negative: something is lost already. */
    losable: number | null;
    /** What to do, a line each; empty when there is nothing to do. */
    advice: string[];
  }[];
  /** Spares that stand ready or don't; why little is known of the drives' health. */
  notes: string[];
}

export interface HealAnswer {
  /** Locations stored short of full redundancy. */
  waiting: number;
  bytes: number;
  oldestSince: string | null;
  /** Drives that are not up; those being refilled with how far they are. */
  drives: {
    tier: string;
    group: number;
    position: number;
    state: string;
    path: string;
    /** 0 to 1; null: nobody is refilling it now. */
    share: number | null;
    startedAt: string | null;
    /** Read and written for it, so far and a second. */
    bytes: number | null;
    bytesPerSecond: number | null;
    /** About. */
    endsAt: string | null;
  }[];
  /** Objects that the last orphan sweep found to name bytes that are not there; null: none ran. */
  missing: { objects: number; at: string } | null;
  scrub: {
    tier: string;
    isRunning: boolean;
    /** The pass under way, done in slices with rests between; null: none is. */
    pass: { startedAt: string; share: number } | null;
    /** Of the group it is at; null while it rests. */
    group: number | null;
    share: number | null;
    bytesPerSecond: number | null;
    /** Of the pass under way; 0 while it rests. */
    repaired: number;
    lost: number;
    /** The last time that every group was read back whole; null: not yet. */
    last: {
      startedAt: string;
      endedAt: string;
      checked: number;
      bytes: number;
      repaired: number;
      lost: number;
    } | null;
  }[];
  /** What nobody names any more and waits for its grace before its room comes back. */
  leftovers: { candidates: number };
  runs: RunAnswer[];
}

/** How safe what is stored is, what that stands on, and what would make it safer. */
export interface DurabilityAnswer {
  at: string;
  /** The weakest of tiers and metadata, a year; null: a part can't be computed. */
  nines: number | null;
  /** First line for people: says it when drives share a device. */
  statement: string;
  /** Hosts that all drives stand in, and the nines of one host, lost with its drives. */
  hosts: number;
  hostNines: number;
  tiers: {
    tier: string;
    code: string;
    nines: number;
    /** Drives that die in a year: what was assumed, corrected by the next two. */
    afrPercent: number;
    /** Life of drives seen here, and how many were replaced. */
    driveYears: number;
    drivesReplaced: number;
    groups: {
      group: number;
      nines: number;
      /** Against losing any object, bad sectors counted in. */
      anyObjectNines: number;
      yearsUntilLoss: number;
      drives: number;
      devices: number;
      /** Devices that may die at once, whichever they are. */
      devicesLosable: number;
      drivesDown: number;
      driveBytes: number;
      refillHours: number;
      refillBytesPerSecond: number;
      refillMeasured: boolean;
      /** Null: never read back whole. */
      scrubAgeDays: number | null;
    }[];
  }[];
  metadata: { store: string; devices: number | null; nines: number | null; note: string };
  assumptions: { name: string; value: string; source: string }[];
  /** What holds the figure down, or is not in it. */
  caps: string[];
  /** `nines`: what it would be then; null: not computed. */
  raises: { what: string; nines: number | null }[];
}
