// restore quote, start, status, cancel: what bringing archived objects back costs, before it does.

import type { Command } from 'commander';
import type { RestoreAnswer, RestoreQuoteAnswer } from '../model/answers.ts';
import { encodeComponent } from '../model/signature.ts';
import { FirnError } from '../model/errors.ts';
import { countOf, countText, sizeText, timeText } from './terminal/human.ts';
import { quoteText } from './terminal/quote-text.ts';
import { parsePlace, wholeNumber } from './session.ts';
import type { Session } from './session.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
import type { Bench, Flags, VerbInput } from './verb.ts';

const POLL_MS = 500;

export function addRestoreVerbs(program: Command, bench: Bench): void {
  const restore = program.command('restore').description('bring archived objects back for a while');
  const quote = restore
    .command('quote')
    .argument('<s3://BUCKET/PREFIX>')
    .description('objects, bytes, packs, money and time, before anything is started')
    .requiredOption('--days <N>', 'how long the copies stay readable')
    .option('--tier <TIER>', 'Expedited, Standard or Bulk', 'Standard')
    .option(...JSON_FLAG);
  examples(quote, 'restore quote s3://photos/2024/ --days 7 --tier Bulk');
  act(quote, bench, quoteVerb);

  const start = restore
    .command('start')
    .argument('[s3://BUCKET/PREFIX]')
    .description('start it: by a quote, or by prefix, days and tier')
    .option('--quote <ID>', 'do what this quote said')
    .option('--days <N>', 'how long the copies stay readable')
    .option('--tier <TIER>', 'Expedited, Standard or Bulk')
    .option('--wait', 'until every object is readable')
    .option(...JSON_FLAG);
  examples(start, 'restore start --quote 0193…', 'restore start s3://photos/2024/ --days 7 --wait');
  act(start, bench, startVerb);

  const status = restore
    .command('status')
    .argument('[ID]', 'a request; without it, the newest ones')
    .description('how far it is')
    .option(...JSON_FLAG);
  examples(status, 'restore status 0193…');
  act(status, bench, statusVerb);

  const cancel = restore
    .command('cancel')
    .argument('<ID>')
    .description('stop it; objects that are readable already stay so until their date')
    .option(...JSON_FLAG);
  act(cancel, bench, async ({ session, args, flags }) => {
    const path = `/restores/${encodeComponent(args[0] ?? '')}/cancel`;
    const answer = await session.admin.call<RestoreAnswer>({ method: 'POST', path, body: {} });
    show(session, answer, flags);
    return 0;
  });
}

async function quoteVerb({ session, args, flags }: VerbInput): Promise<number> {
  const place = parsePlace(args[0] ?? '');
  const answer = await session.admin.stream<RestoreQuoteAnswer>(
    {
      method: 'POST',
      path: '/restores/quote',
      body: { bucket: place.bucket, prefix: place.key, ...request(flags) },
    },
    () => undefined,
  );
  if (flags['json'] === true) session.json(answer);
  else {
    session.print(quoteText(answer, session.paint));
    session.print(
      answer.objects === 0
        ? '\nNothing there is archived: there is nothing to restore.'
        : `\nTo start it: ./firn restore start --quote ${answer.quoteId}`,
    );
  }
  return 0;
}

function request(flags: Flags): { days?: number; tier?: string } {
  const days = textFlag(flags, 'days');
  const tier = textFlag(flags, 'tier');
  if (tier !== undefined && !['Expedited', 'Standard', 'Bulk'].includes(tier)) {
    throw new FirnError('UsageError', `--tier ${tier} is none of Expedited, Standard, Bulk`);
  }
  return {
    ...(days === undefined ? {} : { days: wholeNumber('--days', days, 1) }),
    ...(tier === undefined ? {} : { tier }),
  };
}

async function startVerb({ session, args, flags }: VerbInput): Promise<number> {
  const quoteId = textFlag(flags, 'quote');
  const place = args[0] === undefined ? undefined : parsePlace(args[0]);
  const asked = request(flags);
  if (quoteId === undefined && (place === undefined || asked.days === undefined)) {
    throw new FirnError('UsageError', 'restore start needs --quote ID, or a prefix and --days N', {
      hint: './firn restore quote s3://BUCKET/PREFIX --days N prints the id of a quote',
    });
  }
  let answer = await session.admin.call<RestoreAnswer>({
    method: 'POST',
    path: '/restores',
    body: {
      ...(quoteId === undefined ? {} : { quoteId }),
      ...(place === undefined ? {} : { bucket: place.bucket, prefix: place.key }),
      ...asked,
    },
  });
  if (flags['wait'] === true) answer = await waitForRestore(session, answer);
  show(session, answer, flags);
  return answer.state === 'failed' ? 1 : 0;
}

/** Follows a restore to its end, with progress in bytes. */
export async function waitForRestore(
  session: Session,
  started: RestoreAnswer,
): Promise<RestoreAnswer> {
  let answer = started;
  const bar = session.progress('Restoring', { unit: 'objects' });
  while (answer.finishedAt === null) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const path = `/restores/${answer.requestId}`;
    answer = await session.admin.call<RestoreAnswer>({ method: 'GET', path });
    bar.set(answer.ready, answer.objects);
  }
  bar.end();
  return answer;
}

async function statusVerb({ session, args, flags }: VerbInput): Promise<number> {
  if (args[0] !== undefined) {
    const path = `/restores/${encodeComponent(args[0])}`;
    show(session, await session.admin.call<RestoreAnswer>({ method: 'GET', path }), flags);
    return 0;
  }
  const answer = await session.admin.call<{ restores: RestoreAnswer[] }>({
    method: 'GET',
    path: '/restores',
  });
  if (flags['json'] === true) session.json(answer);
  else if (answer.restores.length === 0) {
    session.print(
      'No restores. What one would cost: ./firn restore quote s3://BUCKET/PREFIX --days 7',
    );
  } else {
    session.table(
      [
        { title: 'REQUEST' },
        { title: 'STATE' },
        { title: 'OBJECTS', align: 'right' },
        { title: 'READY', align: 'right' },
        { title: 'BYTES', align: 'right' },
        { title: 'REQUESTED' },
        { title: 'OF', shrink: true },
      ],
      answer.restores.map((one) => [
        one.requestId,
        one.state,
        countText(one.objects),
        countText(one.ready),
        sizeText(one.bytes),
        timeText(one.requestedAt),
        `s3://${one.bucket}/${one.key ?? one.prefix ?? ''}`,
      ]),
    );
  }
  return 0;
}

function show(session: Session, answer: RestoreAnswer, flags: Flags): void {
  if (flags['json'] === true) {
    session.json(answer);
    return;
  }
  const failed = answer.failed > 0 ? `, ${countText(answer.failed)} failed` : '';
  session.print(
    `Restore ${answer.requestId} of s3://${answer.bucket}/${answer.key ?? answer.prefix ?? ''} ` +
      `is ${answer.state}: ${countText(answer.ready)} of ${countOf(answer.objects, 'object')} ` +
      `(${sizeText(answer.bytes)}) readable${failed}`,
  );
  if (answer.error !== null) session.print(session.paint.red(answer.error));
}
