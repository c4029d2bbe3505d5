// Quotas: what a bucket, or all buckets of an account, may hold.

import { z } from 'zod';
import { warningsOf } from '../../../appliance/engine/document/quota-meter.ts';
import {
  allQuotas,
  setQuota,
  takenOf,
  type QuotaState,
} from '../../../appliance/engine/account/quotas.ts';
import type { QuotaAnswer } from '../../../appliance/model/answers.ts';
import { FirnError } from '../../../appliance/model/errors.ts';
import { route, type Route } from '../contract/route.ts';
import { timeOf } from '../contract/rows.ts';
import { requestRun } from './runs.ts';
import { quotaAnswer, quotasAnswer } from '../contract/schemas.ts';

const bound = z.int().min(0).nullable().optional();

export function answerOfQuota(state: QuotaState): QuotaAnswer {
  const { kind, name, quota, usage } = state;
  const taken = takenOf(usage);
  return {
    kind,
    name,
    bytesMax: quota.bytesMax ?? null,
    objectsMax: quota.objectsMax ?? null,
    usedBytes: taken.bytes,
    usedObjects: taken.objects,
    countedAt: usage?.countedAt === undefined ? null : timeOf(usage.countedAt),
    warnings: warningsOf(state, taken),
  };
}

function nameOf(given: { bucket?: string | undefined; account?: string | undefined }): {
  kind: QuotaState['kind'];
  name: string;
} {
  const { bucket, account } = given;
  if (bucket !== undefined && account === undefined) return { kind: 'bucket', name: bucket };
  if (account !== undefined && bucket === undefined) return { kind: 'account', name: account };
  throw new FirnError('InvalidArgument', 'a quota is of one bucket or of one account', {
    hint: 'give bucket or account, not both',
  });
}

const owner = {
  bucket: z.string().min(1).max(63).optional(),
  account: z.string().min(1).max(128).optional(),
};

export const quotaRoutes: readonly Route[] = [
  route({
    id: 'setQuota',
    method: 'POST',
    path: '/quotas',
    summary: 'Set what a bucket or an account may hold; a bound of null is taken away',
    tag: 'quotas',
    body: z.strictObject({ ...owner, bytesMax: bound, objectsMax: bound }),
    answer: quotaAnswer,
    handle: async ({ options, body }) => {
      const { bytesMax, objectsMax } = body;
      if (bytesMax === undefined && objectsMax === undefined) {
        throw new FirnError('InvalidArgument', 'a quota is of bytes, of objects, or of both', {
          hint: 'give bytesMax or objectsMax; null takes one away',
        });
      }
      const state = await setQuota(options, nameOf(body), {
        ...(bytesMax === undefined ? {} : { bytesMax }),
        ...(objectsMax === undefined ? {} : { objectsMax }),
      });
      // Counted at once: until then what was there before is not held against it.
      const { usage } = state;
      const isNew = usage !== undefined && usage.countedAt === undefined;
      if (isNew) await requestRun(options, 'quotas', undefined);
      return answerOfQuota(state);
    },
  }),
  route({
    id: 'listQuotas',
    method: 'GET',
    path: '/quotas',
    summary: 'Every quota, and how much of it is used',
    tag: 'quotas',
    query: z.strictObject(owner),
    answer: quotasAnswer,
    handle: async ({ options, query }) => {
      const { bucket, account } = query;
      const isAny = bucket === undefined && account === undefined;
      const quotas: QuotaAnswer[] = [];
      for await (const state of allQuotas(options)) {
        const wanted = state.kind === 'bucket' ? bucket : account;
        if (isAny || wanted === state.name) quotas.push(answerOfQuota(state));
      }
      return { quotas };
    },
  }),
];
