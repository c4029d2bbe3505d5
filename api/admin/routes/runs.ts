// Work that an operator asks for: a row in `runs` that a worker finds within a second. The row is
// also where progress and outcome are read, so that nothing is lost when either process is
// restarted.

import { z } from 'zod';
import type { RunAnswer } from '../../../appliance/model/answers.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { newRequestId } from '../../../appliance/model/ids.ts';
import type { MetadataStore } from '../../../appliance/model/metadata-store.ts';
import type { Run } from '../../../appliance/model/records.ts';
import type { AdminOptions } from '../contract/options.ts';
import { route } from '../contract/route.ts';
import type { Route } from '../contract/route.ts';
import { runAnswer } from '../contract/schemas.ts';
import { bucketByName, timeOf } from '../contract/rows.ts';

export const RUN_KINDS = ['lifecycle', 'scrub', 'heal', 'collect', 'inventory', 'quotas'] as const;

export function answerOfRun(run: Run): RunAnswer {
  return {
    runId: run.id,
    kind: run.kind,
    bucket: run.bucket ?? null,
    state: run.state,
    requestedAt: timeOf(run.requestedAt),
    finishedAt: run.finishedAt === undefined ? null : timeOf(run.finishedAt),
    counts: run.counts,
    error: run.error ?? null,
  };
}

/** The newest runs of all kinds first. */
export async function recentRuns(
  store: MetadataStore,
  kinds: readonly Run['kind'][],
  limit: number,
): Promise<RunAnswer[]> {
  const pages = await Promise.all(
    kinds.map((kind) =>
      store.range<Run>({ table: 'runs', from: `${kind}/`, to: `${kind}0`, limit, reverse: true }),
    ),
  );
  return pages
    .flat()
    .map((row) => row.value)
    .sort((a, b) => b.requestedAt - a.requestedAt)
    .slice(0, limit)
    .map(answerOfRun);
}

export async function requestRun(
  options: AdminOptions,
  kind: Run['kind'],
  bucket: string | undefined,
): Promise<RunAnswer> {
  if (bucket !== undefined) await bucketByName(options.store, bucket);
  const run: Run = {
    format: 1,
    id: newRequestId(options.clock, options.random),
    kind,
    ...(bucket === undefined ? {} : { bucket }),
    state: 'requested',
    requestedAt: options.clock.now(),
    counts: {},
  };
  await options.store.insert('runs', `${kind}/${run.id}`, run);
  return answerOfRun(run);
}

const bucketBody = z.strictObject({ bucket: z.string().min(1).optional() });

const asked = (kind: Run['kind'], path: string, summary: string): Route =>
  route({
    id: `run${kind[0]?.toUpperCase()}${kind.slice(1)}`,
    method: 'POST',
    path,
    summary,
    tag: 'runs',
    status: 202,
    body: bucketBody,
    answer: runAnswer,
    handle: ({ options, body }) => requestRun(options, kind, body.bucket),
  });

export const runRoutes: readonly Route[] = [
  asked('lifecycle', '/lifecycle/run', 'Evaluate the active policy now and act on what is due'),
  asked('scrub', '/runs/scrub', 'Verify every shard of the node groups'),
  asked('heal', '/runs/heal', 'Rebuild what is stored short of full redundancy'),
  asked('quotas', '/runs/quotas', 'Count what new quotas hold, and those not counted for long'),
  asked('inventory', '/runs/inventory', 'Write the inventories of one bucket or all now'),
  asked('collect', '/runs/collect', 'Free what nobody names and whose grace is over'),
  route({
    id: 'getRuns',
    method: 'GET',
    path: '/runs',
    summary: 'The newest runs',
    tag: 'runs',
    query: z.strictObject({ kind: z.enum(RUN_KINDS).optional() }),
    answer: z.object({ runs: z.array(runAnswer) }),
    handle: async ({ options, query }) => ({
      runs: await recentRuns(options.store, query.kind ? [query.kind] : RUN_KINDS, 50),
    }),
  }),
  route({
    id: 'getRun',
    method: 'GET',
    path: '/runs/:id',
    summary: 'State and counts of one run',
    tag: 'runs',
    answer: runAnswer,
    handle: async ({ options, params }) => {
      const id = params['id'] ?? '';
      for (const kind of RUN_KINDS) {
        const row = await options.store.get<Run>('runs', `${kind}/${id}`);
        if (row !== undefined) return answerOfRun(row.value);
      }
      throw new FirnError('NoSuchKey', `there is no run ${id}`, {
        hint: 'GET /v1/runs lists the newest',
      });
    },
  }),
];
