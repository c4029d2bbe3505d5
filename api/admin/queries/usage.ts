// Objects and bytes by bucket, tier and class: counted over the whole inventory now, or as the
// workers last metered it. What is counted is what is kept and paid for: every version with bytes,
// old ones too.

import type { UsageAnswer } from '../../../appliance/model/answers.ts';
import type { Version } from '../../../appliance/model/object.ts';
import type { Bucket } from '../../../appliance/model/bucket.ts';
import {
  inventoryRowId,
  type Checkpoint,
  type InventoryState,
  type UsageRow,
} from '../../../appliance/model/records.ts';
import {
  allBuckets,
  allVersions,
  inventoryPages,
} from '../../../appliance/engine/document/inventory.ts';
import { isNodeGroupTier } from '../../../appliance/model/node-group.ts';
import type { AdminOptions } from '../contract/options.ts';
import type { RouteInput } from '../contract/route.ts';
import { allRows, timeOf } from '../contract/rows.ts';
import { groupUsage, type CountedBytes } from './groups.ts';
import { PlaceCount } from './places.ts';

const HOUR_MS = 3_600_000;
const startOf = (day: string): number => Date.parse(`${day}T00:00:00Z`);

type Counted = UsageAnswer['buckets'][number];

/** Where a version's bytes are; an empty one is where its class would put it. */
export function tierOf(version: Version, classes: ReadonlyMap<string, string>): string {
  return version.parts[0]?.location.tier ?? classes.get(version.storageClass) ?? 'unknown';
}

export async function scanUsage(
  options: AdminOptions,
  input: Pick<RouteInput<unknown, unknown>, 'progress' | 'signal'>,
  places: PlaceCount,
): Promise<Counted[]> {
  const sums = new Map<string, Counted>();
  let objects = 0;
  let bytes = 0;
  for await (const bucket of allBuckets(options.store)) {
    for await (const page of inventoryPages(options.store, bucket.id)) {
      input.signal.throwIfAborted();
      for (const row of page) {
        for (const version of await allVersions(options.store, row)) {
          if (version.deleteMarker) continue;
          const { storageClass, sizeBytes } = version;
          // Both count the same parts: where they lie, and what of them is kept.
          const storedBytes = await places.version(version);
          add(sums, {
            bucket: bucket.name,
            tier: tierOf(version, options.classes),
            storageClass,
            objects: 1,
            bytes: sizeBytes,
            storedBytes,
          });
          objects += 1;
          bytes += sizeBytes;
        }
      }
      input.progress({ objects, bytes });
    }
  }
  return sorted(sums);
}

/**
 * As the newest inventories of whole buckets counted: no scan of ours. Buckets without one are not
 * in it.
 */
export async function inventoriedUsage(
  options: Pick<AdminOptions, 'store' | 'classes'>,
): Promise<Counted[]> {
  const sums = new Map<string, Counted>();
  for await (const bucket of allBuckets(options.store)) {
    const newest = await newestInventory(options, bucket);
    for (const [storageClass, { objects, bytes }] of Object.entries(newest?.totals ?? {})) {
      const tier = options.classes.get(storageClass) ?? 'unknown';
      add(sums, { bucket: bucket.name, tier, storageClass, objects, bytes, storedBytes: null });
    }
  }
  return sorted(sums);
}

async function newestInventory(
  { store }: Pick<AdminOptions, 'store'>,
  bucket: Bucket,
): Promise<InventoryState | undefined> {
  let newest: Checkpoint | undefined;
  for (const name of Object.keys(bucket.configurations ?? {})) {
    const id = name.startsWith('inventory/') ? name.slice('inventory/'.length) : undefined;
    if (id === undefined) continue;
    const row = await store.get<Checkpoint>('checkpoints', inventoryRowId(bucket.id, id));
    const isWhole = row?.value.data?.['isWhole'] === true;
    if (isWhole && row.value.updatedAt > (newest?.updatedAt ?? -Infinity)) newest = row.value;
  }
  return newest?.data as unknown as InventoryState | undefined;
}

/** The day that was metered last. */
export async function meteredUsage(options: AdminOptions): Promise<Counted[]> {
  const newest = await options.store.range<UsageRow>({ table: 'usage', limit: 1, reverse: true });
  const day = newest[0]?.value.day;
  const sums = new Map<string, Counted>();
  if (day === undefined) return [];
  for await (const { value } of allRows<UsageRow>(options.store, 'usage', {
    from: `${day}/`,
    to: `${day}0`,
  })) {
    if (value.kind !== 'stored') continue;
    const { bucket, tier, storageClass } = value;
    // Byte-hours of the day so far: their mean is what was there.
    const hours = value.through === undefined ? 24 : (value.through - startOf(day)) / HOUR_MS;
    const bytes = Math.round(value.bytes / Math.max(1 / 60, hours));
    const stored = Math.round((value.storedBytes ?? value.bytes) / Math.max(1 / 60, hours));
    const { count: objects } = value;
    add(sums, { bucket, tier, storageClass, objects, bytes, storedBytes: stored });
  }
  return sorted(sums);
}

function add(sums: Map<string, Counted>, more: Counted): void {
  const name = `${more.bucket}\n${more.tier}\n${more.storageClass}`;
  const sum = sums.get(name);
  if (sum === undefined) sums.set(name, more);
  else {
    sum.objects += more.objects;
    sum.bytes += more.bytes;
    if (more.storedBytes !== null) sum.storedBytes = (sum.storedBytes ?? 0) + more.storedBytes;
  }
}

function sorted(sums: Map<string, Counted>): Counted[] {
  return [...sums.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum);
}

/** How full each tier is. One that doesn't answer says so instead of hiding the others. */
export async function tierUsage(
  options: AdminOptions,
  counted?: CountedBytes,
): Promise<UsageAnswer['tiers']> {
  return Promise.all(
    [...options.tiers].map(async ([name, tier]) => {
      const base = { tier: name, retrieval: tier.retrieval };
      try {
        const { capacityBytes, usedBytes, blobs } = await tier.usage();
        const sizes = { ...base, capacityBytes, usedBytes, blobs, error: null };
        if (!isNodeGroupTier(tier)) return sizes;
        return { ...sizes, groups: await groupUsage(options, tier, counted) };
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return { ...base, capacityBytes: 0, usedBytes: 0, blobs: 0, error: message };
      }
    }),
  );
}

export async function usageOf(
  source: UsageAnswer['source'],
  input: RouteInput<unknown, unknown>,
): Promise<UsageAnswer> {
  const { options } = input;
  const places = source === 'scan' ? new PlaceCount(options.store) : undefined;
  const counted = {
    scan: () => scanUsage(options, input, places ?? new PlaceCount(options.store)),
    meters: () => meteredUsage(options),
    inventory: () => inventoriedUsage(options),
  };
  const buckets = await counted[source]();
  await places?.others();
  return {
    at: timeOf(options.clock.now()),
    source,
    buckets,
    tiers: await tierUsage(options, places),
    packs: await options.store.count('packs'),
  };
}
