// The front door: one program, many verbs. `serve` runs the appliance; every other verb is a client of
// one (appliance/cli). Each is loaded only when called, so that help answers at once and an api process
// never loads the command line.

import { enableCompileCache } from 'node:module';
import type { CliIo } from './appliance/cli/io.ts';

enableCompileCache();

if (process.argv[2] === 'serve' && !process.argv.includes('--help')) {
  const { serve } = await import('./serve.ts');
  await serve(process.argv.slice(3));
} else {
  const { runCli } = await import('./appliance/cli/run.ts');
  process.exitCode = await runCli(process.argv.slice(2), await terminal());
}

/** The command's view of this terminal and of the settings. */
async function terminal(): Promise<CliIo> {
  const { loadConfig, VERSION, wantsColour } = await import('./config.ts');
  const output = (stream: NodeJS.WriteStream): CliIo['stdout'] => ({
    write: (text) => void stream.write(text),
    isTTY: stream.isTTY,
    colour: stream.isTTY && wantsColour(),
    columns: stream.columns || 100,
  });
  const ask = async (question: string): Promise<string> => {
    const { createInterface } = await import('node:readline/promises');
    const lines = createInterface({ input: process.stdin, output: process.stderr });
    try {
      return await lines.question(question);
    } finally {
      lines.close();
    }
  };
  return {
    stdout: output(process.stdout),
    stderr: output(process.stderr),
    ...(process.stdin.isTTY ? { ask } : {}),
    wall: () => Date.now(),
    version: VERSION,
    settings(file) {
      const config = loadConfig(file);
      return {
        adminEndpoint: `http://${config.adminHost}:${config.adminPort}`,
        s3Endpoint: `http://${config.host}:${config.port}`,
        region: config.region,
        credentialsFile: `${config.data}/credentials`,
        ...(config.root === undefined ? {} : { credentials: config.root }),
      };
    },
    demo: async (options, io) => {
      const { runDemo } = await import('./deploy/demo/demo.ts');
      return await runDemo(options, io);
    },
  };
}
