// The three kinds of process. The primary makes once what must be made once (store id, root
// account, the clock's offset), supervises, and owns the admin port. Api processes serve S3. The
// worker process runs Agenda and its jobs. Nothing here decides anything about objects.

import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { flushCompileCache } from 'node:module';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Logger } from 'pino';
import {
  childEnvironment,
  credentialsFile,
  eventTargetsOf,
  loadConfig,
  notifyOf,
  priceBookFiles,
  processPart,
  VERSION,
  writeOnce,
} from './config.ts';
import type { Config } from './config.ts';
import { DAY_MS } from './appliance/model/clock.ts';
import { FirnError } from './appliance/model/errors.ts';
import { holdData, openJournal, type PrimaryJournal } from './embedded.ts';
import type { MetadataStore } from './appliance/model/metadata-store.ts';
import type { JournalState } from './api/admin/contract/options.ts';
import type { MetricsSnapshot } from './api/metrics.ts';
import type { AdmissionState } from './api/s3/input/admission.ts';
import { isNodeGroupTier, type DriveInfo } from './appliance/model/node-group.ts';
import { Accounts, type AccountsContext } from './appliance/engine/account/accounts.ts';
import { Identities } from './appliance/engine/account/identities.ts';
import { Capacities } from './appliance/engine/account/capacity.ts';
import { journalLink, runChild } from './appliance/process/child.ts';
import { EngineClock, SystemRandom } from './appliance/process/clock.ts';
import type { DriveHealth } from './appliance/model/drive-health.ts';
import type { Role } from './appliance/process/messages.ts';
import { onSignals, Start } from './appliance/process/signals.ts';
import { Supervisor } from './appliance/process/supervisor.ts';
import {
  accountsContext,
  CLOCK_ROW,
  clockOffsetOf,
  closeServer,
  codesOf,
  dayMs,
  evaluationOf,
  followClock,
  listen,
  loggerOf,
  metadataOf,
  openAll,
  prepareNamedKeys,
  STOP_MS,
  storeIdOf,
  watchFence,
  watchHealth,
} from './wiring.ts';
import type { Opened, Own } from './wiring.ts';

/** Runs the appliance until SIGTERM or SIGINT. */
export async function serve(args: string[]): Promise<void> {
  try {
    const { values } = parseArgs({ args, options: { config: { type: 'string' } }, strict: true });
    const config = loadConfig(values.config);
    const { part, name } = processPart();
    if (part === 'primary') await runPrimary(config);
    else runPart(config, part, name);
  } catch (error) {
    refuse(error);
  }
}

function refuse(error: unknown): never {
  const { message, hint, code } = error as { message: string; hint?: string; code?: string };
  const usage = code?.startsWith('ERR_PARSE_ARGS') === true;
  process.stderr.write(`firn: ${message}\n${hint === undefined ? '' : `  ${hint}\n`}`);
  if (usage) process.stderr.write('  usage: ./firn serve [--config FILE]\n');
  process.exit(usage ? 2 : 1);
}

// ── Children ──

interface Duty {
  port?: number;
  stop(): Promise<void>;
  answer(what: string): Promise<unknown>;
}

function runPart(config: Config, part: 'api' | 'worker', name: string): void {
  const clock = new EngineClock();
  const own: Own = { part, name, clock, random: new SystemRandom() };
  // Loading takes longer than opening: begun before the primary says go.
  const code = part === 'api' ? import('./api/s3/build.ts') : import('./workers/build.ts');
  code.catch(() => undefined);
  let duty: Duty | undefined;
  let poll: NodeJS.Timeout | undefined;
  let fence: NodeJS.Timeout | undefined;
  runChild({
    async start(go) {
      clock.offsetMs = go.clockOffsetMs;
      const store = metadataOf(config, own, journalLink);
      await store.open();
      const opened = await openAll(config, own, { store, storeId: go.storeId });
      const running =
        part === 'api' ? await serveS3(config, opened, own) : await work(config, opened, own);
      duty = running;
      fence = watchFence(store);
      if (config.debug.sandboxClock) poll = followClock(store, clock);
      setTimeout(flushCompileCache, 1000).unref();
      return running.port === undefined ? {} : { port: running.port };
    },
    async stop() {
      clearInterval(poll);
      clearInterval(fence);
      await duty?.stop();
    },
    setClock: (offsetMs) => {
      clock.offsetMs = offsetMs;
    },
    answer: async (what) => await duty?.answer(what),
  });
}

const identitiesOf = (
  context: AccountsContext,
): { accounts: Accounts; identities: Identities } => ({
  accounts: new Accounts(context),
  identities: new Identities(context),
});

async function serveS3(config: Config, opened: Opened, own: Own): Promise<Duty> {
  const { buildEngine } = await import('./appliance/engine/build.ts');
  const { buildS3 } = await import('./api/s3/build.ts');
  const { buildIam } = await import('./api/iam/build.ts');
  const { RequestMetrics } = await import('./api/metrics.ts');
  const log = loggerOf(config, own.name);
  const { context } = opened;
  const engine = buildEngine(context);
  const metrics = new RequestMetrics();
  const capacities = new Capacities(context);
  const s3 = buildS3({
    engine,
    ...buildIam({ ...identitiesOf(context), clock: context.clock, region: config.region }),
    clock: context.clock,
    random: context.random,
    region: config.region,
    locationConstraints: config.locationConstraints,
    newBuckets: config.newBuckets,
    namedKeys: context.namedKeys,
    waterfall: evaluationOf(config).waterfall,
    accessLogMs: config.accessLogSeconds * 1000,
    admission: config.admission,
    capacityOf: (bucket) => capacities.of(bucket),
    notificationTargets: eventTargetsOf(config),
    testEvents: (bucket, rules) => opened.events.test(bucket, rules),
    problem: (message, bucket) => log.warn({ bucket }, message),
    ...(config.domain === undefined ? {} : { domain: config.domain }),
    ...(config.websiteDomain === undefined ? {} : { websiteDomain: config.websiteDomain }),
    classes: context.classes,
    observe(record) {
      metrics.observe({
        operation: record.operation ?? 'Unknown',
        status: record.status,
        ms: record.durationMs,
        bytesIn: record.receivedBytes,
        bytesOut: record.sentBytes,
      });
      if (record.fault !== undefined) {
        const { requestId, operation, status, code } = record;
        log.error({ requestId, operation, status, code, error: record.fault }, 'request failed');
      }
    },
  });
  const server = createServer();
  s3.attach(server);
  const port = await listen(server, config.port, config.host);
  return {
    port,
    async stop() {
      await closeServer(server);
      await s3.close();
      await engine.close();
      await opened.close();
    },
    async answer(what) {
      if (what === 'drives') return await drivesSeen(opened);
      if (what === 'admission') return s3.admission();
      return what === 'metrics' ? metrics.snapshot() : undefined;
    },
  };
}

async function work(config: Config, opened: Opened, own: Own): Promise<Duty> {
  const { buildEngine } = await import('./appliance/engine/build.ts');
  const { buildWorkers } = await import('./workers/build.ts');
  const log = loggerOf(config, own.name);
  const engine = buildEngine(opened.context);
  const { debug, metadata } = config;
  const workers = await buildWorkers({
    engine,
    backend:
      metadata === 'lmdb'
        ? { kind: 'lmdb', directory: join(config.data, 'jobs') }
        : { kind: 'mongo', url: metadata },
    processName: `${hostname()}-${own.name}`,
    lifecycleIntervalMs: config.lifecycleIntervalSeconds * 1000,
    dayMs: dayMs(debug.lifecycleDaySeconds),
    evaluation: evaluationOf(config),
    sandboxClock: debug.sandboxClock,
    notify: notifyOf(config),
    scrubDays: (tier) => scrubDaysOf(config, tier),
    log: (level, message, details) => log[level](details, message),
  });
  await workers.start();
  return {
    async stop() {
      await workers.stop();
      await engine.close();
      await opened.close();
    },
    async answer(what) {
      if (what === 'drives') return await drivesSeen(opened);
      return what === 'status' ? await workers.status() : undefined;
    },
  };
}

/** What is hot is read by many and worn soonest: it is looked at twice as often. */
function scrubDaysOf(config: Config, tier: string): number {
  const settings = config.tiers[tier];
  const days = settings?.kind === 'node-group' ? settings.scrubDays : undefined;
  return days ?? (config.storageClasses['STANDARD'] === tier ? 7 : 14);
}

/** The drives of every node group as this process has found them. */
async function drivesSeen(opened: Opened): Promise<DriveInfo[]> {
  const tiers = [...opened.context.tiers.values()].filter(isNodeGroupTier);
  return (await Promise.all(tiers.map((tier) => tier.drives()))).flat();
}

// ── The primary ──

function childrenOf({ processes }: Config): { role: Role; name: string }[] {
  const api = Array.from({ length: processes }, (_, index): { role: Role; name: string } => ({
    role: 'api',
    name: `api-${index}`,
  }));
  return [...api, { role: 'worker', name: 'worker' }];
}

async function runPrimary(config: Config): Promise<void> {
  mkdirSync(config.data, { recursive: true, mode: 0o700 });
  const own: Own = {
    part: 'primary',
    name: 'primary',
    clock: new EngineClock(),
    random: new SystemRandom(),
  };
  const log = loggerOf(config, own.name);
  let go = { storeId: '', clockOffsetMs: 0 };
  let journal: PrimaryJournal | undefined;
  const supervisor = new Supervisor({
    children: childrenOf(config),
    environment: childEnvironment,
    go: () => ({ ...go, clockOffsetMs: own.clock.offsetMs }),
    log: (event, details) => log.warn(details, event),
    committed: () => journal?.asked(),
    ended: () => journal?.asked(),
  });
  const held = holdData(config);
  supervisor.fork();
  const start = new Start(supervisor, STOP_MS);
  let stop: (() => Promise<void>) | undefined;
  onSignals(async () => {
    if (stop === undefined) await start.stop();
    await stop?.();
  });
  try {
    journal = await openJournal(config, own, { log, supervisor });
    const store = journal?.embedded.store ?? metadataOf(config, own);
    if (journal === undefined) await store.open();
    const storeId = await prepareStore(config, own, store);
    await journal?.begin(storeId);
    go = { storeId, clockOffsetMs: own.clock.offsetMs };
    const port = await supervisor.go();
    // Only now: the children have founded the other drives of a fresh store.
    const opened = await openAll(config, own, { store, storeId });
    journal?.keepIn(opened.context);
    const health = watchHealth(config, own, log);
    const admin = await serveAdmin(config, {
      own,
      opened,
      supervisor,
      log,
      health,
      journalDrives: () => journal?.embedded.journal.status().drives ?? [],
      journals: () => journal?.embedded.journal.healthy ?? true,
      journalState: () => journal?.state(),
    });
    stop = async () => {
      health.stop();
      // At once: a child that the same signal has ended must not be started again meanwhile.
      await Promise.all([closeServer(admin.server), supervisor.stop(STOP_MS)]);
      await journal?.close();
      await opened.close();
      held?.release();
    };
    greet(config, { port, adminPort: admin.port });
    await warnOfSharedDevices(opened);
    flushCompileCache();
  } catch (error) {
    await supervisor.stop(2000);
    await journal?.close().catch(() => undefined);
    if (!start.stopped) throw error;
  } finally {
    start.ended();
  }
}

/** What a store needs before anybody is served; the id of the store. */
async function prepareStore(config: Config, own: Own, store: MetadataStore): Promise<string> {
  const storeId = await storeIdOf(store, own);
  if (config.debug.sandboxClock) own.clock.offsetMs = await clockOffsetOf(store);
  const accounts = new Accounts(accountsContext(config, own, store));
  await accounts.open();
  await ensureRoot(config, accounts);
  await prepareNamedKeys(config, own, store);
  return storeId;
}

/** Only the host that made the root key pair learns it, and writes it down for its operator. */
async function ensureRoot(config: Config, accounts: Accounts): Promise<void> {
  const { key } = await accounts.ensureRoot(config.root ?? {});
  if (key === undefined || config.root !== undefined) return;
  const text =
    `[default]\naws_access_key_id = ${key.accessKey}\n` +
    `aws_secret_access_key = ${key.secretKey}\n`;
  if (writeOnce(credentialsFile(config), text)) return;
  throw new FirnError('SettingsInvalid', 'a credentials file is there, but of another store', {
    subject: credentialsFile(config),
    hint: 'move it away; then ./firn key create, or start again with an empty store',
  });
}

/** What a person needs to go on: where it serves, where the keys are, three lines to try. */
function greet(config: Config, ports: { port: number; adminPort: number }): void {
  const endpoint = `http://${config.host}:${ports.port}`;
  const lines = [
    `Firn serves S3 on ${endpoint}, admin on http://${config.adminHost}:${ports.adminPort}`,
    `  data         ${config.data}`,
    `  metadata     ${config.metadata === 'lmdb' ? 'LMDB, embedded' : 'MongoDB'}`,
    config.root === undefined
      ? `  credentials  ${credentialsFile(config)} (as the aws CLI reads them)`
      : '  credentials  the root key pair of the environment',
    '',
    'Try this:',
    `  export AWS_SHARED_CREDENTIALS_FILE=${credentialsFile(config)}`,
    `  export AWS_DEFAULT_REGION=${config.region}`,
    `  aws --endpoint-url ${endpoint} s3 mb s3://first`,
    `  aws --endpoint-url ${endpoint} s3 cp README.md s3://first/`,
    '',
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** Parity over drives that fail together protects against nothing: said at every start. */
async function warnOfSharedDevices(opened: Opened): Promise<void> {
  for (const tier of opened.context.tiers.values()) {
    if (!isNodeGroupTier(tier)) continue;
    const drives = await tier.drives();
    const shared = drives.some((one) =>
      drives.some((two) => one !== two && one.group === two.group && one.device === two.device),
    );
    if (!shared) continue;
    process.stderr.write(
      `Warning: drives of the tier ${tier.name} share a device. Losing that device loses what is ` +
        'stored there: right for a trial only. Give each drive its own, by settings as in ' +
        'deploy/firn.example.yaml.\n',
    );
  }
}

interface AdminWiring {
  own: Own;
  opened: Opened;
  supervisor: Supervisor;
  log: Logger;
  health: DriveHealth;
  /** Directories of the drives that hold the metadata journal. */
  journalDrives: () => readonly string[];
  /** Changes can be journaled. */
  journals: () => boolean;
  journalState: () => JournalState | undefined;
}

async function serveAdmin(
  config: Config,
  { own, opened, supervisor, log, health, journalDrives, journals, journalState }: AdminWiring,
): Promise<{ server: Server; port: number }> {
  const { buildAdmin } = await import('./api/admin/build.ts');
  const { context, store } = opened;
  const { costMax, deletedBytesMax, deletedShareMax } = config.guardRails;
  const admin = buildAdmin({
    store,
    accounts: new Accounts(context),
    tiers: context.tiers,
    classes: context.classes,
    clock: own.clock,
    random: own.random,
    region: config.region,
    version: VERSION,
    lifecycleDayMs: dayMs(config.debug.lifecycleDaySeconds),
    evaluation: evaluationOf(config),
    readiness: async () => await Promise.resolve(unready(store, supervisor, journals())),
    requestSnapshots: async () => (await supervisor.askAll('api', 'metrics')) as MetricsSnapshot[],
    admissionStates: async () => (await supervisor.askAll('api', 'admission')) as AdmissionState[],
    metricsSigned: config.metricsSigned,
    codes: codesOf(config),
    journalState,
    health,
    durability: config.durability,
    ...(config.metadata === 'lmdb'
      ? { metadataPath: config.data, metadataDrives: journalDrives }
      : {}),
    driveReports: async () =>
      (
        await Promise.all([
          supervisor.askAll('api', 'drives'),
          supervisor.askAll('worker', 'drives'),
        ])
      ).flat() as DriveInfo[][],
    eventTargets: eventTargetsOf(config),
    ...(config.debug.sandboxClock
      ? { advanceClock: (days: number) => advanceClock(days, { own, store, supervisor }) }
      : {}),
    guardRails: {
      deletedShareMax,
      ...(deletedBytesMax === undefined ? {} : { deletedBytesMax }),
      ...(costMax === undefined ? {} : { costMax }),
    },
    priceBooks: priceBookFiles(config),
    fault: (requestId, error) => log.error({ requestId, error }, 'admin request failed'),
  });
  const server = createServer(admin.handler);
  return { server, port: await listen(server, config.adminPort, config.adminHost) };
}

function unready(store: MetadataStore, supervisor: Supervisor, journals: boolean): string[] {
  const reasons = supervisor
    .status()
    .filter((child) => !child.ready)
    .map((child) => `the process ${child.name} is starting`);
  if (!store.healthy()) reasons.push('the metadata store does not take commits');
  if (!journals) reasons.push('too few drives take the metadata journal');
  return reasons;
}

/**
 * Moves the engine's clock of every process here before it answers; other hosts follow in a second.
 */
async function advanceClock(
  days: number,
  { own, store, supervisor }: { own: Own; store: MetadataStore; supervisor: Supervisor },
): Promise<{ offsetMs: number }> {
  for (;;) {
    const row = await store.get<{ offsetMs: number }>('settings', CLOCK_ROW);
    const offsetMs = (row?.value.offsetMs ?? 0) + days * DAY_MS;
    const value = { format: 1, offsetMs };
    const result =
      row === undefined
        ? await store.insert('settings', CLOCK_ROW, value)
        : await store.replace({ table: 'settings', id: CLOCK_ROW, expected: row.revision, value });
    if (result.outcome !== 'done') continue;
    own.clock.offsetMs = offsetMs;
    await supervisor.setClock(offsetMs);
    return { offsetMs };
  }
}
