// drives, heal status, durability, clock advance: the state of the machine.

import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { ClockAnswer } from '../model/answers.ts';
import type { DrivesAnswer, DurabilityAnswer, HealAnswer } from '../model/drive-answers.ts';
import { FirnError } from '../model/errors.ts';
import { drivesText } from './terminal/drives-text.ts';
import { durabilityText } from './terminal/durability-text.ts';
import { healText, isHealed } from './terminal/heal-text.ts';
import { timeText } from './terminal/human.ts';
import { act, examples, JSON_FLAG } from './verb.ts';
import type { Bench, VerbInput } from './verb.ts';

export function addApplianceVerbs(program: Command, bench: Bench): void {
  const drives = program
    .command('drives')
    .description('every drive: state, health, room, and which one to pull')
    .option(...JSON_FLAG);
  act(drives, bench, drivesVerb);

  const heal = program.command('heal').description('redundancy that is being rebuilt');
  const status = heal
    .command('status')
    .description('what stands short of full redundancy, how far heal and scrub are')
    .option('--watch', 'again every second, until everything is whole')
    .option(...JSON_FLAG);
  act(status, bench, healVerb);

  const durability = program
    .command('durability')
    .description('how safe stored bytes are, computed for these drives, and on what')
    .option(...JSON_FLAG);
  act(durability, bench, durabilityVerb);

  const clock = program.command('clock').description("the engine's clock (sandbox only)");
  const advance = clock
    .command('advance')
    .argument('<DAYS>', 'for example 40, or 0.5')
    .description('move it forward; refused unless debug.sandboxClock is set')
    .option(...JSON_FLAG);
  examples(advance, 'clock advance 40');
  act(advance, bench, clockVerb);
}

async function drivesVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<DrivesAnswer>({ method: 'GET', path: '/drives' });
  if (flags['json'] === true) session.json(answer);
  else session.print(drivesText(answer, session));
  return 0;
}

const WATCH_MS = 1000;
/** Into a file or a log: a block a minute, not a megabyte. */
const WATCH_PLAIN_MS = 60_000;

async function healVerb({ session, flags }: VerbInput): Promise<number> {
  const ask = (): Promise<HealAnswer> =>
    session.admin.call<HealAnswer>({ method: 'GET', path: '/heal' });
  const { io } = session;
  const isWatching = flags['watch'] === true;
  const { isTTY } = io.stdout;
  let drawn = 0;
  for (;;) {
    const answer = await ask();
    if (flags['json'] === true) session.json(answer);
    else {
      const text = healText(answer, session, io.wall());
      if (drawn > 0 && isTTY) io.stdout.write(`\u001b[${drawn}F\u001b[J`);
      io.stdout.write(text);
      drawn = text.split('\n').length - 1;
    }
    const isOver = isHealed(answer) && answer.scrub.every(({ isRunning }) => !isRunning);
    if (!isWatching || isOver) return 0;
    await pause(isTTY ? WATCH_MS : WATCH_PLAIN_MS, io.signal);
    if (io.signal?.aborted === true) return 0;
  }
}

/** Ends early, and without a complaint, when the person has seen enough. */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  const options = signal === undefined ? {} : { signal };
  await sleep(ms, undefined, options).catch(() => undefined);
}

async function durabilityVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<DurabilityAnswer>({
    method: 'GET',
    path: '/durability',
  });
  if (flags['json'] === true) session.json(answer);
  else session.print(durabilityText(answer, session));
  return 0;
}

async function clockVerb({ session, args, flags }: VerbInput): Promise<number> {
  const days = Number(args[0]);
  if (!Number.isFinite(days) || days <= 0) {
    throw new FirnError('UsageError', `${args[0] ?? ''} is not a number of days above 0`);
  }
  const answer = await session.admin.call<ClockAnswer>({
    method: 'POST',
    path: '/clock/advance',
    body: { days },
  });
  if (flags['json'] === true) session.json(answer);
  else {
    session.print(
      `The engine's clock says ${timeText(answer.now)} UTC, ` +
        `${answer.offsetDays.toFixed(1)} days ahead.`,
    );
  }
  return 0;
}
