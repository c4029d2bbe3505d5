// The steps of the demo, each through the same doors that everybody uses: S3 for bytes, the admin
// API for everything else.

import { readFileSync } from 'node:fs';
import { forEachConcurrent } from '../../appliance/cli/client/concurrent.ts';
import { costText } from '../../appliance/cli/terminal/cost-text.ts';
import { countOf, countText, moneyText, sizeText } from '../../appliance/cli/terminal/human.ts';
import { explainText, planText } from '../../appliance/cli/terminal/policy-text.ts';
import { quoteText } from '../../appliance/cli/terminal/quote-text.ts';
import { tableText } from '../../appliance/cli/terminal/table.ts';
import type {
  ApplyAnswer,
  ClockAnswer,
  CostReportAnswer,
  ExplainAnswer,
  PlanAnswer,
  RestoreAnswer,
  RestoreQuoteAnswer,
  RunAnswer,
  UsageAnswer,
} from '../../appliance/model/answers.ts';
import { FirnError, isFirnError } from '../../appliance/model/errors.ts';
import { BUCKET, CONCURRENCY, indented, tookText } from './stage.ts';
import type { Stage } from './stage.ts';

const RESTORE_DAYS = 7;
const POLL_MS = 200;
/** 400 days touch 14 or 15 months. */
const DEMO_MONTHS = 15;
/** Workers look at least every second. */
const TAKEN_MS_MAX = 20_000;
const COLLECT_MS_MAX = 3000;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function upload(stage: Stage): Promise<void> {
  stage.heading('Upload', 'a real tree over S3, each PUT acknowledged only once it is durable');
  await stage.s3.createBucket(BUCKET);
  const bar = stage.progress('Uploading', 'bytes', stage.bytes);
  await forEachConcurrent(stage.objects, CONCURRENCY, async (object) => {
    await stage.s3.putSource(BUCKET, object.key, object, { onBytes: (bytes) => bar.add(bytes) });
  });
  const ms = bar.end();
  const rate = `${countText((stage.objects.length / ms) * 1000)} objects/s`;
  const speed = `${sizeText((stage.bytes / ms) * 1000)}/s`;
  const what = `${countOf(stage.objects.length, 'object')}, ${sizeText(stage.bytes)}`;
  stage.say(`  ${what} ${tookText(ms)} (${rate}, ${speed})`);
}

/**
 * Plans and applies the demo's policy. Nothing is due on day 0, so the plan is shown for later too.
 */
export async function planAndApply(stage: Stage, policyFile: string): Promise<void> {
  stage.heading('Plan and apply', 'what would this policy do to what is stored, before it may');
  const files = [{ name: 'deploy/policies/demo.yaml', text: readFileSync(policyFile, 'utf8') }];
  const plan = await stage.admin.stream<PlanAnswer>(
    { method: 'POST', path: '/plan', body: { files } },
    () => undefined,
  );
  stage.say(indented(planText(plan, stage)));
  const body = { plan: plan.hash, files };
  const applied = await stage.admin.stream<ApplyAnswer>(
    { method: 'POST', path: '/apply', body },
    () => undefined,
  );
  stage.say(`  Applied as revision ${applied.revision.slice(0, 12)}, by the plan's hash.`);
}

/** Advances the clock and lets the policy act, a table after each step. */
export async function sink(stage: Stage, days: readonly number[]): Promise<void> {
  stage.heading('Let time pass', `the sandbox's clock goes to day ${days.join(', ')}`);
  stage.say(`${indented(dayText(await usage(stage), 0))}\n`);
  let today = 0;
  for (const day of days) {
    await stage.admin.call<ClockAnswer>({
      method: 'POST',
      path: '/clock/advance',
      body: { days: day - today },
    });
    today = day;
    const ms = await runLifecycle(stage);
    // Bytes that moved are freed after a grace of a day: this frees those of the step before.
    await collect(stage);
    stage.say(`${indented(dayText(await usage(stage), day, ms))}\n`);
  }
  stage.say(`  ${archivedText(await usage(stage))}`);
}

function archivedText({ tiers, buckets }: UsageAnswer): string {
  const staged = tiers.filter((tier) => tier.retrieval === 'staged');
  const packs = staged.reduce((sum, tier) => sum + tier.blobs, 0);
  const objects = buckets
    .filter((one) => staged.some((tier) => tier.tier === one.tier))
    .reduce((sum, one) => sum + one.objects, 0);
  const form = packs === 1 ? 'a plain zip file' : 'plain zip files';
  return `Archived: ${countOf(objects, 'object')} in ${countOf(packs, 'pack')}, ${form}.`;
}

/** Waits for one pass of the policy. */
async function runLifecycle(stage: Stage): Promise<number> {
  const bar = stage.progress('Moving', 'objects', stage.objects.length);
  const asked = stage.io.wall();
  let run = await stage.admin.call<RunAnswer>({ method: 'POST', path: '/lifecycle/run', body: {} });
  while (run.finishedAt === null) {
    await pause(POLL_MS);
    run = await stage.admin.call<RunAnswer>({ method: 'GET', path: `/runs/${run.runId}` });
    bar.set(run.counts['moved'] ?? 0);
    if (run.state === 'requested' && stage.io.wall() - asked > TAKEN_MS_MAX) break;
  }
  const ms = bar.end();
  if (run.state === 'done') return ms;
  const what =
    run.state === 'requested' ? 'was not taken by a worker' : `failed: ${run.error ?? ''}`;
  throw new FirnError('InternalError', `the lifecycle run ${what}`, {
    subject: run.runId,
    hint: `its log is ${stage.firn.log}`,
  });
}

/**
 * Asks for what has passed its grace to be freed; where that takes longer, it goes on behind us.
 */
async function collect(stage: Stage): Promise<void> {
  const asked = stage.io.wall();
  let run = await stage.admin.call<RunAnswer>({ method: 'POST', path: '/runs/collect', body: {} });
  while (run.finishedAt === null && stage.io.wall() - asked < COLLECT_MS_MAX) {
    await pause(POLL_MS);
    run = await stage.admin.call<RunAnswer>({ method: 'GET', path: `/runs/${run.runId}` });
  }
}

async function usage(stage: Stage): Promise<UsageAnswer> {
  const query = { source: 'scan' };
  return stage.admin.call<UsageAnswer>({ method: 'GET', path: '/usage', query });
}

function dayText(answer: UsageAnswer, day: number, ms?: number): string {
  const rows = answer.tiers.map((tier) => {
    const here = answer.buckets.filter((one) => one.bucket === BUCKET && one.tier === tier.tier);
    const objects = here.reduce((sum, one) => sum + one.objects, 0);
    const bytes = here.reduce((sum, one) => sum + one.bytes, 0);
    return [
      tier.tier,
      objects === 0 ? '–' : countText(objects),
      objects === 0 ? '–' : sizeText(bytes),
      here.map((one) => one.storageClass).join(', ') || '–',
      countText(tier.blobs),
      tier.retrieval === 'staged' ? 'after a restore' : 'at once',
    ];
  });
  const table = tableText(
    [
      { title: `DAY ${day}`.padEnd(8) },
      { title: 'OBJECTS', align: 'right' },
      { title: 'BYTES', align: 'right' },
      { title: 'CLASS' },
      { title: 'BLOBS', align: 'right' },
      { title: 'READABLE' },
    ],
    rows,
  );
  return ms === undefined ? table : `${table}moved ${tookText(ms)}\n`;
}

export async function explain(stage: Stage, key: string): Promise<void> {
  stage.heading('Explain', 'why one object is where it is, and what comes next');
  const answer = await stage.admin.call<ExplainAnswer>({
    method: 'GET',
    path: '/explain',
    query: { bucket: BUCKET, key },
  });
  stage.say(indented(explainText(answer, stage.paint)));
}

/** Shows that an archived object refuses a GET; true if it does. */
export async function tryToRead(stage: Stage, key: string): Promise<boolean> {
  try {
    const { body } = await stage.s3.getObject(BUCKET, key);
    for await (const _ of body);
    return false;
  } catch (error) {
    if (!isFirnError(error, 'InvalidObjectState')) throw error;
    stage.say(`\n  GET s3://${BUCKET}/${key} → 403 InvalidObjectState: it is archived.`);
    return true;
  }
}

export async function restore(stage: Stage): Promise<void> {
  stage.heading('Restore', 'what it costs and how long it takes, before it starts');
  const asked = { bucket: BUCKET, prefix: '', days: RESTORE_DAYS, tier: 'Standard' };
  const quote = await stage.admin.stream<RestoreQuoteAnswer>(
    { method: 'POST', path: '/restores/quote', body: asked },
    () => undefined,
  );
  stage.say(indented(quoteText(quote, stage.paint)));
  if (quote.objects === 0) {
    stage.say('  Nothing is archived: there is nothing to restore.');
    return;
  }
  const bar = stage.progress('Restoring', 'objects', quote.objects);
  let answer = await stage.admin.call<RestoreAnswer>({
    method: 'POST',
    path: '/restores',
    body: { quoteId: quote.quoteId },
  });
  while (answer.finishedAt === null) {
    await pause(POLL_MS);
    const path = `/restores/${answer.requestId}`;
    answer = await stage.admin.call<RestoreAnswer>({ method: 'GET', path });
    bar.set(answer.ready);
  }
  const ms = bar.end();
  if (answer.state !== 'done' || answer.failed > 0) {
    throw new FirnError('InternalError', `the restore ended as ${answer.state}`, {
      hint: `${countOf(answer.failed, 'object')} failed; its log is ${stage.firn.log}`,
    });
  }
  stage.say(`  ${countOf(answer.ready, 'object')} readable again ${tookText(ms)}`);
}

/** Reads every object back and compares each byte with its source. Answers the keys that differ. */
export async function compare(stage: Stage): Promise<string[]> {
  stage.heading('Compare', 'every byte, with where it came from');
  const bar = stage.progress('Comparing', 'bytes', stage.bytes);
  const different: string[] = [];
  let bytes = 0;
  await forEachConcurrent(stage.objects, CONCURRENCY, async (object) => {
    const { body } = await stage.s3.getObject(BUCKET, object.key);
    let offset = 0;
    let same = true;
    for await (const chunk of body) {
      const room = Math.min(chunk.length, Math.max(0, object.sizeBytes - offset));
      const expected = room === 0 ? new Uint8Array() : await object.read(offset, room);
      if (room < chunk.length || Buffer.compare(chunk, expected) !== 0) same = false;
      offset += chunk.length;
      bar.add(chunk.length);
    }
    bytes += offset;
    if (!same || offset !== object.sizeBytes) different.push(object.key);
  });
  const ms = bar.end();
  if (different.length === 0) {
    const what = `${countOf(stage.objects.length, 'object')}, ${countText(bytes)} bytes`;
    stage.say(`  ${stage.paint.green('All the same')}: ${what} ${tookText(ms)}`);
  } else {
    stage.say(`  ${stage.paint.red(`${countOf(different.length, 'object')} DIFFER`)}`);
    for (const key of different.slice(0, 10)) stage.say(`    ${key}`);
  }
  return different;
}

/** Month by month, so that sinking is seen in money; then the last month as the report shows it. */
export async function cost(stage: Stage): Promise<void> {
  stage.heading('Cost', 'from real meters and dated price books, as objects sank');
  const last = await costReport(stage, undefined);
  const tiers = (await usage(stage)).tiers.map((tier) => tier.tier);
  const reports = [];
  for (const month of monthsUntil(last.month, DEMO_MONTHS)) {
    reports.push(await costReport(stage, month));
  }
  const price = (amount: number | undefined): string =>
    amount === undefined || amount === 0 ? '–' : moneyText(amount, last.currency);
  const rows = reports
    .filter((report) => report.daysMetered > 0)
    .map((report) => [
      report.month,
      ...tiers.map((tier) => price(report.rows.find((row) => row.name === tier)?.total)),
      price(report.total),
    ]);
  const titles = [...tiers.map((tier) => tier.toUpperCase()), 'TOTAL'];
  const columns = titles.map((title) => ({ title, align: 'right' as const }));
  stage.say(`${indented(tableText([{ title: 'MONTH' }, ...columns], rows))}\n`);
  stage.say(indented(costText(last, stage)));
}

async function costReport(stage: Stage, month: string | undefined): Promise<CostReportAnswer> {
  return stage.admin.call<CostReportAnswer>({
    method: 'GET',
    path: '/cost/report',
    query: { by: 'tier', month },
  });
}

/** `count` months up to this one, the oldest first. */
function monthsUntil(month: string, count: number): string[] {
  const [year = 0, index = 1] = month.split('-').map(Number);
  return Array.from({ length: count }, (_, ago) =>
    new Date(Date.UTC(year, index - count + ago, 1)).toISOString().slice(0, 7),
  );
}
