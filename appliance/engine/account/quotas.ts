// Quotas as an operator sets and reads them. The quota stands in the bucket's row or the account's;
// what is used in a row of `quotas`, which a worker fills by counting (workers/quotas.ts) and the
// writers keep (quota-meter.ts). The danger is a quota that seems to hold and is not counted yet:
// `countedAt` says whether it is.

import type { Account, Bucket, Quota } from '../../model/bucket.ts';
import { FirnError } from '../../model/errors.ts';
import type { Row, Table } from '../../model/metadata-store.ts';
import { heldBy, onlyGrowth, plus, quotaRowId, type QuotaUsage } from '../../model/quota.ts';
import { noSuchBucket } from '../document/bucket-rows.ts';
import type { EngineContext } from '../document/context.ts';
import { allBuckets } from '../document/inventory.ts';

export interface QuotaOf {
  kind: QuotaUsage['kind'];
  name: string;
}

/** `null` takes a bound away, `undefined` leaves it. */
export interface QuotaChange {
  bytesMax?: number | null;
  objectsMax?: number | null;
}

export interface QuotaState extends QuotaOf {
  /** Of the row of `quotas`. */
  id: string;
  quota: Quota;
  /** Undefined: nothing was counted or written yet. */
  usage: QuotaUsage | undefined;
}

/**
 * Sets, changes or takes away a quota. Every process obeys it two seconds later; what was there
 * before counts once a worker has counted it. NoSuchBucket, InvalidArgument (no such account).
 */
export async function setQuota(
  context: Pick<EngineContext, 'store'>,
  of: QuotaOf,
  change: QuotaChange,
): Promise<QuotaState> {
  for (;;) {
    const { table, row } = await ownerRow(context, of);
    const { quota: before, ...rest } = row.value;
    const quota = changed(before ?? {}, change);
    const value = Object.keys(quota).length === 0 ? rest : { ...rest, quota };
    const usageId = quotaRowId(of.kind, row.value.id);
    const { id, revision } = row;
    const { outcome } = await context.store.replace({ table, id, expected: revision, value });
    if (outcome !== 'done') continue;
    if (value === rest) await forget(context, usageId);
    else await context.store.insert('quotas', usageId, newUsage(of));
    const usage = await context.store.get<QuotaUsage>('quotas', usageId);
    return { ...of, id: usageId, quota, usage: usage?.value };
  }
}

/** Every bucket and account that has a quota, buckets first, by name. */
export async function* allQuotas(
  context: Pick<EngineContext, 'store'>,
): AsyncGenerator<QuotaState> {
  const { store } = context;
  const usageOf = async (id: string): Promise<QuotaUsage | undefined> =>
    (await store.get<QuotaUsage>('quotas', id))?.value;
  for await (const { id, name, quota, state } of allBuckets(store)) {
    if (quota === undefined || state !== 'live') continue;
    const rowId = quotaRowId('bucket', id);
    yield { kind: 'bucket', name, id: rowId, quota, usage: await usageOf(rowId) };
  }
  let bound: { from: string } | { after: string } = { from: 'account/' };
  for (;;) {
    const rows: Row<Account>[] = await store.range<Account>({
      table: 'accounts',
      ...bound,
      to: 'account0',
      limit: 1000,
    });
    for (const { value } of rows) {
      if (value.quota === undefined) continue;
      const { id: name, quota } = value;
      const rowId = quotaRowId('account', name);
      yield { kind: 'account', name, id: rowId, quota, usage: await usageOf(rowId) };
    }
    const last = rows.at(-1);
    if (last === undefined || rows.length < 1000) return;
    bound = { after: last.id };
  }
}

/** What counts against the quota now: written, or set aside by writers. */
export function takenOf(usage: QuotaUsage | undefined): { bytes: number; objects: number } {
  if (usage === undefined) return { bytes: 0, objects: 0 };
  return onlyGrowth(plus(usage.used, heldBy(usage.holds)));
}

export function newUsage({ kind, name }: QuotaOf): QuotaUsage {
  const used = { bytes: 0, objects: 0 };
  return { format: 1, kind, name, used, holds: {}, isExact: false };
}

type Owner = (Account | Bucket) & { quota?: Quota };

async function ownerRow(
  { store }: Pick<EngineContext, 'store'>,
  { kind, name }: QuotaOf,
): Promise<{ table: Table; row: Row<Owner> }> {
  if (kind === 'bucket') {
    const row = await store.get<Bucket>('buckets', name);
    if (row === undefined || row.value.state !== 'live') throw noSuchBucket(name);
    return { table: 'buckets', row };
  }
  const row = await store.get<Account>('accounts', `account/${name}`);
  if (row !== undefined) return { table: 'accounts', row };
  throw new FirnError('InvalidArgument', 'there is no such account', { subject: name });
}

function changed(quota: Quota, change: QuotaChange): Quota {
  const next = { ...quota };
  for (const name of ['bytesMax', 'objectsMax'] as const) {
    const value = change[name];
    if (value === null) delete next[name];
    else if (value !== undefined) next[name] = value;
  }
  return next;
}

/** Whoever writes is changing the row; one that stayed would be a stale count for the next quota. */
async function forget({ store }: Pick<EngineContext, 'store'>, id: string): Promise<void> {
  for (;;) {
    const row = await store.get('quotas', id);
    if (row === undefined) return;
    if ((await store.remove('quotas', id, row.revision)).outcome === 'done') return;
  }
}
