// What the admin API is given. Everything comes in from the front door: the API opens nothing, owns
// nothing, and asks the workers for work only by rows (`runs`, `restores`), so that it can run in the
// primary process beside children that crash and come back.

import type {
  AccountAnswer,
  DriveAnswer,
  KeyAnswer,
  NewKeyAnswer,
} from '../../appliance/model/answers.ts';
import type { Clock, Random } from '../../appliance/model/clock.ts';
import type { MetadataStore } from '../../appliance/model/metadata-store.ts';
import type { Tier } from '../../appliance/model/tier.ts';

/** Accounts and keys as the engine keeps them (appliance/engine/accounts.ts), cut to what we use. */
export interface AdminAccounts {
  /** Undefined for unknown and revoked keys. */
  secretOf(accessKey: string): Promise<{ secretKey: string; account: string } | undefined>;
  getAccount(id: string): Promise<AccountAnswer | undefined>;
  listAccounts(): Promise<AccountAnswer[]>;
  createAccount(account: {
    id: string;
    displayName: string;
    email?: string;
    admin: boolean;
  }): Promise<AccountAnswer>;
  listKeys(account?: string): Promise<KeyAnswer[]>;
  createKey(request: {
    account: string;
    accessKey?: string;
    secretKey?: string;
  }): Promise<NewKeyAnswer>;
  revokeKey(accessKey: string): Promise<KeyAnswer>;
}

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
  /** Why Firn does not serve right now, one reason each; empty when everything does. */
  readiness(): Promise<string[]>;
  /** Prometheus text of all processes (metrics.ts renders it). */
  metrics(): Promise<string>;
  /** True: /metrics needs a signature too. */
  metricsSigned: boolean;
  drives(): Promise<DriveAnswer[]>;
  /** Only with debug.sandboxClock: moves the engine's clock in every process before it resolves. */
  advanceClock?: (days: number) => Promise<{ offsetMs: number }>;
  guardRails: GuardRailSettings;
  /** Price books beyond those that are built in: name and YAML text. */
  priceBooks: readonly { name: string; text: string }[];
  /** What of ours went wrong: request id and error. Secrets never get here. */
  fault(requestId: string, error: unknown): void;
}

/** Limits past which apply refuses without `force`. */
export interface GuardRailSettings {
  /** Share of all objects that a policy may delete at once, 0 to 1. */
  deletedShareMax: number;
  deletedBytesMax?: number;
  /** One-off cost of a policy. */
  costMax?: { amount: number; currency: string };
}
