// cost report and usage: what is where, and what it costs.

import type { Command } from 'commander';
import { FirnError } from '../model/errors.ts';
import type { CostReportAnswer, UsageAnswer } from '../model/answers.ts';
import { costText } from './terminal/cost-text.ts';
import { usageText } from './terminal/usage-text.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
import type { Bench, VerbInput } from './verb.ts';

export function addCostVerbs(program: Command, bench: Bench): void {
  const cost = program.command('cost').description('what storage costs');
  const report = cost
    .command('report')
    .description('a month by bucket, tier or class, from meters and dated price books')
    .option('--month <YYYY-MM>', 'default: the current month')
    .option('--by <WHAT>', 'bucket, tier or class', 'tier')
    .option('--inventory', 'of what the newest inventories list, kept for a whole month')
    .option('--csv', 'print CSV with FOCUS columns')
    .option('--html', 'print a page')
    .option(...JSON_FLAG);
  examples(report, 'cost report', 'cost report --month 2026-10 --by bucket --csv');
  act(report, bench, reportVerb);
  const simulate = cost
    .command('simulate', { hidden: true })
    .description('what a policy would cost and save (not built yet)')
    .allowUnknownOption()
    .allowExcessArguments();
  act(simulate, bench, async () => {
    throw new FirnError('NotImplemented', 'cost simulate is not built yet', {
      hint: './firn plan shows the cost and the saving of what is due now',
    });
  });

  const usage = program
    .command('usage')
    .description('objects and bytes by bucket, tier and class, and how full the tiers are')
    .option('--metered', 'from the last scan of the workers instead of counting now')
    .option('--inventory', 'from the newest inventories of whole buckets')
    .option(...JSON_FLAG);
  examples(usage, 'usage', 'usage --json');
  act(usage, bench, usageVerb);
}

async function reportVerb({ session, flags }: VerbInput): Promise<number> {
  const month = textFlag(flags, 'month');
  const by = textFlag(flags, 'by');
  if (month !== undefined && !/^\d{4}-(0[1-9]|1[0-2])$/.test(month)) {
    throw new FirnError('UsageError', `--month ${month} is not YYYY-MM`);
  }
  if (by !== undefined && !['bucket', 'tier', 'class'].includes(by)) {
    throw new FirnError('UsageError', `--by ${by} is none of bucket, tier, class`);
  }
  const forms = ['json', 'csv', 'html'].filter((form) => flags[form] === true);
  if (forms.length > 1) {
    throw new FirnError('UsageError', `--${forms.join(' and --')} exclude each other`);
  }
  const source = flags['inventory'] === true ? 'inventory' : undefined;
  const call = { method: 'GET', path: '/cost/report', query: { month, by, source } } as const;
  if (forms[0] === 'csv' || forms[0] === 'html') {
    session.print(await session.admin.text(call, `text/${forms[0]}`));
    return 0;
  }
  const answer = await session.admin.call<CostReportAnswer>(call);
  if (forms[0] === 'json') session.json(answer);
  else session.print(costText(answer, session));
  return 0;
}

async function usageVerb({ session, flags }: VerbInput): Promise<number> {
  const metered = flags['metered'] === true;
  const inventory = flags['inventory'] === true;
  if (metered && inventory) {
    throw new FirnError('UsageError', '--metered and --inventory exclude each other');
  }
  const source = metered ? 'meters' : inventory ? 'inventory' : 'scan';
  const bar = session.progress('Counting', { unit: 'objects' });
  const answer = await session.admin.stream<UsageAnswer>(
    {
      method: 'GET',
      path: '/usage',
      query: { source },
    },
    (event) => bar.set(event.objects),
  );
  bar.end();
  if (flags['json'] === true) session.json(answer);
  else session.print(usageText(answer, session));
  if (answer.buckets.length === 0 && flags['json'] !== true) {
    const none = {
      scan: 'No bucket holds an object.',
      meters: 'Nothing is metered yet: workers do so every hour. ./firn usage counts now.',
      inventory: 'No bucket has a whole inventory yet. ./firn usage counts now.',
    };
    session.print(`\n${none[source]}`);
  }
  return 0;
}
