// drives, heal status, clock advance: the state of the machine.

import type { Command } from 'commander';
import type { ClockAnswer, DriveAnswer, HealAnswer } from '../model/answers.ts';
import { FirnError } from '../model/errors.ts';
import { countOf, countText, sizeText, timeText } from './terminal/human.ts';
import type { Paint } from './terminal/output.ts';
import { act, examples, JSON_FLAG } from './verb.ts';
import type { Bench, VerbInput } from './verb.ts';

export function addApplianceVerbs(program: Command, bench: Bench): void {
  const drives = program
    .command('drives')
    .description('every drive of the node groups: state, room, errors')
    .option(...JSON_FLAG);
  act(drives, bench, drivesVerb);

  const heal = program.command('heal').description('redundancy that is being rebuilt');
  const status = heal
    .command('status')
    .description('what is stored short of full redundancy')
    .option(...JSON_FLAG);
  act(status, bench, healVerb);

  const clock = program.command('clock').description("the engine's clock (sandbox only)");
  const advance = clock
    .command('advance')
    .argument('<DAYS>', 'for example 40, or 0.5')
    .description('move it forward; refused unless debug.sandboxClock is set')
    .option(...JSON_FLAG);
  examples(advance, 'clock advance 40');
  act(advance, bench, clockVerb);
}

function stateText(state: string, paint: Paint): string {
  return state === 'up' ? paint.green(state) : paint.red(state);
}

async function drivesVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<{ drives: DriveAnswer[] }>({
    method: 'GET',
    path: '/drives',
  });
  if (flags['json'] === true) {
    session.json(answer);
    return 0;
  }
  session.table(
    [
      { title: 'TIER' },
      { title: 'GROUP', align: 'right' },
      { title: 'DRIVE', align: 'right' },
      { title: 'STATE' },
      { title: 'USED', align: 'right' },
      { title: 'OF', align: 'right' },
      { title: 'ERRORS', align: 'right' },
      { title: 'PATH', shrink: true },
      { title: 'NOTE' },
    ],
    answer.drives.map((drive) => [
      drive.tier,
      String(drive.group),
      String(drive.position),
      drive.state,
      sizeText(drive.usedBytes),
      sizeText(drive.capacityBytes),
      countText(drive.errors),
      drive.path,
      drive.note ?? '',
    ]),
  );
  const down = answer.drives.filter((drive) => drive.state !== 'up').length;
  if (down > 0) session.print(session.paint.red(`\n${countOf(down, 'drive')} not up.`));
  return 0;
}

async function healVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<HealAnswer>({ method: 'GET', path: '/heal/status' });
  if (flags['json'] === true) {
    session.json(answer);
    return 0;
  }
  session.print(
    answer.waiting === 0
      ? session.paint.green('Everything is stored with full redundancy, as far as is known.')
      : session.paint.yellow(
          `${countOf(answer.waiting, 'location')} (${sizeText(answer.bytes)}) wait to be healed, ` +
            `the oldest since ${timeText(answer.oldestSince ?? undefined)} UTC`,
        ),
  );
  for (const drive of answer.drives) {
    const name = `${drive.tier} group ${drive.group} drive ${drive.position}`;
    session.print(`${name} is ${stateText(drive.state, session.paint)}`);
  }
  for (const run of answer.runs) {
    session.print(`${run.kind} run of ${timeText(run.requestedAt)} UTC: ${run.state}`);
  }
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
