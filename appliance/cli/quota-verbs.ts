// quota: what a bucket or an account may hold.

import type { Command } from 'commander';
import type { QuotaAnswer } from '../model/answers.ts';
import { FirnError } from '../model/errors.ts';
import { countText, sizeText, timeText } from './terminal/human.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
import type { Bench, Flags, VerbInput } from './verb.ts';

export function addQuotaVerbs(program: Command, bench: Bench): void {
  const quota = program.command('quota').description('what a bucket or an account may hold');
  const set = quota
    .command('set')
    .description('set a hard bound; writers beyond it are refused with QuotaExceeded')
    .option('--bucket <BUCKET>')
    .option('--account <ID>', 'all buckets of an account together')
    .option('--bytes <SIZE>', 'for example 500GiB or 10TB; none takes the bound away')
    .option('--objects <N>', 'versions count each; none takes the bound away')
    .option(...JSON_FLAG);
  examples(
    set,
    'quota set --bucket photos --bytes 500GiB --objects 1000000',
    'quota set --account ana --bytes none',
  );
  act(set, bench, setVerb);
  const show = quota
    .command('show')
    .description('every quota, and how much of it is used')
    .option('--bucket <BUCKET>')
    .option('--account <ID>')
    .option(...JSON_FLAG);
  act(show, bench, showVerb);
}

async function setVerb({ session, flags }: VerbInput): Promise<number> {
  const bytes = textFlag(flags, 'bytes');
  const objects = textFlag(flags, 'objects');
  if (bytes === undefined && objects === undefined) {
    throw new FirnError('UsageError', 'quota set needs --bytes, --objects, or both');
  }
  const answer = await session.admin.call<QuotaAnswer>({
    method: 'POST',
    path: '/quotas',
    body: {
      ...ownerOf(flags),
      ...(bytes === undefined ? {} : { bytesMax: boundOf('--bytes', bytes) }),
      ...(objects === undefined ? {} : { objectsMax: boundOf('--objects', objects) }),
    },
  });
  if (flags['json'] === true) session.json(answer);
  else {
    const { bytesMax, objectsMax } = answer;
    const bounds = [
      ...(bytesMax === null ? [] : [sizeText(bytesMax)]),
      ...(objectsMax === null ? [] : [`${countText(objectsMax)} objects`]),
    ];
    const may = bounds.length === 0 ? 'what it likes' : `at most ${bounds.join(' and ')}`;
    session.print(`The ${answer.kind} ${answer.name} may hold ${may}.`);
    if (bounds.length > 0 && answer.countedAt === null) {
      session.print('What is there already is being counted: ./firn quota show');
    }
  }
  return 0;
}

function ownerOf(flags: Flags): { bucket: string } | { account: string } {
  const bucket = textFlag(flags, 'bucket');
  const account = textFlag(flags, 'account');
  if (bucket !== undefined && account === undefined) return { bucket };
  if (account !== undefined && bucket === undefined) return { account };
  throw new FirnError('UsageError', 'a quota is of one --bucket or of one --account');
}

const UNITS: Record<string, number> = { '': 1, B: 1 };
for (const [power, unit] of ['K', 'M', 'G', 'T', 'P'].entries()) {
  UNITS[`${unit}B`] = 1000 ** (power + 1);
  UNITS[`${unit}IB`] = 1024 ** (power + 1);
}

/** `500GiB`, `10TB`, `1000`, `none`. */
function boundOf(flag: string, text: string): number | null {
  if (text === 'none') return null;
  const match = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text);
  const unit = UNITS[(match?.[2] ?? '?').toUpperCase()];
  const value = unit === undefined ? Number.NaN : Math.round(Number(match?.[1]) * unit);
  if (Number.isSafeInteger(value)) return value;
  throw new FirnError('UsageError', `${flag} ${text} is neither an amount nor none`, {
    hint: 'write it as 500GiB, 10TB or 1000000',
  });
}

async function showVerb({ session, flags }: VerbInput): Promise<number> {
  const { quotas } = await session.admin.call<{ quotas: QuotaAnswer[] }>({
    method: 'GET',
    path: '/quotas',
    query: { bucket: textFlag(flags, 'bucket'), account: textFlag(flags, 'account') },
  });
  if (flags['json'] === true) {
    session.json({ quotas });
    return 0;
  }
  if (quotas.length === 0) {
    session.print('No quotas. A first one: ./firn quota set --bucket BUCKET --bytes 500GiB');
    return 0;
  }
  const share = (used: number, max: number | null): string =>
    max === null ? '–' : `${max === 0 ? 100 : Math.floor((used / max) * 100)} %`;
  session.table(
    [
      { title: 'OF' },
      { title: 'NAME', shrink: true },
      { title: 'USED', align: 'right' },
      { title: 'ALLOWED', align: 'right' },
      { title: '', align: 'right' },
      { title: 'OBJECTS', align: 'right' },
      { title: 'ALLOWED', align: 'right' },
      { title: '', align: 'right' },
      { title: 'COUNTED' },
    ],
    quotas.map((one) => [
      one.kind,
      one.name,
      sizeText(one.usedBytes),
      one.bytesMax === null ? '–' : sizeText(one.bytesMax),
      share(one.usedBytes, one.bytesMax),
      countText(one.usedObjects),
      one.objectsMax === null ? '–' : countText(one.objectsMax),
      share(one.usedObjects, one.objectsMax),
      one.countedAt === null ? 'not yet' : timeText(one.countedAt),
    ]),
  );
  return 0;
}
