// Buckets: one row each, named by the bucket, changed by compare-and-swap. The danger is a bucket
// that goes while a key comes (A6): `deleting` is set first, then every cache is waited out, then
// the keys are looked for, and only an empty bucket's row is removed. A deletion that crashed half
// way is taken up by whoever next deletes or creates that name.

import type { Bucket } from '../../model/bucket.ts';
import { FirnError } from '../../model/errors.ts';
import { afterPrefix, newBucketId } from '../../model/ids.ts';
import { BUCKETS_MAX } from '../../model/limits.ts';
import type { MetadataStore, Row } from '../../model/metadata-store.ts';
import type { ObjectDocument } from '../../model/object.ts';
import type { CreateBucket, ListBucketsAnswer } from '../../model/requests.ts';
import { isBucketName, noSuchBucket } from '../document/bucket-rows.ts';
import type { Core } from '../document/core.ts';
import { endUploadsOf } from '../upload/multipart-end.ts';

const PAGE = 1000;

/**
 * The bucket, live. Again by the same owner in the same region: the bucket as it stands (S3 answers
 * 200). BucketAlreadyExists when it is another's, InvalidBucketName, TooManyBuckets.
 */
export async function createBucket(core: Core, request: CreateBucket): Promise<Bucket> {
  const { name, owner, region } = request;
  if (!isBucketName(name)) {
    throw new FirnError('InvalidBucketName', 'The specified bucket is not valid', {
      subject: name,
      details: { BucketName: name },
    });
  }
  const { store, clock, random } = core.context;
  await requireRoom(core, owner);
  for (;;) {
    const row = await core.buckets.fresh(name);
    if (row === undefined) {
      const bucket: Bucket = {
        format: 1,
        id: newBucketId(random),
        name,
        owner,
        createdAt: clock.now(),
        region,
        versioning: 'off',
        state: 'live',
        ...request.with,
      };
      const { outcome } = await store.insert('buckets', name, bucket);
      if (outcome === 'done') return bucket;
    } else if (row.value.state === 'deleting') {
      await finishDeletion(core, row);
    } else if (row.value.owner === owner && row.value.region === region) {
      return row.value;
    } else {
      throw alreadyThere(row.value, owner);
    }
  }
}

function alreadyThere(bucket: Bucket, owner: string): FirnError {
  const mine = bucket.owner === owner;
  return new FirnError(
    mine ? 'BucketAlreadyOwnedByYou' : 'BucketAlreadyExists',
    'The requested bucket name is not available. Please select a different name and try again.',
    { subject: bucket.name, details: { BucketName: bucket.name } },
  );
}

async function requireRoom(core: Core, owner: string): Promise<void> {
  let count = 0;
  for await (const row of bucketRows(core, {})) if (row.value.owner === owner) count += 1;
  if (count < BUCKETS_MAX) return;
  throw new FirnError('TooManyBuckets', 'You have attempted to create more buckets than allowed', {
    subject: owner,
  });
}

async function* bucketRows(
  core: Core,
  query: { prefix?: string; after?: string },
): AsyncGenerator<Row<Bucket>> {
  const { prefix = '' } = query;
  const to = afterPrefix(prefix);
  let { after } = query;
  if (after !== undefined && after < prefix) after = undefined;
  for (;;) {
    const lower = after === undefined || after === '' ? { from: prefix } : { after };
    const rows = await core.context.store.range<Bucket>({
      table: 'buckets',
      limit: PAGE,
      ...(lower.from === '' ? {} : lower),
      ...(to === undefined ? {} : { to }),
    });
    yield* rows;
    after = rows.at(-1)?.id;
    if (rows.length < PAGE) return;
  }
}

/** The owner's buckets by name, those being deleted left out. */
export async function listBuckets(
  core: Core,
  query: { owner: string; prefix?: string; after?: string; limit: number },
): Promise<ListBucketsAnswer> {
  const buckets: Bucket[] = [];
  if (query.limit <= 0) return { buckets, next: undefined };
  for await (const { value } of bucketRows(core, query)) {
    if (value.owner !== query.owner || value.state !== 'live') continue;
    if (buckets.length === query.limit) return { buckets, next: buckets.at(-1)?.name };
    buckets.push(value);
  }
  return { buckets, next: undefined };
}

/** A compare-and-swap loop over `change`. On return no process answers by the older row. */
export async function updateBucket(
  core: Core,
  name: string,
  change: (bucket: Bucket) => Bucket,
): Promise<Bucket> {
  for (;;) {
    const row = await core.buckets.fresh(name);
    if (row === undefined || row.value.state !== 'live') throw noSuchBucket(name);
    const value = change(row.value);
    if (value === row.value) {
      // Whoever made it so may be waiting still: a repeat promises no less.
      await core.buckets.settle();
      return value;
    }
    const { outcome } = await core.context.store.replace({
      table: 'buckets',
      id: name,
      expected: row.revision,
      value,
    });
    core.buckets.forget(name);
    if (outcome !== 'done') continue;
    await core.buckets.settle();
    return value;
  }
}

/**
 * Whether equal bytes are kept once (DEDUPE.md). Durable on return; every process goes by it a
 * moment later. Off ends new sharing and nothing else. NoSuchBucket.
 */
export async function setDedupe(
  store: MetadataStore,
  name: string,
  isOn: boolean,
): Promise<Bucket> {
  for (;;) {
    const row = await store.get<Bucket>('buckets', name);
    if (row === undefined || row.value.state !== 'live') throw noSuchBucket(name);
    const { dedupe: _, ...rest } = row.value;
    const value: Bucket = isOn ? { ...rest, dedupe: true } : rest;
    const change = { table: 'buckets', id: name, expected: row.revision, value } as const;
    if ((await store.replace(change)).outcome === 'done') return value;
  }
}

/** Removes an empty bucket (A6). BucketNotEmpty when a version or delete marker is there. */
export async function deleteBucket(core: Core, name: string): Promise<void> {
  const row = await core.buckets.fresh(name);
  if (row === undefined) throw noSuchBucket(name);
  // A look before any writer is disturbed: the usual refusal changes nothing.
  if (row.value.state === 'live' && (await holdsKey(core, row.value.id))) throw notEmpty(name);
  let marked = row;
  if (row.value.state === 'live') {
    const value: Bucket = { ...row.value, state: 'deleting' };
    const { store } = core.context;
    const change = { table: 'buckets', id: name, expected: row.revision, value } as const;
    const result = await store.replace(change);
    if (result.outcome !== 'done') {
      throw new FirnError('ConditionalRequestConflict', 'The bucket is being changed', {
        subject: name,
        retryable: true,
      });
    }
    marked = { id: name, revision: result.revision, value };
  }
  core.buckets.forget(name);
  if (!(await finishDeletion(core, marked))) throw notEmpty(name);
}

function notEmpty(name: string): FirnError {
  return new FirnError('BucketNotEmpty', 'The bucket you tried to delete is not empty', {
    subject: name,
    details: { BucketName: name },
  });
}

/**
 * For workers: ends deletions that a crash cut short. Until then such a bucket answers
 * NoSuchBucket, also for keys acknowledged before it was marked. Safe beside a deletion at work.
 * One that can't be ended keeps no other from it: its error is thrown behind all of them.
 */
export async function settleDeletions(core: Core): Promise<void> {
  const faults: unknown[] = [];
  for await (const row of bucketRows(core, {})) {
    if (row.value.state !== 'deleting') continue;
    await finishDeletion(core, row).catch((error: unknown) => faults.push(error));
  }
  if (faults.length > 0) throw faults[0];
}

/**
 * From `deleting` to its end, by whoever set it or whoever finds it. True: the row is gone. False:
 * a key was there and the bucket is live again, or somebody else has settled it.
 */
async function finishDeletion(core: Core, row: Row<Bucket>): Promise<boolean> {
  const { store } = core.context;
  const { id, name } = row.value;
  await core.buckets.settle();
  let empty = !(await holdsKey(core, id));
  if (empty) {
    // A Complete under way may still make a key: so the keys are looked for behind this.
    await endUploadsOf(core, row.value);
    empty = !(await holdsKey(core, id));
  }
  if (!empty) {
    const value: Bucket = { ...row.value, state: 'live' };
    await store.replace({ table: 'buckets', id: name, expected: row.revision, value });
    return false;
  }
  const { outcome } = await store.remove('buckets', name, row.revision);
  core.buckets.forget(name);
  if (outcome !== 'done') return (await core.buckets.fresh(name))?.value.id !== id;
  await core.buckets.settle();
  return true;
}

/**
 * True if any version or delete marker is there; documents kept for operations only are none (C2).
 */
async function holdsKey(core: Core, bucketId: string): Promise<boolean> {
  const from = `${bucketId}/`;
  const to = afterPrefix(from) as string;
  let after: string | undefined;
  for (;;) {
    const rows = await core.context.store.range<ObjectDocument>({
      table: 'objects',
      ...(after === undefined ? { from } : { after }),
      to,
      limit: after === undefined ? 4 : PAGE,
      listing: true,
    });
    if (rows.some(({ value }) => value.versions.length > 0)) return true;
    const last = rows.at(-1);
    if (last === undefined) return false;
    after = last.id;
  }
}
