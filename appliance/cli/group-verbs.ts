// group list, drain, undrain, rebalance: node groups that come and go.

import type { Command } from 'commander';
import type { GroupAnswer, GroupsAnswer, RebalanceAnswer } from '../model/answers.ts';
import { FirnError } from '../model/errors.ts';
import { countText, durationText, sizeText } from './terminal/human.ts';
import { wholeNumber } from './session.ts';
import type { Session } from './session.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
import type { Bench, VerbInput } from './verb.ts';

export function addGroupVerbs(program: Command, bench: Bench): void {
  const group = program.command('group').description('node groups: list, empty, even out');
  const list = group
    .command('list')
    .description('every group: room, state, and how far its drain is')
    .option(...JSON_FLAG);
  act(list, bench, listVerb);

  const drain = group
    .command('drain')
    .argument('<TIER>')
    .argument('<GROUP>', 'its number, as group list shows it')
    .description('no new writes there, and all that is in it moves to the other groups')
    .option(...JSON_FLAG);
  examples(drain, 'group drain hot 0', 'group list');
  act(drain, bench, (input) => changed(input, 'drain'));

  const undrain = group
    .command('undrain')
    .argument('<TIER>')
    .argument('<GROUP>')
    .description('end the drain: the group takes writes again')
    .option(...JSON_FLAG);
  act(undrain, bench, (input) => changed(input, 'undrain'));

  const rebalance = group
    .command('rebalance')
    .argument('<TIER>')
    .description('what evening out the fill of the groups would move; with --yes, do it')
    .option('--until <PERCENT>', 'between the fullest and the emptiest group', '10')
    .option('--dry-run', 'only show the plan (the default)')
    .option('--yes', 'start it')
    .option('--stop', 'let a rebalance rest where it is')
    .option('--resume', 'go on with it')
    .option(...JSON_FLAG);
  examples(rebalance, 'group rebalance hot --until 5', 'group rebalance hot --until 5 --yes');
  act(rebalance, bench, rebalanceVerb);
}

async function listVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<GroupsAnswer>({ method: 'GET', path: '/groups' });
  if (flags['json'] === true) session.json(answer);
  else show(session, answer);
  return 0;
}

async function changed(input: VerbInput, verb: 'drain' | 'undrain'): Promise<number> {
  const { session, args, flags } = input;
  const [tier = '', number = ''] = args;
  const group = wholeNumber('GROUP', number, 0);
  const answer = await session.admin.call<GroupsAnswer>({
    method: 'POST',
    path: `/groups/${verb}`,
    body: { tier, group },
  });
  if (flags['json'] === true) {
    session.json(answer);
    return 0;
  }
  session.print(
    verb === 'drain'
      ? `Group ${group} of ${tier} takes no new bytes; what is in it moves: ./firn group list`
      : `Group ${group} of ${tier} takes writes again.`,
  );
  return 0;
}

function show(session: Session, { groups, rebalances }: GroupsAnswer): void {
  session.table(
    [
      { title: 'TIER' },
      { title: 'GROUP', align: 'right' },
      { title: 'STATE' },
      { title: 'DRIVES', align: 'right' },
      { title: 'HELD', align: 'right' },
      { title: 'FREE', align: 'right' },
      { title: 'FULL', align: 'right' },
      { title: 'NOTE', shrink: true },
    ],
    groups.map((one) => [
      one.tier,
      String(one.group),
      one.state,
      `${one.drivesUp}/${one.drives}`,
      sizeText(one.heldBytes),
      sizeText(one.freeBytes),
      one.capacityBytes === 0
        ? '–'
        : `${((1 - one.freeBytes / one.capacityBytes) * 100).toFixed(1)} %`,
      noteOf(one),
    ]),
  );
  for (const { drain, tier, group } of groups) {
    for (const problem of drain?.problems ?? []) {
      session.print(session.paint.red(`${tier} group ${group} can't be emptied of ${problem}`));
    }
  }
  for (const one of rebalances) {
    if (one.state === 'running' || one.state === 'stopped') session.print(rebalanceText(one));
  }
}

function noteOf({ state, writable, drain }: GroupAnswer): string {
  if (state === 'removed') return 'no longer in the settings';
  if (state === 'empty') return 'empty: may leave the settings';
  if (drain === null) return writable ? '' : 'takes no new bytes now';
  const { phase, objectsLeft, bytesLeft, bytesPerSecond, movedBy } = drain;
  if (phase === 'counting') return `counting: ${countText(objectsLeft)} so far`;
  if (phase === 'settling') return 'all is moved; what was left behind waits for its grace';
  if (phase === 'done') return 'empty';
  const left = `${countText(objectsLeft)} objects, ${sizeText(bytesLeft)} left`;
  if (movedBy === null) return left;
  const ms = (bytesLeft / bytesPerSecond) * 1000;
  return `${left}, ${sizeText(bytesPerSecond)}/s, ${durationText(ms)}`;
}

async function rebalanceVerb({ session, args, flags }: VerbInput): Promise<number> {
  const [tier = ''] = args;
  const until = Number(textFlag(flags, 'until'));
  if (!(until > 0 && until < 100)) {
    throw new FirnError('UsageError', '--until is a percentage between 0 and 100');
  }
  const switched = flags['stop'] === true ? 'stop' : flags['resume'] === true ? 'resume' : '';
  const answer = await session.admin.call<RebalanceAnswer>(
    switched === ''
      ? {
          method: 'POST',
          path: '/groups/rebalance',
          body: { tier, untilPercent: until, start: flags['yes'] === true },
        }
      : { method: 'POST', path: `/groups/rebalance/${switched}`, body: { tier } },
  );
  if (flags['json'] === true) session.json(answer);
  else {
    session.print(rebalanceText(answer));
    if (answer.state === 'planned') {
      session.print(`Nothing was moved. To do it: ./firn group rebalance ${tier} --yes`);
    }
  }
  return 0;
}

function rebalanceText(one: RebalanceAnswer): string {
  const { tier, state, give, take, untilPercent, spreadPercent, bytesPerSecond } = one;
  if (state === 'none') return `${tier}: no rebalance was ever started.`;
  if (state === 'even') {
    return `${tier}: groups differ by ${(spreadPercent ?? 0).toFixed(1)} %: nothing is to be moved.`;
  }
  const lines = give.map(({ group, bytes, movedBytes }) => {
    const moved = state === 'planned' ? '' : `${sizeText(movedBytes)} of `;
    return `  group ${group} gives ${moved}${sizeText(bytes)} to group ${take.join(', ')}`;
  });
  const rate = bytesPerSecond > 0 ? `, ${sizeText(bytesPerSecond)}/s` : '';
  const now = `now ${(spreadPercent ?? 0).toFixed(1)} %`;
  const spread = `until groups differ by ${untilPercent} %${spreadPercent === null ? '' : `, ${now}`}`;
  return [`${tier}: rebalance ${state}, ${spread}${rate}`, ...lines].join('\n');
}
