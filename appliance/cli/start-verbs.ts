// Verbs that the front door does itself, and those that are asked for but not built yet: a command
// that pretends is worse than one that says no.

import type { Command } from 'commander';
import { FirnError } from '../model/errors.ts';
import { countOf, countText, sizeText } from './terminal/human.ts';
import { Progress } from './terminal/progress.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
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

  addRebuild(program, bench);

  for (const [verb, what] of [
    ['export', 'write buckets and keys back out of the cold archives'],
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

function addRebuild(program: Command, bench: Bench): void {
  const command = program
    .command('rebuild')
    .description(
      'make the metadata anew from its journal on the drives; stop Firn first. What stands in the ' +
        'metadata directory is replaced. Needs master.key as it was: back that up yourself',
    )
    .option(...JSON_FLAG);
  examples(command, 'rebuild', 'rebuild --config /etc/firn.yaml --json');
  act(command, bench, async ({ session, flags }) => {
    const { io } = session;
    if (io.rebuild === undefined) throw notHere('rebuild');
    const progress = new Progress(io.stderr, {
      label: 'metadata',
      unit: 'bytes',
      wall: io.wall,
    });
    const made = await io.rebuild(textFlag(flags, 'config'), (done, all) =>
      progress.set(Math.min(done, all), all),
    );
    progress.end();
    if (flags['json'] === true) {
      session.print(JSON.stringify(made));
      return 0;
    }
    const { snapshot, logs, logBytes, rows, from, seconds } = made;
    session.print(
      [
        `store     ${made.storeId}`,
        `snapshot  as of commit ${countText(snapshot.number)}, ${sizeText(snapshot.sizeBytes)}` +
          (snapshot.broughtFrom === undefined ? '' : `, brought back from ${snapshot.broughtFrom}`),
        `journal   ${countOf(logs, 'log')}, ${sizeText(logBytes)}, on ${countOf(from.length, 'drive')}:`,
        ...from.map((path) => `            ${path}`),
        `rows      ${countText(rows)}, up to commit ${countText(made.number)}`,
        `epoch     ${made.epoch}: copies of earlier ones are ignored from now on`,
        `Rebuilt in ${seconds.toFixed(1)} s. Start Firn.`,
      ].join('\n'),
    );
    return 0;
  });
}
