// What the admin API is given. Everything comes in from the front door: the API opens nothing, owns
// nothing, and asks the workers for work only by rows (`runs`, `restores`), so that it can run in
// the primary process beside children that crash and come back.

import type { Accounts } from '../../../appliance/engine/account/accounts.ts';
import type { Clock, Random } from '../../../appliance/model/clock.ts';
import type { DriveHealth } from '../../../appliance/model/drive-health.ts';
import type { MetadataStore } from '../../../appliance/model/metadata-store.ts';
import type { DriveInfo } from '../../../appliance/model/node-group.ts';
import type { Tier } from '../../../appliance/model/tier.ts';
import type { EvaluatorOptions } from '../../../policies/evaluator.ts';
import type { TierPricing } from '../../../policies/cost/cost-model.ts';
import type { MetricsSnapshot } from '../../metrics.ts';
import type { AdmissionState } from '../../s3/input/admission.ts';

/** Accounts and keys as the engine keeps them, cut to what we use. */
export type AdminAccounts = Pick<
  Accounts,
  | 'secretOf'
  | 'getAccount'
  | 'listAccounts'
  | 'createAccount'
  | 'listKeys'
  | 'createKey'
  | 'revokeKey'
>;

export interface AdminOptions {
  store: MetadataStore;
  accounts: AdminAccounts;
  tiers: ReadonlyMap<string, Tier>;
  /** Storage class → tier. */
  classes: ReadonlyMap<string, string>;
  clock: Clock;
  random: Random;
  region: string;
  version: string;
  /** The engine's day for lifecycle, ms: DAY_MS unless debug.lifecycleDaySeconds shortens it. */
  lifecycleDayMs: number;
  /** How rules are evaluated, where it is not the default: as the workers do. */
  evaluation?: Pick<EvaluatorOptions, 'classOrder' | 'waterfall' | 'sizeFloor'>;
  /** Whom buckets may have told: the settings' webhooks and queues. */
  eventTargets?: { webhooks: readonly string[]; queues: readonly string[] };
  /** Tier → k and m of its node groups, and the spare drives that stand ready for them. */
  codes?: ReadonlyMap<string, GroupCode>;
  /** Drives as each other process sees them; those that do not answer are left out. */
  driveReports?: () => Promise<DriveInfo[][]>;
  /** What drives say of themselves; absent: they are not asked. */
  health?: DriveHealth;
  /** What durability is computed with, where it is not measured. Default: 1.5 %, 24 h. */
  durability?: DurabilitySettings;
  /** Where metadata lie on this host; absent: on others. */
  metadataPath?: string;
  /** Directories of the drives that each hold all metadata (the journal); absent: none does. */
  metadataDrives?: () => readonly string[];
  /** The metadata journal as of now; absent: there is none. */
  journalState?: () => JournalState | undefined;
  /** Why Firn does not serve right now, one reason each; empty when everything does. */
  readiness(): Promise<string[]>;
  /** Counts of every api process (RequestMetrics.snapshot). */
  requestSnapshots(): Promise<MetricsSnapshot[]>;
  /** Who each api process lets in; absent: not known. */
  admissionStates?(): Promise<AdmissionState[]>;
  /** True: /metrics needs a signature too. */
  metricsSigned: boolean;
  /** Only with debug.sandboxClock: moves the engine's clock in every process before it resolves. */
  advanceClock?: (days: number) => Promise<{ offsetMs: number }>;
  guardRails: GuardRailSettings;
  /** Price books beyond those that come with Firn: name and YAML text. */
  priceBooks: readonly { name: string; text: string }[];
  /** Tier → class of a price book; default: local drives. A tier that is not in it has no price. */
  pricing?: Readonly<Record<string, TierPricing>>;
  /** What of ours went wrong: request id and error. Secrets never get here. */
  fault(requestId: string, error: unknown): void;
}

export interface JournalState {
  /** Copies that take it, and how many should. */
  copies: number;
  wanted: number;
  /** False: nothing can be changed. */
  healthy: boolean;
  /** What a rebuild reads behind the snapshot. */
  logBytes: number;
}

export interface GroupCode {
  k: number;
  m: number;
  spares?: number;
  /** How long a drive may be missing before one of them takes its place. */
  spareAfterHours?: number;
}

export interface DurabilitySettings {
  /** Percent of drives that die within a year. */
  afrPercent: number;
  /** Until a dead drive is noticed and an empty one stands in its place. */
  replaceHours: number;
}

/** Limits past which apply refuses without `force`. */
export interface GuardRailSettings {
  /** Share of all objects that a policy may delete at once, 0 to 1. */
  deletedShareMax: number;
  deletedBytesMax?: number;
  /** One-off cost of a policy, in the currency of the price books. */
  costMax?: number;
}
