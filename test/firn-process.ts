// Starts the real appliance for system tests and benchmarks: its own process group, scratch directory
// and free ports, spoken to only through its sockets. Ended by pid, also when the test process dies.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { stringify } from 'yaml';
import { readCredentials } from '../config.ts';

export interface FirnOptions {
  /** Merged over the defaults of the settings file. */
  settings?: Record<string, unknown>;
  metadata?: string;
  directory?: string;
  env?: Record<string, string>;
}

export interface RunningFirn {
  directory: string;
  port: number;
  adminPort: number;
  endpoint: string;
  accessKey: string;
  secretKey: string;
  /** Pid of the primary. */
  pid: number;
  /** Pids of the primary and its children. */
  pids(): number[];
  output(): string;
  /** SIGTERM, waits. */
  stop(): Promise<void>;
  /** SIGKILL to the whole process group, waits. */
  kill(): Promise<void>;
  /** The same directory and ports again. */
  restart(): Promise<RunningFirn>;
  /** Stops and removes the directory. */
  dispose(): Promise<void>;
}

const root = join(import.meta.dirname, '..');
const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) endGroup(child);
});

function endGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  } catch {
    // Gone already.
  }
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

export function childrenOf(pid: number): number[] {
  try {
    const own = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    const direct = own === '' ? [] : own.split(' ').map(Number);
    return direct.flatMap((child) => [child, ...childrenOf(child)]);
  } catch {
    return [];
  }
}

export async function startFirn(options: FirnOptions = {}): Promise<RunningFirn> {
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'firn-test-'));
  const [port, adminPort] = [await freePort(), await freePort()];
  return await start({ directory, port, adminPort, options });
}

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  /** Called with all of stdout so far, whenever there is more. */
  onOutput?: (stdout: string) => void;
  env?: Record<string, string>;
  timeoutMs?: number;
}

/**
 * Runs `./firn …` as a person does: by the launcher, in a process group of its own, with nothing in
 * its environment but PATH and HOME. Ended after two minutes.
 */
export async function runFirn(args: string[], options: CommandOptions = {}): Promise<Ended> {
  const child = spawn(join(root, 'firn'), args, {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', HOME: tmpdir(), ...options.env },
  });
  running.add(child);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
    options.onOutput?.(stdout);
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const late = setTimeout(() => endGroup(child), options.timeoutMs ?? 120_000);
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  clearTimeout(late);
  running.delete(child);
  return { code, stdout, stderr };
}

interface Place {
  directory: string;
  port: number;
  adminPort: number;
  options: FirnOptions;
}

async function start(place: Place): Promise<RunningFirn> {
  const { directory, port, adminPort, options } = place;
  const file = join(directory, 'firn.yaml');
  writeFileSync(
    file,
    stringify({
      data: join(directory, 'data'),
      port,
      adminPort,
      ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
      ...options.settings,
    }),
  );
  const child = spawn(process.execPath, [join(root, 'firn.ts'), 'serve', '--config', file], {
    cwd: directory,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', HOME: directory, ...options.env },
  });
  running.add(child);
  let output = '';
  const take = (chunk: Buffer): void => {
    output += chunk.toString();
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  void exited.then(() => running.delete(child));
  await ready({ child, adminPort, output: () => output });
  const keys = readCredentials(join(directory, 'data', 'credentials')) ?? {
    accessKey: options.env?.['FIRN_ROOT_ACCESS_KEY'] ?? '',
    secretKey: options.env?.['FIRN_ROOT_SECRET_KEY'] ?? '',
  };
  const pid = child.pid as number;
  const self: RunningFirn = {
    directory,
    port,
    adminPort,
    endpoint: `http://127.0.0.1:${port}`,
    ...keys,
    pid,
    pids: () => [pid, ...childrenOf(pid)],
    output: () => output,
    async stop() {
      child.kill('SIGTERM');
      const late = sleep(20_000, 'late', { ref: false });
      if ((await Promise.race([exited, late])) === 'late') {
        endGroup(child);
        throw new Error(`Firn did not stop in 20 s; its output:\n${output}`);
      }
    },
    async kill() {
      endGroup(child);
      await exited;
      // The children of the group die with it, but not before their locks are seen to be free.
      await sleep(50);
    },
    restart: async () => await start(place),
    async dispose() {
      endGroup(child);
      await exited;
      rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
    },
  };
  return self;
}

async function ready(of: {
  child: ChildProcess;
  adminPort: number;
  output: () => string;
}): Promise<void> {
  const until = Date.now() + 60_000;
  while (Date.now() < until) {
    if (of.child.exitCode !== null || of.child.signalCode !== null) {
      throw new Error(`Firn ended at start:\n${of.output()}`);
    }
    try {
      const answer = await fetch(`http://127.0.0.1:${of.adminPort}/health/ready`);
      if (answer.status === 200) return;
    } catch {
      // Not listening yet.
    }
    await sleep(25);
  }
  endGroup(of.child);
  throw new Error(`Firn was not ready in 60 s:\n${of.output()}`);
}
