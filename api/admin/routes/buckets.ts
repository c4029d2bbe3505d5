// Buckets as an operator sets them, beside what S3 says of them: whether equal bytes are kept once.

import { z } from 'zod';
import { setDedupe } from '../../../appliance/engine/account/buckets.ts';
import type { BucketAnswer } from '../../../appliance/model/answers.ts';
import type { Bucket } from '../../../appliance/model/bucket.ts';
import { route, type Route } from '../contract/route.ts';
import { allBuckets, timeOf } from '../contract/rows.ts';
import { bucketAnswer, bucketsAnswer } from '../contract/schemas.ts';

const name = z.string().min(1).max(63);

function answerOf({ name: bucket, owner, createdAt, versioning, dedupe }: Bucket): BucketAnswer {
  const createdText = timeOf(createdAt);
  return { name: bucket, owner, createdAt: createdText, versioning, dedupe: dedupe === true };
}

export const bucketRoutes: readonly Route[] = [
  route({
    id: 'setBucket',
    method: 'POST',
    path: '/buckets',
    summary: 'Set whether equal bytes that are put into a bucket from now on are kept once',
    tag: 'buckets',
    body: z.strictObject({ bucket: name, dedupe: z.boolean() }),
    answer: bucketAnswer,
    handle: async ({ options, body }) =>
      answerOf(await setDedupe(options.store, body.bucket, body.dedupe)),
  }),
  route({
    id: 'listBuckets',
    method: 'GET',
    path: '/buckets',
    summary: 'Every bucket, and how it is set',
    tag: 'buckets',
    query: z.strictObject({ bucket: name.optional() }),
    answer: bucketsAnswer,
    handle: async ({ options, query }) => {
      const all = await allBuckets(options.store);
      const wanted = all.filter((one) => [undefined, one.name].includes(query.bucket));
      return { buckets: wanted.map(answerOf) };
    },
  }),
];
