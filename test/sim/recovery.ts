// What a new life does with what a crash left: heals, scrubs, takes up moves and uploads, and, a
// grace and more later, sweeps and collects until nothing is left to free. Nothing that a client
// may count on may go by that, and nothing that nobody names may stay.

import { collectPage } from '../../appliance/engine/collect.ts';
import { takeLease, type HeldLease } from '../../appliance/engine/lease.ts';
import { settleUpload } from '../../appliance/engine/multipart-end.ts';
import { resumeMoves } from '../../appliance/engine/resume.ts';
import { sweep } from '../../appliance/engine/sweep.ts';
import { compactSegment } from '../../appliance/engine/compact.ts';
import { bucketNames } from '../../appliance/engine/inventory.ts';
import { isFirnError } from '../../appliance/model/errors.ts';
import { GRACE_MS } from '../../appliance/model/limits.ts';
import type { StepJob } from '../../appliance/model/node-group.ts';
import type { Upload } from '../../appliance/model/object.ts';
import type { Heal } from '../../appliance/model/records.ts';
import { namesOf } from '../engine-harness.ts';
import type { Life } from './life.ts';
import type { Effect } from './model.ts';
import { isSame } from './explore.ts';
import type { World } from './world.ts';

const HOUR_MS = 3_600_000;

async function leaseOf(life: Life, name: string): Promise<HeldLease> {
  const { store, clock } = life;
  const lease = await takeLease({ store, clock }, { name, holder: 'sim', durationMs: HOUR_MS });
  if (lease === undefined) throw new Error(`${name} is leased by nobody who lives`);
  return lease;
}

export async function finished(job: StepJob): Promise<{ repaired: number; lost: readonly string[] }> {
  for (;;) {
    const progress = await job.step();
    if (progress.done) return progress;
  }
}

export async function healRows(life: Life): Promise<void> {
  for (const { id, revision, value } of life.store.rowsOf<Heal>('heals')) {
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
  for (const row of life.store.rowsOf<Upload>('uploads')) {
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
  await lease.release();
}

export async function resumeAll(life: Life): Promise<void> {
  const lease = await leaseOf(life, 'moves');
  await resumeMoves(life.engine.core, { lease });
  await lease.release();
}

/** Ids of everything that documents and uploads name. */
async function namedIds(life: Life): Promise<Set<string>> {
  const ids = new Set<string>();
  for (const { value } of life.store.rowsOf<Parameters<typeof namesOf>[1]>('objects')) {
    for (const [id, location] of await namesOf(life.store, value)) {
      ids.add(location?.kind === 'pack' ? location.pack : id);
    }
  }
  for (const { value } of life.store.rowsOf<{ location: { id: string }; replaced: { id: string }[] }>(
    'parts',
  )) {
    for (const { id } of [value.location, ...value.replaced]) ids.add(id);
  }
  for (const { id } of life.store.rowsOf('packs')) ids.add(id);
  return ids;
}

/** Everything that workers do, for days; then again what the model says, and no byte too much. */
export async function checkRecovery(
  life: Life,
  world: World,
  { found }: { found: ReadonlyMap<string, Effect>; p: number },
): Promise<void> {
  const same = async (when: string): Promise<void> => {
    for (const [key, before] of found) {
      const now = await life.read(key);
      const settled = world.model.keys.length === 0 || isSame(before, now);
      // A Complete that was under way may be rolled forward meanwhile.
      if (!settled && !mayAppear(world, key, { before, now })) throw new Error(`${when}: ${key} changed`);
    }
  };
  const at = world.life.options.settings.segmentOpenMs ?? 60_000;
  life.clock.pass(10 * at);
  await resumeAll(life);
  await settleUploads(life);
  await healRows(life);
  await same('resumed and healed');
  const { lost } = await finished(life.hot.scrub());
  if (lost.length > 0) throw new Error(`scrub calls lost: ${lost.join('; ')}`);
  await same('scrubbed');
  for (let round = 0; round < 4; round += 1) {
    life.clock.pass(GRACE_MS + 2 * HOUR_MS);
    await settleUploads(life);
    await sweepAll(life);
    await collectAll(life);
    await compactAll(life);
  }
  await same('swept, collected and compacted');
  await nothingLeft(life);
}

function mayAppear(world: World, key: string, of: { before: Effect; now: Effect }): boolean {
  if (of.now === 'absent' || !key.startsWith('upload')) return false;
  const all = world.model.allowed(key, Infinity).concat(world.model.allowed(key, world.scheduler.position));
  return all.some((one) => isSame(one, of.now));
}

/** I7: what nobody names is freed. Records of segments go with their segment. */
async function nothingLeft(life: Life): Promise<void> {
  const named = await namedIds(life);
  for (const tier of [life.hot, life.cold, life.archive]) {
    for await (const { location } of tier.list({ withoutSegments: true })) {
      if (!named.has(location.id)) throw new Error(`${tier.name}/${location.id} is named by nobody`);
    }
  }
}
