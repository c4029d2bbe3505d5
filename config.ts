// Settings: one YAML file and a few environment variables become one checked object, once a
// process. This is the only place that reads the environment or settings files; everything else is
// told. The danger it answers is a typing error that silently means something else: an unknown key,
// a wrong unit or a tier that nobody named refuses the start, with file, line and remedy.

import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, openSync, closeSync, readFileSync } from 'node:fs';
import { fsyncSync, linkSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { z } from 'zod';
import { FirnError } from './appliance/model/errors.ts';
import { KiB } from './appliance/model/limits.ts';
import { readKeys, writeKeys } from './appliance/engine/bytes/named-keys.ts';
import { settings } from './settings.ts';
import type { Parsed, TierConfig } from './settings.ts';

export interface Config extends Omit<
  Parsed,
  'tiers' | 'storageClasses' | 'processes' | 'encryption'
> {
  /** Absolute. */
  data: string;
  masterKeyFile: string;
  encryption: { keyRingFile: string; keys: string[]; defaultKey?: string | undefined };
  processes: number;
  tiers: Record<string, TierConfig>;
  storageClasses: Record<string, string>;
  root: { accessKey: string; secretKey: string } | undefined;
  /** What relative paths are relative to. */
  base: string;
  /** What to print on a usage hint: the file read, or undefined. */
  file: string | undefined;
}

/** The JSON Schema of the settings file, for editors and for the test of the example. */
export function settingsSchema(): unknown {
  return z.toJSONSchema(settings, { io: 'input' });
}

type Environment = Record<string, string | undefined>;

/**
 * Reads the settings: FILE or FIRN_CONFIG or none, then FIRN_* over it, then defaults. Relative
 * paths are relative to the settings file (without one: to the working folder).
 */
export function loadConfig(file?: string, env: Environment = process.env): Config {
  const path = file ?? env['FIRN_CONFIG'];
  const raw = path === undefined ? {} : readSettings(resolve(path));
  const overridden = { ...raw };
  if (env['FIRN_DATA']) overridden['data'] = resolve(env['FIRN_DATA']);
  if (env['FIRN_PORT']) overridden['port'] = portOf('FIRN_PORT', env['FIRN_PORT']);
  if (env['FIRN_ADMIN_PORT'])
    overridden['adminPort'] = portOf('FIRN_ADMIN_PORT', env['FIRN_ADMIN_PORT']);
  if (env['FIRN_METADATA_URL']) overridden['metadata'] = env['FIRN_METADATA_URL'];
  const result = settings.safeParse(overridden);
  if (!result.success) throw invalid(path, result.error.issues[0]);
  const base = path === undefined ? process.cwd() : dirname(resolve(path));
  return complete(result.data, { base, path, env });
}

function complete(
  parsed: Parsed,
  from: { base: string; path: string | undefined; env: Environment },
): Config {
  const data = resolve(from.base, parsed.data);
  const tiers = withPaths(parsed.tiers ?? defaultTiers(data), from.base);
  const storageClasses = parsed.storageClasses ?? defaultClasses;
  for (const [className, tierName] of Object.entries(storageClasses)) {
    if (tiers[tierName] === undefined) {
      throw new FirnError(
        'SettingsInvalid',
        `storageClasses.${className} names the tier ${tierName}`,
        {
          subject: from.path ?? 'defaults',
          hint: `add ${tierName} under tiers, or name one of: ${Object.keys(tiers).join(', ')}`,
        },
      );
    }
  }
  checkHot(tiers, storageClasses, from.path);
  checkTargets(parsed, from.path);
  checkDomains(parsed, from.path);
  checkAdmission(parsed, from.path);
  return {
    ...parsed,
    data,
    masterKeyFile: resolve(from.base, parsed.masterKeyFile ?? join(data, 'master.key')),
    encryption: {
      ...parsed.encryption,
      keyRingFile: resolve(from.base, parsed.encryption.keyRingFile ?? join(data, 'key-ring')),
    },
    processes: parsed.processes ?? Math.max(1, availableParallelism()),
    tiers,
    storageClasses,
    priceBooks: parsed.priceBooks.map((book) => resolve(from.base, book)),
    root: rootKeys(from.env),
    base: from.base,
    file: from.path,
  };
}

function checkHot(
  tiers: Record<string, TierConfig>,
  classes: Record<string, string>,
  path: string | undefined,
): void {
  const hot = classes['STANDARD'];
  if (hot !== undefined && tiers[hot]?.kind === 'node-group') return;
  throw new FirnError('SettingsInvalid', 'STANDARD must be mapped to a tier of kind node-group', {
    subject: path ?? 'defaults',
    hint: 'new objects arrive on erasure-coded drives: map STANDARD to your hot tier',
  });
}

function checkAdmission({ admission }: Parsed, path: string | undefined): void {
  const { requestsMin = 0, requestsMax = Infinity, bucketMin = 0 } = admission;
  if (Math.max(requestsMin, bucketMin) <= requestsMax) return;
  throw new FirnError('SettingsInvalid', 'admission has a least bound above requestsMax', {
    subject: path ?? 'defaults',
    hint: 'requestsMin and bucketMin are what is always let in: at most requestsMax',
  });
}

/** One host can't be both a signed endpoint and a site for everybody. */
function checkDomains({ domain, websiteDomain }: Parsed, path: string | undefined): void {
  if (websiteDomain === undefined || websiteDomain !== domain) return;
  throw new FirnError('SettingsInvalid', 'websiteDomain and domain are the same', {
    subject: path ?? 'defaults',
    hint: 'give websites a domain of their own, such as web.example.com beside s3.example.com',
  });
}

/** One name, one target: an ARN says the name alone. */
function checkTargets({ notifications }: Parsed, path: string | undefined): void {
  const twice = notifications.queues.find(
    (queue, at) =>
      notifications.webhooks[queue] !== undefined || notifications.queues.indexOf(queue) !== at,
  );
  if (twice === undefined) return;
  throw new FirnError('SettingsInvalid', `notifications has two targets of the name ${twice}`, {
    subject: path ?? 'defaults',
    hint: 'give each webhook and each queue a name of its own',
  });
}

const defaultClasses = {
  STANDARD: 'hot',
  STANDARD_IA: 'warm',
  GLACIER_IR: 'cold',
  GLACIER: 'archive',
  DEEP_ARCHIVE: 'archive',
};

function defaultTiers(data: string): Record<string, TierConfig> {
  const six = (pool: string): string[] =>
    Array.from({ length: 6 }, (_, index) => join(data, pool, `drive-${index}`));
  const group = {
    kind: 'node-group' as const,
    code: '4+2' as const,
    smallBytesMax: 256 * KiB,
    directWrites: true,
    spares: [],
    spareAfterMinutes: 15,
  };
  return {
    hot: { ...group, groups: [six('hot')] },
    warm: { ...group, groups: [six('warm')] },
    cold: {
      kind: 'directory',
      directory: join(data, 'cold'),
      retrieval: 'immediate',
      stageSeconds: 0,
    },
    archive: {
      kind: 'directory',
      directory: join(data, 'archive'),
      retrieval: 'staged',
      stageSeconds: 60,
    },
  };
}

function withPaths(tiers: Record<string, TierConfig>, base: string): Record<string, TierConfig> {
  const out: Record<string, TierConfig> = {};
  for (const [tierName, one] of Object.entries(tiers)) {
    if (one.kind === 'node-group') {
      const groups = one.groups.map((g) => g.map((d) => resolve(base, d)));
      out[tierName] = { ...one, groups, spares: one.spares.map((d) => resolve(base, d)) };
    } else if (one.kind === 'directory') {
      out[tierName] = { ...one, directory: resolve(base, one.directory) };
    } else {
      out[tierName] = one;
    }
  }
  return out;
}

function portOf(variable: string, text: string): number {
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw new FirnError('SettingsInvalid', `${variable}=${text} is not a port`, {
    subject: variable,
    hint: 'give a number from 0 (any free port) to 65535',
  });
}

function rootKeys(env: Environment): Config['root'] {
  const accessKey = env['FIRN_ROOT_ACCESS_KEY'];
  const file = env['FIRN_ROOT_SECRET_KEY_FILE'];
  const secretKey = file ? readFileSync(file, 'utf8').trim() : env['FIRN_ROOT_SECRET_KEY'];
  if (!accessKey && !secretKey) return undefined;
  if (accessKey && secretKey && accessKey.length >= 3 && secretKey.length >= 8) {
    return { accessKey, secretKey };
  }
  throw new FirnError('SettingsInvalid', 'the root key pair in the environment is not whole', {
    subject: 'FIRN_ROOT_ACCESS_KEY, FIRN_ROOT_SECRET_KEY',
    hint: 'set both (at least 3 and 8 characters), or neither: then a pair is generated',
  });
}

function readSettings(path: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new FirnError('SettingsInvalid', `cannot read the settings file ${path}`, {
      subject: path,
      cause,
      hint: 'name an existing file by --config or FIRN_CONFIG; deploy/firn.example.yaml is one',
    });
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const wrong = document.errors[0] ?? document.warnings[0];
  if (wrong !== undefined) {
    const at = lines.linePos(wrong.pos[0]);
    throw new FirnError(
      'SettingsInvalid',
      `${path}:${at.line}:${at.col}: ${firstLine(wrong.message)}`,
      {
        subject: path,
        hint: 'the file is not valid YAML',
      },
    );
  }
  const value: unknown = document.toJS() ?? {};
  const result = settings.safeParse(value);
  if (!result.success) throw invalid(path, result.error.issues[0], { document, lines });
  return value as Record<string, unknown>;
}

const firstLine = (text: string): string => text.split('\n')[0] ?? text;

function invalid(
  path: string | undefined,
  issue: z.core.$ZodIssue | undefined,
  source?: { document: Document; lines: LineCounter },
): FirnError {
  const where = issue?.path.join('.') ?? '';
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys : undefined;
  const node = source === undefined ? undefined : placeOf(source.document, issue, unknown?.[0]);
  const at = node === undefined || source === undefined ? undefined : source.lines.linePos(node);
  const place = `${path ?? 'environment'}${at === undefined ? '' : `:${at.line}:${at.col}`}`;
  return new FirnError(
    'SettingsInvalid',
    `${place}: ${where === '' ? '' : `${where}: `}${issue?.message ?? 'invalid'}`,
    {
      subject: path ?? 'environment',
      hint:
        unknown === undefined
          ? 'deploy/firn.example.yaml explains every key'
          : `remove or correct ${unknown.join(', ')}; deploy/firn.example.yaml lists every key`,
    },
  );
}

/** Offset of what the issue is about: an unknown key itself, else the nearest value there is. */
function placeOf(
  document: Document,
  issue: z.core.$ZodIssue | undefined,
  unknownKey: string | undefined,
): number | undefined {
  const path = [...(issue?.path ?? [])] as (string | number)[];
  if (unknownKey !== undefined) {
    const parent = path.length === 0 ? document.contents : document.getIn(path, true);
    const pairs = isMap(parent) ? parent.items : [];
    const key = pairs
      .map((pair) => pair.key)
      .find((one) => isScalar(one) && one.value === unknownKey);
    if (isScalar(key) && key.range) return key.range[0];
  }
  while (path.length > 0) {
    const node = document.getIn(path, true) as { range?: [number, number, number] } | undefined;
    if (node?.range !== undefined) return node.range[0];
    path.pop();
  }
  return undefined;
}

/** A secret that settings give directly or by file. */
export function secretOf(
  tierName: string,
  given: { secretKey?: string | undefined; secretKeyFile?: string | undefined },
): string {
  const secretKey = given.secretKeyFile
    ? readFileSync(given.secretKeyFile, 'utf8').trim()
    : given.secretKey;
  if (secretKey) return secretKey;
  throw new FirnError(
    'SettingsInvalid',
    `tiers.${tierName} has neither secretKey nor secretKeyFile`,
    {
      subject: tierName,
      hint: 'put the secret into a file of mode 0600 and name it by secretKeyFile',
    },
  );
}

/** Whom buckets may have told, by name. */
export function eventTargetsOf({ notifications }: Config): {
  webhooks: string[];
  queues: string[];
} {
  return { webhooks: Object.keys(notifications.webhooks), queues: notifications.queues };
}

/** Where the worker tells of events: the settings' webhooks with the secrets that sign. */
export function notifyOf({ notifications, region, base }: Config): {
  webhooks: Map<string, { url: string; secret?: string; timeoutMs: number }>;
  region: string;
  keptMs: number;
} {
  const webhooks = new Map(
    Object.entries(notifications.webhooks).map(([id, { secretFile, url, timeoutMs }]) => {
      const plain = { url, timeoutMs };
      if (secretFile === undefined) return [id, plain];
      return [id, { ...plain, secret: readFileSync(resolve(base, secretFile), 'utf8').trim() }];
    }),
  );
  return { webhooks, region, keptMs: notifications.keptHours * 3_600_000 };
}

/**
 * The master key that seals secret keys at rest: 32 bytes as hex in a file of mode 0600, made at
 * the first start. Losing it loses every secret key, so the file is made whole or not at all
 * (link).
 */
export function loadMasterKey(config: Config): Uint8Array {
  const path = config.masterKeyFile;
  if (!existsSync(path)) writeOnce(path, `${randomBytes(32).toString('hex')}\n`);
  const text = readFileSync(path, 'utf8').trim();
  if (/^[0-9a-f]{64}$/.test(text)) return Buffer.from(text, 'hex');
  throw new FirnError('SettingsInvalid', `${path} is not a master key`, {
    subject: path,
    hint: 'it holds 64 hex digits; bring back the file that this store was made with',
  });
}

/** The keys of SSE-KMS; none where there is no file yet. */
export function loadNamedKeys(config: Config): Map<string, Uint8Array> {
  const path = config.encryption.keyRingFile;
  if (!existsSync(path)) return new Map();
  if ((statSync(path).mode & 0o007) !== 0) {
    throw new FirnError('SettingsInvalid', `${path} is open to every user of this host`, {
      subject: path,
      hint: `chmod 600 ${path}`,
    });
  }
  return readKeys(readFileSync(path, 'utf8'), path);
}

/** Durable on return, whole or as before: what a key has sealed is lost without it. */
export function saveNamedKeys(config: Config, keys: ReadonlyMap<string, Uint8Array>): void {
  const path = config.encryption.keyRingFile;
  const draft = writeDraft(path, writeKeys(keys));
  renameSync(draft, path);
  syncFolder(dirname(path));
}

function writeDraft(path: string, text: string): string {
  mkdirSync(dirname(path), { recursive: true });
  const draft = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  writeFileSync(draft, text, { mode: 0o600, flush: true });
  chmodSync(draft, 0o600);
  return draft;
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  fsyncSync(folder);
  closeSync(folder);
}

/** Writes a secret file durably unless there is one; false if there was. */
export function writeOnce(path: string, text: string): boolean {
  const draft = writeDraft(path, text);
  try {
    linkSync(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  syncFolder(dirname(path));
  return true;
}

/** Where the first start writes the root key pair, and where the command looks for it. */
export const credentialsFile = (config: Config): string => join(config.data, 'credentials');

/** The key pair in an AWS credentials file (profile default), or undefined. */
export function readCredentials(
  path: string,
): { accessKey: string; secretKey: string } | undefined {
  if (!existsSync(path)) return undefined;
  const text = readFileSync(path, 'utf8');
  const accessKey = /^aws_access_key_id\s*=\s*(\S+)/m.exec(text)?.[1];
  const secretKey = /^aws_secret_access_key\s*=\s*(\S+)/m.exec(text)?.[1];
  return accessKey && secretKey ? { accessKey, secretKey } : undefined;
}

/** Which part this process plays, and its name: set by the primary for its children. */
export function processPart(env: Environment = process.env): {
  part: 'primary' | 'api' | 'worker';
  name: string;
} {
  const part = env['FIRN_PART'];
  if (part !== 'api' && part !== 'worker') return { part: 'primary', name: 'primary' };
  return { part, name: env['FIRN_PROCESS'] ?? part };
}

/**
 * What a child's environment adds: its part, and threads enough for six drives to sync at once
 * (with the default four, a batch waited 0.8 ms instead of 0.6).
 */
export function childEnvironment(part: 'api' | 'worker', name: string): Record<string, string> {
  return { FIRN_PART: part, FIRN_PROCESS: name, UV_THREADPOOL_SIZE: '16' };
}

/** Price books that the operator adds: name and text, checked by whoever parses them. */
export function priceBookFiles(config: Config): { name: string; text: string }[] {
  return config.priceBooks.map((file) => ({ name: file, text: readFileSync(file, 'utf8') }));
}

export const VERSION = (
  JSON.parse(readFileSync(join(import.meta.dirname, 'package.json'), 'utf8')) as { version: string }
).version;
