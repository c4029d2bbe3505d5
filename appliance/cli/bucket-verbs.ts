// bucket: what an operator sets of a bucket.

import type { Command } from 'commander';
import type { BucketAnswer } from '../model/answers.ts';
import { FirnError } from '../model/errors.ts';
import { timeText } from './terminal/human.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
import type { Bench, VerbInput } from './verb.ts';

export function addBucketVerbs(program: Command, bench: Bench): void {
  const bucket = program.command('bucket').description('how buckets are set');
  const set = bucket
    .command('set')
    .argument('<BUCKET>')
    .description('keep equal bytes once (16 KiB and more), of what is put from now on')
    .option('--dedupe <ON>', 'on or off; off leaves shared what is shared')
    .option(...JSON_FLAG);
  examples(set, 'bucket set backups --dedupe on');
  act(set, bench, setVerb);
  const show = bucket
    .command('show')
    .argument('[BUCKET]')
    .description('every bucket, or one, and how it is set')
    .option(...JSON_FLAG);
  act(show, bench, showVerb);
}

async function setVerb({ session, args, flags }: VerbInput): Promise<number> {
  const dedupe = textFlag(flags, 'dedupe');
  if (dedupe !== 'on' && dedupe !== 'off') {
    throw new FirnError('UsageError', 'bucket set needs --dedupe on, or --dedupe off');
  }
  const answer = await session.admin.call<BucketAnswer>({
    method: 'POST',
    path: '/buckets',
    body: { bucket: args[0], dedupe: dedupe === 'on' },
  });
  if (flags['json'] === true) session.json(answer);
  else {
    session.print(
      answer.dedupe
        ? `Equal bytes put into ${answer.name} from now on are kept once: ./firn usage tells.`
        : `What is put into ${answer.name} from now on gets bytes of its own.`,
    );
  }
  return 0;
}

async function showVerb({ session, args, flags }: VerbInput): Promise<number> {
  const [name] = args;
  const answer = await session.admin.call<{ buckets: BucketAnswer[] }>({
    method: 'GET',
    path: '/buckets',
    query: { bucket: name },
  });
  const { buckets } = answer;
  if (name !== undefined && buckets.length === 0) {
    throw new FirnError('NoSuchBucket', `there is no bucket ${name}`, { subject: name });
  }
  if (flags['json'] === true) session.json(answer);
  else {
    session.table(
      [
        { title: 'BUCKET', shrink: true },
        { title: 'OWNER' },
        { title: 'CREATED' },
        { title: 'VERSIONING' },
        { title: 'DEDUPE' },
      ],
      buckets.map((one) => [
        one.name,
        one.owner,
        timeText(one.createdAt),
        one.versioning,
        one.dedupe ? 'on' : 'off',
      ]),
    );
  }
  return 0;
}
