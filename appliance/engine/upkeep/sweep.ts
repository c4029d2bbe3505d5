// The orphan sweep (B5): finds bytes and blocks that nothing names, and lists them as candidates.
// It frees nothing itself. It is mandatory: a PUT that crashed before its commit leaves bytes that
// only the sweep can find. It is also the most dangerous job of all, because a defect in "what is
// named" would list living data; so it looks only at what is older than a grace (such a location
// can no longer become named, B3), stops with an alarm above 1 % of a tier, and stays off after
// metadata was restored until an operator confirms. Where the tier tells whose the bytes were the
// collector looks for itself (B4); where it doesn't, a second pass a grace later must agree before
// the row is condemned.

import { FirnError } from '../../model/errors.ts';
import { LOCATION_ID_LENGTH, locationBirth, objectId } from '../../model/ids.ts';
import { MiB } from '../../model/limits.ts';
import type { Location, Pack } from '../../model/location.ts';
import type { MetadataStore, Row, Table } from '../../model/metadata-store.ts';
import type { Block, ObjectDocument, Upload, UploadPart } from '../../model/object.ts';
import type { Garbage, Reference, ReferenceHead } from '../../model/records.ts';
import type { ListedBlob, Tier } from '../../model/tier.ts';
import type { Core } from '../document/core.ts';
import { garbageOfBlock } from '../document/garbage.ts';
import { reread } from '../document/history.ts';
import { IdSet } from '../document/id-set.ts';
import { inFlight } from '../document/in-flight.ts';
import type { LeaseGuard } from '../document/lease.ts';
import {
  addDocumentNames,
  addPackNames,
  addUploadNames,
  holdsParts,
  namesOf,
  packObject,
  type Names,
} from '../document/named.ts';
import { keptSnapshots } from './keep-snapshot.ts';
import { hasReferences } from '../document/references.ts';

const PAGE_ROWS = 1000;
const LOOKS_IN_FLIGHT = 64;
/** Share of a tier that may be orphaned before that looks like a defect of ours. */
const ORPHAN_SHARE_MAX = 0.01;
/** Below this a share says nothing. */
const ORPHAN_BYTES_MIN = 64 * MiB;

/** Row of `settings`, id `sweep`: written with metadata that came from a snapshot or a rebuild. */
export interface SweepSetting {
  format: 1;
  held: boolean;
  reason: string;
}

export interface SweepOptions {
  lease: LeaseGuard;
  signal?: AbortSignal;
  /** Called between pages: rests, renews, throws when asked to stop. */
  between?: () => Promise<void>;
  /**
   * Told of each location that something names, and of the document that does; of what several
   * name, one. By mistake (about 1 in 2,000) of none: for hints only.
   */
  seen?: (location: Location, object: string) => void;
  /** Called once `seen` was told of all, before anything is listed. */
  gathered?: () => Promise<void>;
}

export interface SweepCounts {
  named: number;
  /** Blobs and blocks looked at. */
  looked: number;
  orphans: number;
  orphanBytes: number;
  /** Newly listed. */
  listed: number;
  /** Of unknown owner, named by nothing at two passes. */
  condemned: number;
  partRows: number;
  /** Stale ones that were removed. */
  references: number;
}

/**
 * One pass over everything. Throws GuardRail while held, or when a tier has too many orphans: then
 * nothing of that tier was listed. A repeat lists the same rows and changes nothing.
 */
export async function sweep(core: Core, options: SweepOptions): Promise<SweepCounts> {
  await checkHeld(core.context.store);
  const counts: SweepCounts = {
    named: 0,
    looked: 0,
    orphans: 0,
    orphanBytes: 0,
    listed: 0,
    condemned: 0,
    partRows: 0,
    references: 0,
  };
  const salts = core.context.random.bytes(4);
  const named = new IdSet(Buffer.from(salts).readUInt32LE(0));
  await gatherNames(core, named, { options, counts });
  counts.named = named.size;
  await options.gathered?.();
  for (const tier of core.context.tiers.values()) {
    await sweepTier(core, tier, { named, options, counts });
  }
  await condemnUnowned(core, { named, options, counts });
  await sweepBlocks(core, { named, options, counts });
  await sweepReferences(core, { named, options, counts });
  return counts;
}

async function checkHeld(store: MetadataStore): Promise<void> {
  const row = await store.get<SweepSetting>('settings', 'sweep');
  if (row?.value.held !== true) return;
  throw new FirnError('GuardRail', `the orphan sweep is held: ${row.value.reason}`, {
    subject: 'sweep',
    hint: 'compare listings with what you expect, then release it',
  });
}

interface Pass {
  options: SweepOptions;
  counts: SweepCounts;
}

async function* pages<T>(
  store: MetadataStore,
  table: Table,
  options: SweepOptions,
): AsyncGenerator<Row<T>[]> {
  let after: string | undefined;
  for (;;) {
    options.signal?.throwIfAborted();
    const rows: Row<T>[] = await store.range<T>({
      table,
      limit: PAGE_ROWS,
      ...(after === undefined ? {} : { after }),
    });
    yield rows;
    if (rows.length < PAGE_ROWS) return;
    after = rows.at(-1)?.id;
    await options.between?.();
  }
}

function addAll(named: IdSet, names: Names): void {
  for (const id of names.locations) named.add(id);
  for (const id of names.blocks) named.add(id);
}

/** A location that several documents name is told of once. */
const noNames = (named: IdSet, { seen }: SweepOptions, object: string): Names => ({
  locations: new Set(),
  blocks: new Set(),
  ...(seen === undefined
    ? {}
    : { seen: (location) => (named.has(location.id) ? undefined : seen(location, object)) }),
});

/**
 * Uploads first, documents after them: a Complete that commits in between has taken its names from
 * an upload that was read to a document that is still to be read.
 */
async function gatherNames(core: Core, named: IdSet, { options, counts }: Pass): Promise<void> {
  const { store } = core.context;
  const live = new Set<string>();
  for await (const rows of pages<Upload>(store, 'uploads', options)) {
    for (const row of rows) {
      addAll(named, await uploadNames(store, row, { named, options }));
      if (holdsParts(row.value)) live.add(row.value.uploadId);
    }
  }
  counts.partRows += await dropLostPartRows(core, live, options);
  for await (const rows of pages<ObjectDocument>(store, 'objects', options)) {
    for (const row of rows) addAll(named, await documentNames(store, row, { named, options }));
  }
  for (const { location } of await keptSnapshots(store)) named.add(location.id);
  for await (const rows of pages<Pack>(store, 'packs', options)) {
    for (const { value } of rows) {
      const names = noNames(named, options, packObject(value.id));
      addPackNames(value, names);
      addAll(named, names);
    }
  }
}

interface Gathering {
  named: IdSet;
  options: SweepOptions;
}

async function uploadNames(
  store: MetadataStore,
  row: Row<Upload>,
  { named, options }: Gathering,
): Promise<Names> {
  let upload: Upload | undefined = row.value;
  return reread(row.id, async () => {
    const names = noNames(named, options, objectId(row.value.bucketId, row.value.key));
    upload ??= (await store.get<Upload>('uploads', row.id))?.value;
    const read = upload;
    upload = undefined;
    if (read !== undefined) await addUploadNames(store, read, names);
    return names;
  });
}

async function documentNames(
  store: MetadataStore,
  row: Row<ObjectDocument>,
  { named, options }: Gathering,
): Promise<Names> {
  let document: ObjectDocument | undefined = row.value;
  return reread(row.id, async () => {
    const names = noNames(named, options, row.id);
    document ??= (await store.get<ObjectDocument>('objects', row.id))?.value;
    const read = document;
    document = undefined;
    if (read !== undefined) await addDocumentNames(store, read, names);
    return names;
  });
}

/** Rows of parts whose upload is gone or ended name nothing (C4): removed once they are old. */
async function dropLostPartRows(
  core: Core,
  live: ReadonlySet<string>,
  options: SweepOptions,
): Promise<number> {
  const { store, clock, graceMs } = core.context;
  const old = clock.now() - graceMs;
  let dropped = 0;
  for await (const rows of pages<UploadPart>(store, 'parts', options)) {
    for (const { id, revision, value } of rows) {
      if (live.has(value.uploadId) || value.lastModified > old) continue;
      await options.lease.check();
      await store.remove('parts', id, revision);
      dropped += 1;
    }
  }
  return dropped;
}

interface SweepOf extends Pass {
  named: IdSet;
}

async function sweepTier(core: Core, tier: Tier, { named, options, counts }: SweepOf) {
  const old = core.context.clock.now() - core.context.graceMs;
  const orphans: ListedBlob[] = [];
  let bytes = 0;
  let looked = 0;
  const isFine = (id: string): boolean => locationBirth(id) > old || named.has(id);
  // Of what is named no head is read: a million large objects cost their folders, not 4 M reads.
  const skip = (id: string): boolean => {
    if (!isFine(id)) return false;
    looked += 1;
    return true;
  };
  for await (const blob of tier.list({ withoutSegments: true, skip })) {
    looked += 1;
    if (looked % PAGE_ROWS === 0) {
      options.signal?.throwIfAborted();
      await options.between?.();
    }
    if (isFine(blob.location.id)) continue;
    orphans.push(blob);
    bytes += blob.sizeBytes;
  }
  counts.looked += looked;
  counts.orphans += orphans.length;
  counts.orphanBytes += bytes;
  if (orphans.length === 0) return;
  const { capacityBytes, usedBytes } = await tier.usage();
  const bound = Math.max(ORPHAN_BYTES_MIN, ORPHAN_SHARE_MAX * Math.max(capacityBytes, usedBytes));
  if (bytes > bound) throw tooMany(tier.name, { orphans: orphans.length, bytes });
  for (const { location, owner } of orphans) {
    const isObjects = owner !== undefined && owner.key !== '';
    const object = isObjects ? objectId(owner.bucketId, owner.key) : '';
    await listOrphan(core, { location, object }, { options, counts });
  }
}

function tooMany(tier: string, found: { orphans: number; bytes: number }): FirnError {
  return new FirnError(
    'GuardRail',
    `${found.orphans} blobs (${found.bytes} bytes) of ${tier} seem to be named by nothing`,
    {
      subject: tier,
      hint: 'more than 1 %: nothing was listed. Look whether metadata is missing before you go on',
    },
  );
}

async function listOrphan(
  core: Core,
  { location, object }: { location: Location; object: string },
  pass: Pass,
): Promise<void> {
  const { store, clock, graceMs } = core.context;
  const value: Garbage = {
    format: 1,
    location,
    object,
    notBefore: clock.now() + graceMs,
    reason: 'orphan',
  };
  const inserted = await store.insert('garbage', location.id, value);
  if (inserted.outcome === 'done') pass.counts.listed += 1;
}

/**
 * Nobody knows whose it was, and it was named by nothing at two passes with a grace between them.
 * Also what no tier lists any more: a collector may have freed it while it was listed here.
 */
async function condemnUnowned(core: Core, { named, options, counts }: SweepOf): Promise<void> {
  const { store, clock } = core.context;
  for await (const rows of pages<Garbage>(store, 'garbage', options)) {
    for (const { id, revision, value } of rows) {
      const isUnowned = value.object === '' && value.condemned !== true;
      if (!isUnowned || value.notBefore > clock.now() || named.has(id)) continue;
      // Its references say whose it was: the collector asks them.
      if (await hasReferences(store, id)) continue;
      await options.lease.check();
      const condemned: Garbage = { ...value, condemned: true };
      const change = { table: 'garbage', id, expected: revision, value: condemned } as const;
      if ((await store.replace(change)).outcome === 'done') counts.condemned += 1;
    }
  }
}

async function sweepBlocks(core: Core, { named, options, counts }: SweepOf): Promise<void> {
  const { store, clock, graceMs } = core.context;
  const old = clock.now() - graceMs;
  for await (const rows of pages<Block>(store, 'blocks', options)) {
    for (const { id, value } of rows) {
      counts.looked += 1;
      if (locationBirth(id) > old || named.has(id)) continue;
      counts.orphans += 1;
      const garbage: Garbage = {
        format: 1,
        block: id,
        object: value.object,
        notBefore: clock.now() + graceMs,
        reason: 'orphan',
      };
      const inserted = await store.insert('garbage', garbageOfBlock(id), garbage);
      if (inserted.outcome === 'done') counts.listed += 1;
    }
  }
}

/**
 * References whose document names the location no more, and heads of what nothing names (a PUT that
 * died): what a crash left of dedupe. A location with a head is listed here even where the tier
 * would not tell of it, as it doesn't of the records of segments.
 */
async function sweepReferences(core: Core, { named, options, counts }: SweepOf): Promise<void> {
  const { store, clock, graceMs } = core.context;
  const old = clock.now() - graceMs;
  for await (const rows of pages<Reference | ReferenceHead>(store, 'references', options)) {
    const stale = rows.filter(({ value }) => value.at <= old);
    await inFlight(LOOKS_IN_FLIGHT, stale, async ({ id, revision, value }) => {
      if ('location' in value) {
        const { location, object } = value;
        if (named.has(id)) return;
        await listOrphan(core, { location, object }, { options, counts });
        return;
      }
      const location = id.slice(0, LOCATION_ID_LENGTH);
      if ((await namesOf(store, value.object, [])).locations.has(location)) return;
      await options.lease.check();
      const { outcome } = await store.remove('references', id, revision);
      if (outcome === 'done') counts.references += 1;
    });
  }
}
