// What a drive says of itself, and what is known of where it sits. A directory of the settings is
// not a drive: what dies is the device behind it, and whoever is sent to pull one needs its slot or
// its serial number, not a path.

export type HealthLevel = 'warning' | 'critical';

/** A sign that a drive is wearing out or dying. */
export interface HealthWarning {
  level: HealthLevel;
  /** Stable, for metrics and scripts: reallocated, pending, spare ... */
  sign: string;
  /** For people. */
  text: string;
}

/** One whole drive, as its own SMART data say. Absent: the drive does not tell. */
export interface SmartReading {
  kind: 'ata' | 'nvme' | 'scsi';
  model?: string;
  serial?: string;
  firmware?: string;
  temperatureC?: number;
  powerOnHours?: number;
  /** Of what its maker promises, used up; may pass 100. */
  wearPercent?: number;
  reallocatedSectors?: number;
  pendingSectors?: number;
  uncorrectableErrors?: number;
  mediaErrors?: number;
  sparePercent?: number;
  spareThresholdPercent?: number;
  /** The drive's own verdict. */
  passed?: boolean;
}

/** Why a drive tells nothing. */
export type HealthSilence =
  /** smartctl is not installed. */
  | 'no-smartctl'
  /** Not allowed to ask: needs root. */
  | 'not-permitted'
  /** A virtual drive, a USB bridge, a network: there is nobody to ask. */
  | 'unsupported'
  /** Not a block device of this host. */
  | 'no-device'
  /** Asleep; it is not woken for this. */
  | 'asleep'
  | 'failed';

export interface PhysicalDrive {
  /** Name of the whole drive in the system: sda, nvme0n1. */
  name: string;
  /** Of its enclosure, where that tells. */
  slot?: string;
  /** What makes the slot's light blink, where there is one. */
  locate?: string;
  smart?: SmartReading;
  warnings: readonly HealthWarning[];
  silence?: { why: HealthSilence; text: string };
  /** Wall ms. */
  readAt?: number;
}

/** What stands behind one directory. */
export interface PathHealth {
  /** The block device it lies on: sda1, dm-0; '' where there is none. */
  device: string;
  /** Whole drives under it: several under a mirror or a logical device. */
  drives: readonly PhysicalDrive[];
  /** Where there is no drive: why. */
  silence?: { why: HealthSilence; text: string };
}

export interface HealthReport {
  byPath: ReadonlyMap<string, PathHealth>;
  /** What people should be told once: why nothing or little is known. */
  notes: readonly string[];
  /** Wall ms of the last round; absent before the first. */
  readAt?: number;
}

/** Asked by the admin API: what was read last, never read anew for it. */
export interface DriveHealth {
  report(): HealthReport;
}
