// Meters what is stored: byte-hours a day by bucket, tier and class. A sample looks at every
// version and counts, for the time since the last sample, where its bytes were: since it was
// written, and on either side of its last move. So a sample an hour late, or a clock advanced by
// 400 days, counts the same. Days say up to when they are counted: a sample that crashed half-way
// is taken again without counting twice.

import { loadParts } from '../appliance/engine/document/history.ts';
import type { Core } from '../appliance/engine/document/core.ts';
import { allBuckets, allVersions, inventoryPages } from '../appliance/engine/document/inventory.ts';
import { StoredOnce } from '../appliance/engine/bytes/stored-once.ts';
import { DAY_MS } from '../appliance/model/clock.ts';
import type { Version } from '../appliance/model/object.ts';
import type { UsageRow } from '../appliance/model/records.ts';
import { readCheckpoint, saveCheckpoint } from './base/checkpoints.ts';
import { changeUsage, dayOf, type UsageChange } from './base/usage-rows.ts';
import type { Turn, Worker } from './base/worker.ts';

const HOUR_MS = 3_600_000;
const ROW = 'usage';
/** Days that one sample may fill in: two years of a sandbox. */
const DAYS_MAX = 800;

interface Sum {
  kind: 'stored';
  bucket: string;
  tier: string;
  storageClass: string;
  /** Day → byte milliseconds, those of the stored bytes, objects. */
  days: Map<string, { byteMs: number; storedByteMs: number; objects: number }>;
}

/** A stretch of time in one tier. */
interface Stay {
  tier: string;
  storageClass: string;
  from: number;
  to: number;
  bytes: number;
  /** As they lie, compressed where they are; shared ones count for the first that names them. */
  storedBytes: number;
}

export class UsageWorker implements Worker {
  readonly name = 'usage';
  readonly tranquility = 1;
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  leaseName(): string {
    return 'usage';
  }

  async run(turn: Turn): Promise<void> {
    await sampleUsage(this.#core, () => turn.rest());
  }
}

/**
 * One sample up to now. Two at once count the same time once: each day's row says how far it is.
 */
export async function sampleUsage(core: Core, between: () => Promise<void>): Promise<void> {
  const { store, clock } = core.context;
  const to = clock.now();
  const last = await readCheckpoint(store, ROW);
  const from = Math.max(last?.updatedAt ?? 0, to - DAYS_MAX * DAY_MS);
  if (to <= from) return;
  const sums = new Map<string, Sum>();
  const once = await StoredOnce.load(store);
  for await (const bucket of allBuckets(store)) {
    for await (const page of inventoryPages(store, bucket.id)) {
      for (const row of page) {
        for (const version of await allVersions(store, row)) {
          for (const stay of await staysOf(core, version, { from, to, once })) {
            addStay(sums, bucket.name, stay);
          }
        }
      }
      await between();
    }
  }
  const changes = [...sums.values()].flatMap((sum) => changesOf(sum, { from, to }));
  await changeUsage(store, changes);
  await saveCheckpoint(store, ROW, { at: to });
}

async function staysOf(
  core: Core,
  version: Version,
  span: { from: number; to: number; once: StoredOnce },
): Promise<Stay[]> {
  if (version.deleteMarker) return [];
  const { classes, store } = core.context;
  const { storageClass, sizeBytes: bytes, last, restore } = version;
  const parts = version.partsBlock === undefined ? version.parts : await loadParts(store, version);
  const storedBytes = parts.reduce((sum, { location }) => sum + span.once.bytesOf(location), 0);
  const tier = parts[0]?.location.tier ?? classes.get(storageClass) ?? '';
  const { to } = span;
  const from = Math.max(span.from, version.lastModified);
  const stays: Stay[] = [];
  const wasMoved = last?.action === 'transition' || last?.action === 'promote';
  const movedAt = wasMoved ? Math.min(to, Math.max(from, last.at)) : from;
  if (wasMoved && movedAt > from) {
    const before = last.from === tier ? storageClass : classOf(core, last.from, storageClass);
    // How it lay there is not recorded.
    const was = { bytes, storedBytes: bytes };
    stays.push({ tier: last.from, storageClass: before, from, to: movedAt, ...was });
  }
  stays.push({ tier, storageClass, from: movedAt, to, bytes, storedBytes });
  const copies = restore?.copy ?? [];
  const [copy] = copies;
  if (restore?.state === 'ready' && copy !== undefined) {
    const began = Math.max(span.from, restore.requestedAt);
    const copied = copies.reduce((sum, { length }) => sum + length, 0);
    stays.push({ tier: copy.tier, storageClass, from: began, to, bytes, storedBytes: copied });
  }
  return stays.filter((stay) => stay.to > stay.from);
}

/** A class of the tier: which one the version had there is not recorded. */
function classOf(core: Core, tier: string, fallback: string): string {
  for (const [name, of] of core.context.classes) if (of === tier) return name;
  return fallback;
}

function addStay(sums: Map<string, Sum>, bucket: string, stay: Stay): void {
  const { tier, storageClass, bytes, storedBytes } = stay;
  const name = JSON.stringify([bucket, tier, storageClass]);
  let sum = sums.get(name);
  if (sum === undefined) {
    sum = { kind: 'stored', bucket, tier, storageClass, days: new Map() };
    sums.set(name, sum);
  }
  for (let at = stay.from; at < stay.to;) {
    const end = Math.min(stay.to, (Math.floor(at / DAY_MS) + 1) * DAY_MS);
    const day = dayOf(at);
    const of = sum.days.get(day) ?? { byteMs: 0, storedByteMs: 0, objects: 0 };
    of.byteMs += bytes * (end - at);
    of.storedByteMs += storedBytes * (end - at);
    of.objects += 1;
    sum.days.set(day, of);
    at = end;
  }
}

/** What the sample adds to each day. */
function changesOf(sum: Sum, span: { from: number; to: number }): UsageChange[] {
  const { days, ...of } = sum;
  return [...days].map(([day, { byteMs, storedByteMs, objects }]) => {
    const dayEnd = Date.parse(`${day}T00:00:00Z`) + DAY_MS;
    const through = Math.min(span.to, dayEnd);
    const began = Math.max(span.from, dayEnd - DAY_MS);
    const change = (row: UsageRow): UsageRow | undefined => {
      // Counted already, by a sample that did not come to its end: only the rest of the time is
      // new.
      const counted = Math.max(began, row.through ?? 0);
      if (counted >= through) return undefined;
      const isNew = (through - counted) / (through - began);
      return {
        ...row,
        bytes: row.bytes + (byteMs * isNew) / HOUR_MS,
        storedBytes: (row.storedBytes ?? row.bytes) + (storedByteMs * isNew) / HOUR_MS,
        count: Math.max(row.count, objects),
        through,
      };
    };
    return { day, of, change };
  });
}
