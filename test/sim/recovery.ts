// What a new life does with what a crash left: heals, scrubs, takes up moves and uploads, and, a
// grace and more later, sweeps and collects until nothing is left to free. Nothing that a client
// may count on may go by that, and nothing that nobody names may stay.

import { collectPage } from '../../appliance/engine/upkeep/collect.ts';
import { takeLease, type HeldLease } from '../../appliance/engine/document/lease.ts';
import { settleUpload } from '../../appliance/engine/upload/multipart-end.ts';
import { resumeMoves } from '../../appliance/engine/move/resume.ts';
import { loadParts } from '../../appliance/engine/document/history.ts';
import {
  moveVersions,
  noMoves,
  type MoveCounts,
  type MovingVersion,
} from '../../appliance/engine/move/move.ts';
import { moveIntoPacks } from '../../appliance/engine/move/pack-move.ts';
import { sweep } from '../../appliance/engine/upkeep/sweep.ts';
import { compactPack, compactSegment } from '../../appliance/engine/upkeep/compact.ts';
import { bucketNames } from '../../appliance/engine/document/inventory.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import { GRACE_MS } from '../../appliance/model/limits.ts';
import type { StepJob } from '../../appliance/model/node-group.ts';
import { objectId } from '../../appliance/model/ids.ts';
import type { Pack } from '../../appliance/model/location.ts';
import type { ObjectDocument, Upload } from '../../appliance/model/object.ts';
import type { Heal } from '../../appliance/model/records.ts';
import { namesOf } from '../engine-harness.ts';
import { ClockGuard } from '../../workers/base/clock-guard.ts';
import type { Turn } from '../../workers/base/worker.ts';
import { RestoreExpiry } from '../../workers/restore-expiry.ts';
import { RestoreWorker } from '../../workers/restore.ts';
import { codeOf } from '../../tiers/node-group/codec/field.ts';
import { bearsLoss } from './checks.ts';
import { BUCKET, Life, type Remains } from './life.ts';
import { isSame, type Effect } from './model.ts';
import { mixed, Seeded } from './random.ts';
import type { World } from './world.ts';

const HOUR_MS = 3_600_000;

export async function leaseOf(life: Life, name: string, holder = 'sim'): Promise<HeldLease> {
  const { store, clock } = life;
  const lease = await takeLease({ store, clock }, { name, holder, durationMs: HOUR_MS });
  if (lease === undefined) throw new Error(`${name} is leased by nobody who lives`);
  return lease;
}

export async function finished(
  job: StepJob,
): Promise<{ repaired: number; lost: readonly string[] }> {
  for (;;) {
    const progress = await job.step();
    if (progress.done) return progress;
  }
}

export async function healRows(life: Life): Promise<void> {
  for (const { id, revision, value } of life.rowsOf<Heal>('heals')) {
    const { location } = value;
    if (location.kind !== 'segment' && location.kind !== 'shards') continue;
    const outcome = await life.hot.healLocation(location).catch((error: unknown) => {
      if (isFirnError(error, 'TierMissing')) return 'whole';
      throw error;
    });
    if (outcome === 'whole') await life.store.remove('heals', id, revision);
  }
}

export async function settleUploads(life: Life): Promise<void> {
  for (const row of life.rowsOf<Upload>('uploads')) {
    if (row.value.state !== 'open') await settleUpload(life.engine.core, row);
  }
}

export async function collectAll(life: Life): Promise<void> {
  const lease = await leaseOf(life, 'collect');
  let after: string | undefined;
  do {
    const { next } = await collectPage(life.engine.core, after, { lease });
    after = next;
  } while (after !== undefined);
  await lease.release();
}

export async function sweepAll(life: Life): Promise<void> {
  const lease = await leaseOf(life, 'sweep');
  await sweep(life.engine.core, { lease });
  await lease.release();
}

export async function compactAll(life: Life): Promise<void> {
  const { hot, engine } = life;
  const names = await bucketNames(life.store);
  const lease = await leaseOf(life, 'compact');
  for await (const info of hot.segments()) {
    await compactSegment(engine.core, { tier: hot, info }, { lease, names });
  }
  for (const { value } of life.rowsOf<Pack>('packs')) {
    if (value.tier === 'cold') await compactPack(engine.core, value, { lease, names });
  }
  await lease.release();
}

export async function turnOf(life: Life, name: string): Promise<Turn & { lease: HeldLease }> {
  const lease = await leaseOf(life, name);
  const { signal } = new AbortController();
  return { lease, signal, rest: () => lease.check(), report: () => undefined };
}

/** One look of the worker that brings archived bytes back. */
export async function restoreAll(life: Life): Promise<void> {
  const turn = await turnOf(life, 'restore');
  await new RestoreWorker(life.engine.core, () => undefined).run(turn);
  await turn.lease.release();
}

/** Ends restored copies whose date has come. */
export async function expireRestores(life: Life): Promise<void> {
  const turn = await turnOf(life, 'restore-expiry');
  const guard = new ClockGuard({ store: life.store, wall: () => 0, sandbox: true });
  await new RestoreExpiry(life.engine.core, guard).run(turn);
  await turn.lease.release();
}

/** Versions under these keys, as a scan hands them to a move. */
export async function movingOf(life: Life, keys: readonly string[]): Promise<MovingVersion[]> {
  const { store } = life;
  const bucket = await life.engine.getBucket(BUCKET);
  const found: MovingVersion[] = [];
  for (const key of keys) {
    const object = objectId(bucket.id, key);
    const row = await store.get<ObjectDocument>('objects', object);
    for (const version of row?.value.versions ?? []) {
      const parts = await loadParts(store, version);
      found.push({ bucket: BUCKET, bucketId: bucket.id, key, object, version, parts });
    }
  }
  return found;
}

export async function transition(
  life: Life,
  keys: readonly string[],
  how: { tier: string; storageClass: string; packed: boolean },
): Promise<MoveCounts> {
  const lease = await leaseOf(life, 'move');
  const { tier, storageClass } = how;
  const options = { kind: 'transition', tier, storageClass, lease } as const;
  const move = how.packed ? moveIntoPacks : moveVersions;
  const moving = await movingOf(life, keys);
  const counts = await move(life.engine.core, moving, options).catch((error: unknown) => {
    // A cloud that keeps other bytes: nothing was moved.
    if (!isFirnError(error, 'Corrupt')) throw error;
    return noMoves();
  });
  await lease.release();
  return counts;
}

export async function resumeAll(life: Life): Promise<void> {
  const lease = await leaseOf(life, 'moves');
  await resumeMoves(life.engine.core, { lease });
  await lease.release();
}

/** Ids of everything that documents and uploads name. */
async function namedIds(life: Life): Promise<Set<string>> {
  const ids = new Set<string>();
  for (const { value } of life.rowsOf<Parameters<typeof namesOf>[1]>('objects')) {
    for (const [id, location] of await namesOf(life.store, value)) {
      ids.add(location?.kind === 'pack' ? location.pack : id);
    }
  }
  for (const { value } of life.rowsOf<{
    location: { id: string };
    replaced: { id: string }[];
  }>('parts')) {
    for (const { id } of [value.location, ...value.replaced]) ids.add(id);
  }
  for (const { id } of life.rowsOf('packs')) ids.add(id);
  return ids;
}

/** Everything that workers do, for days; then again what the model says, and no byte too much. */
export async function checkRecovery(
  life: Life,
  world: World,
  { found, p }: { found: ReadonlyMap<string, Effect>; p: number },
): Promise<void> {
  const same = async (when: string): Promise<void> => {
    for (const [key, before] of found) {
      const now = await life.read(key);
      // A Complete that was under way may have been rolled forward meanwhile.
      const rolled = key.startsWith('upload') && world.model.allows(key, p, now);
      if (!isSame(before, now) && !rolled) throw new Error(`${when}: ${key} changed`);
    }
  };
  const at = world.life.options.settings.segmentOpenMs ?? 60_000;
  life.clock.pass(10 * at);
  await life.embedded?.mend();
  await resumeAll(life);
  await restoreAll(life);
  await settleUploads(life);
  await healRows(life);
  await same('resumed and healed');
  const { lost } = await finished(life.hot.scrub());
  if (lost.length > 0) throw new Error(`scrub calls lost: ${lost.join('; ')}`);
  await same('scrubbed');
  await bearsAnyLosses(life, new Seeded(mixed(world.seed, p, 78)), found);
  for (let round = 0; round < 4; round += 1) {
    life.clock.pass(GRACE_MS + 2 * HOUR_MS);
    await settleUploads(life);
    await expireRestores(life);
    await sweepAll(life);
    await collectAll(life);
    await compactAll(life);
  }
  await same('swept, collected and compacted');
  await nothingLeft(life);
}

/** Healed and scrubbed, each object bears the loss of any m drives. */
async function bearsAnyLosses(
  life: Life,
  draw: Seeded,
  found: ReadonlyMap<string, Effect>,
): Promise<void> {
  const { n, m } = codeOf(life.options.code);
  const gone = new Set<number>();
  while (gone.size < m) gone.add(draw.below(n));
  const remains: Remains = {
    images: life.drives.map((drive) => drive.image),
    tables: life.simStore.tables,
    cold: life.cold.blobs,
    archive: life.archive.blobs,
    at: life.clock.at,
  };
  const { scheduler: _, ...options } = life.options;
  const now = new Map<string, Effect>();
  for (const key of found.keys()) now.set(key, await life.read(key));
  await bearsLoss(new Life(remains, options), now, [...gone]);
}

/** I7: what nobody names is freed. Records of segments go with their segment. */
async function nothingLeft(life: Life): Promise<void> {
  const named = await namedIds(life);
  for (const tier of [life.hot, life.cold, life.archive]) {
    for await (const { location } of tier.list({ withoutSegments: true })) {
      if (!named.has(location.id))
        throw new Error(`${tier.name}/${location.id} is named by nobody`);
    }
  }
}
