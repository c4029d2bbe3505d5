// The `firn` command. Exit codes: 0 done, 1 refused or failed, 2 called wrongly. An error says what
// happened, where, and what to do; a stack trace is for bugs only.

import { Command, CommanderError } from 'commander';
import { isFirnError } from '../model/errors.ts';
import type { CliIo } from './io.ts';
import { paintFor, printable } from './terminal/table.ts';
import type { Bench } from './verb.ts';
import { addAccountVerbs } from './account-verbs.ts';
import { addApplianceVerbs } from './appliance-verbs.ts';
import { addBucketVerbs } from './bucket-verbs.ts';
import { addCostVerbs } from './cost-verbs.ts';
import { addEventVerbs } from './event-verbs.ts';
import { addGroupVerbs } from './group-verbs.ts';
import { addPolicyVerbs } from './policy-verbs.ts';
import { addQuotaVerbs } from './quota-verbs.ts';
import { addRestoreVerbs } from './restore-verbs.ts';
import { addStartVerbs } from './start-verbs.ts';

const AFTER_HELP = `
Firn is found by its settings (--config FILE, FIRN_CONFIG), the key pair is in DATA/credentials;
--endpoint and --credentials name others. Every read takes --json.

First steps:
  ./firn serve                                    start it here (S3 on :9000, admin on :9001)
  ./firn demo                                     see objects sink and come back, on scratch data
  ./firn plan my-policy.yaml                      what would this policy do to what is stored now?
  ./firn apply my-policy.yaml --plan HASH         do exactly that
  ./firn explain s3://BUCKET/KEY                  why is this object where it is, what is next?
  ./firn restore quote s3://BUCKET/PREFIX --days 7 --tier Bulk
                                                  what would bringing it back cost, and how long?

./firn VERB --help explains one verb.
`;

/** Runs one command line (without `node` and the script). Never throws, never exits the process. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  const bench: Bench = { io, exit: { code: 0 } };
  const program = buildProgram(bench);
  try {
    if (argv.length === 0) {
      io.stdout.write(program.helpInformation());
      io.stdout.write(AFTER_HELP);
      return 2;
    }
    await program.parseAsync(argv, { from: 'user' });
    return bench.exit.code;
  } catch (error) {
    return report(error, io);
  }
}

function buildProgram(bench: Bench): Command {
  const { io } = bench;
  const program = new Command('firn');
  program
    .description('Tiered S3 storage: objects arrive hot, sink by policy, come back on request.')
    .version(io.version, '-V, --version', 'print the version')
    .option('--config <FILE>', 'settings file')
    .option('--endpoint <URL>', 'address of the admin API')
    .option('--s3-endpoint <URL>', 'address of S3')
    .option('--credentials <FILE>', 'credentials file in the format of the aws CLI')
    .option('--profile <NAME>', 'profile in that file (default: default)')
    .showSuggestionAfterError(true)
    .addHelpText('after', AFTER_HELP);
  addStartVerbs(program, bench);
  addPolicyVerbs(program, bench);
  addRestoreVerbs(program, bench);
  addCostVerbs(program, bench);
  addApplianceVerbs(program, bench);
  addGroupVerbs(program, bench);
  addAccountVerbs(program, bench);
  addEventVerbs(program, bench);
  addBucketVerbs(program, bench);
  addQuotaVerbs(program, bench);
  quieten(program, io);
  return program;
}

/** Commander writes and exits by itself unless every command is told not to. */
function quieten(command: Command, io: CliIo): void {
  command.exitOverride();
  command.helpOption('-h, --help', 'show this help');
  command.configureOutput({
    writeOut: (text) => io.stdout.write(text),
    writeErr: (text) => io.stderr.write(text),
    getOutHelpWidth: () => Math.min(100, io.stdout.columns),
    getErrHelpWidth: () => Math.min(100, io.stderr.columns),
    outputError: (text, write) => {
      write(text.replace(/^error: /, 'firn: '));
      const verb = nameOf(command);
      if (verb !== '') write(`      ./firn ${verb} --help explains it\n`);
    },
  });
  for (const child of command.commands) quieten(child, io);
}

/** As it is typed: `group drain`; '' for firn itself. */
function nameOf(command: Command): string {
  const above = command.parent;
  return above === null ? '' : `${nameOf(above)} ${command.name()}`.trim();
}

function report(error: unknown, io: CliIo): number {
  if (error instanceof CommanderError) {
    // Commander has written its message. Asked-for help and version end well; shown help does not.
    if (error.exitCode === 0) return 0;
    // An argument of a known verb: the help of that verb was named already.
    if (error.code === 'commander.unknownCommand')
      io.stderr.write('      ./firn --help lists the verbs\n');
    return 2;
  }
  const paint = paintFor(io.stderr);
  if (isFirnError(error)) {
    io.stderr.write(`${paint.red('firn:')} ${printable(error.message)}\n`);
    // The problems of a policy file carry each its own remedy already.
    const { hint } = error;
    if (hint !== undefined && !error.message.includes(hint)) {
      io.stderr.write(`      ${printable(hint)}\n`);
    }
    return error.code === 'UsageError' ? 2 : 1;
  }
  if (io.signal?.aborted === true) {
    io.stderr.write('firn: interrupted\n');
    return 1;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  io.stderr.write(`${paint.red('firn:')} this is a bug in Firn: ${text}\n`);
  return 1;
}
