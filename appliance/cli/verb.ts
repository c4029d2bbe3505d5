// How a verb is hung into the command line: every action gets a session, answers its exit code, and
// leaves its clients closed.

import type { Command } from 'commander';
import type { CliIo } from './io.ts';
import { Session } from './session.ts';
import type { GlobalFlags } from './session.ts';

export interface Bench {
  io: CliIo;
  /** Exit code of the action that ran. */
  exit: { code: number };
}

/** Flags of one verb as commander parsed them. */
export type Flags = Record<string, string | boolean | string[] | undefined>;

export interface VerbInput {
  session: Session;
  args: string[];
  flags: Flags;
}

/** Undefined: 0. */
export type VerbAction = (input: VerbInput) => Promise<number | undefined>;

export function act(command: Command, bench: Bench, action: VerbAction): void {
  command.action(async (...given: unknown[]) => {
    const self = given.at(-1) as Command;
    const flags: Flags = self.optsWithGlobals();
    const session = new Session(bench.io, flags as GlobalFlags);
    const args = given
      .slice(0, -2)
      .flat()
      .filter((arg) => arg !== undefined) as string[];
    try {
      bench.exit.code = (await action({ session, args, flags })) ?? 0;
    } finally {
      await session.close();
    }
  });
}

export const JSON_FLAG = ['--json', 'print JSON (sizes in bytes, times in RFC 3339 UTC)'] as const;

export function textFlag(flags: Flags, name: string): string | undefined {
  const value = flags[name];
  return typeof value === 'string' ? value : undefined;
}

/** Adds examples to a verb's help. */
export function examples(command: Command, ...lines: readonly string[]): Command {
  return command.addHelpText(
    'after',
    `\nExamples:\n${lines.map((line) => `  ./firn ${line}\n`).join('')}`,
  );
}
