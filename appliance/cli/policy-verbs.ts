// plan, apply, diff, explain, policy test, run lifecycle: what a policy would do, does and did.

import type { Command } from 'commander';
import type {
  ApplyAnswer,
  DiffAnswer,
  ExplainAnswer,
  PlanAnswer,
  PolicyAnswer,
  PolicyTestAnswer,
  PolicyText,
  RunAnswer,
} from '../model/answers.ts';
import { FirnError } from '../model/errors.ts';
import { explainText, planText } from './terminal/policy-text.ts';
import { readPolicyFiles, readText } from './policy-files.ts';
import { countText, durationText, sizeText, timeText } from './terminal/human.ts';
import { parsePlace } from './session.ts';
import type { Session } from './session.ts';
import { act, examples, JSON_FLAG, textFlag } from './verb.ts';
import type { Bench, VerbInput } from './verb.ts';

export function addPolicyVerbs(program: Command, bench: Bench): void {
  const plan = program
    .command('plan')
    .argument('[FILE...]', 'policy files or folders (default: the active policy)')
    .description('what a policy would do to everything stored now, deletes apart')
    .option(...JSON_FLAG);
  examples(plan, 'plan deploy/policies/demo.yaml', 'plan policies/ --json');
  act(plan, bench, planVerb);

  const apply = program
    .command('apply')
    .argument('[FILE...]', 'policy files or folders (default: the active policy)')
    .description('make a planned policy the active one')
    .option('--plan <HASH>', 'the hash that plan printed; without it, you are asked')
    .option('--force', 'pass the guard rails')
    .option(...JSON_FLAG);
  examples(apply, 'apply deploy/policies/demo.yaml --plan 5f0c…');
  act(apply, bench, applyVerb);

  const diff = program
    .command('diff')
    .argument('<FILE...>', 'policy files or folders')
    .description('rules added, removed and changed against the active policy')
    .option(...JSON_FLAG);
  examples(diff, 'diff deploy/policies/demo.yaml');
  act(diff, bench, diffVerb);

  const explain = program
    .command('explain')
    .argument('<s3://BUCKET/KEY>', 'one object; ?versionId=V names an old version')
    .description('why one object is where it is, and what happens to it next')
    .option(...JSON_FLAG);
  examples(explain, 'explain s3://photos/2024/a.jpg');
  act(explain, bench, explainVerb);

  const policy = program.command('policy').description('test and show policies');
  const test = policy
    .command('test')
    .argument('<FILE>', 'cases: objects, a date, and the action expected')
    .description('run golden cases against policy files, without touching anything')
    .option('--policy <FILE...>', 'policy files or folders (default: the active policy)')
    .option(...JSON_FLAG);
  examples(test, 'policy test cases.yaml --policy policies/');
  act(test, bench, testVerb);
  const show = policy
    .command('show')
    .description('the active policy and who applied it')
    .option(...JSON_FLAG);
  act(show, bench, showVerb);

  const run = program.command('run').description('ask the workers for work now');
  for (const [kind, what] of [
    ['lifecycle', 'evaluate the active policy and act on what is due'],
    ['scrub', 'verify every shard of the node groups'],
    ['heal', 'rebuild what is short of full redundancy'],
    ['quotas', 'count what new quotas hold'],
    ['inventory', 'write the inventories of one bucket or all'],
    ['collect', 'free what nobody names and whose grace is over'],
  ] as const) {
    const command = run
      .command(kind)
      .description(what)
      .option('--bucket <BUCKET>', 'only this bucket')
      .option('--wait', 'until it is done')
      .option(...JSON_FLAG);
    if (kind === 'lifecycle') examples(command, 'run lifecycle --bucket photos --wait');
    act(command, bench, (input) => runVerb(kind, input));
  }
}

async function askPlan(session: Session, files: PolicyText[], flags: { json: boolean }) {
  const bar = session.progress('Planning', { unit: 'objects' });
  try {
    const body = files.length === 0 ? {} : { files };
    return await session.admin.stream<PlanAnswer>(
      { method: 'POST', path: '/plan', body },
      (event) => {
        if (!flags.json) bar.set(event.objects);
      },
    );
  } finally {
    bar.end();
  }
}

async function planVerb({ session, args, flags }: VerbInput): Promise<number> {
  const json = flags['json'] === true;
  const answer = await askPlan(session, readPolicyFiles(args), { json });
  if (json) {
    session.json(answer);
    return 0;
  }
  session.print(planText(answer, session));
  const named = args.length === 0 ? '' : ` ${args.join(' ')}`;
  session.print(`\nTo do exactly this: ./firn apply${named} --plan ${answer.hash}`);
  return 0;
}

async function applyVerb({ session, args, flags }: VerbInput): Promise<number> {
  const json = flags['json'] === true;
  const files = readPolicyFiles(args);
  const plan = textFlag(flags, 'plan') ?? (await confirmedPlan(session, files, json));
  if (plan === undefined) {
    session.print('Nothing was changed.');
    return 1;
  }
  const answer = await session.admin.stream<ApplyAnswer>(
    {
      method: 'POST',
      path: '/apply',
      body: {
        plan,
        ...(files.length === 0 ? {} : { files }),
        ...(flags['force'] === true ? { force: true } : {}),
      },
    },
    () => undefined,
  );
  if (json) session.json(answer);
  else {
    session.print(
      `Applied: ${countText(answer.rules)} rules are active as revision ${answer.revision}.`,
    );
  }
  return 0;
}

/** Shows the plan and asks; undefined is a no. */
async function confirmedPlan(
  session: Session,
  files: PolicyText[],
  json: boolean,
): Promise<string | undefined> {
  const { ask } = session.io;
  if (ask === undefined || json) {
    throw new FirnError('UsageError', 'apply needs --plan HASH where nobody can be asked', {
      hint: './firn plan prints the hash: read its table first',
    });
  }
  const plan = await askPlan(session, files, { json });
  session.print(planText(plan, session));
  const answer = await ask('\nApply exactly this? Type yes: ');
  return answer.trim().toLowerCase() === 'yes' ? plan.hash : undefined;
}

async function diffVerb({ session, args, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<DiffAnswer>({
    method: 'POST',
    path: '/diff',
    body: { files: readPolicyFiles(args) },
  });
  if (flags['json'] === true) session.json(answer);
  else if (answer.lines.length === 0) session.print('No difference from the active policy.');
  else {
    for (const line of answer.lines) {
      const paint = line.startsWith('+') ? session.paint.green : session.paint.red;
      session.print(/^[+-]/.test(line) ? paint(line) : line);
    }
  }
  return 0;
}

async function explainVerb({ session, args, flags }: VerbInput): Promise<number> {
  const place = parsePlace(args[0] ?? '');
  if (place.key === '') {
    throw new FirnError('UsageError', `${args[0]} names a bucket: explain is about one object`, {
      hint: 'name it as s3://BUCKET/KEY',
    });
  }
  const answer = await session.admin.call<ExplainAnswer>({
    method: 'GET',
    path: '/explain',
    query: { bucket: place.bucket, key: place.key, versionId: place.versionId },
  });
  if (flags['json'] === true) session.json(answer);
  else session.print(explainText(answer, session.paint));
  return 0;
}

async function testVerb({ session, args, flags }: VerbInput): Promise<number> {
  const named = flags['policy'];
  const policies = Array.isArray(named) ? named : [];
  const file = args[0] ?? '';
  const answer = await session.admin.call<PolicyTestAnswer>({
    method: 'POST',
    path: '/policy/test',
    body: {
      cases: { name: file, text: readText(file) },
      ...(policies.length === 0 ? {} : { files: readPolicyFiles(policies) }),
    },
  });
  if (flags['json'] === true) session.json(answer);
  else {
    for (const one of answer.cases) {
      const { green, red } = session.paint;
      session.print(`${one.passed ? green('ok  ') : red('not ok')} ${one.name}`);
      if (!one.passed) session.print(`       ${one.file}:${one.line}: ${one.message ?? 'failed'}`);
    }
    session.print(`${answer.passed} passed, ${answer.failed} failed`);
  }
  return answer.failed === 0 ? 0 : 1;
}

async function showVerb({ session, flags }: VerbInput): Promise<number> {
  const answer = await session.admin.call<PolicyAnswer>({ method: 'GET', path: '/policy' });
  if (flags['json'] === true) session.json(answer);
  else if (answer.revision === null) session.print('No policy has been applied.');
  else {
    session.print(
      `Revision ${answer.revision}, applied ${timeText(answer.appliedAt ?? undefined)} UTC ` +
        `by ${answer.appliedBy ?? '–'}`,
    );
    for (const file of answer.files) session.print(`\n# ${file.name}\n${file.text}`);
  }
  return 0;
}

const POLL_MS = 300;

async function runVerb(kind: RunAnswer['kind'], { session, flags }: VerbInput): Promise<number> {
  const bucket = textFlag(flags, 'bucket');
  const path = kind === 'lifecycle' ? '/lifecycle/run' : `/runs/${kind}`;
  let run = await session.admin.call<RunAnswer>({
    method: 'POST',
    path,
    body: bucket === undefined ? {} : { bucket },
  });
  if (flags['wait'] === true) {
    const bar = session.progress(`Running ${kind}`, { unit: 'objects' });
    while (run.finishedAt === null) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      run = await session.admin.call<RunAnswer>({ method: 'GET', path: `/runs/${run.runId}` });
      bar.set(run.counts['scanned'] ?? run.counts['checked'] ?? 0);
    }
    bar.end();
  }
  if (flags['json'] === true) session.json(run);
  else {
    const counts = Object.entries(run.counts)
      .filter(([name, count]) => count !== 0 || SAID_AS_ZERO.has(name))
      .map(([name, count]) => `${wordsOf(name)} ${figure(name, count)}`);
    const detail = counts.length === 0 ? '' : `: ${counts.join(', ')}`;
    session.print(`${kind} run ${run.runId} is ${run.state}${detail}`);
    if (run.error !== null) session.print(session.paint.red(run.error));
  }
  return run.state === 'failed' ? 1 : 0;
}

/** What people look for: that it did not happen is news too. */
const SAID_AS_ZERO = new Set(['repaired', 'lost', 'due', 'moved', 'deleted', 'failed']);

/** deletedBytes → deleted; the figure shows the unit. */
const wordsOf = (name: string): string =>
  name === 'lagMsMax'
    ? 'most overdue'
    : name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

/** Counts carry their unit in their name. */
function figure(name: string, count: number): string {
  if (/bytes$/i.test(name)) return sizeText(count);
  return /Ms(Max)?$/.test(name) ? durationText(count) : countText(count);
}
