// The front door: one program, many verbs. `serve` runs the appliance; every other verb is a client
// of one (appliance/cli). Each is loaded only when called, so that help answers at once and an api
// process never loads the command line.

import { enableCompileCache } from 'node:module';

enableCompileCache();

if (process.argv[2] === 'serve' && !process.argv.includes('--help')) {
  const { serve } = await import('./serve.ts');
  await serve(process.argv.slice(3));
} else {
  const { command } = await import('./command.ts');
  process.exitCode = await command(process.argv.slice(2));
}
