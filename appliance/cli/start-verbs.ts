// Verbs that the front door does itself, and those that are asked for but not built yet: a command
// that pretends is worse than one that says no.

import type { Command } from 'commander';
import { FirnError } from '../model/errors.ts';
import { act, examples, textFlag } from './verb.ts';
import type { Bench } from './verb.ts';

export function addStartVerbs(program: Command, bench: Bench): void {
  const serve = program
    .command('serve')
    .description('serve S3 and the admin API until it is stopped (SIGTERM)');
  examples(serve, 'serve', 'serve --config /etc/firn.yaml');
  act(serve, bench, async ({ session, flags }) => {
    if (session.io.serve === undefined) throw notHere('serve');
    const config = textFlag(flags, 'config');
    return session.io.serve(config === undefined ? {} : { config });
  });

  const demo = program
    .command('demo')
    .description('the whole life of 3,003 objects on scratch data, in under two minutes')
    .option('--data <DIR>', 'keep the data here (default: a new directory for temporary files)')
    .option('--tree <DIR>', "upload this tree (default: part of the project's node_modules)")
    .option('--metadata <URL>', 'keep metadata on this MongoDB: mongodb://…');
  examples(demo, 'demo', 'demo --tree ~/photos', 'demo --metadata mongodb://127.0.0.1:27017/');
  act(demo, bench, async ({ session, flags }) => {
    if (session.io.demo === undefined) throw notHere('demo');
    const [data, tree, metadata] = ['data', 'tree', 'metadata'].map((f) => textFlag(flags, f));
    return session.io.demo(
      {
        ...(data === undefined ? {} : { data }),
        ...(tree === undefined ? {} : { tree }),
        ...(metadata === undefined ? {} : { metadata }),
      },
      session.io,
    );
  });

  const version = program.command('version').description('print the version');
  act(version, bench, async ({ session }) => {
    session.print(`firn ${session.io.version}`);
    return 0;
  });

  for (const [verb, what] of [
    ['export', 'write buckets and keys back out of the cold archives'],
    ['rebuild', 'make the metadata anew from packs and drives'],
  ] as const) {
    const command = program
      .command(verb, { hidden: true })
      .description(`${what} (not built yet)`)
      .allowUnknownOption()
      .allowExcessArguments();
    act(command, bench, async () => {
      throw new FirnError('NotImplemented', `${verb} is not built yet`, {
        hint: `it will tell or do this: ${what}`,
      });
    });
  }
}

function notHere(verb: string): FirnError {
  return new FirnError('NotImplemented', `${verb} cannot be run from here`, {
    hint: `run ./firn ${verb} in the project's folder`,
  });
}
