// A real `firn serve` on scratch data: the same program, settings file and ports as anybody's, only
// its clock may be advanced. Its log goes to a file; it is ended when the demo ends, however that
// happens.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { FirnError } from '../../appliance/model/errors.ts';

export interface ScratchFirn {
  config: string;
  log: string;
  s3Endpoint: string;
  adminEndpoint: string;
  credentialsFile: string;
  /** Asks it to end, waits, and kills it when it doesn't. Safe twice. */
  stop(): Promise<void>;
}

export interface ScratchOptions {
  /** The project's folder: firn.ts is there. */
  project: string;
  data: string;
  metadata: string | undefined;
  signal: AbortSignal;
}

const READY_MS_MAX = 60_000;
const STOP_MS_MAX = 15_000;
/** What a real archive does in hours: long enough to be seen, short enough to wait for. */
const STAGE_SECONDS = 3;

export async function startScratchFirn(options: ScratchOptions): Promise<ScratchFirn> {
  mkdirSync(options.data, { recursive: true });
  const [port, adminPort] = await freePorts();
  const config = join(options.data, 'firn.yaml');
  const log = join(options.data, 'firn.log');
  writeFileSync(config, settingsText(options, { port, adminPort }));
  const output = openSync(log, 'a');
  const child = spawn(
    process.execPath,
    [join(options.project, 'firn.ts'), 'serve', '--config', config],
    // An empty environment: FIRN_* variables of the caller must not move the demo onto real data.
    { cwd: options.data, env: {}, stdio: ['ignore', output, output] },
  );
  closeSync(output);
  const firn: ScratchFirn = {
    config,
    log,
    s3Endpoint: `http://127.0.0.1:${port}`,
    adminEndpoint: `http://127.0.0.1:${adminPort}`,
    credentialsFile: join(options.data, 'credentials'),
    stop: () => stop(child),
  };
  try {
    await ready(child, firn, options.signal);
    return firn;
  } catch (error) {
    await firn.stop();
    throw error;
  }
}

function settingsText(options: ScratchOptions, ports: { port: number; adminPort: number }): string {
  const drives = (pool: string): string[] =>
    Array.from({ length: 6 }, (_, index) => join(options.data, pool, `drive-${index}`));
  const settings = {
    data: options.data,
    ...ports,
    ...(options.metadata === undefined ? {} : { metadata: options.metadata }),
    tiers: {
      hot: { kind: 'node-group', groups: [drives('hot')] },
      warm: { kind: 'node-group', groups: [drives('warm')] },
      cold: { kind: 'directory', directory: join(options.data, 'cold') },
      archive: {
        kind: 'directory',
        directory: join(options.data, 'archive'),
        retrieval: 'staged',
        stageSeconds: STAGE_SECONDS,
      },
    },
    debug: { sandboxClock: true },
  };
  // JSON is YAML.
  const title = '# Settings of a demo: scratch data, and a clock that may be advanced.';
  return `${title}\n${JSON.stringify(settings, null, 2)}\n`;
}

/** Two ports that are free now. */
async function freePorts(): Promise<[number, number]> {
  const servers = [createServer(), createServer()];
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve, reject) => {
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
        }),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return [ports[0] ?? 0, ports[1] ?? 0];
}

async function ready(child: ChildProcess, firn: ScratchFirn, signal: AbortSignal): Promise<void> {
  const until = Date.now() + READY_MS_MAX;
  let reasons = 'it does not answer';
  while (Date.now() < until) {
    signal.throwIfAborted();
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new FirnError('ServiceUnavailable', `Firn ended at once:\n${tailOf(firn.log)}`, {
        subject: firn.log,
        hint: `its whole log is ${firn.log}`,
      });
    }
    try {
      const answer = await fetch(`${firn.adminEndpoint}/health/ready`);
      reasons = await answer.text();
      if (answer.ok) return;
    } catch {
      // Not listening yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new FirnError('ServiceUnavailable', `Firn was not ready after a minute: ${reasons}`, {
    subject: firn.log,
    hint: `its log is ${firn.log}`,
  });
}

function tailOf(log: string): string {
  return readFileSync(log, 'utf8').trim().split('\n').slice(-8).join('\n');
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    const kill = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    child.once('exit', () => {
      clearTimeout(kill);
      resolve();
    });
    child.kill('SIGTERM');
  });
}
