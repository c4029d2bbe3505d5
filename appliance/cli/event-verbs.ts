// events: who is told of what happens to objects, and the queues that consumers ask.

import type { Command } from 'commander';
import type { AcknowledgeAnswer, EventTargetAnswer, ReceivedAnswer } from '../model/answers.ts';
import { encodeComponent } from '../model/signature.ts';
import { countText } from './terminal/human.ts';
import { wholeNumber } from './session.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
import type { Bench, VerbInput } from './verb.ts';

export function addEventVerbs(program: Command, bench: Bench): void {
  const events = program.command('events').description('what happened to objects, for consumers');
  const list = events
    .command('list')
    .description('webhooks and queues, and what waits for each')
    .option(...JSON_FLAG);
  act(list, bench, listVerb);
  const receive = events
    .command('receive')
    .argument('<QUEUE>')
    .description('take events of a queue, oldest first; not acknowledged, they come again')
    .option('--max <N>', 'at most so many, up to 100', '10')
    .option('--hidden-seconds <N>', 'how long nobody else gets them', '30')
    .option('--acknowledge', 'take them off the queue once they are printed')
    .option(...JSON_FLAG);
  examples(
    receive,
    'events receive indexer --max 100 --json',
    'events receive indexer --acknowledge',
  );
  act(receive, bench, receiveVerb);
  const acknowledge = events
    .command('acknowledge')
    .argument('<QUEUE>')
    .argument('<RECEIPT...>')
    .description('take received events off their queue, for good')
    .option(...JSON_FLAG);
  act(acknowledge, bench, async ({ session, args, flags }) => {
    const [queue = '', ...receipts] = args;
    const answer = await acknowledgeAll(session, queue, receipts);
    if (flags['json'] === true) session.json(answer);
    else session.print(`${answer.acknowledged} taken off, ${answer.late} too late.`);
    return answer.late === 0 ? 0 : 1;
  });
}

function acknowledgeAll(
  session: VerbInput['session'],
  queue: string,
  receipts: string[],
): Promise<AcknowledgeAnswer> {
  const path = `/queues/${encodeComponent(queue)}/acknowledge`;
  return session.admin.call<AcknowledgeAnswer>({ method: 'POST', path, body: { receipts } });
}

async function listVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<{ targets: EventTargetAnswer[] }>({
    method: 'GET',
    path: '/events',
  });
  if (flags['json'] === true) {
    session.json(answer);
    return 0;
  }
  if (answer.targets.length === 0) {
    session.print('No webhook and no queue: notifications in the settings names them.');
    return 0;
  }
  session.table(
    [
      { title: 'KIND' },
      { title: 'NAME' },
      { title: 'WAITING', align: 'right' },
      { title: 'OLDEST' },
    ],
    answer.targets.map((one) => [one.kind, one.name, countText(one.waiting), one.oldestAt ?? '–']),
  );
  return 0;
}

async function receiveVerb({ session, args, flags }: VerbInput): Promise<number> {
  const queue = args[0] ?? '';
  const answer = await session.admin.call<ReceivedAnswer>({
    method: 'POST',
    path: `/queues/${encodeComponent(queue)}/receive`,
    body: {
      limit: wholeNumber('--max', textFlag(flags, 'max') ?? '10', 1),
      hiddenSeconds: wholeNumber('--hidden-seconds', textFlag(flags, 'hiddenSeconds') ?? '30', 0),
    },
  });
  if (flags['json'] === true) session.json(answer);
  else for (const { record } of answer.events) session.print(JSON.stringify(record));
  if (flags['acknowledge'] === true && answer.events.length > 0) {
    await acknowledgeAll(
      session,
      queue,
      answer.events.map(({ receipt }) => receipt),
    );
  }
  return 0;
}
