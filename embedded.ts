// The embedded store in the front door: the primary's part of the journal, and `firn rebuild`,
// which needs no server and refuses to run beside one. What decides is in
// appliance/metadata/embedded.ts.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { loadConfig } from './config.ts';
import type { JournalState } from './api/admin/contract/options.ts';
import type { Config } from './config.ts';
import type { RebuildReport } from './appliance/cli/io.ts';
import type { EmbeddedOptions, EmbeddedStore } from './appliance/metadata/embedded.ts';
import { HEADER_BYTES } from './appliance/metadata/journal/bring-back.ts';
import type { FindSnapshot, WantedSnapshot } from './appliance/metadata/journal/bring-back.ts';
import { DAY_MS } from './appliance/model/clock.ts';
import type { EngineContext } from './appliance/engine/document/context.ts';
import { groupsRow } from './appliance/engine/upkeep/groups.ts';
import { findKept, keepSnapshot } from './appliance/engine/upkeep/keep-snapshot.ts';
import type { Drive } from './appliance/model/drive.ts';
import { FirnError } from './appliance/model/errors.ts';
import { isNodeGroupTier } from './appliance/model/node-group.ts';
import type { Tier } from './appliance/model/tier.ts';
import { EngineClock, SystemRandom } from './appliance/process/clock.ts';
import { holdExclusively, type Held } from './appliance/process/exclusive.ts';
import type { Supervisor } from './appliance/process/supervisor.ts';
import type { TierConfig } from './settings.ts';
import { buildCold, buildDrives, loggerOf, type FromStore, type Own } from './wiring.ts';

/** Longer than a drive takes that must first spin up. */
const PATIENCE_MS = 30_000;

type GroupsConfig = Extract<TierConfig, { kind: 'node-group' }>;

/** Where new objects arrive; the settings hold that it is one of drives. */
function hotTierOf(config: Config): { name: string; settings: GroupsConfig } {
  const name = config.storageClasses['STANDARD'] as string;
  return { name, settings: config.tiers[name] as GroupsConfig };
}

/** Takes the hot tier's drives into use once, so that a new store's journal has a place. */
async function foundHotDrives(config: Config, own: Own, from: FromStore): Promise<void> {
  const { name, settings } = hotTierOf(config);
  const founder: Own = { ...own, part: 'worker' };
  const tier = await buildDrives(name, settings, { own: founder, hot: true, ...from });
  await tier.open();
  await tier.close();
}

/** What the embedded store is made of: LMDB, and its journal on the hot tier's drives. */
export async function embeddedOf(
  config: Config,
  own: Own,
  told: Pick<EmbeddedOptions, 'journaled' | 'notice'>,
): Promise<EmbeddedOptions> {
  const { LocalDrive } = await import('./tiers/node-group/drive/local-drive.ts');
  const { PatientDrive } = await import('./tiers/node-group/drive/patient-drive.ts');
  const { readIdentity } = await import('./tiers/node-group/drive/identity.ts');
  const { name, settings: hot } = hotTierOf(config);
  // One that hangs counts as away: neither a start nor the journal's upkeep stands still with it.
  const drives = hot.groups
    .flat()
    .map((path) => new PatientDrive(new LocalDrive(path), PATIENCE_MS, true));
  const storeOn = async (drive: Drive): Promise<string | undefined> => {
    const found = await readIdentity(drive).catch(() => undefined);
    return found?.state === 'read' ? found.value.store : undefined;
  };
  const [, m = 1] = hot.code.split('+').map(Number);
  return {
    dataDirectory: config.data,
    clock: own.clock,
    random: own.random,
    drives: await onOwnDevicesFirst(drives),
    copies: m + 1,
    storesOnDrives: async () =>
      (await Promise.all(drives.map(storeOn))).filter((store) => store !== undefined),
    isUsable: async (drive, storeId) => (await storeOn(drive)) === storeId,
    async leaving(store) {
      const { groups } = await groupsRow(store, name);
      const emptied = groups.filter(({ state }) => state !== 'active');
      const paths = new Set(emptied.flatMap((group) => group.drives));
      return new Set(drives.filter(({ path }) => paths.has(path)));
    },
    findSnapshot: (wanted) => findSnapshot(config, own, wanted),
    ...told,
  };
}

/** In the tiers that may have been given it: those that are immediate and not of drives. */
async function findSnapshot(
  config: Config,
  own: Own,
  wanted: WantedSnapshot,
): ReturnType<FindSnapshot> {
  const log = (): Logger => loggerOf(config, own.name);
  for (const [name, settings] of Object.entries(config.tiers)) {
    if (settings.kind === 'node-group') continue;
    const from = { own, storeId: wanted.store, isKnown: true, log };
    let tier: Tier | undefined;
    try {
      const asked = await buildCold(name, settings, from);
      if (asked.retrieval !== 'immediate') continue;
      tier = asked;
      await asked.open();
      const body = await findKept(asked, { ...wanted, headBytes: HEADER_BYTES });
      if (body !== undefined) return { from: name, body, close: () => asked.close() };
    } catch (error) {
      // The next may have it; if none has, that is what is told.
      log().warn({ tier: name, error }, 'the tier can not be asked for a snapshot');
    }
    await tier?.close();
  }
  return undefined;
}

/** One drive of each device, then the others: copies on one device are lost together. */
async function onOwnDevicesFirst(drives: readonly Drive[]): Promise<Drive[]> {
  const devices = await Promise.all(
    drives.map((drive) =>
      drive.usage().then(
        ({ device }) => device,
        () => drive.path,
      ),
    ),
  );
  const first = drives.filter((_, i) => devices.indexOf(devices[i] as string) === i);
  return [...first, ...drives.filter((drive) => !first.includes(drive))];
}

/** Two primaries over one data directory would each acknowledge what the other doesn't know. */
export function holdData(config: Config): Held {
  const held = holdExclusively(join(config.data, 'primary.lock'));
  if (held !== undefined) return held;
  throw new FirnError('SettingsInvalid', 'another Firn runs on this data directory', {
    subject: config.data,
    hint: 'stop it first, or give this one a data directory of its own',
  });
}

export interface PrimaryJournal {
  embedded: EmbeddedStore;
  /** A child waits for it, or has ended and left something. */
  asked(): void;
  /** Founds it for a store that has none yet, and keeps it from here on. */
  begin(storeId: string): Promise<void>;
  /** Copies of snapshots go here from now on. */
  keepIn(context: EngineContext): void;
  /** For metrics; undefined before there is one. */
  state(): JournalState | undefined;
  /** When the children have ended. */
  close(): Promise<void>;
}

/** Undefined on MongoDB: there the server's own journal is the proof. */
export async function openJournal(
  config: Config,
  own: Own,
  { log, supervisor }: { log: Logger; supervisor: Supervisor },
): Promise<PrimaryJournal | undefined> {
  if (config.metadata !== 'lmdb') return undefined;
  const { EmbeddedStore } = await import('./appliance/metadata/embedded.ts');
  const { keepJournal } = await import('./appliance/metadata/journal-upkeep.ts');
  const embedded = await EmbeddedStore.open(
    await embeddedOf(config, own, {
      journaled: (number) => supervisor.journaled(number),
      notice: noticeOf(log, supervisor),
    }),
  );
  let stop: (() => Promise<void>) | undefined;
  let keep = (): Promise<void> => Promise.resolve();
  return {
    embedded,
    asked() {
      if (!embedded.founded) return;
      if (embedded.journal.healthy) embedded.journal.kick();
      else supervisor.unjournaled(UNJOURNALED);
    },
    async begin(storeId) {
      if (!embedded.founded) {
        await foundHotDrives(config, own, { store: embedded.store, storeId });
        await embedded.found(storeId);
      }
      stop = keepJournal({
        journal: embedded.journal,
        snapshotMs: DAY_MS,
        now: () => own.clock.now(),
        keep: () => keep(),
        failed: (what, error) => log.error({ error }, `${what} failed`),
      });
    },
    keepIn(context) {
      const tiers = [...context.tiers.values()];
      const tier = tiers.find((one) => one.retrieval === 'immediate' && !isNodeGroupTier(one));
      if (tier === undefined) return;
      keep = async () => {
        const { journal } = embedded;
        await keepSnapshot(context, tier, {
          ...journal.status().snapshot,
          read: () => journal.snapshotBytes(),
        });
      };
    },
    state() {
      if (!embedded.founded) return undefined;
      const { drives, copies: wanted, logBytes } = embedded.journal.status();
      return { copies: drives.length, wanted, healthy: embedded.journal.healthy, logBytes };
    },
    async close() {
      await stop?.();
      await embedded.close();
    },
  };
}

const UNJOURNALED = 'too few drives of the hot tier take the metadata journal';

function noticeOf(log: Logger, supervisor: Supervisor): NonNullable<EmbeddedOptions['notice']> {
  return (event) => {
    const { kind, ...details } = event;
    if (kind === 'down') supervisor.unjournaled(UNJOURNALED);
    const short = kind === 'epoch' && event.drives.length < event.copies;
    if (kind === 'down' || kind === 'thrown-away') log.error(details, `metadata journal: ${kind}`);
    else if (kind === 'drive-left' || kind === 'mended' || short)
      log.warn(details, `metadata journal: ${kind}`);
    else log.debug(details, `metadata journal: ${kind}`);
  };
}

/**
 * Makes the metadata anew from the drives; the server is stopped. SettingsInvalid beside a server,
 * NotImplemented on MongoDB.
 */
export async function rebuild(
  file: string | undefined,
  progress: (doneBytes: number, allBytes: number) => void,
): Promise<RebuildReport> {
  const config = loadConfig(file);
  if (config.metadata !== 'lmdb') {
    throw new FirnError(
      'NotImplemented',
      'the metadata is in MongoDB, which keeps its own copies',
      {
        hint: 'bring it back from the backup of that database',
      },
    );
  }
  mkdirSync(config.data, { recursive: true, mode: 0o700 });
  const held = holdData(config);
  try {
    const clock = new EngineClock();
    const own: Own = { part: 'primary', name: 'rebuild', clock, random: new SystemRandom() };
    const { rebuildMetadata } = await import('./appliance/metadata/embedded.ts');
    const begun = performance.now();
    const report = await rebuildMetadata(await embeddedOf(config, own, {}), progress);
    return { ...report, seconds: (performance.now() - begun) / 1000 };
  } finally {
    held.release();
  }
}
