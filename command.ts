// Every verb but `serve`: wires the command line to this process: its outputs, Ctrl-C, a prompt, and the
// settings file. The command line itself (appliance/cli) touches none of them.

import { createInterface } from 'node:readline/promises';
import type { WriteStream } from 'node:tty';
import { credentialsFile, loadConfig, VERSION } from './config.ts';
import type { CliIo, CliOutput, CliSettings } from './appliance/cli/io.ts';
import { runCli } from './appliance/cli/run.ts';
import { FirnError } from './appliance/model/errors.ts';

/** The exit code: 0 done, 1 refused or failed, 2 called wrongly. */
export async function command(argv: readonly string[]): Promise<number> {
  const interrupt = new AbortController();
  const abort = (): void =>
    interrupt.abort(new FirnError('ServiceUnavailable', 'interrupted: this was not finished'));
  process.once('SIGINT', abort);
  process.once('SIGTERM', abort);
  // A reader that has seen enough (`| head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  const io: CliIo = {
    stdout: outputOf(process.stdout),
    stderr: outputOf(process.stderr),
    ...(process.stdin.isTTY && process.stdout.isTTY ? { ask } : {}),
    wall: () => Date.now(),
    version: VERSION,
    settings: cliSettings,
    signal: interrupt.signal,
    serve: async ({ config }) => {
      const { serve } = await import('./serve.ts');
      await serve(config === undefined ? [] : ['--config', config]);
      return await new Promise<number>(() => undefined);
    },
    rebuild: async (config, progress) => {
      const { rebuild } = await import('./embedded.ts');
      return await rebuild(config, progress);
    },
    demo: async (options, own) => {
      const { runDemo } = await import('./deploy/demo/demo.ts');
      return await runDemo(options, own);
    },
  };
  return await runCli(argv, io);
}

function outputOf(stream: WriteStream): CliOutput {
  const isTTY = stream.isTTY === true;
  return {
    write: (text) => void stream.write(text),
    isTTY,
    // hasColors minds NO_COLOR and TERM=dumb.
    colour: isTTY && stream.hasColors(),
    columns: isTTY ? stream.columns : 120,
  };
}

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}

function cliSettings(file: string | undefined): CliSettings {
  const config = loadConfig(file);
  return {
    adminEndpoint: `http://${addressOf(config.adminHost)}:${config.adminPort}`,
    s3Endpoint: `http://${addressOf(config.host)}:${config.port}`,
    region: config.region,
    credentialsFile: credentialsFile(config),
    ...(config.root === undefined ? {} : { credentials: config.root }),
  };
}

/** Where a server that listens on all addresses is reached from here. */
function addressOf(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
