// Restores in bulk: quote, start, follow, cancel. A quote is a promise about money, so starting by
// a quote counts once more and refuses when the archive has grown past what was quoted.

import { z } from 'zod';
import type { RestoreAnswer, RestoreQuoteAnswer } from '../../../appliance/model/answers.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { newRequestId } from '../../../appliance/model/ids.ts';
import type { Row } from '../../../appliance/model/metadata-store.ts';
import type { RestoreRequest } from '../../../appliance/model/records.ts';
import type { AdminOptions } from '../contract/options.ts';
import { quoteRestore, readQuote } from '../queries/quote.ts';
import { route } from '../contract/route.ts';
import type { Route } from '../contract/route.ts';
import { bucketByName, timeOf } from '../contract/rows.ts';
import { restoreAnswer, restoreQuoteAnswer } from '../contract/schemas.ts';

const tierName = z.enum(['Expedited', 'Standard', 'Bulk']);
const days = z.int().min(1).max(36_500);
/**
 * How much dearer than quoted a restore may have become: objects arrive in the archive meanwhile.
 */
const DEARER_MAX = 1.1;

export function answerOfRestore(request: RestoreRequest): RestoreAnswer {
  const { scope, counts } = request;
  return {
    requestId: request.id,
    state: request.state,
    bucket: scope.bucket,
    prefix: 'prefix' in scope ? scope.prefix : null,
    key: 'key' in scope ? scope.key : null,
    tier: request.tier,
    days: request.days,
    requestedAt: timeOf(request.requestedAt),
    finishedAt: request.finishedAt === undefined ? null : timeOf(request.finishedAt),
    objects: counts.objects,
    bytes: counts.bytes,
    ready: counts.ready,
    failed: counts.failed,
    error: request.error ?? null,
  };
}

async function requestRow(options: AdminOptions, id: string): Promise<Row<RestoreRequest>> {
  const row = await options.store.get<RestoreRequest>('restores', id);
  if (row !== undefined) return row;
  throw new FirnError('NoSuchKey', `there is no restore ${id}`, {
    hint: './firn restore status lists the newest',
  });
}

interface StartBody {
  quoteId?: string | undefined;
  bucket?: string | undefined;
  prefix?: string | undefined;
  days?: number | undefined;
  tier?: 'Expedited' | 'Standard' | 'Bulk' | undefined;
}

interface Started {
  bucket: string;
  prefix: string;
  days: number;
  tier: 'Expedited' | 'Standard' | 'Bulk';
  quoteId?: string;
}

/** What is to be started: the quote's own scope, or the one given. */
async function startOf(options: AdminOptions, body: StartBody): Promise<Started> {
  if (body.quoteId === undefined) {
    if (body.bucket === undefined || body.prefix === undefined || body.days === undefined) {
      throw new FirnError('InvalidArgument', 'a restore needs quoteId, or bucket, prefix and days');
    }
    const { bucket, prefix } = body;
    return { bucket, prefix, days: body.days, tier: body.tier ?? 'Standard' };
  }
  const quote = await readQuote(options, body.quoteId);
  const differing = (['bucket', 'prefix', 'days', 'tier'] as const).find(
    (field) => body[field] !== undefined && body[field] !== quote[field],
  );
  if (differing !== undefined) {
    throw new FirnError('InvalidArgument', `the quote is for another ${differing}`, {
      hint: 'leave it out, or ask for a new quote',
    });
  }
  await refuseDearer(options, quote);
  const { bucket, prefix } = quote;
  return {
    bucket,
    prefix,
    days: quote.days,
    tier: tierName.parse(quote.tier),
    quoteId: quote.quoteId,
  };
}

async function refuseDearer(options: AdminOptions, quote: RestoreQuoteAnswer): Promise<void> {
  const now = await quoteRestore(
    options,
    { ...quote, tier: tierName.parse(quote.tier) },
    { progress: () => undefined },
  );
  const dearer = now.money.amount > quote.money.amount * DEARER_MAX;
  const larger = now.bytes > quote.bytes * DEARER_MAX;
  if (!dearer && !larger) return;
  throw new FirnError('PlanStale', 'there is more to restore now than was quoted', {
    subject: quote.quoteId,
    hint: 'ask for a new quote and look at it',
  });
}

async function start(
  options: AdminOptions,
  account: string,
  body: StartBody,
): Promise<RestoreAnswer> {
  const asked = await startOf(options, body);
  const bucket = await bucketByName(options.store, asked.bucket);
  const request: RestoreRequest = {
    format: 1,
    id: newRequestId(options.clock, options.random),
    scope: { bucket: bucket.name, bucketId: bucket.id, prefix: asked.prefix },
    tier: asked.tier,
    days: asked.days,
    requestedAt: options.clock.now(),
    requestedBy: account,
    ...(asked.quoteId === undefined ? {} : { quoteId: asked.quoteId }),
    state: 'requested',
    counts: { objects: 0, bytes: 0, ready: 0, failed: 0 },
  };
  await options.store.insert('restores', request.id, request);
  return answerOfRestore(request);
}

/** Cancelled already: succeeds. Ended otherwise: refused, as nothing would be undone. */
async function cancel(options: AdminOptions, id: string): Promise<RestoreAnswer> {
  for (;;) {
    const row = await requestRow(options, id);
    const { state } = row.value;
    if (state === 'cancelled') return answerOfRestore(row.value);
    if (state === 'done' || state === 'failed') {
      throw new FirnError('InvalidObjectState', `the restore has ended: it is ${state}`, {
        subject: id,
      });
    }
    const value: RestoreRequest = {
      ...row.value,
      state: 'cancelled',
      finishedAt: options.clock.now(),
    };
    const result = await options.store.replace({
      table: 'restores',
      id,
      expected: row.revision,
      value,
    });
    // A worker was counting meanwhile: look again.
    if (result.outcome === 'done') return answerOfRestore(value);
  }
}

export const restoreRoutes: readonly Route[] = [
  route({
    id: 'quoteRestore',
    method: 'POST',
    path: '/restores/quote',
    summary: 'What bringing back everything under a prefix costs, and how long it takes',
    tag: 'restores',
    body: z.strictObject({
      bucket: z.string().min(1),
      prefix: z.string().max(1024),
      days,
      tier: tierName.default('Standard'),
    }),
    answer: restoreQuoteAnswer,
    streams: true,
    handle: ({ options, body, progress }) => quoteRestore(options, body, { progress, keep: true }),
  }),
  route({
    id: 'startRestore',
    method: 'POST',
    path: '/restores',
    summary: 'Start a restore by a quote, or by bucket, prefix, days and tier',
    tag: 'restores',
    status: 202,
    body: z.strictObject({
      quoteId: z.string().optional(),
      bucket: z.string().min(1).optional(),
      prefix: z.string().max(1024).optional(),
      days: days.optional(),
      tier: tierName.optional(),
    }),
    answer: restoreAnswer,
    handle: ({ options, account, body }) => start(options, account, body),
  }),
  route({
    id: 'listRestores',
    method: 'GET',
    path: '/restores',
    summary: 'The newest restores',
    tag: 'restores',
    answer: z.object({ restores: z.array(restoreAnswer) }),
    handle: async ({ options }) => {
      const rows = await options.store.range<RestoreRequest>({
        table: 'restores',
        limit: 50,
        reverse: true,
      });
      return { restores: rows.map((row) => answerOfRestore(row.value)) };
    },
  }),
  route({
    id: 'getRestore',
    method: 'GET',
    path: '/restores/:id',
    summary: 'State and counts of one restore',
    tag: 'restores',
    answer: restoreAnswer,
    handle: async ({ options, params }) =>
      answerOfRestore((await requestRow(options, params['id'] ?? '')).value),
  }),
  route({
    id: 'cancelRestore',
    method: 'POST',
    path: '/restores/:id/cancel',
    summary: 'Stop a restore; what is readable already stays so until its date',
    tag: 'restores',
    answer: restoreAnswer,
    handle: ({ options, params }) => cancel(options, params['id'] ?? ''),
  }),
  route({
    id: 'deleteRestore',
    method: 'DELETE',
    path: '/restores/:id',
    summary: 'The same as cancel',
    tag: 'restores',
    answer: restoreAnswer,
    handle: ({ options, params }) => cancel(options, params['id'] ?? ''),
  }),
];
