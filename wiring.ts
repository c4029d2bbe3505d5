// What every process of the appliance opens: metadata store, tiers, packer, and the context that
// the engine runs on. The same settings give the same wiring in each, so that an api process, the
// worker and the primary can't disagree about where a byte lives.

import type { Server } from 'node:http';
import { join, relative } from 'node:path';
import { pino } from 'pino';
import type { Logger } from 'pino';
import { loadMasterKey, loadNamedKeys, saveNamedKeys, secretOf } from './config.ts';
import type { Config } from './config.ts';
import { compressedTiers } from './settings.ts';
import type { TierConfig } from './settings.ts';
import { buildMetadata } from './appliance/metadata/build.ts';
import type { CommitJournal } from './appliance/metadata/lmdb/commit-queue.ts';
import { DAY_MS } from './appliance/model/clock.ts';
import type { Random } from './appliance/model/clock.ts';
import { FirnError } from './appliance/model/errors.ts';
import { newId } from './appliance/model/ids.ts';
import { GRACE_MS } from './appliance/model/limits.ts';
import type { Pack } from './appliance/model/location.ts';
import type { MetadataStore, Row } from './appliance/model/metadata-store.ts';
import { isNodeGroupTier } from './appliance/model/node-group.ts';
import type { Tier } from './appliance/model/tier.ts';
import type { EngineContext } from './appliance/engine/document/context.ts';
import { KEY_BYTES } from './appliance/engine/bytes/envelope.ts';
import { assignGroups, followAllGroups, noteFounded } from './appliance/engine/upkeep/groups.ts';
import { FileKeys, lostKeys, proveKeys } from './appliance/engine/bytes/named-keys.ts';
import { Notifications } from './appliance/engine/event/notifications.ts';
import type { ColdTierSettings } from './tiers/cold/build.ts';
import type { GroupCode } from './api/admin/contract/options.ts';
import { HealthWatch } from './appliance/health/health-watch.ts';
import type { EngineClock } from './appliance/process/clock.ts';

/** What still runs at a stop may take this long; what is cut off then was never acknowledged. */
export const STOP_MS = 10_000;

/** Lines of JSON on stderr. Nothing that is given to it ever holds a secret. */
export function loggerOf(config: Config, name: string): Logger {
  return pino(
    { level: config.logLevel, base: { process: name }, serializers: { error: loggedError } },
    pino.destination(2),
  );
}

/**
 * An error as the log shows it: what it says, down its causes, and nothing that hangs on it (a
 * cloud SDK's carries the request with its signature). JSON alone would make `{}` of most.
 */
export function loggedError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error) || depth > 5) return String(error);
  const { name, message, stack, cause } = error;
  const { code, subject, hint } = error as Partial<FirnError>;
  const shown = { name, code, message, subject, hint, stack };
  return cause === undefined ? shown : { ...shown, cause: loggedError(cause, depth + 1) };
}

export interface Own {
  part: 'primary' | 'api' | 'worker';
  name: string;
  clock: EngineClock;
  random: Random;
}

/** `journal`: where the commits of a child of an embedded store become durable. */
export function metadataOf(config: Config, own: Own, journal?: CommitJournal): MetadataStore {
  return buildMetadata({
    ...(journal === undefined || config.metadata !== 'lmdb' ? {} : { journal }),
    ...(config.metadata === 'lmdb' ? {} : { url: config.metadata }),
    dataDirectory: config.data,
    clock: own.clock,
    random: own.random,
    processName: own.name,
  });
}

export interface FromStore {
  store: MetadataStore;
  storeId: string;
}

async function buildTiers(
  config: Config,
  own: Own,
  { store, storeId }: FromStore,
): Promise<Map<string, Tier>> {
  const tiers = new Map<string, Tier>();
  for (const [name, settings] of Object.entries(config.tiers)) {
    tiers.set(
      name,
      settings.kind === 'node-group'
        ? await buildDrives(name, settings, {
            own,
            store,
            storeId,
            hot: name === config.storageClasses['STANDARD'],
          })
        : await buildCold(name, settings, {
            own,
            storeId,
            isKnown: await isKnownPlace(store, name, placeOf(settings, config.data)),
            log: () => loggerOf(config, own.name),
          }),
    );
  }
  return tiers;
}

export async function buildDrives(
  name: string,
  settings: Extract<TierConfig, { kind: 'node-group' }>,
  { own, store, storeId, hot }: { own: Own; hot: boolean } & FromStore,
): Promise<Tier> {
  const { buildNodeGroupTier } = hot
    ? await import('./tiers/hot/hot-tier.ts')
    : await import('./tiers/warm/warm-tier.ts');
  // Groups are known by their drives and by the store, not by their order in the settings.
  const { listedGroups } = await import('./tiers/node-group/drive/recognise.ts');
  const listed = await listedGroups(settings.groups, { store: storeId, tier: name });
  return buildNodeGroupTier(
    {
      name,
      code: settings.code,
      drives: settings.groups,
      groups: await assignGroups(store, name, listed),
      smallBytesMax: settings.smallBytesMax,
      directWrites: settings.directWrites,
      spares: settings.spares,
      spareAfterMs: settings.spareAfterMinutes * 60_000,
    },
    { clock: own.clock, random: own.random, storeId, role: own.part, processName: own.name },
  );
}

/** What drains is told to every tier within a second, also by the processes of other hosts. */
const GROUPS_MS = 500;

function keepFollowing(store: MetadataStore, tiers: Iterable<Tier>): NodeJS.Timeout {
  const all = [...tiers];
  // A store that is away is asked again: until then the last answer holds.
  const look = (): void => void followAllGroups(store, all).catch(() => undefined);
  return setInterval(look, GROUPS_MS).unref();
}

type ColdConfig = Exclude<TierConfig, { kind: 'node-group' }>;

/** Settings give a secret or the file that holds it; a tier is given the secret. */
function withSecret(name: string, settings: ColdConfig): ColdTierSettings {
  if (settings.kind === 's3') {
    const { secretKeyFile: _, ...rest } = settings;
    return { ...rest, name, secretKey: secretOf(name, settings) };
  }
  if (settings.kind === 'azure') {
    const { accountKeyFile, ...rest } = settings;
    return { ...rest, name, accountKey: secretOf(name, { secretKeyFile: accountKeyFile }) };
  }
  return { ...settings, name };
}

export async function buildCold(
  name: string,
  settings: ColdConfig,
  from: { own: Own; storeId: string; isKnown: boolean; log: () => Logger },
): Promise<Tier> {
  const { own, storeId, isKnown, log } = from;
  const { buildColdTier } = await import('./tiers/cold/build.ts');
  return await buildColdTier(
    { ...withSecret(name, settings), name, storeId, isKnown },
    {
      clock: own.clock,
      random: own.random,
      noticed(event, error) {
        if (event === 'back') log().info({ tier: name }, 'the tier is back');
        else {
          const reason = error instanceof Error ? error.message : 'it does not answer';
          log().error({ tier: name, reason }, 'the tier is away; what it holds waits for it');
        }
      },
    },
  );
}

interface PlaceRow {
  format: 1;
  place: string;
}

const placeRow = (store: MetadataStore, name: string): Promise<Row<PlaceRow> | undefined> =>
  store.get<PlaceRow>('settings', `tier/${name}`);

/**
 * Was this place opened before under this name? A tier that was pointed elsewhere is refused while
 * packs are in it: they would be looked for where they never were, and called lost.
 */
async function isKnownPlace(store: MetadataStore, name: string, place: string): Promise<boolean> {
  const row = await placeRow(store, name);
  if (row === undefined || row.value.place === place) return row !== undefined;
  for (let after = ''; ;) {
    const page: Row<Pack>[] = await store.range<Pack>({
      table: 'packs',
      ...(after === '' ? {} : { after }),
      limit: 1000,
    });
    if (page.some(({ value }) => value.tier === name)) {
      throw new FirnError('SettingsInvalid', `tiers.${name} names another place than its packs`, {
        subject: name,
        hint:
          `they are in ${row.value.place}: name that again, and add the new place as a tier ` +
          'of its own for a policy to move them to',
      });
    }
    const last = page.at(-1);
    if (last === undefined || page.length < 1000) return false;
    after = last.id;
  }
}

/**
 * What makes two settings name the same place: never a secret. Below the data folder it counts from
 * there (`data/…`; other paths are absolute), so that the folder may be moved as a whole.
 */
function placeOf(settings: ColdConfig, data: string): string {
  switch (settings.kind) {
    case 'directory': {
      const inside = relative(data, settings.directory);
      return `directory ${/^\.\.(?:\/|$)/.test(inside) ? settings.directory : `data/${inside}`}`;
    }
    case 's3':
      return `s3 ${settings.endpoint} ${settings.bucket} ${settings.prefix}`;
    case 'gcs':
      return `gcs ${settings.endpoint ?? ''} ${settings.bucket} ${settings.prefix}`;
    case 'azure':
      return `azure ${settings.endpoint ?? settings.account} ${settings.container} ${settings.prefix}`;
  }
}

/**
 * Notes which places were opened once. A place that is known may be away at a later start without
 * taking everything else down, and is never founded anew: an empty directory there is a missing
 * mount.
 */
async function notePlaces(config: Config, store: MetadataStore): Promise<void> {
  for (const [name, settings] of Object.entries(config.tiers)) {
    if (settings.kind === 'node-group') continue;
    const row = await placeRow(store, name);
    const value: PlaceRow = { format: 1, place: placeOf(settings, config.data) };
    if (row?.value.place === value.place) continue;
    // Another process of this start may have been first: it writes the same.
    if (row === undefined) await store.insert('settings', `tier/${name}`, value);
    else await store.replace({ table: 'settings', id: row.id, expected: row.revision, value });
  }
}

/** LMDB is read afresh each time; over a network such rows may be a second old. */
const staleMs = (store: MetadataStore): number => (store.name === 'lmdb' ? 0 : 1000);

/**
 * How rules decide, by the settings: the same for the api that takes them, for plan and explain,
 * and for the workers that act. A plan that saw another floor would promise what nobody does.
 */
export function evaluationOf({ transitions }: Pick<Config, 'transitions'>): {
  waterfall: 'strict' | 'free';
  sizeFloor: boolean;
} {
  const { waterfall, sizeFloor } = transitions;
  return { waterfall, sizeFloor };
}

export const dayMs = (seconds: number | undefined): number =>
  seconds === undefined ? DAY_MS : seconds * 1000;

function contextOf(
  config: Config,
  own: Own,
  opened: Pick<EngineContext, 'store' | 'tiers' | 'packer' | 'checksums' | 'events'>,
): EngineContext {
  const { debug } = config;
  return {
    ...opened,
    clock: own.clock,
    random: own.random,
    classes: new Map(Object.entries(config.storageClasses)),
    compressedTiers: compressedTiers(config),
    masterKey: loadMasterKey(config),
    namedKeys: namedKeysOf(config, own, loadNamedKeys(config)),
    graceMs: debug.graceSeconds === undefined ? GRACE_MS : debug.graceSeconds * 1000,
    restoreDayMs: dayMs(debug.restoreDaySeconds),
    staleMs: staleMs(opened.store),
  };
}

function namedKeysOf(config: Config, own: Own, keys: ReadonlyMap<string, Uint8Array>): FileKeys {
  return new FileKeys({ keys, defaultKeyId: config.encryption.defaultKey, random: own.random });
}

/**
 * Makes the named keys that settings name and the file has not, and proves that the rest are those
 * that this store knows. A key that was in use and is gone from the file is never made anew: that
 * would hide its loss until somebody reads. Once, before anything is served.
 */
export async function prepareNamedKeys(
  config: Config,
  own: Own,
  store: MetadataStore,
): Promise<void> {
  const keys = loadNamedKeys(config);
  const context = { store, random: own.random };
  const lost = await lostKeys(context, config.encryption.keys, keys);
  if (lost.length > 0) {
    throw new FirnError('SettingsInvalid', `the file of named keys has lost ${lost.join(', ')}`, {
      subject: config.encryption.keyRingFile,
      hint: 'bring it back from a copy; or take the name out of encryption.keys to give it up',
    });
  }
  const missing = config.encryption.keys.filter((keyId) => !keys.has(keyId));
  for (const keyId of missing) keys.set(keyId, own.random.bytes(KEY_BYTES));
  // Refuses a default that is none, here and not in every child.
  namedKeysOf(config, own, keys);
  if (missing.length > 0) saveNamedKeys(config, keys);
  await proveKeys(context, keys);
}

/** Enough of a context for accounts, before any tier is open. */
export function accountsContext(
  config: Config,
  own: Own,
  store: MetadataStore,
): Pick<EngineContext, 'store' | 'clock' | 'random' | 'masterKey' | 'staleMs'> {
  return {
    store,
    clock: own.clock,
    random: own.random,
    masterKey: loadMasterKey(config),
    staleMs: staleMs(store),
  };
}

export interface Opened {
  storeId: string;
  store: MetadataStore;
  context: EngineContext;
  /** The context's events. */
  events: Notifications;
  close(): Promise<void>;
}

/** Opens tiers over an open store. What it opened is closed again when something refuses. */
export async function openAll(config: Config, own: Own, from: FromStore): Promise<Opened> {
  const { store, storeId } = from;
  const tiers = await buildTiers(config, own, from);
  let following: NodeJS.Timeout | undefined;
  const close = async (): Promise<void> => {
    clearInterval(following);
    await Promise.allSettled([...tiers.values()].map((tier) => tier.close()));
    await store.close();
  };
  try {
    await Promise.all([...tiers.values()].map((tier) => tier.open()));
    await notePlaces(config, store);
    for (const tier of tiers.values()) if (isNodeGroupTier(tier)) await noteFounded(store, tier);
    await followAllGroups(store, tiers.values());
    following = keepFollowing(store, tiers.values());
    const { buildPacker } = await import('./tiers/pack/packer.ts');
    const packer = buildPacker({ spoolDirectory: join(config.data, 'spool'), random: own.random });
    const { checksums } = await import('./tiers/checksum.ts');
    const events = new Notifications({ store, clock: own.clock, random: own.random });
    const context = contextOf(config, own, { store, tiers, packer, checksums, events });
    return { storeId, store, context, events, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** k, m and spares of each tier of drives. */
export function codesOf(config: Config): Map<string, GroupCode> {
  const codes = new Map<string, GroupCode>();
  for (const [tier, settings] of Object.entries(config.tiers)) {
    if (settings.kind !== 'node-group') continue;
    const [k = 0, m = 0] = settings.code.split('+').map(Number);
    const { spares, spareAfterMinutes } = settings;
    codes.set(tier, { k, m, spares: spares.length, spareAfterHours: spareAfterMinutes / 60 });
  }
  return codes;
}

/** Asks drives for their health while the primary runs: it serves no data, so it may wait. */
export function watchHealth(config: Config, own: Own, log: Logger): HealthWatch {
  const drives = Object.values(config.tiers).flatMap((tier) =>
    tier.kind === 'node-group' ? [...tier.groups.flat(), ...tier.spares] : [],
  );
  // Metadata die with the drive that they lie on.
  const paths = [...drives, config.data];
  const health = new HealthWatch({
    paths,
    wall: () => own.clock.wall(),
    warned: ({ name, slot, smart }, { level, sign, text }) => {
      const details = { drive: name, slot, serial: smart?.serial, sign };
      log[level === 'critical' ? 'error' : 'warn'](details, `drive ${name}: ${text}`);
    },
    noted: (text) => log.info(text),
  });
  health.start();
  return health;
}

export const CLOCK_ROW = 'clock';
const STORE_ROW = 'store';

/** The store's own name, made once: drives and cold tiers remember it and refuse another's. */
export async function storeIdOf(store: MetadataStore, own: Own): Promise<string> {
  const made = { format: 1, id: newId(own.random), createdAt: own.clock.now() };
  await store.insert('settings', STORE_ROW, made);
  const row = await store.get<{ id: string }>('settings', STORE_ROW);
  if (row === undefined)
    throw new FirnError('MetadataUnavailable', 'the store has no identity row');
  return row.value.id;
}

export async function clockOffsetOf(store: MetadataStore): Promise<number> {
  const row = await store.get<{ offsetMs: number }>('settings', CLOCK_ROW);
  return row?.value.offsetMs ?? 0;
}

/** Hosts without a primary's message follow within a second. Only under debug.sandboxClock. */
export function followClock(store: MetadataStore, clock: EngineClock): NodeJS.Timeout {
  const look = async (): Promise<void> => {
    try {
      clock.offsetMs = await clockOffsetOf(store);
    } catch {
      // The store is away: the last offset holds, and is looked up again in a second.
    }
  };
  return setInterval(() => void look(), 1000);
}

/**
 * After a failed commit an LMDB store serves no more: what it would show is not what the drive
 * holds. Only a new process opens it afresh, so this one ends and its supervisor starts another.
 * MongoDB comes back by itself.
 */
export function watchFence(store: MetadataStore): NodeJS.Timeout | undefined {
  if (store.name !== 'lmdb') return undefined;
  return setInterval(() => {
    if (!store.healthy()) process.exit(70);
  }, 1000);
}

export function listen(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(
        new FirnError('SettingsInvalid', `cannot listen on ${host}:${port} (${cause.code ?? ''})`, {
          cause,
          hint: 'another program has it, or the address is not of this host: set port, adminPort',
        }),
      );
    });
    server.listen({ port, host }, () => {
      const address = server.address();
      resolve(address === null || typeof address === 'string' ? 0 : address.port);
    });
  });
}

/** No new requests; those under way finish, for STOP_MS at most. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), STOP_MS);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    server.closeIdleConnections();
  });
}
